// SPDX-License-Identifier: GPL-2.0

//! Steering: which queue a frame goes to, and what is hashed for it.

#![cfg(not(loom))]

use std::mem::MaybeUninit;

use cases::cases;
use oxnic::nic::{
    ntuple::{
        Action,
        Key,
        Protocols,
        Rule,
        MAX_RULES, //
    },
    rss::{
        self,
        Hash,
        HashType,
        Indirection,
        Toeplitz,
        KEY_LEN, //
    },
    steering::{
        Fields,
        FlowKind,
        Input,
        RssContext,
        Steering,
        Transform,
        MAIN,
        MAX_CONTEXTS, //
    },
    storage::Zeroable,
};
use packets::{
    by_the_book,
    frame,
    ipv4,
    ipv6,
    ICMP,
    TCP,
    UDP,
    VLAN, //
};
use proptest::prelude::*;

mod cases;
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

fn context(queues: u32) -> RssContext {
    RssContext {
        key: KEY,
        input: Input::DEFAULT,
        table: Indirection::new(queues),
    }
}

/// Registers with the given main context.
fn steering(main: &RssContext, queues: u32) -> Box<Steering> {
    let mut steering = Box::new(Steering::ZERO);
    steering.set_queues(queues);
    assert!(steering.set_context(MAIN, Some(main)));
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

/// A value of zeroed memory, as the module allocates it.
fn zeroed<T: Zeroable>() -> Box<T> {
    // SAFETY: `Zeroable` promises that all bytes zero is a valid value.
    Box::new(unsafe { MaybeUninit::zeroed().assume_init() })
}

#[test]
fn zeroed_registers_have_one_queue() {
    let zeroed = zeroed::<Steering>();
    for steering in [&*zeroed, &Steering::ZERO] {
        assert_eq!(queue(steering, &v4(UDP)), (0, Hash::NONE));
        assert_eq!(steering.hash(&v4(UDP)).value, 0);
        assert!(steering.is_single_queue());
        assert_eq!(steering.rules().free_locations().count(), MAX_RULES);
        assert!((1..MAX_CONTEXTS as u32).all(|number| steering.context(number).is_none()));
    }
    assert_eq!(zeroed.context(MAIN), Steering::ZERO.context(MAIN));
}

#[test]
fn one_queue_needs_no_hash() {
    let one = steering(&context(1), 1);
    assert_eq!(
        one.queue(
            || -> &[u8] { unreachable!("the frame is not needed") },
            || unreachable!("nor its tag")
        ),
        Some((0, Hash::NONE))
    );
    let expected = by_the_book(&KEY, &[&FROM[..], &TO, &PORTS].concat());
    assert_eq!(one.hash(&v4(UDP)).value, expected);
}

#[test]
fn the_table_yields_one_of_several_queues() {
    let mut main = context(4);
    let hash = by_the_book(&KEY, &[&FROM[..], &TO, &PORTS].concat());
    let found = Hash {
        value: hash,
        kind: HashType::TcpIpv4,
    };
    let at = queue(&steering(&main, 4), &v4(TCP));
    assert_eq!(at, (hash % 128 % 4, found));
    assert!(main.table.set(hash as usize % 128, 77));
    assert_eq!(queue(&steering(&main, 78), &v4(TCP)), (77, found));
    let arp = [0; 60];
    assert_eq!(queue(&steering(&main, 78), &arp), (0, Hash::NONE));
}

#[test]
fn a_context_that_is_set_can_be_read() {
    let mut main = context(3);
    main.input.transform = Transform::SymmetricOrXor;
    assert!(main.input.set_fields(FlowKind::UdpIpv6, Fields::SRC));
    assert!(main.table.set(9, 2));
    let steering = steering(&main, 3);
    assert_eq!(steering.context(MAIN), Some(main));
    assert_eq!(steering.queues(), 3);
}

#[test]
fn fields_that_a_kind_does_not_have_are_refused() {
    let mut input = Input::DEFAULT;
    for kind in [FlowKind::Ipv4, FlowKind::Ipv6] {
        assert!(!input.set_fields(kind, Fields::SRC.with(Fields::DST_PORT)));
        assert!(!input.set_fields(kind, Fields::ALL));
        assert!(input.set_fields(kind, Fields::DST));
    }
    assert_eq!(input.fields(FlowKind::Ipv4), Fields::DST);
    assert_eq!(input.fields(FlowKind::TcpIpv4), Fields::ALL);
}

/// Each kind of flow has its own fields, and the type of the hash follows from them.
#[test]
fn fields_of_one_kind() {
    let mut main = context(2);
    assert!(main.input.set_fields(FlowKind::UdpIpv4, Fields::ADDRESSES));
    let chosen = steering(&main, 2);
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
    let mut main = context(4);
    assert!(main.input.set_fields(FlowKind::TcpIpv4, Fields::NONE));
    let chosen = steering(&main, 4);
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

#[test]
fn a_symmetric_hash_wants_symmetric_fields() {
    let mut input = Input::DEFAULT;
    assert!(input.set_fields(FlowKind::UdpIpv6, Fields::SRC));
    assert!(input.is_consistent());
    for transform in [Transform::SymmetricXor, Transform::SymmetricOrXor] {
        input.transform = transform;
        assert!(!input.is_consistent(), "{transform:?}");
        let mut all = Input::DEFAULT;
        all.transform = transform;
        assert!(all.is_consistent(), "{transform:?}");
    }
}

/// A rule for all frames with these protocols.
fn rule(protocols: Protocols, action: Action) -> Rule {
    Rule {
        protocols,
        key: Key::default(),
        mask: Key::default(),
        action,
    }
}

/// Registers whose UDP over IPv4 goes to an extra context with a key, fields and table of its own,
/// with `offset` added to its queues; and that context.
fn with_context(number: u32, offset: u32) -> (Box<Steering>, RssContext) {
    let mut own = context(1);
    own.key = [0xa5; KEY_LEN];
    own.key[7] = 9;
    assert!(own.input.set_fields(FlowKind::UdpIpv4, Fields::SRC));
    for entry in 0..128 {
        assert!(own.table.set(entry, 2 + (entry % 2) as u8));
    }
    let mut steering = steering(&context(2), 8);
    assert!(steering.set_context(number, Some(&own)));
    let action = Action::Rss {
        context: number,
        offset,
    };
    let udp = rule(Protocols::IPV4.with(Protocols::UDP), action);
    assert!(steering.set_rule(5, Some(&udp)));
    assert_eq!(steering.rules().get(5), Some(udp));
    (steering, own)
}

#[test]
fn a_rule_leads_to_a_context() {
    for offset in [0, 3] {
        for number in [1, MAX_CONTEXTS as u32 - 1] {
            let (steering, own) = with_context(number, offset);
            let input = [&FROM[..], &[0; 8]].concat();
            let hash = Hash {
                value: by_the_book(&own.key, &input),
                kind: HashType::Ipv4,
            };
            let expected = (2 + hash.value % 2 + offset, hash);
            assert_eq!(queue(&steering, &v4(UDP)), expected);
            // All other frames are steered as before.
            let hash = by_the_book(&KEY, &[&FROM[..], &TO, &PORTS].concat());
            let (at, found) = queue(&steering, &v4(TCP));
            assert_eq!((at, found.value), (hash % 128 % 2, hash));
            assert_eq!(steering.context(number), Some(own));
            assert_eq!(steering.context(MAIN), Some(context(2)));
        }
    }
}

#[test]
fn a_rule_leads_to_the_main_context() {
    let mut main = context(2);
    let action = |offset| Action::Rss {
        context: MAIN,
        offset,
    };
    let hash = by_the_book(&KEY, &[&FROM[..], &TO, &PORTS].concat());
    let mut steering = steering(&main, 8);
    assert!(steering.set_rule(0, Some(&rule(Protocols::TCP, action(0)))));
    assert!(steering.set_rule(1, Some(&rule(Protocols::ANY, action(4)))));
    let at = |steering: &Steering, frame: &[u8]| queue(steering, frame).0;
    assert_eq!(at(&steering, &v4(TCP)), hash % 2);
    assert_eq!(at(&steering, &v4(UDP)), 4 + hash % 2);
    assert_eq!(at(&steering, &[0; 60]), 4);
    // Also with a single queue.
    main.table = Indirection::new(1);
    assert!(steering.set_context(MAIN, Some(&main)));
    assert_eq!(at(&steering, &v4(UDP)), 4);
}

/// A frame without a hash stays within the queues of its context.
#[test]
fn a_context_without_a_hash() {
    let (mut steering, own) = with_context(4, 1);
    let any = Action::Rss {
        context: 4,
        offset: 1,
    };
    assert!(steering.set_rule(5, Some(&rule(Protocols::ANY, any))));
    assert_eq!(queue(&steering, &[0; 60]), (3, Hash::NONE));
    let mut own = own;
    assert!(own.input.set_fields(FlowKind::UdpIpv4, Fields::NONE));
    assert!(steering.set_context(4, Some(&own)));
    assert_eq!(queue(&steering, &v4(UDP)), (3, Hash::NONE));
}

#[test]
fn contexts_come_and_go() {
    let mut steering = steering(&context(4), 4);
    let last = MAX_CONTEXTS as u32 - 1;
    assert!(!steering.set_context(last + 1, Some(&context(1))));
    assert!(!steering.set_context(MAIN, None));
    for number in [1, last, last + 1, u32::MAX] {
        assert_eq!(steering.context(number), None);
    }
    assert!(steering.set_context(last, Some(&context(3))));
    let mut copy = Box::new(Steering::ZERO);
    copy.copy_from(&steering);
    assert!(steering.set_context(last, None));
    assert_eq!(steering.context(last), None);
    assert_eq!(copy.context(last), Some(context(3)));
    assert_eq!(copy.context(MAIN), Some(context(4)));
    assert_eq!(copy.queues(), 4);
    assert_eq!(queue(&copy, &v4(TCP)), queue(&steering, &v4(TCP)));
    // A context without a rule makes no difference to frames.
    let one = context(1);
    assert!(copy.set_context(MAIN, Some(&one)));
    copy.set_queues(1);
    assert!(copy.is_single_queue());
}

#[test]
fn min_queues() {
    let mut steering = steering(&context(2), 8);
    assert_eq!(steering.min_queues(), 2);
    assert!(steering.set_context(3, Some(&context(5))));
    assert_eq!(steering.min_queues(), 5);
    let mut needed = |place, action: Option<Action>| {
        let rule = action.map(|action| rule(Protocols::ANY, action));
        assert!(steering.set_rule(place, rule.as_ref()));
        steering.min_queues()
    };
    let rss = |context, offset| Some(Action::Rss { context, offset });
    assert_eq!(needed(0, Some(Action::Drop)), 5);
    assert_eq!(needed(1, Some(Action::Queue(4))), 5);
    assert_eq!(needed(1, Some(Action::Queue(5))), 6);
    assert_eq!(needed(2, rss(3, 0)), 6);
    assert_eq!(needed(2, rss(3, 2)), 7);
    assert_eq!(needed(2, rss(MAIN, 2)), 6);
    assert_eq!(needed(2, rss(MAIN, 7)), 9);
    assert_eq!(needed(2, rss(MAIN, u32::MAX)), u32::MAX);
    assert_eq!(needed(2, None), 6);
}

/// The hashed bytes, by the documentation of the two transformations.
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
    #![proptest_config(cases(200))]

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
        let mut main = RssContext { key, ..context(4) };
        main.input.transform = transform;
        let symmetric = steering(&main, 4);
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

    /// The hash is the same with and without tables.
    #[test]
    fn tables_make_no_difference(key: [u8; KEY_LEN], bytes: [u8; rss::INPUT_LEN]) {
        let mut toeplitz = Box::new(Toeplitz::ZERO);
        toeplitz.set_key(&key);
        prop_assert_eq!(rss::hash_bytes(&key, &bytes), toeplitz.hash_bytes(&bytes));
        prop_assert_eq!(rss::hash_bytes(&key, &bytes), by_the_book(&key, &bytes));
    }

    /// Fields that are not hashed are zero in the input of the hash.
    #[test]
    fn fields_that_are_not_hashed_are_zero(
        bits in 0u8..16,
        tcp: bool,
        ips: [u8; 32],
        ports: [u8; 4],
    ) {
        let all = [Fields::SRC, Fields::DST, Fields::SRC_PORT, Fields::DST_PORT];
        let (mut fields, mut input) = (Fields::NONE, [&ips[..], &ports].concat());
        let ranges = [0..16, 16..32, 32..34, 34..36];
        for (n, (field, range)) in all.into_iter().zip(ranges).enumerate() {
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
        let mut main = context(1);
        prop_assert!(main.input.set_fields(kind, fields));
        let (src, dst) = (*ips.first_chunk().unwrap(), *ips.last_chunk().unwrap());
        let frame = frame(&[], &ipv6(src, dst, protocol, &ports));
        let hash = steering(&main, 1).hash(&frame);
        prop_assert_eq!(hash.value, by_the_book(&KEY, &input));
        let expected = match bits {
            0 => HashType::None,
            1..4 => HashType::Ipv6,
            _ => l4,
        };
        prop_assert_eq!(hash.kind, expected);
    }
}
