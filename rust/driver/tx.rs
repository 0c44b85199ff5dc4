// SPDX-License-Identifier: GPL-2.0

//! Sending: `ndo_start_xmit` with flow control, the frames of XDP_TX, and `ndo_xdp_xmit`.

use super::{
    port::Port,
    rx::{DescRing, Extras, RxInlet, RxRing, TURN},
    stats::TxStats,
    trace::Trace,
    tso::LargeFrame,
    vsi::Vsi,
};
use crate::{
    net::{
        bh,
        device::{Device, Xmit},
        napi,
        skbuff::SkBuff,
        xdp::{self, Frames, Linear, Pages},
    },
    nic::{
        ring::{Completion, DriverSide},
        rss::{self, Hash},
        tso::Progress,
        vlan::{Protocol, Tag},
        wire::{wire_len, Checksum, Frame, Head, Inlet, Malformed, Patch, Refused},
    },
};
use kernel::{prelude::*, sync::Arc};

impl Frame for SkBuff {
    #[inline]
    fn len(&self) -> usize {
        SkBuff::len(self)
    }

    #[inline]
    fn head(&self) -> Head<'_> {
        let linear = SkBuff::head(self);
        if linear.len() == self.len() || rss::is_enough(linear) {
            return Head::Linear(linear);
        }
        copy_head(self)
    }

    #[inline]
    fn is_plain(&self) -> bool {
        SkBuff::is_plain(self)
    }

    #[inline]
    fn start(&self) -> &[u8] {
        SkBuff::head(self)
    }

    #[inline]
    fn tag(&self) -> Option<Tag> {
        let tag = self.vlan_tag()?;
        Some(Tag {
            protocol: Protocol::from_ethertype(tag.protocol)?,
            tci: tag.tci,
        })
    }

    fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed> {
        SkBuff::copy_to(self, to).map_err(|_| Malformed)?;
        Ok(if self.csum_is_good() {
            Checksum::Good
        } else {
            Checksum::Unknown
        })
    }

    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
        Ok(match SkBuff::checksum(self).map_err(|_| Malformed)? {
            Some((offset, bytes)) => (Checksum::Good, Some(Patch { offset, bytes })),
            None => (Checksum::Unknown, None),
        })
    }

    fn copy_part(&self, offset: usize, to: &mut [u8]) -> Result<(), Malformed> {
        SkBuff::copy_part(self, offset, to).map_err(|_| Malformed)
    }
}

/// The headers of a frame, of which too few are in its first buffer.
#[cold]
fn copy_head(frame: &impl Frame) -> Head<'_> {
    let mut bytes = [0; rss::HEADERS_LEN];
    let len = bytes.len().min(frame.len());
    // If it cannot be read it cannot be sent either.
    let _ = frame.copy_part(0, bytes.get_mut(..len).unwrap_or_default());
    Head::Copied(bytes, len)
}

/// Frames of XDP, whose programs may have changed anything: nothing is known about a checksum, and
/// `bpf_xdp_adjust_head` may have left hardly more than the Ethernet header in the first buffer.
macro_rules! xdp_frame {
    ($frame:ty) => {
        impl Frame for $frame {
            #[inline]
            fn len(&self) -> usize {
                self.len()
            }

            #[inline]
            fn head(&self) -> Head<'_> {
                if self.has_frags() && !rss::is_enough(self.data()) {
                    return copy_head(self);
                }
                Head::Linear(self.data())
            }

            #[inline]
            fn is_plain(&self) -> bool {
                !self.has_frags()
            }

            #[inline]
            fn start(&self) -> &[u8] {
                self.data()
            }

            fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed> {
                self.copy_part(0, to)?;
                Ok(Checksum::Unknown)
            }

            fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
                Ok((Checksum::Unknown, None))
            }

            fn copy_part(&self, offset: usize, to: &mut [u8]) -> Result<(), Malformed> {
                <$frame>::copy_to(self, offset, to).map_err(|_| Malformed)
            }
        }
    };
}

xdp_frame!(Linear);
xdp_frame!(Pages);
xdp_frame!(xdp::Frame);

/// The wire lock of a ring.
type WireGuard<'a> = bh::LockGuard<'a, Option<RxInlet>>;

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
    ring: &'a RxRing,
    stats: &'a TxStats,
    progress: &'a Progress,
}

