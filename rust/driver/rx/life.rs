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
        bh, clock,
        device::Locked,
        napi::{Disabled, Napi, Parked, Removed},
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
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc,
    time::{delay::fsleep, Delta},
};

/// A ring that is polled: one that is up, or one that goes and has frames in it.
pub(crate) struct RunningRing {
    ring: Arc<RxRing>,
    napi: Napi<RxPoll>,
    line: Arc<IrqLine>,
    /// The NIC's side, once it is off the wire.
    inlet: Option<RxInlet>,
}

/// A ring that is ready to run: filled, or stopped.
pub(crate) struct ReadyRing<'a> {
    napi: Disabled<'a, RxPoll>,
    sides: Sides,
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
            halting: AtomicBool::new(false),
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
        // Until the first poll has ended: with any other number a ring might seem to be empty that is not.
        line.position
            .store(descriptors.position(), Ordering::Relaxed);
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

    /// Lets frames in, to wait for the first poll. If the ring is `old` made anew, that gets none from here
    /// on.
    pub(crate) fn connect(
        self,
        old: Option<&mut RunningRing>,
        (settings, extras): (Settings, Extras),
    ) -> ConnectedRing<'a> {
        let Self { napi, sides } = self;
        let Sides {
            ring,
            line,
            poll,
            nic,
            timer,
        } = sides;
        // The kernel may take a ring that it has stopped for a restart again.
        line.halting.store(false, Ordering::Relaxed);
        let old_inlet = ring.connect(Some(RxInlet {
            wire: Inlet::new(nic, settings),
            extras,
            most_waiting: poll.port.coalesce.frames(poll.size),
            moderation: Moderation::default(),
            timer,
        }));
        if let Some(old) = old {
            old.inlet = old_inlet;
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
        let Self { napi, sides } = self;
        let Sides {
            poll, nic, timer, ..
        } = sides;
        KBox::into_inner(poll).end(nic);
        drop(timer);
        napi.remove(removed);
    }

    /// Keeps the ring until it is [resumed](ParkedRing::resume).
    pub(crate) fn park(self) -> ParkedRing {
        let Self { napi, sides } = self;
        let napi = napi.park();
        ParkedRing { napi, sides }
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
        line.interrupt(napi.instance(), &bh);
        // Who waited for buffers finds some now.
        peer.read(&bh).wake(ring.waiters.take_all(), &bh);
        drop(bh);
        RunningRing {
            ring,
            napi,
            line,
            inlet: None,
        }
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
            ring.line.interrupt(ring.napi.instance(), &bh);
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
        ring.line.halting.store(true, Ordering::Relaxed);
    }
}

/// Frees rings that go for good, which are off the wire: frames in them are counted as lost.
pub(crate) fn end_all(rings: KVec<RunningRing>, dev: &Locked) {
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
        self.inlet = self.ring.connect(None);
        peer.wake(self.ring.waiters.take_all(), &bh::disable());
    }

    /// Takes the ring off the wire for a while, in which it has no buffers for its senders.
    pub(crate) fn hold(&mut self) {
        self.inlet = self.ring.hold();
    }

    /// Ends polling a ring that is off the wire.
    pub(crate) fn halt(self, dev: &Locked) -> Option<ReadyRing<'_>> {
        let Self {
            ring,
            napi,
            line,
            inlet,
        } = self;
        let inlet = inlet?;
        let (napi, poll) = napi.stop(dev)?;
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
