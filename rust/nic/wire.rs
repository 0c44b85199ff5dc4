// SPDX-License-Identifier: GPL-2.0

//! The wire: writes a frame into a receive ring of the port at the other end.
//!
//! [`RingWriter::write_plain`] is where a frame is copied onto the wire, that is into a buffer that
//! the receiving driver has posted, if the frame is in one piece and nothing is left to the card.
//! [`RingWriter::write`] does the same for all others: those in several pieces or buffers, or with
//! a checksum or a VLAN tag to be filled in.

use core::ops::Deref;

use super::{
    completion::{
        Completion,
        Status, //
    },
    headers::{
        ETH_LEN,
        HEADERS_LEN, //
    },
    ring::{
        Handle,
        Level,
        NicSide, //
    },
    vlan::{
        Protocol,
        Strip,
        Tag,
        TAG_LEN,
        TAG_OFFSET, //
    },
};

/// Length of the shortest frame on the wire in bytes, without FCS (`ETH_ZLEN`). Shorter frames are
/// padded with zeroes.
pub const MIN_LEN: usize = 60;

/// Length on the wire in bytes, with padding, of a frame of `len` bytes into which `tag` is
/// inserted.
#[inline]
pub fn wire_len(len: usize, tag: Option<Tag>) -> usize {
    (len + tag.map_or(0, |_| TAG_LEN)).max(MIN_LEN)
}

/// A frame to be sent, without padding and FCS.
#[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
pub trait TxFrame {
    /// Length in bytes, without [`tag`](Self::tag).
    fn len(&self) -> usize;

    /// The first bytes, from the Ethernet header on: at least [`HEADERS_LEN`], or the whole frame
    /// if that is shorter, or as many as [`Flow::is_enough`](super::headers::Flow::is_enough)
    /// accepts. With fewer the frame may go to the wrong queue.
    fn head(&self) -> FrameHead<'_>;

    /// Whether [`start`](Self::start) is the whole frame, without a checksum to fill in or a tag to
    /// insert.
    fn is_plain(&self) -> bool;

    /// The first bytes, as many as are contiguous: at least the Ethernet header.
    fn start(&self) -> &[u8];

    /// The tag that the hardware is to insert.
    #[inline]
    fn tag(&self) -> Option<Tag> {
        None
    }

    /// Copies the whole frame to `to`, which is [`len`](Self::len) bytes long. Fills in a checksum
    /// that the stack has left to the hardware.
    fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed>;

    /// Computes a checksum that the stack has left to the hardware, for a frame that is copied in
    /// parts.
    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed>;

    /// Fills `to` with the bytes of the frame from `offset` on, all of which exist. Does not fill
    /// in a checksum.
    fn copy_part(&self, offset: usize, to: &mut [u8]) -> Result<(), Malformed>;
}

/// A checksum and its offset in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Offset in the frame, in bytes.
    pub offset: usize,
    /// The checksum, in network byte order.
    pub bytes: [u8; 2],
}

impl Patch {
    /// Writes those bytes of the checksum that are in `bytes`, a part of the frame that starts at
    /// `offset`.
    pub fn apply(self, offset: usize, bytes: &mut [u8]) {
        for (at, byte) in (self.offset..).zip(self.bytes) {
            let at = at.checked_sub(offset);
            if let Some(to) = at.and_then(|at| bytes.get_mut(at)) {
                *to = byte;
            }
        }
    }
}

/// The first bytes of a frame.
pub enum FrameHead<'a> {
    /// In place.
    Linear(&'a [u8]),
    /// A copy, for a frame that is not contiguous, and the number of used bytes in it.
    Copied([u8; HEADERS_LEN], usize),
}

impl Deref for FrameHead<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            FrameHead::Linear(bytes) => bytes,
            FrameHead::Copied(bytes, len) => bytes.get(..*len).unwrap_or(bytes),
        }
    }
}

/// What is known about a frame's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It is correct: just computed, or verified before.
    Good,
    /// It has not been verified.
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

/// The frame is malformed and cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// A receive buffer, into which the NIC can write a frame or a part of one.
pub trait RxBuffer {
    /// Number of bytes of a frame that fit into a buffer.
    const ROOM: usize;

    /// The room for the frame, after the headroom: [`ROOM`](Self::ROOM) bytes.
    fn room(&mut self) -> &mut [u8];
}

/// Why a frame was not written into a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not enough buffers are posted. The frame may be sent again later.
    NoBuffer,
    /// Longer than the receiving port accepts.
    Oversize,
    /// The frame is malformed.
    Malformed,
}

/// The registers of a port's receive unit.
#[derive(Clone, Copy, Debug)]
pub struct RxConfig {
    /// Length of the longest accepted frame in bytes, with tags, without FCS.
    pub max_len: usize,
    /// Which tags are stripped.
    pub strip: Strip,
}

