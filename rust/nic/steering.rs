// SPDX-License-Identifier: GPL-2.0

//! Steering: the registers that decide which queue a frame goes to.
//!
//! An RSS context ([`RssContext`]) consists of the hashed fields of a frame ([`Input`]), a key and
//! an indirection table. The main context is for all frames. There may be extra contexts, for
//! frames that match a [`Rule`]. The registers are never changed in place: a port changes a copy
//! and then replaces the registers as a whole, so that no frame is steered by half of a change.

use super::{
    headers::{
        Addresses,
        Flow,
        Ports, //
    },
    ntuple::{
        Action,
        Rule,
        Rules, //
    },
    rss::{
        hash_bytes,
        Hash,
        HashType,
        Indirection,
        Toeplitz,
        INPUT_LEN,
        KEY_LEN, //
    },
    storage::Zeroable,
    vlan::Tag, //
};
use core::ops::Deref;

/// Number of the main context.
pub const MAIN: u32 = 0;

/// Largest number of contexts, including the main one.
pub const MAX_CONTEXTS: usize = 32;

/// Fields of a flow that can be hashed, as bits.
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

    /// Whether these include all fields of `other`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the fields are the same for both directions of a flow: both addresses or none, and
    /// both ports or none.
    pub const fn are_symmetric(self) -> bool {
        self.contains(Self::SRC) == self.contains(Self::DST)
            && self.contains(Self::SRC_PORT) == self.contains(Self::DST_PORT)
    }
}

/// How addresses and ports are transformed before they are hashed (`RXH_XFRM_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Transform {
    /// Not at all.
    None = 0,
    /// Source and destination are both replaced by the exclusive or of the two, so that both
    /// directions of a flow have the same hash.
    SymmetricXor,
    /// The source is replaced by the inclusive or of the two, the destination by the exclusive or.
    SymmetricOrXor,
}

/// A kind of flow; each has its own set of hashed fields.
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
    /// Everything else in IPv4, fragments included.
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

    /// The fields that flows of this kind have.
    pub const fn fields(self) -> Fields {
        match self {
            Self::Ipv4 | Self::Ipv6 => Fields::ADDRESSES,
            _ => Fields::ALL,
        }
    }

    /// The type of a hash over these fields.
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

/// The input of the hash: which fields of a frame, and how they are transformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    fields: [Fields; FlowKind::COUNT],
    /// How the fields are transformed before they are hashed.
    pub transform: Transform,
}

impl Input {
    const ZERO: Self = Self {
        fields: [Fields::NONE; FlowKind::COUNT],
        transform: Transform::None,
    };

    /// All fields of each kind of flow, not transformed.
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

    /// The hashed fields of flows of this kind.
    pub const fn fields(&self, kind: FlowKind) -> Fields {
        self.fields[kind as usize]
    }

    /// Sets the hashed fields of flows of this kind. Returns `false` and changes nothing if such
    /// flows do not have all of these fields.
    #[must_use]
    pub fn set_fields(&mut self, kind: FlowKind, fields: Fields) -> bool {
        let has_all = kind.fields().contains(fields);
        if has_all {
            self.fields[kind as usize] = fields;
        }
        has_all
    }

    /// Whether the fields of all kinds of flows are symmetric, as a symmetric transformation
    /// requires.
    pub fn is_consistent(&self) -> bool {
        self.transform == Transform::None || self.fields.iter().all(|fields| fields.are_symmetric())
    }

    /// The hash of the frame that starts with `head`: `toeplitz` over the selected fields, with the
    /// other fields zero.
    fn hash(&self, head: &[u8], toeplitz: impl FnOnce(&[u8; INPUT_LEN]) -> u32) -> Hash {
        let Some(flow) = Flow::parse(head) else {
            return Hash::NONE;
        };
        let kind = FlowKind::of(&flow);
        let fields = self.fields(kind);
        let transform = self.transform;
        let addresses: &[u8] = match flow.addresses {
            Addresses::V4(addresses) => addresses,
            Addresses::V6(addresses) => addresses,
        };
        let mut input = [0; INPUT_LEN];
        let (to_addresses, to_ports) = input.split_at_mut(addresses.len());
        let (src, dst) = (fields.contains(Fields::SRC), fields.contains(Fields::DST));
        write_pair(to_addresses, addresses, src, dst, transform);
        if let Ports::Tcp(ports) | Ports::Udp(ports) = flow.ports {
            let src = fields.contains(Fields::SRC_PORT);
            let dst = fields.contains(Fields::DST_PORT);
            write_pair(to_ports, ports, src, dst, transform);
        }
        Hash {
            value: toeplitz(&input),
            kind: kind.hash_type(fields),
        }
    }
}

