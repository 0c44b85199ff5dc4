// SPDX-License-Identifier: GPL-2.0

//! The wire between two ports, as senders use it: frames are steered to a receive queue of the peer
//! and written there, or discarded.

use super::{
    port::{
        Port,
        SteeringNow, //
    },
    rx::{
        RxHw,
        RxHwQueue,
        WireGuard,
        WAKE_THRESHOLD, //
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

/// What became of a frame whose sender can wait for buffers.
pub(crate) enum Sent {
    /// It was sent, received by the peer or not.
    Out,
    /// It was not: its sender has to wait from now on.
    Waits,
    /// It was not: its sender was waiting already, and still has to.
    StillWaits,
}

/// Frames that are sent together, in order.
pub(crate) trait Batch {
    /// A frame.
    type Frame: TxFrame;

    /// The next frame.
    fn peek(&self) -> Option<&Self::Frame>;

    /// Ends the next frame: it is not needed any more.
    fn finish(&mut self);
}

/// Sends XDP frames to a port. (`ndo_start_xmit` locks the queue itself, since it may have to
/// stop.) There is flow control only for frames of AF_XDP sockets: a verdict or a redirect cannot
/// wait for buffers. The wire lock of a queue is kept from frame to frame, as long as they go to
/// the same queue. The frames are published when another queue follows, and when the sender is
/// dropped. Frames of a queue keep their order.
pub(crate) struct WireSender<'a> {
    /// The port, and what is read of it once for all frames.
    steering: SteeringNow<'a>,
    locked: Option<(&'a RxHwQueue, WireGuard<'a>)>,
}

impl<'a> WireSender<'a> {
    pub(crate) fn new(peer: &'a Port, bh: &'a bh::Disabled) -> Self {
        Self {
            steering: peer.steering_now(bh),
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
        match self.send_plain(frame, sent)? {
            None => Ok(()),
            Some((queue, hash)) => self.send_slow(queue, hash, frame, sent),
        }
    }

    /// As [`send`](Self::send), for several frames, up to the first one that takes the slow path.
    /// Returns the number of frames before it.
    #[inline(always)]
    pub(crate) fn send_fast<F: TxFrame>(
        &mut self,
        frames: impl Iterator<Item = F>,
        sent: &mut TxCounts,
    ) -> u32 {
        let SteeringNow { port, bh, .. } = self.steering;
        // With a single queue, that it is locked is found out once for all frames.
        let Some((queue, filter)) = self.steering.single_queue() else {
            return self.send_fast_steered(frames, sent);
        };
        let Some(hw) = self.lock(queue) else {
            return 0;
        };
        let (mut count, mut bytes) = (0_u32, 0_u64);
        for frame in frames {
            if filter.check(&frame).is_err() {
                break;
            }
            let compute_hash = || port.hash(&frame, bh);
            let Some(len) = hw.write_plain(&frame, Hash::NONE, compute_hash) else {
                break;
            };
            count = count.wrapping_add(1);
            bytes = bytes.wrapping_add(len.into());
        }
        sent.frames += u64::from(count);
        sent.bytes += bytes;
        count
    }

    /// [`send_fast`](Self::send_fast) to a port with several queues. A function of its own:
    /// inlined, it took registers from the frames to a single one.
    #[inline(never)]
    fn send_fast_steered<F: TxFrame>(
        &mut self,
        frames: impl Iterator<Item = F>,
        sent: &mut TxCounts,
    ) -> u32 {
        let mut count = 0_u32;
        for frame in frames {
            if !matches!(self.send_plain(&frame, sent), Ok(None)) {
                break;
            }
            count = count.wrapping_add(1);
        }
        count
    }

    /// As [`send`](Self::send), for a sender that waits for buffers as long as `pauses` returns
    /// `true`. If it must wait, the sender with the number `waiter` is woken later.
    pub(crate) fn send_or_wait(
        &mut self,
        frame: &impl TxFrame,
        sent: &mut TxCounts,
        waiter: u32,
        pauses: impl Fn() -> bool,
    ) -> Result<Sent, NotSent> {
        while let Some((queue, hash)) = self.send_plain(frame, sent)? {
            if self.send_any(queue, hash, frame, sent)? {
                break;
            }
            if !pauses() {
                count_missed(queue, frame, sent);
                break;
            }
            let bh = self.steering.bh;
            let len = wire_len(frame.len(), frame.tag());
            let was_waiting = queue.waiters.has(waiter);
            let must_wait = match self.lock(queue) {
                // Publish first: the poll that posts buffers and wakes the sender is run only for
                // frames that are published.
                Some(hw) => {
                    hw.publish(bh);
                    let threshold = hw.wake_threshold();
                    let still_full = || pauses() && !hw.writer.has_room(len);
                    queue.waiters.wait(waiter, threshold, still_full)
                }
                // No ring is connected while the lock is held. One that is wakes all senders.
                None => queue.waiters.wait(waiter, WAKE_THRESHOLD, &pauses),
            };
            if must_wait {
                return Ok(if was_waiting {
                    Sent::StillWaits
                } else {
                    Sent::Waits
                });
            }
        }
        Ok(Sent::Out)
    }

    /// Sends the frames of a batch as [`send`](Self::send) does, as many as it can before the peer
    /// goes down. Malformed ones count as not sent. Returns `false` if frames are left.
    ///
    /// Frames in a row that go to one queue and are not special are written in one loop, which
    /// reads once what is the same for all of them.
    #[inline]
    pub(crate) fn send_batch(&mut self, batch: &mut impl Batch, sent: &mut TxCounts) -> bool {
        loop {
            self.write_run(batch, sent);
            let Some(frame) = batch.peek() else {
                return true;
            };
            match self.send_one(frame, sent) {
                Ok(()) => {}
                Err(NotSent::Malformed) => sent.not_sent += 1,
                Err(NotSent::NoCarrier) => return false,
            }
            batch.finish();
        }
    }

    /// Locks the queue of the next frame, and writes into it this frame and those after it, up to
    /// the first that is special or goes to another queue, which [`send_one`](Self::send_one) is
    /// for.
    #[inline(always)]
    fn write_run(&mut self, batch: &mut impl Batch, sent: &mut TxCounts) {
        let SteeringNow { port, bh, .. } = self.steering;
        let Some(first) = batch.peek() else { return };
        let Ok((queue, _)) = self.steering.steer(first) else {
            return;
        };
        self.lock(queue);
        let steering = &self.steering;
        let Some((_, locked)) = &mut self.locked else {
            return;
        };
        let Some(hw) = &mut **locked else { return };
        while let Some(frame) = batch.peek() {
            let Ok((next, hash)) = steering.steer(frame) else {
                return;
            };
            if !core::ptr::eq(next, queue) {
                return;
            }
            let Some(len) = hw.write_plain(frame, hash, || port.hash(frame, bh)) else {
                return;
            };
            sent.add(len.into());
            batch.finish();
        }
    }

    /// [`send`](Self::send) for a frame of a batch, seldom needed.
    #[inline(never)]
    fn send_one(&mut self, frame: &impl TxFrame, sent: &mut TxCounts) -> Result<(), NotSent> {
        self.send(frame, sent)
    }

    /// Fast path: steers a frame, and writes it if nothing about it or its queue is special.
    /// Otherwise returns its queue and hash.
    #[inline(always)]
    fn send_plain(
        &mut self,
        frame: &impl TxFrame,
        sent: &mut TxCounts,
    ) -> Result<Option<(&'a RxHwQueue, Hash)>, NotSent> {
        let SteeringNow { port, bh, .. } = self.steering;
        let (queue, hash) = match self.steering.steer(frame) {
            Ok(steered) => steered,
            Err(why) => return self.discard(why, frame, sent).map(|()| None),
        };
        if let Some(hw) = self.lock(queue) {
            if let Some(len) = hw.write_plain(frame, hash, || port.hash(frame, bh)) {
                sent.add(len.into());
                return Ok(None);
            }
        }
        Ok(Some((queue, hash)))
    }

    /// A frame that goes to no queue.
    #[cold]
    fn discard(
        &self,
        why: Discard,
        frame: &impl TxFrame,
        sent: &mut TxCounts,
    ) -> Result<(), NotSent> {
        if !self.steering.port.discard(why, 1) {
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
        if !self.send_any(queue, hash, frame, sent)? {
            count_missed(queue, frame, sent);
        }
        Ok(())
    }

    /// Writes any frame. Returns `false` if the queue has no buffer, or is being restarted.
    fn send_any(
        &mut self,
        queue: &'a RxHwQueue,
        hash: Hash,
        frame: &impl TxFrame,
        sent: &mut TxCounts,
    ) -> Result<bool, NotSent> {
        let SteeringNow { port, bh, .. } = self.steering;
        let Some(hw) = self.lock(queue) else {
            if !queue.is_restarting() {
                return Err(NotSent::NoCarrier);
            }
            return Ok(false);
        };
        let meta = hw.meta.collect(hash, || port.hash(frame, bh));
        match write_counted(queue, hw, frame, meta, sent) {
            Ok(()) => Ok(true),
            Err(Refused::NoBuffer) => Ok(false),
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
        let bh = self.steering.bh;
        let (_, hw) = self.locked.get_or_insert_with(|| lock_queue(queue, bh));
        hw
    }

    /// Publishes the frames that were written into the locked queue, and unlocks it.
    #[inline(never)]
    fn unlock(&mut self) {
        if let Some((_, mut hw)) = self.locked.take() {
            if let Some(hw) = &mut *hw {
                hw.publish(self.steering.bh);
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
