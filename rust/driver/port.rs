// SPDX-License-Identifier: GPL-2.0

//! What a port and its peer both see: the end of the wire.
//!
//! A port's device may come and go while its peer sends to it. This part stays as long as either of
//! the two refers to it, and says at every moment which receive rings are there.

use super::{
    coalesce,
    ethtool,
    filter,
    link,
    rss,
    rx::{RxInlet, RxRing},
    stats::{ArrivalStats, TxQueueStats}, //
};
use crate::{
    net::{
        bh,
        device::{Device, DeviceSlot, Locked},
        rcu::{RcuArc, RcuBox},
        rtnl::Rtnl,
    },
    nic::{
        cache::{CacheAligned, LINE_LEN},
        filter::{Filter, NotForUs},
        rss::Hash,
        steering::Steering,
        wire::Frame,
    },
};
use core::{
    mem::offset_of,
    ops::Deref,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};
use kernel::{
    prelude::*,
    sync::{aref::ARef, rcu, Arc, ArcBorrow},
};

/// What a frame may be longer than the MTU: the Ethernet header and two VLAN tags.
pub(crate) const FRAME_OVERHEAD: u32 = 14 + 2 * 4;

/// The receive rings of a port: there is at least one.
pub(crate) struct Rings {
    first: Arc<RxRing>,
    all: KVec<Arc<RxRing>>,
}

impl Rings {
    fn new(all: KVec<Arc<RxRing>>) -> Result<Self> {
        let first = all.first().ok_or(EINVAL)?.clone();
        Ok(Self { first, all })
    }

    /// The ring of queue 0.
    #[inline]
    fn first(&self) -> &Arc<RxRing> {
        &self.first
    }
}

impl Deref for Rings {
    type Target = [Arc<RxRing>];

    #[inline]
    fn deref(&self) -> &[Arc<RxRing>] {
        &self.all
    }
}

/// Why a frame that arrives gets into no ring.
#[derive(Clone, Copy)]
pub(crate) enum Discard {
    /// The receive filter does not let it in.
    NotForUs(NotForUs),
    /// A steering rule says so.
    Rule,
}

/// The wire's end at a port. What senders read for each frame, such as `rings` and `steering`, is on other
/// cache lines than what is written while frames come.
pub(crate) struct Port {
    /// The receive rings, one for each queue that there can be.
    pub(crate) rings: Rings,
    /// How many of them are in use: the first ones. Written under RTNL and the instance lock of the device.
    queues: AtomicU32,
    /// Descriptors of each. Written under both, too.
    ring_size: AtomicU32,
    /// Counters of the transmit queues.
    pub(crate) tx: KVec<TxQueueStats>,
    /// What decides which frames are let in. Changed under RTNL.
    pub(super) filter: RcuBox<Filter>,
    /// What decides which of the rings a frame goes to. Changed under the instance lock of the device.
    pub(super) steering: RcuBox<Steering>,
    /// Whether the first ring is the answer, without a look at the registers.
    pub(super) single: AtomicBool,
    /// Frames that got into no ring.
    pub(crate) arrivals: CacheAligned<ArrivalStats>,
    /// Whether the interface is up; written under RTNL.
    up: AtomicBool,
    /// Message types that are printed.
    pub(crate) msg_enable: AtomicU32,
    /// Interrupt moderation.
    pub(super) coalesce: coalesce::Settings,
    /// What the wire is said to run at, in Mbit/s.
    pub(super) speed: AtomicU32,
    /// Whether the port stops sending when the peer is out of buffers.
    pub(crate) rx_pause: AtomicBool,
    /// Whether the port makes the peer stop sending when it is out of buffers.
    pub(crate) tx_pause: AtomicBool,
    /// By how much more often peers had to stop because of this port than the one that there is now had
    /// to stop at all. Written under RTNL.
    paused_before: AtomicU64,
    /// The device while it is registered.
    pub(super) dev: DeviceSlot,
}

const _: () = {
    assert!(offset_of!(Port, arrivals) % LINE_LEN == 0);
    assert!(size_of::<CacheAligned<ArrivalStats>>() % LINE_LEN == 0);
};

