// SPDX-License-Identifier: GPL-2.0

//! The wire: how a frame gets into a receive ring of the port at its other end.

use core::{num::NonZeroU64, ops::Deref};

use super::{
    ring::{Completion, Mark, NicSide, Status},
    rss::{self, Hash},
    storage::Handle,
    vlan::{Protocol, Strip, Tag, TAG_LEN, TAG_OFFSET},
};

/// Length of an Ethernet header in bytes (`ETH_HLEN`), and of the shortest frame there is.
pub const HEADER_LEN: usize = 14;

/// Length of the shortest frame on the wire in bytes, without FCS (`ETH_ZLEN`). Shorter ones are
/// filled up with zeroes.
pub const MIN_LEN: usize = 60;

/// A frame as it is handed to the wire, padding and FCS not included.
#[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
pub trait Frame {
    /// Length in bytes, without [`tag`](Self::tag).
    fn len(&self) -> usize;

    /// The first bytes, from the Ethernet header on: as many as are at hand in one piece, but
    /// [`rss::HEADERS_LEN`] if the frame is that long. With fewer it may miss its queue.
    fn head(&self) -> Head<'_>;

    /// As many of the first bytes as are in one piece, the Ethernet header at least.
    fn start(&self) -> &[u8];

    /// The tag that the hardware is to put in.
    #[inline]
    fn tag(&self) -> Option<Tag> {
        None
    }

    /// Copies the whole frame; `to` is [`len`](Self::len) bytes long. Checksums that were left to
    /// the hardware are filled in.
    fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed>;

    /// Computes a checksum that was left to the hardware, for a frame that is copied in parts.
    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed>;

    /// Copies as many bytes as fit from `offset` on, all of which are in the frame, as they are: the
    /// checksum is not filled in.
    fn copy_part(&self, offset: usize, to: &mut [u8]) -> Result<(), Malformed>;
}

/// A checksum and its place in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Where it is to be written, in bytes from the start of the frame.
    pub offset: usize,
    /// The checksum as it is on the wire.
    pub bytes: [u8; 2],
}

impl Patch {
    /// Writes as much of the checksum as falls into `bytes`, which start at `offset` of the frame.
    fn apply(self, offset: usize, bytes: &mut [u8]) {
        for (place, byte) in (self.offset..).zip(self.bytes) {
            let place = place.checked_sub(offset);
            if let Some(to) = place.and_then(|place| bytes.get_mut(place)) {
                *to = byte;
            }
        }
    }
}

/// The first bytes of a frame.
pub enum Head<'a> {
    /// Where they are.
    Linear(&'a [u8]),
    /// A copy, for a frame that is scattered in memory, and how many bytes of it count.
    Copied([u8; rss::HEADERS_LEN], usize),
}

impl Deref for Head<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Head::Linear(bytes) => bytes,
            Head::Copied(bytes, len) => bytes.get(..*len).unwrap_or(bytes),
        }
    }
}

/// What is known of a frame's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Just computed, or verified before.
    Good,
    /// Nobody has looked at it.
    Unknown,
}

impl Checksum {
    #[inline]
    fn status(self) -> Status {
        match self {
            Self::Good => Status::CHECKSUM_GOOD,
            Self::Unknown => Status::none(),
        }
    }
}

/// A frame that contradicts itself and cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// A receive buffer that the NIC can write a frame, or a part of one, into.
pub trait Buffer {
    /// How many bytes of frame a buffer holds.
    const ROOM: usize;

    /// The bytes for the frame, after the head room: [`ROOM`](Self::ROOM) of them.
    fn room(&mut self) -> &mut [u8];
}

/// Why a frame did not get into a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not enough buffers are posted. The frame may be put again later.
    NoBuffer,
    /// Longer than what the receiving port takes.
    Oversize,
    /// Not a frame; see [`Malformed`].
    Malformed,
}

/// What a receiving port does with frames: the registers of its receive unit.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Length of the longest frame that is let in, in bytes, tags included, FCS not.
    pub max_len: usize,
    /// Which tags are taken out.
    pub strip: Strip,
}

/// The end of the wire at one receive ring.
pub struct Inlet<H: Handle> {
    nic: NicSide<H>,
    settings: Settings,
}

