// SPDX-License-Identifier: GPL-2.0

//! How much fits into the driver's receive buffers. A buffer is a page, so this depends on the
//! kernel that the tests are built for.

use crate::host::ensure_eq;
use anyhow::Result;
use nix::unistd::{sysconf, SysconfVar};

/// The size of a page. `scripts/build` says it: the tests for a kernel with larger pages are built
/// apart from the others.
pub const PAGE: usize = match option_env!("OXNIC_PAGE_SIZE") {
    Some(text) => match usize::from_str_radix(text, 10) {
        Ok(size) => size,
        Err(_) => panic!("OXNIC_PAGE_SIZE is not a number of bytes"),
    },
    None => 4096,
};
/// Bytes in front of a frame.
const HEADROOM: usize = 320;
/// Bytes behind the room for a frame: `struct skb_shared_info`.
const SHARED_INFO: usize = 320;
/// How many bytes of a frame a buffer holds.
pub const BUFFER: usize = LAST_BUFFER - SHARED_INFO;
/// How many the last buffer of several can hold once a program has made the frame longer: it needs
/// no room for `struct skb_shared_info`.
pub const LAST_BUFFER: usize = PAGE - HEADROOM;
/// How many buffers a frame can have: the linear part of an skb, and its fragments.
pub const BUFFERS_MAX: usize = 18;
/// How much longer than the receiver's MTU a frame may be: an Ethernet header and two VLAN tags.
pub const OVERHEAD: usize = 22;
/// The largest MTU at which every frame is in one buffer.
pub const SINGLE_MTU: usize = BUFFER - OVERHEAD;
/// The largest MTU: its frames need as many buffers as a frame can have, or are the longest IP
/// packets.
pub const MTU_MAX: usize = {
    let most = BUFFERS_MAX * BUFFER - OVERHEAD;

    if most < 65535 {
        most
    } else {
        65535
    }
};
/// An MTU whose longest frames take two whole buffers and a part of a third: 9000 with pages of
/// 4096 bytes.
pub const JUMBO: usize = 2 * BUFFER + 2088;

/// Tells if the tests were built for another size of pages than this kernel has.
pub fn check_page_size() -> Result<()> {
    ensure_eq!(
        sysconf(SysconfVar::PAGE_SIZE)?,
        Some(PAGE as i64),
        "bytes of a page, and what the tests were built for"
    );
    Ok(())
}
