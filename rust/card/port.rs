// SPDX-License-Identifier: GPL-2.0

//! A port of the card: its queues, its registers, and its end of the wire.
//!
//! The device of a port may be removed while its peer sends to it. So the port itself is freed only
//! when neither device refers to it any more. Until then a sender finds in it which queues run.

use super::{
    rx::{
        RxHw,
        RxHwQueue, //
    },
    stats::PauseStats,
    steering::{
        Discard,
        RxSteering, //
    },
};
use crate::{
    net::{
        bh,
        device::{
            Device,
            DeviceRef,
            DeviceSlot,
            LockedDevice, //
        },
        rcu::RcuArc,
        rtnl::Rtnl, //
    },
    nic::{
        cache::CacheAligned,
        filter::Filter,
        rss::Hash,
        wire::TxFrame, //
    },
};
use core::{
    ops::Deref,
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        AtomicU64,
        Ordering, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc,
        ArcBorrow, //
    },
};

/// The speed that a wire reports until the user sets another, in Mbit/s.
const DEFAULT_SPEED: u32 = 10_000;

/// The receive queues of a port, at least one.
pub(crate) struct RxHwQueues {
    first: Arc<RxHwQueue>,
    all: KVec<Arc<RxHwQueue>>,
}

impl RxHwQueues {
    fn new(all: KVec<Arc<RxHwQueue>>) -> Result<Self> {
        let first = all.first().ok_or(EINVAL)?.clone();
        Ok(Self { first, all })
    }
}

impl Deref for RxHwQueues {
    type Target = [Arc<RxHwQueue>];

    #[inline]
    fn deref(&self) -> &[Arc<RxHwQueue>] {
        &self.all
    }
}

/// A port of the card. Senders read `rx_queues` and `steering` for each frame: these share no cache
/// line with fields that are written while frames arrive.
pub(crate) struct Port {
    /// All receive queues, in use or not.
    pub(crate) rx_queues: RxHwQueues,
    /// How many of them are in use, counted from the first. Written under RTNL and the instance
    /// lock of the device.
    queues: AtomicU32,
    /// Descriptors of each ring. Written under the same locks.
    ring_size: AtomicU32,
    /// Which receive queue a frame goes to.
    pub(crate) steering: RxSteering,
    /// How often the peer paused each transmit queue.
    pub(crate) tx_pauses: KVec<CacheAligned<PauseStats>>,
    /// Whether the port stops sending when the peer is out of buffers.
    pub(crate) rx_pause: AtomicBool,
    /// Whether the port, out of buffers, makes the peer stop sending.
    pub(crate) tx_pause: AtomicBool,
    /// Pause events caused by earlier peers, less what the current peer had counted when joined.
    /// Written under RTNL.
    pub(super) paused_before: AtomicU64,
    /// The speed that the wire reports, in Mbit/s.
    pub(crate) speed: AtomicU32,
    /// Whether the interface is up; written under RTNL.
    pub(super) up: AtomicBool,
    /// Whether the card has lost the link, and it is not back yet.
    pub(super) link_lost: AtomicBool,
    /// The device while it is registered.
    pub(crate) dev: DeviceSlot,
}

impl Port {
    /// A port with `queues` queues and rings of `ring_size` descriptors, down and without a device.
    pub(crate) fn new(queues: u16, ring_size: u32) -> Result<Arc<Self>> {
        let mut rx_queues = KVec::with_capacity(queues.into(), GFP_KERNEL)?;
        let mut tx_pauses = KVec::with_capacity(queues.into(), GFP_KERNEL)?;
        for index in 0..queues {
            rx_queues.push(RxHwQueue::new(index)?, GFP_KERNEL)?;
            tx_pauses.push(CacheAligned::default(), GFP_KERNEL)?;
        }
        let port = Self {
            rx_queues: RxHwQueues::new(rx_queues)?,
            queues: AtomicU32::new(queues.into()),
            ring_size: AtomicU32::new(ring_size),
            steering: RxSteering::new(queues.into())?,
            tx_pauses,
            rx_pause: AtomicBool::new(true),
            tx_pause: AtomicBool::new(true),
            paused_before: AtomicU64::new(0),
            speed: AtomicU32::new(DEFAULT_SPEED),
            up: AtomicBool::new(false),
            link_lost: AtomicBool::new(false),
            dev: DeviceSlot::new(),
        };
        Ok(Arc::new(port, GFP_KERNEL)?)
    }