/// The end of the wire: writes frames into the buffers of one receive ring.
pub struct RingWriter<H: Handle> {
    nic: NicSide<H>,
    config: RxConfig,
    /// Length of the longest accepted frame that fits into one buffer, without the Ethernet header.
    max_payload: usize,
    /// Number of buffers that the longest accepted frame takes.
    max_buffers: u32,
    /// Whether tags of any protocol are stripped.
    strips: bool,
}

impl<H: Handle> RingWriter<H>
where
    H::Buffer: RxBuffer,
{
    /// The writer of the given ring.
    pub fn new(nic: NicSide<H>, config: RxConfig) -> Self {
        let mut writer = Self {
            nic,
            config,
            max_payload: 0,
            max_buffers: 0,
            strips: false,
        };
        writer.configure(config);
        writer
    }

    /// Returns the NIC's side of the ring.
    pub fn into_nic(self) -> NicSide<H> {
        self.nic
    }

    /// Sets the registers for the frames from the next one on.
    pub fn configure(&mut self, config: RxConfig) {
        self.config = config;
        let max_len = config.max_len.max(MIN_LEN).min(H::Buffer::ROOM);
        self.max_payload = max_len.saturating_sub(ETH_LEN);
        self.max_buffers = buffers_for::<H::Buffer>(config.max_len);
        self.strips = config.strip != Strip::default();
    }

    /// Number of buffers that the longest accepted frame takes.
    pub fn max_buffers(&self) -> u32 {
        self.max_buffers
    }

    /// Whether there are too few buffers for a frame of the largest accepted length.
    #[inline]
    pub fn is_full(&mut self) -> bool {
        !self.nic.has(self.max_buffers)
    }

    /// Whether there are enough buffers for a frame of `len` bytes.
    pub fn has_room(&mut self, len: usize) -> bool {
        self.nic.has(buffers_for::<H::Buffer>(len))
    }

    /// How full the ring is.
    pub fn level(&mut self) -> Level {
        self.nic.level()
    }

    /// Writes a frame into the ring, with `meta`, which has its hash and timestamp. Returns its
    /// length on the wire in bytes, with tags and padding. The driver sees the frame after
    /// [`publish`](Self::publish).
    ///
    /// A refused frame leaves the ring unchanged.
    #[inline]
    pub fn write(&mut self, frame: &impl TxFrame, meta: Completion) -> Result<u32, Refused> {
        match self.write_plain(frame, || meta) {
            Some(len) => Ok(len),
            None => self.write_any(frame, meta),
        }
    }

    /// The fast path of [`write`](Self::write): writes a frame that goes into one buffer unchanged,
    /// if there is a buffer. [`None`] for any other frame.
    #[inline]
    pub fn write_plain(
        &mut self,
        frame: &impl TxFrame,
        meta: impl FnOnce() -> Completion,
    ) -> Option<u32> {
        if !frame.is_plain() {
            return None;
        }
        let bytes = frame.start();
        // Wraps: a frame shorter than an Ethernet header also exceeds `max_payload`.
        if bytes.len().wrapping_sub(ETH_LEN) > self.max_payload || self.may_strip(bytes) {
            return None;
        }
        let mut slot = self.nic.next_buffer()?;
        let room = slot.buffer().room();
        room.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let stored = pad(room, bytes.len())?;
        let status = Checksum::Unknown.status().with(Status::END_OF_PACKET);
        slot.complete(meta().with_len(stored).with_status(status));
        Some(stored)
    }

    /// Like [`write`](Self::write), for a frame that may not be contiguous, or whose checksum may
    /// have to be filled in.
    fn write_any(&mut self, frame: &impl TxFrame, meta: Completion) -> Result<u32, Refused> {
        let len = frame.len();
        if len.wrapping_sub(ETH_LEN) > self.max_payload
            || frame.tag().is_some()
            || self.may_strip(frame.start())
        {
            return self.write_edited(frame, meta);
        }
        let mut slot = self.nic.next_buffer().ok_or(Refused::NoBuffer)?;
        let room = slot.buffer().room();
        let checksum = frame.copy_to(room.get_mut(..len).ok_or(Refused::Oversize)?)?;
        let stored = pad(room, len).ok_or(Refused::Oversize)?;
        let status = checksum.status().with(Status::END_OF_PACKET);
        slot.complete(meta.with_len(stored).with_status(status));
        Ok(stored)
    }

    /// Whether a tag may have to be stripped from a frame that starts with `bytes`.
    #[inline]
    fn may_strip(&self, bytes: &[u8]) -> bool {
        if !self.strips {
            return false;
        }
        match bytes.get(TAG_OFFSET..TAG_OFFSET + 2) {
            Some(&[type0, type1]) => {
                Protocol::from_ethertype(u16::from_be_bytes([type0, type1])).is_some()
            }
            _ => false,
        }
    }

    /// Like [`write`](Self::write), for a frame that takes more than one buffer, whose tag is
    /// inserted or stripped, or that is too short or too long.
    #[cold]
    fn write_edited(&mut self, frame: &impl TxFrame, meta: Completion) -> Result<u32, Refused> {
        let len = frame.len();
        if len < ETH_LEN {
            return Err(Refused::Malformed);
        }
        let tag = frame.tag();
        let outermost = tag.or_else(|| Tag::outermost(&frame.head()));
        let stripped = outermost.filter(|tag| self.config.strip.takes(tag.protocol));
        let plan = WritePlan {
            edit: match (tag, stripped) {
                (None, None) | (Some(_), Some(_)) => Edit::None,
                (Some(tag), None) => Edit::Insert(tag.bytes()),
                (None, Some(_)) => Edit::Strip,
            },
            wire_len: wire_len(len, tag),
            stripped: stripped.is_some(),
            completion: match stripped {
                Some(tag) => meta.with_vlan(tag),
                None => meta,
            },
        };
        if plan.wire_len > self.config.max_len.max(MIN_LEN) {
            return Err(Refused::Oversize);
        }
        let wire_len = u32::try_from(plan.wire_len).map_err(|_| Refused::Oversize)?;
        let mark = self.nic.mark();
        if let Err(refused) = self.write_parts(frame, plan) {
            self.nic.rewind(mark);
            return Err(refused);
        }
        Ok(wire_len)
    }

    /// Makes all written frames visible to the driver, and returns the number of their descriptors.
    /// If it is not 0, the ring's interrupt must be raised.
    #[inline]
    pub fn publish(&mut self) -> u32 {
        self.nic.publish()
    }

    /// Writes a frame into as many buffers as it takes, with its tag inserted or stripped.
    fn write_parts(&mut self, frame: &impl TxFrame, plan: WritePlan) -> Result<(), Refused> {
        let (checksum, patch) = frame.checksum()?;
        let source = Source {
            frame,
            len: frame.len(),
            edit: plan.edit,
            patch,
        };
        let stored = plan.stored_len();
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
            let status = checksum.status().with(last);
            slot.complete(plan.completion.with_len(len as u32).with_status(status));
        }
        Ok(())
    }
}

