// SPDX-License-Identifier: GPL-2.0

//! The interrupt line of a receive ring, and its moderation.
//!
//! The line is one-shot: after it has fired it stays silent until the poll has found the ring empty
//! and arms it again. A lost wake-up must not happen: the NIC publishes a frame, finds the line
//! disarmed and does nothing, while the poll arms the line and ends without having seen the frame.
//! Each side writes one variable and then reads the other's:
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
//! both see it, the compare-and-exchange that disarms the line succeeds for only one of them, so
//! that the poll is scheduled once. The same holds for each of several polls that arm the line at
//! once.
//!
//! The interrupt can be moderated. When the poll arms the line it also sets the earliest time of
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

/// The bit of [`Irq::state`] that is set while the line is armed. The other bits count how often it
/// was armed.
const ARMED: u32 = 1;

/// The interrupt line of one ring, shared by the NIC, its timer and the ring's poll.
pub struct Irq {
    state: CacheAligned<AtomicU32>,
    /// The earliest time of the next interrupt in nanoseconds; 0: no moderation. Written before the
    /// line is armed.
    not_before: AtomicU64,
}

/// The frames that wait for a moderated interrupt. One for each line, used under the lock of the
/// NIC's side of the ring.
#[derive(Default)]
pub struct Moderation {
    /// The state of the line that the other fields belong to.
    state: u32,
    waiting_frames: u32,
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

    /// The NIC has published `new` descriptors. If `max_waiting` or more are waiting, the line
    /// fires whatever the time is. `now`, in nanoseconds, is called only if the time matters.
    ///
    /// Once per batch: it costs a full barrier, and writes to the line only if it fires.
    #[inline]
    pub fn raise(
        &self,
        moderation: &mut Moderation,
        new: u32,
        max_waiting: u32,
        now: impl FnOnce() -> u64,
    ) -> Raised {
        fence(Ordering::SeqCst);
        // Acquire, for `not_before`: pairs with the Release in `rearm`.
        let state = self.state.0.load(Ordering::Acquire);
        if state & ARMED == 0 {
            return Raised::Nothing;
        }
        if moderation.state != state {
            *moderation = Moderation {
                state,
                ..Moderation::default()
            };
        }
        moderation.waiting_frames = moderation.waiting_frames.saturating_add(new);
        if moderation.waiting_frames < max_waiting {
            if moderation.timer_started {
                return Raised::Nothing;
            }
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
        if self.fire(state) {
            Raised::Fire
        } else {
            Raised::Nothing
        }
    }

    /// The timer has expired. `pending` tells whether frames wait for the poll. Returns `true` if
    /// the poll must be scheduled.
    ///
    /// The timer may have been started for frames that a poll has taken since. At worst, the frames
    /// published after them are then announced earlier than they had to be.
    #[inline]
    #[must_use = "the poll must be scheduled"]
    pub fn expire(&self, pending: impl FnOnce() -> bool) -> bool {
        let state = self.state.0.load(Ordering::Acquire);
        state & ARMED != 0 && pending() && self.fire(state)
    }

    /// The poll found the ring empty and has completed (`napi_complete_done`). Arms the line and
    /// sets the earliest time of the next interrupt, in nanoseconds. Then `pending` tells whether
    /// frames were published in the meantime. Returns `true` if there are some and the NIC has not
    /// fired already: the caller must then schedule the poll at once.
    ///
    /// The line may be armed already: a busy poll ends without an interrupt having fired
    /// (`busy_poll_stop`). And two polls may arm it at once: one that has completed but not reached
    /// this point, and the next one. Whichever time is kept then, it is one of the two.
    #[inline]
    #[must_use = "the poll must be scheduled"]
    pub fn rearm(&self, not_before: u64, pending: impl FnOnce() -> bool) -> bool {
        self.not_before.store(not_before, Ordering::Relaxed);
        // Each time a new number, which tells the NIC that its `Moderation` is out of date. With a
        // plain store, one of two polls could bring back a number whose timer the NIC has started
        // and which has long expired, so that the NIC would wait for it for ever.
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
    /// Relaxed, since it publishes nothing: frames are handed over by the ring's index.
    #[inline]
    fn fire(&self, armed: u32) -> bool {
        self.state
            .0
            .compare_exchange(armed, armed & !ARMED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}
