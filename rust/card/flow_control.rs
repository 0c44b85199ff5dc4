// SPDX-License-Identifier: GPL-2.0

//! Flow control between two ports: a transmit queue stops while the peer's ring has no buffers, and
//! is woken by the refill.
//!
//! There are no pause frames on the wire, only their effect. Why no wake-up is lost is explained in
//! [`nic::pause`](crate::nic::pause).

use super::port::Port;
use crate::net::bh;
use core::sync::atomic::Ordering;

impl Port {
    /// Whether flow control is on between `sender` and this port: without buffers here, its
    /// transmit queues wait instead of losing frames.
    pub(crate) fn pauses(&self, sender: &Port) -> bool {
        self.tx_pause.load(Ordering::Relaxed) && sender.rx_pause.load(Ordering::Relaxed)
    }

    /// Counts a stop of a transmit queue, whose lock must be held.
    pub(crate) fn count_stop(&self, queue: u16) {
        if let Some(stats) = self.tx_pauses.get(usize::from(queue)) {
            stats.stopped.add(1);
        }
    }

    /// Wakes transmit queues of this port that waited for the peer's buffers.
    pub(crate) fn wake(&self, queues: impl Iterator<Item = u32>, bh: &bh::Disabled) {
        let mut queues = queues.peekable();
        // The usual case: no queue waits.
        if queues.peek().is_none() {
            return;
        }
        let Some(dev) = self.dev.read(bh) else { return };
        for queue in queues {
            if let Some(stats) = self.tx_pauses.get(queue as usize) {
                if dev.wake_tx_queue(queue as u16) {
                    stats.woken.add(1);
                }
            }
        }
    }

    /// Wakes all transmit queues of this port that wait for `peer`. Each stops again if it has to.
    pub(crate) fn wake_all(&self, peer: &Port) {
        let bh = bh::disable();
        for queue in peer.rx_queues.iter() {
            self.wake(queue.waiters.take_all(), &bh);
        }
    }

    /// How often the transmit queues have stopped because the peer had no buffers.
    pub(crate) fn times_stopped(&self) -> u64 {
        self.tx_pauses.iter().map(|queue| queue.stopped.get()).sum()
    }

    /// How often `peer`, and earlier peers, stopped because this port had no buffers.
    pub(crate) fn times_paused(&self, peer: &Port) -> u64 {
        let before = self.paused_before.load(Ordering::Relaxed);
        before.wrapping_add(peer.times_stopped())
    }

    /// Counts pauses from now on for the new `peer`; earlier peers stopped `before` times.
    pub(crate) fn count_pauses(&self, before: u64, peer: &Port) {
        let before = before.wrapping_sub(peer.times_stopped());
        self.paused_before.store(before, Ordering::Relaxed);
    }
}
