// SPDX-License-Identifier: GPL-2.0

//! `ndo_start_xmit`: writes the stack's frames into the peer's rings, with flow control.

use crate::{
    card::{
        port::Port,
        rx::{
            RxHw,
            RxHwQueue,
            WireGuard,
            WAKE_THRESHOLD, //
        },
        rx_ring::RxWriter,
        segmentation::LargeFrame,
        wire::{
            write_counted,
            TxCounts, //
        },
    },
    driver::{
        tx::ring::TxRing,
        vsi::Vsi, //
    },
    net::{
        bh,
        clock,
        device::{
            Device,
            Xmit, //
        },
        skbuff::SkBuff, //
    },
    nic::{
        rss::Hash,
        wire::{
            wire_len,
            Refused,
            TxFrame, //
        },
    },
};
use core::sync::atomic::Ordering;

/// Why an skb was not sent.
enum NotSent {
    /// It is too short for its headers, or its checksum lies outside of it.
    Malformed,
    /// The peer has no buffers: the queue is stopped, and the stack keeps the skb.
    Stopped,
}

/// A transmit queue, and the receive queue of the peer that it sends to.
struct TxQueue<'a> {
    dev: &'a Device,
    port: &'a Port,
    index: u16,
    peer: &'a Port,
    rx_queue: &'a RxHwQueue,
    tx: &'a TxRing,
}

impl Vsi {
    /// `ndo_start_xmit`: copies the skb into the next buffers of the peer's ring.
    #[inline]
    pub(crate) fn xmit(&self, dev: &Device, skb: SkBuff, bh: &bh::Disabled) -> Xmit {
        let index = skb.queue_mapping();
        let Some(tx) = self.tx_rings.get(usize::from(index)) else {
            // Not reached: the stack uses only queues that exist.
            return Xmit::Done;
        };
        let peer = &*self.peer.read(bh);
        let (rx_queue, hash) = match peer.steer(&skb, bh) {
            Ok(steered) => steered,
            Err(why) => {
                self.discard_skb(tx, skb, |frames| peer.discard(why, frames));
                return Xmit::Done;
            }
        };
        // For the slow paths. The queue's number is read from the skb again: keeping it in a
        // register until then cost every frame 5 instructions.
        let queue = || TxQueue {
            dev,
            port: &self.port,
            index: skb.queue_mapping(),
            peer,
            rx_queue,
            tx,
        };
        if self.takes_hwtstamp(&skb) {
            return self.xmit_stamped(&queue(), skb, hash, bh);
        }
        let mut locked = rx_queue.hw.lock(bh);
        let Some(hw) = &mut *locked else {
            return self.xmit_ring_down(&queue(), skb, locked);
        };
        let compute_hash = || peer.hash(&skb, bh);
        // Fast path: linear, untagged, no offloads.
        let (frames, bytes) = match hw.write_plain(&skb, hash, compute_hash) {
            Some(len) => (1, len.into()),
            None => match self.xmit_slow(&queue(), hw, &skb, hash, bh) {
                Ok(sent) => (sent.frames, sent.bytes),
                Err(NotSent::Malformed) => {
                    drop(locked);
                    tx.stats.dropped.add(1);
                    return Xmit::Done;
                }
                Err(NotSent::Stopped) => return Xmit::Busy(skb),
            },
        };
        // Timestamp before the frame is visible: the peer may reply at once from another CPU.
        skb.tx_timestamp(None);
        hw.publish(bh);
        if hw.writer.is_full() {
            self.stop_if_full(&queue(), hw, bh);
        }
        // Unlock first: other senders may wait for the wire.
        drop(locked);
        tx.stats.packets.add(frames);
        tx.stats.bytes.add(bytes);
        skb.consume();
        Xmit::Done
    }

    /// Whether the sender of an skb gets the time of sending by the card's clock.
    #[inline]
    fn takes_hwtstamp(&self, skb: &SkBuff) -> bool {
        skb.wants_hwtstamp() && self.settings.hwtstamp.tx.load(Ordering::Relaxed)
    }

