// SPDX-License-Identifier: GPL-2.0

//! The wire between two ports, as senders use it: frames are steered to a receive queue of the peer
//! and written there, or discarded.

use super::{
    port::Port,
    rx::{
        RxHw,
        RxHwQueue,
        WireGuard, //
    },
    steering::Discard,
};
use crate::{
    net::bh,
    nic::{
        completion::Completion,
        rss::Hash,
        wire::{
            wire_len,
            Refused,
            TxFrame, //
        },
    },
};

/// Counts frames that were sent, and those that could not be.
#[derive(Default)]
pub(crate) struct TxCounts {
    /// Frames sent, received by the peer or not.
    pub(crate) frames: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Frames not sent: the peer was down, or they were malformed.
    pub(crate) not_sent: u64,
}

impl TxCounts {
    /// Counts a frame of `len` bytes that was sent.
    #[inline]
    pub(crate) fn add(&mut self, len: u64) {
        self.frames = self.frames.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(len);
    }

    /// Adds the counts of `other`.
    pub(crate) fn add_all(&mut self, other: &Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.not_sent += other.not_sent;
    }
}

/// Writes a frame into the ring of a queue. One that is too long for the peer counts as sent; the
/// peer discards and counts it.
pub(crate) fn write_counted(
    queue: &RxHwQueue,
    hw: &mut RxHw,
    frame: &impl TxFrame,
    meta: Completion,
    sent: &mut TxCounts,
) -> Result<(), Refused> {
    match hw.write(frame, meta) {
        Ok(len) => sent.add(len.into()),
        Err(Refused::Oversize) => {
            queue.stats.oversize.add(1);
            sent.add(wire_len(frame.len(), frame.tag()) as u64);
        }
        Err(refused) => return Err(refused),
    }
    Ok(())
}

/// Counts a frame for which the queue has no buffer: it is sent, and lost there.
#[cold]
fn count_missed(queue: &RxHwQueue, frame: &impl TxFrame, sent: &mut TxCounts) {
    queue.stats.no_buffer.add(1);
    sent.add(wire_len(frame.len(), frame.tag()) as u64);
}

/// Why a frame was not sent.
pub(crate) enum NotSent {
    /// The peer is down.
    NoCarrier,
    /// The frame is shorter than an Ethernet header, or cannot be read.
    Malformed,
}

/// Sends XDP frames to a port. (`ndo_start_xmit` locks the queue itself, since it may have to
/// stop.) It never waits for buffers: a verdict or a redirect cannot wait, so there is no flow
/// control for them. The wire lock of a queue is kept from frame to frame, as long as they go to
/// the same queue. The frames are published when another queue follows, and when the sender is
/// dropped. Frames of a queue keep their order.
pub(crate) struct WireSender<'a> {
    peer: &'a Port,
    bh: &'a bh::Disabled,
    locked: Option<(&'a RxHwQueue, WireGuard<'a>)>,
}

impl<'a> WireSender<'a> {
    pub(crate) fn new(peer: &'a Port, bh: &'a bh::Disabled) -> Self {
        Self {
            peer,
            bh,
            locked: None,
        }
    }

    /// Writes a frame into the queue that the peer's RSS chooses, and counts it in `sent`. The peer
    /// may still lose it: if it is too long, or there is no buffer.
    #[inline]
    pub(crate) fn send(
        &mut self,
        frame: &impl TxFrame,
        sent: &mut TxCounts,
    ) -> Result<(), NotSent> {
        let peer = self.peer;
        let bh = self.bh;
        let (queue, hash) = match peer.steer(frame, bh) {
            Ok(steered) => steered,
            Err(why) => return self.discard(why, frame, sent),
        };
        if let Some(hw) = self.lock(queue) {
            if let Some(len) = hw.write_plain(frame, hash, || peer.hash(frame, bh)) {
                sent.add(len.into());
                return Ok(());
            }
        }
        self.send_slow(queue, hash, frame, sent)
    }

    /// A frame that goes to no queue.
    #[cold]
    fn discard(
        &self,
        why: Discard,
        frame: &impl TxFrame,
        sent: &mut TxCounts,
    ) -> Result<(), NotSent> {
        if !self.peer.discard(why, 1) {
            return Err(NotSent::NoCarrier);
        }
        sent.add(wire_len(frame.len(), frame.tag()) as u64);
        Ok(())
    }

    /// Slow path: any frame, or a queue that has no ring or no buffer.
    #[inline(never)]
    fn send_slow(
        &mut self,
        queue: &'a RxHwQueue,
        hash: Hash,
        frame: &impl TxFrame,
        sent: &mut TxCounts,
    ) -> Result<(), NotSent> {
        let (peer, bh) = (self.peer, self.bh);
        let Some(hw) = self.lock(queue) else {
            if !queue.is_restarting() {
                return Err(NotSent::NoCarrier);
            }
            count_missed(queue, frame, sent);
            return Ok(());
        };
        let meta = hw.meta.collect(hash, || peer.hash(frame, bh));
        match write_counted(queue, hw, frame, meta, sent) {
            Ok(()) => Ok(()),
            Err(Refused::NoBuffer) => {
                count_missed(queue, frame, sent);
                Ok(())
            }
            // Oversize: not reached, `write_counted` counts it.
            Err(Refused::Malformed | Refused::Oversize) => Err(NotSent::Malformed),
        }
    }

    /// Locks the wire of a queue. Locking and unlocking are functions of their own: inlined in the
    /// loop over the frames, they took registers from all frames that go to the same queue.
    #[inline]
    fn lock(&mut self, queue: &'a RxHwQueue) -> &mut Option<RxHw> {
        let same = matches!(&self.locked, Some((last, _)) if core::ptr::eq(*last, queue));
        if !same {
            self.unlock();
        }
        let bh = self.bh;
        let (_, hw) = self.locked.get_or_insert_with(|| lock_queue(queue, bh));
        hw
    }

    /// Publishes the frames that were written into the locked queue, and unlocks it.
    #[inline(never)]
    fn unlock(&mut self) {
        if let Some((_, mut hw)) = self.locked.take() {
            if let Some(hw) = &mut *hw {
                hw.publish(self.bh);
            }
        }
    }
}

#[inline(never)]
fn lock_queue<'a>(queue: &'a RxHwQueue, bh: &'a bh::Disabled) -> (&'a RxHwQueue, WireGuard<'a>) {
    (queue, queue.hw.lock(bh))
}

impl Drop for WireSender<'_> {
    fn drop(&mut self) {
        self.unlock();
    }
}
