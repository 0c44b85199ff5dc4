// SPDX-License-Identifier: GPL-2.0

//! The life of a receive ring: made and filled, connected to the wire and polled, taken off the wire, emptied
//! and freed.

use super::{
    super::{
        port::{Peer, Port},
        quietly, //
    },
    DescRing, Extras, IrqLine, IrqTimer, RxInlet, RxPoll, RxRing,
};
use crate::{
    net::{
        bh,
        device::Locked,
        napi::{Disabled, Napi, Parked},
        page_pool::PagePool,
        timer::Timer,
        xdp::RxQueue,
    },
    nic::{
        irq::{Adaptive, Irq, Moderation},
        ring::{NicSide, Ring, Slot},
        wire::{Inlet, Settings},
    },
};
use core::sync::atomic::{AtomicU32, AtomicU64};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
};

/// A ring that is up.
pub(crate) struct RunningRing {
    ring: Arc<RxRing>,
    napi: Napi<RxPoll>,
    line: Arc<IrqLine>,
}

/// A ring that is ready to run: filled, or stopped.
pub(crate) struct ReadyRing<'a> {
    napi: Disabled<'a, RxPoll>,
    sides: Sides,
}

/// A [`ReadyRing`] that is not in anybody's hands just then.
pub(crate) struct ParkedRing {
    napi: Parked<RxPoll>,
    sides: Sides,
}

/// The two sides of a ring that is not running.
struct Sides {
    ring: Arc<RxRing>,
    line: Arc<IrqLine>,
    poll: KBox<RxPoll>,
    nic: NicSide<Arc<DescRing>>,
    timer: Pin<KBox<Timer<IrqTimer>>>,
}

impl<'a> ReadyRing<'a> {
    /// Makes the descriptors of `ring` of `port`, and posts a buffer for each. Fails with `ENOMEM`.
    pub(crate) fn new(
        dev: &'a Locked,
        port: &Arc<Port>,
        peer: &Arc<Peer>,
        ring: &Arc<RxRing>,
        size: u32,
    ) -> Result<Self> {
        let mut slots = KVVec::with_capacity(size as usize, quietly())?;
        for _ in 0..size {
            slots.push(Slot::new(), quietly())?;
        }
        let descriptors = Arc::new(Ring::new(slots).map_err(|_| EINVAL)?, GFP_KERNEL)?;
        let line = IrqLine {
            // The first poll arms it.
            irq: Irq::new(false),
            vector: ring.vector.clone(),
            descriptors: descriptors.clone(),
            position: AtomicU32::new(0),
            not_before: AtomicU64::new(0),
            slack: AtomicU32::new(0),
        };
        let line = Arc::new(line, GFP_KERNEL)?;

        let mut napi = Disabled::new(dev, ring.index, line.clone())?;
        napi.set_irq(&ring.vector, ring.index)?;
        let timer = Timer::new(IrqTimer {
            line: line.clone(),
            napi: napi.instance().clone(),
        })?;
        let pool = PagePool::new(dev, &napi, ring.index, size)?;
        let queue = RxQueue::new(dev, ring.index, pool)?;
        let (nic, descriptors) = Ring::split(descriptors).ok_or(EINVAL)?;
        let mut poll = KBox::new(
            RxPoll {
                descriptors,
                size,
                queue,
                line: line.clone(),
                moderation: Adaptive::new(),
                frames: 0,
                ring: ring.clone(),
                port: port.clone(),
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
            sides: Sides {
                ring: ring.clone(),
                line,
                poll,
                nic,
                timer,
            },
        })
    }

