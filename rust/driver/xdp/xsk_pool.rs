// SPDX-License-Identifier: GPL-2.0

//! AF_XDP zero-copy: a queue gets the umem of sockets, and pages again (`XDP_SETUP_XSK_POOL`); user
//! space wakes the queue's poll (`ndo_xsk_wakeup`).
//!
//! The kernel gives a queue a pool when a socket is bound (`xp_assign_dev`), and takes it back when
//! the last one is closed (`xp_disable_drv_zc`, both in net/xdp/xsk_buff_pool.c). The latter
//! happens at any time, also when the interface is down, and must not fail. So a ring of umem has a
//! spare ring of pages, which then replaces it.
//!
//! A pool has one owner at a time: the queue's ring while it is polled, otherwise the slot of the
//! queue ([`XskSlot`](crate::driver::rx::ring::XskSlot)), from which the next ring takes it. So
//! rings can be replaced while sockets are bound, as they can without.
//!
//! A frame for a socket without `XDP_USE_SG` must fit into a single buffer. The kernel checks the
//! MTU only when the socket is bound, and it may be raised later: frames that do not fit are then
//! lost and counted (`oversize`).

use crate::{
    compat::ENETDOWN,
    driver::{
        rx::{
            life::{
                drain,
                quiesce,
                ReadyRing,
                RunningRing, //
            },
            ring::RxRing, //
        },
        trace::Trace,
        vsi::Vsi, //
    },
    net::{
        bh,
        device::LockedDevice,
        napi::Removed,
        rtnl::Rtnl,
        xsk::Pool, //
    },
    netdev_info,
};
use core::{
    slice,
    sync::atomic::Ordering, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Vsi {
    /// `XDP_SETUP_XSK_POOL`. Never fails if `pool` is [`None`].
    pub(super) fn setup_xsk_pool(
        &self,
        dev: &LockedDevice,
        queue: u16,
        pool: Option<Pool>,
        rtnl: &Rtnl,
    ) -> Result {
        let trace = Trace::new(dev, &self.settings);
        trace.setup_xsk_pool(queue, pool.as_ref());
        let attach = pool.is_some();
        let Some(ring) = self.rx_rings.get(usize::from(queue)) else {
            // Not reached: the kernel names only queues that exist.
            pool.into_iter().for_each(|pool| pool.unmap(rtnl));
            return Err(EINVAL);
        };
        match pool {
            Some(pool) => self.attach_pool(dev, ring, pool, rtnl)?,
            None => self.detach_pool(dev, ring, rtnl),
        }
        trace.xsk_pool(queue, attach);
        Ok(())
    }

    /// Gives a queue a pool, for its next ring. If the queue runs, that replaces the ring now.
    fn attach_pool(
        &self,
        dev: &LockedDevice,
        ring: &Arc<RxRing>,
        pool: Pool,
        rtnl: &Rtnl,
    ) -> Result {
        let old = ring.set_xsk(Some(pool));
        // Not reached: a queue has one pool.
        old.into_iter().for_each(|pool| pool.unmap(rtnl));
        if !self.port.is_up() {
            return Ok(());
        }
        let config = self.ring_config(self.port.ring_size());
        match ReadyRing::new(dev, config, ring) {
            Ok(new) => {
                self.exchange_ring(dev, ring, |_| Some(new));
                Ok(())
            }
            Err(error) => {
                // bind() has no extack.
                netdev_info!(
                    dev,
                    "AF_XDP, queue {}: no memory for a ring of {} descriptors\n",
                    ring.index(),
                    config.size
                );
                let pool = ring.set_xsk(None);
                pool.into_iter().for_each(|pool| pool.unmap(rtnl));
                Err(error)
            }
        }
    }

    /// Takes the pool from a queue. If the queue runs, its spare ring of pages replaces the ring.
    fn detach_pool(&self, dev: &LockedDevice, ring: &RxRing, rtnl: &Rtnl) {
        self.exchange_ring(dev, ring, |old| old.take_spare(dev));
        ring.abort_xsk();
        let pool = ring.set_xsk(None);
        pool.into_iter().for_each(|pool| pool.unmap(rtnl));
    }

    /// Replaces the ring of a queue, if the queue runs, by the one that `successor` returns. The
    /// frames in the old ring are not lost: they are polled first. Meanwhile a new ring of umem has
    /// no buffers.
    fn exchange_ring<'a>(
        &self,
        dev: &'a LockedDevice,
        ring: &RxRing,
        successor: impl FnOnce(&mut RunningRing) -> Option<ReadyRing<'a>>,
    ) {
        let index = usize::from(ring.index());
        let mut running = self.running.lock();
        let Ok(mut old) = running.remove(index) else {
            return;
        };
        let Some(new) = successor(&mut old) else {
            // Not reached: a ring of umem has a spare.
            let _ = running.insert_within_capacity(index, old);
            return;
        };
        let mut new = new.connect(Some(&mut old), self.rx_config(dev));
        drain(slice::from_ref(&old));
        quiesce(slice::from_ref(&old));
        let mut old = old.halt(dev);
        if let Some(old) = &mut old {
            new.take_irq(old);
        }
        // It fits: a ring was removed.
        let _ = running.insert_within_capacity(index, new.start());
        drop(running);
        if let Some(old) = old {
            old.end(&mut Removed::with_room(2));
        }
    }

    /// `ndo_xsk_wakeup`: schedules the poll of a queue, which refills the ring and sends.
    pub(crate) fn wake_xsk(&self, queue: u16, bh: &bh::Disabled) -> Result {
        let ring = self.rx_rings.get(usize::from(queue)).ok_or(EINVAL)?;
        if !ring.has_xsk.load(Ordering::Relaxed) {
            return Err(EINVAL);
        }
        if !ring.hw_queue.raise(bh) {
            return Err(ENETDOWN);
        }
        Ok(())
    }
}
