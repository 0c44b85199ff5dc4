// SPDX-License-Identifier: GPL-2.0

//! The wire: writes a frame into a receive ring of the port at the other end.
//!
//! [`RingWriter::write_plain`] is where a frame is copied onto the wire, that is into a buffer that
//! the receiving driver has posted, if the frame is in one piece and nothing is left to the card.
//! [`RingWriter::write`] does the same for all others: those in several pieces or buffers, or with
//! a checksum or a VLAN tag to be filled in.

use core::ops::Deref;

use crate::dest::Dest;

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
        Cursor,
        EitherSide,
        Fill,
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

    /// Whether the whole frame is contiguous, without a checksum to fill in or a tag to insert:
    /// [`copy_plain`](Self::copy_plain) copies it.
    fn is_plain(&self) -> bool;

    /// Length of a frame that [is plain](Self::is_plain), in bytes. `start` is its
    /// [`start`](Self::start): passed from here on, not asked for again, which took 3 instructions.
    #[inline(always)]
    fn plain_len(&self, start: &[u8]) -> usize {
        start.len()
    }

    /// Copies a frame that [is plain](Self::is_plain) to the start of `to`. [`None`] if it does not
    /// fit, or if it is not plain.
    #[inline(always)]
    fn copy_plain(&self, start: &[u8], to: &mut Dest<'_>) -> Option<()> {
        to.write(0, start)
    }

    /// The first bytes: at least the Ethernet header, and the whole frame if it
    /// [is plain](Self::is_plain), except in umem.
    fn start(&self) -> &[u8];

    /// The tag that the hardware is to insert.
    #[inline]
    fn tag(&self) -> Option<Tag> {
        None
    }

    /// [`Status::LEADS`] or [`Status::FOLLOWS`], if the frame is a segment that the hardware has
    /// cut.
    #[inline(always)]
    fn segment(&self) -> Status {
        Status::none()
    }

    /// Copies the whole frame to `to`, which is [`len`](Self::len) bytes long. Fills in a checksum
    /// that the stack has left to the hardware.
    fn copy_to(&self, to: Dest<'_>) -> Result<Checksum, Malformed>;

    /// Computes a checksum that the stack has left to the hardware, for a frame that is copied in
    /// parts.
    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed>;

    /// Fills `to` with the bytes of the frame from `offset` on, all of which exist. Does not fill
    /// in a checksum.
    fn copy_part(&self, offset: usize, to: Dest<'_>) -> Result<(), Malformed>;
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
    /// Writes those bytes of the checksum that are in `to`, a part of the frame that starts at
    /// `offset`.
    pub fn apply(self, offset: usize, mut to: Dest<'_>) {
        for (at, byte) in (self.offset..).zip(self.bytes) {
            if let Some(at) = at.checked_sub(offset) {
                // A byte beyond `to` is in another part.
                let _ = to.write(at, &[byte]);
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
    /// The room for the frame, after the headroom: at least [`RxLimits::room`] bytes.
    fn room(&mut self) -> Dest<'_>;
}

/// The NIC's side of a ring of receive buffers: a [`NicSide`], or an [`EitherSide`].
pub trait BufferRing {
    /// Its indices.
    fn cursor(&mut self) -> Cursor<'_>;

    /// The room in the next posted buffer, if there is one.
    fn next_room(&mut self) -> Option<Fill<'_, Dest<'_>>>;

    /// How full it is.
    fn level(&mut self) -> Level;
}

impl<H: Handle> BufferRing for NicSide<H>
where
    H::Buffer: RxBuffer,
{
    #[inline]
    fn cursor(&mut self) -> Cursor<'_> {
        NicSide::cursor(self)
    }

    #[inline]
    fn next_room(&mut self) -> Option<Fill<'_, Dest<'_>>> {
        Some(self.next_buffer()?.map(RxBuffer::room))
    }

    fn level(&mut self) -> Level {
        NicSide::level(self)
    }
}

impl<P: Handle, U: Handle> BufferRing for EitherSide<P, U>
where
    P::Buffer: RxBuffer,
    U::Buffer: RxBuffer,
{
    #[inline(always)]
    fn cursor(&mut self) -> Cursor<'_> {
        EitherSide::cursor(self)
    }

    #[inline(always)]
    fn next_room(&mut self) -> Option<Fill<'_, Dest<'_>>> {
        self.next_part(RxBuffer::room, RxBuffer::room)
    }

    fn level(&mut self) -> Level {
        EitherSide::level(self)
    }
}

/// The limits that the buffers of a ring set to frames.
#[derive(Clone, Copy, Debug)]
pub struct RxLimits {
    /// Number of bytes of a frame that fit into a buffer.
    pub room: usize,
    /// Largest number of buffers of a frame. A frame that needs more is not accepted.
    pub max_buffers: u32,
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
pub struct RingWriter<R> {
    nic: R,
    config: RxConfig,
    limits: RxLimits,
    /// Length of the longest accepted frame that fits into one buffer, without the Ethernet header.
    max_payload: usize,
    /// Number of buffers that the longest accepted frame takes.
    max_buffers: u32,
    /// Whether tags of any protocol are stripped.
    strips: bool,
}

impl<R: BufferRing> RingWriter<R> {
    /// The writer of the given ring.
    pub fn new(nic: R, config: RxConfig, limits: RxLimits) -> Self {
        let mut writer = Self {
            nic,
            config,
            limits,
            max_payload: 0,
            max_buffers: 0,
            strips: false,
        };
        writer.configure(config);
        writer
    }

    /// Returns the NIC's side of the ring, and its limits.
    pub fn into_nic(self) -> (R, RxLimits) {
        (self.nic, self.limits)
    }

    /// Sets the registers for the frames from the next one on.
    pub fn configure(&mut self, config: RxConfig) {
        let room = self.limits.room;
        let longest = room.saturating_mul(self.limits.max_buffers as usize);
        self.config = config;
        self.config.max_len = config.max_len.max(MIN_LEN).min(longest);
        self.max_payload = self.config.max_len.min(room).saturating_sub(ETH_LEN);
        self.max_buffers = self.buffers_for(self.config.max_len);
        self.strips = config.strip != Strip::default();
    }

    /// Number of buffers that a frame of `len` bytes takes.
    fn buffers_for(&self, len: usize) -> u32 {
        u32::try_from(len.div_ceil(self.limits.room.max(1))).unwrap_or(u32::MAX)
    }

    /// Number of buffers that the longest accepted frame takes.
    pub fn max_buffers(&self) -> u32 {
        self.max_buffers
    }

    /// Whether there are too few buffers for a frame of the largest accepted length.
    #[inline]
    pub fn is_full(&mut self) -> bool {
        !self.nic.cursor().has(self.max_buffers)
    }

    /// Whether there are enough buffers for a frame of `len` bytes.
    pub fn has_room(&mut self, len: usize) -> bool {
        let buffers = self.buffers_for(len);
        self.nic.cursor().has(buffers)
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
        match self.write_plain(frame, |plain| plain.with_metadata_of(meta)) {
            Some(len) => Ok(len),
            None => self.write_any(frame, meta),
        }
    }

    /// The fast path of [`write`](Self::write): writes a frame that goes into one buffer unchanged,
    /// if there is a buffer. [`None`] for any other frame. `add_meta` adds the frame's hash and
    /// timestamp to its completion.
    #[inline]
    pub fn write_plain(
        &mut self,
        frame: &impl TxFrame,
        add_meta: impl FnOnce(Completion) -> Completion,
    ) -> Option<u32> {
        if !frame.is_plain() {
            return None;
        }
        let start = frame.start();
        let len = frame.plain_len(start);
        // Wraps: a frame shorter than an Ethernet header also exceeds `max_payload`.
        if len.wrapping_sub(ETH_LEN) > self.max_payload || self.may_strip(start) {
            return None;
        }
        let mut slot = self.nic.next_room()?;
        let room = slot.buffer();
        // Padded first: less has to be kept in registers while the frame is copied.
        let stored = pad(room, len)?;
        frame.copy_plain(start, room)?;
        let status = Checksum::Unknown.status();
        slot.complete(add_meta(Completion::new(stored).with_status(status)));
        Some(stored)
    }

    /// Like [`write`](Self::write), for a frame that may not be contiguous, or whose checksum may
    /// have to be filled in.
    fn write_any(&mut self, frame: &impl TxFrame, meta: Completion) -> Result<u32, Refused> {
        if !self.fits(frame, frame.len()) {
            return self.write_edited(frame, meta);
        }
        self.write_whole(frame, meta)
    }

    /// Whether frames of up to `longest` bytes, with the tags of `frame`, go into one buffer each,
    /// without a tag inserted or stripped.
    #[inline]
    pub fn fits(&self, frame: &impl TxFrame, longest: usize) -> bool {
        // Wraps: a frame shorter than an Ethernet header also exceeds `max_payload`.
        longest.wrapping_sub(ETH_LEN) <= self.max_payload
            && frame.tag().is_none()
            && !self.may_strip(frame.start())
    }

    /// Like [`write`](Self::write), for a frame that [fits](Self::fits).
    #[inline(always)]
    pub fn write_whole(&mut self, frame: &impl TxFrame, meta: Completion) -> Result<u32, Refused> {
        let len = frame.len();
        let mut slot = self.nic.next_room().ok_or(Refused::NoBuffer)?;
        let room = slot.buffer();
        let checksum = frame.copy_to(room.first(len).ok_or(Refused::Oversize)?)?;
        let stored = pad(room, len).ok_or(Refused::Oversize)?;
        let status = checksum.status().with(frame.segment());
        slot.complete(meta.with_len(stored).with_status(status));
        Ok(stored)
    }

    /// Whether a tag may have to be stripped from a frame that starts with `bytes`.
    #[inline]
    fn may_strip(&self, bytes: &[u8]) -> bool {
        match bytes.get(TAG_OFFSET..TAG_OFFSET + 2) {
            // The types of tags have the highest bit set. That of IPv4 has not: for most frames
            // this is the only comparison.
            Some(&[type0, type1]) if type0 >= 0x80 => {
                let ethertype = u16::from_be_bytes([type0, type1]);
                self.strips && Protocol::from_ethertype(ethertype).is_some()
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
        if plan.wire_len > self.config.max_len {
            return Err(Refused::Oversize);
        }
        let wire_len = u32::try_from(plan.wire_len).map_err(|_| Refused::Oversize)?;
        let mark = self.nic.cursor().mark();
        if let Err(refused) = self.write_parts(frame, plan) {
            self.nic.cursor().rewind(mark);
            return Err(refused);
        }
        Ok(wire_len)
    }

    /// Makes all written frames visible to the driver, and returns the number of their descriptors.
    /// If it is not 0, the ring's interrupt must be raised.
    #[inline]
    pub fn publish(&mut self) -> u32 {
        self.nic.cursor().publish()
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
        let room_len = self.limits.room;
        let mut offset = 0;
        while offset < stored {
            let mut slot = self.nic.next_room().ok_or(Refused::NoBuffer)?;
            let room = slot.buffer();
            let len = room_len.min(stored - offset);
            source.copy(offset, room.first(len).ok_or(Refused::Oversize)?)?;
            offset += len;
            let more = if offset == stored {
                Status::none()
            } else {
                Status::MORE_BUFFERS
            };
            let status = checksum.status().with(frame.segment()).with(more);
            slot.complete(plan.completion.with_len(len as u32).with_status(status));
        }
        Ok(())
    }
}

/// Pads a frame of `len` bytes in `room` to [`MIN_LEN`]. Returns the new length, or [`None`] if the
/// padding does not fit.
#[inline]
fn pad(room: &mut Dest<'_>, len: usize) -> Option<u32> {
    if len >= MIN_LEN {
        return Some(len as u32);
    }
    room.zero(len, MIN_LEN)?;
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
    fn copy(&self, mut offset: usize, mut to: Dest<'_>) -> Result<(), Malformed> {
        while !to.is_empty() {
            let (len, from) = self.piece(offset);
            let (mut piece, rest) = to.split_at(len);
            let len = piece.len();
            match from {
                Piece::Frame(at) => {
                    self.frame.copy_part(at, piece.reborrow())?;
                    if let Some(patch) = self.patch {
                        patch.apply(at, piece);
                    }
                }
                Piece::Tag(tag) => piece
                    .write(0, tag.get(..len).unwrap_or(tag))
                    .ok_or(Malformed)?,
                Piece::Padding => piece.zero(0, len).ok_or(Malformed)?,
            }
            offset += len;
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
