// SPDX-License-Identifier: GPL-2.0

//! Flow control between two ports: a transmit queue, or the AF_XDP sockets of a queue, stop while
//! the peer's ring has no buffers, and are woken by the refill.
//!
//! There are no pause frames on the wire, only their effect. Why no wake-up is lost is explained in
//! [`nic::pause`](crate::nic::pause).

use super::port::Port;
use crate::{
    net::bh,
    nic::pause::of_xsk, //
};
use core::sync::atomic::Ordering;

impl Port {
    /// Whether flow control is on between `sender` and this port: without buffers here, its
    /// transmit queues wait instead of losing frames.
    pub(crate) fn pauses(&self, sender: &Port) -> bool {
        self.tx_pause.load(Ordering::Relaxed) && sender.rx_pause.load(Ordering::Relaxed)
    }

    /// Counts that a transmit queue, or the AF_XDP sockets of a queue, have stopped.
    pub(crate) fn count_stop(&self, queue: u16) {
        if let Some(stats) = self.tx_pauses.get(usize::from(queue)) {
            stats.stopped.add(1);
        }
    }

    /// Wakes senders of this port that waited for the peer's buffers: transmit queues, and the
    /// AF_XDP sockets of queues.
    pub(crate) fn wake(&self, senders: impl Iterator<Item = u32>, bh: &bh::Disabled) {
        let mut senders = senders.peekable();
        // The usual case: no sender waits.
        if senders.peek().is_none() {
            return;
        }
        let Some(dev) = self.dev.read(bh) else { return };
        for sender in senders {
            if let Some(queue) = sender.checked_sub(of_xsk(0)) {
                self.wake_xsk(queue, bh);
            } else if let Some(stats) = self.tx_pauses.get(sender as usize) {
                if dev.wake_tx_queue(sender as u16) {
                    stats.woken.add(1);
                }
            }
        }
    }

    /// Schedules the poll of a queue, which sends for its AF_XDP sockets. If the queue is down, no
    /// frame waits: they have all been completed.
    #[cold]
    fn wake_xsk(&self, queue: u32, bh: &bh::Disabled) {
        let index = queue as usize;
        if let (Some(queue), Some(stats)) = (self.rx_queues.get(index), self.tx_pauses.get(index)) {
            if queue.raise(bh) {
                stats.woken.add(1);
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
