// SPDX-License-Identifier: GPL-2.0

//! TCP segmentation offload (TSO): cuts a large frame of the stack into segments that fit the wire.
//!
//! Each segment has the headers of the large frame, except for the fields that differ between
//! segments. The payload stays in place, and the wire copies it segment by segment.

use super::{
    headers::{
        Ethernet,
        Ip,
        ETH_LEN,
        ETH_P_IP,
        ETH_P_IPV6,
        IPPROTO_TCP,
        IPV4_MAX_LEN,
        IPV6_LEN,
        MAX_TAGS, //
    },
    sync::{
        AtomicU32,
        AtomicU64,
        Ordering, //
    },
    vlan::TAG_LEN,
    wire::Patch, //
};

const TCP_LEN: usize = 20;
const TCP_MAX_LEN: usize = 60;

/// Length of the longest supported headers in bytes: Ethernet, the VLAN tags, the longest IPv4
/// header or an IPv6 header, and the longest TCP header.
pub const HEADERS_LEN: usize = ETH_LEN + MAX_TAGS * TAG_LEN + IPV4_MAX_LEN + TCP_MAX_LEN;

const FIN: u8 = 1 << 0;
const PSH: u8 = 1 << 3;
const CWR: u8 = 1 << 7;

/// Whether [`Template::new`] finds the TCP header of a large frame that starts with `head`, after
/// `more_tags` further VLAN tags have been inserted. The bytes of a
/// [`TxFrame::head`](super::wire::TxFrame::head) are enough.
///
/// The headers are not checked otherwise: `Template::new` may still find them malformed.
pub fn finds_tcp(head: &[u8], more_tags: usize) -> bool {
    let Some(ethernet) = Ethernet::parse(head) else {
        return false;
    };
    let has_tcp = match ethernet.ethertype {
        ETH_P_IP => true,
        // Not after extension headers.
        ETH_P_IPV6 => matches!(
            ethernet.payload.first_chunk::<IPV6_LEN>(),
            Some([_, _, _, _, _, _, IPPROTO_TCP, ..])
        ),
        _ => false,
    };
    has_tcp && ethernet.n_tags + more_tags <= MAX_TAGS
}

/// The headers of a large frame, and the lengths of its segments.
///
/// In `bytes`, the fields that differ between segments are zero. The sums for the checksums are
/// those of the other fields.
pub struct Template {
    bytes: [u8; HEADERS_LEN],
    version: Version,
    ip_sum: u64,
    tcp_sum: u64,
    id: u16,
    sequence: u32,
    flags: u8,
    /// Offsets of the IP header, the TCP header and the payload.
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

/// The headers of one segment, complete except for the TCP checksum, which is zero.
pub struct Headers {
    bytes: [u8; HEADERS_LEN],
    len: usize,
    checksum_at: usize,
    sum: u64,
}

/// The payload of one segment: a part of the large frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of the segment.
    pub index: usize,
    /// Offset in the large frame, in bytes.
    pub offset: usize,
    /// Length in bytes.
    pub len: usize,
}

