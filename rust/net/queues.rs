// SPDX-License-Identifier: GPL-2.0

//! Properties of queues: the XPS map of a transmit queue, and the counters that the netdev netlink
//! family shows.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/net/netdev_queues.h`](srctree/include/net/netdev_queues.h)

use super::{
    device::netdev::Device,
    rtnl::Rtnl, //
};
use crate::bindings;
use core::ops::Range;
use kernel::error::to_result;

impl Device {
    /// Sets the default XPS maps of transmit queues (`__netif_set_xps_queue`), which the user may
    /// change: queue *i* is for packets that are sent on online CPU *i*, modulo the number of
    /// online CPUs. Queues that the device does not have are skipped. Process context, may sleep.
    ///
    /// A queue for whose map there is no memory has none. On a CPU that is in no map, the stack
    /// chooses the queue by the hash of the flow.
    pub(crate) fn set_default_xps(&self, queues: Range<usize>, _rtnl: &Rtnl) {
        for queue in queues {
            match u16::try_from(queue) {
                Ok(queue) if self.has_tx_queue(queue) => {
                    let _ = self.set_xps(queue);
                }
                _ => break,
            }
        }
    }

    fn set_xps(&self, queue: u16) -> kernel::error::Result {
        // SAFETY: This is process context. The CPU stays online until it is in the map.
        unsafe { bindings::cpus_read_lock() };
        // SAFETY: The device is alive and has this queue. `__netif_set_xps_queue` in net/core/dev.c
        // takes a mutex of its own against other writers. The caller holds RTNL, so the numbers of
        // queues and traffic classes do not change.
        let result = to_result(unsafe {
            let cpu = bindings::cpumask_local_spread(queue.into(), bindings::NUMA_NO_NODE);
            bindings::__netif_set_xps_queue(
                self.as_ptr(),
                bindings::oxnic_cpumask_of(cpu),
                queue,
                bindings::xps_map_type_XPS_CPUS,
            )
        });
        // SAFETY: Pairs with the lock above.
        unsafe { bindings::cpus_read_unlock() };
        result
    }
}

/// Counters of a receive queue (`struct netdev_queue_stats_rx`).
#[derive(Default)]
pub(crate) struct RxQueueStats {
    /// Frames, including those that XDP has consumed.
    pub(crate) packets: u64,
    /// Their bytes, without FCS.
    pub(crate) bytes: u64,
    /// Failed allocations of buffers or skbs.
    pub(crate) alloc_fail: u64,
}

impl RxQueueStats {
    pub(super) fn write_to(self, stats: &mut bindings::netdev_queue_stats_rx) {
        let Self {
            packets,
            bytes,
            alloc_fail,
        } = self;
        stats.packets = packets;
        stats.bytes = bytes;
        stats.alloc_fail = alloc_fail;
    }
}

/// Counters of a transmit queue (`struct netdev_queue_stats_tx`).
#[derive(Default)]
pub(crate) struct TxQueueStats {
    /// Frames, including those of XDP.
    pub(crate) packets: u64,
    /// Their bytes, without FCS.
    pub(crate) bytes: u64,
    /// Number of times that the queue was stopped because it could not send.
    pub(crate) stop: u64,
    /// Number of times that it was woken.
    pub(crate) wake: u64,
}

impl TxQueueStats {
    pub(super) fn write_to(self, stats: &mut bindings::netdev_queue_stats_tx) {
        let Self {
            packets,
            bytes,
            stop,
            wake,
        } = self;
        stats.packets = packets;
        stats.bytes = bytes;
        stats.stop = stop;
        stats.wake = wake;
    }
}
