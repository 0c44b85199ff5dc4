// SPDX-License-Identifier: GPL-2.0

//! The switches of a port, as the user changes them.

#![cfg(not(loom))]

use oxnic::nic::switches::{
    Conflict,
    Switches,
    NAMES,
    PERSONALITIES, //
};

fn with(all: &[Switches]) -> Switches {
    Switches::from_bits(all.iter().fold(0, |bits, one| bits | one.bits()))
}

fn on(from: Switches, more: &[Switches]) -> Result<Switches, Conflict> {
    from.changed(with(&[&[from], more].concat()))
}

fn off(from: Switches, less: Switches) -> Result<Switches, Conflict> {
    from.changed(Switches::from_bits(from.bits() & !less.bits()))
}

fn personality_bit(set: Switches) -> Switches {
    let first = NAMES.len() - PERSONALITIES.len();

    Switches::from_bits(set.bits() >> first << first)
}

#[test]
fn names_are_all_different() {
    for (n, name) in NAMES.iter().enumerate() {
        assert!(!NAMES[..n].contains(name), "{name}");
    }
}

#[test]
fn single_switches() {
    let one = on(Switches::NONE, &[Switches::NO_FRAGS]).unwrap();
    assert_eq!(one, Switches::NO_FRAGS);
    let two = on(one, &[Switches::XMIT_NO_FRAGS]).unwrap();
    assert_eq!(two, with(&[Switches::NO_FRAGS, Switches::XMIT_NO_FRAGS]));
    assert_eq!(off(two, Switches::NO_FRAGS), Ok(Switches::XMIT_NO_FRAGS));
    assert_eq!(two.changed(two), Ok(two));
    assert_eq!(two.changed(Switches::NONE), Ok(Switches::NONE));
    assert_eq!(two.personality(), None);
}

#[test]
fn exclusive_switches_replace_each_other() {
    let (small, usual) = (Switches::HEADROOM_192, Switches::HEADROOM_256);
    assert_eq!(small.headroom(), Some(192));
    assert_eq!(on(small, &[usual]), Ok(usual));
    assert_eq!(usual.headroom(), Some(256));
    assert_eq!(off(usual, usual).unwrap().headroom(), None);
    assert_eq!(
        on(Switches::NONE, &[small, usual]),
        Err(Conflict::Exclusive)
    );

    let mtus = [
        (Switches::MTU_1500, 1500),
        (Switches::MTU_2034, 2034),
        (Switches::MTU_3046, 3046),
    ];
    for (switch, mtu) in mtus {
        for (other, _) in mtus {
            assert_eq!(on(other, &[switch]).unwrap().single_buffer_mtu(), Some(mtu));
        }
    }
    assert_eq!(Switches::NONE.single_buffer_mtu(), None);
}

#[test]
fn a_personality_brings_its_set_and_no_other_switch() {
    for (name, set) in PERSONALITIES {
        let bit = personality_bit(*set);
        assert_eq!(bit.bits().count_ones(), 1, "{name}");
        for before in [
            Switches::NONE,
            Switches::MTU_1500,
            Switches::XSK_NO_ZEROCOPY,
            PERSONALITIES[0].1,
            *set,
        ] {
            let after = on(before, &[bit]).unwrap();
            assert_eq!(after, *set, "{name} after {before:?}");
            assert_eq!(after.personality(), Some(*name));
        }
        assert_eq!(off(*set, bit), Ok(Switches::NONE), "{name}");
    }
}

#[test]
fn a_changed_personality_is_none() {
    for (name, set) in PERSONALITIES {
        let switches = &NAMES[..NAMES.len() - PERSONALITIES.len()];
        for (n, switch) in switches.iter().enumerate() {
            let flag = Switches::from_bits(1 << n);
            let wanted = Switches::from_bits(set.bits() ^ flag.bits());
            let after = set.changed(wanted).unwrap();
            assert_eq!(after.personality(), None, "{name}");
            assert_eq!(personality_bit(after), Switches::NONE, "{name}");
            assert_eq!(after.has(flag), !set.has(flag), "{name}, {switch}");
        }
    }
}

#[test]
fn a_personality_and_something_else_at_once() {
    let (_, set) = PERSONALITIES[0];
    let bit = personality_bit(set);
    assert!(!set.has(Switches::XSK_NO_ZEROCOPY) && set.has(Switches::HEADROOM_192));
    let after = on(Switches::NONE, &[bit, Switches::XSK_NO_ZEROCOPY]).unwrap();
    assert!(after.has(Switches::XSK_NO_ZEROCOPY) && after.has(Switches::HEADROOM_192));
    assert_eq!(after.personality(), None);
    let after = on(Switches::NONE, &[bit, Switches::HEADROOM_256]).unwrap();
    assert_eq!(after.headroom(), Some(256));
    let other = personality_bit(PERSONALITIES[1].1);
    assert_eq!(
        on(Switches::NONE, &[bit, other]),
        Err(Conflict::Personalities)
    );
}

#[test]
fn changes_are_told() {
    let (name, set) = PERSONALITIES[0];
    let told: Vec<_> = Switches::MTU_1500.changes_to(set).collect();
    assert!(told.contains(&("xdp-mtu-1500", false)));
    assert!(told.contains(&("xdp-headroom-192", true)));
    assert!(told.iter().any(|(flag, on)| *on && flag.ends_with(name)));
    assert_eq!(set.changes_to(set).count(), 0);
}
