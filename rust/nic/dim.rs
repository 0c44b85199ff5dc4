// SPDX-License-Identifier: GPL-2.0

//! Adaptive interrupt moderation (DIM, dynamic interrupt moderation): adapts the delay of the
//! interrupt to the traffic of a ring.
//!
//! Frames that arrive one by one may belong to a slow stream, or to one of several streams that
//! share the sender. Then they can wait for each other, which saves interrupts. Or the sender waits
//! for an answer to each frame before it sends the next one, so that each delay slows it down. A
//! single frame does not tell these cases apart, so a longer delay is tried for some polls: if
//! polls then find several frames, and as many arrive per second as before, it is a stream. A
//! shorter delay is tried in the same way.

/// Shortest delay between a poll and the next interrupt, in microseconds.
const MIN_USECS: u32 = 8;

/// Longest delay, in microseconds.
const MAX_USECS: u32 = 128;

/// Number of frames that a poll should find: enough to make the cost of the interrupt negligible.
const TARGET_FRAMES: u32 = 64;

/// Polls in a sample, after which the delay may change.
const SAMPLE_POLLS: u32 = 16;

/// Polls in a sample while another delay is tried.
const TRIAL_POLLS: u32 = 4;

/// Samples between two trials at first, and after a trial that has paid off.
const MIN_TRIAL_INTERVAL: u32 = 1;

/// Largest number of samples between two trials: each trial that does not pay off doubles it.
const MAX_TRIAL_INTERVAL: u32 = 64;

/// The adaptive moderation of one ring.
pub struct Dim {
    usecs: u32,
    /// Frames and polls in the current sample, and when it began.
    frames: u32,
    polls: u32,
    start: u64,
    trial: Option<Trial>,
    /// Whether the next trial is of a longer delay, if both directions are possible.
    try_longer: bool,
    /// Samples between two trials, and how many of them are left before the next.
    trial_interval: u32,
    samples_to_trial: u32,
}

/// The state before another delay was tried.
struct Trial {
    usecs_before: u32,
    /// Frames per second.
    rate_before: u64,
}

impl Dim {
    /// Starts with the shortest delay.
    pub const fn new() -> Self {
        Self {
            usecs: MIN_USECS,
            frames: 0,
            polls: 0,
            start: 0,
            trial: None,
            try_longer: true,
            trial_interval: MIN_TRIAL_INTERVAL,
            samples_to_trial: MIN_TRIAL_INTERVAL,
        }
    }

    /// A poll that ends at `now`, in nanoseconds, has found `frames` frames. Returns the delay
    /// before the next interrupt in microseconds.
    #[inline]
    pub fn next(&mut self, frames: u32, now: u64) -> u32 {
        self.frames = self.frames.saturating_add(frames);
        self.polls += 1;
        if self.polls >= SAMPLE_POLLS || (self.polls >= TRIAL_POLLS && self.trial.is_some()) {
            self.decide(now);
        }
        self.usecs
    }

    /// The sample is complete: chooses the next delay.
    fn decide(&mut self, now: u64) {
        let frames_per_poll = self.frames / self.polls;
        let time = now.saturating_sub(self.start).max(1);
        let rate = u64::from(self.frames) * 1_000_000_000 / time;
        self.frames = 0;
        self.polls = 0;
        self.start = now;

        if let Some(trial) = self.trial.take() {
            self.end_trial(&trial, frames_per_poll, rate);
        } else if frames_per_poll > 2 * TARGET_FRAMES {
            self.usecs = (self.usecs / 2).max(MIN_USECS);
        } else if frames_per_poll < 2 && self.usecs > MIN_USECS {
            // The stream is over.
            self.usecs = MIN_USECS;
            self.samples_to_trial = self.trial_interval;
        } else if frames_per_poll < TARGET_FRAMES {
            self.samples_to_trial = self.samples_to_trial.saturating_sub(1);
            if self.samples_to_trial == 0 {
                self.trial = Some(Trial {
                    usecs_before: self.usecs,
                    rate_before: rate,
                });
                self.usecs = self.delay_to_try(frames_per_poll);
            }
        }
    }

    /// Keeps the tried delay if it has paid off, and otherwise restores the previous one.
    fn end_trial(&mut self, trial: &Trial, frames_per_poll: u32, rate: u64) {
        let pays_off = if self.usecs > trial.usecs_before {
            // Polls find several frames, and hardly fewer arrive per second.
            frames_per_poll >= 2 && rate >= trial.rate_before / 4 * 3
        } else {
            // Clearly more frames arrive: the longer delay had slowed the sender down.
            rate > trial.rate_before / 3 * 4
        };
        if pays_off {
            self.trial_interval = MIN_TRIAL_INTERVAL;
        } else {
            self.usecs = trial.usecs_before;
            self.try_longer = !self.try_longer;
            self.trial_interval = (2 * self.trial_interval).min(MAX_TRIAL_INTERVAL);
        }
        self.samples_to_trial = self.trial_interval;
    }

    /// The delay to try instead of the current one, with which polls find `frames_per_poll` frames.
    fn delay_to_try(&mut self, frames_per_poll: u32) -> u32 {
        match self.usecs {
            MIN_USECS => self.try_longer = true,
            MAX_USECS => self.try_longer = false,
            _ => {}
        }
        match self.try_longer {
            false => MIN_USECS,
            // Frames may be far apart: only with the longest delay a poll may find several.
            true if frames_per_poll < 2 => MAX_USECS,
            true => (2 * self.usecs).min(MAX_USECS),
        }
    }
}

impl Default for Dim {
    fn default() -> Self {
        Self::new()
    }
}
