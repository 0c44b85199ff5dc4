// SPDX-License-Identifier: GPL-2.0

//! Stopping and waking transmit queues.

use super::netdev::Device;
use crate::{
    bindings,
    net::rtnl::Rtnl, //
};

impl Device {
    /// Lets the stack use all transmit queues (`netif_tx_start_all_queues`).
    pub(crate) fn start_all_tx_queues(&self, _rtnl: &Rtnl) {
        // SAFETY: The device is alive by the type's invariants.
        unsafe { bindings::oxnic_netif_tx_start_all_queues(self.as_ptr()) };
    }

    /// Keeps the stack from using transmit queue `queue` (`netif_tx_stop_queue`). A queue that the
    /// device does not have is left alone.
    pub(crate) fn stop_tx_queue(&self, queue: u16) {
        if self.has_tx_queue(queue) {
            // SAFETY: The device is alive and has this queue.
            unsafe { bindings::oxnic_netif_tx_stop_queue(self.as_ptr(), queue) };
        }
    }

    /// Lets the stack use transmit queue `queue` again from inside `start_xmit`
    /// (`netif_tx_start_queue`).
    pub(crate) fn start_tx_queue(&self, queue: u16) {
        if self.has_tx_queue(queue) {
            // SAFETY: The device is alive and has this queue.
            unsafe { bindings::oxnic_netif_tx_start_queue(self.as_ptr(), queue) };
        }
    }

    /// Lets the stack use transmit queue `queue` again and schedules it (`netif_tx_wake_queue`).
    /// Any context. Returns whether the queue was stopped.
    pub(crate) fn wake_tx_queue(&self, queue: u16) -> bool {
        if !self.has_tx_queue(queue) {
            return false;
        }
        // SAFETY: The device is alive and has this queue.
        unsafe {
            let was_stopped = bindings::oxnic_netif_tx_queue_stopped(self.as_ptr(), queue);
            bindings::oxnic_netif_tx_wake_queue(self.as_ptr(), queue);
            was_stopped
        }
    }

    pub(in crate::net) fn has_tx_queue(&self, queue: u16) -> bool {
        // SAFETY: The field is set when the device is allocated, and never changes.
        u32::from(queue) < unsafe { (*self.as_ptr()).num_tx_queues }
    }
}