/// Number of buffers that a frame of `len` bytes takes.
fn buffers_for<B: RxBuffer>(len: usize) -> u32 {
    u32::try_from(len.div_ceil(B::ROOM)).unwrap_or(u32::MAX)
}

/// Pads a frame of `len` bytes in `room` to [`MIN_LEN`]. Returns the new length, or [`None`] if the
/// padding does not fit.
#[inline]
fn pad(room: &mut [u8], len: usize) -> Option<u32> {
    if len >= MIN_LEN {
        return Some(len as u32);
    }
    room.get_mut(len..MIN_LEN)?.fill(0);
    Some(MIN_LEN as u32)
}

/// The change of a frame's outermost tag on the way into the buffers.
#[derive(Clone, Copy)]
enum Edit {
    /// No change.
    None,
    /// This tag is inserted; it is not in the frame.
    Insert([u8; TAG_LEN]),
    /// The tag in the frame is stripped.
    Strip,
}

/// How a frame is written into a ring.
struct WritePlan {
    edit: Edit,
    /// Length of the frame on the wire.
    wire_len: usize,
    /// Whether the receiving port strips a tag, be it in the frame or next to it.
    stripped: bool,
    /// The common part of the completions of all its buffers.
    completion: Completion,
}

impl WritePlan {
    /// Number of bytes that are written into the buffers.
    #[inline]
    fn stored_len(&self) -> usize {
        if self.stripped {
            self.wire_len - TAG_LEN
        } else {
            self.wire_len
        }
    }
}

/// The bytes of a frame as they are written into the buffers: with its tag inserted or stripped,
/// its checksum filled in, and padded.
struct Source<'a, F> {
    frame: &'a F,
    len: usize,
    edit: Edit,
    patch: Option<Patch>,
}

impl<F: TxFrame> Source<'_, F> {
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

    /// The source of the bytes from `offset` on, and how many bytes come from it.
    fn piece(&self, offset: usize) -> (usize, Piece<'_>) {
        if offset < TAG_OFFSET {
            return (TAG_OFFSET - offset, Piece::Frame(offset));
        }
        let at = match &self.edit {
            Edit::None => offset,
            Edit::Strip => offset + TAG_LEN,
            Edit::Insert(tag) => match offset.checked_sub(TAG_OFFSET + TAG_LEN) {
                Some(after) => TAG_OFFSET + after,
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

/// A source of bytes.
enum Piece<'a> {
    /// The frame, from this byte on.
    Frame(usize),
    /// The tag.
    Tag(&'a [u8]),
    /// Zeroes.
    Padding,
}
