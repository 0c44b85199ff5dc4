// SPDX-License-Identifier: GPL-2.0

//! The completion: what the NIC writes back into the descriptor of a received frame.

use core::num::NonZeroU64;

use super::{
    rss::{
        Hash,
        HashType, //
    },
    vlan::{
        Protocol,
        Tag,
        TAG_LEN, //
    },
};

/// Status bits of a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(u32);

impl Status {
    /// The frame goes on in the next descriptor.
    pub const MORE_BUFFERS: Self = Self(1 << 0);

    /// The transport checksum is good (`CHECKSUM_UNNECESSARY`).
    pub const CHECKSUM_GOOD: Self = Self(1 << 1);

    /// An 802.1Q tag was stripped from the frame.
    const CUSTOMER_TAG: Self = Self(1 << 2);

    /// An 802.1ad tag was stripped from the frame.
    const SERVICE_TAG: Self = Self(1 << 3);

    /// There is a timestamp.
    const TIMESTAMP: Self = Self(1 << 4);

    /// A segment of a TCP frame that the card has cut. The next frame in the ring is the next
    /// segment of the same frame, if that has been written, and then it has [`Self::FOLLOWS`].
    pub const LEADS: Self = Self(1 << 5);

    /// A segment of the same frame as the frame before it in the ring, which it follows.
    pub const FOLLOWS: Self = Self(1 << 6);

    /// The bits that callers set. The others are set with the tag and the timestamp.
    const PUBLIC: u32 =
        Self::MORE_BUFFERS.0 | Self::CHECKSUM_GOOD.0 | Self::LEADS.0 | Self::FOLLOWS.0;

    /// The bits that say where the buffer belongs, and nothing about the frame.
    const PLACE: u32 = Self::MORE_BUFFERS.0 | Self::LEADS.0 | Self::FOLLOWS.0;

    const TAGS: u32 = Self::CUSTOMER_TAG.0 | Self::SERVICE_TAG.0;

    /// A tag was stripped from the frame, if any of these bits is set.
    pub const TAG_STRIPPED: Self = Self(Self::TAGS);

    /// No bits.
    pub const fn none() -> Self {
        Self(0)
    }

    /// The bits of both.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The completion that the NIC writes back into a descriptor; for a frame in several buffers, into
/// the descriptor of each.
///
/// As in hardware it consists of a few words, which are cheap to write and to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    timestamp: u64,
    len: u32,
    rss_hash: u32,
    /// Bits 0 to 7: [`Status`]; 8 to 15: [`HashType`]; 16 to 31: the tag's control information.
    bits: u32,
}

const HASH_TYPE_SHIFT: u32 = 8;
const HASH_TYPE_BITS: u32 = 0xff << HASH_TYPE_SHIFT;
const TCI_SHIFT: u32 = 16;

const _: () = assert!((Status::PUBLIC | Status::TAGS | Status::TIMESTAMP.0) & !0xff == 0);

#[expect(clippy::len_without_is_empty, reason = "no buffer of a frame is empty")]
impl Completion {
    /// The completion of a buffer that holds `len` bytes of the frame, with padding, without FCS.
    #[inline]
    pub const fn new(len: u32) -> Self {
        Self {
            timestamp: 0,
            len,
            rss_hash: 0,
            bits: 0,
        }
    }

    /// Sets the RSS hash.
    #[inline]
    #[must_use]
    pub const fn with_hash(mut self, hash: Hash) -> Self {
        self.rss_hash = hash.value;
        self.bits = (self.bits & !HASH_TYPE_BITS) | ((hash.kind as u32) << HASH_TYPE_SHIFT);
        self
    }

