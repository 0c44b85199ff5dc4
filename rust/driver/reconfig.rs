// SPDX-License-Identifier: GPL-2.0

//! Changes the size of the rings (`ethtool -G`) and their number (`ethtool -L`), also while frames
//! arrive.
//!
//! First comes all that can fail: the new rings are allocated and filled next to the old ones. The
//! exchange cannot fail. To lose no frame, a new ring is connected to the wire in place of the old
//! one, which is polled until it is empty. All old rings are waited for together.

use super::{
    params::{
        RING_SIZES,
        RING_SIZES_TEXT, //
    },
    rx::{
        life::{
            drain,
            end_all,
            end_ready,
            quiesce,
            ConnectedRing,
            ReadyRing,
            RunningRing, //
        },
        ring::RingConfig,
    },
    vsi::{
        max_segments,
        Vsi, //
    },
};
use crate::{
    card::rx::RxMetadata,
    net::{
        device::{
            is_rss_configured,
            Device,
            LockedDevice, //
        },
        ethtool::RingParam,
        rtnl::{
            ExtAck,
            Rtnl, //
        },
    },
    netdev_info,
    nic::{
        rss::Indirection,
        steering::{
            Steering,
            MAIN, //
        },
        wire::RxConfig, //
    },
};
use core::{
    ops::Range,
    sync::atomic::Ordering, //
};
use kernel::{
    alloc::KVBox,
    prelude::*, //
};

/// Rings that are to replace the running ones, and room for what that takes: it cannot fail.
pub(crate) struct NewRings<'a> {
    ready: KVec<ReadyRing<'a>>,
    connected: KVec<ConnectedRing<'a>>,
    running: KVec<RunningRing>,
    halted: KVec<ReadyRing<'a>>,
}

