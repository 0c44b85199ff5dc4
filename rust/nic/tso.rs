// SPDX-License-Identifier: GPL-2.0

//! TCP segmentation: one large frame of the stack is cut into frames that fit the wire.
//!
//! All segments have the large frame's headers, with the fields adjusted that differ from one to the
//! next. The payload stays where it is; the wire copies it piece by piece.

use super::{
    sync::{AtomicU32, AtomicU64, Ordering},
    vlan::{Tag, TAG_LEN},
    wire::Patch,
};

/// How many VLAN tags there may be in a frame.
const MAX_TAGS: usize = 2;

/// Room for the longest headers that are segmented: Ethernet, the VLAN tags, the longest IPv4 header or
/// an IPv6 header, and the longest TCP header.
pub const HEADERS_LEN: usize = 14 + MAX_TAGS * TAG_LEN + 60 + 60;

const ETH_LEN: usize = 14;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const IPPROTO_TCP: u8 = 6;
const IPV4_MIN_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_MIN_LEN: usize = 20;

const FIN: u8 = 1 << 0;
const PSH: u8 = 1 << 3;
const CWR: u8 = 1 << 7;

/// The headers of a large frame, and how it is cut.
///
/// In `bytes` the fields are zero that are filled in for each segment; what the others add to the
/// checksums is known.
pub struct Template {
    bytes: [u8; HEADERS_LEN],
    version: Version,
    ip_sum: u64,
    tcp_sum: u64,
    id: u16,
    sequence: u32,
    flags: u8,
    /// Where the IP header, the TCP header and the payload start.
    ip: usize,
    tcp: usize,
    payload: usize,
    payload_len: usize,
    segment_len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

/// The headers of one segment, complete but for the TCP checksum, which is zero.
pub struct Headers {
    bytes: [u8; HEADERS_LEN],
    len: usize,
    checksum_at: usize,
    sum: u64,
}

/// The payload of one segment: a part of the large frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub index: usize,
    /// Where it starts, in bytes from the start of the large frame.
    pub offset: usize,
    /// Its length in bytes.
    pub len: usize,
}

impl Template {
    /// The headers of a frame of `len` bytes that starts with `head`, to be cut into segments with
    /// `segment_len` bytes of payload each. [`HEADERS_LEN`] bytes of it are enough.
    ///
    /// [`None`] if it is not TCP right behind IPv4 or IPv6 behind up to two VLAN tags, or contradicts
    /// itself.
    pub fn new(head: &[u8], len: usize, segment_len: usize) -> Option<Self> {
        let mut bytes = [0; HEADERS_LEN];
        let known = head.len().min(HEADERS_LEN);
        bytes.get_mut(..known)?.copy_from_slice(head.get(..known)?);

        let ip = ETH_LEN + TAG_LEN * tags(&bytes);
        let (version, tcp) = match (be16(&bytes, ip - 2)?, *bytes.get(ip)?) {
            (ETH_P_IP, first) if first >> 4 == 4 && bytes.get(ip + 9) == Some(&IPPROTO_TCP) => {
                let len = usize::from(first & 0xf) * 4;
                (Version::V4, ip + len.max(IPV4_MIN_LEN))
            }
            (ETH_P_IPV6, first) if first >> 4 == 6 && bytes.get(ip + 6) == Some(&IPPROTO_TCP) => {
                (Version::V6, ip + IPV6_LEN)
            }
            _ => return None,
        };
        let payload = tcp + (usize::from(bytes.get(tcp + 12)? >> 4) * 4).max(TCP_MIN_LEN);
        if payload > known || segment_len == 0 {
            return None;
        }
        let mut template = Self {
            bytes,
            version,
            ip_sum: 0,
            tcp_sum: 0,
            id: 0,
            sequence: 0,
            flags: 0,
            ip,
            tcp,
            payload,
            payload_len: len.checked_sub(payload)?,
            segment_len,
        };
        template.take_out()?;
        Some(template)
    }

    /// Takes out of the headers what differs from segment to segment, and adds up what is left.
    fn take_out(&mut self) -> Option<()> {
        let Self { bytes, ip, tcp, .. } = self;
        let (ip, tcp) = (*ip, *tcp);
        let addresses = match self.version {
            Version::V4 => {
                self.id = be16(bytes, ip + 4)?;
                // The length and the id are neighbours.
                put(bytes, ip + 2, [0; 4]);
                put(bytes, ip + 10, [0; 2]);
                self.ip_sum = sum(bytes.get(ip..tcp)?);
                bytes.get(ip + 12..ip + 20)?
            }
            Version::V6 => {
                put(bytes, ip + 4, [0; 2]);
                bytes.get(ip + 8..ip + 40)?
            }
        };
        let pseudo = sum(addresses) + u64::from(IPPROTO_TCP);
        self.sequence = u32::from_be_bytes(*bytes.get(tcp + 4..)?.first_chunk()?);
        self.flags = *bytes.get(tcp + 13)?;
        put(bytes, tcp + 4, [0; 4]);
        put(bytes, tcp + 13, [0]);
        put(bytes, tcp + 16, [0; 2]);
        self.tcp_sum = pseudo + sum(bytes.get(tcp..self.payload)?);
        Some(())
    }