/// What is at the far end of a port's wire: the end of the port that it is joined with, or of the one that
/// it was joined with last, or of none. It is there in any case, and that of a port without a device is down.
///
/// Looked at for every frame, so nothing that is written may be beside it.
#[repr(align(64))]
pub(crate) struct Peer(RcuArc<Port>);

impl Peer {
    pub(super) fn new(port: Arc<Port>) -> Self {
        Self(RcuArc::new(port))
    }

    /// The far end, for as long as bottom halves stay off.
    #[inline]
    pub(crate) fn read<'a>(&'a self, bh: &'a bh::Disabled) -> ArcBorrow<'a, Port> {
        self.0.read(bh)
    }

    /// The far end. Process context.
    pub(crate) fn get(&self) -> Arc<Port> {
        self.0.get()
    }

    /// The device at the far end, if there is one. Any context, also with interrupts off.
    pub(super) fn device(&self) -> Option<ARef<Device>> {
        self.0.read_rcu(&rcu::read_lock()).device()
    }

    /// Joins a port whose far end is down with another.
    pub(super) fn exchange(&self, port: Arc<Port>, _rtnl: &Rtnl) {
        self.0.replace(port);
    }
}

impl Port {
    /// A port with `queues` queues and rings of `ring_size` descriptors, down and without a device.
    pub(crate) fn new(queues: u16, ring_size: u32) -> Result<Arc<Self>> {
        let mut rings = KVec::with_capacity(queues.into(), GFP_KERNEL)?;
        let mut tx = KVec::with_capacity(queues.into(), GFP_KERNEL)?;
        for index in 0..queues {
            rings.push(RxRing::new(index)?, GFP_KERNEL)?;
            tx.push(TxQueueStats::default(), GFP_KERNEL)?;
        }
        let filter = RcuBox::new(filter::everything()?);
        let steering = RcuBox::new(rss::default(queues.into())?);
        let rings = Rings::new(rings)?;
        let single = queues == 1;
        let port = Self {
            rings,
            queues: AtomicU32::new(queues.into()),
            ring_size: AtomicU32::new(ring_size),
            tx,
            single: AtomicBool::new(single),
            filter,
            steering,
            arrivals: CacheAligned::default(),
            up: AtomicBool::new(false),
            msg_enable: AtomicU32::new(ethtool::DEFAULT_MSG),
            coalesce: coalesce::Settings::new(),
            speed: AtomicU32::new(link::DEFAULT_SPEED),
            rx_pause: AtomicBool::new(true),
            tx_pause: AtomicBool::new(true),
            paused_before: AtomicU64::new(0),
            dev: DeviceSlot::new(),
        };
        Ok(Arc::new(port, GFP_KERNEL)?)
    }

    /// Which receive ring a frame goes to, and its hash; where there is only one ring no hash is computed
    /// for that. A frame that goes to none is to be [`discarded`](Self::discard).
    #[inline]
    pub(crate) fn steer(
        &self,
        frame: &impl Frame,
        bh: &bh::Disabled,
    ) -> Result<(&RxRing, Hash), Discard> {
        let filter = self.filter.read(bh);
        filter.check(frame).map_err(Discard::NotForUs)?;
        if self.single.load(Ordering::Relaxed) {
            return Ok((self.rings.first(), Hash::NONE));
        }
        let steering = self.steering.read(bh);
        let (queue, hash) = steering
            .queue(|| frame.head(), || frame.tag())
            .ok_or(Discard::Rule)?;
        let ring = self.rings.get(queue as usize).ok_or(Discard::Rule)?;
        Ok((ring, hash))
    }

    /// So many frames have come for which [`steer`](Self::steer) found no ring. Returns `false` if they
    /// have not, since the port is down.
    #[cold]
    pub(crate) fn discard(&self, why: Discard, frames: u64) -> bool {
        let up = self.is_up();
        if up {
            let counter = match why {
                Discard::NotForUs(NotForUs::Address) => &self.arrivals.mac_filter_drop,
                Discard::NotForUs(NotForUs::Vlan) => &self.arrivals.vlan_filter_drop,
                Discard::Rule => &self.arrivals.ntuple_drop,
            };
            counter.add(frames);
        }
        up
    }