impl<H: Handle> Inlet<H>
where
    H::Buffer: Buffer,
{
    /// The inlet of the given ring.
    pub fn new(nic: NicSide<H>, settings: Settings) -> Self {
        Self { nic, settings }
    }

    /// The NIC's side of the ring, off the wire.
    pub fn into_nic(self) -> NicSide<H> {
        self.nic
    }

    /// What is done with frames from the next one on.
    pub fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Whether there may be too few buffers for a further frame, if it is as long as any that is let
    /// in.
    #[inline]
    pub fn is_full(&mut self) -> bool {
        self.lacks(self.settings.max_len)
    }

    /// Whether there are too few buffers for a frame of `len` bytes.
    #[inline]
    pub fn lacks(&mut self, len: usize) -> bool {
        let buffers = len.div_ceil(H::Buffer::ROOM);
        !self.nic.has(u32::try_from(buffers).unwrap_or(u32::MAX))
    }

    /// How far the NIC has come, for [`rewind`](Self::rewind).
    pub fn mark(&self) -> Mark {
        self.nic.mark()
    }

    /// Takes back the frames that were put since the mark, as if they had never been there, unless they
    /// have been shown to the driver.
    pub fn rewind(&mut self, mark: Mark) {
        self.nic.rewind(mark);
    }

    /// Puts a frame into the ring and returns its length on the wire in bytes, tags and padding
    /// included. The driver does not see it before the [`flush`](Self::flush). `timestamp` goes
    /// along with it.
    ///
    /// A frame that is refused leaves the ring as it was.
    #[inline]
    pub fn put(
        &mut self,
        frame: &impl Frame,
        hash: Hash,
        timestamp: Option<NonZeroU64>,
    ) -> Result<u32, Refused> {
        let len = frame.len();
        let stored = len.max(MIN_LEN);
        let completion = Completion {
            len: stored as u32,
            rss_hash: hash.value,
            vlan: None,
            hash_type: hash.kind,
            status: Status::none(),
            timestamp,
        };
        if stored > H::Buffer::ROOM.min(self.settings.max_len) || self.is_edited(frame) {
            return self.put_edited(frame, completion);
        }
        if len < HEADER_LEN {
            return Err(Refused::Malformed);
        }
        let mut slot = self.nic.next_buffer().ok_or(Refused::NoBuffer)?;
        let room = slot.buffer().room().get_mut(..stored);
        let parts = room.and_then(|room| room.split_at_mut_checked(len));
        let (bytes, padding) = parts.ok_or(Refused::Oversize)?;

        let checksum = frame.copy_to(bytes)?;
        if !padding.is_empty() {
            padding.fill(0);
        }
        slot.complete(Completion {
            status: checksum.status().with(Status::END_OF_PACKET),
            ..completion
        });
        Ok(stored as u32)
    }

    /// Whether the frame has a tag beside it, or one in it that may have to be taken out.
    #[inline]
    fn is_edited(&self, frame: &impl Frame) -> bool {
        if frame.tag().is_some() {
            return true;
        }
        if self.settings.strip == Strip::default() {
            return false;
        }
        match frame.start().get(TAG_OFFSET..TAG_OFFSET + 2) {
            Some(&[type0, type1]) => {
                Protocol::from_ethertype(u16::from_be_bytes([type0, type1])).is_some()
            }
            _ => false,
        }
    }

    /// Puts a frame that needs more than one buffer, or whose tag is put in or taken out, or that is
    /// too long.
    #[cold]
    fn put_edited(&mut self, frame: &impl Frame, completion: Completion) -> Result<u32, Refused> {
        let len = frame.len();
        if len < HEADER_LEN {
            return Err(Refused::Malformed);
        }
        let tag = frame.tag();
        let outermost = tag.or_else(|| Tag::of(&frame.head()));
        let stripped = outermost.filter(|tag| self.settings.strip.takes(tag.protocol));
        let put = Put {
            edit: match (tag, stripped) {
                (None, None) | (Some(_), Some(_)) => Edit::None,
                (Some(tag), None) => Edit::Insert(tag.bytes()),
                (None, Some(_)) => Edit::Cut,
            },
            wire_len: (len + tag.map_or(0, |_| TAG_LEN)).max(MIN_LEN),
            completion: Completion {
                vlan: stripped,
                ..completion
            },
        };
        if put.wire_len > self.settings.max_len.max(MIN_LEN) {
            return Err(Refused::Oversize);
        }
        let wire_len = u32::try_from(put.wire_len).map_err(|_| Refused::Oversize)?;
        let mark = self.nic.mark();
        if let Err(refused) = self.put_parts(frame, put) {
            self.nic.rewind(mark);
            return Err(refused);
        }
        Ok(wire_len)
    }

    /// Makes everything that was put visible to the driver and returns how many descriptors that
    /// were. If any, the ring's interrupt must be raised.
    #[inline]
    pub fn flush(&mut self) -> u32 {
        self.nic.publish()
    }

    /// Puts a frame into as many buffers as it takes, with its tag put in or taken out.
    fn put_parts(&mut self, frame: &impl Frame, put: Put) -> Result<(), Refused> {
        let (checksum, patch) = frame.checksum()?;
        let source = Source {
            frame,
            len: frame.len(),
            edit: put.edit,
            patch,
        };
        let stored = put.stored_len();
        let mut offset = 0;
        while offset < stored {
            let mut slot = self.nic.next_buffer().ok_or(Refused::NoBuffer)?;
            let room = slot.buffer().room();
            let len = room.len().min(stored - offset);
            source.copy(offset, room.get_mut(..len).ok_or(Refused::Oversize)?)?;
            offset += len;
            let last = if offset == stored {
                Status::END_OF_PACKET
            } else {
                Status::none()
            };
            slot.complete(Completion {
                len: len as u32,
                status: checksum.status().with(last),
                ..put.completion
            });
        }
        Ok(())
    }
}

