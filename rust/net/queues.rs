// SPDX-License-Identifier: GPL-2.0

//! Which CPUs use which transmit queue, and what the netdev netlink family asks of a device's queues:
//! statistics.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/net/netdev_queues.h`](srctree/include/net/netdev_queues.h)

use super::{
    device::{self, private, Device},
    rtnl::Rtnl, //
};
use crate::bindings;
use core::{marker::PhantomData, ops::Range};
use kernel::prelude::*;

impl Device {
    /// Gives transmit queues the XPS map that they have until the user sets another
    /// (`__netif_set_xps_queue`): queue *i* is for what is sent on CPU *i* of those online, modulo their
    /// number. Queues that the device does not have are left out. Process context, may sleep.
    ///
    /// Without memory a queue has no map, and the stack chooses by the flow's hash on a CPU without one.
    pub(crate) fn set_default_xps(&self, queues: Range<usize>, _rtnl: &Rtnl) {
        for queue in queues {
            match u16::try_from(queue) {
                Ok(queue) if self.has_tx_queue(queue) => {
                    // SAFETY: The device is alive and has this queue, whose map it writes. Writers of maps
                    // (`__netif_set_xps_queue` in net/core/dev.c) exclude each other by a mutex of their
                    // own; RTNL keeps the numbers of queues and traffic classes as they are.
                    let _ = unsafe { bindings::oxnic_set_xps_queue(self.as_ptr(), queue) };
                }
                _ => break,
            }
        }
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
    fn write_to(self, stats: &mut bindings::netdev_queue_stats_rx) {
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
    fn write_to(self, stats: &mut bindings::netdev_queue_stats_tx) {
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

/// The table of C callbacks for a driver.
pub(super) struct StatOps<T>(PhantomData<T>);

impl<T: device::Ops> StatOps<T> {
    pub(super) const TABLE: bindings::netdev_stat_ops = bindings::netdev_stat_ops {
        get_queue_stats_rx: callback!(T::HAS_RX_QUEUE_STATS, Self::rx_queue_stats),
        get_queue_stats_tx: callback!(T::HAS_TX_QUEUE_STATS, Self::tx_queue_stats),
        get_base_stats: Some(Self::base_stats),
    };

    /// # Safety
    ///
    /// Called by the kernel as `get_queue_stats_rx`, for a device of `Allocated<T>`.
    unsafe extern "C" fn rx_queue_stats(
        dev: *mut bindings::net_device,
        queue: c_int,
        stats: *mut bindings::netdev_queue_stats_rx,
    ) {
        // SAFETY: The kernel calls this for a registered device of ours with a structure that is ours.
        let (data, stats) = unsafe { (&private::<T>(dev).data, &mut *stats) };
        data.rx_queue_stats(queue as usize).write_to(stats);
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_queue_stats_tx`, for a device of `Allocated<T>`.
    unsafe extern "C" fn tx_queue_stats(
        dev: *mut bindings::net_device,
        queue: c_int,
        stats: *mut bindings::netdev_queue_stats_tx,
    ) {
        // SAFETY: As in `rx_queue_stats`.
        let (data, stats) = unsafe { (&private::<T>(dev).data, &mut *stats) };
        data.tx_queue_stats(queue as usize).write_to(stats);
    }

    /// What the kernel does not sum up itself: the queues that are not in use, whose counters go on to
    /// exist. The kernel sums up only counters that are set here.
    ///
    /// # Safety
    ///
    /// Called by the kernel as `get_base_stats`, for a device of `Allocated<T>`.
    unsafe extern "C" fn base_stats(
        dev: *mut bindings::net_device,
        rx: *mut bindings::netdev_queue_stats_rx,
        tx: *mut bindings::netdev_queue_stats_tx,
    ) {
        // SAFETY: The kernel calls this for a registered device of ours under its lock, which keeps the numbers
        // of queues as they are, with structures that are ours.
        unsafe {
            RxQueueStats::default().write_to(&mut *rx);
            TxQueueStats::default().write_to(&mut *tx);
            bindings::netdev_stat_queue_sum(
                dev,
                (*dev).real_num_rx_queues as c_int,
                (*dev).num_rx_queues as c_int,
                rx,
                (*dev).real_num_tx_queues as c_int,
                (*dev).num_tx_queues as c_int,
                tx,
            );
        }
    }
}