    /// As [`xmit`](Self::xmit), for an skb whose sender gets the time of sending by the card's
    /// clock. A function of its own, so that all others pay nothing for this.
    ///
    /// The time is taken before the frame is written, so that it is not later than that of its
    /// arrival. Of a frame that has to wait, that is when it is sent at last; of a large one, when
    /// its last segments are sent, since the number by which the sender knows the stamp (`tskey`)
    /// is that of the last byte. No time is reported of a frame that is not sent.
    #[cold]
    #[inline(never)]
    fn xmit_stamped(
        &self,
        queue: &TxQueue<'_>,
        skb: SkBuff,
        hash: Hash,
        bh: &bh::Disabled,
    ) -> Xmit {
        let mut locked = queue.rx_queue.hw.lock(bh);
        let Some(hw) = &mut *locked else {
            return self.xmit_ring_down(queue, skb, locked);
        };
        let now = clock::tai_ns();
        let sent = match self.xmit_slow(queue, hw, &skb, hash, bh) {
            Ok(sent) => sent,
            Err(NotSent::Malformed) => {
                drop(locked);
                queue.tx.stats.dropped.add(1);
                return Xmit::Done;
            }
            Err(NotSent::Stopped) => return Xmit::Busy(skb),
        };
        skb.tx_timestamp(Some(now));
        hw.publish(bh);
        if hw.writer.is_full() {
            self.stop_if_full(queue, hw, bh);
        }
        drop(locked);
        queue.count(&sent);
        skb.consume();
        Xmit::Done
    }

    /// Slow path: any skb. A large one is written segment by segment.
    ///
    /// The peer counts frames that are too long for it or that it has no buffer for; they count as
    /// sent. On success the caller counts the frames sent. On failure the frames sent before it are
    /// counted here.
    #[inline(never)]
    fn xmit_slow(
        &self,
        queue: &TxQueue<'_>,
        hw: &mut RxHw,
        skb: &SkBuff,
        hash: Hash,
        bh: &bh::Disabled,
    ) -> Result<TxCounts, NotSent> {
        let compute_hash = || queue.peer.hash(skb, bh);
        let meta = hw.meta.collect(hash, compute_hash);
        let mut large = match skb.gso_size() {
            None => None,
            Some(size) => {
                Some(LargeFrame::new(skb, size, &queue.tx.progress).ok_or(NotSent::Malformed)?)
            }
        };
        let rx_queue = queue.rx_queue;
        let mut sent = TxCounts::default();
        loop {
            let result = match &mut large {
                None => write_counted(rx_queue, hw, skb, meta, &mut sent),
                Some(large) => large.write(rx_queue, hw, meta, &mut sent),
            };
            match result {
                Ok(()) => return Ok(sent),
                Err(Refused::Malformed | Refused::Oversize) => {
                    hw.publish(bh);
                    queue.count(&sent);
                    return Err(NotSent::Malformed);
                }
                Err(Refused::NoBuffer) if !queue.pauses() => {
                    let missed = wire_size(skb, large.as_ref());
                    rx_queue.stats.no_buffer.add(missed.frames);
                    sent.add_all(&missed);
                    return Ok(sent);
                }
                // Other senders took the last buffers, or there are more segments than buffers.
                Err(Refused::NoBuffer) => {
                    // Room for the next frame, including a VLAN tag: with less, `has_room` may
                    // succeed where the write fails, and this loop spins. Room for all segments may
                    // be more than the ring ever has.
                    let len = match &large {
                        None => wire_len(skb.len(), TxFrame::tag(skb)),
                        Some(large) => large.segment_len(),
                    };
                    if queue.stop(hw, |writer| !writer.has_room(len), bh) {
                        if let Some(large) = &large {
                            large.keep(&queue.tx.progress);
                        }
                        queue.count(&sent);
                        return Err(NotSent::Stopped);
                    }
                }
            }
        }
    }

