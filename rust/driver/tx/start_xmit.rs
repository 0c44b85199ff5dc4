// SPDX-License-Identifier: GPL-2.0

//! `ndo_start_xmit`: the stack's frames are written into the peer's rings, with flow control.

use crate::{
    card::{
        port::Port,
        rx::{
            DescRing,
            RxHw,
            RxHwQueue,
            WireGuard,
            TURN_SIZE, //
        },
        segmentation::LargeFrame,
        wire::{
            write_counted,
            TxCounts, //
        },
    },
    driver::{
        tx::ring::TxStats,
        vsi::Vsi, //
    },
    net::{
        bh,
        device::{
            Device,
            Xmit, //
        },
        skbuff::SkBuff,
    },
    nic::{
        rss::Hash,
        tso::Progress,
        wire::{
            wire_len,
            Refused,
            RingWriter,
            TxFrame, //
        },
    },
};
use kernel::sync::Arc;

/// Why an skb did not go out.
enum NotSent {
    /// It contradicts itself.
    Malformed,
    /// The queue has been stopped until there are buffers.
    Stopped,
}

/// A transmit queue that sends into a ring of the peer.
struct TxQueue<'a> {
    dev: &'a Device,
    port: &'a Port,
    index: u16,
    peer: &'a Port,
    ring: &'a RxHwQueue,
    stats: &'a TxStats,
    progress: &'a Progress,
}

impl Vsi {
    /// `ndo_start_xmit`: copies the skb into the next buffers of the peer's ring.
    #[inline]
    pub(crate) fn xmit(&self, dev: &Device, skb: SkBuff, bh: &bh::Disabled) -> Xmit {
        let index = skb.queue_mapping();
        let Some(tx) = self.tx_rings.get(usize::from(index)) else {
            // Not reached: the stack uses only queues that are there.
            return Xmit::Done;
        };
        let (stats, progress) = (&tx.stats, &tx.progress);
        let peer = &*self.peer.read(bh);
        let (ring, hash) = match peer.steer(&skb, bh) {
            Ok(steered) => steered,
            Err(why) => {
                lose(stats, progress, skb, |frames| peer.discard(why, frames));
                return Xmit::Done;
            }
        };
        let queue = || TxQueue {
            dev,
            port: &self.port,
            index,
            peer,
            ring,
            stats,
            progress,
        };
        let mut wire = ring.hw.lock(bh);
        let Some(inlet) = &mut *wire else {
            return self.put_nowhere(&queue(), skb, wire);
        };
        let compute = || peer.hash(&TxFrame::head(&skb), bh);
        // First what most frames are.
        let (frames, bytes) = match inlet.write_plain(&skb, hash, compute) {
            Some(len) => (1, len.into()),
            None => match self.put(&queue(), inlet, &skb, hash, bh) {
                Ok(sent) => (sent.frames, sent.bytes),
                Err(NotSent::Malformed) => {
                    drop(wire);
                    stats.dropped.add(1);
                    return Xmit::Done;
                }
                Err(NotSent::Stopped) => return Xmit::Busy(skb),
            },
        };
        // Not later: the receiver may answer at once.
        skb.tx_timestamp();
        inlet.publish(bh);
        if inlet.wire.is_full() {
            self.stop_if_full(&queue(), inlet, bh);
        }
        // Other senders wait for the wire; what is left to do is not their business.
        drop(wire);
        stats.packets.add(frames);
        stats.bytes.add(bytes);
        skb.consume();
        Xmit::Done
    }

    /// Puts any skb into the ring. Some frames may be lost in front of it, which is counted there. If it
    /// does not go out as a whole, what did so is counted here.
    #[inline(never)]
    fn put(
        &self,
        queue: &TxQueue<'_>,
        inlet: &mut RxHw,
        skb: &SkBuff,
        hash: Hash,
        bh: &bh::Disabled,
    ) -> Result<TxCounts, NotSent> {
        let compute = || queue.peer.hash(&TxFrame::head(skb), bh);
        let known = inlet.meta.collect(hash, compute);
        let mut large = match skb.gso_size() {
            None => None,
            Some(size) => {
                Some(LargeFrame::new(skb, size, queue.progress).ok_or(NotSent::Malformed)?)
            }
        };
        let ring = queue.ring;
        let mut sent = TxCounts::default();
        loop {
            let result = match &mut large {
                None => write_counted(ring, inlet, skb, known, &mut sent),
                Some(large) => large.write(ring, inlet, known, &mut sent),
            };
            match result {
                Ok(()) => return Ok(sent),
                Err(Refused::Malformed | Refused::Oversize) => {
                    inlet.publish(bh);
                    queue.count(&sent);
                    return Err(NotSent::Malformed);
                }
                Err(Refused::NoBuffer) if !queue.pauses() => {
                    let lost = on_wire(skb, large.as_ref());
                    ring.stats.no_buffer.add(lost.frames);
                    sent.add_all(&lost);
                    return Ok(sent);
                }
                // Other frames took the last buffers, or there are fewer than segments.
                Err(Refused::NoBuffer) => {
                    // Enough for what comes next, be its tag put in or not: with less the loop might
                    // not end, and with more there might never be so many.
                    let len = match &large {
                        None => wire_len(skb.len(), TxFrame::tag(skb)),
                        Some(large) => large.segment_len(),
                    };
                    if queue.stop(inlet, |wire| !wire.has_room(len), bh) {
                        if let Some(large) = &large {
                            large.keep(queue.progress);
                        }
                        queue.count(&sent);
                        return Err(NotSent::Stopped);
                    }
                }
            }
        }
    }

