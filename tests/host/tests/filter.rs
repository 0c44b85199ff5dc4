// SPDX-License-Identifier: GPL-2.0

//! The receive filter.

#![cfg(not(loom))]

use std::mem::MaybeUninit;

use cases::cases;
use oxnic::dest::Dest;
use oxnic::nic::{
    filter::{
        Address,
        Filter,
        Mode,
        NotForUs,
        Overflow,
        MULTICAST_LEN,
        UNICAST_LEN, //
    },
    headers::ETH_LEN,
    storage::Zeroable,
    vlan::{
        Protocol,
        Tag, //
    },
    wire::{
        Checksum,
        FrameHead,
        Malformed,
        Patch,
        TxFrame, //
    },
};
use proptest::{
    collection::vec,
    prelude::*, //
};

mod cases;

const OWN: Address = [0x02, 1, 2, 3, 4, 5];
const OTHER: Address = [0x02, 1, 2, 3, 4, 6];
const GROUP: Address = [0x01, 0, 0x5e, 0, 0, 1];
const BROADCAST: Address = [0xff; 6];
const PROMISCUOUS: Mode = Mode {
    promiscuous: true,
    all_multicast: false,
};
const ALL_MULTICAST: Mode = Mode {
    promiscuous: false,
    all_multicast: true,
};

/// A frame whose first piece holds only the Ethernet header.
struct Scattered {
    bytes: Vec<u8>,
    tag: Option<Tag>,
}

impl TxFrame for Scattered {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn head(&self) -> FrameHead<'_> {
        FrameHead::Linear(&self.bytes)
    }

    fn is_plain(&self) -> bool {
        false
    }

    fn start(&self) -> &[u8] {
        &self.bytes[..self.len().min(ETH_LEN)]
    }

    fn tag(&self) -> Option<Tag> {
        self.tag
    }

    fn copy_to(&self, _to: Dest<'_>) -> Result<Checksum, Malformed> {
        Err(Malformed)
    }

    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
        Err(Malformed)
    }

    fn copy_part(&self, _offset: usize, _to: Dest<'_>) -> Result<(), Malformed> {
        Err(Malformed)
    }
}

/// A frame with tags in it, and one that is not in it.
fn frame(to: Address, tags: &[Tag], outside: Option<Tag>) -> Scattered {
    let mut bytes = to.to_vec();
    // The source address must not matter: it is not zero.
    bytes.extend([0xa5; 6]);
    for tag in tags {
        bytes.extend(tag.bytes());
    }
    bytes.extend([0x08, 0x00]);
    bytes.resize(60, 0);
    Scattered {
        bytes,
        tag: outside,
    }
}

fn to(address: Address) -> Scattered {
    frame(address, &[], None)
}

fn customer(tci: u16) -> Tag {
    Tag {
        protocol: Protocol::Customer,
        tci,
    }
}

fn service(tci: u16) -> Tag {
    Tag {
        protocol: Protocol::Service,
        tci,
    }
}

/// A filter of a port with the address [`OWN`].
fn filter() -> Box<Filter> {
    let mut filter = Box::new(Filter::ALL);
    filter.set_own(OWN);
    filter
}

/// `count` addresses that differ in their last bytes.
fn many(first: u8, count: usize) -> Vec<Address> {
    // Neither in ascending nor in descending order.
    let at = |i: usize| (i * 0x9e37) as u16;
    (0..count)
        .map(|i| [first, 0, 0, 0, (at(i) >> 8) as u8, at(i) as u8])
        .collect()
}

/// A value of zeroed memory, as the module allocates it.
fn zeroed<T: Zeroable>() -> Box<T> {
    // SAFETY: `Zeroable` promises that all bytes zero is a valid value.
    Box::new(unsafe { MaybeUninit::zeroed().assume_init() })
}

#[test]
fn a_zeroed_filter_accepts_everything() {
    assert!(*zeroed::<Filter>() == Filter::ALL);
    for address in [OWN, OTHER, GROUP, BROADCAST, [0; 6]] {
        assert_eq!(Filter::ALL.check(&to(address)), Ok(()));
    }
}

