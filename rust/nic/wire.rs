// SPDX-License-Identifier: GPL-2.0

//! The wire: how a frame gets into a receive ring of the port at its other end.

use core::ops::Deref;

use super::{
    ring::{Completion, NicSide, Status},
    rss::{self, Hash},
    storage::Handle,
};

/// Length of an Ethernet header in bytes (`ETH_HLEN`), and of the shortest frame there is.
pub const HEADER_LEN: usize = 14;

/// Length of the shortest frame on the wire in bytes, without FCS (`ETH_ZLEN`). Shorter ones are
/// filled up with zeroes.
pub const MIN_LEN: usize = 60;

/// A frame as it is handed to the wire, padding and FCS not included.
#[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
pub trait Frame {
    /// Length in bytes.
    fn len(&self) -> usize;

    /// The first bytes, from the Ethernet header on: as many as are at hand in one piece, but
    /// [`rss::HEADERS_LEN`] if the frame is that long. With fewer it may miss its queue.
    fn head(&self) -> Head<'_>;

    /// Copies the whole frame; `to` is [`len`](Self::len) bytes long. Checksums that were left to
    /// the hardware are filled in.
    fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed>;
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

/// A frame that contradicts itself and cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A receive buffer that the NIC can write a frame into.
pub trait Buffer {
    /// The bytes for the frame, after the head room.
    fn room(&mut self) -> &mut [u8];
}

/// Why a frame did not get into a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No buffer is posted. The frame may be put again later.
    NoBuffer,
    /// Longer than what the receiving port takes.
    Oversize,
    /// Not a frame; see [`Malformed`].
    Malformed,
}

/// The end of the wire at one receive ring.
pub struct Inlet<H: Handle> {
    nic: NicSide<H>,
    max_len: usize,
}

impl<H: Handle> Inlet<H>
where
    H::Buffer: Buffer,
{
    /// The inlet of the given ring, for frames of up to `max_len` bytes, without FCS.
    pub fn new(nic: NicSide<H>, max_len: usize) -> Self {
        Self { nic, max_len }
    }

    /// The NIC's side of the ring, off the wire.
    pub fn into_nic(self) -> NicSide<H> {
        self.nic
    }

    /// Changes the length of the longest frame that is let in, in bytes, without FCS.
    pub fn set_max_len(&mut self, max_len: usize) {
        self.max_len = max_len;
    }

    /// Number of frames that there are buffers for. Looks at what the driver posted meanwhile: call
    /// it per batch rather than per frame.
    #[inline]
    pub fn available(&mut self) -> u32 {
        self.nic.available()
    }

    /// Whether there is no buffer for a further frame.
    #[inline]
    pub fn is_full(&mut self) -> bool {
        self.nic.is_exhausted()
    }

    /// Puts a frame into the ring and returns its length on the wire in bytes, padding included.
    /// The driver does not see it before the [`flush`](Self::flush).
    #[inline]
    pub fn put(&mut self, frame: &impl Frame, hash: Hash) -> Result<u32, Refused> {
        if frame.len() > self.max_len {
            return Err(Refused::Oversize);
        }
        let mut slot = self.nic.next_buffer().ok_or(Refused::NoBuffer)?;
        let (len, checksum) = write(frame, slot.buffer().room())?;
        slot.complete(Completion {
            len,
            rss_hash: hash.value,
            hash_type: hash.kind,
            status: match checksum {
                Checksum::Good => Status::END_OF_PACKET.with(Status::CHECKSUM_GOOD),
                Checksum::Unknown => Status::END_OF_PACKET,
            },
        });
        Ok(len)
    }

    /// Makes everything that was put visible to the driver and returns how many frames that were.
    /// If any, the ring's interrupt must be raised.
    #[inline]
    pub fn flush(&mut self) -> u32 {
        self.nic.publish()
    }
}

/// Writes `frame` to the start of `room`, padded. Returns the length with the padding in bytes.
#[inline]
fn write(frame: &impl Frame, room: &mut [u8]) -> Result<(u32, Checksum), Refused> {
    let len = frame.len();
    if len < HEADER_LEN {
        return Err(Refused::Malformed);
    }
    let wire_len = len.max(MIN_LEN);
    let room = room.get_mut(..wire_len).ok_or(Refused::Oversize)?;
    let (bytes, padding) = room.split_at_mut_checked(len).ok_or(Refused::Oversize)?;

    let checksum = frame
        .copy_to(bytes)
        .map_err(|Malformed| Refused::Malformed)?;
    padding.fill(0);
    let wire_len = u32::try_from(wire_len).map_err(|_| Refused::Oversize)?;
    Ok((wire_len, checksum))
}
