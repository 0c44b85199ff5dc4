// SPDX-License-Identifier: GPL-2.0

//! A receive ring: the NAPI poll that cleans it, and the refill. How it comes and goes is in [`life`].

mod life;

pub(crate) use life::{drain, end_all, end_ready, quiesce, ParkedRing, ReadyRing, RunningRing};

use super::{
    params::RING_SIZES,
    port::{Peer, Port},
    stats::{RxStats, WireStats},
    trace::Trace,
    tx::TxBatch,
    xdp::{Hook, Received},
};
use crate::{
    net::{
        bh, clock,
        device::feature,
        irq::Vector,
        napi::{self, Instance, Interrupt, Polled},
        page_pool::{Buffer, FRAME_ROOM, MAX_BUFFERS},
        skbuff::VlanTag,
        timer::{self, Expire, Timer},
        xdp::{self, ProgRef, ProgSlot, RssType, RxHints, RxQueue, Workspace},
    },
    nic::{
        cache::CacheAligned,
        irq::{Adaptive, Irq, Moderation, Raised},
        pause::Waiters,
        ring::{Completion, DriverSide, NicSide, Ring, Slot, Status},
        rss::{Hash, HashType},
        vlan::TAG_LEN,
        wire::{self, Inlet},
    },
};
use core::{
    num::NonZeroU64,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

/// A descriptor ring of page_pool buffers.
pub(super) type DescRing = Ring<Buffer, KVVec<Slot<Buffer>>>;

/// A received frame that a poll works on.
pub(super) type Buff<'w, 'q> = xdp::Buff<'w, 'q, &'q Completion>;

/// A refill is worth its cost from this many empty descriptors on.
pub(super) const REFILL_BATCH: u32 = 16;

/// How many buffers a transmit queue that had to stop is to find when its turn comes, if the longest frame
/// does not take more.
pub(super) const TURN: u32 = REFILL_BATCH / 2;

// A queue is not woken while there are fewer buffers. Even in the smallest ring frames are waiting then
// that have it polled again.
const _: () = assert!(
    *RING_SIZES.start() > REFILL_BATCH + TURN
        && *RING_SIZES.start() > REFILL_BATCH + MAX_BUFFERS as u32
);

impl wire::Buffer for Buffer {
    const ROOM: usize = FRAME_ROOM;

    #[inline]
    fn room(&mut self) -> &mut [u8] {
        Buffer::room(self)
    }
}

/// The lasting part of a receive ring: what outlives the interface going down.
#[pin_data]
pub(crate) struct RxRing {
    /// Number of the receive queue.
    pub(crate) index: u16,
    /// Its interrupt.
    vector: Arc<Vector>,
    /// The program that the ring's poll runs.
    pub(crate) xdp_prog: ProgSlot,
    /// What the poll counts, for some verdicts frame by frame; senders are at what comes next.
    pub(crate) stats: CacheAligned<RxStats>,
    /// What the NIC counts.
    pub(crate) wire: WireStats,
    /// The peer's transmit queues that wait for buffers.
    pub(crate) waiters: Waiters,
    /// Whether the ring is off the wire only because it is being made anew: it counts as one without buffers
    /// then. Written under the lock of `inlet`.
    held: AtomicBool,
    /// The NIC's side while the port is up: whoever holds this lock is the wire. He publishes what he put
    /// into the ring before he gives it back, so that no frame depends on what is sent later.
    #[pin]
    pub(crate) inlet: bh::Lock<Option<RxInlet>>,
}

/// The NIC's side of a ring that is up.
pub(crate) struct RxInlet {
    /// Takes the frames.
    pub(crate) wire: Inlet<Arc<DescRing>>,
    /// What else goes along with frames.
    pub(crate) extras: Extras,
    /// How many filled buffers are announced before their time.
    pub(crate) most_waiting: u32,
    moderation: Moderation,
    timer: Pin<KBox<Timer<IrqTimer>>>,
}

/// What the receive unit finds out about a frame only if somebody may ask for it, for it takes its time:
/// a bit each.
#[derive(Clone, Copy)]
pub(crate) struct Extras(u8);

impl Extras {
    /// When it was put on the wire.
    pub(crate) const TIMESTAMP: Self = Self(1 << 0);

    /// Its hash, which is computed for that.
    pub(crate) const HASH: Self = Self(1 << 1);

    /// Its hash, which was computed to choose the ring.
    pub(crate) const STEERING_HASH: Self = Self(1 << 2);

    /// Nothing.
    pub(crate) const fn none() -> Self {
        Self(0)
    }

    /// What is in `self`, and `other` if `wanted`.
    pub(crate) const fn with(self, other: Self, wanted: bool) -> Self {
        Self(self.0 | if wanted { other.0 } else { 0 })
    }

    /// What goes along with a frame that is put on the wire now, whose ring was chosen by `hash`.
    #[inline(always)]
    pub(super) fn of(self, hash: Hash, compute: impl FnOnce() -> Hash) -> Completion {
        if self.0 == 0 {
            return Completion::new(0);
        }
        let hash = if self.has(Self::STEERING_HASH) {
            hash
        } else if self.has(Self::HASH) {
            compute()
        } else {
            Hash::NONE
        };
        let known = Completion::new(0).with_hash(hash);
        if self.has(Self::TIMESTAMP) {
            known.with_timestamp(NonZeroU64::new(clock::tai_ns()))
        } else {
            known
        }
    }

    #[inline]
    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The moderation timer of a ring, and with it what an interrupt takes.
struct IrqTimer {
    line: Arc<IrqLine>,
    napi: Arc<Instance>,
}

impl Expire for IrqTimer {
    fn expired(&self, cx: &timer::Context) {
        let fires = self.line.irq.expire(|| self.line.is_pending());
        if fires && !self.line.vector.redirect() {
            self.napi.schedule_from_timer(cx);
        }
    }
}

impl RxInlet {
    /// Shows the driver what was put into the ring and raises its interrupt, which may come at once,
    /// later or not at all.
    #[inline]
    pub(crate) fn flush(&mut self, bh: &bh::Disabled) {
        let new = self.wire.flush();
        if new == 0 {
            return;
        }
        let IrqTimer { line, napi } = self.timer.target();
        let now = clock::monotonic_ns;
        let raised = line
            .irq
            .raise(&mut self.moderation, new, self.most_waiting, now);
        match raised {
            Raised::Nothing => {}
            Raised::Fire => line.interrupt(napi, bh),
            Raised::Timer(ns) => self
                .timer
                .start(ns, line.slack.load(Ordering::Relaxed).into()),
        }
    }

    /// How many buffers a transmit queue that has to wait is to find.
    pub(super) fn turn(&self) -> u32 {
        self.wire.most_buffers().max(TURN)
    }

    /// Whether the poll has not come yet to frames that were published.
    pub(super) fn is_pending(&self) -> bool {
        self.timer.target().line.is_pending()
    }

    /// Has the ring polled, whatever the state of its interrupt is.
    pub(super) fn interrupt(&self, bh: &bh::Disabled) {
        let IrqTimer { line, napi } = self.timer.target();
        line.interrupt(napi, bh);
    }
}

/// The interrupt of a ring that is up, and what the end of a poll needs to arm it.
struct IrqLine {
    irq: Irq,
    /// Where it goes to when it fires.
    vector: Arc<Vector>,
    descriptors: Arc<DescRing>,
    /// How far the poll that ended last had come. Like the rest written only by who polls, and read when
    /// the next poll may be running already. An old value is one that frames have come after which were
    /// taken since: a poll for nothing, and none is overlooked.
    position: AtomicU32,
    /// Before which time it does not want to be interrupted, in nanoseconds; 0 if it does not mind.
    not_before: AtomicU64,
    /// By how many nanoseconds later it may be, if that saves an interrupt.
    slack: AtomicU32,
    /// Whether polling is about to end, so that polls do nothing any more.
    halting: AtomicBool,
}

impl IrqLine {
    /// Whether there is something for a poll. If one runs, it may be what that has seen.
    fn is_pending(&self) -> bool {
        let position = self.position.load(Ordering::Relaxed);
        self.descriptors.has_completed_since(position)
    }

    /// Has `napi` scheduled, on a CPU that the interrupt may go to. The interrupt may be on its way there
    /// already.
    #[inline]
    fn interrupt(&self, napi: &Instance, bh: &bh::Disabled) {
        if !self.vector.redirect() {
            napi.schedule(bh);
        }
    }
}

impl Interrupt for IrqLine {
    fn rearm(&self) -> bool {
        let not_before = self.not_before.load(Ordering::Relaxed);
        self.irq.rearm(not_before, || self.is_pending()) && !self.vector.redirect()
    }
}

impl RxRing {
    /// The ring of receive queue `index`, down.
    pub(super) fn new(index: u16) -> Result<Arc<Self>> {
        let vector = Vector::new()?;
        Arc::pin_init(
            pin_init!(Self {
                index,
                vector,
                xdp_prog: ProgSlot::new(),
                stats: CacheAligned::default(),
                wire: WireStats::default(),
                waiters: Waiters::new(),
                held: AtomicBool::new(false),
                inlet <- bh::Lock::new(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Connects the ring to the wire, or with `None` takes it off, and returns what was connected:
    /// no frame gets in there any more.
    fn connect(&self, inlet: Option<RxInlet>) -> Option<RxInlet> {
        self.exchange(inlet, false)
    }

    /// Takes the ring off the wire until it is connected again.
    fn hold(&self) -> Option<RxInlet> {
        self.exchange(None, true)
    }

    fn exchange(&self, inlet: Option<RxInlet>, held: bool) -> Option<RxInlet> {
        let bh = bh::disable();
        let mut place = self.inlet.lock(&bh);
        self.held.store(held, Ordering::Relaxed);
        core::mem::replace(&mut *place, inlet)
    }

    /// Whether the ring, which is off the wire, will be connected again. The lock of `inlet` must be held.
    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }
}

/// What the poll of a ring works on.
pub(crate) struct RxPoll {
    descriptors: DriverSide<Arc<DescRing>>,
    size: u32,
    queue: Pin<KBox<RxQueue>>,
    line: Arc<IrqLine>,
    moderation: Adaptive,
    /// Frames since the interrupt.
    frames: u32,
    ring: Arc<RxRing>,
    port: Arc<Port>,
    peer: Arc<Peer>,
}

impl napi::Poll for RxPoll {
    fn poll(&mut self, cx: &napi::Context<'_>, budget: u32) -> Polled {
        if budget == 0 || self.line.halting.load(Ordering::Relaxed) {
            return Polled::Again;
        }
        let work = self.clean_rx_irq(cx, budget);
        let refilled = self.refill(cx);
        let others_wait = self.wake_next(cx, refilled);
        self.frames = self.frames.saturating_add(work);
        let position = self.descriptors.position();
        self.line.position.store(position, Ordering::Relaxed);
        // Without the buffers that are missing, or while senders wait for their turn, no frame may come that
        // would have us polled again.
        if work == budget || !refilled || others_wait {
            return Polled::Again;
        }
        self.moderate();
        Polled::Done(work)
    }
}

impl RxPoll {
    /// Says for how long this poll is not to be interrupted again.
    fn moderate(&mut self) {
        let frames = core::mem::take(&mut self.frames);
        let usecs = self.port.coalesce.usecs();
        if usecs == Some(0) {
            self.line.not_before.store(0, Ordering::Relaxed);
            return;
        }
        let now = clock::monotonic_ns();
        let delay = |usecs: u32| u64::from(usecs) * 1000;
        let (delay, slack) = match usecs {
            Some(usecs) => (delay(usecs), 0),
            // Rings that wait for about the same time are interrupted together.
            None => {
                let usecs = self.moderation.next(frames, now);
                (delay(usecs), usecs * 1000 / 4)
            }
        };
        self.line.slack.store(slack, Ordering::Relaxed);
        self.line.not_before.store(now + delay, Ordering::Relaxed);
    }

    /// Takes up to `budget` frames off the ring and runs the program on each. Returns how many
    /// there were.
    fn clean_rx_irq(&mut self, cx: &napi::Context<'_>, budget: u32) -> u32 {
        let prog = self.ring.xdp_prog.read_once(cx);
        let is_traced = Trace::new(self.queue.device(), &self.port).frames();
        match prog.and_then(ProgRef::unwatched) {
            Some(prog) if !is_traced => self.clean(cx, budget, prog),
            _ => self.clean(cx, budget, prog),
        }
    }

    #[inline]
    fn clean(&mut self, cx: &napi::Context<'_>, budget: u32, prog: impl Hook) -> u32 {
        let queue = &*self.queue;
        let dev = queue.device();
        let peer = self.peer.read(cx);
        const NO_FRAME: &Completion = &Completion::new(0);
        let mut workspace = Workspace::new(queue, NO_FRAME);
        let descriptors = &self.descriptors;
        let mut received = Received {
            cx,
            dev,
            ring: &self.ring,
            descriptors,
            trace: Trace::new(dev, &self.port),
            rx_csum: dev.has_feature(feature::RXCSUM),
            tx: TxBatch::new(&peer),
        };
        let (mut frames, mut bytes) = (0, 0_u64);
        while frames < budget {
            let Some((completion, buffer)) = descriptors.take() else {
                break;
            };
            frames += 1;
            bytes = bytes.wrapping_add(completion.len().into());
            if completion.has_vlan() {
                bytes += TAG_LEN as u64;
            }
            let mut buff = workspace.load(buffer, completion.len(), completion);
            if !completion.is(Status::END_OF_PACKET) {
                let (whole, rest) = add_frags(descriptors, buff);
                bytes += rest;
                self.ring.stats.multi_buffer.add(1);
                match received.check_frags(prog.prog(), whole) {
                    Some(whole) => buff = whole,
                    None => continue,
                }
            }
            prog.receive(&mut received, buff);
        }
        if let Some(prog) = prog.prog() {
            received.flush_tx(prog);
        }
        self.ring.stats.packets.add(frames.into());
        self.ring.stats.bytes.add(bytes);
        frames
    }

    /// Posts buffers if that is worth it, and shows the NIC all that were posted in this poll. Returns
    /// `false` if there was not enough memory.
    fn refill(&mut self, cx: &napi::Context<'_>) -> bool {
        let complete = self.descriptors.unused() < REFILL_BATCH || self.post_all(cx);
        if !complete {
            self.ring.stats.buf_alloc_fail.add(1);
        }
        self.descriptors.doorbell();
        complete
    }

    /// Lets the next transmit queue go on that waits for buffers. Returns whether others wait: their turn is
    /// in the next poll. Until then this one sends, as a softirq on this CPU (`net_tx_action`).
    ///
    /// A queue is woken only if there are as many buffers as it wants: with fewer it would lose its turn to
    /// whoever took the others. If there are not, frames wait in the ring for the next poll, because a
    /// complete refill leaves fewer than [`REFILL_BATCH`] descriptors empty. After one that was short of
    /// memory, few buffers are better than none.
    #[inline]
    fn wake_next(&self, cx: &napi::Context<'_>, refilled: bool) -> bool {
        let has_room = |room| self.descriptors.posted() >= if refilled { room } else { 1 };
        let Some(turn) = self.ring.waiters.take_next(has_room) else {
            return false;
        };
        self.peer.read(cx).wake(core::iter::once(turn.queue), cx);
        turn.others_wait
    }

    /// Posts a buffer to every empty descriptor. Returns `false` if there was not enough memory. It does not
    /// count that: before the ring runs, the counter is that of the poll of the ring before.
    fn post_all(&mut self, cx: &impl napi::Owner) -> bool {
        let Some(mut pages) = self.queue.as_mut().allocator(cx) else {
            // Not reached: the queue's pool is that of this poll.
            return false;
        };
        while self.descriptors.unused() != 0 {
            let Some(buffer) = pages.alloc() else {
                return false;
            };
            // There was an empty descriptor.
            let _ = self.descriptors.post(buffer);
        }
        true
    }

    /// Ends polling a ring that is off the wire, whose NIC's side `nic` is: what is still in it
    /// reaches nobody, and all buffers go back to the pool before the pool goes.
    fn end(self, nic: NicSide<Arc<DescRing>>) {
        let Self {
            descriptors,
            queue,
            ring,
            ..
        } = self;
        while let Some((completion, _)) = descriptors.take() {
            if completion.is(Status::END_OF_PACKET) {
                ring.stats.down.add(1);
            }
        }
        descriptors.end(nic);
        drop(queue);
    }
}

impl xdp::Descriptor for &Completion {
    fn hints(&self) -> RxHints {
        let hash = self.hash();
        RxHints {
            timestamp: self.timestamp(),
            hash: hash.value,
            rss_type: match hash.kind {
                HashType::None => RssType::None,
                HashType::Ipv4 => RssType::Ipv4,
                HashType::Ipv6 => RssType::Ipv6,
                HashType::TcpIpv4 => RssType::TcpIpv4,
                HashType::UdpIpv4 => RssType::UdpIpv4,
                HashType::TcpIpv6 => RssType::TcpIpv6,
                HashType::UdpIpv6 => RssType::UdpIpv6,
            },
            vlan: self.vlan().map(|tag| VlanTag {
                protocol: tag.protocol.ethertype(),
                tci: tag.tci,
            }),
        }
    }
}

/// Takes the buffers of a frame that come after its first. Returns how many bytes are in them, too.
#[cold]
fn add_frags<'w, 'q>(
    descriptors: &DriverSide<Arc<DescRing>>,
    mut buff: Buff<'w, 'q>,
) -> (Buff<'w, 'q>, u64) {
    let mut bytes = 0;
    // The NIC publishes whole frames.
    while let Some((completion, buffer)) = descriptors.take() {
        bytes += u64::from(completion.len());
        // No frame that the NIC lets in has more buffers than there is a place for.
        let _ = buff.add_frag(buffer, completion.len());
        if completion.is(Status::END_OF_PACKET) {
            break;
        }
    }
    (buff, bytes)
}
