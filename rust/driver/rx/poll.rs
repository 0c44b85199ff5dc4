// SPDX-License-Identifier: GPL-2.0

//! Step 6: the NAPI poll of a receive ring, which cleans it, and the refill.

use super::{
    memory::{
        Descriptors,
        Memory,
        Pages,
        Umem, //
    },
    merge::clean_segments,
    ring::{
        RingConfig,
        RxRing, //
    },
};
use crate::{
    card::{
        port::{
            Peer,
            Port, //
        },
        rx::{
            IrqLine,
            WAKE_THRESHOLD, //
        },
        rx_ring::NicRing,
    },
    driver::{
        params::RING_SIZES,
        settings::Settings,
        trace::{
            PollTrace,
            Trace, //
        },
        tx::xsk_xmit::XskTx,
        xdp::{
            run::RxContext,
            tx_bulk::XdpTxBulk, //
        },
    },
    net::{
        clock,
        device::feature,
        napi::{
            self,
            Polled, //
        },
        page_pool::MAX_BUFFERS,
        xdp::ProgRef,
        xsk, //
    },
    nic::{
        completion::{
            Completion,
            Status, //
        },
        dim::Dim,
        need_wakeup,
        switches::Switches,
        vlan::TAG_LEN, //
    },
};
use core::sync::atomic::Ordering;
use kernel::sync::Arc;

/// The ring is refilled when at least this many descriptors are empty: fewer are not worth it.
const REFILL_BATCH: u32 = 16;

// After a complete refill fewer than REFILL_BATCH descriptors are empty. If there are fewer buffers
// than a waiting transmit queue of the peer wants, even the smallest ring then holds completed
// descriptors, so it is polled again.
const _: () = assert!(
    *RING_SIZES.start() > REFILL_BATCH + WAKE_THRESHOLD
        && *RING_SIZES.start() > REFILL_BATCH + MAX_BUFFERS as u32
);

/// After this many more descriptors a waiting queue is woken even if there are fewer buffers than
/// it wants: there would be enough much earlier if other senders did not take them.
const MAX_WAIT: u32 = 64;

const _: () = assert!(MAX_WAIT > REFILL_BATCH + MAX_BUFFERS as u32);

/// The times until the next refill, in nanoseconds, if there are too few buffers in the fill ring
/// and user space does not wake the poll: each is twice the one before. A sender waits for buffers
/// that long; and a socket that only sends, and never has any, should not keep a CPU busy.
const REFILL_DELAYS: core::ops::RangeInclusive<u64> = 62_500..=1_000_000;

/// The state of the poll of a ring: one of pages, or one of umem of AF_XDP sockets.
pub(crate) enum RxPoll {
    Pages(RingPoll<Pages>),
    Umem(RingPoll<Umem>),
}

/// The state of the poll of a ring of one kind.
pub(crate) struct RingPoll<M: Memory> {
    /// The descriptor ring.
    pub(super) descriptors: Descriptors<M>,
    /// The `xdp_rxq_info`, and the pool that the buffers come from.
    pub(super) memory: M,
    pub(super) common: Common,
}

/// The state of a poll that does not depend on the kind of the ring.
pub(crate) struct Common {
    /// Number of descriptors.
    pub(super) size: u32,
    /// The interrupt.
    pub(super) line: Arc<IrqLine>,
    /// Adaptive moderation of the interrupt.
    pub(super) dim: Dim,
    /// Frames since the interrupt.
    pub(super) frames: u32,
    /// `next_to_clean` when a transmit queue of the peer was first found waiting after the last
    /// wake.
    pub(super) waiting_since: Option<u32>,
    /// What remains of the ring while the interface is down: program, counters.
    pub(super) ring: Arc<RxRing>,
    pub(super) settings: Arc<Settings>,
    pub(super) port: Arc<Port>,
    pub(super) peer: Arc<Peer>,
}

impl napi::Poll for RxPoll {
    fn poll(&mut self, cx: &napi::Context<'_>, budget: u32) -> Polled {
        match self {
            Self::Pages(poll) => poll.poll(cx, budget),
            Self::Umem(poll) => poll.poll(cx, budget),
        }
    }
}

