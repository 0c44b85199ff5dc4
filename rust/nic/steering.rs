// SPDX-License-Identifier: GPL-2.0

//! Steering: the registers that decide which queue a frame goes to.
//!
//! What is hashed of a frame ([`Input`]), the key and the table are set together and never changed
//! in place: a port makes new registers and exchanges them as a whole, so that no frame meets half
//! of a change.

use super::{
    ntuple::{Action, Rule, Rules},
    rss::{
        flow,
        Addresses,
        Flow,
        Hash,
        HashType,
        Indirection,
        Ports,
        Toeplitz,
        INPUT_LEN,
        KEY_LEN, //
    },
    vlan::Tag,
};
use core::ops::Deref;

/// Parts of a flow that can be hashed: bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields(u8);

impl Fields {
    /// Source address.
    pub const SRC: Self = Self(1 << 0);
    /// Destination address.
    pub const DST: Self = Self(1 << 1);
    /// Source port.
    pub const SRC_PORT: Self = Self(1 << 2);
    /// Destination port.
    pub const DST_PORT: Self = Self(1 << 3);
    /// None.
    pub const NONE: Self = Self(0);
    /// Both addresses.
    pub const ADDRESSES: Self = Self(Self::SRC.0 | Self::DST.0);
    /// Addresses and ports.
    pub const ALL: Self = Self(Self::ADDRESSES.0 | Self::SRC_PORT.0 | Self::DST_PORT.0);

    /// The fields of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all fields of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is no difference between the two directions of a flow: of addresses, and of
    /// ports, there are both or none.
    pub const fn are_symmetric(self) -> bool {
        self.contains(Self::SRC) == self.contains(Self::DST)
            && self.contains(Self::SRC_PORT) == self.contains(Self::DST_PORT)
    }
}

/// What is done to addresses and ports before they are hashed (`RXH_XFRM_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Transform {
    /// Nothing.
    None = 0,
    /// Source and destination are both replaced by the exclusive or of the two, so that both directions
    /// of a flow have one hash.
    SymmetricXor,
    /// The source is replaced by the inclusive or of the two, the destination by the exclusive or.
    SymmetricOrXor,
}

/// A kind of flow whose hashed fields can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowKind {
    /// TCP over IPv4.
    TcpIpv4,
    /// UDP over IPv4.
    UdpIpv4,
    /// TCP over IPv6.
    TcpIpv6,
    /// UDP over IPv6.
    UdpIpv6,
    /// Everything else in IPv4, fragments too.
    Ipv4,
    /// Everything else in IPv6.
    Ipv6,
}

impl FlowKind {
    const COUNT: usize = 6;

    fn of(flow: &Flow<'_>) -> Self {
        match (flow.addresses, flow.ports) {
            (Addresses::V4(_), Ports::Tcp(_)) => Self::TcpIpv4,
            (Addresses::V4(_), Ports::Udp(_)) => Self::UdpIpv4,
            (Addresses::V4(_), Ports::None) => Self::Ipv4,
            (Addresses::V6(_), Ports::Tcp(_)) => Self::TcpIpv6,
            (Addresses::V6(_), Ports::Udp(_)) => Self::UdpIpv6,
            (Addresses::V6(_), Ports::None) => Self::Ipv6,
        }
    }

    /// The fields that such flows have.
    pub const fn fields(self) -> Fields {
        match self {
            Self::Ipv4 | Self::Ipv6 => Fields::ADDRESSES,
            _ => Fields::ALL,
        }
    }

    /// What a hash over these fields counts as.
    const fn hash_type(self, fields: Fields) -> HashType {
        let with_ports = fields.contains(Fields::SRC_PORT) || fields.contains(Fields::DST_PORT);
        match (self, with_ports) {
            _ if fields.0 == Fields::NONE.0 => HashType::None,
            (Self::TcpIpv4, true) => HashType::TcpIpv4,
            (Self::UdpIpv4, true) => HashType::UdpIpv4,
            (Self::TcpIpv6, true) => HashType::TcpIpv6,
            (Self::UdpIpv6, true) => HashType::UdpIpv6,
            (Self::TcpIpv4 | Self::UdpIpv4 | Self::Ipv4, _) => HashType::Ipv4,
            (Self::TcpIpv6 | Self::UdpIpv6 | Self::Ipv6, _) => HashType::Ipv6,
        }
    }
}

