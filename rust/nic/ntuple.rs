// SPDX-License-Identifier: GPL-2.0

//! Flow steering rules (ntuple filters): matching frames go to a given queue, or are dropped,
//! whatever their hash is.

use super::{
    headers::{
        Addresses,
        Ethernet,
        Ip,
        Ports, //
    },
    vlan::Tag, //
};

/// Largest number of rules. The location of a rule in the table is its priority.
pub const MAX_RULES: usize = 64;

/// The fields that a rule can match, in network byte order. A field that the frame does not have is
/// zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Destination address of the Ethernet header.
    pub dst_mac: [u8; 6],
    /// Source address of the Ethernet header.
    pub src_mac: [u8; 6],
    /// The EtherType after the tags.
    pub ether_type: [u8; 2],
    /// The EtherType of the outermost tag.
    pub vlan_type: [u8; 2],
    /// The tag control information of the outermost tag.
    pub vlan_tci: [u8; 2],
    /// Source address; of IPv4 in the first four bytes.
    pub src_ip: [u8; 16],
    /// Destination address; of IPv4 in the first four bytes.
    pub dst_ip: [u8; 16],
    /// Type of service of IPv4, traffic class of IPv6.
    pub tos: u8,
    /// The protocol after IPv4, or after the fixed header of IPv6.
    pub protocol: u8,
    /// Source port.
    pub src_port: [u8; 2],
    /// Destination port.
    pub dst_port: [u8; 2],
}

impl Key {
    /// The key and the protocols of the frame that starts with `head`. `tag` is its tag if that is
    /// not in the frame.
    fn parse(head: &[u8], tag: Option<Tag>) -> (Self, Protocols) {
        let mut key = Self::default();
        let mut protocols = Protocols::ANY;
        if let Some((dst, rest)) = head.split_first_chunk() {
            key.dst_mac = *dst;
            key.src_mac = rest.first_chunk().copied().unwrap_or_default();
        }
        let ethernet = Ethernet::parse(head);
        if let Some(tag) = tag.or(ethernet.and_then(|ethernet| ethernet.tag)) {
            key.vlan_type = tag.protocol.ethertype().to_be_bytes();
            key.vlan_tci = tag.tci.to_be_bytes();
        }
        let Some(ethernet) = ethernet else {
            return (key, protocols);
        };
        key.ether_type = ethernet.ethertype.to_be_bytes();
        let Some((ip, flow)) = Ip::parse(&ethernet).and_then(|ip| Some((ip, ip.flow()?))) else {
            return (key, protocols);
        };
        key.tos = ip.traffic_class();
        key.protocol = ip.protocol();
        let addresses: &[u8] = match flow.addresses {
            Addresses::V4(addresses) => {
                protocols = protocols.with(Protocols::IPV4);
                addresses
            }
            Addresses::V6(addresses) => {
                protocols = protocols.with(Protocols::IPV6);
                addresses
            }
        };
        let (src, dst) = addresses.split_at(addresses.len() / 2);
        for (to, &from) in key.src_ip.iter_mut().zip(src) {
            *to = from;
        }
        for (to, &from) in key.dst_ip.iter_mut().zip(dst) {
            *to = from;
        }
        let [src0, src1, dst0, dst1] = match flow.ports {
            Ports::None => return (key, protocols),
            Ports::Tcp(ports) => {
                protocols = protocols.with(Protocols::TCP);
                *ports
            }
            Ports::Udp(ports) => {
                protocols = protocols.with(Protocols::UDP);
                *ports
            }
        };
        (key.src_port, key.dst_port) = ([src0, src1], [dst0, dst1]);
        (key, protocols)
    }

    /// Whether both are equal in the bits that are set in `mask`.
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

/// The protocols that a frame has, or must have to match a rule, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols(u8);

impl Protocols {
    /// No requirement: any frame.
    pub const ANY: Self = Self(0);
    /// IPv4.
    pub const IPV4: Self = Self(1 << 0);
    /// IPv6.
    pub const IPV6: Self = Self(1 << 1);
    /// TCP with ports: not in a fragment, and not after IPv6 extension headers.
    pub const TCP: Self = Self(1 << 2);
    /// UDP with ports, likewise.
    pub const UDP: Self = Self(1 << 3);

    /// The protocols of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether these include all protocols of `other`.
    const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What happens to a matching frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes to this queue.
    Queue(u32),
    /// It goes to the queue that an RSS context yields, plus an offset.
    Rss {
        /// Number of the context; 0 is the main one.
        context: u32,
        /// The offset that is added to the queue.
        offset: u32,
    },
    /// It is dropped.
    Drop,
}

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The protocols that the frame must have.
    pub protocols: Protocols,
    /// The values of its fields.
    pub key: Key,
    /// The bits of the key that must be equal.
    pub mask: Key,
    /// What happens to the frame then.
    pub action: Action,
}

