// SPDX-License-Identifier: GPL-2.0

//! Which receive queue a frame goes to, and which frames are discarded: the receive filter, RSS and the
//! steering rules.
//!
//! Every change makes new registers and exchanges them: a frame sees the old ones or the new ones, see
//! [`Filter`] and [`Steering`].

use super::stats::ArrivalStats;
use crate::{
    net::{
        bh,
        device,
        rcu::RcuBox,
        rtnl::Rtnl, //
    },
    nic::{
        cache::{
            CacheAligned,
            LINE_LEN, //
        },
        filter::{
            Filter,
            NotForUs, //
        },
        rss::{
            Hash,
            Indirection, //
        },
        steering::{
            Input,
            RssContext,
            Steering,
            MAIN, //
        },
        wire::TxFrame,
    },
};
use core::{
    mem::offset_of,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};
use kernel::{
    alloc::{
        flags::__GFP_NOWARN,
        Flags,
        KVBox, //
    },
    prelude::*,
};

/// GFP flags for multi-page allocations: no failure dump in the log, the caller reports `ENOMEM`.
pub(crate) fn gfp_nowarn() -> Flags {
    GFP_KERNEL | __GFP_NOWARN
}

/// Why a frame that arrives is discarded.
#[derive(Clone, Copy)]
pub(crate) enum Discard {
    /// The receive filter rejects it.
    NotForUs(NotForUs),
    /// A steering rule says so.
    Rule,
}

/// What a frame meets at a port before it reaches a receive queue. The registers are read for each
/// frame and changed under the locks named.
pub(crate) struct RxSteering {
    /// Which frames are accepted. Changed under RTNL.
    filter: RcuBox<Filter>,
    /// Which queue a frame goes to. Changed under the instance lock of the device.
    registers: RcuBox<Steering>,
    /// Whether that is queue 0 for all frames: the registers need not be read.
    single_queue: AtomicBool,
    /// Frames that were discarded; on cache lines of their own.
    pub(crate) arrivals: CacheAligned<ArrivalStats>,
}

const _: () = {
    assert!(offset_of!(RxSteering, arrivals) % LINE_LEN == 0);
    assert!(size_of::<CacheAligned<ArrivalStats>>() % LINE_LEN == 0);
};

impl RxSteering {
    /// For a port with this many queues: every frame is accepted, and RSS spreads evenly with the
    /// system's key. Fails with `ENOMEM`.
    pub(super) fn new(queues: u32) -> Result<Self> {
        let mut steering = KVBox::init(pin_init::init_zeroed::<Steering>(), gfp_nowarn())?;
        let context = RssContext {
            key: device::rss_key(),
            input: Input::DEFAULT,
            table: Indirection::new(queues),
        };
        steering.set_queues(queues);
        if !steering.set_context(MAIN, Some(&context)) {
            return Err(EINVAL);
        }
        Ok(Self {
            filter: RcuBox::new(accept_all()?),
            single_queue: AtomicBool::new(steering.is_single_queue()),
            registers: RcuBox::new(steering),
            arrivals: CacheAligned::default(),
        })
    }

    /// The queue that a frame goes to and its hash; [`None`] stands for queue 0 without a hash, which is
    /// not computed if there is only one queue.
    #[inline]
    pub(super) fn steer(
        &self,
        frame: &impl TxFrame,
        bh: &bh::Disabled,
    ) -> Result<Option<(u32, Hash)>, Discard> {
        let filter = self.filter.read(bh);
        filter.check(frame).map_err(Discard::NotForUs)?;
        if self.single_queue.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let steering = self.registers.read(bh);
        steering
            .queue(|| frame.head(), || frame.tag())
            .map(Some)
            .ok_or(Discard::Rule)
    }

    /// Counts frames that were discarded.
    pub(super) fn count(&self, why: Discard, frames: u64) {
        let counter = match why {
            Discard::NotForUs(NotForUs::Address) => &self.arrivals.mac_filter_drop,
            Discard::NotForUs(NotForUs::Vlan) => &self.arrivals.vlan_filter_drop,
            Discard::Rule => &self.arrivals.ntuple_drop,
        };
        counter.add(frames);
    }

    /// Whether a frame's hash chooses its queue.
    pub(crate) fn uses_rss(&self) -> bool {
        !self.single_queue.load(Ordering::Relaxed)
    }

    /// The steering registers as they are.
    #[inline]
    pub(crate) fn read<'a>(&'a self, bh: &'a bh::Disabled) -> &'a Steering {
        self.registers.read(bh)
    }

    /// The settings of an RSS context. Fails with `ENOENT` if there is none of this number.
    pub(crate) fn rss_context(&self, number: u32) -> Result<RssContext> {
        let context = self.registers.read(&bh::disable()).context(number);
        context.ok_or(ENOENT)
    }

    /// A copy of the steering registers, to be changed. Fails with `ENOMEM`.
    pub(crate) fn copy(&self) -> Result<KVBox<Steering>> {
        let mut copy = KVBox::init(pin_init::init_zeroed::<Steering>(), gfp_nowarn())?;
        copy.copy_from(self.registers.read(&bh::disable()));
        Ok(copy)
    }

    /// Exchanges the steering registers. Frames that are steered by the old ones go to a queue that is
    /// still there.
    pub(crate) fn replace(&self, steering: KVBox<Steering>) {
        let single_queue = steering.is_single_queue();
        self.registers.replace(steering);
        self.single_queue.store(single_queue, Ordering::Relaxed);
    }

    /// Changes the receive filter and returns what `change` does. Fails with `ENOMEM`; nothing has
    /// changed then.
    pub(crate) fn change_filter<R>(
        &self,
        _rtnl: &Rtnl,
        change: impl FnOnce(&mut Filter) -> R,
    ) -> Result<R> {
        let mut filter = accept_all()?;
        filter.clone_from(self.filter.read(&bh::disable()));
        let result = change(&mut filter);
        if *filter != *self.filter.read(&bh::disable()) {
            self.filter.replace(filter);
        }
        Ok(result)
    }
}

/// A filter that accepts every frame. Fails with `ENOMEM`.
fn accept_all() -> Result<KVBox<Filter>> {
    KVBox::init(pin_init::init_zeroed::<Filter>(), gfp_nowarn())
}
