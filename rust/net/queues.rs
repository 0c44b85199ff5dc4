// SPDX-License-Identifier: GPL-2.0

//! What the netdev netlink family asks of a device's queues: statistics.
//!
//! C header: [`include/net/netdev_queues.h`](srctree/include/net/netdev_queues.h)

use super::device::{self, private};
use crate::bindings;
use core::marker::PhantomData;
use kernel::prelude::*;

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
