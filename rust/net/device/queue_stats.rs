// SPDX-License-Identifier: GPL-2.0

//! The C side of the callbacks by which the netdev netlink family reads the counters of queues
//! (`struct netdev_stat_ops`).

use super::{
    ops::Ops,
    private::data, //
};
use crate::{
    bindings,
    net::queues::{
        RxQueueStats,
        TxQueueStats, //
    },
};
use core::marker::PhantomData;
use kernel::prelude::*;

/// The table of C callbacks for a driver.
pub(super) struct StatOps<T>(PhantomData<T>);

impl<T: Ops> StatOps<T> {
    const TABLE: &'static bindings::netdev_stat_ops = &bindings::netdev_stat_ops {
        get_queue_stats_rx: callback!(T::HAS_RX_QUEUE_STATS, Self::rx_queue_stats),
        get_queue_stats_tx: callback!(T::HAS_TX_QUEUE_STATS, Self::tx_queue_stats),
        get_base_stats: Some(Self::base_stats),
    };

    /// The table, or null if the driver has no counters per queue.
    pub(super) const TABLE_IF_ANY: *const bindings::netdev_stat_ops =
        if T::HAS_RX_QUEUE_STATS || T::HAS_TX_QUEUE_STATS {
            Self::TABLE
        } else {
            core::ptr::null()
        };

    /// # Safety
    ///
    /// Called by the kernel as `get_queue_stats_rx`, for a device of `Allocated<T>`.
    unsafe extern "C" fn rx_queue_stats(
        dev: *mut bindings::net_device,
        queue: c_int,
        stats: *mut bindings::netdev_queue_stats_rx,
    ) {
        // SAFETY: The kernel calls this for a registered device of ours, with a structure that is
        // ours.
        let (data, stats) = unsafe { (data::<T>(dev), &mut *stats) };
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
        // SAFETY: The kernel calls this for a registered device of ours, with a structure that is
        // ours.
        let (data, stats) = unsafe { (data::<T>(dev), &mut *stats) };
        data.tx_queue_stats(queue as usize).write_to(stats);
    }

    /// The sum over the queues that are not in use: the kernel adds those in use itself. It does so
    /// only for counters that are set here.
    ///
    /// # Safety
    ///
    /// Called by the kernel as `get_base_stats`, for a device of `Allocated<T>`.
    unsafe extern "C" fn base_stats(
        dev: *mut bindings::net_device,
        rx: *mut bindings::netdev_queue_stats_rx,
        tx: *mut bindings::netdev_queue_stats_tx,
    ) {
        if T::HAS_RX_QUEUE_STATS {
            // SAFETY: The kernel calls this with a structure that is ours.
            RxQueueStats::default().write_to(unsafe { &mut *rx });
        }
        if T::HAS_TX_QUEUE_STATS {
            // SAFETY: The kernel calls this with a structure that is ours.
            TxQueueStats::default().write_to(unsafe { &mut *tx });
        }
        // SAFETY: The kernel calls this for a registered device of ours under the lock of its
        // callbacks, so the numbers of queues do not change, with structures that are ours.
        unsafe {
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
