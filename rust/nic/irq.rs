// SPDX-License-Identifier: GPL-2.0

//! The interrupt line of a receive ring, and its moderation.
//!
//! The line is one-shot: after it has fired it stays silent until the poll has found the ring empty
//! and arms it again. A lost wake-up must not happen: the NIC could publish a frame, find the line
//! disarmed and do nothing, while the poll arms the line and ends without having seen the frame. So
//! each side writes one variable and then reads the other's:
//!
//! ```text
//!     NIC                            poll
//!     publish                        armed = true
//!     fence(SeqCst)                  fence(SeqCst)
//!     read armed                     read what is published
//! ```
//!
//! One of the two fences comes first in the single total order of all SeqCst fences. If it is the
//! NIC's, the poll sees the frame; if it is the poll's, the NIC sees that the line is armed. If
//! both happen, the compare-and-exchange that disarms the line succeeds for only one side, so that
//! the poll is scheduled once. The same holds if several polls arm the line at the same time.
//!
//! The interrupt can be moderated. When the poll arms the line, it also sets the earliest time of
//! the next interrupt. A frame that is published before that time does not fire the line. The first
//! such frame starts a timer, and the line fires when the timer expires, or earlier if enough
//! frames are waiting. A frame that is published after that time, for example the first one after a
//! pause, fires the line at once.

use super::sync::{
    fence,
    AtomicU32,
    AtomicU64,
    CacheAligned,
    Ordering, //
};

/// The bit of [`Irq::state`] that is set while the line is armed. The other bits count the times it
/// was armed.
const ARMED: u32 = 1;

/// The interrupt line of one ring, shared by the NIC, its timer and the ring's poll.
pub struct Irq {
    state: CacheAligned<AtomicU32>,
    /// Earliest time of the next interrupt in nanoseconds; 0: no moderation. Written before the
    /// line is armed.
    not_before: AtomicU64,
}

/// State of the moderation of one line. Used under the lock of the NIC's side of the ring.
#[derive(Default)]
pub struct Moderation {
    /// The [`Irq::state`] for which the other fields are valid.
    state: u32,
    /// Descriptors that were published since the line was armed.
    waiting: u32,
    timer_started: bool,
}

/// What the NIC must do after [`Irq::raise`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the poll must be scheduled, or the timer started"]
pub enum Raised {
    /// Nothing: the poll is running or scheduled, or the timer is running.
    Nothing,
    /// Schedule the poll. The line is disarmed.
    Fire,
    /// Start the timer, to expire after this many nanoseconds.
    Timer(u64),
}

impl Irq {
    /// A line in the given state.
    pub fn new(armed: bool) -> Self {
        Self {
            state: CacheAligned(AtomicU32::new(armed.into())),
            not_before: AtomicU64::new(0),
        }
    }

    /// The NIC has published `new` descriptors. Returns whether it must [`raise`](Self::raise) the
    /// interrupt: the line is armed, and the timer is not running or `max_waiting` or more
    /// descriptors are waiting.
    ///
    /// Once per batch: it costs a full barrier, and writes nothing that the poll reads.
    #[inline]
    #[must_use = "the interrupt must be raised"]
    pub fn published(&self, moderation: &mut Moderation, new: u32, max_waiting: u32) -> bool {
        fence(Ordering::SeqCst);
        // Acquire, for `not_before`: pairs with the Release in `rearm`.
        let state = self.state.0.load(Ordering::Acquire);
        if state & ARMED == 0 {
            return false;
        }
        if moderation.state != state {
            *moderation = Moderation {
                state,
                ..Moderation::default()
            };
        }
        moderation.waiting = moderation.waiting.saturating_add(new);
        !moderation.timer_started || moderation.waiting >= max_waiting
    }

    /// Raises the interrupt, after [`published`](Self::published) has returned `true`. If
    /// `max_waiting` or more descriptors are waiting, the line fires whatever the time is. `now`,
    /// in nanoseconds, is called only if the time matters.
    pub fn raise(
        &self,
        moderation: &mut Moderation,
        max_waiting: u32,
        now: impl FnOnce() -> u64,
    ) -> Raised {
        if moderation.waiting < max_waiting {
            match self.not_before.load(Ordering::Relaxed) {
                0 => {}
                time => {
                    let wait = time.saturating_sub(now());
                    if wait != 0 {
                        moderation.timer_started = true;
                        return Raised::Timer(wait);
                    }
                }
            }
        }
        if self.fire(moderation.state) {
            Raised::Fire
        } else {
            Raised::Nothing
        }
    }

    /// The timer has expired. `pending` tells whether frames wait for the poll. Returns `true` if
    /// the poll must be scheduled.
    ///
    /// The timer may have been started for frames that a poll has taken since. Frames that were
    /// published later then cause an interrupt earlier than necessary, which does no harm.
    #[inline]
    #[must_use = "the poll must be scheduled"]
    pub fn expire(&self, pending: impl FnOnce() -> bool) -> bool {
        let state = self.state.0.load(Ordering::Acquire);
        state & ARMED != 0 && pending() && self.fire(state)
    }

    /// The poll has found the ring empty and has completed (`napi_complete_done`). Arms the line
    /// and sets the earliest time of the next interrupt, in nanoseconds. Afterwards `pending` tells
    /// whether frames were published in the meantime. Returns `true` if so, unless the NIC has
    /// fired already: the caller must then schedule the poll at once.
    ///
    /// The line may be armed already, since a busy poll ends without an interrupt having fired
    /// (`busy_poll_stop`). And two polls may arm it at the same time: one that has completed but
    /// not reached this point yet, and the next one. The time of either of them then stays in
    /// effect.
    #[inline]
    #[must_use = "the poll must be scheduled"]
    pub fn rearm(&self, not_before: u64, pending: impl FnOnce() -> bool) -> bool {
        self.not_before.store(not_before, Ordering::Relaxed);
        // A new count each time tells the NIC that its `Moderation` is out of date. Hence no plain
        // store: the slower of two polls could restore a count for which the NIC has started a
        // timer that has expired since, and the NIC would wait for that timer for ever.
        let next = |state: u32| state.wrapping_add(2) | ARMED;
        // Release: publishes `not_before`.
        let (Ok(before) | Err(before)) =
            self.state
                .0
                .fetch_update(Ordering::Release, Ordering::Relaxed, |state| {
                    Some(next(state))
                });
        fence(Ordering::SeqCst);
        pending() && self.fire(next(before))
    }

    /// Disarms the line if it is still in the state `armed`. Returns `true` to the one caller that
    /// has disarmed it.
    ///
    /// Relaxed, since this publishes nothing: the ring's index hands over the frames.
    #[inline]
    fn fire(&self, armed: u32) -> bool {
        self.state
            .0
            .compare_exchange(armed, armed & !ARMED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}