impl Vsi {
    /// `ndo_start_xmit`: copies the skb into the next buffers of the peer's ring.
    #[inline]
    pub(super) fn xmit(&self, dev: &Device, skb: SkBuff, bh: &bh::Disabled) -> Xmit {
        let index = skb.queue_mapping();
        let Some(stats) = self.port.tx.get(usize::from(index)) else {
            // Not reached: the stack uses only queues that are there.
            return Xmit::Done;
        };
        let (stats, progress) = (&stats.stack, &stats.progress);
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
        let mut wire = ring.inlet.lock(bh);
        let Some(inlet) = &mut *wire else {
            return self.put_nowhere(&queue(), skb, wire);
        };
        let compute = || peer.hash(&Frame::head(&skb), bh);
        // First what most frames are.
        let extras = &inlet.extras;
        let (frames, bytes) = match inlet.wire.put_plain(&skb, || extras.of(hash, compute)) {
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
        inlet.flush(bh);
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
        inlet: &mut RxInlet,
        skb: &SkBuff,
        hash: Hash,
        bh: &bh::Disabled,
    ) -> Result<Sent, NotSent> {
        let compute = || queue.peer.hash(&Frame::head(skb), bh);
        let known = inlet.extras.of(hash, compute);
        let mut large = match skb.gso_size() {
            None => None,
            Some(size) => {
                Some(LargeFrame::new(skb, size, queue.progress).ok_or(NotSent::Malformed)?)
            }
        };
        let ring = queue.ring;
        let mut sent = Sent::default();
        loop {
            let result = match &mut large {
                None => put_counted(ring, inlet, skb, known, &mut sent),
                Some(large) => large.put(ring, inlet, known, &mut sent),
            };
            match result {
                Ok(()) => return Ok(sent),
                Err(Refused::Malformed | Refused::Oversize) => {
                    inlet.flush(bh);
                    queue.count(&sent);
                    return Err(NotSent::Malformed);
                }
                Err(Refused::NoBuffer) if !queue.pauses() => {
                    let lost = on_wire(skb, large.as_ref());
                    ring.wire.no_buffer.add(lost.frames);
                    sent.add_all(&lost);
                    return Ok(sent);
                }
                // Other frames took the last buffers, or there are fewer than segments.
                Err(Refused::NoBuffer) => {
                    // Enough for what comes next, be its tag put in or not: with less the loop might
                    // not end, and with more there might never be so many.
                    let len = match &large {
                        None => wire_len(skb.len(), Frame::tag(skb)),
                        Some(large) => large.segment_len(),
                    };
                    if queue.stop(inlet, |wire| wire.lacks(len), bh) {
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
        if !ring.is_held() {
            drop(wire);
            progress.forget();
            stats.carrier.add(1);
            return Xmit::Done;
        }
        // There are no buffers, and will be none as long as the lock is held.
        if queue.pauses() && queue.wait(TURN, || true) {
            return Xmit::Busy(skb);
        }
        lose(stats, progress, skb, |frames| {
            ring.wire.no_buffer.add(frames);
            drop(wire);
            true
        });
        Xmit::Done
    }

    /// Stops a queue that took the last buffer, if the ports are to wait for each other.
    #[cold]
    fn stop_if_full(&self, queue: &TxQueue<'_>, inlet: &mut RxInlet, bh: &bh::Disabled) {
        if queue.pauses() {
            queue.stop(inlet, Inlet::is_full, bh);
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
fn on_wire(skb: &SkBuff, large: Option<&LargeFrame<'_>>) -> Sent {
    if let Some(large) = large {
        return large.rest();
    }
    let mut sent = Sent::default();
    sent.add(wire_len(skb.len(), Frame::tag(skb)) as u64);
    sent
}

/// Puts a frame into the ring; one that is too long for the peer is lost there.
pub(super) fn put_counted(
    ring: &RxRing,
    inlet: &mut RxInlet,
    frame: &impl Frame,
    known: Completion,
    sent: &mut Sent,
) -> Result<(), Refused> {
    match inlet.wire.put(frame, known) {
        Ok(len) => sent.add(len.into()),
        Err(Refused::Oversize) => {
            ring.wire.oversize.add(1);
            sent.add(wire_len(frame.len(), frame.tag()) as u64);
        }
        Err(refused) => return Err(refused),
    }
    Ok(())
}

impl TxQueue<'_> {
    /// Whether the queue waits for buffers, instead of losing its frames.
    fn pauses(&self) -> bool {
        self.peer.pauses(self.port)
    }

    /// Counts what went out.
    fn count(&self, sent: &Sent) {
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
        inlet: &mut RxInlet,
        is_full: impl FnOnce(&mut Inlet<Arc<DescRing>>) -> bool,
        bh: &bh::Disabled,
    ) -> bool {
        inlet.flush(bh);
        self.wait(inlet.turn(), || is_full(&mut inlet.wire))
    }

    /// As [`stop`](Self::stop), for a ring in which nothing waits to be published. The queue is woken when
    /// there are `turn` buffers.
    fn wait(&self, turn: u32, is_full: impl FnOnce() -> bool) -> bool {
        // Flow control may be switched off at this moment, which wakes only those who are known to wait.
        let must_wait = || self.pauses() && is_full();
        self.dev.stop_tx_queue(self.index);
        if self.ring.waiters.wait(self.index.into(), turn, must_wait) {
            self.stats.stopped.add(1);
            return true;
        }
        self.dev.start_tx_queue(self.index);
        false
    }
}

/// Frames that XDP_TX collects before it takes the peer's wire lock.
const BATCH: usize = 16;

/// A batch of frames on their way out by XDP_TX.
pub(super) struct TxBatch<'a> {
    peer: &'a Port,
    /// Made when the first frame comes: most polls send none.
    frames: Option<[Option<Linear>; BATCH]>,
    len: usize,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Sent {
    /// Frames that went out.
    pub(super) frames: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Frames that did not go out: the peer was down, or they contradict themselves.
    pub(super) lost: u64,
}

impl Sent {
    /// A frame of `len` bytes went out.
    #[inline]
    pub(super) fn add(&mut self, len: u64) {
        self.frames += 1;
        self.bytes += len;
    }

    /// All that is in `other` went out, too.
    fn add_all(&mut self, other: &Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.lost += other.lost;
    }
}

impl<'a> TxBatch<'a> {
    /// An empty batch to `peer`.
    pub(super) fn new(peer: &'a Port) -> Self {
        Self {
            peer,
            frames: None,
            len: 0,
        }
    }

    /// Adds a frame. A full batch has to be flushed first; else the frame is lost.
    #[inline]
    pub(super) fn push(&mut self, frame: Linear) {
        if self.frames.is_none() {
            self.frames = Some([const { None }; BATCH]);
        }
        let frames = self.frames.as_mut();
        if let Some(slot) = frames.and_then(|all| all.get_mut(self.len)) {
            *slot = Some(frame);
            self.len += 1;
        }
    }

    /// Sends a frame in several buffers, which no batch has a place for. What was pushed before has to
    /// be flushed before.
    pub(super) fn send(&self, cx: &napi::Context<'_>, frame: &Pages) -> Sent {
        let mut sent = Sent::default();
        if Burst::new(self.peer, cx).put(frame, &mut sent).is_err() {
            sent.lost += 1;
        }
        sent
    }

    /// Whether there is no place for a further frame.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// Sends all frames, and posts their buffers again.
    #[inline]
    pub(super) fn flush(
        &mut self,
        cx: &napi::Context<'_>,
        descriptors: &DriverSide<Arc<DescRing>>,
    ) -> Sent {
        let mut sent = Sent::default();
        let len = core::mem::take(&mut self.len);
        let Some(frames) = self.frames.as_mut().and_then(|all| all.get_mut(..len)) else {
            return sent;
        };
        let mut burst = Burst::new(self.peer, cx);
        for frame in frames.iter_mut().filter_map(Option::take) {
            if burst.put(&frame, &mut sent).is_err() {
                sent.lost += 1;
            }
            // There is an empty descriptor for each frame that was taken.
            let _ = descriptors.post(frame.into_buffer());
        }
        sent
    }
}

impl Vsi {
    /// `ndo_xdp_xmit`: copies frames that other devices redirected to this one into the peer's
    /// rings. With or without a program here. It does not wait for buffers.
    ///
    /// The peer's polls see them at once, `XDP_XMIT_FLUSH` or not. The kernel leaves the flag out if more
    /// frames are to follow, but if a program on the devmap's entry drops all of those there is no further
    /// call (`bq_xmit_all` in kernel/bpf/devmap.c), and nobody would ever tell the polls. It would not be
    /// cheaper either: to publish a batch costs no more than to note that it has to be done.
    pub(super) fn xmit_frames(
        &self,
        dev: &Device,
        frames: &mut Frames<'_>,
        bh: &bh::Disabled,
    ) -> Result {
        let queue = bh.cpu() as usize % self.port.queues().max(1);
        let stats = &self.port.tx.get(queue).ok_or(ENETDOWN)?.xmit;
        let count = frames.left();

        let (sent, result) = if self.port.is_up() {
            self.put_frames(frames, bh)
        } else {
            (Sent::default(), Err(ENETDOWN))
        };

        stats.xdp_xmit.add(sent.frames);
        stats.xdp_xmit_bytes.add(sent.bytes);
        let refused = frames.left() as u64 + sent.lost;
        if refused != 0 {
            stats.xdp_xmit_errors.add(refused);
        }
        let trace = Trace::new(dev, &self.port);
        if trace.tx_queued() {
            trace.xmit(queue, count, count - frames.left());
        }
        result
    }

    /// Takes frames one by one as long as the peer has a carrier.
    fn put_frames(&self, frames: &mut Frames<'_>, bh: &bh::Disabled) -> (Sent, Result) {
        let mut sent = Sent::default();
        let peer = self.peer.read(bh);
        let mut burst = Burst::new(&peer, bh);
        while let Some(frame) = frames.peek() {
            match burst.put(frame, &mut sent) {
                Ok(()) => {}
                Err(Unsent::Malformed) => sent.lost += 1,
                Err(Unsent::NoCarrier) => return (sent, Err(ENETDOWN)),
            }
            drop(frames.take());
        }
        (sent, Ok(()))
    }
}

/// A frame for which the ring has no buffer is lost there.
#[cold]
fn put_missed(ring: &RxRing, frame: &impl Frame, sent: &mut Sent) {
    ring.wire.no_buffer.add(1);
    sent.add(wire_len(frame.len(), frame.tag()) as u64);
}

/// Why a frame did not go out.
enum Unsent {
    /// The peer is down.
    NoCarrier,
    /// It contradicts itself.
    Malformed,
}

/// XDP frames on their way into the peer's rings, without waiting for buffers: neither a program's
/// verdict nor a redirect can be made to wait, so flow control is not for them, and a full ring does not
/// hold up frames for others. The wire lock of a ring is kept from frame to frame as long as they go to
/// the same ring; frames of one ring keep their order.
struct Burst<'a> {
    peer: &'a Port,
    bh: &'a bh::Disabled,
    locked: Option<(&'a RxRing, WireGuard<'a>)>,
}

impl<'a> Burst<'a> {
    fn new(peer: &'a Port, bh: &'a bh::Disabled) -> Self {
        Self {
            peer,
            bh,
            locked: None,
        }
    }

    /// Puts a frame into the ring that the peer's RSS chooses, and adds it to `sent` if it went out. It
    /// may be lost all the same, in front of the ring: if the peer does not take its length, or has no
    /// buffer for it just then.
    #[inline]
    fn put(&mut self, frame: &impl Frame, sent: &mut Sent) -> Result<(), Unsent> {
        let peer = self.peer;
        let bh = self.bh;
        let (ring, hash) = match peer.steer(frame, bh) {
            Ok(steered) => steered,
            Err(why) => {
                if !peer.discard(why, 1) {
                    return Err(Unsent::NoCarrier);
                }
                sent.add(wire_len(frame.len(), frame.tag()) as u64);
                return Ok(());
            }
        };
        let Some(inlet) = self.lock(ring).as_mut() else {
            if !ring.is_held() {
                return Err(Unsent::NoCarrier);
            }
            put_missed(ring, frame, sent);
            return Ok(());
        };
        let known = |extras: Extras| extras.of(hash, || peer.hash(&frame.head(), bh));
        let extras = &inlet.extras;
        if let Some(len) = inlet.wire.put_plain(frame, || known(*extras)) {
            sent.add(len.into());
            return Ok(());
        }
        match put_counted(ring, inlet, frame, known(inlet.extras), sent) {
            Ok(()) => Ok(()),
            Err(Refused::NoBuffer) => {
                put_missed(ring, frame, sent);
                Ok(())
            }
            Err(Refused::Malformed | Refused::Oversize) => Err(Unsent::Malformed),
        }
    }

    /// The inlet of a ring, locked.
    #[inline]
    fn lock(&mut self, ring: &'a RxRing) -> &mut Option<RxInlet> {
        let same = matches!(&self.locked, Some((last, _)) if core::ptr::eq(*last, ring));
        if !same {
            self.unlock();
        }
        let bh = self.bh;
        let (_, inlet) = self
            .locked
            .get_or_insert_with(|| (ring, ring.inlet.lock(bh)));
        inlet
    }

    /// Shows the peer what was put into the locked ring, and unlocks it.
    fn unlock(&mut self) {
        if let Some((_, mut inlet)) = self.locked.take() {
            if let Some(inlet) = &mut *inlet {
                inlet.flush(self.bh);
            }
        }
    }
}

impl Drop for Burst<'_> {
    fn drop(&mut self) {
        self.unlock();
    }
}
