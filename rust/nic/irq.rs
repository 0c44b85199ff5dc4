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
//! exchange decides, and the poll is scheduled once. This holds for each of several polls that arm the
//! line at the same time.
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
    /// The line may be armed already: whoever busy polls does so without an interrupt having fired
    /// (`busy_poll_stop`). And two polls may arm it at the same time: one that has completed but not come
    /// here yet, and the next one. Whichever time is kept then, it is one that a poll has asked for.
    #[inline]
    #[must_use = "the poll must be scheduled"]
    pub fn rearm(&self, not_before: u64, pending: impl FnOnce() -> bool) -> bool {
        self.not_before.store(not_before, Ordering::Relaxed);
        // A number that was never there, so that the NIC knows that its frames were seen. With a plain
        // store one of two polls could bring back a number for which the NIC has a timer that has
        // expired long ago.
        let next = |state: u32| state.wrapping_add(2) | ARMED;
        // Release: the time goes with it.
        let (Ok(before) | Err(before)) =
            self.state
                .0
                .fetch_update(Ordering::Release, Ordering::Relaxed, |state| {
                    Some(next(state))
                });
        fence(Ordering::SeqCst);
        pending() && self.fire(next(before))
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

/// How many polls it takes to see how frames come, and how another wait turns out.
const POLLS: u32 = 16;
const TRIAL_POLLS: u32 = 4;

/// How many times [`POLLS`] polls pass before another wait is tried: at first, and at most when it was
/// in vain time and again.
const PATIENCE: (u32, u32) = (1, 64);

/// Finds out how long the frames of a ring should wait for an interrupt (adaptive moderation).
///
/// Frames that come one by one may be a slow stream, or one of many that share the sender: they can
/// wait for each other, which saves interrupts. Or somebody waits for each of them before he sends
/// the next, and every wait holds him up. They look alike, so a longer wait is tried for some polls:
/// if frames come together then, and as many in a second as before, it was a stream. A shorter one is
/// tried too, for what was taken for a stream.
pub struct Adaptive {
    delay: u32,
    /// What was seen since the last decision, and when that was.
    frames: u32,
    polls: u32,
    since: u64,
    /// While another wait is tried: the wait before it, and how many frames came in a second.
    trial: Option<(u32, u64)>,
    /// Whether a longer wait is tried next, if both are possible.
    longer: bool,
    /// How many times [`POLLS`] polls to let pass before the next trial: when that is started, and from
    /// now on.
    patience: u32,
    left: u32,
}

impl Adaptive {
    /// At first no frame waits for long.
    pub const fn new() -> Self {
        Self {
            delay: DELAYS.0,
            frames: 0,
            polls: 0,
            since: 0,
            trial: None,
            longer: true,
            patience: PATIENCE.0,
            left: PATIENCE.0,
        }
    }

    /// A poll that ends at `now`, in nanoseconds, has found `frames` frames: returns how long it is to
    /// be left alone in microseconds.
    #[inline]
    pub fn next(&mut self, frames: u32, now: u64) -> u32 {
        self.frames = self.frames.saturating_add(frames);
        self.polls += 1;
        if self.polls >= POLLS || (self.polls >= TRIAL_POLLS && self.trial.is_some()) {
            self.decide(now);
        }
        self.delay
    }

    fn decide(&mut self, now: u64) {
        let (shortest, _) = DELAYS;
        let found = self.frames / self.polls;
        let time = now.saturating_sub(self.since).max(1);
        let rate = u64::from(self.frames) * 1_000_000_000 / time;
        self.frames = 0;
        self.polls = 0;
        self.since = now;

        if let Some((before, rate_before)) = self.trial.take() {
            let pays = if self.delay > before {
                found >= 2 && rate >= rate_before / 4 * 3
            } else {
                rate > rate_before / 3 * 4
            };
            if pays {
                self.patience = PATIENCE.0;
            } else {
                self.delay = before;
                self.longer = !self.longer;
                self.patience = (2 * self.patience).min(PATIENCE.1);
            }
            self.left = self.patience;
        } else if found > 2 * WORTHWHILE {
            self.delay = (self.delay / 2).max(shortest);
        } else if found < 2 && self.delay > shortest {
            // The stream is over.
            self.delay = shortest;
            self.left = self.patience;
        } else if found < WORTHWHILE {
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                self.trial = Some((self.delay, rate));
                self.delay = self.other_delay(found);
            }
        }
    }

    /// What to try instead of the present delay, with which polls found so many frames.
    fn other_delay(&mut self, found: u32) -> u32 {
        let (shortest, longest) = DELAYS;
        self.longer = match self.delay {
            delay if delay == shortest => true,
            delay if delay == longest => false,
            _ => self.longer,
        };
        match self.longer {
            false => shortest,
            // They may be far apart.
            true if found < 2 => longest,
            true => (2 * self.delay).min(longest),
        }
    }
}

impl Default for Adaptive {
    fn default() -> Self {
        Self::new()
    }
}
