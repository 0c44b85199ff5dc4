// SPDX-License-Identifier: GPL-2.0

//! The life cycle of a receive ring, a type for each state:
//!
//! | state | what happens |
//! | --- | --- |
//! | [`ReadyRing`] | allocated and filled with buffers; or stopped, about to be freed |
//! | [`ConnectedRing`] | connected to the wire: frames arrive |
//! | [`RunningRing`] | polled; before it stops it is taken off the wire and emptied |
//! | [`ParkedRing`] | as ready, between two callbacks of the kernel's queue management |

use super::{
    poll::RxPoll,
    ring::RxRing, //
};
use crate::{
    card::{
        port::{
            Peer,
            Port, //
        },
        rx::{
            DescRing,
            IrqLine,
            IrqTimer,
            RxHw,
            RxMetadata, //
        },
        steering::gfp_nowarn, //
    },
    driver::settings::Settings,
    net::{
        bh,
        clock,
        device::LockedDevice,
        napi::{
            Disabled,
            Napi,
            Parked,
            Removed, //
        },
        page_pool::PagePool,
        timer::Timer,
        xdp::RxQueue, //
    },
    nic::{
        dim::Dim,
        ring::{
            NicSide,
            Ring,
            Slot, //
        },
        wire, //
    },
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// A ring that is polled: on the wire, or off it with frames still in it.
pub(crate) struct RunningRing {
    ring: Arc<RxRing>,
    napi: Napi<RxPoll>,
    line: Arc<IrqLine>,
    /// The NIC's side, once the queue is off the wire.
    hw: Option<RxHw>,
}

/// A ring that is neither on the wire nor polled: filled, or stopped.
pub(crate) struct ReadyRing<'a> {
    napi: Disabled<'a, RxPoll>,
    parts: RingParts,
}

/// A ring on the wire that is not polled yet.
pub(crate) struct ConnectedRing<'a> {
    napi: Disabled<'a, RxPoll>,
    ring: Arc<RxRing>,
    line: Arc<IrqLine>,
    poll: KBox<RxPoll>,
}

/// A [`ReadyRing`] that does not borrow its device, whose lock is released meanwhile.
pub(crate) struct ParkedRing {
    napi: Parked<RxPoll>,
    parts: RingParts,
}

/// A ring that is not running: both sides of its descriptors, and its interrupt.
struct RingParts {
    ring: Arc<RxRing>,
    line: Arc<IrqLine>,
    poll: KBox<RxPoll>,
    nic: NicSide<Arc<DescRing>>,
    timer: Pin<KBox<Timer<IrqTimer>>>,
}

impl<'a> ReadyRing<'a> {
    /// Allocates `size` descriptors for `ring`, and posts a buffer to each. Fails with `ENOMEM`.
    pub(crate) fn new(
        dev: &'a LockedDevice,
        settings: &Arc<Settings>,
        peer: &Arc<Peer>,
        ring: &Arc<RxRing>,
        size: u32,
    ) -> Result<Self> {
        let mut slots = KVVec::with_capacity(size as usize, gfp_nowarn())?;
        for _ in 0..size {
            slots.push(Slot::new(), gfp_nowarn())?;
        }
        let descriptors = Arc::new(Ring::new(slots).map_err(|_| EINVAL)?, GFP_KERNEL)?;
        let (nic, driver) = Ring::split(descriptors.clone()).ok_or(EINVAL)?;
        let line = IrqLine::new(&ring.hw_queue, &descriptors, driver.next_to_clean())?;

        let mut napi = Disabled::new(dev, ring.index(), line.clone())?;
        napi.set_irq(ring.hw_queue.vector.clone())?;
        let timer = IrqTimer::new(&line, napi.napi_ref())?;
        let pool = PagePool::new(&napi, size)?;
        let queue = RxQueue::new(pool)?;
        let mut poll = KBox::new(
            RxPoll {
                descriptors: driver,
                size,
                queue,
                line: line.clone(),
                dim: Dim::new(),
                frames: 0,
                waiting_since: None,
                ring: ring.clone(),
                settings: settings.clone(),
                peer: peer.clone(),
            },
            GFP_KERNEL,
        )?;
        if !napi.prepare(|setup| poll.post_all(setup)) {
            // Buffers first: destroying a page_pool that lacks buffers leaves it to a delayed work
            // (`page_pool_release_retry`).
            KBox::into_inner(poll).end(nic);
            return Err(ENOMEM);
        }
        poll.descriptors.doorbell();
        Ok(Self {
            napi,
            parts: RingParts {
                ring: ring.clone(),
                line,
                poll,
                nic,
                timer,
            },
        })
    }

