// SPDX-License-Identifier: GPL-2.0

//! Verifies the checksums of a frame, as a card does when it arrives.

use super::{
    headers::{
        ETH_LEN,
        ETH_P_IP,
        ETH_P_IPV6,
        IPPROTO_TCP,
        IPPROTO_UDP,
        IPV4_FRAGMENT,
        IPV4_LEN,
        IPV6_LEN,
        MAX_TAGS, //
    },
    tso::{
        self,
        fold, //
    },
    vlan::{
        Protocol,
        TAG_LEN, //
    },
};

/// Bytes that are read at a time. Even, so that a sum goes on with the next piece.
const PIECE: usize = 128;

/// Whether a frame of `len` bytes is TCP or UDP over IPv4 or IPv6 with good checksums. `read` fills
/// a buffer with the bytes of the frame from an offset on.
///
/// The card does not look beyond two VLAN tags and the extension headers of IPv6, nor at fragments.
/// A frame that says it has no checksum is not good either.
pub fn is_good(len: usize, read: impl Fn(usize, &mut [u8]) -> Option<()>) -> bool {
    is_verified(len, &read).unwrap_or(false)
}

fn is_verified(len: usize, read: &impl Fn(usize, &mut [u8]) -> Option<()>) -> Option<bool> {
    let (mut at, mut protocol) = (ETH_LEN, u16_at(ETH_LEN - 2, read)?);
    for _ in 0..MAX_TAGS {
        if Protocol::from_ethertype(protocol).is_some() {
            at += TAG_LEN;
            protocol = u16_at(at - 2, read)?;
        }
    }
    // The transport protocol, where the addresses and what follows them are, and where that ends.
    let (transport, addresses, start, end) = match protocol {
        ETH_P_IP => {
            let header = usize::from(u8_at(at, read)? & 0xf) * 4;
            let total = usize::from(u16_at(at + 2, read)?);
            if header < IPV4_LEN || total < header || u16_at(at + 6, read)? & IPV4_FRAGMENT != 0 {
                return None;
            }
            if fold(sum(at, at + header, read)?) != 0xffff {
                return Some(false);
            }
            let transport = u8_at(at + 9, read)?;
            (transport, at + 12..at + 20, at + header, at + total)
        }
        ETH_P_IPV6 => {
            let transport = u8_at(at + 6, read)?;
            let start = at + IPV6_LEN;
            let end = start + usize::from(u16_at(at + 4, read)?);
            (transport, at + 8..start, start, end)
        }
        _ => return None,
    };
    let checksum = match transport {
        IPPROTO_TCP => start + 16,
        IPPROTO_UDP => start + 6,
        _ => return None,
    };
    if end > len || checksum + 2 > end || u16_at(checksum, read)? == 0 && transport == IPPROTO_UDP {
        return None;
    }
    let pseudo = sum(addresses.start, addresses.end, read)?
        + u64::from(transport)
        + u64::try_from(end - start).ok()?;
    Some(fold(pseudo + sum(start, end, read)?) == 0xffff)
}

/// The sum of the words of 16 bits between two offsets. An odd byte at the end is the higher half
/// of a word.
fn sum(start: usize, end: usize, read: &impl Fn(usize, &mut [u8]) -> Option<()>) -> Option<u64> {
    let mut total = 0;
    let mut piece = [0; PIECE];
    let mut at = start;
    while at < end {
        let bytes = piece.get_mut(..PIECE.min(end - at))?;
        read(at, bytes)?;
        total += tso::sum(bytes);
        if let [odd] = *bytes.chunks_exact(2).remainder() {
            total += u64::from(odd) << 8;
        }
        at += bytes.len();
    }
    Some(total)
}

fn u8_at(at: usize, read: &impl Fn(usize, &mut [u8]) -> Option<()>) -> Option<u8> {
    let mut byte = [0];
    read(at, &mut byte)?;
    Some(byte[0])
}

fn u16_at(at: usize, read: &impl Fn(usize, &mut [u8]) -> Option<()>) -> Option<u16> {
    let mut bytes = [0; 2];
    read(at, &mut bytes)?;
    Some(u16::from_be_bytes(bytes))
}