impl RxPoll {
    /// The state that does not depend on the kind of the ring.
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Pages(poll) => &poll.common,
            Self::Umem(poll) => &poll.common,
        }
    }

    /// The trace of the ring's device.
    pub(super) fn trace(&self) -> Trace<'_> {
        match self {
            Self::Pages(poll) => poll.trace(),
            Self::Umem(poll) => poll.trace(),
        }
    }

    /// Rings the doorbell for the buffers that were posted.
    pub(super) fn doorbell(&mut self) {
        match self {
            Self::Pages(poll) => poll.descriptors.doorbell(),
            Self::Umem(poll) => poll.descriptors.doorbell(),
        }
    }

    /// Before the ring is polled: takes the pool of its queue's AF_XDP sockets out of its slot, and
    /// posts buffers from their fill ring.
    pub(super) fn prepare(&mut self, setup: &napi::Setup<'_>) {
        if let Self::Umem(poll) = self {
            poll.take_pool(setup);
        }
    }

    /// After the last poll of a ring that is off the wire: puts the pool back into its slot,
    /// without the frames that are still in the ring. `nic` is the ring's NIC's side.
    pub(super) fn release(&mut self, nic: &mut NicRing) {
        if let (Self::Umem(poll), NicRing::Umem(nic)) = (self, nic) {
            poll.count_down();
            poll.release_pool(|descriptors, pool| {
                // The pool gives out first what was freed last. So the next ring gets the buffers
                // in the same order.
                descriptors.reclaim(nic, |buffer| pool.free(buffer));
            });
        }
    }

    /// Frees a ring that is off the wire and not polled any more; `nic` is its NIC's side. Frames
    /// still in it are lost and counted. All buffers go back to their pool.
    pub(super) fn end(self, nic: NicRing) {
        match (self, nic) {
            (Self::Pages(poll), NicRing::Pages(nic)) => {
                poll.count_down();
                let RingPoll {
                    descriptors,
                    memory,
                    ..
                } = poll;
                descriptors.end(nic);
                // The buffers go back to the page_pool before it is destroyed.
                drop(memory);
            }
            (mut poll, mut nic) => poll.release(&mut nic),
        }
    }
}

impl RingPoll<Pages> {
    #[inline]
    fn poll(&mut self, cx: &napi::Context<'_>, budget: u32) -> Polled {
        // No budget is netpoll, which only wants transmit work. Masked: the NAPI is being stopped,
        // and napi_disable() ends the polling.
        if budget == 0 || self.common.line.is_stopping() {
            return Polled::Again;
        }
        let traced = self.begin(budget);
        let work = self.clean_rx_irq(cx, budget);
        let refilled = self.refill(cx);
        let others_wait = self.wake_next(cx, refilled);
        self.finish(traced, work, budget, !refilled || others_wait)
    }

    /// Refills the ring if it is worth it, and rings the doorbell for all buffers that were posted
    /// in this poll. Returns `false` if memory was short.
    fn refill(&mut self, cx: &napi::Context<'_>) -> bool {
        let complete = self.descriptors.unused() < REFILL_BATCH || self.post_all(cx);
        if !complete {
            self.common.ring.stats.buf_alloc_fail.add(1);
        }
        self.descriptors.doorbell();
        complete
    }
}

impl RingPoll<Umem> {
    /// A function of its own, so that the poll of pages has one too.
    #[inline(never)]
    fn poll(&mut self, cx: &napi::Context<'_>, budget: u32) -> Polled {
        // As for pages.
        if budget == 0 || self.common.line.is_stopping() {
            return Polled::Again;
        }
        let traced = self.begin(budget);
        let work = self.clean_rx_irq(cx, budget);
        self.common.ring.stats.xsk_packets.add(work.into());
        let refilled = self.refill();
        let others_wait = self.wake_next(cx, refilled);
        let refill = self.until_refill(cx, refilled);
        let transmit = self.transmit(cx);
        let more = match refill.into_iter().chain(transmit).min() {
            Some(0) => true,
            Some(ns) => {
                self.memory.timer.start(ns, 0);
                false
            }
            None => false,
        };
        self.finish(traced, work, budget, others_wait || more)
    }

