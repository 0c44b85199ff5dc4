// SPDX-License-Identifier: GPL-2.0

//! A port of the card: its queues, its registers, and its end of the wire.
//!
//! A port's device may come and go while its peer sends to it. The port stays as long as either of the
//! two refers to it, and says at every moment which receive queues run.

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
        rtnl::Rtnl,
    },
    nic::{
        cache::CacheAligned,
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

/// What a wire is said to run at, in Mbit/s, unless the user says otherwise.
const DEFAULT_SPEED: u32 = 10_000;

/// The receive queues of a port: there is at least one.
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

/// A port of the card. What senders read for each frame, such as `rx_queues` and `steering`, is on other
/// cache lines than what is written while frames come.
pub(crate) struct Port {
    /// The receive queues, as many as there can be.
    pub(crate) rx_queues: RxHwQueues,
    /// How many of them are in use: the first ones. Written under RTNL and the instance lock of the device.
    queues: AtomicU32,
    /// Descriptors of each ring. Written under both, too.
    ring_size: AtomicU32,
    /// Which receive queue a frame goes to.
    pub(crate) steering: RxSteering,
    /// How the transmit queues are paused by the peer.
    pub(crate) tx_pauses: KVec<CacheAligned<PauseStats>>,
    /// Whether the port stops sending when the peer is out of buffers.
    pub(crate) rx_pause: AtomicBool,
    /// Whether the port makes the peer stop sending when it is out of buffers.
    pub(crate) tx_pause: AtomicBool,
    /// Pause events caused by earlier peers, less what the current peer had counted when joined. Written
    /// under RTNL.
    pub(super) paused_before: AtomicU64,
    /// What the wire is said to run at, in Mbit/s.
    pub(crate) speed: AtomicU32,
    /// Whether the interface is up; written under RTNL.
    up: AtomicBool,
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
            dev: DeviceSlot::new(),
        };
        Ok(Arc::new(port, GFP_KERNEL)?)
    }

    /// Which receive queue a frame goes to, and its hash; with a single queue no hash is computed for
    /// that. A frame that goes to none is to be [`discarded`](Self::discard).
    #[inline]
    pub(crate) fn steer(
        &self,
        frame: &impl TxFrame,
        bh: &bh::Disabled,
    ) -> Result<(&RxHwQueue, Hash), Discard> {
        match self.steering.steer(frame, bh)? {
            None => Ok((&self.rx_queues.first, Hash::NONE)),
            Some((queue, hash)) => {
                let queue = self.rx_queues.get(queue as usize).ok_or(Discard::Rule)?;
                Ok((queue, hash))
            }
        }
    }

    /// Counts frames for which [`steer`](Self::steer) found no queue. Returns `false`, and counts
    /// nothing, if the port is down.
    #[cold]
    pub(crate) fn discard(&self, why: Discard, frames: u64) -> bool {
        let up = self.is_up();
        if up {
            self.steering.count(why, frames);
        }
        up
    }

    /// The hash of a frame that starts with `head`.
    #[inline]
    pub(crate) fn hash(&self, head: &[u8], bh: &bh::Disabled) -> Hash {
        self.steering.read(bh).hash(head)
    }

    /// Calls `change` for every receive queue that runs.
    pub(crate) fn for_each_running(&self, change: impl Fn(&mut RxHw)) {
        let bh = bh::disable();
        for queue in self.rx_queues.iter() {
            if let Some(hw) = &mut *queue.hw.lock(&bh) {
                change(hw);
            }
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

/// The other end of the wire: the port that this one is joined with, or was last, or one that never had
/// a device. Always present; without a device it is down. On its own cache line, read per frame.
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

    /// Joins a port whose other end is down with another.
    pub(crate) fn exchange(&self, port: Arc<Port>, _rtnl: &Rtnl) {
        self.0.replace(port);
    }
}
