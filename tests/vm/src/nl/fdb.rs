// SPDX-License-Identifier: GPL-2.0

//! Addresses whose frames a device receives besides its own, as `bridge fdb ... self` sets them.

use super::{Attrs, Socket};
use crate::wire::Mac;
use anyhow::Result;
use nix::libc;

const NDA_LLADDR: u16 = 2;
const NTF_SELF: u8 = 1 << 1;
const NUD_PERMANENT: u16 = 0x80;
/// Size of `struct ndmsg`.
const NDMSG: usize = 12;

/// Adds an address, unicast or multicast, to the lists of a device of the calling thread's
/// namespace.
pub fn add(ifindex: u32, mac: &Mac) -> Result<()> {
    request(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE, ifindex, mac)
}

/// Takes it away.
pub fn delete(ifindex: u32, mac: &Mac) -> Result<()> {
    request(libc::RTM_DELNEIGH, 0, ifindex, mac)
}

fn request(kind: u16, flags: i32, ifindex: u32, mac: &Mac) -> Result<()> {
    let mut body = vec![0; NDMSG];

    body[0] = libc::AF_BRIDGE as u8;
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    body[10] = NTF_SELF;
    body.extend(Attrs::default().put(NDA_LLADDR, mac).0);
    Socket::route()?.request(kind, flags, &body).map(drop)
}