    /// The receive queue of a frame, and the hash that chose it; none is computed for a single
    /// queue. On failure the caller has to [`discard`](Self::discard) the frame.
    #[inline]
    pub(crate) fn steer<'a>(
        &'a self,
        frame: &impl TxFrame,
        bh: &'a bh::Disabled,
    ) -> Result<(&'a RxHwQueue, Hash), Discard> {
        self.steering_now(bh).steer(frame)
    }

    /// What [`steer`](Self::steer) reads of this port, for several frames.
    #[inline]
    pub(super) fn steering_now<'a>(&'a self, bh: &'a bh::Disabled) -> SteeringNow<'a> {
        let (filter, single_queue) = self.steering.now(bh);
        SteeringNow {
            filter,
            single_queue,
            first: &self.rx_queues.first,
            port: self,
            bh,
        }
    }

    /// Counts frames for which [`steer`](Self::steer) failed. If the port is down it counts nothing
    /// and returns `false`.
    #[cold]
    pub(crate) fn discard(&self, why: Discard, frames: u64) -> bool {
        let up = self.is_up();
        if up {
            self.steering.count(why, frames);
        }
        up
    }

    /// The hash of a frame. A function of its own: inlined where a frame is written, it took
    /// registers from the frames that need no hash.
    #[inline(never)]
    pub(crate) fn hash(&self, frame: &impl TxFrame, bh: &bh::Disabled) -> Hash {
        self.steering.read(bh).hash(&frame.head())
    }

    /// Calls `change` for every running receive queue, under its wire lock.
    pub(crate) fn for_each_running(&self, change: impl Fn(&mut RxHw)) {
        let bh = bh::disable();
        for queue in self.rx_queues.iter() {
            queue.if_running(&bh, &change);
        }
    }

    /// How many queues are in use.
    #[inline]
    pub(crate) fn queues(&self) -> usize {
        self.queues.load(Ordering::Relaxed) as usize
    }

    /// Sets how many queues are in use.
    pub(crate) fn set_queues(&self, queues: u32, _dev: &LockedDevice, _rtnl: &Rtnl) {
        self.queues.store(queues, Ordering::Relaxed);
    }

    /// Descriptors of a receive ring.
    pub(crate) fn ring_size(&self) -> u32 {
        self.ring_size.load(Ordering::Relaxed)
    }

    /// Sets how many descriptors a receive ring has.
    pub(crate) fn set_ring_size(&self, size: u32, _dev: &LockedDevice, _rtnl: &Rtnl) {
        self.ring_size.store(size, Ordering::Relaxed);
    }

    /// The device while it is registered.
    pub(crate) fn device(&self) -> Option<DeviceRef> {
        self.dev.get()
    }

    /// Whether the interface is up.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// The interface of `dev`, the device of this port, went up or down: sets the carrier at both
    /// ends. A card that is down has no link to wait for.
    pub(crate) fn set_up(&self, up: bool, dev: &Device, peer: &Port, _rtnl: &Rtnl) {
        self.up.store(up, Ordering::SeqCst);
        if !up {
            self.regain_link(peer, &bh::disable());
        }
        self.set_carrier(Some(dev), peer);
    }
}

/// How a port steers the next frames of a sender.
pub(super) struct SteeringNow<'a> {
    filter: &'a Filter,
    /// Whether all frames go to the first queue.
    single_queue: bool,
    first: &'a RxHwQueue,
    pub(super) port: &'a Port,
    pub(super) bh: &'a bh::Disabled,
}

impl<'a> SteeringNow<'a> {
    /// The queue that all frames go to, if there is only one, and the receive filter.
    #[inline]
    pub(super) fn single_queue(&self) -> Option<(&'a RxHwQueue, &'a Filter)> {
        self.single_queue.then_some((self.first, self.filter))
    }

    /// See [`Port::steer`].
    #[inline(always)]
    pub(super) fn steer(&self, frame: &impl TxFrame) -> Result<(&'a RxHwQueue, Hash), Discard> {
        self.filter.check(frame).map_err(Discard::NotForUs)?;
        if self.single_queue {
            return Ok((self.first, Hash::NONE));
        }
        let steered = self
            .port
            .steering
            .read(self.bh)
            .queue(|| frame.head(), || frame.tag());
        let (queue, hash) = steered.ok_or(Discard::Rule)?;
        let queue = self.port.rx_queues.get(queue as usize);
        Ok((queue.ok_or(Discard::Rule)?, hash))
    }
}

/// The other end of the wire: the port that this one is joined with, or was last, or a port that
/// never had a device. Always present; without a device it is down. On its own cache line, read per
/// frame.
#[repr(align(64))]
pub(crate) struct Peer(RcuArc<Port>);

impl Peer {
    pub(crate) fn new(port: Arc<Port>) -> Self {
        Self(RcuArc::new(port))
    }

    /// The other end, for as long as bottom halves stay off.
    #[inline]
    pub(crate) fn read<'a>(&'a self, bh: &'a bh::Disabled) -> ArcBorrow<'a, Port> {
        self.0.read(bh)
    }

    /// The other end. Process context.
    pub(crate) fn get(&self) -> Arc<Port> {
        self.0.get()
    }

    /// The device at the other end, if there is one. Any context, also with interrupts off.
    pub(crate) fn device(&self) -> Option<DeviceRef> {
        self.0.read_rcu(&rcu::read_lock()).device()
    }

    /// Joins this end with another port. The port it was joined with has no device any more.
    pub(crate) fn exchange(&self, port: Arc<Port>, _rtnl: &Rtnl) {
        self.0.replace(port);
    }
}