/// What is hashed of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    fields: [Fields; FlowKind::COUNT],
    /// What is done to it before.
    pub transform: Transform,
}

impl Input {
    /// All fields that there are, as they are.
    pub const DEFAULT: Self = Self {
        fields: [
            FlowKind::TcpIpv4.fields(),
            FlowKind::UdpIpv4.fields(),
            FlowKind::TcpIpv6.fields(),
            FlowKind::UdpIpv6.fields(),
            FlowKind::Ipv4.fields(),
            FlowKind::Ipv6.fields(),
        ],
        transform: Transform::None,
    };

    /// Which fields of such flows are hashed.
    pub const fn fields(&self, kind: FlowKind) -> Fields {
        self.fields[kind as usize]
    }

    /// Has these fields of such flows hashed. Returns `false`, and nothing is changed, if they do not
    /// have all of them.
    #[must_use]
    pub fn set_fields(&mut self, kind: FlowKind, fields: Fields) -> bool {
        let there = kind.fields().contains(fields);
        if there {
            self.fields[kind as usize] = fields;
        }
        there
    }
}

/// What the registers are set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The key of the hash.
    pub key: [u8; KEY_LEN],
    /// What is hashed.
    pub input: Input,
    /// Which queue gets it.
    pub table: Indirection,
    /// How many queues there are: where there is one, nothing is looked up, and where it is not
    /// needed, nothing hashed.
    pub queues: u32,
}

/// How frames are dealt with; the usual ways are told from the others by one comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// There is one queue. All zeroes, as the registers are at first.
    Single = 0,
    /// All fields are hashed as they are, and the table says the queue.
    Usual,
    /// What is hashed was chosen by the user, or there are rules.
    Chosen,
}

/// The registers. As large as the hash's tables, hence made like a [`Toeplitz`]: out of zeroes, where
/// they are to stay.
pub struct Steering {
    mode: Mode,
    input: Input,
    table: Indirection,
    queues: u32,
    hash: Toeplitz,
    rules: Rules,
}

impl Steering {
    /// One queue and a key of zeroes. Not for a kernel stack.
    pub const ZERO: Self = Self {
        mode: Mode::Single,
        input: Input {
            fields: [Fields::NONE; FlowKind::COUNT],
            transform: Transform::None,
        },
        table: Indirection::ZERO,
        queues: 0,
        hash: Toeplitz::ZERO,
        rules: Rules::NONE,
    };

    /// Sets all registers but the rules. Takes some 10,000 steps.
    pub fn set(&mut self, setup: &Setup) {
        self.input = setup.input;
        self.table = setup.table.clone();
        self.queues = setup.queues;
        self.hash.set_key(&setup.key);
        self.set_mode();
    }

