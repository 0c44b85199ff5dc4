// SPDX-License-Identifier: GPL-2.0

//! Frames of other kinds than the probe's.

use super::{checksum, ETH, NOBODY, SOURCE};

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
/// A customer's VLAN tag (802.1Q).
pub const CTAG: u16 = 0x8100;
/// A service provider's VLAN tag (802.1ad).
pub const STAG: u16 = 0x88a8;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const DESTINATION_OPTIONS: u8 = 60;

/// Where a frame's tags are: behind the addresses.
const TAGS: usize = 12;

/// A frame to no one.
pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETH + payload.len());

    frame.extend(NOBODY);
    frame.extend(SOURCE);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet; `fragment` is the word with flags and offset.
pub fn ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];

    packet.extend((20 + body.len() as u16).to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(src);
    packet.extend(dst);
    let sum = !checksum::fold(checksum::sum(&packet));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(body);
    packet
}

/// An IPv6 packet.
pub fn ipv6(src: [u8; 16], dst: [u8; 16], next: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];

    packet.extend((body.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(src);
    packet.extend(dst);
    packet.extend(body);
    packet
}

/// What follows IP in TCP or UDP as far as it matters here: the ports, then enough for a header.
pub fn transport(src: u16, dst: u16, protocol: u8) -> Vec<u8> {
    let mut body = Vec::new();

    body.extend(src.to_be_bytes());
    body.extend(dst.to_be_bytes());
    if protocol == UDP {
        body.extend([0, 40, 0, 0]);
    } else {
        body.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    }
    body.resize(40, 0x5a);
    body
}

/// The frame with tags in it, the outermost first: protocol and control information.
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let mut bytes = frame[..TAGS].to_vec();

    for (protocol, tci) in tags {
        bytes.extend(protocol.to_be_bytes());
        bytes.extend(tci.to_be_bytes());
    }
    bytes.extend(&frame[TAGS..]);
    bytes
}
