// SPDX-License-Identifier: GPL-2.0

//! Header parsing.

#![cfg(not(loom))]

use cases::cases;
use oxnic::nic::{
    headers::{
        Addresses,
        Ethernet,
        Flow,
        Ports,
        HEADERS_LEN, //
    },
    vlan::Tag, //
};
use packets::{
    any_frame,
    frame,
    ipv4,
    ipv6,
    MACS,
    SERVICE_VLAN,
    TCP,
    UDP,
    VLAN, //
};
use proptest::prelude::*;

mod cases;
mod packets;

fn flow(frame: &[u8]) -> Option<Flow<'_>> {
    Flow::parse(frame)
}

const IPS: [u8; 8] = [10, 0, 0, 1, 10, 0, 0, 2];
const PORTS: [u8; 4] = [0x12, 0x34, 0, 80];

fn ipv4_udp(options: &[u8], payload: &[u8]) -> Vec<u8> {
    ipv4([10, 0, 0, 1], [10, 0, 0, 2], UDP, options, payload)
}

fn only_addresses() -> Option<Flow<'static>> {
    Some(Flow {
        addresses: Addresses::V4(&IPS),
        ports: Ports::None,
    })
}

fn with_ports() -> Option<Flow<'static>> {
    Some(Flow {
        addresses: Addresses::V4(&IPS),
        ports: Ports::Udp(&PORTS),
    })
}

#[test]
fn options_are_skipped() {
    for words in 0..=10 {
        let packet = ipv4_udp(&vec![1; 4 * words], &PORTS);
        let frame = frame(&[VLAN, VLAN], &packet);
        assert_eq!(flow(&frame), with_ports());
        assert!(frame.len() <= HEADERS_LEN);
    }
}

#[test]
fn three_tags_are_too_many() {
    let frame = frame(&[VLAN; 3], &ipv4_udp(&[], &PORTS));
    assert_eq!(flow(&frame), None);
}

/// The tag is found as soon as it is complete, even if the EtherType after it is cut off.
#[test]
fn cut_off_tags() {
    let whole = frame(&[VLAN, SERVICE_VLAN], &ipv4_udp(&[], &PORTS));
    for len in 0..whole.len() {
        let ethernet = Ethernet::parse(&whole[..len]);
        assert_eq!(ethernet.is_some(), len >= 14, "{len} bytes");
        let Some(ethernet) = ethernet else { continue };
        assert_eq!(ethernet.tag.is_some(), len >= 16, "{len} bytes");
        let ethertype = if len >= 22 { 0x0800 } else { 0 };
        assert_eq!(ethernet.ethertype, ethertype, "{len} bytes");
    }
}

#[test]
fn fragments_have_no_ports() {
    // More fragments; some offset in either byte; do not fragment; the reserved bit.
    for (high, low, flow_of) in [
        (0x20, 0, only_addresses()),
        (0x00, 1, only_addresses()),
        (0x10, 0, only_addresses()),
        (0x40, 0, with_ports()),
        (0x80, 0, with_ports()),
    ] {
        let mut packet = ipv4_udp(&[], &PORTS);
        packet[6..8].copy_from_slice(&[high, low]);
        assert_eq!(flow(&frame(&[], &packet)), flow_of, "{high:02x}{low:02x}");
    }
}

#[test]
fn ipv6_extension_headers_hide_the_ports() {
    let (src, dst) = ([0xfd; 16], [0xfe; 16]);
    let both = [src, dst].concat();
    // Hop-by-hop options, fragment, ICMPv6, none.
    for next_header in [0, 44, 58, 59] {
        let frame = frame(
            &[],
            &ipv6(src, dst, next_header, &[UDP, 0, 0, 0, 0, 0, 0, 0]),
        );
        let flow = flow(&frame).unwrap();
        assert_eq!(flow.addresses, Addresses::V6(both[..].try_into().unwrap()));
        assert_eq!(flow.ports, Ports::None);
    }
}

#[test]
fn padding_is_not_taken_for_ports() {
    for payload in 0..4 {
        let mut frame = frame(&[], &ipv4_udp(&[], &PORTS[..payload]));
        frame.resize(60, 0xff);
        assert_eq!(flow(&frame), only_addresses());
    }
    let mut frame = frame(&[], &ipv6([1; 16], [2; 16], TCP, &[1, 2]));
    frame.resize(60, 0xff);
    assert_eq!(flow(&frame).unwrap().ports, Ports::None);
}

#[test]
fn other_protocols_have_no_flow() {
    let arp = [&MACS[..], &[0x08, 0x06], &[0; 46]].concat();
    assert_eq!(flow(&arp), None);
    // 802.3: a length instead of a type.
    let stp = [&MACS[..], &[0x00, 0x26], &[0x42; 46]].concat();
    assert_eq!(flow(&stp), None);
}

#[test]
fn malformed_frames_have_no_flow() {
    let good = ipv4_udp(&[], &PORTS);
    let broken = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        [&MACS[..], &[0x08, 0x00], &packet].concat()
    };
    assert_eq!(flow(&broken(0, 0x55)), None, "version");
    assert_eq!(flow(&broken(0, 0x44)), None, "header shorter than itself");
    assert_eq!(
        flow(&broken(0, 0x4f)),
        None,
        "header longer than the packet"
    );
    assert_eq!(flow(&broken(3, 19)), None, "packet shorter than its header");

    let mut packet = ipv6([1; 16], [2; 16], UDP, &PORTS);
    packet[0] = 0x50;
    assert_eq!(flow(&[&MACS[..], &[0x86, 0xdd], &packet].concat()), None);
}

#[test]
fn truncated_frames_are_survived() {
    let packets = [
        ipv4_udp(&[1; 40], &PORTS),
        ipv6([1; 16], [2; 16], TCP, &[7; 20]),
    ];
    for packet in packets {
        let whole = frame(&[SERVICE_VLAN, VLAN], &packet);
        let expected = flow(&whole).unwrap();
        for len in 0..whole.len() {
            if let Some(flow) = flow(&whole[..len]) {
                assert_eq!(flow.addresses, expected.addresses);
                assert!(flow.ports == Ports::None || flow.ports == expected.ports);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    /// The first bytes that `is_enough` accepts have the same flow as the whole frame.
    #[test]
    fn enough_bytes_have_the_same_flow(frame in any_frame()) {
        for len in 0..frame.len() {
            if Flow::is_enough(&frame[..len]) {
                prop_assert_eq!(flow(&frame[..len]), flow(&frame), "{} bytes", len);
            }
        }
    }

    /// [`Tag::outermost`] finds the same tag as parsing the whole Ethernet header.
    #[test]
    fn outermost_tag(frame in any_frame()) {
        let found = Ethernet::parse(&frame).and_then(|ethernet| ethernet.tag);
        prop_assert_eq!(found, Tag::outermost(&frame));
    }
}
