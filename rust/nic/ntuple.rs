// SPDX-License-Identifier: GPL-2.0

//! Flow steering rules (ntuple filters): frames that go to a queue of the user's choice, or nowhere,
//! whatever their hash.

use super::{
    rss::{self, Addresses, Ports},
    vlan::Tag,
};

/// How many rules there can be; a rule's place among them is its priority.
pub const MAX_RULES: usize = 64;

/// What a rule can look at, as it is in the frame. What a frame does not have is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Destination address of the Ethernet header.
    pub dst_mac: [u8; 6],
    /// Source address of the Ethernet header.
    pub src_mac: [u8; 6],
    /// The EtherType behind all tags.
    pub ether_type: [u8; 2],
    /// The EtherType of the outermost tag.
    pub vlan_type: [u8; 2],
    /// The tag control information of the outermost tag.
    pub vlan_tci: [u8; 2],
    /// Source address; of IPv4 in the first four bytes.
    pub src_ip: [u8; 16],
    /// Destination address; of IPv4 in the first four bytes.
    pub dst_ip: [u8; 16],
    /// Type of service, or traffic class.
    pub tos: u8,
    /// The protocol behind IPv4, or behind the fixed header of IPv6.
    pub protocol: u8,
    /// Source port.
    pub src_port: [u8; 2],
    /// Destination port.
    pub dst_port: [u8; 2],
}

impl Key {
    /// Of the frame that starts with `head` and has `tag` beside it, if any; and its flow.
    fn of(head: &[u8], tag: Option<Tag>) -> (Self, FlowIs) {
        let mut key = Self::default();
        if let Some((dst, rest)) = head.split_first_chunk() {
            key.dst_mac = *dst;
            key.src_mac = rest.first_chunk().copied().unwrap_or_default();
        }
        if let Some(tag) = tag.or_else(|| Tag::of(head)) {
            key.vlan_type = tag.protocol.ethertype().to_be_bytes();
            key.vlan_tci = tag.tci.to_be_bytes();
        }
        let Some((ether_type, packet)) = rss::packet(head) else {
            return (key, FlowIs::ANY);
        };
        key.ether_type = ether_type.to_be_bytes();
        let Some(flow) = rss::flow(head) else {
            return (key, FlowIs::ANY);
        };
        let mut is = FlowIs::ANY;
        // The flow was found, so that the headers are whole.
        match (flow.addresses, packet) {
            (
                Addresses::V4(&[s0, s1, s2, s3, ref dst @ ..]),
                &[_, tos, _, _, _, _, _, _, _, protocol, ..],
            ) => {
                is = is.with(FlowIs::IPV4);
                (key.tos, key.protocol) = (tos, protocol);
                for (to, from) in key.src_ip.iter_mut().zip([s0, s1, s2, s3]) {
                    *to = from;
                }
                for (to, &from) in key.dst_ip.iter_mut().zip(dst) {
                    *to = from;
                }
            }
            (Addresses::V6(addresses), &[first, second, _, _, _, _, protocol, ..]) => {
                is = is.with(FlowIs::IPV6);
                (key.tos, key.protocol) = ((first << 4) | (second >> 4), protocol);
                let (src, dst) = addresses.split_at(16);
                for (to, &from) in key.src_ip.iter_mut().zip(src) {
                    *to = from;
                }
                for (to, &from) in key.dst_ip.iter_mut().zip(dst) {
                    *to = from;
                }
            }
            _ => {}
        }
        let ports = match flow.ports {
            Ports::None => return (key, is),
            Ports::Tcp(ports) => {
                is = is.with(FlowIs::TCP);
                ports
            }
            Ports::Udp(ports) => {
                is = is.with(FlowIs::UDP);
                ports
            }
        };
        let [s0, s1, d0, d1] = *ports;
        (key.src_port, key.dst_port) = ([s0, s1], [d0, d1]);
        (key, is)
    }

    /// Whether all bits that are set in `mask` are the same in both.
    fn equals(&self, other: &Self, mask: &Self) -> bool {
        fn same<const N: usize>(a: [u8; N], b: [u8; N], mask: [u8; N]) -> bool {
            let pairs = a.into_iter().zip(b);
            pairs.zip(mask).all(|((a, b), mask)| (a ^ b) & mask == 0)
        }
        same(self.dst_mac, other.dst_mac, mask.dst_mac)
            && same(self.src_mac, other.src_mac, mask.src_mac)
            && same(self.ether_type, other.ether_type, mask.ether_type)
            && same(self.vlan_type, other.vlan_type, mask.vlan_type)
            && same(self.vlan_tci, other.vlan_tci, mask.vlan_tci)
            && same(self.src_ip, other.src_ip, mask.src_ip)
            && same(self.dst_ip, other.dst_ip, mask.dst_ip)
            && same([self.tos], [other.tos], [mask.tos])
            && same([self.protocol], [other.protocol], [mask.protocol])
            && same(self.src_port, other.src_port, mask.src_port)
            && same(self.dst_port, other.dst_port, mask.dst_port)
    }
}

/// What a frame has to be, or is: bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowIs(u8);

