// SPDX-License-Identifier: GPL-2.0

//! The interrupt line of a receive ring, and its moderation.
//!
//! The line is a one-shot: once it has fired it stays silent until the poll, having found the ring
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
//! exchange decides, and the poll is scheduled once.
//!
//! A NIC need not fire at once. When the poll arms the line it also says before which time it does
//! not want to be interrupted again. Whoever publishes before that time leaves the frame waiting:
//! the first one starts a timer, and when it expires, or earlier if enough frames have come
//! together, the line fires. A frame that comes after that time, the first one after a pause
//! for example, is announced at once.

use super::sync::{fence, AtomicU32, AtomicU64, Line, Ordering};

/// The bit of [`Irq::state`] that says whether the line is armed; the rest counts how often it was.
const ARMED: u32 = 1;

/// The interrupt line of one ring, shared by the NIC, its timer and the ring's poll.
pub struct Irq {
    state: Line<AtomicU32>,
    /// Written before the line is armed.
    not_before: AtomicU64,
}

/// What the NIC knows of the frames that wait for an interrupt. One for each line, used under the
/// lock of the NIC's side of the ring.
#[derive(Default)]
pub struct Moderation {
    /// The state of the line that the rest is about.
    state: u32,
    waiting: u32,
    timer: bool,
}

/// What the NIC must do after it has raised an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the poll must be scheduled, or the timer started"]
pub enum Raised {
    /// Nothing: the poll is running or scheduled, or the timer is.
    Nothing,
    /// Schedule the poll. The line is disarmed.
    Fire,
    /// Start the timer: it is to expire in so many nanoseconds.
    Timer(u64),
}

impl Irq {
    /// A line that is armed, or not.
    pub fn new(armed: bool) -> Self {
        Self {
            state: Line(AtomicU32::new(armed.into())),
            not_before: AtomicU64::new(0),
        }
    }

    /// The NIC has published `new` descriptors. With `most` or more waiting the poll is not kept
    /// waiting for the time; `now` is asked for it, in nanoseconds, only if it matters.
    ///
    /// Once per batch: it costs a full barrier, and writes to the line only if it fires.
    #[inline]
    pub fn raise(
        &self,
        moderation: &mut Moderation,
        new: u32,
        most: u32,
        now: impl FnOnce() -> u64,
    ) -> Raised {
        fence(Ordering::SeqCst);
        // Acquire: to see the time that goes with it.
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
        moderation.waiting = moderation.waiting.saturating_add(new);
        if moderation.waiting < most {
            if moderation.timer {
                return Raised::Nothing;
            }
            match self.not_before.load(Ordering::Relaxed) {
                0 => {}
                time => {
                    let wait = time.saturating_sub(now());
                    if wait != 0 {
                        moderation.timer = true;
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

    /// The timer has expired; `pending` says whether there is something for the poll. Returns `true`
    /// if the poll must be scheduled.
    ///
    /// The timer may be one that was started for frames which the poll has seen already; the
    /// worst of it is that the frames which came since do not wait as long as they might.
    #[inline]
    #[must_use = "the poll must be scheduled"]
    pub fn expire(&self, pending: impl FnOnce() -> bool) -> bool {
        let state = self.state.0.load(Ordering::Acquire);
        state & ARMED != 0 && pending() && self.fire(state)
    }

    /// The poll found the ring empty and has completed (`napi_complete_done`): arms the line, with the
    /// time in nanoseconds before which it is to fire only for many frames, then asks `pending`
    /// whether something was published in the meantime. Returns `true` if so and the NIC has not
    /// fired already: the caller must then schedule the poll at once.
    ///
    /// The poll is the only one that arms the line, and does so when it is not armed.
    #[inline]
    #[must_use = "the poll must be scheduled"]
    pub fn rearm(&self, not_before: u64, pending: impl FnOnce() -> bool) -> bool {
        self.not_before.store(not_before, Ordering::Relaxed);
        let state = self.state.0.load(Ordering::Relaxed);
        // Another number than last time, so that the NIC knows that its frames were seen.
        let armed = state.wrapping_add(2) | ARMED;
        self.state.0.store(armed, Ordering::Release);
        fence(Ordering::SeqCst);
        pending() && self.fire(armed)
    }

    /// Disarms the line that was found armed in this state; `true` for the one caller who does.
    ///
    /// Relaxed, since nothing is handed over by it: frames are handed over by the ring's index.
    #[inline]
    fn fire(&self, armed: u32) -> bool {
        self.state
            .0
            .compare_exchange(armed, armed & !ARMED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// How long a poll wants to be left alone, in microseconds, when the NIC finds it out by itself: the
/// shortest and the longest time.
const DELAYS: (u32, u32) = (8, 128);

/// How many frames a poll is to find at best: enough for the cost of an interrupt not to matter.
const WORTHWHILE: u32 = 64;

/// How long a poll waits to find out whether frames that come one by one are a stream, in
/// microseconds, and how many of them make it try: at least and at most.
const TRIAL: u32 = 64;
const TRIAL_AFTER: (u32, u32) = (16, 1024);

/// Finds out how long the frames of a ring should wait for an interrupt (adaptive moderation).
pub struct Adaptive {
    delay: u32,
    /// Polls in a row that found a single frame.
    single: u32,
    /// After how many of them a longer wait is tried.
    patience: u32,
}

impl Adaptive {
    /// At first no frame waits for long.
    pub const fn new() -> Self {
        Self {
            delay: DELAYS.0,
            single: 0,
            patience: TRIAL_AFTER.0,
        }
    }

    /// A poll has found `frames` frames: returns how long it is to be left alone in microseconds.
    ///
    /// A frame that came alone is probably waited for. Many that come one after the other are a
    /// stream, in which a wait costs little. A slow stream looks like single frames as long as
    /// nobody waits; so a wait is tried now and then, the less often the more often it was in vain.
    #[inline]
    pub fn next(&mut self, frames: u32) -> u32 {
        let (shortest, longest) = DELAYS;
        if frames > 1 {
            self.single = 0;
        }
        self.delay = match frames {
            0..=1 => {
                self.single += 1;
                if self.single < self.patience {
                    shortest
                } else {
                    self.single = 0;
                    self.patience = (self.patience * 2).min(TRIAL_AFTER.1);
                    TRIAL
                }
            }
            2..=3 => self.delay,
            4..WORTHWHILE => {
                self.patience = TRIAL_AFTER.0;
                (self.delay * 2).min(longest)
            }
            _ if frames > 2 * WORTHWHILE => (self.delay / 2).max(shortest),
            _ => self.delay,
        };
        self.delay
    }
}

impl Default for Adaptive {
    fn default() -> Self {
        Self::new()
    }
}
