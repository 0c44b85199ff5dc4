// SPDX-License-Identifier: GPL-2.0

//! Merging: TCP segments that follow each other become one large frame again.
//!
//! The card marks the segments that it cut from one frame (`Status::LEADS`, `Status::FOLLOWS`). By
//! the headers alone, [`Merged`] decides which of them the driver adds to the one before, as GRO
//! does (`tcp_gro_receive` and `inet_gro_receive` in the kernel). It is as strict as GRO or
//! stricter: a segment that it does not take goes to the stack by itself.

use super::{
    headers::{
        Ethernet,
        Ip,
        ETH_LEN,
        IPPROTO_TCP,
        IPV4_FRAGMENT,
        IPV4_LEN,
        IPV6_LEN,
        MAX_TAGS, //
    },
    tso::{
        self,
        CWR,
        FIN,
        PSH,
        TCP_LEN,
        TCP_MAX_LEN, //
    },
    vlan::TAG_LEN,
};

const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;
const URG: u8 = 1 << 5;

/// Version and header length of IPv4 without options.
const IPV4_PLAIN: u8 = 0x45;

/// Bytes that are compared at a time.
const WORD: usize = size_of::<u64>();

/// Length of the longest headers in bytes.
const HEADERS_LEN: usize = ETH_LEN + MAX_TAGS * TAG_LEN + IPV6_LEN + TCP_MAX_LEN;

/// Number of whole words in them.
const WORDS: usize = HEADERS_LEN / WORD;

/// Bytes of an IPv4 header up to its checksum, the last field that differs between segments.
const IPV4_START: usize = 12;

/// The headers of a segment, and how many that follow it have been added.
///
/// It is changed in place: moving it takes more instructions than adding a segment.
pub struct Merged {
    /// The headers, to compare the next ones with.
    words: [Word; WORDS],
    /// The last 8 bytes of them, for those after the last whole word.
    last: Word,
    version: Version,
    /// Offsets of the IP header, the TCP header and the payload.
    ip: usize,
    tcp: usize,
    payload: usize,
    sequence: u32,
    /// FIN and PSH of the last segment.
    flags: u8,
    /// Bytes of payload of each segment but the last.
    segment_len: usize,
    /// Bytes of payload of all segments, and their number.
    len: usize,
    count: u16,
}

#[derive(Clone, Copy)]
enum Version {
    V4 {
        /// The sum of the header's fields that are the same in all segments.
        sum: u32,
        /// The id of the first segment. It grows by one from segment to segment.
        id: u16,
    },
    V6,
}

/// Eight bytes of headers, and which bits of them the next segment must have.
#[derive(Clone, Copy)]
struct Word {
    value: u64,
    mask: u64,
}

impl Word {
    const ANY: Self = Self { value: 0, mask: 0 };

    #[inline(always)]
    fn new(bytes: &[u8; WORD], mask: &[u8; WORD]) -> Self {
        let mask = u64::from_ne_bytes(*mask);
        Self {
            value: u64::from_ne_bytes(*bytes) & mask,
            mask,
        }
    }

    /// Which bits of `bytes` are not as they must be.
    #[inline(always)]
    fn differing(&self, bytes: &[u8; WORD]) -> u64 {
        (u64::from_ne_bytes(*bytes) & self.mask) ^ self.value
    }
}

/// A segment that can be added; see [`Merged::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Bytes of payload.
    len: usize,
    /// FIN and PSH.
    flags: u8,
}

/// How a merged frame is cut again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Bytes of payload of each segment but the last.
    pub size: u16,
    /// Number of segments.
    pub segments: u16,
    /// Offset of the TCP header in the frame, in bytes: the checksum starts there.
    pub tcp: u16,
    /// Whether it is IPv6, not IPv4.
    pub is_ipv6: bool,
}

impl Merged {
    /// No segment.
    pub const NOTHING: Self = Self {
        words: [Word::ANY; WORDS],
        last: Word::ANY,
        version: Version::V6,
        ip: 0,
        tcp: 0,
        payload: 0,
        sequence: 0,
        flags: 0,
        segment_len: 0,
        len: 0,
        count: 0,
    };

