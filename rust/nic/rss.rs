// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling (RSS): which queue a frame goes to.
//!
//! The addresses and ports of the frame ([`Flow`]) are hashed ([`Toeplitz`]), and the lowest bits
//! of the hash are the index into a table of queues ([`Indirection`]), as in Microsoft's RSS
//! specification and in all NICs. A frame without IP addresses has no hash and goes to queue 0.

use super::headers::{
    Addresses,
    Flow,
    Ports, //
};

/// Length of the key in bytes: enough for 36 bytes of input, each bit of which uses 32 bits of key.
pub const KEY_LEN: usize = 40;

/// Number of entries of the indirection table.
pub const INDIRECTION_LEN: usize = 128;

/// The fields that a hash covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum HashType {
    /// None: there is no hash.
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
    /// The type with this number; [`None`](Self::None) for an unknown number.
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

    /// Whether the hash covers ports (`PKT_HASH_TYPE_L4`).
    pub const fn has_ports(self) -> bool {
        !matches!(self, Self::None | Self::Ipv4 | Self::Ipv6)
    }
}

/// The RSS hash of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash {
    /// The hash; zero if there is none.
    pub value: u32,
    /// The fields that it covers.
    pub kind: HashType,
}

impl Hash {
    /// No hash.
    pub const NONE: Self = Self {
        value: 0,
        kind: HashType::None,
    };
}

/// Length of the longest input in bytes: two IPv6 addresses and two ports.
pub const INPUT_LEN: usize = 32 + 4;

/// The Toeplitz hash with one key.
///
/// The hash is linear: it is the exclusive or of the contributions of the bytes of the input. These
/// are looked up in tables, which takes two instructions per byte: a third of what tables for half
/// bytes would take, and a tenth of a computation bit by bit. The tables take 1 KiB per byte of
/// input, together 36 KiB, of which IPv4 uses 12. That is too much for a kernel stack, so the hash
/// is allocated in place on the heap: with `KVBox::zeroed()` and then [`set_key`](Self::set_key).
pub struct Toeplitz {
    tables: [[u32; 256]; INPUT_LEN],
    key: [u8; KEY_LEN],
}

impl Toeplitz {
    /// The hash with a key of zeroes, which is always zero. Too large for a kernel stack.
    pub const ZERO: Self = Self {
        tables: [[0; 256]; INPUT_LEN],
        key: [0; KEY_LEN],
    };

    /// Copies the key and the tables of another hash.
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

    /// Hashes the flow of a frame, by at least its first
    /// [`HEADERS_LEN`](super::headers::HEADERS_LEN) bytes.
    #[inline]
    pub fn hash_frame(&self, frame: &[u8]) -> Hash {
        Flow::parse(frame).map_or(Hash::NONE, |flow| self.hash(&flow))
    }

    /// Hashes a flow: addresses first, then ports, source before destination.
    #[inline]
    pub fn hash(&self, flow: &Flow<'_>) -> Hash {
        use {
            Addresses::*,
            Ports::*, //
        };
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

    /// Hashes bytes laid out like the addresses and ports of a flow. Bytes that are zero contribute
    /// nothing.
    pub fn hash_bytes(&self, bytes: &[u8; INPUT_LEN]) -> u32 {
        self.xor(0, bytes)
    }

    /// The contribution of `bytes` to the hash if they start at byte `at` of the input.
    #[inline]
    fn xor<const N: usize>(&self, at: usize, bytes: &[u8; N]) -> u32 {
        let tables = self.tables.iter().skip(at);
        tables
            .zip(bytes)
            .fold(0, |hash, (table, &byte)| hash ^ table[usize::from(byte)])
    }
}

/// Computes the same hash as [`Toeplitz::hash_bytes`], but without tables, which takes some ten
/// times as long.
pub fn hash_bytes(key: &[u8; KEY_LEN], bytes: &[u8; INPUT_LEN]) -> u32 {
    let bytes = bytes.iter().zip(windows(key));
    bytes.fold(0, |hash, (&byte, window)| hash ^ contribution(byte, window))
}

/// For each byte of the input the 40 bits of the key that it uses: for byte n those from bit 8 * n
/// on.
fn windows(key: &[u8; KEY_LEN]) -> impl Iterator<Item = u64> + '_ {
    key.windows(5).map(|window| {
        let bytes = window.iter();
        bytes.fold(0, |bits, &byte| (bits << 8) | u64::from(byte))
    })
}

/// The contribution of a byte that uses the given 40 bits of the key: for each bit that is set, the
/// 32 bits of the key that start at the bit's position.
fn contribution(byte: u8, window: u64) -> u32 {
    (0..8)
        .filter(|bit| byte & (0x80 >> bit) != 0)
        .fold(0, |hash, bit| hash ^ (window >> (8 - bit)) as u32)
}

/// The indirection table: assigns a queue to the lowest bits of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indirection {
    queues: [u8; INDIRECTION_LEN],
}

impl Indirection {
    /// Queue 0 in all entries.
    pub const ZERO: Self = Self {
        queues: [0; INDIRECTION_LEN],
    };

    /// A table that spreads hashes evenly over `queues` queues, up to 256: entry `i` is queue
    /// `i % queues`, as by default in most NICs.
    pub fn new(queues: u32) -> Self {
        let mut table = Self::ZERO;
        for (entry, queue) in table
            .queues
            .iter_mut()
            .zip((0..queues.clamp(1, 256)).cycle())
        {
            // Below 256, so it fits.
            *entry = queue as u8;
        }
        table
    }

    /// Assigns a queue to an entry. Returns `false` and changes nothing if there is no such entry.
    pub fn set(&mut self, entry: usize, queue: u8) -> bool {
        match self.queues.get_mut(entry) {
            Some(old) => *old = queue,
            None => return false,
        }
        true
    }

    /// The highest queue in the table.
    pub fn highest(&self) -> u32 {
        self.queues.iter().copied().max().map_or(0, u32::from)
    }

    /// The queues of all entries.
    pub fn entries(&self) -> &[u8; INDIRECTION_LEN] {
        &self.queues
    }

    /// The queue of a frame with this hash; 0 for a frame without a hash.
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
