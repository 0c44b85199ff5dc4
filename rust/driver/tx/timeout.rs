// SPDX-License-Identifier: GPL-2.0

//! `ndo_tx_timeout`: a transmit queue has been stopped for too long.
//!
//! A queue stops when the peer's ring is full, and the poll that refills the ring wakes it. That
//! poll may come late: its program is slow, its interrupts are deferred, or there is no memory for
//! buffers. Or a bug, here or in the kernel, keeps it from coming at all. The watchdog cannot tell
//! which: it logs the state of the ring, raises the interrupt, and wakes a queue whose ring has
//! buffers.

use crate::{
    driver::{
        trace::Trace,
        vsi::Vsi, //
    },
    net::{
        bh,
        device::Device, //
    },
};

impl Vsi {
    /// `ndo_tx_timeout`: raises the interrupts of the rings that the queue waits for, and wakes the
    /// queue unless one of them is full.
    pub(crate) fn tx_timeout(&self, dev: &Device, queue: u16, bh: &bh::Disabled) {
        let index = usize::from(queue);
        let (Some(tx), Some(pause)) = (self.tx_rings.get(index), self.port.tx_pauses.get(index))
        else {
            // Not reached: the kernel names a queue that is there.
            return;
        };
        tx.stats.timeout.add(1);
        let peer = self.peer.read(bh);
        let trace = Trace::new(dev, &self.settings);
        let mut waits = false;
        for rx_queue in peer.rx_queues.iter() {
            if !rx_queue.waiters.has(queue.into()) {
                continue;
            }
            let status = rx_queue.kick(bh);
            trace.tx_timeout(queue, &status);
            if status.is_full {
                waits = true;
            } else {
                self.port.wake(rx_queue.waiters.take_all(), bh);
            }
        }
        if !waits && dev.wake_tx_queue(queue) {
            trace.tx_timeout_woken(queue);
            pause.woken.add(1);
        }
    }
}
