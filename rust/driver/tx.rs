// SPDX-License-Identifier: GPL-2.0

//! Sending: `ndo_start_xmit` with flow control, and the frames of XDP_TX.

use super::{
    port::Port,
    rx::{RxInlet, RxRing},
    stats::TxStats,
    vsi::Vsi,
};
use crate::{
    net::{
        bh,
        device::{Device, Xmit},
        napi,
        skbuff::SkBuff,
        xdp::Buff,
    },
    nic::{
        rss,
        wire::{Checksum, Frame, Head, Malformed, Refused, MIN_LEN},
    },
};

impl Frame for SkBuff {
    #[inline]
    fn len(&self) -> usize {
        SkBuff::len(self)
    }

    #[inline]
    fn head(&self) -> Head<'_> {
        let linear = SkBuff::head(self);
        if linear.len() >= rss::HEADERS_LEN || linear.len() == self.len() {
            return Head::Linear(linear);
        }
        let mut bytes = [0; rss::HEADERS_LEN];
        let len = self.copy_head(&mut bytes).len();
        Head::Copied(bytes, len)
    }

    #[inline]
    fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed> {
        SkBuff::copy_to(self, to).map_err(|_| Malformed)?;
        Ok(if self.csum_is_good() {
            Checksum::Good
        } else {
            Checksum::Unknown
        })
    }
}

impl Frame for Buff<'_> {
    #[inline]
    fn len(&self) -> usize {
        Buff::len(self)
    }

    #[inline]
    fn head(&self) -> Head<'_> {
        Head::Linear(self.data())
    }

    #[inline]
    fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed> {
        // The program may have changed anything.
        to.copy_from_slice(self.data());
        Ok(Checksum::Unknown)
    }
}

/// What became of a frame on its way into the peer's ring.
enum Put {
    /// In the ring, with this length on the wire in bytes.
    Delivered(u32),
    /// It went out, and was lost in front of the ring.
    Lost,
    /// It contradicts itself and did not go out.
    Malformed,
    /// The peer is down.
    NoCarrier,
    /// The queue has been stopped until there are buffers.
    Stopped,
}

impl Vsi {
    /// `ndo_start_xmit`: copies the skb into the next buffer of the peer's ring.
    pub(super) fn xmit(&self, dev: &Device, skb: SkBuff, bh: &bh::Disabled) -> Xmit {
        let queue = skb.queue_mapping();
        let (Some(stats), Some((ring, hash))) = (
            self.port.tx.get(usize::from(queue)),
            self.peer.steer(&Frame::head(&skb)),
        ) else {
            // Not reached: the stack uses only queues that are there, and so does the hash.
            return Xmit::Done;
        };
        let len = match self.put(dev, queue, stats, &skb, (ring, hash), bh) {
            Put::Delivered(len) => u64::from(len),
            Put::Lost => skb.len().max(MIN_LEN) as u64,
            Put::Malformed => {
                stats.dropped.add(1);
                return Xmit::Done;
            }
            Put::NoCarrier => {
                stats.carrier.add(1);
                return Xmit::Done;
            }
            Put::Stopped => return Xmit::Busy(skb),
        };
        stats.packets.add(1);
        stats.bytes.add(len);
        skb.consume();
        Xmit::Done
    }

    /// Puts the skb into `ring` of the peer, under the ring's wire lock. Stops `queue` when that took
    /// the last buffer.
    #[inline]
    fn put(
        &self,
        dev: &Device,
        queue: u16,
        stats: &TxStats,
        skb: &SkBuff,
        (ring, hash): (&RxRing, rss::Hash),
        bh: &bh::Disabled,
    ) -> Put {
        let mut inlet = ring.inlet.lock(bh);
        let Some(inlet) = &mut *inlet else {
            return Put::NoCarrier;
        };
        loop {
            match inlet.wire.put(skb, hash) {
                Ok(len) => {
                    // Not later: the receiver may answer at once.
                    skb.tx_timestamp();
                    inlet.flush(bh);
                    if inlet.wire.is_full() && self.peer.pauses(&self.port) {
                        let stopped = stop(dev, queue, ring, inlet);
                        stats.stopped.add(stopped.into());
                    }
                    return Put::Delivered(len);
                }
                Err(Refused::Malformed) => return Put::Malformed,
                Err(Refused::Oversize) => {
                    ring.wire.oversize.add(1);
                    return Put::Lost;
                }
                Err(Refused::NoBuffer) if !self.peer.pauses(&self.port) => {
                    ring.wire.no_buffer.add(1);
                    return Put::Lost;
                }
                // Another queue took the last buffer.
                Err(Refused::NoBuffer) => {
                    if stop(dev, queue, ring, inlet) {
                        stats.stopped.add(1);
                        return Put::Stopped;
                    }
                }
            }
        }
    }
}

