// SPDX-License-Identifier: GPL-2.0

//! Steering: the registers that decide which queue a frame goes to.
//!
//! What is hashed of a frame ([`Input`]), the key and the table are a [`Context`]. There is a main one
//! for all frames, and there may be further ones for those that a [`Rule`] says. All are set together and
//! never changed in place: a port makes new registers and exchanges them as a whole, so that no frame
//! meets half of a change.

use super::{
    ntuple::{Action, Rule, Rules},
    rss::{
        flow,
        hash_bytes,
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
    storage::Zeroable,
    vlan::Tag,
};
use core::ops::Deref;

/// Number of the main context.
pub const MAIN: u32 = 0;

/// How many contexts there can be, with the main one.
pub const MAX_CONTEXTS: usize = 32;

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
    const ZERO: Self = Self {
        fields: [Fields::NONE; FlowKind::COUNT],
        transform: Transform::None,
    };

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

    /// Whether the fields of all kinds are symmetric, if the hash is to be so.
    pub fn is_consistent(&self) -> bool {
        self.transform == Transform::None || self.fields.iter().all(|fields| fields.are_symmetric())
    }

    /// The hash of the frame that starts with `head`, by a function of the bytes that are hashed. Fields
    /// that are left out count as zeroes, whatever is done to the others.
    fn hash(&self, head: &[u8], toeplitz: impl FnOnce(&[u8; INPUT_LEN]) -> u32) -> Hash {
        let Some(flow) = flow(head) else {
            return Hash::NONE;
        };
        let kind = FlowKind::of(&flow);
        let fields = self.fields(kind);
        let transform = self.transform;
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
            value: toeplitz(&input),
            kind: kind.hash_type(fields),
        }
    }
}

/// An RSS context: how frames are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The key of the hash.
    pub key: [u8; KEY_LEN],
    /// What is hashed.
    pub input: Input,
    /// Which queue gets it.
    pub table: Indirection,
}

impl Context {
    const ZERO: Self = Self {
        key: [0; KEY_LEN],
        input: Input::ZERO,
        table: Indirection::ZERO,
    };
}

/// The place of a further context, of which all zeroes is an empty one.
#[derive(Clone)]
struct Further {
    used: bool,
    context: Context,
}

impl Further {
    const EMPTY: Self = Self {
        used: false,
        context: Context::ZERO,
    };
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
    /// Their keys have no tables: these would be as large as all the rest for each of them.
    further: [Further; MAX_CONTEXTS - 1],
}

// SAFETY: The fields are integers, truth values, arrays of these, and enums that each have a variant
// with the value zero.
unsafe impl Zeroable for Steering {}

impl Steering {
    /// One queue and a key of zeroes. Not for a kernel stack.
    pub const ZERO: Self = Self {
        mode: Mode::Single,
        input: Input::ZERO,
        table: Indirection::ZERO,
        queues: 0,
        hash: Toeplitz::ZERO,
        rules: Rules::NONE,
        further: [const { Further::EMPTY }; MAX_CONTEXTS - 1],
    };

    /// Takes over all of other registers.
    pub fn copy_from(&mut self, other: &Self) {
        self.mode = other.mode;
        self.input = other.input;
        self.table = other.table.clone();
        self.queues = other.queues;
        self.hash.copy_from(&other.hash);
        self.rules.copy_from(&other.rules);
        self.further.clone_from_slice(&other.further);
    }

    fn set_mode(&mut self) {
        let is_usual = self.input == Input::DEFAULT && self.rules.count() == 0;
        self.mode = match (is_usual, self.queues) {
            (false, _) => Mode::Chosen,
            (true, 0 | 1) => Mode::Single,
            (true, _) => Mode::Usual,
        };
    }

    /// How many queues there are.
    pub fn queues(&self) -> u32 {
        self.queues
    }

    /// Sets how many queues there are: where there is one, nothing is looked up, and where it is not
    /// needed, nothing hashed.
    pub fn set_queues(&mut self, queues: u32) {
        self.queues = queues;
        self.set_mode();
    }

    /// How many queues there must be, for all that tables and rules say to be there.
    pub fn needed_queues(&self) -> u32 {
        let further = self.further.iter().filter(|further| further.used);
        let tables = further.map(|further| further.context.table.highest());
        let rules = self.rules.all().map(|rule| match rule.action {
            Action::Queue(queue) => queue,
            Action::Rss { context, offset } => {
                let table = self.further(context).map_or(&self.table, |it| &it.table);
                table.highest().saturating_add(offset)
            }
            Action::Drop => 0,
        });
        let highest = tables.chain(rules).fold(self.table.highest(), u32::max);
        highest.saturating_add(1)
    }

    /// What a context is set to, if there is one of this number.
    pub fn context(&self, number: u32) -> Option<Context> {
        if number == MAIN {
            return Some(Context {
                key: *self.hash.key(),
                input: self.input,
                table: self.table.clone(),
            });
        }
        self.further(number).cloned()
    }

    /// Sets a context, or with [`None`] takes it away. Takes some 10,000 steps for the main one. Returns
    /// `false` if there cannot be one of this number, or not none.
    #[must_use]
    pub fn set_context(&mut self, number: u32, context: Option<&Context>) -> bool {
        if number == MAIN {
            let Some(context) = context else {
                return false;
            };
            self.input = context.input;
            self.table = context.table.clone();
            self.hash.set_key(&context.key);
            self.set_mode();
            return true;
        }
        let Some(further) = self.further.get_mut(number as usize - 1) else {
            return false;
        };
        *further = context.map_or(Further::EMPTY, |context| Further {
            used: true,
            context: context.clone(),
        });
        true
    }

    /// A context other than the main one.
    fn further(&self, number: u32) -> Option<&Context> {
        let further = self.further.get((number as usize).checked_sub(1)?)?;
        further.used.then_some(&further.context)
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

    /// Takes all rules away.
    pub fn clear_rules(&mut self) {
        self.rules.clear();
        self.set_mode();
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

    /// The hash of a frame that starts with `head`, in the main context.
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
        match action {
            None => Some(self.spread(&head, MAIN)),
            Some(Action::Queue(queue)) => Some((queue, self.hash_chosen(&head))),
            Some(Action::Rss { context, offset }) => {
                let (queue, hash) = self.spread(&head, context);
                Some((queue.saturating_add(offset), hash))
            }
            Some(Action::Drop) => None,
        }
    }

    /// The queue of a frame in a context, and its hash there. Without a hash it is queue 0 in the main
    /// context, and in the others the first entry of the table, which is one of their queues.
    fn spread(&self, head: &[u8], context: u32) -> (u32, Hash) {
        if let Some(Context { key, input, table }) = self.further(context) {
            let hash = input.hash(head, |bytes| hash_bytes(key, bytes));
            return (table.entry(hash.value), hash);
        }
        let hash = self.hash_chosen(head);
        (self.table.queue(hash), hash)
    }

    #[cold]
    fn hash_chosen(&self, head: &[u8]) -> Hash {
        if self.input == Input::DEFAULT {
            return self.hash.hash_frame(head);
        }
        self.input.hash(head, |bytes| self.hash.hash_bytes(bytes))
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
