// SPDX-License-Identifier: GPL-2.0

//! Which receive queue a frame goes to, and which frames are discarded: the receive filter, RSS and
//! the steering rules.
//!
//! A change replaces all registers by a changed copy (RCU), so a frame sees either the old or the
//! new ones, never a mixture. See [`Filter`] and [`Steering`].

use super::stats::ArrivalStats;
use crate::{
    net::{
        bh,
        device,
        gfp::MAY_FAIL,
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
        rss::Indirection,
        steering::{
            Input,
            RssContext,
            Steering,
            MAIN, //
        },
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
    alloc::KVBox,
    prelude::*, //
};

/// Why a frame that arrives is discarded.
#[derive(Clone, Copy)]
pub(crate) enum Discard {
    /// The receive filter rejects it.
    NotForUs(NotForUs),
    /// A steering rule says so.
    Rule,
}

/// The filter and the steering registers of a port, read for each frame that arrives.
pub(crate) struct RxSteering {
    /// Which frames are accepted. Changed under RTNL.
    filter: RcuBox<Filter>,
    /// Which queue a frame goes to. Changed under the device's instance lock.
    registers: RcuBox<Steering>,
    /// Whether all frames go to queue 0: the registers need not be read.
    single_queue: AtomicBool,
    /// Frames that were discarded. On cache lines of their own.
    pub(crate) arrivals: CacheAligned<ArrivalStats>,
}

const _: () = {
    assert!(offset_of!(RxSteering, arrivals) % LINE_LEN == 0);
    assert!(size_of::<CacheAligned<ArrivalStats>>() % LINE_LEN == 0);
};

impl RxSteering {
    /// For a port with this many queues. Every frame is accepted; RSS uses all queues equally and
    /// the system's key. Fails with `ENOMEM`.
    pub(super) fn new(queues: u32) -> Result<Self> {
        let mut steering = KVBox::init(pin_init::init_zeroed::<Steering>(), MAY_FAIL)?;
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

    /// What a sender may read once for several frames: the filter, and whether all frames go to
    /// queue 0. A change waits until no sender uses what was before.
    #[inline]
    pub(super) fn now<'a>(&'a self, bh: &'a bh::Disabled) -> (&'a Filter, bool) {
        let filter = self.filter.read(bh);
        (filter, self.single_queue.load(Ordering::Relaxed))
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

    /// Whether steering computes the hash of each frame.
    pub(crate) fn uses_rss(&self) -> bool {
        !self.single_queue.load(Ordering::Relaxed)
    }

    /// The current steering registers.
    #[inline]
    pub(crate) fn read<'a>(&'a self, bh: &'a bh::Disabled) -> &'a Steering {
        self.registers.read(bh)
    }

    /// The settings of an RSS context. Fails with `ENOENT` if it does not exist.
    pub(crate) fn rss_context(&self, number: u32) -> Result<RssContext> {
        let context = self.registers.read(&bh::disable()).context(number);
        context.ok_or(ENOENT)
    }

    /// A copy of the steering registers, for a change. Fails with `ENOMEM`.
    pub(crate) fn copy(&self) -> Result<KVBox<Steering>> {
        let mut copy = KVBox::init(pin_init::init_zeroed::<Steering>(), MAY_FAIL)?;
        copy.copy_from(self.registers.read(&bh::disable()));
        Ok(copy)
    }

    /// Replaces the steering registers. On return no frame is steered by the old ones any more. May
    /// sleep.
    pub(crate) fn replace(&self, steering: KVBox<Steering>) {
        let single_queue = steering.is_single_queue();
        if !single_queue {
            // The registers are read from now on, old or new.
            self.single_queue.store(false, Ordering::Relaxed);
        }
        // This waits for those who steer at the moment.
        self.registers.replace(steering);
        self.single_queue.store(single_queue, Ordering::Relaxed);
    }

    /// Changes the receive filter, and returns the result of `change`. Fails with `ENOMEM`, and
    /// changes nothing then. May sleep.
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
    KVBox::init(pin_init::init_zeroed::<Filter>(), MAY_FAIL)
}