impl Rule {
    fn matches(&self, protocols: Protocols, key: &Key) -> bool {
        protocols.contains(self.protocols) && self.key.equals(key, &self.mask)
    }
}

/// The variant of an [`Action`].
#[derive(Clone, Copy)]
#[repr(u8)]
enum ActionKind {
    Queue = 0,
    Rss,
    Drop,
}

/// A location in the table. All bytes zero is an empty location.
#[derive(Clone, Copy)]
struct Location {
    used: bool,
    protocols: Protocols,
    key: Key,
    mask: Key,
    action: ActionKind,
    context: u32,
    /// The queue, or the offset that is added to it.
    queue: u32,
}

impl Location {
    const EMPTY: Self = Self {
        used: false,
        protocols: Protocols::ANY,
        key: NO_KEY,
        mask: NO_KEY,
        action: ActionKind::Queue,
        context: 0,
        queue: 0,
    };

    fn new(rule: &Rule) -> Self {
        let (action, context, queue) = match rule.action {
            Action::Queue(queue) => (ActionKind::Queue, 0, queue),
            Action::Rss { context, offset } => (ActionKind::Rss, context, offset),
            Action::Drop => (ActionKind::Drop, 0, 0),
        };
        Self {
            used: true,
            protocols: rule.protocols,
            key: rule.key,
            mask: rule.mask,
            action,
            context,
            queue,
        }
    }

    fn rule(&self) -> Option<Rule> {
        self.used.then_some(Rule {
            protocols: self.protocols,
            key: self.key,
            mask: self.mask,
            action: match self.action {
                ActionKind::Queue => Action::Queue(self.queue),
                ActionKind::Rss => Action::Rss {
                    context: self.context,
                    offset: self.queue,
                },
                ActionKind::Drop => Action::Drop,
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

/// The table of rules. The first rule that matches a frame decides.
pub struct Rules {
    locations: [Location; MAX_RULES],
    count: u32,
}

impl Rules {
    /// No rules. Some kilobytes.
    pub(super) const NONE: Self = Self {
        locations: [Location::EMPTY; MAX_RULES],
        count: 0,
    };

    /// Number of rules.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The rule at a location.
    pub fn get(&self, location: usize) -> Option<Rule> {
        self.locations.get(location)?.rule()
    }

    /// All rules, in order of their locations.
    pub(super) fn all(&self) -> impl Iterator<Item = Rule> + '_ {
        self.locations.iter().filter_map(Location::rule)
    }

    /// The locations that have a rule, in ascending order.
    pub fn used_locations(&self) -> impl Iterator<Item = usize> + '_ {
        let locations = self.locations.iter().enumerate();
        locations.filter_map(|(number, location)| location.used.then_some(number))
    }

    /// The locations that have no rule, in ascending order.
    pub fn free_locations(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let locations = self.locations.iter().enumerate();
        locations.filter_map(|(number, location)| (!location.used).then_some(number))
    }

    /// The location of the first rule that matches exactly the same frames as `rule`.
    pub fn find_same_match(&self, rule: &Rule) -> Option<usize> {
        self.locations.iter().position(|location| {
            location.rule().is_some_and(|other| {
                (other.protocols, other.mask) == (rule.protocols, rule.mask)
                    && other.key.equals(&rule.key, &rule.mask)
            })
        })
    }

    /// Sets the rule at a location, or removes it with [`None`]. Returns `false` and changes
    /// nothing if the location is out of range, or if there is no rule to remove.
    #[must_use]
    pub(super) fn set(&mut self, location: usize, rule: Option<&Rule>) -> bool {
        let Some(location) = self.locations.get_mut(location) else {
            return false;
        };
        let was_used = location.used;
        *location = rule.map_or(Location::EMPTY, Location::new);
        self.count = self.count - u32::from(was_used) + u32::from(location.used);
        was_used || location.used
    }

    /// Copies the rules of another table.
    pub(super) fn copy_from(&mut self, other: &Self) {
        self.locations.copy_from_slice(&other.locations);
        self.count = other.count;
    }

    /// Removes all rules.
    pub(super) fn clear(&mut self) {
        self.locations.fill(Location::EMPTY);
        self.count = 0;
    }

    /// What happens to the frame that starts with `head`; [`None`] if it matches no rule. `tag` is
    /// its tag if that is not in the frame.
    pub(super) fn action(&self, head: &[u8], tag: Option<Tag>) -> Option<Action> {
        let (key, protocols) = Key::parse(head, tag);
        let rule = self.all().find(|rule| rule.matches(protocols, &key))?;
        Some(rule.action)
    }
}