    /// The receive queue of the peer has no ring: it is restarted, or the peer is down.
    #[cold]
    fn xmit_ring_down(&self, queue: &TxQueue<'_>, skb: SkBuff, locked: WireGuard<'_>) -> Xmit {
        let TxQueue { rx_queue, tx, .. } = *queue;
        if !rx_queue.is_restarting() {
            drop(locked);
            tx.progress.forget();
            tx.stats.carrier.add(1);
            return Xmit::Done;
        }
        // Full: no ring is connected while the lock is held.
        if queue.pauses() && queue.wait(WAKE_THRESHOLD, || true) {
            return Xmit::Busy(skb);
        }
        self.discard_skb(tx, skb, |frames| {
            rx_queue.stats.no_buffer.add(frames);
            drop(locked);
            true
        });
        Xmit::Done
    }

    /// Stops a queue whose last frame took the last buffers, if flow control is on.
    #[cold]
    fn stop_if_full(&self, queue: &TxQueue<'_>, hw: &mut RxHw, bh: &bh::Disabled) {
        if queue.pauses() {
            queue.stop(hw, RxWriter::is_full, bh);
        }
    }

    /// Completes an skb whose frames the peer discards: they are sent. `count` counts them at the
    /// peer, and returns `false` if the peer has no carrier: then the skb is counted here.
    #[cold]
    fn discard_skb(&self, tx: &TxRing, skb: SkBuff, count: impl FnOnce(u64) -> bool) {
        let stats = &tx.stats;
        let large = match skb
            .gso_size()
            .map(|size| LargeFrame::new(&skb, size, &tx.progress))
        {
            None => None,
            Some(Some(large)) => Some(large),
            Some(None) => {
                stats.dropped.add(1);
                return;
            }
        };
        let lost = wire_size(&skb, large.as_ref());
        if !count(lost.frames) {
            stats.carrier.add(1);
            return;
        }
        skb.tx_timestamp(self.takes_hwtstamp(&skb).then(clock::tai_ns));
        stats.packets.add(lost.frames);
        stats.bytes.add(lost.bytes);
        skb.consume();
    }
}

/// Frames and bytes of an skb on the wire, received or not: one frame, or all segments that have
/// not been sent.
fn wire_size(skb: &SkBuff, large: Option<&LargeFrame<'_>>) -> TxCounts {
    if let Some(large) = large {
        return large.rest();
    }
    let mut sent = TxCounts::default();
    sent.add(wire_len(skb.len(), TxFrame::tag(skb)) as u64);
    sent
}

impl TxQueue<'_> {
    /// Whether flow control is on: the queue waits for buffers instead of losing frames.
    fn pauses(&self) -> bool {
        self.peer.pauses(self.port)
    }

    /// Counts the frames that were sent.
    fn count(&self, sent: &TxCounts) {
        self.tx.stats.packets.add(sent.frames);
        self.tx.stats.bytes.add(sent.bytes);
    }

    /// Publishes the frames in the peer's ring and stops the queue until the ring has buffers
    /// again. Returns `false` if the queue goes on: by now the ring is not full, as `is_full` says,
    /// or flow control is off.
    ///
    /// Published first, because the peer's poll posts buffers and wakes the queue, and a poll runs
    /// only for frames that it can see.
    fn stop(
        &self,
        hw: &mut RxHw,
        is_full: impl FnOnce(&mut RxWriter) -> bool,
        bh: &bh::Disabled,
    ) -> bool {
        hw.publish(bh);
        self.wait(hw.wake_threshold(), || is_full(&mut hw.writer))
    }

    /// As [`stop`](Self::stop), for a ring with nothing to publish. The queue is woken when there
    /// are `buffers`.
    fn wait(&self, buffers: u32, is_full: impl FnOnce() -> bool) -> bool {
        // Called after the queue is registered as waiting. Flow control is read again: switching it
        // off wakes only registered queues.
        let must_wait = || self.pauses() && is_full();
        self.dev.stop_tx_queue(self.index);
        if self
            .rx_queue
            .waiters
            .wait(self.index.into(), buffers, must_wait)
        {
            self.port.count_stop(self.index);
            return true;
        }
        self.dev.start_tx_queue(self.index);
        false
    }
}