    /// The payload of all segments; there is at least one segment.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        let count = self.payload_len.div_ceil(self.segment_len).max(1);
        (0..count).map(|index| {
            let start = index * self.segment_len;
            Part {
                index,
                offset: self.payload + start,
                len: self.segment_len.min(self.payload_len - start),
            }
        })
    }

    /// Length of the longest segment in bytes, headers included.
    pub fn segment_len(&self) -> usize {
        self.payload + self.segment_len.min(self.payload_len)
    }

    /// Length of each segment in bytes, headers included.
    pub fn lens(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts().map(|part| self.payload + part.len)
    }

    /// A number by which a frame is known again: of its headers, of its lengths, and of what else there
    /// is to say about it. Two frames hardly ever have the same one; it is never 0.
    pub fn fingerprint(&self, more: [u64; 2]) -> u64 {
        let lens = [self.payload_len as u64, self.segment_len as u64];
        let taken_out = [
            u64::from(self.id),
            u64::from(self.sequence),
            u64::from(self.flags),
        ];
        let words = lens.into_iter().chain(taken_out).chain(more);
        let bytes = words.flat_map(u64::to_ne_bytes).chain(self.bytes);
        // FNV-1a.
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash.max(1)
    }

    /// The headers of a segment.
    pub fn headers(&self, part: Part) -> Headers {
        let mut bytes = self.bytes;
        let start = part.offset.wrapping_sub(self.payload);
        let tcp_len = self.payload - self.tcp + part.len;

        // No frame is longer than its length field can say.
        match self.version {
            Version::V4 => {
                let len = (self.tcp - self.ip + tcp_len) as u16;
                let id = self.id.wrapping_add(part.index as u16);
                let sum = !fold(self.ip_sum + u64::from(len) + u64::from(id));
                put(&mut bytes, self.ip + 2, len.to_be_bytes());
                put(&mut bytes, self.ip + 4, id.to_be_bytes());
                put(&mut bytes, self.ip + 10, sum.to_be_bytes());
            }
            Version::V6 => {
                let len = (self.tcp - self.ip - IPV6_LEN + tcp_len) as u16;
                put(&mut bytes, self.ip + 4, len.to_be_bytes());
            }
        }

        let sequence = self.sequence.wrapping_add(start as u32);
        let mut flags = self.flags;
        if part.index != 0 {
            flags &= !CWR;
        }
        if start + part.len != self.payload_len {
            flags &= !(FIN | PSH);
        }
        put(&mut bytes, self.tcp + 4, sequence.to_be_bytes());
        put(&mut bytes, self.tcp + 13, [flags]);
        Headers {
            bytes,
            len: self.payload,
            checksum_at: self.tcp + 16,
            sum: self.tcp_sum + u64::from(sequence) + u64::from(flags) + tcp_len as u64,
        }
    }
}

/// How far a transmit queue has come with a large frame for whose segments there were too few buffers.
///
/// The stack keeps such a frame and hands it over again as if nothing had been sent of it, unless it
/// drops it meanwhile, which nobody is told. So the frame is known again by its
/// [fingerprint](Template::fingerprint).
///
/// The holder of the queue's lock is the only one who has to do with it.
#[derive(Default)]
pub struct Progress {
    /// The fingerprint; 0 if there is no such frame.
    frame: AtomicU64,
    segments: AtomicU32,
}

impl Progress {
    /// So many segments have been sent of the frame with this fingerprint.
    pub fn keep(&self, frame: u64, segments: u32) {
        self.frame.store(frame, Ordering::Relaxed);
        self.segments.store(segments, Ordering::Relaxed);
    }

    /// How many segments have been sent of a frame, whose fingerprint is computed if any frame has come
    /// that far; it may depend on their number. That is forgotten, be it this frame or another: it is to
    /// be kept again.
    pub fn take(&self, frame: impl FnOnce(u32) -> u64) -> u32 {
        let known = self.frame.load(Ordering::Relaxed);
        if known == 0 {
            return 0;
        }
        self.forget();
        let segments = self.segments.load(Ordering::Relaxed);
        if frame(segments) == known {
            segments
        } else {
            0
        }
    }

    /// There is no such frame any more.
    pub fn forget(&self) {
        self.frame.store(0, Ordering::Relaxed);
    }
}

impl Headers {
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The TCP checksum, if the payload adds up to `payload_sum`: the 16-bit words of the Internet
    /// checksum, as a sum of any width up to 32 bits.
    #[inline]
    pub fn checksum(&self, payload_sum: u32) -> Patch {
        let sum = !fold(self.sum + u64::from(payload_sum));
        Patch {
            offset: self.checksum_at,
            bytes: sum.to_be_bytes(),
        }
    }
}

/// How many VLAN tags there are in a frame, as far as they count.
fn tags(frame: &[u8]) -> usize {
    let is_tag = |&n: &usize| Tag::of(frame.get(n * TAG_LEN..).unwrap_or_default()).is_some();
    (0..MAX_TAGS).take_while(is_tag).count()
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Writes a field that is inside the headers.
fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = value;
    }
}

/// Adds up the 16-bit words of a header.
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks_exact(2)
        .map(|word| match *word {
            [high, low] => u64::from(u16::from_be_bytes([high, low])),
            _ => 0,
        })
        .sum()
}

/// The sum as 16 bits, carries added.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