    /// Begins with a segment: a frame of `len` bytes that starts with `head`, which includes the
    /// headers and some of the payload.
    ///
    /// [`None`] if nothing can be added to it: it is not TCP, has IPv4 options, IPv6 extension
    /// headers or more than two VLAN tags; has no payload, or a flag such as FIN, which belongs to
    /// the last segment, or CWR, which belongs to the first; is padded; or its IPv4 header is
    /// malformed.
    pub fn begin(&mut self, head: &[u8], len: usize) -> Option<()> {
        self.clear();
        let ethernet = Ethernet::parse(head)?;
        let parsed = Ip::parse(&ethernet)?;
        let ip = head.len() - ethernet.payload.len();
        let tcp = head.len() - parsed.payload().len();
        let ip_len = len.checked_sub(ip)?;
        let version = match parsed {
            Ip::V4 { header, .. } => Version::of_v4(header, ip_len)?,
            Ip::V6 { header, .. } => {
                let [_, _, _, _, len0, len1, ..] = *header;
                let payload_len = usize::from(u16::from_be_bytes([len0, len1]));
                (payload_len + IPV6_LEN == ip_len).then_some(Version::V6)?
            }
        };
        let header = parsed.payload().first_chunk::<TCP_LEN>()?;
        let [_, _, _, _, seq0, seq1, seq2, seq3, _, _, _, _, data_offset, flags, ..] = *header;
        let payload = tcp + usize::from(data_offset >> 4) * 4;
        if parsed.protocol() != IPPROTO_TCP
            || payload < tcp + TCP_LEN
            || payload >= head.len()
            || flags & (FIN | SYN | RST | PSH | ACK | URG | CWR) != ACK
        {
            return None;
        }
        let headers = head.get(..payload)?;
        self.version = version;
        self.ip = ip;
        self.tcp = tcp;
        self.payload = payload;
        self.sequence = u32::from_be_bytes([seq0, seq1, seq2, seq3]);
        self.flags = 0;
        self.segment_len = len.checked_sub(payload)?;
        self.len = self.segment_len;
        self.set_words(headers)?;
        self.count = 1;
        Some(())
    }

    /// Forgets the segments.
    #[inline]
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Sets what the headers of the next segment are compared with.
    fn set_words(&mut self, headers: &[u8]) -> Option<()> {
        let mut mask = [0xff; HEADERS_LEN];
        match self.version {
            Version::V4 { .. } => {
                // Total length and id, and the checksum.
                mask.get_mut(self.ip + 2..self.ip + 6)?.fill(0);
                mask.get_mut(self.ip + 10..self.ip + 12)?.fill(0);
            }
            // The length of the payload.
            Version::V6 => mask.get_mut(self.ip + 4..self.ip + 6)?.fill(0),
        }
        // The sequence number, flags that the last segment may have, and the checksum.
        mask.get_mut(self.tcp + 4..self.tcp + 8)?.fill(0);
        *mask.get_mut(self.tcp + 13)? = !(FIN | PSH);
        mask.get_mut(self.tcp + 16..self.tcp + 18)?.fill(0);

        let mask = mask.get(..headers.len())?;
        let chunks = headers.chunks_exact(WORD).zip(mask.chunks_exact(WORD));
        for (word, (bytes, mask)) in self.words.iter_mut().zip(chunks) {
            *word = Word::new(bytes.first_chunk()?, mask.first_chunk()?);
        }
        self.last = Word::new(headers.last_chunk()?, mask.last_chunk()?);
        Some(())
    }

    /// Whether a frame of `len` bytes that starts with `head` is the next segment, which can be
    /// [added](Self::add). The IP packet would have fewer than `limit` bytes with it. There must be
    /// a first segment.
    #[inline]
    pub fn next(&self, head: &[u8], len: usize, limit: usize) -> Option<Next> {
        let headers = head.get(..self.payload)?;
        let mut differing = self.last.differing(headers.last_chunk()?);
        for (bytes, word) in headers.chunks_exact(WORD).zip(&self.words) {
            differing |= word.differing(bytes.first_chunk()?);
        }
        if differing != 0 {
            return None;
        }
        let ip_len = len.wrapping_sub(self.ip);
        match self.version {
            Version::V4 { sum, id } => {
                let start = headers.get(self.ip..)?.first_chunk::<IPV4_START>()?;
                let [_, _, len0, len1, id0, id1, _, _, _, _, sum0, sum1] = *start;
                let next_id = u16::from_be_bytes([id0, id1]);
                let total_len = u16::from_be_bytes([len0, len1]);
                let checksum = u16::from_be_bytes([sum0, sum1]);
                if usize::from(total_len) != ip_len
                    || next_id != id.wrapping_add(self.count)
                    || fold(sum + u32::from(total_len) + u32::from(next_id) + u32::from(checksum))
                        != 0xffff
                {
                    return None;
                }
            }
            Version::V6 => {
                let start = headers.get(self.ip..)?.first_chunk::<6>()?;
                let [_, _, _, _, len0, len1] = *start;
                let payload_len = usize::from(u16::from_be_bytes([len0, len1]));
                if payload_len != ip_len.wrapping_sub(IPV6_LEN) {
                    return None;
                }
            }
        }
        let start = headers.get(self.tcp..)?.first_chunk::<14>()?;
        let [_, _, _, _, seq0, seq1, seq2, seq3, _, _, _, _, _, flags] = *start;
        let sequence = u32::from_be_bytes([seq0, seq1, seq2, seq3]);
        let payload_len = len.wrapping_sub(self.payload);
        // Wraps: a segment without payload is not added.
        let fits = payload_len.wrapping_sub(1) < self.segment_len
            && ip_len.wrapping_add(self.len) < limit
            && sequence == self.sequence.wrapping_add(self.len as u32);
        fits.then_some(Next {
            len: payload_len,
            flags: flags & (FIN | PSH),
        })
    }