/// What is to be done to a frame's outermost tag on its way into the buffers.
#[derive(Clone, Copy)]
enum Edit {
    /// Nothing.
    None,
    /// This one, which is beside the frame, is put in.
    Insert([u8; TAG_LEN]),
    /// The one that is in the frame is taken out.
    Cut,
}

/// A frame that is being put into a ring.
struct Put {
    edit: Edit,
    /// Its length on the wire.
    wire_len: usize,
    /// What its descriptors have in common.
    completion: Completion,
}

impl Put {
    /// How many bytes are written to the buffers.
    #[inline]
    fn stored_len(&self) -> usize {
        match self.completion.vlan {
            Some(_) => self.wire_len - TAG_LEN,
            None => self.wire_len,
        }
    }
}

/// The bytes of a frame as they go into the buffers: edited, with checksum, and padded.
struct Source<'a, F> {
    frame: &'a F,
    len: usize,
    edit: Edit,
    patch: Option<Patch>,
}

impl<F: Frame> Source<'_, F> {
    /// Copies the bytes from `offset` on.
    fn copy(&self, mut offset: usize, mut to: &mut [u8]) -> Result<(), Malformed> {
        while !to.is_empty() {
            let (len, from) = self.piece(offset);
            let (piece, rest) = to.split_at_mut(len.min(to.len()));
            match from {
                Piece::Frame(at) => {
                    self.frame.copy_part(at, piece)?;
                    if let Some(patch) = self.patch {
                        patch.apply(at, piece);
                    }
                }
                Piece::Tag(tag) => piece.copy_from_slice(tag.get(..piece.len()).unwrap_or(tag)),
                Piece::Padding => piece.fill(0),
            }
            offset += piece.len();
            to = rest;
        }
        Ok(())
    }

    /// Where the bytes from `offset` on come from, and how many there are of that kind.
    fn piece(&self, offset: usize) -> (usize, Piece<'_>) {
        if offset < TAG_OFFSET {
            return (TAG_OFFSET - offset, Piece::Frame(offset));
        }
        let at = match &self.edit {
            Edit::None => offset,
            Edit::Cut => offset + TAG_LEN,
            Edit::Insert(tag) => match offset.checked_sub(TAG_OFFSET + TAG_LEN) {
                Some(behind) => TAG_OFFSET + behind,
                None => {
                    let rest = tag.get(offset - TAG_OFFSET..).unwrap_or_default();
                    return (rest.len(), Piece::Tag(rest));
                }
            },
        };
        match self.len.checked_sub(at) {
            None | Some(0) => (usize::MAX, Piece::Padding),
            Some(len) => (len, Piece::Frame(at)),
        }
    }
}

/// Where bytes come from.
enum Piece<'a> {
    /// The frame, from this byte on.
    Frame(usize),
    /// The tag.
    Tag(&'a [u8]),
    /// Zeroes.
    Padding,
}