impl FlowIs {
    /// Any frame.
    pub const ANY: Self = Self(0);
    /// IPv4.
    pub const IPV4: Self = Self(1 << 0);
    /// IPv6.
    pub const IPV6: Self = Self(1 << 1);
    /// TCP, with its ports: not a fragment, and not behind extension headers of IPv6.
    pub const TCP: Self = Self(1 << 2);
    /// UDP, likewise.
    pub const UDP: Self = Self(1 << 3);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is all of `other`.
    const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To this queue.
    Queue(u32),
    /// To the queue that an RSS context says, and from there so many on.
    Rss {
        /// Number of the context; 0 is the main one.
        context: u32,
        /// What is added to the queue of its table.
        offset: u32,
    },
    /// Nowhere.
    Drop,
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the frame has to be.
    pub is: FlowIs,
    /// What is in it.
    pub key: Key,
    /// As far as these bits are set.
    pub mask: Key,
    /// Where it goes then.
    pub action: Action,
}

impl Rule {
    fn matches(&self, is: FlowIs, key: &Key) -> bool {
        is.contains(self.is) && self.key.equals(key, &self.mask)
    }
}

/// What kind of [`Action`] it is.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Queue = 0,
    Rss,
    Drop,
}

/// A place in the table, of which all zeroes is an empty one.
#[derive(Clone, Copy)]
struct Place {
    used: bool,
    is: FlowIs,
    key: Key,
    mask: Key,
    kind: Kind,
    context: u32,
    /// The queue, or what is added to it.
    queue: u32,
}

impl Place {
    const EMPTY: Self = Self {
        used: false,
        is: FlowIs::ANY,
        key: NO_KEY,
        mask: NO_KEY,
        kind: Kind::Queue,
        context: 0,
        queue: 0,
    };

    fn new(rule: &Rule) -> Self {
        let (kind, context, queue) = match rule.action {
            Action::Queue(queue) => (Kind::Queue, 0, queue),
            Action::Rss { context, offset } => (Kind::Rss, context, offset),
            Action::Drop => (Kind::Drop, 0, 0),
        };
        Self {
            used: true,
            is: rule.is,
            key: rule.key,
            mask: rule.mask,
            kind,
            context,
            queue,
        }
    }

    fn rule(&self) -> Option<Rule> {
        self.used.then_some(Rule {
            is: self.is,
            key: self.key,
            mask: self.mask,
            action: match self.kind {
                Kind::Queue => Action::Queue(self.queue),
                Kind::Rss => Action::Rss {
                    context: self.context,
                    offset: self.queue,
                },
                Kind::Drop => Action::Drop,
            },
        })
    }
}

const NO_KEY: Key = Key {
    dst_mac: [0; 6],
    src_mac: [0; 6],
    ether_type: [0; 2],
    vlan_type: [0; 2],
    vlan_tci: [0; 2],
    src_ip: [0; 16],
    dst_ip: [0; 16],
    tos: 0,
    protocol: 0,
    src_port: [0; 2],
    dst_port: [0; 2],
};

/// All rules: the first that matches a frame decides.
pub struct Rules {
    places: [Place; MAX_RULES],
    count: u32,
}

impl Rules {
    /// None. Some kilobytes.
    pub(super) const NONE: Self = Self {
        places: [Place::EMPTY; MAX_RULES],
        count: 0,
    };

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The rule at a place.
    pub fn get(&self, place: usize) -> Option<Rule> {
        self.places.get(place)?.rule()
    }

    /// All of them, in the order of their places.
    pub(super) fn all(&self) -> impl Iterator<Item = Rule> + '_ {
        self.places.iter().filter_map(Place::rule)
    }

    /// The places that have a rule, in ascending order.
    pub fn used(&self) -> impl Iterator<Item = usize> + '_ {
        let places = self.places.iter().enumerate();
        places.filter(|(_, place)| place.used).map(|(n, _)| n)
    }

    /// The place of the first rule about just the same frames.
    pub fn like(&self, rule: &Rule) -> Option<usize> {
        self.places.iter().position(|place| {
            place.rule().is_some_and(|other| {
                (other.is, other.mask) == (rule.is, rule.mask)
                    && other.key.equals(&rule.key, &rule.mask)
            })
        })
    }

    /// The places that have none, in ascending order.
    pub fn free(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let places = self.places.iter().enumerate();
        places.filter(|(_, place)| !place.used).map(|(n, _)| n)
    }

    /// Puts a rule to a place, or with [`None`] takes it away. Returns `false` if there is no such
    /// place, or no rule to take away.
    #[must_use]
    pub(super) fn set(&mut self, place: usize, rule: Option<&Rule>) -> bool {
        let Some(place) = self.places.get_mut(place) else {
            return false;
        };
        let was_used = place.used;
        *place = rule.map_or(Place::EMPTY, Place::new);
        self.count = self.count - u32::from(was_used) + u32::from(place.used);
        was_used || place.used
    }

    /// Takes over the rules of another table.
    pub(super) fn copy_from(&mut self, other: &Self) {
        self.places.copy_from_slice(&other.places);
        self.count = other.count;
    }

    /// Takes all away.
    pub(super) fn clear(&mut self) {
        self.places.fill(Place::EMPTY);
        self.count = 0;
    }

    /// What is to become of the frame that starts with `head` and has `tag` beside it; [`None`] if no
    /// rule is about it.
    pub(super) fn action(&self, head: &[u8], tag: Option<Tag>) -> Option<Action> {
        let (key, is) = Key::of(head, tag);
        Some(self.all().find(|rule| rule.matches(is, &key))?.action)
    }
}
