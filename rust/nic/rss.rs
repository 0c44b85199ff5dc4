// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling: which queue a frame goes to.
//!
//! The addresses and ports of the frame ([`Flow`]) are hashed ([`Toeplitz`]), and the lowest bits of
//! the hash look the queue up in a table ([`Indirection`]), as Microsoft's RSS specification says
//! and all NICs do. A frame without addresses has no hash and goes to queue 0.

/// Length of the key in bytes: for 36 bytes of input, each bit of which looks at 32 bits of key.
pub const KEY_LEN: usize = 40;

/// Number of entries of the indirection table.
pub const INDIRECTION_LEN: usize = 128;

/// How many bytes of a frame [`flow`] may look at: Ethernet, two VLAN tags, the longest IPv4
/// header and the ports.
pub const HEADERS_LEN: usize = 14 + 2 * 4 + 60 + 4;

/// What a hash was computed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum HashType {
    /// Nothing: there is no hash.
    #[default]
    None,
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// IPv4 addresses and TCP ports.
    TcpIpv4,
    /// IPv4 addresses and UDP ports.
    UdpIpv4,
    /// IPv6 addresses and TCP ports.
    TcpIpv6,
    /// IPv6 addresses and UDP ports.
    UdpIpv6,
}

impl HashType {
    /// The type with this number; for numbers that are none, [`None`](Self::None).
    #[inline]
    pub(super) const fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Ipv4,
            2 => Self::Ipv6,
            3 => Self::TcpIpv4,
            4 => Self::UdpIpv4,
            5 => Self::TcpIpv6,
            6 => Self::UdpIpv6,
            _ => Self::None,
        }
    }

    /// Whether it includes ports (`PKT_HASH_TYPE_L4`).
    pub const fn has_ports(self) -> bool {
        !matches!(self, Self::None | Self::Ipv4 | Self::Ipv6)
    }
}

/// The RSS hash of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash {
    /// The hash; zero if there is none.
    pub value: u32,
    /// What it was computed over.
    pub kind: HashType,
}

impl Hash {
    /// No hash.
    pub const NONE: Self = Self {
        value: 0,
        kind: HashType::None,
    };
}

/// Source and destination address as they are in the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses<'a> {
    /// Two IPv4 addresses.
    V4(&'a [u8; 8]),
    /// Two IPv6 addresses.
    V6(&'a [u8; 32]),
}

/// Source and destination port as they are in the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports<'a> {
    /// None, not known, or not in this fragment.
    None,
    /// Two TCP ports.
    Tcp(&'a [u8; 4]),
    /// Two UDP ports.
    Udp(&'a [u8; 4]),
}

/// Whom a frame is from and to: what is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow<'a> {
    /// Network layer.
    pub addresses: Addresses<'a>,
    /// Transport layer.
    pub ports: Ports<'a>,
}

const ETH_P_IP: u16 = 0x0800;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021AD: u16 = 0x88a8;

const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// The more-fragments bit and the offset, of which one is not zero in every fragment.
const IPV4_FRAGMENT: u16 = 0x3fff;

/// Finds the flow of a frame that starts with its Ethernet header; [`HEADERS_LEN`] bytes of it are
/// enough. [`None`] if it is not IP, or malformed.
#[inline]
pub fn flow(frame: &[u8]) -> Option<Flow<'_>> {
    match packet(frame)? {
        (ETH_P_IP, rest) => ipv4(rest),
        (ETH_P_IPV6, rest) => ipv6(rest),
        _ => None,
    }
}

/// The EtherType behind up to two tags, and what comes after it.
#[inline]
pub(super) fn packet(frame: &[u8]) -> Option<(u16, &[u8])> {
    let (header, mut rest) = frame.split_first_chunk::<14>()?;
    let [.., type0, type1] = *header;
    let mut ethertype = u16::from_be_bytes([type0, type1]);
    for _tag in 0..2 {
        if ethertype != ETH_P_8021Q && ethertype != ETH_P_8021AD {
            break;
        }
        let (tag, inner) = rest.split_first_chunk::<4>()?;
        let [_tci0, _tci1, type0, type1] = *tag;
        ethertype = u16::from_be_bytes([type0, type1]);
        rest = inner;
    }
    Some((ethertype, rest))
}