    /// Refills the ring as that of pages. Returns `false` if the fill ring had too few buffers:
    /// only then must user space wake the poll. If a refill is not worth it, the ring has enough
    /// buffers, and so there will be another poll.
    fn refill(&mut self) -> bool {
        let complete = match self.memory.pool() {
            Some(pool) if self.descriptors.unused() < REFILL_BATCH => {
                pool.set_rx_need_wakeup(false);
                true
            }
            Some(pool) => need_wakeup::refill(
                || Umem::fill(pool, &mut self.descriptors),
                |needed| pool.set_rx_need_wakeup(needed),
            ),
            None => false,
        };
        if !complete {
            self.common.ring.stats.xsk_fill_empty.add(1);
        }
        self.descriptors.doorbell();
        complete
    }

    /// The time until the next refill, in nanoseconds, if a frame may find too few buffers, and
    /// user space does not wake the poll when there are more.
    fn until_refill(&mut self, cx: &napi::Context<'_>, refilled: bool) -> Option<u64> {
        let is_starved = !refilled
            && self
                .memory
                .pool()
                .is_some_and(|pool| !pool.uses_need_wakeup())
            && self.common.ring.hw_queue.is_full(cx);
        let (first, longest) = REFILL_DELAYS.into_inner();
        let delay = self.memory.refill_delay.clamp(first, longest);
        self.memory.refill_delay = if is_starved { 2 * delay } else { 0 };
        is_starved.then_some(delay)
    }

    /// Sends frames of the sockets. Returns the time until there may be more to send, as
    /// [`XskTx::transmit`] does. A function of its own, for the registers.
    #[inline(never)]
    fn transmit(&mut self, cx: &napi::Context<'_>) -> Option<u64> {
        XskTx {
            pool: self.memory.queue.as_mut().tx()?,
            queue: self.common.ring.index(),
            port: &self.common.port,
            peer: &self.common.peer.read(cx),
            stats: &self.common.ring.xsk_tx,
            ring_size: self.common.settings.tx_ring_size.load(Ordering::Relaxed),
            metadata: !self
                .common
                .settings
                .switches()
                .has(Switches::XSK_NO_TX_METADATA),
        }
        .transmit(cx)
    }

    /// Takes the pool out of its slot, and posts buffers.
    fn take_pool(&mut self, setup: &napi::Setup<'_>) {
        let pool = self.common.ring.xsk.lock().pool.take();
        let Some(pool) = pool else { return };
        if let Err(pool) = self.memory.queue.as_mut().give(pool) {
            // Not reached: it is the pool of this queue.
            self.common.ring.xsk.lock().pool = Some(pool);
            return;
        }
        // The first poll counts it if there are too few.
        self.post_all(setup);
        self.descriptors.doorbell();
    }

    /// Puts the pool back into its slot, after `reclaim` has freed the buffers. Frames that are
    /// still to be sent stay with the pool, for the next ring.
    fn release_pool(&mut self, reclaim: impl FnOnce(&mut Descriptors<Umem>, &xsk::Pool)) {
        let Some(pool) = self.memory.queue.as_mut().take() else {
            return;
        };
        reclaim(&mut self.descriptors, &pool);
        self.common.ring.xsk.lock().pool = Some(pool);
    }
}