    /// Whether a ring is chosen by a frame's hash.
    pub(crate) fn steers(&self) -> bool {
        !self.single.load(Ordering::Relaxed)
    }

    /// The hash of a frame that starts with `head`.
    #[inline]
    pub(crate) fn hash(&self, head: &[u8], bh: &bh::Disabled) -> Hash {
        self.steering.read(bh).hash(head)
    }

    /// How many queues are in use.
    #[inline]
    pub(crate) fn queues(&self) -> usize {
        self.queues.load(Ordering::Relaxed) as usize
    }

    /// Another number of queues is in use.
    pub(super) fn set_queues(&self, queues: u32, _dev: &Locked, _rtnl: &Rtnl) {
        self.queues.store(queues, Ordering::Relaxed);
    }

    /// Descriptors of a receive ring.
    pub(crate) fn ring_size(&self) -> u32 {
        self.ring_size.load(Ordering::Relaxed)
    }

    /// Rings are of another size from now on.
    pub(super) fn set_ring_size(&self, size: u32, _dev: &Locked, _rtnl: &Rtnl) {
        self.ring_size.store(size, Ordering::Relaxed);
    }

    /// The device while it is registered.
    pub(super) fn device(&self) -> Option<ARef<Device>> {
        self.dev.get()
    }

    /// Whether the interface is up.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Changes something about the receive unit of every ring that is up.
    pub(crate) fn set_inlets(&self, set: impl Fn(&mut RxInlet)) {
        let bh = bh::disable();
        for ring in self.rings.iter() {
            if let Some(inlet) = &mut *ring.inlet.lock(&bh) {
                set(inlet);
            }
        }
    }

    /// Whether `self`, out of buffers, makes `sender` wait instead of losing its frames.
    pub(crate) fn pauses(&self, sender: &Port) -> bool {
        self.tx_pause.load(Ordering::Relaxed) && sender.rx_pause.load(Ordering::Relaxed)
    }

    /// Lets transmit queues of this port go on that waited for the peer's buffers.
    pub(crate) fn wake(&self, queues: impl Iterator<Item = u32>, bh: &bh::Disabled) {
        let mut queues = queues.peekable();
        // Mostly nobody waits.
        if queues.peek().is_none() {
            return;
        }
        let Some(dev) = self.dev.read(bh) else { return };
        for queue in queues {
            if let Some(stats) = self.tx.get(queue as usize) {
                if dev.wake_tx_queue(queue as u16) {
                    stats.wake.woken.add(1);
                }
            }
        }
    }

    /// Lets all queues of this port go on that wait for `peer`, to find out anew whether they must.
    pub(crate) fn wake_all(&self, peer: &Port) {
        let bh = bh::disable();
        for ring in peer.rings.iter() {
            self.wake(ring.waiters.take_all(), &bh);
        }
    }

    /// How often the transmit queues have stopped for want of buffers at the peer.
    pub(crate) fn times_stopped(&self) -> u64 {
        self.tx.iter().map(|queue| queue.stack.stopped.get()).sum()
    }

    /// How often `peer`, and those that were joined with this port before, had to stop because it was out
    /// of buffers.
    pub(crate) fn times_paused(&self, peer: &Port) -> u64 {
        let before = self.paused_before.load(Ordering::Relaxed);
        before.wrapping_add(peer.times_stopped())
    }

    /// The port is joined with `peer`, and so many times others had to stop before.
    pub(super) fn count_pauses(&self, before: u64, peer: &Port) {
        let before = before.wrapping_sub(peer.times_stopped());
        self.paused_before.store(before, Ordering::Relaxed);
    }

    /// The interface of this port, whose device is `dev`, went up or down: both ends get or lose
    /// their carrier.
    pub(crate) fn set_up(&self, up: bool, dev: &Device, peer: &Port, _rtnl: &Rtnl) {
        self.up.store(up, Ordering::Relaxed);
        let link = up && peer.up.load(Ordering::Relaxed);
        let set_carrier = |dev: &Device| {
            if link {
                dev.carrier_on();
            } else {
                dev.carrier_off();
            }
        };
        set_carrier(dev);
        if let Some(dev) = peer.device() {
            set_carrier(&dev);
        }
    }
}