/// An RSS context, which spreads frames over queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RssContext {
    /// The key of the hash.
    pub key: [u8; KEY_LEN],
    /// The input of the hash.
    pub input: Input,
    /// The queues, by hash.
    pub table: Indirection,
}

impl RssContext {
    const ZERO: Self = Self {
        key: [0; KEY_LEN],
        input: Input::ZERO,
        table: Indirection::ZERO,
    };
}

/// An entry for an extra context. All bytes zero is an unused entry.
#[derive(Clone)]
struct ExtraContext {
    used: bool,
    context: RssContext,
}

impl ExtraContext {
    const EMPTY: Self = Self {
        used: false,
        context: RssContext::ZERO,
    };
}

/// How frames are steered. A single comparison per frame selects the fast path.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// All frames go to queue 0. The value is zero, since the registers are zero at first.
    SingleQueue = 0,
    /// The fast path: all fields are hashed untransformed, and there are no rules.
    Default,
    /// The user has changed the input of the hash, or there are rules.
    Custom,
}

/// The registers. Like the tables of the [`Toeplitz`] in them, they are allocated zeroed and in
/// place on the heap.
pub struct Steering {
    mode: Mode,
    input: Input,
    table: Indirection,
    queues: u32,
    hash: Toeplitz,
    rules: Rules,
    /// The extra contexts. They have no hash tables, which would take 36 KiB for each.
    extra: [ExtraContext; MAX_CONTEXTS - 1],
}

// SAFETY: The fields are integers, `bool`s, arrays of these, and enums that each have a variant
// with the value zero.
unsafe impl Zeroable for Steering {}

impl Steering {
    /// One queue and a key of zeroes. Too large for a kernel stack.
    pub const ZERO: Self = Self {
        mode: Mode::SingleQueue,
        input: Input::ZERO,
        table: Indirection::ZERO,
        queues: 0,
        hash: Toeplitz::ZERO,
        rules: Rules::NONE,
        extra: [const { ExtraContext::EMPTY }; MAX_CONTEXTS - 1],
    };

    /// Copies the values of other registers.
    pub fn copy_from(&mut self, other: &Self) {
        self.mode = other.mode;
        self.input = other.input;
        self.table = other.table.clone();
        self.queues = other.queues;
        self.hash.copy_from(&other.hash);
        self.rules.copy_from(&other.rules);
        self.extra.clone_from_slice(&other.extra);
    }

    fn set_mode(&mut self) {
        let is_default = self.input == Input::DEFAULT && self.rules.count() == 0;
        self.mode = match (is_default, self.queues) {
            (false, _) => Mode::Custom,
            (true, 0 | 1) => Mode::SingleQueue,
            (true, _) => Mode::Default,
        };
    }

    /// Number of queues.
    pub fn queues(&self) -> u32 {
        self.queues
    }

    /// Sets the number of queues. With a single queue, frames are neither parsed nor hashed, unless
    /// there are rules or the user has changed the input of the hash.
    pub fn set_queues(&mut self, queues: u32) {
        self.queues = queues;
        self.set_mode();
    }

    /// The smallest number of queues for which all queues in tables and rules exist.
    pub fn min_queues(&self) -> u32 {
        let extra = self.extra.iter().filter(|extra| extra.used);
        let tables = extra.map(|extra| extra.context.table.highest());
        let rules = self.rules.all().map(|rule| match rule.action {
            Action::Queue(queue) => queue,
            Action::Rss { context, offset } => {
                let context = self.extra_context(context);
                let table = context.map_or(&self.table, |context| &context.table);
                table.highest().saturating_add(offset)
            }
            Action::Drop => 0,
        });
        let highest = tables.chain(rules).fold(self.table.highest(), u32::max);
        highest.saturating_add(1)
    }

    /// The context with this number, if there is one.
    pub fn context(&self, number: u32) -> Option<RssContext> {
        if number == MAIN {
            return Some(RssContext {
                key: *self.hash.key(),
                input: self.input,
                table: self.table.clone(),
            });
        }
        self.extra_context(number).cloned()
    }

    /// Sets a context, or removes it with [`None`]. Takes some 10,000 steps for the main one.
    /// Returns `false` and changes nothing if the number is out of range, or if the main context
    /// would be removed.
    #[must_use]
    pub fn set_context(&mut self, number: u32, context: Option<&RssContext>) -> bool {
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
        let Some(extra) = self.extra.get_mut(number as usize - 1) else {
            return false;
        };
        *extra = context.map_or(ExtraContext::EMPTY, |context| ExtraContext {
            used: true,
            context: context.clone(),
        });
        true
    }

