// SPDX-License-Identifier: GPL-2.0

//! What the tests of hashes and steering share: frames, and the hash of the specification.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test uses a part"
)]

use oxnic::nic::rss::KEY_LEN;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;

pub const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
pub const VLAN: [u8; 4] = [0x81, 0x00, 0x00, 0x05];
pub const SERVICE_VLAN: [u8; 4] = [0x88, 0xa8, 0x20, 0x07];

/// The hash as the specification words it: bit by bit.
pub fn by_the_book(key: &[u8; KEY_LEN], input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], i: usize| u32::from((bytes[i / 8] >> (7 - i % 8)) & 1);
    let mut window = u32::from_be_bytes(key[..4].try_into().unwrap());
    let mut hash = 0;
    for i in 0..8 * input.len() {
        if bit(input, i) == 1 {
            hash ^= window;
        }
        if i + 32 < 8 * KEY_LEN {
            window = (window << 1) | bit(key, i + 32);
        }
    }
    hash
}

pub fn ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let [len0, len1] = ((header_len + payload.len()) as u16).to_be_bytes();
    let version_ihl = 0x40 | (header_len / 4) as u8;
    let mut packet = vec![
        version_ihl,
        0,
        len0,
        len1,
        0,
        0,
        0x40,
        0,
        64,
        protocol,
        0,
        0,
    ];
    for part in [&src, &dst, options, payload] {
        packet.extend_from_slice(part);
    }
    packet
}

pub fn ipv6(src: [u8; 16], dst: [u8; 16], next_header: u8, payload: &[u8]) -> Vec<u8> {
    let [len0, len1] = (payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, len0, len1, next_header, 64];
    for part in [&src, &dst, payload] {
        packet.extend_from_slice(part);
    }
    packet
}

/// A frame around an IP packet.
pub fn frame(tags: &[[u8; 4]], packet: &[u8]) -> Vec<u8> {
    let ethertype: [u8; 2] = if packet[0] >> 4 == 6 {
        [0x86, 0xdd]
    } else {
        [0x08, 0x00]
    };
    [&MACS[..], &tags.concat(), &ethertype, packet].concat()
}
