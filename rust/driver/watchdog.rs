// SPDX-License-Identifier: GPL-2.0

//! `ndo_tx_timeout`: what happens when a transmit queue has been stopped for too long.
//!
//! A queue stops when the peer's ring is full, and is woken by the poll that refills the ring. It may
//! have to wait for long if that poll does not come: its program is slow, its interrupts are deferred, or
//! there is no memory for buffers. Or something has gone wrong, here or in the kernel, and nobody will
//! wake it. The queue cannot know which, so it says what it sees, and does what helps in any case.

use super::{rx::RxRing, trace::Trace, vsi::Vsi};
use crate::{
    net::{bh, device::Device},
    nic::ring::Level,
};

/// How long a queue may be stopped, in milliseconds. Longer than the kernel's usual 5 s: without a wire
/// that takes its time a queue stops often, and the peer's poll is not an interrupt that hardware owes.
pub(super) const TX_TIMEOUT_MS: u32 = 15_000;

/// A ring of the peer that a stopped queue waits for, as the watchdog has found it.
pub(super) struct Awaited {
    /// Number of the ring.
    pub(super) ring: u16,
    /// What is in it; [`None`] if it is off the wire.
    pub(super) level: Option<Level>,
    /// Whether its poll has not come yet to frames that were published.
    pub(super) pending: bool,
}

impl Vsi {
    /// `ndo_tx_timeout`: publishes what is in the rings that the queue waits for, interrupts their polls,
    /// and wakes the queue unless it has to wait.
    pub(super) fn tx_timeout(&self, dev: &Device, queue: u16, bh: &bh::Disabled) {
        let Some(stats) = self.port.tx.get(usize::from(queue)) else {
            // Not reached: the kernel names a queue that is there.
            return;
        };
        stats.stack.timeout.add(1);
        let peer = self.peer.read(bh);
        let trace = Trace::new(dev, &self.port);
        let mut waits = false;
        for ring in peer.rings.iter() {
            if !ring.waiters.has(queue.into()) {
                continue;
            }
            let (awaited, is_full) = ring.kick(bh);
            trace.tx_timeout(queue, &awaited);
            if is_full {
                waits = true;
            } else {
                self.port.wake(ring.waiters.take_all(), bh);
            }
        }
        if !waits && dev.wake_tx_queue(queue) {
            trace.tx_timeout_woken(queue);
            stats.wake.woken.add(1);
        }
    }
}

impl RxRing {
    /// Publishes what is in the ring and has it polled. Returns what it was like before, and whether
    /// senders must still wait for it.
    #[cold]
    fn kick(&self, bh: &bh::Disabled) -> (Awaited, bool) {
        let mut inlet = self.inlet.lock(bh);
        let mut awaited = Awaited {
            ring: self.index,
            level: None,
            pending: false,
        };
        let Some(inlet) = &mut *inlet else {
            // It wakes the queue itself when it is on the wire again; without it there is no carrier.
            return (awaited, self.is_held());
        };
        awaited.level = Some(inlet.wire.level());
        awaited.pending = inlet.is_pending();
        inlet.flush(bh);
        inlet.interrupt(bh);
        (awaited, inlet.wire.is_full())
    }
}