impl Vsi {
    /// Allocates and fills the rings `which`, with `size` descriptors each. Fails with `ENOMEM`,
    /// and frees all of them then.
    pub(crate) fn ready_rings<'a>(
        &self,
        dev: &'a LockedDevice,
        which: Range<usize>,
        size: u32,
    ) -> Result<KVec<ReadyRing<'a>>> {
        let rings = self.rx_rings.get(which).ok_or(EINVAL)?;
        let mut ready = KVec::with_capacity(rings.len(), GFP_KERNEL)?;
        for ring in rings {
            match ReadyRing::new(dev, self.ring_config(size), ring) {
                // It fits: allocated above.
                Ok(ring) => drop(ready.push_within_capacity(ring)),
                Err(error) => {
                    end_ready(ready);
                    return Err(error);
                }
            }
        }
        Ok(ready)
    }

    /// The parameters of rings of this size.
    pub(crate) fn ring_config(&self, size: u32) -> RingConfig<'_> {
        RingConfig {
            settings: &self.settings,
            port: &self.port,
            peer: &self.peer,
            size,
        }
    }

    /// The configuration of every receive queue, and the metadata of its frames.
    pub(crate) fn rx_config(&self, dev: &Device) -> (RxConfig, RxMetadata) {
        let prog = self.xdp_prog.get();
        (
            Self::config_for(dev.mtu(), dev.features()),
            self.rx_metadata(prog.as_deref(), dev.features()),
        )
    }

    /// Changes the sizes of all receive rings, and of the transmit rings of AF_XDP. The latter are
    /// only limits, so nothing is exchanged for them.
    pub(crate) fn change_ring_sizes(
        &self,
        dev: &LockedDevice,
        rings: RingParam,
        extack: ExtAck<'_>,
        rtnl: &Rtnl,
    ) -> Result {
        for (name, size) in [("rx", rings.rx), ("tx", rings.tx)] {
            if !RING_SIZES.contains(&size) || !size.is_power_of_two() {
                extack.set(fmt!("{name}: must be {RING_SIZES_TEXT}"));
                return Err(EINVAL);
            }
        }
        if rings.rx != self.port.ring_size() {
            self.change_ring_size(dev, rings.rx, extack, rtnl)?;
        }
        self.settings
            .tx_ring_size
            .store(rings.tx, Ordering::Relaxed);
        Ok(())
    }

    /// Changes the size of all receive rings.
    fn change_ring_size(
        &self,
        dev: &LockedDevice,
        size: u32,
        extack: ExtAck<'_>,
        rtnl: &Rtnl,
    ) -> Result {
        let new = self
            .new_rings(dev, size)
            .inspect_err(|_| extack.set(fmt!("rx: no memory for rings of {size} descriptors")))?;

        let smaller = size < self.port.ring_size();
        if smaller {
            self.limit_peer(size, rtnl);
        }
        self.port.set_ring_size(size, dev, rtnl);
        self.exchange_rings(dev, new, drain, || {});
        if !smaller {
            self.limit_peer(size, rtnl);
        }
        Ok(())
    }

    /// New rings of this size for the queues that run. Fails with `ENOMEM`.
    pub(crate) fn new_rings<'a>(&self, dev: &'a LockedDevice, size: u32) -> Result<NewRings<'a>> {
        let up = self.port.is_up();
        let which = if up { 0..self.port.queues() } else { 0..0 };
        let count = which.len();
        let running = KVec::with_capacity(self.rx_rings.len(), GFP_KERNEL)?;
        let connected = KVec::with_capacity(count, GFP_KERNEL)?;
        let halted = KVec::with_capacity(count, GFP_KERNEL)?;
        let ready = self.ready_rings(dev, which, size)?;
        Ok(NewRings {
            ready,
            connected,
            running,
            halted,
        })
    }

    /// Exchanges the running rings. `drain` is called with the old rings, which frames do not reach
    /// any more; those that it leaves in them are lost and counted. `meanwhile` is called when
    /// neither the old rings nor the new ones are polled.
    pub(crate) fn exchange_rings<'a>(
        &self,
        dev: &'a LockedDevice,
        new: NewRings<'a>,
        drain: impl FnOnce(&[RunningRing]),
        meanwhile: impl FnOnce(),
    ) {
        let NewRings {
            ready,
            mut connected,
            mut running,
            mut halted,
        } = new;
        let config = self.rx_config(dev);
        let mut rings = self.running.lock();
        let mut old = core::mem::replace(&mut *rings, KVec::new());
        // All of these lists have the capacity.
        for (index, ring) in ready.into_iter().enumerate() {
            let ring = ring.connect(old.get_mut(index), config);
            let _ = connected.push_within_capacity(ring);
        }
        drain(&old);
        quiesce(&old);
        meanwhile();
        for (ring, old) in connected.into_iter().zip(old) {
            // The new ring is polled only when the old one is not any more, so that frames of a
            // flow keep their order.
            let old = old.halt(dev);
            let _ = running.push_within_capacity(ring.start());
            if let Some(old) = old {
                let _ = halted.push_within_capacity(old);
            }
        }
        *rings = running;
        drop(rings);
        end_ready(halted);
    }

    /// Changes the number of queues: at least 1, at most the number of rings.
    pub(crate) fn change_queues(&self, dev: &LockedDevice, queues: u32, rtnl: &Rtnl) -> Result {
        let old = self.port.queues();
        let (new, up) = (queues as usize, self.port.is_up());
        if self.xdp_prog.get().is_some() && new > old && !self.has_spare_queues(new) {
            // This callback has no extack.
            netdev_info!(dev, "channels: XDP needs {new} more queues\n");
            return Err(EINVAL);
        }
        let steering = self.steering_for(dev, queues, rtnl)?;
        let added = if up { old.min(new)..new } else { 0..0 };
        let mut leaving = KVec::with_capacity(old.saturating_sub(new), GFP_KERNEL)?;
        let ready = self
            .ready_rings(dev, added, self.port.ring_size())
            // This callback has no extack.
            .inspect_err(|_| netdev_info!(dev, "channels: no memory for {} rings\n", queues))?;

        if new > old {
            if let Err(error) = dev.set_real_queues(queues as u16, rtnl) {
                end_ready(ready);
                return Err(error);
            }
            // The kernel removed their XPS maps when they went out of use.
            dev.set_default_xps(old..new, rtnl);
            self.port.set_queues(queues, dev, rtnl);
            let config = self.rx_config(dev);
            let mut running = self.running.lock();
            for ring in ready {
                // It fits: the capacity is that of all rings.
                let _ = running.push_within_capacity(ring.connect(None, config).start());
            }
            drop(running);
            self.set_steering(dev, steering);
        } else {
            self.set_steering(dev, steering);
            self.port.set_queues(queues, dev, rtnl);
            let peer = self.peer.get();
            let mut running = self.running.lock();
            while running.len() > new {
                if let Some(mut ring) = running.pop() {
                    // No frame is steered to it any more.
                    ring.disconnect(&peer);
                    // It fits: allocated above.
                    let _ = leaving.push_within_capacity(ring);
                }
            }
            drop(running);
            drain(&leaving);
            end_all(leaving, dev);
            // Last, because the stack expects no frames of queues beyond this number. Lowering it
            // does not fail.
            dev.set_real_queues(queues as u16, rtnl)?;
        }
        Ok(())
    }

    /// The steering registers for another number of queues.
    fn steering_for(&self, dev: &Device, queues: u32, rtnl: &Rtnl) -> Result<KVBox<Steering>> {
        let mut steering = self.port.steering.copy()?;
        steering.set_queues(queues);
        // Keep a user's table: the core refused counts that would drop a queue in it.
        if !is_rss_configured(dev, rtnl) {
            let mut context = self.port.steering.rss_context(MAIN)?;
            context.table = Indirection::new(queues);
            if !steering.set_context(MAIN, Some(&context)) {
                return Err(EINVAL);
            }
        }
        // The core does not check FLOW_RSS rules, which add an offset.
        let needed = steering.min_queues();
        if needed > queues {
            // This callback has no extack.
            netdev_info!(
                dev,
                "channels: {queues} are too few: \
                 an ntuple rule with an RSS context needs {needed}\n"
            );
            return Err(EINVAL);
        }
        Ok(steering)
    }

    /// Limits the large frames of the peer's stack to rings of this size.
    pub(crate) fn limit_peer(&self, ring_size: u32, rtnl: &Rtnl) {
        if let Some(peer) = self.peer.device() {
            peer.set_max_segments(max_segments(ring_size), rtnl);
        }
    }
}