    /// Sets the tag that was stripped from the frame.
    #[inline]
    #[must_use]
    pub const fn with_vlan(mut self, tag: Tag) -> Self {
        let bit = match tag.protocol {
            Protocol::Customer => Status::CUSTOMER_TAG.0,
            Protocol::Service => Status::SERVICE_TAG.0,
        };
        let others = self.bits & (HASH_TYPE_BITS | Status::PUBLIC | Status::TIMESTAMP.0);
        self.bits = others | bit | ((tag.tci as u32) << TCI_SHIFT);
        self
    }

    /// Sets these status bits and clears the others, except those of a stripped tag and of a
    /// timestamp.
    #[inline]
    #[must_use]
    pub const fn with_status(mut self, status: Status) -> Self {
        self.bits = (self.bits & !Status::PUBLIC) | status.0;
        self
    }

    /// Sets the time at which the frame was sent, in nanoseconds of the port's clock.
    #[inline]
    #[must_use]
    pub const fn with_timestamp(mut self, time: Option<NonZeroU64>) -> Self {
        (self.timestamp, self.bits) = match time {
            Some(time) => (time.get(), self.bits | Status::TIMESTAMP.0),
            None => (0, self.bits & !Status::TIMESTAMP.0),
        };
        self
    }

    /// Sets the length, for the next buffer of the same frame.
    #[inline]
    #[must_use]
    pub const fn with_len(mut self, len: u32) -> Self {
        self.len = len;
        self
    }

    /// Sets hash, stripped tag and timestamp to those of `other`.
    #[inline]
    #[must_use]
    pub const fn with_metadata_of(self, other: Self) -> Self {
        Self {
            len: self.len,
            bits: (self.bits & Status::PUBLIC) | (other.bits & !Status::PUBLIC),
            ..other
        }
    }

    /// Bytes of the frame in this buffer, with padding, without FCS.
    #[inline]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// The same with the tag that was stripped: as many bytes as were on the wire.
    #[inline]
    pub const fn wire_len(&self) -> u64 {
        let tag = if self.has_vlan() { TAG_LEN } else { 0 };
        (self.len as u64).wrapping_add(tag as u64)
    }

    /// The RSS hash.
    #[inline]
    pub const fn hash(&self) -> Hash {
        Hash {
            value: self.rss_hash,
            kind: HashType::from_bits((self.bits >> HASH_TYPE_SHIFT) as u8),
        }
    }

    /// The tag that was stripped from the frame.
    #[inline]
    pub const fn vlan(&self) -> Option<Tag> {
        let protocol = match self.bits & Status::TAGS {
            0 => return None,
            bit if bit == Status::CUSTOMER_TAG.0 => Protocol::Customer,
            _ => Protocol::Service,
        };
        Some(Tag {
            protocol,
            tci: (self.bits >> TCI_SHIFT) as u16,
        })
    }

    /// Whether all of these status bits are set.
    #[inline]
    pub const fn is(&self, status: Status) -> bool {
        Status(self.bits).contains(status)
    }

    /// Whether any of these status bits is set.
    #[inline]
    pub const fn is_any(&self, status: Status) -> bool {
        self.bits & status.0 != 0
    }

    /// Whether the completion has only a length: no hash, no stripped tag, no good checksum, no
    /// timestamp.
    #[inline]
    pub const fn is_bare(&self) -> bool {
        self.bits & !Status::PLACE == 0
    }

    /// Whether all that is known about the frame, but for its length, is known about that of
    /// `other` too: the hash, the stripped tag, the checksum and the timestamp.
    #[inline]
    pub const fn has_metadata_of(&self, other: &Self) -> bool {
        self.timestamp == other.timestamp
            && self.rss_hash == other.rss_hash
            && (self.bits ^ other.bits) & !Status::PLACE == 0
    }

    /// Whether a tag was stripped from the frame.
    #[inline]
    pub const fn has_vlan(&self) -> bool {
        self.bits & Status::TAGS != 0
    }

    /// The time at which the frame was sent, in nanoseconds of the port's clock, if timestamps are
    /// on.
    #[inline]
    pub const fn timestamp(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.timestamp)
    }
}