impl<M: Memory> RingPoll<M> {
    /// The trace of the ring's device.
    #[inline]
    pub(super) fn trace(&self) -> Trace<'_> {
        Trace::new(self.memory.device(), &self.common.settings)
    }

    /// Begins a poll. Returns how it is traced.
    #[inline(always)]
    fn begin(&self, budget: u32) -> Option<PollTrace> {
        let traced = self.trace().poll();
        if let Some(poll) = traced {
            self.trace()
                .poll_begins(poll, self.common.ring.index(), budget);
        }
        traced
    }

    /// Ends a poll that took `work` frames off the ring. With `again` there will be another: with
    /// too few buffers for the largest frame, or with senders that wait for their turn, there may
    /// be no interrupt that would lead to one.
    #[inline(always)]
    fn finish(&mut self, traced: Option<PollTrace>, work: u32, budget: u32, again: bool) -> Polled {
        self.common.frames = self.common.frames.saturating_add(work);
        self.common
            .line
            .set_next_to_clean(self.descriptors.next_to_clean());
        let again = work == budget || again;
        if let Some(poll) = traced {
            self.trace()
                .poll_ends(poll, self.common.ring.index(), work, again);
        }
        if again {
            return Polled::Again;
        }
        self.common.moderate();
        Polled::Done(work)
    }

    /// Step 6: takes up to `budget` frames off the ring and runs the program on each. Returns their
    /// number.
    fn clean_rx_irq(&mut self, cx: &napi::Context<'_>, budget: u32) -> u32 {
        // READ_ONCE: the program for all frames of this poll.
        let prog = self.common.ring.xdp_prog.read_once(cx);
        let switches = self.common.settings.switches();
        let special = self.trace().frames() || switches.has_any(Switches::PER_FRAME);
        // Two copies of the loop. In the first one it is a constant that frames are not traced, nor
        // special for a switch, and that the program is called directly: the checks that this saves
        // are 7 of the 360 instructions that a dropped frame costs.
        match prog {
            Some(prog) if prog.is_direct() && !special => self.clean(cx, budget, Some(prog), false),
            prog => self.clean_any(cx, budget, prog.map(ProgRef::indirect), special),
        }
    }

    /// The second copy, in a function of its own: with both loops in one function there were too
    /// few registers for either, which cost 4 instructions per frame.
    #[inline(never)]
    fn clean_any(
        &mut self,
        cx: &napi::Context<'_>,
        budget: u32,
        prog: Option<ProgRef<'_>>,
        special: bool,
    ) -> u32 {
        self.clean(cx, budget, prog, special)
    }

    /// The loop over the frames.
    #[inline(always)]
    fn clean(
        &mut self,
        cx: &napi::Context<'_>,
        budget: u32,
        prog: Option<ProgRef<'_>>,
        special: bool,
    ) -> u32 {
        let Common {
            ring,
            settings,
            peer,
            ..
        } = &self.common;
        let dev = self.memory.device();
        let peer = peer.read(cx);
        let Some(mut slot) = self.memory.slot(cx) else {
            // Not reached: the queue's NAPI is that of this poll, and it has its pool.
            return 0;
        };
        let descriptors = &self.descriptors;
        let mut rx = RxContext::<M> {
            cx,
            dev,
            ring,
            descriptors,
            trace: Trace::new(dev, settings),
            rx_csum: dev.has_feature(feature::RXCSUM),
            rx_tstamp: settings.hwtstamp.rx.load(Ordering::Relaxed),
            copybreak: settings.rx_copybreak.load(Ordering::Relaxed),
            switches: settings.switches(),
            tx: XdpTxBulk::new(&peer),
        };
        let (mut frames, mut bytes) = (0, 0_u64);
        while frames < budget {
            let Some((completion, buffer)) = descriptors.take() else {
                break;
            };
            frames += 1;
            bytes = bytes.wrapping_add(completion.len().into());
            // A single comparison for most frames.
            if completion.is_any(Status::TAG_STRIPPED.with(M::SPECIAL)) {
                if completion.has_vlan() {
                    bytes += TAG_LEN as u64;
                }
                if completion.is_any(M::SPECIAL) {
                    let first = (completion, buffer);
                    frames +=
                        clean_special(&mut rx, &mut slot, prog, special, first, budget - frames);
                    continue;
                }
            }
            let Some(buff) = M::load(&mut slot, buffer, completion.len(), completion) else {
                // Not reached: the ring's buffers are from its pool.
                break;
            };
            rx.run_xdp(prog, special, buff);
        }
        if let Some(prog) = prog {
            rx.flush_tx(prog);
        }
        ring.stats.packets.add(frames.into());
        ring.stats.bytes.add(bytes);
        frames
    }

    /// Wakes the next transmit queue of the peer that waits for buffers: it then sends in a softirq
    /// on this CPU (`net_tx_action`). Returns whether others wait: their turn comes in the next
    /// poll.
    ///
    /// A queue is woken only if there are as many buffers as it wants: with fewer, other senders
    /// could take all before it. If there are fewer, there will be another poll: after a complete
    /// refill fewer than [`REFILL_BATCH`] descriptors are empty, so the ring holds completed ones.
    ///
    /// Two exceptions, where few buffers must do: the refill was short of memory; or frames of XDP,
    /// which do not wait, keep the ring full, and a busy poll with a small budget never posts as
    /// many buffers at a time as the queue wants.
    #[inline]
    fn wake_next(&mut self, cx: &napi::Context<'_>, refilled: bool) -> bool {
        let (descriptors, waiting_since) = (&self.descriptors, &mut self.common.waiting_since);
        let has_room = |wanted| {
            let now = descriptors.next_to_clean();
            let since = *waiting_since.get_or_insert(now);
            let can_wait = refilled && now.wrapping_sub(since) < MAX_WAIT;
            descriptors.posted() >= if can_wait { wanted } else { 1 }
        };
        let Some(turn) = self.common.ring.hw_queue.waiters.take_next(has_room) else {
            return false;
        };
        self.common.waiting_since = None;
        self.common
            .peer
            .read(cx)
            .wake(core::iter::once(turn.queue), cx);
        turn.others_wait
    }

    /// Posts a buffer to every empty descriptor. Returns `false` if there were not enough. Only a
    /// poll counts that: a ring that does not run yet shares its counters with the running ring
    /// that it is to replace.
    pub(super) fn post_all(&mut self, cx: &impl napi::NapiExclusive) -> bool {
        self.memory.post_all(&mut self.descriptors, cx)
    }

    /// Takes the frames that no poll will see out of the ring, and counts them as lost.
    fn count_down(&self) {
        while let Some((completion, buffer)) = self.descriptors.take() {
            if !completion.is(Status::MORE_BUFFERS) {
                self.common.ring.stats.down.add(1);
            }
            // There is an empty descriptor, the one that the frame was in.
            let _ = self.descriptors.post(buffer);
        }
    }
}