    /// Connects the ring to the wire: frames arrive, and wait for the first poll. From here on the
    /// ring that it replaces, `old`, gets none.
    pub(crate) fn connect(
        self,
        old: Option<&mut RunningRing>,
        (config, meta): (wire::RxConfig, RxMetadata),
    ) -> ConnectedRing<'a> {
        let Self { napi, parts } = self;
        let RingParts {
            ring,
            line,
            poll,
            nic,
            timer,
        } = parts;
        // A stopped ring runs again if the new one fails to start (`netdev_rx_queue_restart`).
        line.set_stopping(false);
        let max_frames = poll.settings.coalesce.frames(poll.size);
        let irq_trace = poll.trace().irq_trace(ring.index());
        let hw = RxHw::new(nic, config, meta, max_frames, timer, irq_trace);
        let old_hw = ring.hw_queue.start(hw);
        if let Some(old) = old {
            old.hw = old_hw;
        }
        ConnectedRing {
            napi,
            ring,
            line,
            poll,
        }
    }

    /// Frees the ring, and its NAPI by `removed`. Frames still in it are lost and counted.
    pub(crate) fn end(self, removed: &mut Removed) {
        let Self { napi, parts } = self;
        let RingParts {
            poll, nic, timer, ..
        } = parts;
        KBox::into_inner(poll).end(nic);
        drop(timer);
        napi.remove(removed);
    }

    /// Keeps the ring until it is [resumed](ParkedRing::resume).
    pub(crate) fn park(self) -> ParkedRing {
        let Self { napi, parts } = self;
        let napi = napi.park();
        ParkedRing { napi, parts }
    }
}

impl ConnectedRing<'_> {
    /// Starts polling the ring.
    pub(crate) fn start(self) -> RunningRing {
        let Self {
            napi,
            ring,
            line,
            poll,
        } = self;
        let peer = poll.peer.clone();
        let napi = napi.start(poll);
        let bh = bh::disable();
        // The interrupt is not armed before the first poll.
        line.interrupt(napi.napi_ref(), &bh);
        // Transmit queues of the peer that waited for buffers go on.
        peer.read(&bh).wake(ring.hw_queue.waiters.take_all(), &bh);
        drop(bh);
        RunningRing {
            ring,
            napi,
            line,
            hw: None,
        }
    }
}

impl ParkedRing {
    /// The ring as ready again, under the lock of its device; [`None`] if it is not a ring of
    /// `dev`.
    pub(crate) fn resume(self, dev: &LockedDevice) -> Option<ReadyRing<'_>> {
        let Self { napi, parts } = self;
        let napi = napi.resume(dev)?;
        Some(ReadyRing { napi, parts })
    }
}

/// How long [`drain`] waits for polls, in nanoseconds, for all rings of a change together.
///
/// RTNL is held meanwhile, which keeps every other interface of the machine from being changed. A
/// usual program empties its ring within milliseconds; a second is enough for many large and full
/// rings on a slow or busy machine. A program that takes milliseconds per frame loses frames, as on
/// a real card: better than blocking the machine for longer.
const DRAIN_NS: u64 = 1_000_000_000;

/// Waits until the polls of `rings`, which are off the wire, have taken all frames; the rings are
/// polled in parallel. Frames that are left after [`DRAIN_NS`] are lost when the rings
/// [end](ReadyRing::end). The timer of a ring may raise the same interrupt meanwhile.
pub(crate) fn drain(rings: &[RunningRing]) {
    let end = clock::monotonic_ns().saturating_add(DRAIN_NS);
    loop {
        let bh = bh::disable();
        let mut pending = false;
        for ring in rings.iter().filter(|ring| ring.line.is_pending()) {
            pending = true;
            ring.line.interrupt(ring.napi.napi_ref(), &bh);
        }
        drop(bh);
        if !pending || clock::monotonic_ns() >= end {
            return;
        }
        fsleep(Delta::from_millis(1));
    }
}

/// Makes further polls of `rings` do nothing. [`halt`](RunningRing::halt) waits for the poll of one
/// ring at a time, which busy polls of all the others would delay.
pub(crate) fn quiesce(rings: &[RunningRing]) {
    for ring in rings {
        ring.line.set_stopping(true);
    }
}

/// Stops and frees rings that are off the wire. Frames still in them are lost and counted.
pub(crate) fn end_all(rings: KVec<RunningRing>, dev: &LockedDevice) {
    quiesce(&rings);
    let mut removed = Removed::with_room(rings.len());
    for ring in rings {
        if let Some(ring) = ring.halt(dev) {
            ring.end(&mut removed);
        }
    }
}

/// Frees rings that are not running.
pub(crate) fn end_ready(rings: KVec<ReadyRing<'_>>) {
    let mut removed = Removed::with_room(rings.len());
    for ring in rings {
        ring.end(&mut removed);
    }
}

impl RunningRing {
    /// Takes the ring off the wire. The transmit queues of `peer` that wait for its buffers go on.
    pub(crate) fn disconnect(&mut self, peer: &Port) {
        self.hw = self.ring.hw_queue.stop();
        peer.wake(self.ring.hw_queue.waiters.take_all(), &bh::disable());
    }

    /// Takes the ring off the wire for a restart. Meanwhile senders see a ring without buffers.
    pub(crate) fn stop_for_restart(&mut self) {
        self.hw = self.ring.hw_queue.stop_for_restart();
    }

    /// Stops polling a ring that is off the wire.
    pub(crate) fn halt(self, dev: &LockedDevice) -> Option<ReadyRing<'_>> {
        let Self {
            ring,
            napi,
            line,
            hw,
        } = self;
        let (nic, timer) = hw?.into_parts();
        let (napi, poll) = napi.stop(dev)?;
        let parts = RingParts {
            ring,
            line,
            poll,
            nic,
            timer,
        };
        Some(ReadyRing { napi, parts })
    }
}
