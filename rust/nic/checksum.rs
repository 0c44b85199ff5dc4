// SPDX-License-Identifier: GPL-2.0

//! Verifies the checksums of a frame, as a card does when it arrives.

use super::vlan::TAG_LEN;

/// Length of an Ethernet header.
const ETH_LEN: usize = 14;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
/// The EtherTypes of VLAN tags, 802.1Q and 802.1ad.
const TAGS: [u16; 2] = [0x8100, 0x88a8];
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// The flag that more fragments follow, and the offset of a fragment.
const FRAGMENT: u16 = 0x3fff;

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
    for _ in 0..2 {
        if TAGS.contains(&protocol) {
            at += TAG_LEN;
            protocol = u16_at(at - 2, read)?;
        }
    }
    // The transport protocol, where the addresses and what follows them are, and where that ends.
    let (transport, addresses, start, end) = match protocol {
        ETH_P_IP => {
            let header = usize::from(u8_at(at, read)? & 0xf) * 4;
            let total = usize::from(u16_at(at + 2, read)?);
            if header < 20 || total < header || u16_at(at + 6, read)? & FRAGMENT != 0 {
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
            let start = at + 40;
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
        for word in bytes.chunks(2) {
            let low = word.get(1).copied().unwrap_or(0);
            total += u64::from(u16::from_be_bytes([*word.first()?, low]));
        }
        at += bytes.len();
    }
    Some(total)
}

/// Adds the carries to a sum.
fn fold(sum: u64) -> u64 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
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