#[test]
fn own_address_and_broadcast() {
    let filter = filter();

    assert_eq!(filter.check(&to(OWN)), Ok(()));
    assert_eq!(filter.check(&to(BROADCAST)), Ok(()));
    for address in [OTHER, GROUP, [0; 6]] {
        assert_eq!(filter.check(&to(address)), Err(NotForUs::Address));
    }
    // Every bit of an address is compared.
    for bit in 0..48 {
        let mut address = OWN;
        address[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(filter.check(&to(address)), Err(NotForUs::Address));
    }
}

#[test]
fn another_own_address() {
    let mut filter = filter();

    filter.set_own(OTHER);
    assert_eq!(filter.check(&to(OTHER)), Ok(()));
    assert_eq!(filter.check(&to(OWN)), Err(NotForUs::Address));
}

#[test]
fn too_short_frames_are_left_to_the_wire() {
    for len in 0..ETH_LEN {
        let mut runt = to(OTHER);
        runt.bytes.truncate(len);
        assert_eq!(filter().check(&runt), Ok(()), "{len} bytes");
    }
    let mut shortest = to(OTHER);
    shortest.bytes.truncate(ETH_LEN);
    assert_eq!(filter().check(&shortest), Err(NotForUs::Address));
}

#[test]
fn modes() {
    let mut filter = filter();

    filter.set_mode(ALL_MULTICAST, []);
    assert_eq!(filter.check(&to(GROUP)), Ok(()));
    assert_eq!(filter.check(&to(OTHER)), Err(NotForUs::Address));
    filter.set_mode(PROMISCUOUS, []);
    assert_eq!(filter.check(&to(GROUP)), Ok(()));
    assert_eq!(filter.check(&to(OTHER)), Ok(()));
    filter.set_mode(Mode::default(), []);
    assert_eq!(filter.check(&to(GROUP)), Err(NotForUs::Address));
    assert_eq!(filter.check(&to(OTHER)), Err(NotForUs::Address));
}

#[test]
fn lists_up_to_their_length_and_beyond() {
    for (first, room, others) in [(2, UNICAST_LEN, GROUP), (3, MULTICAST_LEN, OTHER)] {
        let mut filter = filter();
        let addresses = many(first, room + 1);
        let (last, fitting) = addresses.split_last().unwrap();

        // An address that occurs twice is listed once.
        filter.set_mode(
            Mode::default(),
            fitting.iter().chain(fitting.iter().rev()).copied(),
        );
        assert_eq!(filter.overflow(), Overflow::default());
        for address in fitting {
            assert_eq!(filter.check(&to(*address)), Ok(()));
        }
        assert_eq!(filter.check(&to(*last)), Err(NotForUs::Address));

        filter.set_mode(Mode::default(), addresses.iter().copied());
        let unicast = first & 1 == 0;
        assert_eq!(
            filter.overflow(),
            Overflow {
                unicast,
                multicast: !unicast
            }
        );
        for address in &addresses {
            assert_eq!(filter.check(&to(*address)), Ok(()));
        }
        let unlisted = [first, 0xff, 0, 0, 0, 0];
        assert_eq!(filter.check(&to(unlisted)), Ok(()));
        // The other list has not overflowed.
        assert_eq!(filter.check(&to(others)), Err(NotForUs::Address));

        filter.set_mode(Mode::default(), fitting.iter().copied());
        assert_eq!(filter.overflow(), Overflow::default());
        assert_eq!(filter.check(&to(unlisted)), Err(NotForUs::Address));
    }
}

#[test]
fn vlans() {
    let mut filter = filter();
    let check = |filter: &Filter, to: Address, tag: Tag| {
        let inside = filter.check(&frame(to, &[tag], None));
        let outside = filter.check(&frame(to, &[], Some(tag)));
        assert_eq!(inside, outside);
        // Only the outermost tag is compared.
        assert_eq!(inside, filter.check(&frame(to, &[tag, customer(9)], None)));
        assert_eq!(inside, filter.check(&frame(to, &[customer(9)], Some(tag))));
        inside
    };

    filter.set_vlan(5, true);
    filter.set_vlan(4095, true);
    for tci in [5, 6] {
        assert_eq!(check(&filter, OWN, customer(tci)), Ok(()), "switched off");
    }
    filter.set_filters_vlans(true);
    for (tag, expected) in [
        (customer(5), Ok(())),
        (customer(0xe005), Ok(())),
        (customer(0x0fff), Ok(())),
        (customer(0), Ok(())),
        (customer(0xe000), Ok(())),
        (customer(6), Err(NotForUs::Vlan)),
        (customer(4), Err(NotForUs::Vlan)),
        (customer(69), Err(NotForUs::Vlan)),
        (service(6), Ok(())),
    ] {
        for address in [OWN, BROADCAST] {
            assert_eq!(check(&filter, address, tag), expected, "{tag:x?}");
        }
        assert_eq!(check(&filter, OTHER, tag), Err(NotForUs::Address));
    }
    assert_eq!(filter.check(&to(OWN)), Ok(()), "no tag");
    filter.set_mode(PROMISCUOUS, []);
    assert_eq!(check(&filter, OTHER, customer(6)), Ok(()), "promiscuous");
    filter.set_mode(Mode::default(), []);
    filter.set_vlan(5, false);
    assert_eq!(check(&filter, OWN, customer(5)), Err(NotForUs::Vlan));
    filter.set_filters_vlans(false);
    assert_eq!(check(&filter, OWN, customer(5)), Ok(()));
}

/// One of a few addresses, so that listed and sent ones are often equal.
fn address() -> impl Strategy<Value = Address> {
    (0u16..1000).prop_map(|number| {
        let digit = |place: u32| [0, 1, 0xff][(number / 4 / 3u16.pow(place) % 3) as usize];
        let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(digit);
        [(number % 4) as u8, a, b, c, d, e]
    })
}

proptest! {
    #![proptest_config(cases(256))]

    /// In any order of changes, the filter does what its documentation says.
    #[test]
    fn as_described(
        owns in vec(address(), 1..3),
        mode in any::<(bool, bool)>(),
        listed in vec(address(), 0..400),
        vlans in proptest::option::of(vec(0u16..8, 0..4)),
        frames in vec((address(), proptest::option::of(0u16..8)), 1..50),
        own_last in any::<bool>(),
    ) {
        let (promiscuous, all_multicast) = mode;
        let own = *owns.last().unwrap();
        let mut filter = Box::new(Filter::ALL);
        let set_own = |filter: &mut Filter| owns.iter().for_each(|own| filter.set_own(*own));

        if !own_last {
            set_own(&mut filter);
        }
        filter.set_mode(Mode { promiscuous, all_multicast }, listed.iter().copied());
        for id in vlans.iter().flatten() {
            filter.set_vlan(*id, true);
        }
        filter.set_filters_vlans(vlans.is_some());
        if own_last {
            set_own(&mut filter);
        }

        let is_group = |address: &Address| address[0] & 1 != 0;
        let distinct = |group: bool| {
            let mut list: Vec<_> = listed.iter().filter(|a| is_group(a) == group).collect();
            list.sort();
            list.dedup();
            list.len()
        };
        let overflow = Overflow {
            unicast: distinct(false) > UNICAST_LEN,
            multicast: distinct(true) > MULTICAST_LEN,
        };
        prop_assert_eq!(filter.overflow(), overflow);
        for (dst, vlan) in frames {
            let wanted = dst == own
                || dst == BROADCAST
                || listed.contains(&dst)
                || if is_group(&dst) {
                    all_multicast || overflow.multicast
                } else {
                    overflow.unicast
                };
            let has_vlan = match (&vlans, vlan) {
                (Some(vlans), Some(id)) => id == 0 || vlans.contains(&id),
                _ => true,
            };
            let expected = match (promiscuous, wanted, has_vlan) {
                (true, _, _) | (_, true, true) => Ok(()),
                (_, false, _) => Err(NotForUs::Address),
                (_, _, false) => Err(NotForUs::Vlan),
            };
            let tags: Vec<_> = vlan.map(customer).into_iter().collect();
            prop_assert_eq!(filter.check(&frame(dst, &tags, None)), expected);
        }
    }
}