impl Common {
    /// The state before the first poll of `ring`, whose interrupt is `line`.
    pub(super) fn new(config: RingConfig<'_>, ring: &Arc<RxRing>, line: &Arc<IrqLine>) -> Self {
        Self {
            size: config.size,
            line: line.clone(),
            dim: Dim::new(),
            frames: 0,
            waiting_since: None,
            ring: ring.clone(),
            settings: config.settings.clone(),
            port: config.port.clone(),
            peer: config.peer.clone(),
        }
    }

    /// Interrupt moderation: sets the earliest time of the next interrupt.
    fn moderate(&mut self) {
        let frames = core::mem::take(&mut self.frames);
        let usecs = self.settings.coalesce.usecs();
        if usecs == Some(0) {
            self.line.moderate(0, 0);
            return;
        }
        let now = clock::monotonic_ns();
        let delay = |usecs: u32| u64::from(usecs) * 1000;
        let (delay, slack) = match usecs {
            Some(usecs) => (delay(usecs), 0),
            // With slack, the timers of several rings expire together.
            None => {
                let usecs = self.dim.next(frames, now);
                (delay(usecs), usecs * 1000 / 4)
            }
        };
        self.line.moderate(now + delay, slack);
    }
}

/// Goes on with the first buffer of a multi-buffer frame; or with a TCP segment, and those that
/// follow it in the ring, up to `budget` frames more. Runs the program on each. Returns the number
/// of these frames. Counts all bytes that were not in the first buffer.
#[cold]
#[inline(never)]
fn clean_special<'q, M: Memory>(
    rx: &mut RxContext<'q, M>,
    slot: &mut M::Slot<'q>,
    prog: Option<ProgRef<'_>>,
    special: bool,
    first: (&'q Completion, M::Buffer),
    budget: u32,
) -> u32 {
    let (completion, buffer) = first;
    if M::SPECIAL.contains(Status::LEADS) && completion.is_any(Status::LEADS.with(Status::FOLLOWS))
    {
        // Where GRO does not merge segments, nor must the driver.
        let limit = rx.dev.gro_limit();
        if limit != 0 {
            let first = (completion, buffer);
            return clean_segments(rx, slot, prog, special, first, budget, limit);
        }
    }
    let mut whole = M::load(slot, buffer, completion.len(), completion);
    if completion.is(Status::MORE_BUFFERS) {
        whole = whole.and_then(|first| rx.add_frags(prog, first));
    }
    if let Some(buff) = whole {
        rx.run_xdp(prog, special, buff);
    }
    0
}
