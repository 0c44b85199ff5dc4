// SPDX-License-Identifier: GPL-2.0

//! A receive queue of the card, and its interrupt.
//!
//! Step 5 of the hook, from top to bottom: the NIC writes a frame into the next posted buffer and
//! completes its descriptor ([`RxHw::write_plain`], or [`RxHw::write`] if there is more to do than
//! to copy it), publishes what it has completed and raises the queue's interrupt
//! ([`RxHw::publish`]), which schedules the NAPI of its ring ([`IrqLine::interrupt`]). With
//! interrupt moderation a timer may do that a little later ([`IrqTimer`]). The end of the poll arms
//! the interrupt again ([`IrqLine::rearm`]).
//!
//! A queue ([`RxHwQueue`]) exists as long as its port. It has a ring, and can receive, while the
//! driver runs it ([`RxHw`]).

use super::{
    rx_ring::{
        NicEnd,
        RingRef,
        RxWriter, //
    },
    stats::RxHwStats, //
};
use crate::{
    net::{
        bh,
        clock,
        device::{
            Device,
            DeviceRef, //
        },
        events,
        irq::Vector,
        napi::{
            Interrupt,
            NapiRef, //
        },
        timer::{
            self,
            Timer,
            TimerCallback, //
        }, //
    },
    nic::{
        completion::Completion,
        irq::{
            Irq,
            Moderation,
            Raised, //
        },
        pause::Waiters,
        ring::Level,
        rss::Hash,
        wire::{
            Refused,
            RxConfig,
            TxFrame, //
        },
    },
};
use core::{
    num::NonZeroU64,
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        AtomicU64,
        Ordering, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A stopped transmit queue of the peer is woken when there are this many buffers, or more if the
/// longest frame takes more.
pub(crate) const WAKE_THRESHOLD: u32 = 8;

/// A receive queue of the card, whether it runs or not.
#[pin_data]
pub(crate) struct RxHwQueue {
    /// Number of the queue.
    pub(crate) index: u16,
    /// Its interrupt.
    pub(crate) vector: Arc<Vector>,
    /// Frames lost before they were in the ring.
    pub(crate) stats: RxHwStats,
    /// The peer's transmit queues that wait for buffers.
    pub(crate) waiters: Waiters,
    /// Set while the queue is restarted: senders see a ring without buffers, not a link that is
    /// down. Written under the lock of `hw`.
    restarting: AtomicBool,
    /// The queue while it runs. This lock is the wire lock: its holder publishes all that it has
    /// written before it unlocks, so no frame waits unpublished for a later one.
    #[pin]
    pub(crate) hw: bh::Lock<Option<RxHw>>,
    /// Locked after `hw`.
    #[pin]
    without_link: bh::Lock<WithoutLink>,
}

/// The place of a queue while the link is lost.
#[derive(Default)]
struct WithoutLink {
    /// Whether the link is lost.
    lost: bool,
    /// The queue, which is off the wire for that reason.
    hw: Option<RxHw>,
}

/// The wire lock of a receive queue.
pub(crate) type WireGuard<'a> = bh::LockGuard<'a, Option<RxHw>>;

/// A receive queue that runs: the NIC's side of its ring, and the registers that say how frames are
/// received.
pub(crate) struct RxHw {
    /// Writes frames into the ring.
    pub(crate) writer: RxWriter,
    /// Which metadata frames get.
    pub(crate) meta: RxMetadata,
    /// Moderation: this many completed descriptors raise the interrupt early.
    pub(crate) max_frames: u32,
    moderation: Moderation,
    timer: Pin<KBox<Timer<IrqTimer>>>,
    /// The trace of the interrupt.
    pub(crate) irq_trace: IrqTrace,
}

/// Tells the driver of the interrupts of a queue, for its trace.
pub(crate) struct IrqTrace {
    /// Whether it prints them. Whether it records events is a static key.
    pub(crate) print: bool,
    /// The device of the queue's port.
    pub(crate) dev: DeviceRef,
    /// Number of the queue.
    pub(crate) queue: u16,
    /// Called with the wire lock held, before the interrupt fires or its timer is started.
    pub(crate) raised: fn(&Device, queue: u16, Raised, print: bool),
}

impl IrqTrace {
    #[inline]
    fn tell(&self, raised: Raised) {
        if self.print || events::interrupt_is_on() {
            (self.raised)(&self.dev, self.queue, raised, self.print);
        }
    }
}

impl RxHw {
    /// Fast path: writes a frame that fits into one buffer unchanged, and completes the descriptor.
    /// Returns its length on the wire; [`None`] if this needs the slow path,
    /// [`write`](Self::write). `hash` is the one that steering computed. `compute_hash` is called
    /// if steering computed none and the metadata includes it.
    #[inline(always)]
    pub(crate) fn write_plain(
        &mut self,
        frame: &impl TxFrame,
        hash: Hash,
        compute_hash: impl FnOnce() -> Hash,
    ) -> Option<u32> {
        let meta = &self.meta;
        self.writer
            .write_plain(frame, |plain| meta.add_to(plain, hash, compute_hash))
    }

    /// Writes a frame into as many buffers as it takes, and completes their descriptors. Returns
    /// its length on the wire. A frame that is refused leaves the ring as it was.
    #[inline]
    pub(crate) fn write(&mut self, frame: &impl TxFrame, meta: Completion) -> Result<u32, Refused> {
        self.writer.write(frame, meta)
    }

    /// How many buffers there must be before a stopped transmit queue is woken.
    pub(crate) fn wake_threshold(&self) -> u32 {
        self.writer.max_buffers().max(WAKE_THRESHOLD)
    }

    /// Publishes the completed descriptors to the driver and raises the interrupt, which may fire
    /// at once, later or not at all: a poll may be running, or interrupts are moderated.
    #[inline]
    pub(crate) fn publish(&mut self, bh: &bh::Disabled) {
        let new = self.writer.publish();
        if new == 0 {
            return;
        }
        let irq = &self.timer.target().line.irq;
        // `raise` is a function of its own because most frames do not need it: this way none of
        // the others saves registers for it, which took 10 instructions per frame.
        if irq.published(&mut self.moderation, new, self.max_frames) {
            self.raise(bh);
        }
    }

    /// Raises the interrupt.
    #[cold]
    fn raise(&mut self, bh: &bh::Disabled) {
        let IrqTimer { line, napi, .. } = self.timer.target();
        let now = clock::monotonic_ns;
        let raised = line.irq.raise(&mut self.moderation, self.max_frames, now);
        match raised {
            Raised::Nothing => {}
            Raised::Fire => {
                self.irq_trace.tell(raised);
                line.interrupt(napi, bh);
            }
            Raised::Timer(ns) => {
                self.irq_trace.tell(raised);
                let slack = line.slack.load(Ordering::Relaxed);
                self.timer.start(ns, slack.into());
            }
        }
    }
}

/// The interrupt of a queue that runs, and the registers that the driver writes at the end of a
/// poll.
pub(crate) struct IrqLine {
    irq: Irq,
    /// Its number and its affinity.
    vector: Arc<Vector>,
    descriptors: RingRef,
    /// How far the last poll has cleaned the ring. May be stale during a poll: that costs one empty
    /// poll, and no frame is missed.
    next_to_clean: AtomicU32,
    /// Earliest time of the next interrupt, in nanoseconds; 0: no moderation.
    not_before: AtomicU64,
    /// Slack of the moderation timer, in nanoseconds.
    slack: AtomicU32,
    /// Set while the driver stops the NAPI: a poll that begins meanwhile does nothing.
    stopping: AtomicBool,
}

impl IrqLine {
    /// The interrupt of `queue` with this ring, which the driver has cleaned up to `next_to_clean`.
    /// The first poll arms it.
    pub(crate) fn new(
        queue: &RxHwQueue,
        descriptors: RingRef,
        next_to_clean: u32,
    ) -> Result<Arc<Self>> {
        let line = Self {
            irq: Irq::new(false),
            vector: queue.vector.clone(),
            descriptors,
            next_to_clean: AtomicU32::new(next_to_clean),
            not_before: AtomicU64::new(0),
            slack: AtomicU32::new(0),
            stopping: AtomicBool::new(false),
        };
        Ok(Arc::new(line, GFP_KERNEL)?)
    }

    /// Schedules `napi` (`napi_schedule`): on this CPU if it is in the interrupt's affinity,
    /// otherwise by an inter-processor interrupt, which may be on its way already.
    #[inline]
    pub(crate) fn interrupt(&self, napi: &NapiRef, bh: &bh::Disabled) {
        if !self.vector.deliver_remote() {
            napi.schedule(bh);
        }
    }

    /// Whether there are completed descriptors that the last poll has not seen. A poll that runs
    /// may have seen them since.
    pub(crate) fn is_pending(&self) -> bool {
        let next_to_clean = self.next_to_clean.load(Ordering::Relaxed);
        self.descriptors.has_completed_since(next_to_clean)
    }

    /// Sets how far the poll has cleaned the ring.
    #[inline]
    pub(crate) fn set_next_to_clean(&self, next_to_clean: u32) {
        self.next_to_clean.store(next_to_clean, Ordering::Relaxed);
    }

    /// Sets the earliest time of the next interrupt, and by how much its timer may be late in order
    /// to expire together with others, both in nanoseconds. Before [`rearm`](Interrupt::rearm).
    #[inline]
    pub(crate) fn moderate(&self, not_before: u64, slack: u32) {
        self.slack.store(slack, Ordering::Relaxed);
        self.not_before.store(not_before, Ordering::Relaxed);
    }

    /// Whether polls must do nothing, because the NAPI is being stopped.
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Sets whether polls must do nothing.
    pub(crate) fn set_stopping(&self, stopping: bool) {
        self.stopping.store(stopping, Ordering::Relaxed);
    }
}

impl Interrupt for IrqLine {
    fn rearm(&self) -> bool {
        let not_before = self.not_before.load(Ordering::Relaxed);
        self.irq.rearm(not_before, || self.is_pending()) && !self.vector.deliver_remote()
    }
}

/// A timer of a running queue, which raises the interrupt when it expires.
pub(crate) struct IrqTimer {
    line: Arc<IrqLine>,
    napi: Arc<NapiRef>,
    /// Whether it raises the interrupt whatever its state is.
    always: bool,
}

impl IrqTimer {
    /// The timer of interrupt moderation: the interrupt that schedules `napi` was raised, and is to
    /// fire now. Fails with `ENOMEM`.
    pub(crate) fn moderation(
        line: &Arc<IrqLine>,
        napi: &Arc<NapiRef>,
    ) -> Result<Pin<KBox<Timer<Self>>>> {
        Self::new(line, napi, false)
    }

    /// A timer for a driver that wants its poll, `napi`, to run at a given time. Fails with
    /// `ENOMEM`.
    pub(crate) fn poll(line: &Arc<IrqLine>, napi: &Arc<NapiRef>) -> Result<Pin<KBox<Timer<Self>>>> {
        Self::new(line, napi, true)
    }

    fn new(
        line: &Arc<IrqLine>,
        napi: &Arc<NapiRef>,
        always: bool,
    ) -> Result<Pin<KBox<Timer<Self>>>> {
        Timer::new(Self {
            line: line.clone(),
            napi: napi.clone(),
            always,
        })
    }
}

impl TimerCallback for IrqTimer {
    type Context = timer::Context;

    fn expired(&self, cx: &timer::Context) {
        let fires = self.always || self.line.irq.expire(|| self.line.is_pending());
        if fires && !self.line.vector.deliver_remote() {
            self.napi.schedule_from_timer(cx);
        }
    }
}

/// Receive metadata computed only when a program or the stack can read it (bit mask).
#[derive(Clone, Copy)]
pub(crate) struct RxMetadata(u8);

impl RxMetadata {
    /// The time when the frame is sent.
    pub(crate) const TIMESTAMP: Self = Self(1 << 0);

    /// The hash, computed for the metadata: steering needs none, as there is a single queue.
    pub(crate) const HASH: Self = Self(1 << 1);

    /// The hash that steering computed.
    pub(crate) const RSS_HASH: Self = Self(1 << 2);

    /// No metadata.
    pub(crate) const fn none() -> Self {
        Self(0)
    }

    /// `self`, with `other` added if `wanted`.
    pub(crate) const fn with(self, other: Self, wanted: bool) -> Self {
        Self(self.0 | if wanted { other.0 } else { 0 })
    }

    /// The metadata of a frame that is sent now. `hash` is the one that steering computed.
    #[inline(always)]
    pub(crate) fn collect(self, hash: Hash, compute_hash: impl FnOnce() -> Hash) -> Completion {
        self.add_to(Completion::new(0), hash, compute_hash)
    }

    /// As [`collect`](Self::collect), added to the completion of a frame without metadata.
    #[inline(always)]
    fn add_to(
        self,
        plain: Completion,
        hash: Hash,
        compute_hash: impl FnOnce() -> Hash,
    ) -> Completion {
        if self.0 == 0 {
            return plain;
        }
        let hash = if self.has(Self::RSS_HASH) {
            hash
        } else if self.has(Self::HASH) {
            compute_hash()
        } else {
            Hash::NONE
        };
        let meta = plain.with_hash(hash);
        if self.has(Self::TIMESTAMP) {
            meta.with_timestamp(NonZeroU64::new(clock::tai_ns()))
        } else {
            meta
        }
    }

    #[inline]
    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl RxHw {
    /// A queue with the NIC's side of a ring, its registers, and the timer of its interrupt.
    pub(crate) fn new(
        nic: NicEnd,
        config: RxConfig,
        meta: RxMetadata,
        max_frames: u32,
        timer: Pin<KBox<Timer<IrqTimer>>>,
        irq_trace: IrqTrace,
    ) -> Self {
        Self {
            writer: RxWriter::new(nic.ring, config, nic.limits),
            meta,
            max_frames,
            moderation: Moderation::default(),
            timer,
            irq_trace,
        }
    }

    /// Gives back the NIC's side of the ring and the timer of a queue that has stopped.
    pub(crate) fn into_parts(self) -> (NicEnd, Pin<KBox<Timer<IrqTimer>>>) {
        let (ring, limits) = self.writer.into_nic();
        (NicEnd { ring, limits }, self.timer)
    }
}

/// The state of a queue that a transmit queue of the peer waits for, as the watchdog reports it.
pub(crate) struct RxHwStatus {
    /// Number of the queue.
    pub(crate) queue: u16,
    /// How full its ring is; [`None`] if it does not run.
    pub(crate) level: Option<Level>,
    /// Whether there are completed descriptors that the last poll has not seen.
    pub(crate) pending: bool,
    /// Whether senders must keep waiting.
    pub(crate) is_full: bool,
}

impl RxHwQueue {
    /// Queue `index`, which does not run.
    pub(super) fn new(index: u16) -> Result<Arc<Self>> {
        let vector = Vector::new()?;
        Arc::pin_init(
            pin_init!(Self {
                index,
                vector,
                stats: RxHwStats::default(),
                waiters: Waiters::new(),
                restarting: AtomicBool::new(false),
                hw <- bh::Lock::new(None),
                without_link <- bh::Lock::new(WithoutLink::default()),
            }),
            GFP_KERNEL,
        )
    }

    /// Connects the queue to the wire, or to its place until the link is back. Returns what was
    /// connected before: it gets no more frames.
    pub(crate) fn start(&self, hw: RxHw) -> Option<RxHw> {
        self.exchange(Some(hw), false)
    }

    /// Takes the queue off the wire: for senders the link is down.
    pub(crate) fn stop(&self) -> Option<RxHw> {
        self.exchange(None, false)
    }

    /// Takes the queue off the wire until it is started again. Meanwhile senders see a ring without
    /// buffers.
    pub(crate) fn stop_for_restart(&self) -> Option<RxHw> {
        self.exchange(None, true)
    }

    fn exchange(&self, new: Option<RxHw>, restarting: bool) -> Option<RxHw> {
        let bh = bh::disable();
        let mut hw = self.hw.lock(&bh);
        let mut without_link = self.without_link.lock(&bh);
        self.restarting.store(restarting, Ordering::Relaxed);
        let place = if without_link.lost {
            &mut without_link.hw
        } else {
            &mut *hw
        };
        core::mem::replace(place, new)
    }

    /// The link is lost: takes the queue off the wire until it is [back](Self::regain_link). The
    /// frames in its ring stay. Returns the transmit queues of the peer that wait for its buffers.
    pub(super) fn lose_link(&self, bh: &bh::Disabled) -> impl Iterator<Item = u32> + '_ {
        let mut hw = self.hw.lock(bh);
        let mut without_link = self.without_link.lock(bh);
        if !without_link.lost {
            *without_link = WithoutLink {
                lost: true,
                hw: hw.take(),
            };
        }
        self.waiters.take_all()
    }

    /// The link is back: connects the queue to the wire again, and raises its interrupt, for what
    /// could not be sent meanwhile.
    pub(super) fn regain_link(&self, bh: &bh::Disabled) {
        let mut hw = self.hw.lock(bh);
        let without_link = core::mem::take(&mut *self.without_link.lock(bh));
        if let Some(back) = without_link.hw {
            let IrqTimer { line, napi, .. } = back.timer.target();
            line.interrupt(napi, bh);
            // There was none on the wire.
            *hw = Some(back);
        }
    }

    /// Calls `change` if the queue runs, on the wire or while the link is lost.
    pub(super) fn if_running(&self, bh: &bh::Disabled, change: impl FnOnce(&mut RxHw)) {
        let mut hw = self.hw.lock(bh);
        let mut without_link = self.without_link.lock(bh);
        if let Some(hw) = (*hw).as_mut().or(without_link.hw.as_mut()) {
            change(hw);
        }
    }

    /// Whether the queue, which does not run, will be started again. The lock of `hw` must be held.
    pub(crate) fn is_restarting(&self) -> bool {
        self.restarting.load(Ordering::Relaxed)
    }

    /// Raises the interrupt, for a driver that wants its own poll to run. Returns `false` if the
    /// queue is down. One that is being restarted is polled when it starts.
    pub(crate) fn raise(&self, bh: &bh::Disabled) -> bool {
        let mut hw = self.hw.lock(bh);
        match &mut *hw {
            Some(hw) => {
                let IrqTimer { line, napi, .. } = hw.timer.target();
                line.interrupt(napi, bh);
                true
            }
            None => self.is_restarting(),
        }
    }

    /// Whether the queue runs with too few buffers for the longest frame.
    #[cold]
    pub(crate) fn is_full(&self, bh: &bh::Disabled) -> bool {
        let mut hw = self.hw.lock(bh);
        (*hw).as_mut().is_some_and(|hw| hw.writer.is_full())
    }

    /// Schedules the NAPI of the ring, whatever the state of the interrupt is. Returns the state of
    /// the queue before. All frames are published: whoever held the wire lock before has done that.
    #[cold]
    pub(crate) fn kick(&self, bh: &bh::Disabled) -> RxHwStatus {
        let mut hw = self.hw.lock(bh);
        let mut status = RxHwStatus {
            queue: self.index,
            level: None,
            pending: false,
            // A restarted queue wakes its senders itself. Without a restart the carrier is off.
            is_full: self.is_restarting(),
        };
        if let Some(hw) = &mut *hw {
            let IrqTimer { line, napi, .. } = hw.timer.target();
            status.level = Some(hw.writer.level());
            status.pending = line.is_pending();
            line.interrupt(napi, bh);
            status.is_full = hw.writer.is_full();
        }
        status
    }
}
