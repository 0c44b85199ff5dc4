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
    memory::{
        Pages,
        Umem, //
    },
    poll::{
        Common,
        RingPoll,
        RxPoll, //
    },
    ring::{
        RingConfig,
        RxRing, //
    },
};
use crate::{
    card::{
        port::Port,
        rx::{
            IrqLine,
            IrqTimer,
            RxHw,
            RxMetadata, //
        },
        rx_ring::{
            DescRing,
            NicEnd,
            NicRing,
            RingRef,
            PAGE_LIMITS, //
        }, //
    },
    net::{
        bh,
        clock,
        device::LockedDevice,
        gfp::MAY_FAIL,
        napi::{
            Disabled,
            Napi,
            Parked,
            Removed, //
        },
        page_pool::{
            PagePool,
            MAX_BUFFERS, //
        },
        timer::Timer,
        xdp,
        xsk, //
    },
    nic::{
        ring::{
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

/// The moderation timer of a ring's interrupt.
type ModerationTimer = Pin<KBox<Timer<IrqTimer>>>;

/// A ring that is polled: on the wire, or off it with frames still in it.
pub(crate) struct RunningRing {
    ring: Arc<RxRing>,
    napi: Napi<RxPoll>,
    line: Arc<IrqLine>,
    /// The NIC's side, once the queue is off the wire.
    hw: Option<RxHw>,
    spare: Option<KBox<ParkedRing>>,
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
    spare: Option<KBox<ParkedRing>>,
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
    nic: NicEnd,
    timer: ModerationTimer,
    /// For a ring of umem: a ring of pages that replaces it when the AF_XDP sockets are closed, and
    /// then takes over its interrupt. The kernel closes them at any time, and that must not fail
    /// for lack of memory. Its NAPI is added to the device only then.
    spare: Option<KBox<ParkedRing>>,
}

/// Makes a descriptor ring.
fn descriptors<B>(size: u32) -> Result<Arc<DescRing<B>>> {
    let mut slots = KVVec::with_capacity(size as usize, MAY_FAIL)?;
    for _ in 0..size {
        slots.push(Slot::new(), MAY_FAIL)?;
    }
    Ok(Arc::new(Ring::new(slots).map_err(|_| EINVAL)?, GFP_KERNEL)?)
}

impl<'a> ReadyRing<'a> {
    /// Makes the descriptors of `ring`, and posts a buffer to each. If the queue has a pool of
    /// AF_XDP sockets, buffers are posted when the ring [starts](ConnectedRing::start): until then
    /// another ring may have the pool. Fails with `ENOMEM`.
    pub(crate) fn new(
        dev: &'a LockedDevice,
        config: RingConfig<'_>,
        ring: &Arc<RxRing>,
    ) -> Result<Self> {
        let Some(layout) = ring.xsk_layout() else {
            return Self::of_pages(dev, config, ring)?.with_irq();
        };
        let spare = KBox::new_uninit(GFP_KERNEL)?;
        let mut ready = Self::of_umem(dev, config, ring, layout)?.with_irq()?;
        match Self::of_pages(dev, config, ring) {
            Ok(pages) => ready.parts.spare = Some(KBox::write(spare, pages.park())),
            Err(error) => {
                ready.end(&mut Removed::with_room(1));
                return Err(error);
            }
        }
        Ok(ready)
    }

    /// Requests the interrupt of the queue for the ring. Fails with `ENOMEM`.
    fn with_irq(mut self) -> Result<Self> {
        match self.napi.set_irq(self.parts.ring.hw_queue.vector.clone()) {
            Ok(()) => Ok(self),
            Err(error) => {
                self.end(&mut Removed::with_room(1));
                Err(error)
            }
        }
    }

    /// A ring of pages, without an interrupt.
    fn of_pages(dev: &'a LockedDevice, config: RingConfig<'_>, ring: &Arc<RxRing>) -> Result<Self> {
        let descriptors = descriptors(config.size)?;
        let (nic, driver) = Ring::split(descriptors.clone()).ok_or(EINVAL)?;
        let line = IrqLine::new(
            &ring.hw_queue,
            RingRef::Pages(descriptors),
            driver.next_to_clean(),
        )?;
        let (mut napi, timer) = Self::napi(dev, ring, &line)?;
        let pool = PagePool::new(&napi, config.size)?;
        let queue = xdp::RxQueue::new(pool)?;
        let mut poll = RingPoll {
            descriptors: driver,
            memory: Pages(queue),
            common: Common::new(config, ring, &line),
        };
        let nic = NicEnd {
            ring: NicRing::Pages(nic),
            limits: PAGE_LIMITS,
        };
        let filled = napi.prepare(|setup| poll.post_all(setup));
        let poll = RxPoll::Pages(poll);
        if !filled {
            // Buffers first: destroying a page_pool that lacks buffers leaves it to a delayed work
            // (`page_pool_release_retry`).
            poll.end(nic.ring);
            return Err(ENOMEM);
        }
        Self::with_parts(napi, ring, line, poll, nic, timer)
    }

    /// A ring of umem, without an interrupt and without its spare.
    fn of_umem(
        dev: &'a LockedDevice,
        config: RingConfig<'_>,
        ring: &Arc<RxRing>,
        layout: xsk::Layout,
    ) -> Result<Self> {
        let descriptors = descriptors(config.size)?;
        let (nic, driver) = Ring::split(descriptors.clone()).ok_or(EINVAL)?;
        let line = IrqLine::new(
            &ring.hw_queue,
            RingRef::Umem(descriptors),
            driver.next_to_clean(),
        )?;
        let (napi, timer) = Self::napi(dev, ring, &line)?;
        let poll = RxPoll::Umem(RingPoll {
            descriptors: driver,
            memory: Umem {
                queue: xsk::RxQueue::new(&napi, layout)?,
                timer: IrqTimer::poll(&line, napi.napi_ref())?,
                refill_delay: 0,
            },
            common: Common::new(config, ring, &line),
        });
        let nic = NicEnd {
            ring: NicRing::Umem(nic),
            limits: limits(layout),
        };
        Self::with_parts(napi, ring, line, poll, nic, timer)
    }

    /// Makes the NAPI and the moderation timer of a ring.
    fn napi(
        dev: &'a LockedDevice,
        ring: &RxRing,
        line: &Arc<IrqLine>,
    ) -> Result<(Disabled<'a, RxPoll>, ModerationTimer)> {
        let napi = Disabled::new(dev, ring.index(), line.clone())?;
        let timer = IrqTimer::moderation(line, napi.napi_ref())?;
        Ok((napi, timer))
    }

    fn with_parts(
        napi: Disabled<'a, RxPoll>,
        ring: &Arc<RxRing>,
        line: Arc<IrqLine>,
        mut poll: RxPoll,
        nic: NicEnd,
        timer: ModerationTimer,
    ) -> Result<Self> {
        let room = match KBox::new_uninit(GFP_KERNEL) {
            Ok(room) => room,
            Err(_) => {
                poll.end(nic.ring);
                return Err(ENOMEM);
            }
        };
        poll.doorbell();
        Ok(Self {
            napi,
            parts: RingParts {
                ring: ring.clone(),
                line,
                poll: KBox::write(room, poll),
                nic,
                timer,
                spare: None,
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
            spare,
        } = parts;
        // A stopped ring runs again if the new one fails to start (`netdev_rx_queue_restart`).
        line.set_stopping(false);
        let common = poll.common();
        let max_frames = common.settings.coalesce.frames(common.size);
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
            spare,
        }
    }

    /// Frees the ring, and its NAPI by `removed`. Frames still in it are lost and counted.
    pub(crate) fn end(self, removed: &mut Removed) {
        let Self { napi, parts } = self;
        let RingParts {
            poll,
            nic,
            timer,
            spare,
            ..
        } = parts;
        if let Some(spare) = spare.and_then(|spare| KBox::into_inner(spare).resume(napi.device())) {
            spare.end(removed);
        }
        KBox::into_inner(poll).end(nic.ring);
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

impl<'a> ConnectedRing<'a> {
    /// Takes over the interrupt of a ring that is not polled any more, if this one has none: if it
    /// is the spare of that.
    pub(crate) fn take_irq(&mut self, old: &mut ReadyRing<'a>) {
        self.napi.take_irq(&mut old.napi);
    }

    /// Starts polling the ring.
    pub(crate) fn start(self) -> RunningRing {
        let Self {
            mut napi,
            ring,
            line,
            mut poll,
            spare,
        } = self;
        let peer = poll.common().peer.clone();
        napi.prepare(|setup| poll.prepare(setup));
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
            spare,
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

/// The limits that the buffers of a pool set to frames.
fn limits(layout: xsk::Layout) -> wire::RxLimits {
    wire::RxLimits {
        room: layout.frame_room,
        max_buffers: if layout.has_sg { MAX_BUFFERS as u32 } else { 1 },
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
    let mut removed = Removed::with_room(2 * rings.len());
    for ring in rings {
        if let Some(ring) = ring.halt(dev) {
            ring.end(&mut removed);
        }
    }
}

/// Frees rings that are not running.
pub(crate) fn end_ready(rings: KVec<ReadyRing<'_>>) {
    let mut removed = Removed::with_room(2 * rings.len());
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

    /// Takes out the spare ring; [`None`] if this is a ring of pages.
    pub(crate) fn take_spare<'a>(&mut self, dev: &'a LockedDevice) -> Option<ReadyRing<'a>> {
        KBox::into_inner(self.spare.take()?).resume(dev)
    }

    /// Ends polling a ring that is off the wire. A ring of umem puts its pool back into its slot,
    /// and its buffers into the pool.
    pub(crate) fn halt(self, dev: &LockedDevice) -> Option<ReadyRing<'_>> {
        let Self {
            ring,
            napi,
            line,
            hw,
            spare,
        } = self;
        let (mut nic, timer) = hw?.into_parts();
        let (napi, mut poll) = napi.stop(dev)?;
        poll.release(&mut nic.ring);
        let parts = RingParts {
            ring,
            line,
            poll,
            nic,
            timer,
            spare,
        };
        Some(ReadyRing { napi, parts })
    }
}
