// SPDX-License-Identifier: GPL-2.0

//! Neighbours whose Ethernet address is known, and addresses whose frames a device receives besides
//! its own, as `bridge fdb ... self` sets them.

use super::{address::family, route};
use crate::wire::Mac;
use anyhow::Result;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    AddressFamily, RouteNetlinkMessage,
};
use std::net::IpAddr;

/// Tells the stack where an address is, so that it need not ask.
pub fn add(ifindex: u32, address: IpAddr, mac: &Mac) -> Result<()> {
    let mut message = permanent(ifindex, family(address), mac);
    let address = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };

    message
        .attributes
        .push(NeighbourAttribute::Destination(address));
    route(
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
    .map(drop)
}

/// Adds an address, unicast or multicast, to the lists of a device of the calling thread's
/// namespace.
pub fn receive(ifindex: u32, mac: &Mac) -> Result<()> {
    let message = RouteNetlinkMessage::NewNeighbour(own(ifindex, mac));

    route(message, NLM_F_CREATE).map(drop)
}

/// Removes it from there.
pub fn receive_no_more(ifindex: u32, mac: &Mac) -> Result<()> {
    route(RouteNetlinkMessage::DelNeighbour(own(ifindex, mac)), 0).map(drop)
}

fn own(ifindex: u32, mac: &Mac) -> NeighbourMessage {
    let mut message = permanent(ifindex, AddressFamily::Bridge, mac);

    message.header.flags = NeighbourFlags::Own;
    message
}

fn permanent(ifindex: u32, family: AddressFamily, mac: &Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();

    message.header.family = family;
    message.header.ifindex = ifindex;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![NeighbourAttribute::LinkLocalAddress(mac.to_vec())];
    message
}
