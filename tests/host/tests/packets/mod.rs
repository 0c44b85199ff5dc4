// SPDX-License-Identifier: GPL-2.0

//! Shared by the tests of headers, hashes and steering: good and malformed frames, the fields in
//! them, and the hash as its specification defines it.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test uses a part"
)]

use oxnic::nic::rss::{
    Hash,
    HashType,
    KEY_LEN, //
};
use proptest::{
    prelude::*,
    sample::Index, //
};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;

pub const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
pub const VLAN: [u8; 4] = [0x81, 0x00, 0x00, 0x05];
pub const SERVICE_VLAN: [u8; 4] = [0x88, 0xa8, 0x20, 0x07];

/// The hash as its specification defines it: bit by bit.
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

/// Frames of every kind: random bytes, and well-formed frames of which some bytes are changed, the
/// end is cut off or padding is added.
pub fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop::collection::vec(prop::sample::select(vec![VLAN, SERVICE_VLAN]), 0..4);
    let protocol = prop::sample::select(vec![TCP, UDP, ICMP, 0, 44]);
    let options = (0usize..=10).prop_map(|words| vec![1; 4 * words]);
    let payload = prop::collection::vec(any::<u8>(), 0..60);
    let packet = (any::<[u8; 32]>(), any::<bool>(), protocol, options, payload).prop_map(
        |(ips, v6, protocol, options, payload)| {
            let (src, dst) = ips.split_at(16);
            if v6 {
                ipv6(
                    src.try_into().unwrap(),
                    dst.try_into().unwrap(),
                    protocol,
                    &payload,
                )
            } else {
                let (src, dst) = (*src.first_chunk().unwrap(), *dst.first_chunk().unwrap());
                ipv4(src, dst, protocol, &options, &payload)
            }
        },
    );
    let damage = prop::collection::vec((any::<Index>(), any::<u8>()), 0..4);
    let damaged = (
        tags,
        packet,
        damage,
        prop::option::of(any::<Index>()),
        0usize..30,
    )
        .prop_map(|(tags, packet, damage, cut, padding)| {
            let mut frame = frame(&tags, &packet);
            for (at, byte) in damage {
                *at.get_mut(&mut frame) = byte;
            }
            match cut {
                Some(at) => frame.truncate(at.index(frame.len() + 1)),
                None => frame.resize(frame.len() + padding, 0xff),
            }
            frame
        });
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..160),
        9 => damaged,
    ]
}

/// The fields of a frame, read byte by byte at the offsets that the standards define. Slow, and
/// independent of the tested code. A field that the frame does not have is zero.
#[derive(Debug, Default)]
pub struct Known {
    pub dst_mac: [u8; 6],
    pub src_mac: [u8; 6],
    pub ether_type: [u8; 2],
    pub vlan_type: [u8; 2],
    pub vlan_tci: [u8; 2],
    /// 4 or 6, if there is an IP header.
    pub version: u8,
    pub src_ip: [u8; 16],
    pub dst_ip: [u8; 16],
    pub tos: u8,
    pub protocol: u8,
    /// Whether there are ports after the IP header.
    pub has_ports: bool,
    pub src_port: [u8; 2],
    pub dst_port: [u8; 2],
}

impl Known {
    pub fn of(frame: &[u8]) -> Self {
        let mut known = Self::default();
        let is_there = |end: usize| frame.len() >= end;
        let word = |at: usize| usize::from(frame[at]) * 256 + usize::from(frame[at + 1]);
        let is_tag = |at: usize| word(at) == 0x8100 || word(at) == 0x88a8;

        if is_there(6) {
            known.dst_mac.copy_from_slice(&frame[..6]);
        }
        if is_there(12) {
            known.src_mac.copy_from_slice(&frame[6..12]);
        }
        if is_there(16) && is_tag(12) {
            known.vlan_type.copy_from_slice(&frame[12..14]);
            known.vlan_tci.copy_from_slice(&frame[14..16]);
        }
        let mut at = 12;
        while at < 20 && is_there(at + 2) && is_tag(at) {
            at += 4;
        }
        if !is_there(at + 2) {
            return known;
        }
        known.ether_type.copy_from_slice(&frame[at..at + 2]);
        let ip = at + 2;
        match known.ether_type {
            [0x08, 0x00] if is_there(ip + 20) && frame[ip] >> 4 == 4 => {
                let header = usize::from(frame[ip] & 0xf) * 4;
                let total = word(ip + 2);
                if header < 20 || total < header || !is_there(ip + header) {
                    return known;
                }
                known.version = 4;
                known.tos = frame[ip + 1];
                known.protocol = frame[ip + 9];
                known.src_ip[..4].copy_from_slice(&frame[ip + 12..ip + 16]);
                known.dst_ip[..4].copy_from_slice(&frame[ip + 16..ip + 20]);
                let more_fragments = frame[ip + 6] & 0x20 != 0;
                let offset = word(ip + 6) % 0x2000;
                if !more_fragments && offset == 0 && total - header >= 4 {
                    known.find_ports(frame, ip + header);
                }
            }
            [0x86, 0xdd] if is_there(ip + 40) && frame[ip] >> 4 == 6 => {
                known.version = 6;
                known.tos = (word(ip) / 16 % 256) as u8;
                known.protocol = frame[ip + 6];
                known.src_ip.copy_from_slice(&frame[ip + 8..ip + 24]);
                known.dst_ip.copy_from_slice(&frame[ip + 24..ip + 40]);
                if word(ip + 4) >= 4 {
                    known.find_ports(frame, ip + 40);
                }
            }
            _ => {}
        }
        known
    }

    fn find_ports(&mut self, frame: &[u8], at: usize) {
        if frame.len() >= at + 4 && [TCP, UDP].contains(&self.protocol) {
            self.has_ports = true;
            self.src_port.copy_from_slice(&frame[at..at + 2]);
            self.dst_port.copy_from_slice(&frame[at + 2..at + 4]);
        }
    }

    /// The hash over all fields.
    pub fn hash(&self, key: &[u8; KEY_LEN]) -> Hash {
        let kind = match (self.version, self.has_ports, self.protocol) {
            (4, false, _) => HashType::Ipv4,
            (4, true, TCP) => HashType::TcpIpv4,
            (4, true, _) => HashType::UdpIpv4,
            (6, false, _) => HashType::Ipv6,
            (6, true, TCP) => HashType::TcpIpv6,
            (6, true, _) => HashType::UdpIpv6,
            _ => return Hash::NONE,
        };
        let len = if self.version == 4 { 4 } else { 16 };
        let mut input = [&self.src_ip[..len], &self.dst_ip[..len]].concat();
        if self.has_ports {
            input.extend([self.src_port, self.dst_port].concat());
        }
        Hash {
            value: by_the_book(key, &input),
            kind,
        }
    }
}