    /// Lets frames in. If the ring is `old` made anew, no frame is lost by the change: those that come
    /// from here on wait in the new ring until the old one is empty.
    pub(crate) fn run(
        self,
        old: Option<RunningRing>,
        (settings, extras): (Settings, Extras),
    ) -> RunningRing {
        let Self { napi, sides } = self;
        let Sides {
            ring,
            line,
            poll,
            nic,
            timer,
        } = sides;
        let old_inlet = ring.connect(Some(RxInlet {
            wire: Inlet::new(nic, settings),
            extras,
            most_waiting: poll.port.coalesce.frames(poll.size),
            moderation: Moderation::default(),
            timer,
        }));
        let peer = poll.peer.clone();
        if let (Some(old), Some(mut inlet)) = (old, old_inlet) {
            old.drain(&mut inlet);
            old.end(inlet, napi.device());
        }
        let napi = napi.start(poll);
        let bh = bh::disable();
        // Nothing is announced before the first poll.
        line.interrupt(napi.instance(), &bh);
        // Who waited for buffers finds some now.
        peer.read(&bh).wake(ring.waiters.take(), &bh);
        drop(bh);
        RunningRing { ring, napi, line }
    }

    /// Frees the ring. What is still in it reaches nobody, and is counted.
    pub(crate) fn end(self) {
        let Self { napi, sides } = self;
        KBox::into_inner(sides.poll).end(sides.nic);
        drop(napi);
    }

    /// Keeps the ring until it is [resumed](ParkedRing::resume).
    pub(crate) fn park(self) -> ParkedRing {
        let Self { napi, sides } = self;
        let napi = napi.park();
        ParkedRing { napi, sides }
    }
}

impl ParkedRing {
    /// The ring, under the lock of its device again; [`None`] if it is not one of `dev`.
    pub(crate) fn resume(self, dev: &Locked) -> Option<ReadyRing<'_>> {
        let Self { napi, sides } = self;
        let napi = napi.resume(dev)?;
        Some(ReadyRing { napi, sides })
    }
}

/// How long the poll of a ring that goes is waited for, in milliseconds: a thousand times longer than
/// it takes, unless its program is very slow or there is no memory at all.
const DRAIN_MS: u32 = 2000;

impl RunningRing {
    /// Takes the ring down: frames in it are counted as lost, `peer`'s waiting queues go on.
    pub(crate) fn stop(self, peer: &Port, dev: &Locked) {
        let ring = self.ring.clone();
        if let Some(inlet) = ring.connect(None) {
            self.end(inlet, dev);
        }
        peer.wake(ring.waiters.take(), &bh::disable());
    }

    /// As [`stop`](Self::stop), for a ring that no frame is sent to any more: lets its poll have those
    /// that are in it.
    pub(crate) fn retire(self, peer: &Port, dev: &Locked) {
        let ring = self.ring.clone();
        if let Some(mut inlet) = ring.connect(None) {
            self.drain(&mut inlet);
            self.end(inlet, dev);
        }
        peer.wake(ring.waiters.take(), &bh::disable());
    }

    /// Takes the ring down for a while, in which it has no buffers for its senders, and lets its poll have
    /// the frames that are in it.
    pub(crate) fn hold(self, dev: &Locked) -> Option<ReadyRing<'_>> {
        let mut inlet = self.ring.hold()?;
        self.drain(&mut inlet);
        self.halt(inlet, dev)
    }

    /// Waits until the poll has seen all frames of a ring that is off the wire. Its timer may be running
    /// and raise the same interrupt.
    fn drain(&self, inlet: &mut RxInlet) {
        inlet.wire.flush();
        for _ in 0..DRAIN_MS {
            if !self.line.is_pending() {
                return;
            }
            self.line.interrupt(self.napi.instance(), &bh::disable());
            fsleep(Delta::from_millis(1));
        }
    }

    /// Ends polling a ring that is off the wire.
    fn end(self, inlet: RxInlet, dev: &Locked) {
        if let Some(ring) = self.halt(inlet, dev) {
            ring.end();
        }
    }

    /// Keeps a ring that is off the wire from being polled.
    fn halt(self, mut inlet: RxInlet, dev: &Locked) -> Option<ReadyRing<'_>> {
        let Self { ring, napi, line } = self;
        let (napi, poll) = napi.stop(dev)?;
        // What was put off comes too late for the poll, but it must be counted.
        inlet.wire.flush();
        let sides = Sides {
            ring,
            line,
            poll,
            nic: inlet.wire.into_nic(),
            timer: inlet.timer,
        };
        Some(ReadyRing { napi, sides })
    }
}