    fn set_mode(&mut self) {
        let is_usual = self.input == Input::DEFAULT && self.rules.count() == 0;
        self.mode = match (is_usual, self.queues) {
            (false, _) => Mode::Chosen,
            (true, 0 | 1) => Mode::Single,
            (true, _) => Mode::Usual,
        };
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Puts a rule to a place, or with [`None`] takes it away. Returns `false` if there is no such
    /// place, or no rule to take away.
    #[must_use]
    pub fn set_rule(&mut self, place: usize, rule: Option<&Rule>) -> bool {
        let done = self.rules.set(place, rule);
        self.set_mode();
        done
    }

    /// Takes over the rules of other registers.
    pub fn copy_rules(&mut self, other: &Self) {
        self.rules.copy_from(&other.rules);
        self.set_mode();
    }

    /// Takes all rules away.
    pub fn clear_rules(&mut self) {
        self.rules.clear();
        self.set_mode();
    }

    /// What the registers were set to.
    pub fn setup(&self) -> Setup {
        Setup {
            key: *self.hash.key(),
            input: self.input,
            table: self.table.clone(),
            queues: self.queues,
        }
    }

    /// Whether all frames go to queue 0, and none has to be looked at.
    pub fn is_single(&self) -> bool {
        self.mode == Mode::Single
    }

    /// The queue of a frame that starts with what `head` returns and has the `tag` beside it, and its
    /// hash; none if there is one queue, where it is not needed. [`None`] if the frame is to be dropped.
    #[inline]
    pub fn queue<H: Deref<Target = [u8]>>(
        &self,
        head: impl FnOnce() -> H,
        tag: impl FnOnce() -> Option<Tag>,
    ) -> Option<(u32, Hash)> {
        match self.mode {
            Mode::Usual => {
                let hash = self.hash.hash_frame(&head());
                Some((self.table.queue(hash), hash))
            }
            _ => self.queue_otherwise(head, tag),
        }
    }

    /// The hash of a frame that starts with `head`.
    #[inline]
    pub fn hash(&self, head: &[u8]) -> Hash {
        match self.mode {
            Mode::Single | Mode::Usual => self.hash.hash_frame(head),
            Mode::Chosen => self.hash_chosen(head),
        }
    }

    #[cold]
    fn queue_otherwise<H: Deref<Target = [u8]>>(
        &self,
        head: impl FnOnce() -> H,
        tag: impl FnOnce() -> Option<Tag>,
    ) -> Option<(u32, Hash)> {
        if self.mode == Mode::Single {
            return Some((0, Hash::NONE));
        }
        let head = head();
        let action = match self.rules.count() {
            0 => None,
            _ => self.rules.action(&head, tag()),
        };
        let hash = self.hash_chosen(&head);
        match action {
            None => Some((self.table.queue(hash), hash)),
            Some(Action::Queue(queue)) => Some((queue, hash)),
            Some(Action::Drop) => None,
        }
    }

    #[cold]
    fn hash_chosen(&self, head: &[u8]) -> Hash {
        if self.input == Input::DEFAULT {
            return self.hash.hash_frame(head);
        }
        flow(head).map_or(Hash::NONE, |flow| self.hash_flow(&flow))
    }

    /// Fields that are left out count as zeroes, whatever is done to the others.
    fn hash_flow(&self, flow: &Flow<'_>) -> Hash {
        let kind = FlowKind::of(flow);
        let fields = self.input.fields(kind);
        let transform = self.input.transform;
        let mut input = [0; INPUT_LEN];
        let len = match flow.addresses {
            Addresses::V4(ips) => {
                pick(&mut input, ips, fields, Fields::SRC, Fields::DST, transform)
            }
            Addresses::V6(ips) => {
                pick(&mut input, ips, fields, Fields::SRC, Fields::DST, transform)
            }
        };
        if let Ports::Tcp(ports) | Ports::Udp(ports) = flow.ports {
            let rest = input.get_mut(len..).unwrap_or_default();
            let (src, dst) = (Fields::SRC_PORT, Fields::DST_PORT);
            pick(rest, ports, fields, src, dst, transform);
        }
        Hash {
            value: self.hash.hash_bytes(&input),
            kind: kind.hash_type(fields),
        }
    }
}

/// Writes a source and a destination, which are in `pair` one behind the other, as they are to be
/// hashed. Returns how long they are.
fn pick(
    to: &mut [u8],
    pair: &[u8],
    fields: Fields,
    src: Fields,
    dst: Fields,
    transform: Transform,
) -> usize {
    let (from_src, from_dst) = pair.split_at(pair.len() / 2);
    let (to_src, to_dst) = to.split_at_mut(from_src.len().min(to.len()));
    let bytes = from_src.iter().zip(from_dst);
    for ((&s, &d), (to_src, to_dst)) in bytes.zip(to_src.iter_mut().zip(to_dst)) {
        let s = if fields.contains(src) { s } else { 0 };
        let d = if fields.contains(dst) { d } else { 0 };
        (*to_src, *to_dst) = match transform {
            Transform::None => (s, d),
            Transform::SymmetricXor => (s ^ d, s ^ d),
            Transform::SymmetricOrXor => (s | d, s ^ d),
        };
    }
    pair.len()
}