    /// A context other than the main one.
    fn extra_context(&self, number: u32) -> Option<&RssContext> {
        let extra = self.extra.get((number as usize).checked_sub(1)?)?;
        extra.used.then_some(&extra.context)
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Sets the rule at a location, or removes it with [`None`]. Returns `false` and changes
    /// nothing if the location is out of range, or if there is no rule to remove.
    #[must_use]
    pub fn set_rule(&mut self, location: usize, rule: Option<&Rule>) -> bool {
        let done = self.rules.set(location, rule);
        self.set_mode();
        done
    }

    /// Removes all rules.
    pub fn clear_rules(&mut self) {
        self.rules.clear();
        self.set_mode();
    }

    /// Whether all frames go to queue 0 without being parsed.
    pub fn is_single_queue(&self) -> bool {
        self.mode == Mode::SingleQueue
    }

    /// The queue and the hash of a frame; [`None`] if a rule drops it. With a single queue there is
    /// no hash. `head` returns the first bytes of the frame, and `tag` its tag, if that is not in
    /// the frame.
    #[inline]
    pub fn queue<H: Deref<Target = [u8]>>(
        &self,
        head: impl FnOnce() -> H,
        tag: impl FnOnce() -> Option<Tag>,
    ) -> Option<(u32, Hash)> {
        match self.mode {
            Mode::Default => {
                let hash = self.hash.hash_frame(&head());
                Some((self.table.queue(hash), hash))
            }
            _ => self.queue_slow(head, tag),
        }
    }

    /// The hash of a frame that starts with `head`, in the main context.
    #[inline]
    pub fn hash(&self, head: &[u8]) -> Hash {
        match self.mode {
            Mode::SingleQueue | Mode::Default => self.hash.hash_frame(head),
            Mode::Custom => self.hash_custom(head),
        }
    }

    #[cold]
    fn queue_slow<H: Deref<Target = [u8]>>(
        &self,
        head: impl FnOnce() -> H,
        tag: impl FnOnce() -> Option<Tag>,
    ) -> Option<(u32, Hash)> {
        if self.mode == Mode::SingleQueue {
            return Some((0, Hash::NONE));
        }
        let head = head();
        let action = match self.rules.count() {
            0 => None,
            _ => self.rules.action(&head, tag()),
        };
        match action {
            None => Some(self.queue_in_context(&head, MAIN)),
            Some(Action::Queue(queue)) => Some((queue, self.hash_custom(&head))),
            Some(Action::Rss { context, offset }) => {
                let (queue, hash) = self.queue_in_context(&head, context);
                Some((queue.saturating_add(offset), hash))
            }
            Some(Action::Drop) => None,
        }
    }

    /// The queue and the hash of a frame in a context. A frame without a hash goes to queue 0 in
    /// the main context. In an extra context it goes to the queue in the first entry of the table,
    /// since queue 0 may not belong to that context.
    fn queue_in_context(&self, head: &[u8], context: u32) -> (u32, Hash) {
        if let Some(RssContext { key, input, table }) = self.extra_context(context) {
            let hash = input.hash(head, |bytes| hash_bytes(key, bytes));
            return (table.entry(hash.value), hash);
        }
        let hash = self.hash_custom(head);
        (self.table.queue(hash), hash)
    }

    #[cold]
    fn hash_custom(&self, head: &[u8]) -> Hash {
        if self.input == Input::DEFAULT {
            return self.hash.hash_frame(head);
        }
        self.input.hash(head, |bytes| self.hash.hash_bytes(bytes))
    }
}

/// Writes a source and a destination of the same length to the input of the hash, transformed. One
/// that is not hashed counts as zero.
fn write_pair(to: &mut [u8], pair: &[u8], with_src: bool, with_dst: bool, transform: Transform) {
    let (from_src, from_dst) = pair.split_at(pair.len() / 2);
    let (to_src, to_dst) = to.split_at_mut(from_src.len().min(to.len()));
    let bytes = from_src.iter().zip(from_dst);
    for ((&src, &dst), (to_src, to_dst)) in bytes.zip(to_src.iter_mut().zip(to_dst)) {
        let src = if with_src { src } else { 0 };
        let dst = if with_dst { dst } else { 0 };
        (*to_src, *to_dst) = match transform {
            Transform::None => (src, dst),
            Transform::SymmetricXor => (src ^ dst, src ^ dst),
            Transform::SymmetricOrXor => (src | dst, src ^ dst),
        };
    }
}