/// Whether these first bytes of a frame are all that [`flow`] looks at, in the usual cases: without
/// tags, and with an IPv4 header of whatever length.
#[inline]
pub fn is_enough(head: &[u8]) -> bool {
    if head.len() >= HEADERS_LEN {
        return true;
    }
    let Some((&[.., type0, type1], rest)) = head.split_first_chunk::<14>() else {
        return false;
    };
    let header = match (u16::from_be_bytes([type0, type1]), rest) {
        (ETH_P_IP, [first, ..]) => usize::from(first & 0xf) * 4,
        (ETH_P_IPV6, _) => 40,
        _ => return false,
    };
    rest.len() >= header + 4
}

#[inline]
fn ipv4(packet: &[u8]) -> Option<Flow<'_>> {
    let (header, _) = packet.split_first_chunk::<20>()?;
    let [version_ihl, _tos, len0, len1, _id0, _id1, frag0, frag1, _ttl, protocol, ..] = *header;
    let header_len = usize::from(version_ihl & 0xf) * 4;
    let total_len = usize::from(u16::from_be_bytes([len0, len1]));
    if version_ihl >> 4 != 4 || header_len < header.len() || total_len < header_len {
        return None;
    }
    let payload = packet.get(header_len..)?;
    let payload_len = total_len.wrapping_sub(header_len);

    let is_fragment = u16::from_be_bytes([frag0, frag1]) & IPV4_FRAGMENT != 0;
    Some(Flow {
        addresses: Addresses::V4(header.last_chunk()?),
        ports: if is_fragment {
            Ports::None
        } else {
            ports(protocol, payload, payload_len)
        },
    })
}

/// Ports only if TCP or UDP comes right after the fixed header: extension headers are not walked.
#[inline]
fn ipv6(packet: &[u8]) -> Option<Flow<'_>> {
    let (header, payload) = packet.split_first_chunk::<40>()?;
    let [version, _, _, _, len0, len1, next_header, ..] = *header;
    if version >> 4 != 6 {
        return None;
    }
    let payload_len = usize::from(u16::from_be_bytes([len0, len1]));
    Some(Flow {
        addresses: Addresses::V6(header.last_chunk()?),
        ports: ports(next_header, payload, payload_len),
    })
}

/// The ports, which must be in the packet: what comes after it is the frame's padding.
#[inline]
fn ports(protocol: u8, payload: &[u8], payload_len: usize) -> Ports<'_> {
    match (protocol, payload.first_chunk()) {
        (IPPROTO_TCP, Some(ports)) if payload_len >= ports.len() => Ports::Tcp(ports),
        (IPPROTO_UDP, Some(ports)) if payload_len >= ports.len() => Ports::Udp(ports),
        _ => Ports::None,
    }
}

/// Bytes of the longest input: two IPv6 addresses and two ports.
pub const INPUT_LEN: usize = 32 + 4;

/// The Toeplitz hash with one key.
///
/// The hash is linear, so that each byte of the input contributes on its own. Its contribution is
/// looked up: two instructions per byte, a third of what half a byte at a time takes and a tenth
/// of going bit by bit. This takes 1 KiB per byte of input: 36 KiB, of which IPv4 touches 12. Too
/// much for a kernel stack, so it is made where it is to stay, out of zeroes: with
/// `KVBox::zeroed()` and then [`set_key`](Self::set_key).
pub struct Toeplitz {
    tables: [[u32; 256]; INPUT_LEN],
    key: [u8; KEY_LEN],
}

impl Toeplitz {
    /// The hash with a key of zeroes, which is always zero. Not for a kernel stack.
    pub const ZERO: Self = Self {
        tables: [[0; 256]; INPUT_LEN],
        key: [0; KEY_LEN],
    };

    /// Takes over the key of another.
    pub fn copy_from(&mut self, other: &Self) {
        self.tables.copy_from_slice(&other.tables);
        self.key = other.key;
    }

    /// The key.
    pub fn key(&self) -> &[u8; KEY_LEN] {
        &self.key
    }

    /// Sets the key. Takes some 10,000 steps.
    pub fn set_key(&mut self, key: &[u8; KEY_LEN]) {
        self.key = *key;
        for (table, window) in self.tables.iter_mut().zip(windows(key)) {
            for (byte, entry) in (0..=u8::MAX).zip(table) {
                *entry = contribution(byte, window);
            }
        }
    }

    /// Hashes the flow of a frame that starts with its Ethernet header; [`HEADERS_LEN`] bytes of
    /// it are enough.
    #[inline]
    pub fn hash_frame(&self, frame: &[u8]) -> Hash {
        flow(frame).map_or(Hash::NONE, |flow| self.hash(&flow))
    }

