// SPDX-License-Identifier: GPL-2.0

//! The interrupt line of a receive ring.
//!
//! It is a one-shot: once it has fired it stays silent until the poll, having found the ring
//! empty, arms it again. What must not happen is that the NIC publishes a frame, finds the line
//! disarmed and leaves it at that, while the poll arms the line and goes to sleep without having
//! seen the frame. Both write one thing and then read the other's:
//!
//! ```text
//!     NIC                            poll
//!     publish                        armed = true
//!     fence(SeqCst)                  fence(SeqCst)
//!     read armed                     read what is published
//! ```
//!
//! One of the two fences comes first in the single order of all such fences. If it is the NIC's,
//! the poll sees the frame; if it is the poll's, the NIC sees the line armed. If both see it, the
//! swap decides, and the poll is scheduled once.

use super::sync::{fence, AtomicBool, Line, Ordering};

/// The interrupt line of one ring, shared by the NIC and the ring's poll.
pub struct Irq {
    armed: Line<AtomicBool>,
}

impl Irq {
    /// A line that is armed, or not.
    pub fn new(armed: bool) -> Self {
        Self {
            armed: Line(AtomicBool::new(armed)),
        }
    }

    /// The NIC has published something. Returns `true` if the caller must schedule the poll; the
    /// line is then disarmed.
    ///
    /// Once per batch: it costs a full barrier, and writes only if the line is armed.
    #[inline]
    #[must_use = "the poll must be scheduled"]
    pub fn raise(&self) -> bool {
        fence(Ordering::SeqCst);
        self.armed.0.load(Ordering::Relaxed) && self.fire()
    }

    /// The poll found the ring empty and has completed (`napi_complete_done`): arms the line, then
    /// asks `pending` whether something was published in the meantime. Returns `true` if so and
    /// the NIC has not fired already: the caller must then schedule the poll at once.
    #[inline]
    #[must_use = "the poll must be scheduled"]
    pub fn rearm(&self, pending: impl FnOnce() -> bool) -> bool {
        self.armed.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        pending() && self.fire()
    }

    /// Silences the line. A [`raise`](Self::raise) that runs at the same time may still fire.
    #[inline]
    pub fn disarm(&self) {
        self.armed.0.store(false, Ordering::Relaxed);
    }

    /// Disarms the line; `true` for the one caller who found it armed.
    ///
    /// Relaxed, since nothing is handed over by it: frames are handed over by the ring's index.
    #[inline]
    fn fire(&self) -> bool {
        self.armed.0.swap(false, Ordering::Relaxed)
    }
}
