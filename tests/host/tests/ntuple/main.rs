// SPDX-License-Identifier: GPL-2.0

//! Flow steering rules.

#![cfg(not(loom))]

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
        Indirection,
        INDIRECTION_LEN,
        KEY_LEN, //
    },
    steering::{
        Input,
        RssContext,
        Steering,
        MAIN, //
    },
    vlan::{
        Protocol,
        Tag, //
    },
};
use packets::{
    any_frame,
    frame,
    ipv4,
    ipv6,
    Known,
    ICMP,
    MACS,
    SERVICE_VLAN,
    TCP,
    UDP,
    VLAN, //
};
use proptest::{
    prelude::*,
    sample::Index, //
};

#[path = "../cases/mod.rs"]
mod cases;
mod fields;
#[path = "../packets/mod.rs"]
mod packets;

const SRC: [u8; 4] = [10, 0, 0, 1];
const DST: [u8; 4] = [10, 0, 0, 2];
const SRC6: [u8; 16] = [0xfd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
const DST6: [u8; 16] = [0xfe, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];
const PORTS: [u8; 4] = [0x12, 0x34, 0, 80];
const ALL: [u8; 2] = [0xff; 2];
const HASH_KEY: [u8; KEY_LEN] = [0x5a; KEY_LEN];
const OTHER_KEY: [u8; KEY_LEN] = [0x6d; KEY_LEN];
/// A context with another key than the main one.
const EXTRA: u32 = 5;

fn steering(queues: u32) -> Box<Steering> {
    let mut steering = Box::new(Steering::ZERO);
    let main = RssContext {
        key: HASH_KEY,
        input: Input::DEFAULT,
        table: Indirection::new(1),
    };
    steering.set_queues(queues);
    assert!(steering.set_context(MAIN, Some(&main)));
    steering
}

fn v4(protocol: u8) -> Vec<u8> {
    frame(
        &[],
        &ipv4(SRC, DST, protocol, &[], &[&PORTS[..], &[0; 16]].concat()),
    )
}

fn v6(protocol: u8) -> Vec<u8> {
    frame(
        &[],
        &ipv6(SRC6, DST6, protocol, &[&PORTS[..], &[0; 16]].concat()),
    )
}

fn wide(ip: [u8; 4]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide[..4].copy_from_slice(&ip);
    wide
}

fn rule(protocols: Protocols, key: Key, mask: Key) -> Rule {
    Rule {
        protocols,
        key,
        mask,
        action: Action::Queue(7),
    }
}

/// Whether the frame matches a rule that is the only one.
fn matches(rule: &Rule, frame: &[u8], tag: Option<Tag>) -> bool {
    let mut steering = steering(8);
    assert!(steering.set_rule(0, Some(rule)));
    match steering.queue(|| frame, || tag) {
        Some((7, hash)) => {
            // A rule does not change the hash.
            assert_eq!(hash, steering.hash(frame));
            true
        }
        Some((0, _)) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn locations_and_priority() {
    let mut steering = steering(1);
    assert!(steering.is_single_queue());
    let any = |action| Rule {
        action,
        ..rule(Protocols::ANY, Key::default(), Key::default())
    };
    assert!(!steering.set_rule(3, None), "no rule to remove");
    assert!(!steering.set_rule(MAX_RULES, Some(&any(Action::Drop))));
    assert!(steering.is_single_queue() && steering.rules().count() == 0);

    assert!(steering.set_rule(3, Some(&any(Action::Queue(3)))));
    assert!(!steering.is_single_queue(), "frames must be parsed");
    let frame = v4(UDP);
    let queue = |steering: &Steering| {
        steering
            .queue(|| &frame[..], || None)
            .map(|(queue, _)| queue)
    };
    assert_eq!(queue(&steering), Some(3));
    assert!(steering.set_rule(MAX_RULES - 1, Some(&any(Action::Queue(9)))));
    assert_eq!(queue(&steering), Some(3));
    assert!(steering.set_rule(0, Some(&any(Action::Drop))));
    assert_eq!(queue(&steering), None);
    assert_eq!(
        steering.rules().used_locations().collect::<Vec<_>>(),
        [0, 3, MAX_RULES - 1]
    );
    assert_eq!(steering.rules().free_locations().next(), Some(1));
    assert_eq!(
        steering.rules().free_locations().next_back(),
        Some(MAX_RULES - 2)
    );
    assert_eq!(steering.rules().count(), 3);

    // A rule replaces another at the same location.
    assert!(steering.set_rule(0, Some(&any(Action::Queue(2)))));
    assert_eq!(queue(&steering), Some(2));
    assert_eq!(steering.rules().get(0), Some(any(Action::Queue(2))));
    assert_eq!(steering.rules().get(1), None);
    assert_eq!(steering.rules().count(), 3);

    let mut copy = self::steering(1);
    copy.copy_from(&steering);
    assert_eq!(queue(&copy), Some(2));
    for location in [0, 3, MAX_RULES - 1] {
        assert!(steering.set_rule(location, None));
    }
    assert!(steering.is_single_queue());
    assert_eq!(queue(&steering), Some(0));
    assert_eq!(queue(&copy), Some(2));
    copy.clear_rules();
    assert!(copy.is_single_queue() && copy.rules().count() == 0);
}

#[test]
fn rules_that_match_the_same_frames() {
    let mut steering = steering(4);
    let mask = Key {
        dst_port: [0xff, 0],
        ..Key::default()
    };
    let port = |high, low| Key {
        dst_port: [high, low],
        ..Key::default()
    };
    let udp = Protocols::IPV4.with(Protocols::UDP);
    assert!(steering.set_rule(3, Some(&rule(udp, port(1, 0), mask))));
    assert!(steering.set_rule(5, Some(&rule(Protocols::IPV4, port(2, 0), mask))));
    let find = |rule| steering.rules().find_same_match(&rule);
    let same = Rule {
        action: Action::Drop,
        // The bits outside the mask make no difference.
        ..rule(udp, port(1, 7), mask)
    };
    assert_eq!(find(same), Some(3));
    assert_eq!(find(rule(Protocols::IPV4, port(2, 0), mask)), Some(5));
    assert_eq!(find(rule(udp, port(2, 0), mask)), None);
    assert_eq!(find(rule(udp, port(1, 0), port(0xff, 1))), None);
    assert_eq!(find(rule(Protocols::ANY, port(1, 0), mask)), None);
}

#[test]
fn kinds_of_flows() {
    let everything = |protocols| rule(protocols, Key::default(), Key::default());
    let arp = [&MACS[..], &[0x08, 0x06], &[0; 46]].concat();
    let mut fragment = v4(TCP);
    fragment[14 + 7] = 1;
    let kinds = [
        Protocols::ANY,
        Protocols::IPV4,
        Protocols::IPV6,
        Protocols::IPV4.with(Protocols::TCP),
        Protocols::IPV4.with(Protocols::UDP),
        Protocols::IPV6.with(Protocols::TCP),
        Protocols::IPV6.with(Protocols::UDP),
    ];
    for (name, frame, expected) in [
        ("ARP", arp, [true, false, false, false, false, false, false]),
        (
            "ICMP",
            v4(ICMP),
            [true, true, false, false, false, false, false],
        ),
        (
            "a fragment",
            fragment,
            [true, true, false, false, false, false, false],
        ),
        (
            "TCP",
            v4(TCP),
            [true, true, false, true, false, false, false],
        ),
        (
            "UDP",
            v4(UDP),
            [true, true, false, false, true, false, false],
        ),
        (
            "TCP over IPv6",
            v6(TCP),
            [true, false, true, false, false, true, false],
        ),
        (
            "UDP over IPv6",
            v6(UDP),
            [true, false, true, false, false, false, true],
        ),
        (
            "extension headers",
            v6(0),
            [true, false, true, false, false, false, false],
        ),
        (
            "a torso",
            vec![0; 10],
            [true, false, false, false, false, false, false],
        ),
    ] {
        let found = kinds.map(|protocols| matches(&everything(protocols), &frame, None));
        assert_eq!(found, expected, "{name}");
    }
}

/// A tag that is not in the frame is its outermost one.
#[test]
fn tags() {
    let vlan = |vlan_tci| Key {
        vlan_type: [0x81, 0],
        vlan_tci,
        ..Key::default()
    };
    let mask = Key {
        vlan_type: ALL,
        vlan_tci: [0x0f, 0xff],
        ..Key::default()
    };
    let five = rule(Protocols::ANY, vlan([0, 5]), mask);
    let outside = |tci| {
        Some(Tag {
            protocol: Protocol::Customer,
            tci,
        })
    };
    let tagged = frame(&[VLAN], &ipv4(SRC, DST, UDP, &[], &PORTS));
    assert!(matches(&five, &tagged, None));
    assert!(matches(&five, &v4(UDP), outside(5)));
    assert!(
        matches(&five, &v4(UDP), outside(0xe005)),
        "priority is masked"
    );
    assert!(!matches(&five, &v4(UDP), outside(6)));
    assert!(!matches(&five, &v4(UDP), None));
    assert!(!matches(&five, &tagged, outside(6)));
}

fn bytes(key: &Key) -> Vec<u8> {
    [
        &key.dst_mac[..],
        &key.src_mac,
        &key.ether_type,
        &key.vlan_type,
        &key.vlan_tci,
        &key.src_ip,
        &key.dst_ip,
        &[key.tos, key.protocol],
        &key.src_port,
        &key.dst_port,
    ]
    .concat()
}

fn from_bytes(bytes: &[u8]) -> Key {
    let mut rest = bytes;
    let mut next = |to: &mut [u8]| {
        let (head, tail) = rest.split_at(to.len());
        to.copy_from_slice(head);
        rest = tail;
    };
    let mut key = Key::default();
    next(&mut key.dst_mac);
    next(&mut key.src_mac);
    next(&mut key.ether_type);
    next(&mut key.vlan_type);
    next(&mut key.vlan_tci);
    next(&mut key.src_ip);
    next(&mut key.dst_ip);
    let mut two = [0; 2];
    next(&mut two);
    [key.tos, key.protocol] = two;
    next(&mut key.src_port);
    next(&mut key.dst_port);
    key
}

proptest! {
    #![proptest_config(cases(500))]

    /// Rules that match some of the bits of a frame have the same result as a comparison rule by
    /// rule and bit by bit. The hash stays the same.
    #[test]
    fn rules_match_bit_by_bit(
        frame in any_frame(),
        outside in prop::option::of((any::<bool>(), any::<u16>())),
        rules in prop::collection::vec(any_rule(), 0..8),
    ) {
        let tag = outside.map(|(service, tci)| Tag {
            protocol: if service { Protocol::Service } else { Protocol::Customer },
            tci,
        });
        let mut known = Known::of(&frame);
        if let Some(tag) = tag {
            known.vlan_type = tag.protocol.ethertype().to_be_bytes();
            known.vlan_tci = tag.tci.to_be_bytes();
        }
        let found = known_bytes(&known);

        let mut steering = steering(4);
        let extra = RssContext {
            key: OTHER_KEY,
            input: Input::DEFAULT,
            table: Indirection::new(3),
        };
        prop_assert!(steering.set_context(EXTRA, Some(&extra)));
        let mut decided = None;
        for (n, (protocols, mask, turned, action)) in rules.iter().enumerate() {
            let mut key = found.clone();
            if let Some((byte, bit)) = turned {
                key[byte.index(found.len())] ^= 1 << bit;
            }
            let rule = Rule {
                protocols: protocols_of(*protocols),
                key: from_bytes(&key),
                mask: from_bytes(mask),
                action: *action,
            };
            // From the last location to the first.
            let location = MAX_RULES - 1 - 3 * n;
            prop_assert!(steering.set_rule(location, Some(&rule)));
            let protocols_fit = [
                known.version == 4,
                known.version == 6,
                known.has_ports && known.protocol == TCP,
                known.has_ports && known.protocol == UDP,
            ]
            .iter()
            .enumerate()
            .all(|(bit, fits)| protocols & (1 << bit) == 0 || *fits);
            let fits = (0..key.len()).all(|at| (key[at] ^ found[at]) & mask[at] == 0);
            if protocols_fit && fits {
                decided = Some(*action);
            }
        }

        let hash = known.hash(&HASH_KEY);
        let expected = match decided {
            Some(Action::Drop) => None,
            Some(Action::Queue(queue)) => Some((queue, hash)),
            Some(Action::Rss { context: MAIN, offset }) => Some((offset, hash)),
            Some(Action::Rss { offset, .. }) => {
                let hash = known.hash(&OTHER_KEY);
                Some((hash.value % INDIRECTION_LEN as u32 % 3 + offset, hash))
            }
            None => Some((0, hash)),
        };
        prop_assert_eq!(steering.queue(|| &frame[..], || tag), expected);
    }

    /// The outermost tag of a frame is found.
    #[test]
    fn tags_of_any_frame(frame in any_frame()) {
        let known = Known::of(&frame);
        let tag = Tag::outermost(&frame);
        prop_assert_eq!(tag.is_some(), known.vlan_type != [0, 0]);
        if let Some(tag) = tag {
            prop_assert_eq!(&tag.bytes()[..], [known.vlan_type, known.vlan_tci].concat());
        }
    }
}

/// The parts of a rule: the protocols as bits, the mask, a bit of the key that differs from the
/// frame, the action.
fn any_rule() -> impl Strategy<Value = (u8, Vec<u8>, Option<(Index, u8)>, Action)> {
    let byte = prop_oneof![6 => Just(0), 1 => Just(0xff), 1 => any::<u8>()];
    (
        prop_oneof![Just(0), 0u8..16],
        prop::collection::vec(byte, bytes(&Key::default()).len()),
        prop::option::of((any::<Index>(), 0u8..8)),
        prop_oneof![
            1 => Just(Action::Drop),
            3 => (0u32..64).prop_map(Action::Queue),
            3 => (prop::sample::select(vec![MAIN, EXTRA]), 0u32..64)
                .prop_map(|(context, offset)| Action::Rss { context, offset }),
        ],
    )
}

fn protocols_of(bits: u8) -> Protocols {
    [
        Protocols::IPV4,
        Protocols::IPV6,
        Protocols::TCP,
        Protocols::UDP,
    ]
    .into_iter()
    .enumerate()
    .filter(|(n, _)| bits & (1 << n) != 0)
    .fold(Protocols::ANY, |all, (_, more)| all.with(more))
}

/// The key of a frame, laid out as by [`bytes`].
fn known_bytes(known: &Known) -> Vec<u8> {
    [
        &known.dst_mac[..],
        &known.src_mac,
        &known.ether_type,
        &known.vlan_type,
        &known.vlan_tci,
        &known.src_ip,
        &known.dst_ip,
        &[known.tos, known.protocol],
        &known.src_port,
        &known.dst_port,
    ]
    .concat()
}