    /// Hashes a flow: addresses first, then ports, source before destination.
    #[inline]
    pub fn hash(&self, flow: &Flow<'_>) -> Hash {
        use {Addresses::*, Ports::*};
        let (value, kind) = match (flow.addresses, flow.ports) {
            (V4(ips), None) => (self.xor(0, ips), HashType::Ipv4),
            (V4(ips), Tcp(ports)) => (self.xor(0, ips) ^ self.xor(8, ports), HashType::TcpIpv4),
            (V4(ips), Udp(ports)) => (self.xor(0, ips) ^ self.xor(8, ports), HashType::UdpIpv4),
            (V6(ips), None) => (self.xor(0, ips), HashType::Ipv6),
            (V6(ips), Tcp(ports)) => (self.xor(0, ips) ^ self.xor(32, ports), HashType::TcpIpv6),
            (V6(ips), Udp(ports)) => (self.xor(0, ips) ^ self.xor(32, ports), HashType::UdpIpv6),
        };
        Hash { value, kind }
    }

    /// Hashes bytes that are laid out as the addresses and ports of a flow are; zeroes contribute
    /// nothing.
    pub fn hash_bytes(&self, bytes: &[u8; INPUT_LEN]) -> u32 {
        self.xor(0, bytes)
    }

    /// What `bytes` contribute to the hash of an input where they start at byte `at`.
    #[inline]
    fn xor<const N: usize>(&self, at: usize, bytes: &[u8; N]) -> u32 {
        let tables = self.tables.iter().skip(at);
        tables
            .zip(bytes)
            .fold(0, |hash, (table, &byte)| hash ^ table[usize::from(byte)])
    }
}

/// What [`Toeplitz::hash_bytes`] returns with this key, without its tables: for 40 bytes instead of
/// 36 KiB it takes some ten times as long.
pub fn hash_bytes(key: &[u8; KEY_LEN], bytes: &[u8; INPUT_LEN]) -> u32 {
    let bytes = bytes.iter().zip(windows(key));
    bytes.fold(0, |hash, (&byte, window)| hash ^ contribution(byte, window))
}

/// The 40 bits of the key that each byte of the input sees: byte n those from bit 8 * n on.
fn windows(key: &[u8; KEY_LEN]) -> impl Iterator<Item = u64> + '_ {
    key.windows(5).map(|window| {
        let bytes = window.iter();
        bytes.fold(0, |bits, &byte| (bits << 8) | u64::from(byte))
    })
}

/// What a byte contributes that sees the given 40 bits of the key: for each bit that is set, the
/// 32 bits of key that start at the bit's place.
fn contribution(byte: u8, window: u64) -> u32 {
    (0..8)
        .filter(|bit| byte & (0x80 >> bit) != 0)
        .fold(0, |hash, bit| hash ^ (window >> (8 - bit)) as u32)
}

/// The table that assigns a queue to the lowest bits of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indirection {
    queues: [u8; INDIRECTION_LEN],
}

impl Indirection {
    /// Queue 0 for all.
    pub const ZERO: Self = Self {
        queues: [0; INDIRECTION_LEN],
    };

    /// A table that spreads the hashes evenly over `queues` queues, up to 256: entry `i` holds queue
    /// `i % queues`, as with NICs unless they are told otherwise.
    pub fn new(queues: u32) -> Self {
        let mut table = Self::ZERO;
        for (entry, queue) in table
            .queues
            .iter_mut()
            .zip((0..queues.clamp(1, 256)).cycle())
        {
            // Below 256, hence nothing is cut off.
            *entry = queue as u8;
        }
        table
    }

    /// Assigns an entry a queue; `false`, and nothing is changed, if there is no such entry.
    pub fn set(&mut self, entry: usize, queue: u8) -> bool {
        match self.queues.get_mut(entry) {
            Some(old) => *old = queue,
            None => return false,
        }
        true
    }

    /// The highest queue that there is in it.
    pub fn highest(&self) -> u32 {
        self.queues.iter().copied().max().map_or(0, u32::from)
    }

    /// The queues of all entries.
    pub fn entries(&self) -> &[u8; INDIRECTION_LEN] {
        &self.queues
    }

    /// The queue of a frame with this hash; 0 for a frame without.
    #[inline]
    pub fn queue(&self, hash: Hash) -> u32 {
        if hash.kind == HashType::None {
            return 0;
        }
        self.entry(hash.value)
    }

    /// The queue of this hash.
    #[inline]
    pub fn entry(&self, hash: u32) -> u32 {
        self.queues[hash as usize % INDIRECTION_LEN].into()
    }
}
