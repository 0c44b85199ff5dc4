// SPDX-License-Identifier: GPL-2.0

//! The wire: how a frame gets into a receive ring of the port at its other end.

use core::ops::Deref;

use super::{
    ring::{Completion, Level, NicSide, Status},
    rss,
    storage::Handle,
    vlan::{Protocol, Strip, Tag, TAG_LEN, TAG_OFFSET},
};

/// Length of an Ethernet header in bytes (`ETH_HLEN`), and of the shortest frame there is.
pub const HEADER_LEN: usize = 14;

/// Length of the shortest frame on the wire in bytes, without FCS (`ETH_ZLEN`). Shorter ones are
/// filled up with zeroes.
pub const MIN_LEN: usize = 60;

/// How many bytes a frame takes on the wire that has `len` bytes without the tag beside it.
#[inline]
pub fn wire_len(len: usize, tag: Option<Tag>) -> usize {
    (len + tag.map_or(0, |_| TAG_LEN)).max(MIN_LEN)
}

/// A frame as it is handed to the wire, padding and FCS not included.
#[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
pub trait Frame {
    /// Length in bytes, without [`tag`](Self::tag).
    fn len(&self) -> usize;

    /// The first bytes, from the Ethernet header on: as many as are at hand in one piece, but
    /// [`rss::HEADERS_LEN`] if the frame is that long. With fewer it may miss its queue.
    fn head(&self) -> Head<'_>;

    /// Whether [`start`](Self::start) is the whole frame, and there is nothing to be done to it: no
    /// checksum to be filled in, no tag to be put in.
    fn is_plain(&self) -> bool;

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
    pub fn apply(self, offset: usize, bytes: &mut [u8]) {
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
    /// How much longer than an Ethernet header a frame may be that is let in and fits into one buffer,
    /// padded or not.
    most_payload: usize,
    /// How many buffers the longest frame takes.
    most_buffers: u32,
    /// Whether any tags are taken out.
    strips: bool,
}

impl<H: Handle> Inlet<H>
where
    H::Buffer: Buffer,
{
    /// The inlet of the given ring.
    pub fn new(nic: NicSide<H>, settings: Settings) -> Self {
        let mut inlet = Self {
            nic,
            settings,
            most_payload: 0,
            most_buffers: 0,
            strips: false,
        };
        inlet.set(settings);
        inlet
    }

    /// The NIC's side of the ring, off the wire.
    pub fn into_nic(self) -> NicSide<H> {
        self.nic
    }

    /// What is done with frames from the next one on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
        let most = settings.max_len.max(MIN_LEN).min(H::Buffer::ROOM);
        self.most_payload = most.saturating_sub(HEADER_LEN);
        self.most_buffers = buffers_for::<H::Buffer>(settings.max_len);
        self.strips = settings.strip != Strip::default();
    }

    /// How many buffers the longest frame takes that is let in.
    pub fn most_buffers(&self) -> u32 {
        self.most_buffers
    }

    /// Whether there may be too few buffers for a further frame, if it is as long as any that is let
    /// in.
    #[inline]
    pub fn is_full(&mut self) -> bool {
        !self.nic.has(self.most_buffers)
    }

    /// Whether there are too few buffers for a frame of `len` bytes.
    pub fn lacks(&mut self, len: usize) -> bool {
        !self.nic.has(buffers_for::<H::Buffer>(len))
    }

    /// What is in the ring.
    pub fn level(&mut self) -> Level {
        self.nic.level()
    }

    /// Puts a frame into the ring and returns its length on the wire in bytes, tags and padding
    /// included. The driver does not see it before the [`flush`](Self::flush). `known` goes along with
    /// it: its hash and its time.
    ///
    /// A frame that is refused leaves the ring as it was.
    #[inline]
    pub fn put(&mut self, frame: &impl Frame, known: Completion) -> Result<u32, Refused> {
        match self.put_plain(frame, || known) {
            Some(len) => Ok(len),
            None => self.put_any(frame, known),
        }
    }

    /// As [`put`](Self::put), but only if the frame goes into one buffer as it is, and there is one.
    #[inline]
    pub fn put_plain(
        &mut self,
        frame: &impl Frame,
        known: impl FnOnce() -> Completion,
    ) -> Option<u32> {
        if !frame.is_plain() {
            return None;
        }
        let bytes = frame.start();
        // Too short is too long here.
        if bytes.len().wrapping_sub(HEADER_LEN) > self.most_payload || self.may_strip(bytes) {
            return None;
        }
        let mut slot = self.nic.next_buffer()?;
        let room = slot.buffer().room();
        room.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let stored = pad(room, bytes.len())?;
        let status = Checksum::Unknown.status().with(Status::END_OF_PACKET);
        slot.complete(known().with_len(stored).with_status(status));
        Some(stored)
    }

    /// As [`put`](Self::put), for a frame that may be scattered in memory or lack its checksum.
    fn put_any(&mut self, frame: &impl Frame, known: Completion) -> Result<u32, Refused> {
        let len = frame.len();
        if len.wrapping_sub(HEADER_LEN) > self.most_payload
            || frame.tag().is_some()
            || self.may_strip(frame.start())
        {
            return self.put_edited(frame, known);
        }
        let mut slot = self.nic.next_buffer().ok_or(Refused::NoBuffer)?;
        let room = slot.buffer().room();
        let checksum = frame.copy_to(room.get_mut(..len).ok_or(Refused::Oversize)?)?;
        let stored = pad(room, len).ok_or(Refused::Oversize)?;
        let status = checksum.status().with(Status::END_OF_PACKET);
        slot.complete(known.with_len(stored).with_status(status));
        Ok(stored)
    }

    /// Whether a tag may have to be taken out of a frame that starts with `bytes`.
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

    /// As [`put`](Self::put), for a frame that needs more than one buffer, or whose tag is put in or
    /// taken out, or that is too short or too long, or for which there is no buffer.
    #[cold]
    fn put_edited(&mut self, frame: &impl Frame, known: Completion) -> Result<u32, Refused> {
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
            wire_len: wire_len(len, tag),
            stripped: stripped.is_some(),
            completion: match stripped {
                Some(tag) => known.with_vlan(tag),
                None => known,
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
            let status = checksum.status().with(last);
            slot.complete(put.completion.with_len(len as u32).with_status(status));
        }
        Ok(())
    }
}

/// How many buffers a frame of `len` bytes takes.
fn buffers_for<B: Buffer>(len: usize) -> u32 {
    u32::try_from(len.div_ceil(B::ROOM)).unwrap_or(u32::MAX)
}

/// Fills a frame of `len` bytes in `room` up to the length of the shortest there is. Returns its length
/// then, or `None` if it does not fit.
#[inline]
fn pad(room: &mut [u8], len: usize) -> Option<u32> {
    if len >= MIN_LEN {
        return Some(len as u32);
    }
    room.get_mut(len..MIN_LEN)?.fill(0);
    Some(MIN_LEN as u32)
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
    /// Whether a tag is not written to the buffers.
    stripped: bool,
    /// What its descriptors have in common.
    completion: Completion,
}

impl Put {
    /// How many bytes are written to the buffers.
    #[inline]
    fn stored_len(&self) -> usize {
        if self.stripped {
            self.wire_len - TAG_LEN
        } else {
            self.wire_len
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
