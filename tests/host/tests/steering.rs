// SPDX-License-Identifier: GPL-2.0

//! Steering: which queue, and what is hashed for it.

#![cfg(not(loom))]

use oxnic::nic::{
    rss::{Hash, HashType, Indirection, KEY_LEN},
    steering::{Fields, FlowKind, Input, Setup, Steering, Transform},
};
use packets::{by_the_book, frame, ipv4, ipv6, ICMP, TCP, UDP, VLAN};
use proptest::prelude::*;

mod packets;

const KEY: [u8; KEY_LEN] = {
    let mut key = [0; KEY_LEN];
    let mut n = 0;
    while n < KEY_LEN {
        key[n] = (n * 37 + 11) as u8;
        n += 1;
    }
    key
};

fn setup(queues: u32) -> Setup {
    Setup {
        key: KEY,
        input: Input::DEFAULT,
        table: Indirection::new(queues),
        queues,
    }
}

fn steering(setup: &Setup) -> Box<Steering> {
    let mut steering = Box::new(Steering::ZERO);
    steering.set(setup);
    steering
}

fn queue(steering: &Steering, frame: &[u8]) -> (u32, Hash) {
    steering.queue(|| frame, || None).unwrap()
}

const PORTS: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const PORTS_BACK: [u8; 4] = [0x56, 0x78, 0x12, 0x34];
const FROM: [u8; 4] = [10, 1, 2, 3];
const TO: [u8; 4] = [172, 31, 30, 29];

fn v4(protocol: u8) -> Vec<u8> {
    frame(&[], &ipv4(FROM, TO, protocol, &[], &PORTS))
}

#[test]
fn registers_of_zeroes_have_one_queue() {
    assert_eq!(queue(&Steering::ZERO, &v4(UDP)), (0, Hash::NONE));
    assert_eq!(Steering::ZERO.hash(&v4(UDP)).value, 0);
}

#[test]
fn one_queue_needs_no_hash() {
    let one = steering(&setup(1));
    assert_eq!(
        one.queue(
            || -> &[u8] { unreachable!("nobody needs the frame") },
            || unreachable!("nor its tag")
        ),
        Some((0, Hash::NONE))
    );
    let expected = by_the_book(&KEY, &[&FROM[..], &TO, &PORTS].concat());
    assert_eq!(one.hash(&v4(UDP)).value, expected);
}

#[test]
fn several_queues_go_by_the_table() {
    let mut setup = setup(4);
    let hash = by_the_book(&KEY, &[&FROM[..], &TO, &PORTS].concat());
    let found = Hash {
        value: hash,
        kind: HashType::TcpIpv4,
    };
    assert_eq!(queue(&steering(&setup), &v4(TCP)), (hash % 128 % 4, found));
    assert!(setup.table.set(hash as usize % 128, 77));
    assert_eq!(queue(&steering(&setup), &v4(TCP)), (77, found));
    let arp = [0; 60];
    assert_eq!(queue(&steering(&setup), &arp), (0, Hash::NONE));
}

#[test]
fn what_is_set_can_be_read() {
    let mut setup = setup(3);
    setup.input.transform = Transform::SymmetricOrXor;
    assert!(setup.input.set_fields(FlowKind::UdpIpv6, Fields::SRC));
    assert!(setup.table.set(9, 2));
    assert_eq!(steering(&setup).setup(), setup);
}

#[test]
fn kinds_do_not_have_other_fields() {
    let mut input = Input::DEFAULT;
    for kind in [FlowKind::Ipv4, FlowKind::Ipv6] {
        assert!(!input.set_fields(kind, Fields::SRC.with(Fields::DST_PORT)));
        assert!(!input.set_fields(kind, Fields::ALL));
        assert!(input.set_fields(kind, Fields::DST));
    }
    assert_eq!(input.fields(FlowKind::Ipv4), Fields::DST);
    assert_eq!(input.fields(FlowKind::TcpIpv4), Fields::ALL);
}

/// The fields of each kind are their own, and their hash is told as what it is.
#[test]
fn fields_of_one_kind() {
    let mut setup = setup(2);
    assert!(setup.input.set_fields(FlowKind::UdpIpv4, Fields::ADDRESSES));
    let chosen = steering(&setup);
    let addresses = Hash {
        value: by_the_book(&KEY, &[FROM, TO].concat()),
        kind: HashType::Ipv4,
    };
    let all = Hash {
        value: by_the_book(&KEY, &[&FROM[..], &TO, &PORTS].concat()),
        kind: HashType::TcpIpv4,
    };
    for (protocol, expected) in [(UDP, addresses), (ICMP, addresses), (TCP, all)] {
        let frame = v4(protocol);
        let (at, hash) = queue(&chosen, &frame);
        assert_eq!(hash, expected, "protocol {protocol}");
        assert_eq!(at, expected.value % 2);
        assert_eq!(chosen.hash(&frame), expected);
    }
}

