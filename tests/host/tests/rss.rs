// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling: hashes and queues.

#![cfg(not(loom))]

use std::net::{
    IpAddr,
    SocketAddr, //
};

use cases::cases;
use oxnic::nic::{
    headers::{
        Addresses,
        Flow,
        Ports,
        HEADERS_LEN, //
    },
    rss::{
        Hash,
        HashType,
        Indirection,
        Toeplitz,
        INDIRECTION_LEN,
        KEY_LEN, //
    },
};
use packets::{
    any_frame,
    by_the_book,
    frame,
    ipv4,
    ipv6,
    Known,
    ICMP,
    SERVICE_VLAN,
    TCP,
    UDP,
    VLAN, //
};
use proptest::prelude::*;

mod cases;
mod packets;

/// The key of the verification suite in Microsoft's RSS specification.
const KEY: [u8; KEY_LEN] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// The suite: destination, source, hash of the addresses, hash with TCP ports.
const SUITE: [(&str, &str, u32, u32); 8] = [
    (
        "161.142.100.80:1766",
        "66.9.149.187:2794",
        0x323e8fc2,
        0x51ccc178,
    ),
    (
        "65.69.140.83:4739",
        "199.92.111.2:14230",
        0xd718262a,
        0xc626b0ea,
    ),
    (
        "12.22.207.184:38024",
        "24.19.198.95:12898",
        0xd2d0a5de,
        0x5c2b394a,
    ),
    (
        "209.142.163.6:2217",
        "38.27.205.30:48228",
        0x82989176,
        0xafc7327f,
    ),
    (
        "202.188.127.2:1303",
        "153.39.163.191:44251",
        0x5d1809c5,
        0x10e828a2,
    ),
    (
        "[3ffe:2501:200:3::1]:1766",
        "[3ffe:2501:200:1fff::7]:2794",
        0x2cc18cd5,
        0x40207d3d,
    ),
    (
        "[ff02::1]:4739",
        "[3ffe:501:8::260:97ff:fe40:efab]:14230",
        0x0f0c461c,
        0xdde51bbf,
    ),
    (
        "[fe80::200:f8ff:fe21:67cf]:38024",
        "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
        0x4b61e985,
        0x02d1feef,
    ),
];

fn toeplitz(key: &[u8; KEY_LEN]) -> Box<Toeplitz> {
    let mut toeplitz = Box::new(Toeplitz::ZERO);
    toeplitz.set_key(key);
    toeplitz
}

fn packet(src: SocketAddr, dst: SocketAddr, protocol: u8) -> Vec<u8> {
    let mut payload = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
    payload.extend_from_slice(&[0; 16]);
    match (src.ip(), dst.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4(src.octets(), dst.octets(), protocol, &[], &payload)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6(src.octets(), dst.octets(), protocol, &payload),
        _ => unreachable!(),
    }
}

#[test]
fn microsofts_vectors() {
    let toeplitz = toeplitz(&KEY);
    assert_eq!(toeplitz.key(), &KEY);
    for (dst, src, addresses, with_ports) in SUITE {
        let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        let (l3, tcp, udp) = if src.is_ipv4() {
            (HashType::Ipv4, HashType::TcpIpv4, HashType::UdpIpv4)
        } else {
            (HashType::Ipv6, HashType::TcpIpv6, HashType::UdpIpv6)
        };
        for (protocol, value, kind) in [
            (ICMP, addresses, l3),
            (TCP, with_ports, tcp),
            (UDP, with_ports, udp),
        ] {
            for tags in [&[][..], &[VLAN], &[SERVICE_VLAN, VLAN]] {
                let frame = frame(tags, &packet(src, dst, protocol));
                assert_eq!(toeplitz.hash_frame(&frame), Hash { value, kind }, "{src}");
            }
        }
        assert!(!l3.has_ports() && tcp.has_ports() && udp.has_ports());
    }
}

#[test]
fn no_key_is_no_spread() {
    let frame = frame(&[], &ipv4([1, 2, 3, 4], [5, 6, 7, 8], TCP, &[], &[9; 20]));
    let hash = Toeplitz::ZERO.hash_frame(&frame);
    assert_eq!(hash.value, 0);
    assert_eq!(hash.kind, HashType::TcpIpv4);
}

#[test]
fn indirection_spreads_evenly() {
    for queues in [1, 2, 3, 64, 128] {
        let table = Indirection::new(queues);
        for (entry, queue) in table.entries().iter().enumerate() {
            assert_eq!(u32::from(*queue), entry as u32 % queues);
        }
    }
    assert_eq!(Indirection::new(0).entries()[127], 0);
    assert_eq!(Indirection::new(u32::MAX).entries()[127], 127);
}

#[test]
fn indirection_can_be_set() {
    let mut table = Indirection::new(4);
    let hash = |value| Hash {
        value,
        kind: HashType::Ipv4,
    };
    assert!(table.set(5, 63));
    assert_eq!(table.entries()[5], 63);
    assert_eq!(table.queue(hash(0xabcd_ef80 | 5)), 63);
    assert_eq!(table.queue(hash(6)), 2);
    assert!(!table.set(INDIRECTION_LEN, 1));
}

#[test]
fn without_a_hash_it_is_queue_0() {
    let mut table = Indirection::new(4);
    for entry in 0..INDIRECTION_LEN {
        table.set(entry, 3);
    }
    assert_eq!(table.queue(Hash::NONE), 0);
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn tables_equal_the_book(key: [u8; KEY_LEN], ips: [u8; 32], ports: [u8; 4]) {
        let toeplitz = toeplitz(&key);
        let v4: &[u8; 8] = ips.first_chunk().unwrap();
        for (addresses, bytes) in [
            (Addresses::V4(v4), &v4[..]),
            (Addresses::V6(&ips), &ips[..]),
        ] {
            let none = toeplitz.hash(&Flow { addresses, ports: Ports::None });
            prop_assert_eq!(none.value, by_the_book(&key, bytes));
            let with_ports = by_the_book(&key, &[bytes, &ports[..]].concat());
            for ports in [Ports::Tcp(&ports), Ports::Udp(&ports)] {
                prop_assert_eq!(toeplitz.hash(&Flow { addresses, ports }).value, with_ports);
            }
        }
    }

    /// The hash of any frame is that over the fields which [`Known`] reads by the standards. The
    /// bytes after the headers do not matter.
    #[test]
    fn any_frame_has_the_hash_of_the_standards(key: [u8; KEY_LEN], frame in any_frame()) {
        let toeplitz = toeplitz(&key);
        let hash = toeplitz.hash_frame(&frame);
        prop_assert_eq!(hash, Known::of(&frame).hash(&key));
        let head = &frame[..frame.len().min(HEADERS_LEN)];
        prop_assert_eq!(hash, toeplitz.hash_frame(head));
        prop_assert!(Indirection::new(5).queue(hash) < 5);
    }
}
