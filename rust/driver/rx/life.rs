// SPDX-License-Identifier: GPL-2.0

//! The life of a receive ring: made and filled, connected to the wire and polled, taken off the wire, emptied
//! and freed.

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

/// A ring that is polled: one that is up, or one that goes and has frames in it.
pub(crate) struct RunningRing {
    ring: Arc<RxRing>,
    napi: Napi<RxPoll>,
    line: Arc<IrqLine>,
    /// The NIC's side, once the queue is off the wire.
    hw: Option<RxHw>,
}

/// A ring that is ready to run: filled, or stopped.
pub(crate) struct ReadyRing<'a> {
    napi: Disabled<'a, RxPoll>,
    parts: RingParts,
}

/// A ring that gets frames, and is not polled yet.
pub(crate) struct ConnectedRing<'a> {
    napi: Disabled<'a, RxPoll>,
    ring: Arc<RxRing>,
    line: Arc<IrqLine>,
    poll: KBox<RxPoll>,
}

/// A [`ReadyRing`] that is not in anybody's hands just then.
pub(crate) struct ParkedRing {
    napi: Parked<RxPoll>,
    parts: RingParts,
}

/// The two parts of a ring that is not running.
struct RingParts {
    ring: Arc<RxRing>,
    line: Arc<IrqLine>,
    poll: KBox<RxPoll>,
    nic: NicSide<Arc<DescRing>>,
    timer: Pin<KBox<Timer<IrqTimer>>>,
}

impl<'a> ReadyRing<'a> {
    /// Makes the descriptors of `ring`, and posts a buffer for each. Fails with `ENOMEM`.
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
        let line = IrqLine::new(&ring.hw, &descriptors, driver.next_to_clean())?;

        let mut napi = Disabled::new(dev, ring.index(), line.clone())?;
        napi.set_irq(ring.hw.vector.clone())?;
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
            // Buffers that come back before their pool goes are not waited for.
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

    /// Lets frames in, to wait for the first poll. If the ring is `old` made anew, that gets none from here
    /// on.
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
        // The kernel may take a ring that it has stopped for a restart again.
        line.set_masked(false);
        let max_frames = poll.settings.coalesce.frames(poll.size);
        let hw = RxHw::new(nic, config, meta, max_frames, timer);
        let old_hw = ring.hw.start(hw);
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

    /// Frees the ring, and with `removed` its NAPI. What is still in it reaches nobody, and is counted.
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
    /// Has the ring polled.
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
        // Nothing is announced before the first poll.
        line.interrupt(napi.napi_ref(), &bh);
        // Who waited for buffers finds some now.
        peer.read(&bh).wake(ring.hw.waiters.take_all(), &bh);
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
    /// The ring, under the lock of its device again; [`None`] if it is not one of `dev`.
    pub(crate) fn resume(self, dev: &LockedDevice) -> Option<ReadyRing<'_>> {
        let Self { napi, parts } = self;
        let napi = napi.resume(dev)?;
        Some(ReadyRing { napi, parts })
    }
}

/// How long the polls of rings that go are waited for, in nanoseconds.
///
/// Meanwhile RTNL is held, and nothing gets past it that changes any interface of the machine. So this is the
/// bound for all rings of a change together. A usual program empties its ring within milliseconds; this much
/// time is for many large and full rings on a slow or busy machine. Only a program that takes milliseconds for
/// a frame needs more, and does not get it: to lose its frames, as any card does on such a change, is better
/// than to stop the rest of the machine.
const DRAIN_NS: u64 = 1_000_000_000;

/// Waits until the polls of `rings`, which are off the wire, have seen all frames, of all of them at the same
/// time. What they do not come to in time is lost when the rings [end](ReadyRing::end). A ring's timer may be
/// running and raise the same interrupt.
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

/// Keeps the polls of `rings` from beginning anything more. Each would be waited for by
/// [`halt`](RunningRing::halt); without this, all others would be served before it comes to its end.
pub(crate) fn quiesce(rings: &[RunningRing]) {
    for ring in rings {
        ring.line.set_masked(true);
    }
}

/// Frees rings that go for good, which are off the wire: frames in them are counted as lost.
pub(crate) fn end_all(rings: KVec<RunningRing>, dev: &LockedDevice) {
    quiesce(&rings);
    let mut removed = Removed::with_room(rings.len());
    for ring in rings {
        if let Some(ring) = ring.halt(dev) {
            ring.end(&mut removed);
        }
    }
}

/// Frees rings that do not run.
pub(crate) fn end_ready(rings: KVec<ReadyRing<'_>>) {
    let mut removed = Removed::with_room(rings.len());
    for ring in rings {
        ring.end(&mut removed);
    }
}

impl RunningRing {
    /// Takes the ring off the wire. `peer`'s queues that wait for its buffers go on.
    pub(crate) fn disconnect(&mut self, peer: &Port) {
        self.hw = self.ring.hw.stop();
        peer.wake(self.ring.hw.waiters.take_all(), &bh::disable());
    }

    /// Takes the ring off the wire for a while, in which it has no buffers for its senders.
    pub(crate) fn stop_for_restart(&mut self) {
        self.hw = self.ring.hw.stop_for_restart();
    }

    /// Ends polling a ring that is off the wire.
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