/// Stops a transmit queue until the peer posts buffers to its full ring. Returns `false` if it has
/// done so in the meantime: the queue runs again then.
fn stop(dev: &Device, queue: u16, ring: &RxRing, inlet: &mut RxInlet) -> bool {
    dev.stop_tx_queue(queue);
    if ring.waiters.wait(queue.into(), || inlet.wire.is_full()) {
        return true;
    }
    dev.start_tx_queue(queue);
    false
}

/// Frames that XDP_TX collects before it takes the peer's wire lock.
const BATCH: usize = 16;

/// A batch of frames on their way out by XDP_TX.
pub(super) struct TxBatch<'a> {
    peer: &'a Port,
    frames: [Option<Buff<'a>>; BATCH],
    len: usize,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Sent {
    /// Frames that went out.
    pub(super) frames: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Frames that were lost: the peer was down or had no buffer.
    pub(super) lost: u64,
}

impl<'a> TxBatch<'a> {
    /// An empty batch to `peer`.
    pub(super) fn new(peer: &'a Port) -> Self {
        Self {
            peer,
            frames: [const { None }; BATCH],
            len: 0,
        }
    }

    /// Adds a frame; gives it back if the batch is full.
    #[inline]
    pub(super) fn push(&mut self, buff: Buff<'a>) -> Result<(), Buff<'a>> {
        match self.frames.get_mut(self.len) {
            Some(slot) => *slot = Some(buff),
            None => return Err(buff),
        }
        self.len += 1;
        Ok(())
    }

    /// Sends all frames, and gives their buffers back. Frames to the same ring keep their order.
    pub(super) fn flush(&mut self, cx: &napi::Context<'_>) -> Sent {
        let mut sent = Sent::default();
        let len = core::mem::take(&mut self.len);
        let frames = self.frames.get_mut(..len).unwrap_or_default();
        let mut locked: Option<Locked<'_>> = None;
        for buff in frames.iter_mut().filter_map(Option::take) {
            let Some((ring, hash)) = self.peer.steer(buff.data()) else {
                sent.lost += 1;
                continue;
            };
            // The lock is kept from frame to frame as long as they go to the same ring.
            let same = matches!(&locked, Some((last, _)) if core::ptr::eq(*last, &**ring));
            if !same {
                flush_locked(locked.take(), cx);
                locked = Some((ring, ring.inlet.lock(cx)));
            }
            let inlet = locked.as_mut().and_then(|(_, inlet)| (**inlet).as_mut());
            match inlet.map(|inlet| inlet.wire.put(&buff, hash)) {
                Some(Ok(len)) => {
                    sent.frames += 1;
                    sent.bytes += u64::from(len);
                }
                Some(Err(Refused::Oversize)) => {
                    // It went out; the peer does not take it.
                    ring.wire.oversize.add(1);
                    sent.frames += 1;
                    sent.bytes += buff.len().max(MIN_LEN) as u64;
                }
                Some(Err(Refused::NoBuffer | Refused::Malformed)) | None => sent.lost += 1,
            }
            buff.recycle(cx);
        }
        flush_locked(locked, cx);
        sent
    }
}

/// A ring of the peer with its wire lock held.
type Locked<'a> = (&'a RxRing, bh::LockGuard<'a, Option<RxInlet>>);

/// Shows the peer what was put into its ring, and gives the lock back.
fn flush_locked(locked: Option<Locked<'_>>, bh: &bh::Disabled) {
    if let Some((_, mut inlet)) = locked {
        if let Some(inlet) = &mut *inlet {
            inlet.flush(bh);
        }
    }
}
