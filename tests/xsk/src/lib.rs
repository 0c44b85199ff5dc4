// SPDX-License-Identifier: GPL-2.0

//! AF_XDP sockets with their rings as they are: the user writes what it wants into them. The tests
//! in the VM and the benchmarks use them. For a program that leaves the rings to a library see
//! `samples/xsk`.

#![deny(unsafe_code)]

pub mod raw;
mod socket;

pub use nix::errno::Errno;
pub use socket::{Mode, Setup, Socket};

/// Buffers of a socket, and entries of its rings, unless its setup says otherwise.
const BUFFERS: u32 = 512;
/// What the kernel keeps in front of each frame (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;

/// The two words of a descriptor: `struct xdp_desc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Desc {
    pub addr: u64,
    pub len: u32,
    pub options: u32,
}

impl From<[u64; 2]> for Desc {
    fn from([addr, rest]: [u64; 2]) -> Self {
        Self {
            addr,
            len: rest as u32,
            options: (rest >> 32) as u32,
        }
    }
}

impl From<Desc> for [u64; 2] {
    fn from(desc: Desc) -> Self {
        [
            desc.addr,
            u64::from(desc.len) | (u64::from(desc.options) << 32),
        ]
    }
}
