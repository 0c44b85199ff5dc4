// SPDX-License-Identifier: GPL-2.0

//! Step 6: the NAPI poll of a receive ring, which cleans it, and the refill.

use super::ring::{
    Buff,
    RxRing, //
};
use crate::{
    card::{
        port::Peer,
        rx::{
            DescRing,
            IrqLine,
            WAKE_THRESHOLD, //
        },
    },
    driver::{
        params::RING_SIZES,
        settings::Settings,
        trace::Trace,
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
        xdp::{
            ProgRef,
            RxQueue,
            XdpBuffSlot, //
        },
    },
    nic::{
        completion::{
            Completion,
            Status, //
        },
        dim::Dim,
        ring::{
            DriverSide,
            NicSide, //
        },
        vlan::TAG_LEN, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

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

/// The driver's side of a ring, and all that its poll needs.
pub(crate) struct RxPoll {
    /// The descriptor ring.
    pub(super) descriptors: DriverSide<Arc<DescRing>>,
    /// Number of its descriptors.
    pub(super) size: u32,
    /// The `xdp_rxq_info`, and the pool that the buffers come from.
    pub(super) queue: Pin<KBox<RxQueue>>,
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
    pub(super) peer: Arc<Peer>,
}

impl napi::Poll for RxPoll {
    fn poll(&mut self, cx: &napi::Context<'_>, budget: u32) -> Polled {
        // No budget is netpoll, which only wants transmit work. Masked: the NAPI is being stopped,
        // and napi_disable() ends the polling.
        if budget == 0 || self.line.is_stopping() {
            return Polled::Again;
        }
        let traced = self.trace().intr();
        if traced {
            self.trace().poll_begins(self.ring.index(), budget);
        }
        let work = self.clean_rx_irq(cx, budget);
        let refilled = self.refill(cx);
        let others_wait = self.wake_next(cx, refilled);
        self.frames = self.frames.saturating_add(work);
        self.line
            .set_next_to_clean(self.descriptors.next_to_clean());
        // The refill came short, or further transmit queues wait: there may be no further
        // interrupt, so keep polling.
        let again = work == budget || !refilled || others_wait;
        if traced {
            self.trace().poll_ends(self.ring.index(), work, again);
        }
        if again {
            return Polled::Again;
        }
        self.moderate();
        Polled::Done(work)
    }
}

impl RxPoll {
    /// What is to be printed about the ring's device.
    #[inline]
    pub(super) fn trace(&self) -> Trace<'_> {
        Trace::new(self.queue.device(), &self.settings)
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

    /// Step 6: takes up to `budget` frames off the ring and runs the program on each. Returns their
    /// number.
    fn clean_rx_irq(&mut self, cx: &napi::Context<'_>, budget: u32) -> u32 {
        // READ_ONCE: the program for all frames of this poll.
        let prog = self.ring.xdp_prog.read_once(cx);
        let traced = self.trace().frames();
        // Two copies of the loop. In the first one it is a constant that frames are not traced and
        // that the program is called directly: the checks that this saves are 7 of the 360
        // instructions that a dropped frame costs.
        match prog {
            Some(prog) if prog.is_direct() && !traced => self.clean(cx, budget, Some(prog), false),
            prog => self.clean_any(cx, budget, prog.map(ProgRef::indirect), traced),
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
        traced: bool,
    ) -> u32 {
        self.clean(cx, budget, prog, traced)
    }

    /// The loop over the frames.
    #[inline(always)]
    fn clean(
        &mut self,
        cx: &napi::Context<'_>,
        budget: u32,
        prog: Option<ProgRef<'_>>,
        traced: bool,
    ) -> u32 {
        let queue = &*self.queue;
        let dev = queue.device();
        let peer = self.peer.read(cx);
        const NO_FRAME: &Completion = &Completion::new(0);
        let Some(mut slot) = XdpBuffSlot::new(queue, cx, NO_FRAME) else {
            // Not reached: the queue's NAPI is that of this poll.
            return 0;
        };
        let descriptors = &self.descriptors;
        let mut rx = RxContext {
            cx,
            dev,
            ring: &self.ring,
            descriptors,
            trace: Trace::new(dev, &self.settings),
            rx_csum: dev.has_feature(feature::RXCSUM),
            tx: XdpTxBulk::new(&peer),
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
            let buff = slot.load(buffer, completion.len(), completion);
            if buff.descriptor().is(Status::END_OF_PACKET) {
                rx.run_xdp(prog, traced, buff);
            } else {
                bytes += clean_frags(&mut rx, prog, traced, buff);
            }
        }
        if let Some(prog) = prog {
            rx.flush_tx(prog);
        }
        self.ring.stats.packets.add(frames.into());
        self.ring.stats.bytes.add(bytes);
        frames
    }

    /// Refills the ring if it is worth it, and rings the doorbell for all buffers that were posted
    /// in this poll. Returns `false` if memory was short.
    fn refill(&mut self, cx: &napi::Context<'_>) -> bool {
        let complete = self.descriptors.unused() < REFILL_BATCH || self.post_all(cx);
        if !complete {
            self.ring.stats.buf_alloc_fail.add(1);
        }
        self.descriptors.doorbell();
        complete
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
        let (descriptors, waiting_since) = (&self.descriptors, &mut self.waiting_since);
        let has_room = |wanted| {
            let now = descriptors.next_to_clean();
            let since = *waiting_since.get_or_insert(now);
            let can_wait = refilled && now.wrapping_sub(since) < MAX_WAIT;
            descriptors.posted() >= if can_wait { wanted } else { 1 }
        };
        let Some(turn) = self.ring.hw_queue.waiters.take_next(has_room) else {
            return false;
        };
        self.waiting_since = None;
        self.peer.read(cx).wake(core::iter::once(turn.queue), cx);
        turn.others_wait
    }

    /// Posts a buffer to every empty descriptor. Returns `false` if memory was short. Only a poll
    /// counts that: a ring that does not run yet shares its counters with the running ring that it
    /// is to replace.
    pub(super) fn post_all(&mut self, cx: &impl napi::NapiExclusive) -> bool {
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

    /// Frees a ring that is off the wire and not polled any more; `nic` is its NIC's side. Frames
    /// still in it are lost and counted. All buffers go back to the pool before it is destroyed.
    pub(super) fn end(self, nic: NicSide<Arc<DescRing>>) {
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

/// Adds the other buffers of a multi-buffer frame to the first, and runs the program on the whole.
/// Returns how many bytes they hold.
#[cold]
fn clean_frags(
    rx: &mut RxContext<'_>,
    prog: Option<ProgRef<'_>>,
    traced: bool,
    mut buff: Buff<'_, '_>,
) -> u64 {
    let mut bytes = 0;
    // The NIC publishes whole frames.
    while let Some((completion, buffer)) = rx.descriptors.take() {
        bytes += u64::from(completion.len());
        // It fits: the NIC accepts no frame with more buffers than an xdp_buff takes.
        let _ = buff.add_frag(buffer, completion.len());
        if completion.is(Status::END_OF_PACKET) {
            break;
        }
    }
    rx.ring.stats.multi_buffer.add(1);
    if let Some(whole) = rx.check_frags(prog, buff) {
        rx.run_xdp(prog, traced, whole);
    }
    bytes
}