    /// Adds the next segment. Returns whether another one may follow: not after a shorter one, nor
    /// after one with FIN or PSH.
    #[inline]
    pub fn add(&mut self, next: Next) -> bool {
        self.len = self.len.wrapping_add(next.len);
        self.count = self.count.wrapping_add(1);
        self.flags = next.flags;
        next.flags == 0 && next.len == self.segment_len
    }

    /// Length of the headers in bytes: where the payload starts.
    #[inline]
    pub fn payload(&self) -> usize {
        self.payload
    }

    /// Number of segments.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Length of the merged frame in bytes.
    pub fn frame_len(&self) -> usize {
        self.payload + self.len
    }

    /// How the merged frame is cut again. [`None`] if no segment was added.
    pub fn gso(&self) -> Option<Gso> {
        (self.count > 1).then_some(Gso {
            // Both are less than the length of an IP packet.
            size: self.segment_len as u16,
            segments: self.count,
            tcp: self.tcp as u16,
            is_ipv6: matches!(self.version, Version::V6),
        })
    }

    /// Makes the headers of the first segment those of the merged frame, in `head`: its length and
    /// flags; and for the checksum of TCP the sum of the pseudo-header, as it is left to a card
    /// (`CHECKSUM_PARTIAL`). [`None`] if `head` is too short.
    pub fn write_headers(&self, head: &mut [u8]) -> Option<()> {
        let tcp_len = (self.payload - self.tcp) + self.len;
        // They fit: `next` has checked it.
        let (ip_len, tcp_len) = ((self.tcp - self.ip + tcp_len) as u16, tcp_len as u16);
        let (ip_header, tcp_header) = head.get_mut(self.ip..)?.split_at_mut(self.tcp - self.ip);
        let addresses = match self.version {
            Version::V4 { sum, id } => {
                let checksum = !fold(sum + u32::from(ip_len) + u32::from(id));
                put(ip_header, 2, ip_len.to_be_bytes())?;
                put(ip_header, 10, checksum.to_be_bytes())?;
                ip_header.get(12..IPV4_LEN)?
            }
            Version::V6 => {
                put(ip_header, 4, tcp_len.to_be_bytes())?;
                ip_header.get(8..IPV6_LEN)?
            }
        };
        let pseudo = tso::sum(addresses) + u64::from(IPPROTO_TCP) + u64::from(tcp_len);
        *tcp_header.get_mut(13)? |= self.flags;
        put(tcp_header, 16, tso::fold(pseudo).to_be_bytes())
    }
}

impl Version {
    /// IPv4 with this header, in a packet of `len` bytes. [`None`] if it has options or is a
    /// fragment, or if its length or its checksum is wrong.
    fn of_v4(header: &[u8; IPV4_LEN], len: usize) -> Option<Self> {
        let [version_ihl, _, len0, len1, id0, id1, frag0, frag1, _, _, sum0, sum1, ..] = *header;
        let total_len = u16::from_be_bytes([len0, len1]);
        let id = u16::from_be_bytes([id0, id1]);
        let checksum = u16::from_be_bytes([sum0, sum1]);
        let all = tso::sum(header) as u32;
        let is_good = version_ihl == IPV4_PLAIN
            && u16::from_be_bytes([frag0, frag1]) & IPV4_FRAGMENT == 0
            && usize::from(total_len) == len
            && fold(all) == 0xffff;
        is_good.then_some(Self::V4 {
            sum: all - u32::from(total_len) - u32::from(id) - u32::from(checksum),
            id,
        })
    }
}

/// Writes a field of a header.
fn put<const N: usize>(header: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    *header.get_mut(at..)?.first_chunk_mut()? = value;
    Some(())
}

/// Folds a sum of few 16-bit words to 16 bits by adding the carries.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
