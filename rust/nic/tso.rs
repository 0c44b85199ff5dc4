// SPDX-License-Identifier: GPL-2.0

//! TCP segmentation offload (TSO): cuts a large frame of the stack into segments that fit the wire.
//!
//! Each segment has the headers of the large frame, except for the fields that differ between
//! segments. The payload stays in place, and the wire copies it segment by segment.

use crate::dest::Dest;

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

/// Length of a TCP header without options, in bytes.
pub(super) const TCP_LEN: usize = 20;
pub(super) const TCP_MAX_LEN: usize = 60;

/// Bytes of an IP header up to the last field that differs between segments, the checksum of IPv4.
const IP_START: usize = 12;

/// Length of the longest supported headers in bytes: Ethernet, the VLAN tags, the longest IPv4
/// header or an IPv6 header, and the longest TCP header.
pub const HEADERS_LEN: usize = ETH_LEN + MAX_TAGS * TAG_LEN + IPV4_MAX_LEN + TCP_MAX_LEN;

pub(super) const FIN: u8 = 1 << 0;
pub(super) const PSH: u8 = 1 << 3;
pub(super) const CWR: u8 = 1 << 7;

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
///
/// `ip_start` and `tcp_start` are parts of `bytes`, those that have such fields. They are arrays of
/// their own, as the places of the fields in them are constants: nothing has to be checked when
/// they are filled in, which is done for each segment.
pub struct Template {
    bytes: [u8; HEADERS_LEN],
    ip_start: [u8; IP_START],
    tcp_start: [u8; TCP_LEN],
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
            ip_start: [0; IP_START],
            tcp_start: [0; TCP_LEN],
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
        self.ip_start = *bytes.get(ip..)?.first_chunk()?;
        self.tcp_start = *bytes.get(tcp..)?.first_chunk()?;
        Some(())
    }

    /// Number of segments, at least one.
    #[inline]
    pub fn count(&self) -> usize {
        self.payload_len.div_ceil(self.segment_len).max(1)
    }

    /// The payload of segment `index`, if there is one.
    #[inline]
    pub fn part(&self, index: usize) -> Option<Part> {
        let start = index.checked_mul(self.segment_len)?;
        // A frame without payload is one segment.
        if start >= self.payload_len && index != 0 {
            return None;
        }
        Some(Part {
            index,
            offset: self.payload + start,
            len: self.segment_len.min(self.payload_len - start),
        })
    }

    /// The payload of each segment.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        (0..self.count()).filter_map(|index| self.part(index))
    }

    /// Length of the longest segment in bytes, headers included.
    pub fn segment_len(&self) -> usize {
        self.payload + self.segment_len.min(self.payload_len)
    }

    /// Length of the last segment in bytes, headers included.
    pub fn last_len(&self) -> usize {
        let last = (self.count() - 1).saturating_mul(self.segment_len);
        self.payload + self.payload_len.saturating_sub(last)
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

    /// The headers with zeroes in the fields that differ between segments.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.payload).unwrap_or_default()
    }

    /// Writes the headers of a segment to the start of `to`. `payload_sum` is the sum of the 16-bit
    /// words of its payload, as for the Internet checksum, of up to 32 bits. [`None`] if `to` is
    /// too short.
    #[inline(always)]
    pub fn write_headers(&self, part: Part, payload_sum: u32, to: &mut Dest<'_>) -> Option<()> {
        to.write(0, self.bytes())?;
        let (tcp_start, sum) = self.tcp_fields(part, payload_sum);
        let tcp_start = with_field(tcp_start, 16, sum);
        to.write(self.ip, &self.ip_fields(part))?;
        to.write(self.tcp, &tcp_start)
    }

    /// Number of bytes of a segment from the TCP header on.
    #[inline(always)]
    fn tcp_len(&self, part: Part) -> usize {
        self.payload - self.tcp + part.len
    }

    /// The start of the IP header of a segment. The length fits its field, since ports do not
    /// accept frames that are so long.
    #[inline(always)]
    fn ip_fields(&self, part: Part) -> [u8; IP_START] {
        let len = self.tcp - self.ip + self.tcp_len(part);
        if self.version == Version::V6 {
            let len = (len - IPV6_LEN) as u16;
            return with_field(self.ip_start, 4, len.to_be_bytes());
        }
        let len = len as u16;
        let id = self.id.wrapping_add(part.index as u16);
        let sum = !fold(self.ip_sum + u64::from(len) + u64::from(id));
        let start = with_field(self.ip_start, 2, len.to_be_bytes());
        let start = with_field(start, 4, id.to_be_bytes());
        with_field(start, 10, sum.to_be_bytes())
    }

    /// The start of the TCP header of a segment without the checksum, and the checksum.
    #[inline(always)]
    fn tcp_fields(&self, part: Part, payload_sum: u32) -> ([u8; TCP_LEN], [u8; 2]) {
        let start = part.offset.wrapping_sub(self.payload);
        let sequence = self.sequence.wrapping_add(start as u32);
        let mut flags = self.flags;
        if part.index != 0 {
            flags &= !CWR;
        }
        if start + part.len != self.payload_len {
            flags &= !(FIN | PSH);
        }
        let sum = self.tcp_sum
            + u64::from(payload_sum)
            + u64::from(sequence)
            + u64::from(flags)
            + self.tcp_len(part) as u64;
        let tcp_start = with_field(self.tcp_start, 4, sequence.to_be_bytes());
        let tcp_start = with_field(tcp_start, 13, [flags]);
        (tcp_start, (!fold(sum)).to_be_bytes())
    }

    /// The headers of a segment, for one that is written in parts.
    pub fn headers(&self, part: Part) -> Headers {
        let mut bytes = self.bytes;
        write_field(&mut bytes, self.ip, self.ip_fields(part));
        write_field(&mut bytes, self.tcp, self.tcp_fields(part, 0).0);
        Headers {
            bytes,
            len: self.payload,
        }
    }

    /// The TCP checksum of a segment. `payload_sum` is as for
    /// [`write_headers`](Self::write_headers).
    pub fn checksum(&self, part: Part, payload_sum: u32) -> Patch {
        Patch {
            offset: self.tcp + 16,
            bytes: self.tcp_fields(part, payload_sum).1,
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
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The start of a header, with a field in it set.
#[inline(always)]
fn with_field<const N: usize, const F: usize>(
    mut start: [u8; N],
    at: usize,
    value: [u8; F],
) -> [u8; N] {
    write_field(&mut start, at, value);
    start
}

/// Writes a field of the headers.
#[inline(always)]
fn write_field<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = value;
    }
}

/// Adds up the 16-bit words of a header.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks_exact(2)
        .map(|word| match *word {
            [high, low] => u64::from(u16::from_be_bytes([high, low])),
            _ => 0,
        })
        .sum()
}

/// Folds a sum to 16 bits by adding the carries.
#[inline]
pub(super) fn fold(sum: u64) -> u16 {
    // The first two steps leave at most 17 bits, and the third at most 0x10000.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
