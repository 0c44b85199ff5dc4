// SPDX-License-Identifier: GPL-2.0

//! Frames: how the tests make, send, receive and check them.

pub mod capture;
pub mod checksum;
pub mod frames;
pub mod packet;
pub mod probe;
pub mod rest;
pub mod stamps;
pub mod stream;
pub mod toeplitz;
pub mod xsk;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// A unicast address that belongs to no port, which the ports receive all the same: the stack
/// leaves frames to it alone, while packet sockets and programs see them.
pub const NOBODY: Mac = [0x02, 0, 0, 0, 0, 0xfe];
/// Another one: where the tests' frames come from, and where a program may send them back to.
pub const SOURCE: Mac = [0x02, 0, 0, 0, 0, 0x01];

/// Ethernet header.
pub const ETH: usize = 14;
/// The shortest frame on the wire, without its checksum.
pub const ETH_ZLEN: usize = 60;

/// A frame with hex dumps of the first place where it differs from what was expected.
pub fn diff(found: &[u8], expected: &[u8]) -> Option<String> {
    if found == expected {
        return None;
    }
    let at = found
        .iter()
        .zip(expected)
        .take_while(|(f, e)| f == e)
        .count();
    let show = |bytes: &[u8]| format!("{:02x?}", &bytes[at..bytes.len().min(at + 16)]);

    Some(format!(
        "{} bytes, expected {}; at offset {at}: {}, expected: {}",
        found.len(),
        expected.len(),
        show(found),
        show(expected)
    ))
}

/// Fails unless both frames are equal.
pub fn ensure_same(what: &str, found: &[u8], expected: &[u8]) -> anyhow::Result<()> {
    match diff(found, expected) {
        None => Ok(()),
        Some(text) => anyhow::bail!("{what}: {text}"),
    }
}
