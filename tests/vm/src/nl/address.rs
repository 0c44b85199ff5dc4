// SPDX-License-Identifier: GPL-2.0

//! IP addresses of links.

use super::route;
use anyhow::Result;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    AddressFamily, RouteNetlinkMessage,
};
use std::net::IpAddr;

/// Gives a link of the calling thread's namespace an address, and the stack a route to its network.
/// The address is used at once, without a look for others that have it.
pub fn add(ifindex: u32, address: IpAddr, prefix_len: u8) -> Result<()> {
    let mut message = AddressMessage::default();

    message.header.family = family(address);
    message.header.prefix_len = prefix_len;
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.index = ifindex;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    route(
        RouteNetlinkMessage::NewAddress(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
    .map(drop)
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