impl Template {
    /// The headers of a frame of `len` bytes that starts with `head`, to be cut into segments with
    /// `segment_len` bytes of payload each. [`HEADERS_LEN`] bytes of `head` are enough.
    ///
    /// [`None`] if the frame is malformed, or is not TCP directly after IPv4 or IPv6, after up to
    /// two VLAN tags.
    pub fn new(head: &[u8], len: usize, segment_len: usize) -> Option<Self> {
        let head = head.get(..HEADERS_LEN).unwrap_or(head);
        let ethernet = Ethernet::parse(head)?;
        let parsed = Ip::parse(&ethernet)?;
        if parsed.protocol() != IPPROTO_TCP {
            return None;
        }
        let tcp_header = parsed.payload();
        let tcp_header_len = usize::from(*tcp_header.get(12)? >> 4) * 4;
        if tcp_header_len < TCP_LEN || tcp_header_len > tcp_header.len() || segment_len == 0 {
            return None;
        }
        let ip = head.len() - ethernet.payload.len();
        let tcp = head.len() - tcp_header.len();
        let payload = tcp + tcp_header_len;

        let mut bytes = [0; HEADERS_LEN];
        bytes.get_mut(..head.len())?.copy_from_slice(head);
        let mut template = Self {
            bytes,
            version: match parsed {
                Ip::V4 { .. } => Version::V4,
                Ip::V6 { .. } => Version::V6,
            },
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
        template.clear_segment_fields()?;
        Some(template)
    }

    /// Clears the fields that differ between segments, and adds up the others for the checksums.
    fn clear_segment_fields(&mut self) -> Option<()> {
        let Self { bytes, ip, tcp, .. } = self;
        let (ip, tcp) = (*ip, *tcp);
        let addresses = match self.version {
            Version::V4 => {
                self.id = be16(bytes, ip + 4)?;
                // The total length and the id.
                write_field(bytes, ip + 2, [0; 4]);
                write_field(bytes, ip + 10, [0; 2]);
                self.ip_sum = sum(bytes.get(ip..tcp)?);
                bytes.get(ip + 12..ip + 20)?
            }
            Version::V6 => {
                write_field(bytes, ip + 4, [0; 2]);
                bytes.get(ip + 8..ip + 40)?
            }
        };
        let pseudo = sum(addresses) + u64::from(IPPROTO_TCP);
        self.sequence = u32::from_be_bytes(*bytes.get(tcp + 4..)?.first_chunk()?);
        self.flags = *bytes.get(tcp + 13)?;
        write_field(bytes, tcp + 4, [0; 4]);
        write_field(bytes, tcp + 13, [0]);
        write_field(bytes, tcp + 16, [0; 2]);
        self.tcp_sum = pseudo + sum(bytes.get(tcp..self.payload)?);
        Some(())
    }

    /// The payload of each segment; there is at least one segment.
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

    /// A number by which a frame is recognised: a hash of its headers, its lengths and `more`. It
    /// is very unlikely that two frames have the same number. It is never 0.
    pub fn fingerprint(&self, more: [u64; 2]) -> u64 {
        let lens = [self.payload_len as u64, self.segment_len as u64];
        let cleared = [
            u64::from(self.id),
            u64::from(self.sequence),
            u64::from(self.flags),
        ];
        let words = lens.into_iter().chain(cleared).chain(more);
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

        // The length fits its field, since ports do not accept frames that are so long.
        match self.version {
            Version::V4 => {
                let len = (self.tcp - self.ip + tcp_len) as u16;
                let id = self.id.wrapping_add(part.index as u16);
                let sum = !fold(self.ip_sum + u64::from(len) + u64::from(id));
                write_field(&mut bytes, self.ip + 2, len.to_be_bytes());
                write_field(&mut bytes, self.ip + 4, id.to_be_bytes());
                write_field(&mut bytes, self.ip + 10, sum.to_be_bytes());
            }
            Version::V6 => {
                let len = (self.tcp - self.ip - IPV6_LEN + tcp_len) as u16;
                write_field(&mut bytes, self.ip + 4, len.to_be_bytes());
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
        write_field(&mut bytes, self.tcp + 4, sequence.to_be_bytes());
        write_field(&mut bytes, self.tcp + 13, [flags]);
        Headers {
            bytes,
            len: self.payload,
            checksum_at: self.tcp + 16,
            sum: self.tcp_sum + u64::from(sequence) + u64::from(flags) + tcp_len as u64,
        }
    }
}

/// Progress of a large frame that a transmit queue has sent in part before it ran out of buffers.
///
/// The stack keeps such a frame and passes it to the driver again as a whole, or drops it without
/// telling the driver. So the frame is recognised by its [fingerprint](Template::fingerprint).
///
/// Used only under the lock of the transmit queue.
#[derive(Default)]
pub struct Progress {
    /// The fingerprint of the frame; 0: no frame.
    frame: AtomicU64,
    /// Number of segments that were sent.
    segments: AtomicU32,
}

impl Progress {
    /// Remembers that this many segments of the frame with this fingerprint were sent.
    pub fn keep(&self, frame: u64, segments: u32) {
        self.frame.store(frame, Ordering::Relaxed);
        self.segments.store(segments, Ordering::Relaxed);
    }

    /// Returns how many segments of a frame were sent, and forgets the frame: if it has to wait
    /// again, its progress must be kept again. `frame` computes the fingerprint of the frame that
    /// is to be sent, for the number of segments that were sent of the kept frame. It is called
    /// only if there is one.
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

    /// Forgets the frame.
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

    /// The TCP checksum. `payload_sum` is the sum of the 16-bit words of the payload, as for the
    /// Internet checksum, of up to 32 bits.
    #[inline]
    pub fn checksum(&self, payload_sum: u32) -> Patch {
        let sum = !fold(self.sum + u64::from(payload_sum));
        Patch {
            offset: self.checksum_at,
            bytes: sum.to_be_bytes(),
        }
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Writes a field of the headers.
fn write_field<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
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

/// Folds a sum to 16 bits by adding the carries.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
