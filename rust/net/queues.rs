// SPDX-License-Identifier: GPL-2.0

//! What queues have: the CPUs that use a transmit queue, and counters, for which the netdev netlink
//! family asks.
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
    /// Gives transmit queues the XPS map that they have until the user sets another
    /// (`__netif_set_xps_queue`): queue *i* is for what is sent on CPU *i* of those online, modulo
    /// their number. Queues that the device does not have are left out. Process context, may sleep.
    ///
    /// Without memory a queue has no map, and the stack chooses by the flow's hash on a CPU without
    /// one.
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
        // SAFETY: Process context. The CPU stays online until the map has it.
        unsafe { bindings::cpus_read_lock() };
        // SAFETY: The device is alive and has this queue. Writers of maps (`__netif_set_xps_queue`
        // in net/core/dev.c) exclude each other by a mutex of their own; the caller holds RTNL,
        // which keeps the numbers of queues and traffic classes as they are.
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
    /// Frames, those that XDP consumed too.
    pub(crate) packets: u64,
    /// Their bytes, without the frame check sequence.
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
    /// Frames, those of XDP too.
    pub(crate) packets: u64,
    /// Their bytes, without the frame check sequence.
    pub(crate) bytes: u64,
    /// How often the queue was stopped because it could not send.
    pub(crate) stop: u64,
    /// How often it was woken.
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