#[test]
fn no_fields_are_no_hash() {
    let mut setup = setup(4);
    assert!(setup.input.set_fields(FlowKind::TcpIpv4, Fields::NONE));
    let chosen = steering(&setup);
    assert_eq!(queue(&chosen, &v4(TCP)), (0, Hash::NONE));
    assert_ne!(chosen.hash(&v4(UDP)), Hash::NONE);
}

#[test]
fn symmetry_of_fields() {
    let ports = Fields::SRC_PORT.with(Fields::DST_PORT);
    for fields in [Fields::NONE, Fields::ADDRESSES, Fields::ALL, ports] {
        assert!(fields.are_symmetric(), "{fields:?}");
    }
    for fields in [
        Fields::SRC,
        Fields::DST,
        Fields::ADDRESSES.with(Fields::SRC_PORT),
        ports.with(Fields::SRC),
    ] {
        assert!(!fields.are_symmetric(), "{fields:?}");
    }
}

/// What the documentation of the two transformations says is hashed.
fn transformed(transform: Transform, from: &[u8], to: &[u8], ports: &[u8; 4]) -> Vec<u8> {
    let both = |a: &[u8], b: &[u8], first: fn(u8, u8) -> u8| -> Vec<u8> {
        let pairs = || a.iter().zip(b);
        pairs()
            .map(|(a, b)| first(*a, *b))
            .chain(pairs().map(|(a, b)| a ^ b))
            .collect()
    };
    let first: fn(u8, u8) -> u8 = match transform {
        Transform::None => unreachable!(),
        Transform::SymmetricXor => |a, b| a ^ b,
        Transform::SymmetricOrXor => |a, b| a | b,
    };
    [both(from, to, first), both(&ports[..2], &ports[2..], first)].concat()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 200 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_directions_have_one_hash(
        key: [u8; KEY_LEN],
        from: [u8; 16],
        to: [u8; 16],
        tcp: bool,
        or_xor: bool,
        tags in 0usize..3,
    ) {
        let transform = if or_xor { Transform::SymmetricOrXor } else { Transform::SymmetricXor };
        let mut setup = Setup { key, ..setup(4) };
        setup.input.transform = transform;
        let symmetric = steering(&setup);
        let tags = &[VLAN; 2][..tags];
        let protocol = if tcp { TCP } else { UDP };
        let (from4, to4): ([u8; 4], [u8; 4]) =
            (*from.first_chunk().unwrap(), *to.first_chunk().unwrap());
        for (there, back, input) in [
            (
                ipv6(from, to, protocol, &PORTS),
                ipv6(to, from, protocol, &PORTS_BACK),
                transformed(transform, &from, &to, &PORTS),
            ),
            (
                ipv4(from4, to4, protocol, &[], &PORTS),
                ipv4(to4, from4, protocol, &[], &PORTS_BACK),
                transformed(transform, &from4, &to4, &PORTS),
            ),
        ] {
            let there = queue(&symmetric, &frame(tags, &there));
            prop_assert_eq!(there, queue(&symmetric, &frame(tags, &back)));
            prop_assert_eq!(there.1.value, by_the_book(&key, &input));
        }
    }

    /// Fields that are left out are zeroes in front of the hash of all.
    #[test]
    fn left_out_fields_are_zeroes(bits in 0u8..16, tcp: bool, ips: [u8; 32], ports: [u8; 4]) {
        let all = [Fields::SRC, Fields::DST, Fields::SRC_PORT, Fields::DST_PORT];
        let (mut fields, mut input) = (Fields::NONE, [&ips[..], &ports].concat());
        for (n, (field, range)) in all.into_iter().zip([0..16, 16..32, 32..34, 34..36]).enumerate() {
            if bits & (1 << n) != 0 {
                fields = fields.with(field);
            } else {
                input[range].fill(0);
            }
        }
        let (kind, protocol, l4) = if tcp {
            (FlowKind::TcpIpv6, TCP, HashType::TcpIpv6)
        } else {
            (FlowKind::UdpIpv6, UDP, HashType::UdpIpv6)
        };
        let mut setup = setup(1);
        prop_assert!(setup.input.set_fields(kind, fields));
        let (src, dst) = (*ips.first_chunk().unwrap(), *ips.last_chunk().unwrap());
        let frame = frame(&[], &ipv6(src, dst, protocol, &ports));
        let hash = steering(&setup).hash(&frame);
        prop_assert_eq!(hash.value, by_the_book(&KEY, &input));
        let expected = match bits {
            0 => HashType::None,
            1..4 => HashType::Ipv6,
            _ => l4,
        };
        prop_assert_eq!(hash.kind, expected);
    }
}