    /// What becomes of an skb whose ring is off the wire.
    #[cold]
    fn put_nowhere(&self, queue: &TxQueue<'_>, skb: SkBuff, wire: WireGuard<'_>) -> Xmit {
        let TxQueue {
            ring,
            stats,
            progress,
            ..
        } = *queue;
        if !ring.is_restarting() {
            drop(wire);
            progress.forget();
            stats.carrier.add(1);
            return Xmit::Done;
        }
        // There are no buffers, and will be none as long as the lock is held.
        if queue.pauses() && queue.wait(TURN_SIZE, || true) {
            return Xmit::Busy(skb);
        }
        lose(stats, progress, skb, |frames| {
            ring.stats.no_buffer.add(frames);
            drop(wire);
            true
        });
        Xmit::Done
    }

    /// Stops a queue that took the last buffer, if the ports are to wait for each other.
    #[cold]
    fn stop_if_full(&self, queue: &TxQueue<'_>, inlet: &mut RxHw, bh: &bh::Disabled) {
        if queue.pauses() {
            queue.stop(inlet, RingWriter::is_full, bh);
        }
    }
}

/// Sends an skb whose frames are lost at the peer, who counts them unless he has no carrier.
#[cold]
fn lose(stats: &TxStats, progress: &Progress, skb: SkBuff, count: impl FnOnce(u64) -> bool) {
    let large = match skb
        .gso_size()
        .map(|size| LargeFrame::new(&skb, size, progress))
    {
        None => None,
        Some(Some(large)) => Some(large),
        Some(None) => {
            stats.dropped.add(1);
            return;
        }
    };
    let lost = on_wire(&skb, large.as_ref());
    if !count(lost.frames) {
        stats.carrier.add(1);
        return;
    }
    skb.tx_timestamp();
    stats.packets.add(lost.frames);
    stats.bytes.add(lost.bytes);
    skb.consume();
}

/// What an skb is on the wire, be it lost at the end of it: one frame, or all that it is cut into and
/// that has not been sent.
fn on_wire(skb: &SkBuff, large: Option<&LargeFrame<'_>>) -> TxCounts {
    if let Some(large) = large {
        return large.rest();
    }
    let mut sent = TxCounts::default();
    sent.add(wire_len(skb.len(), TxFrame::tag(skb)) as u64);
    sent
}

impl TxQueue<'_> {
    /// Whether the queue waits for buffers, instead of losing its frames.
    fn pauses(&self) -> bool {
        self.peer.pauses(self.port)
    }

    /// Counts what went out.
    fn count(&self, sent: &TxCounts) {
        self.stats.packets.add(sent.frames);
        self.stats.bytes.add(sent.bytes);
    }

    /// Publishes what is in the ring and stops the queue, until the peer posts buffers to its ring, which
    /// `is_full`. Returns `false` if it has done so in the meantime, or flow control has been switched off:
    /// the queue runs again then.
    ///
    /// Publishing comes first: buffers are posted, and the queue woken, by the poll that takes the frames
    /// out of the ring, and it does not run for frames that it cannot see.
    fn stop(
        &self,
        inlet: &mut RxHw,
        is_full: impl FnOnce(&mut RingWriter<Arc<DescRing>>) -> bool,
        bh: &bh::Disabled,
    ) -> bool {
        inlet.publish(bh);
        self.wait(inlet.turn_size(), || is_full(&mut inlet.wire))
    }

    /// As [`stop`](Self::stop), for a ring in which nothing waits to be published. The queue is woken when
    /// there are `buffers`.
    fn wait(&self, buffers: u32, is_full: impl FnOnce() -> bool) -> bool {
        // Flow control may be switched off at this moment, which wakes only those who are known to wait.
        let must_wait = || self.pauses() && is_full();
        self.dev.stop_tx_queue(self.index);
        if self
            .ring
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
