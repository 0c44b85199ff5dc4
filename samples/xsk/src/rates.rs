// SPDX-License-Identifier: GPL-2.0

//! A row once in a second: what happened in it.

use anyhow::Result;
use oxnic_samples::{say, stop::Stop};
use std::{
    ops::Sub,
    time::{Duration, Instant},
};

/// What a socket has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub frames: u64,
    pub bytes: u64,
}

impl Count {
    pub fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }

    /// Frames, and millions of bits in a second.
    pub fn cells(self, time: Duration) -> [String; 2] {
        let rate = self.bytes as f64 * 8e-6 / time.as_secs_f64().max(1e-9);

        [self.frames.to_string(), format!("{rate:.0}")]
    }
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            frames: self.frames - before.frames,
            bytes: self.bytes - before.bytes,
        }
    }
}

/// The time, as far as the loop over the rings needs it: when a row is due, and when it is over.
pub struct Clock<'a> {
    stop: &'a Stop,
    seconds: Option<u64>,
    start: Instant,
    second: u64,
    row: Instant,
    /// When to look whether it is time to stop.
    look: Instant,
}

/// The loop does not ask for signals more often than this: it is a call of the kernel.
const LOOK: Duration = Duration::from_millis(50);

impl<'a> Clock<'a> {
    pub fn start(stop: &'a Stop, seconds: Option<u64>) -> Self {
        let start = Instant::now();

        Self {
            stop,
            seconds,
            start,
            second: 0,
            row: start,
            look: start,
        }
    }

    /// Calls `row` with the number of the second and its length if one has passed; says whether the
    /// loop shall go on.
    pub fn tick(&mut self, row: impl FnOnce(u64, Duration) -> Result<()>) -> Result<bool> {
        let now = Instant::now();
        let second = (now - self.start).as_secs();

        if second > self.second {
            self.second = second;
            row(second, now - self.row)?;
            self.row = now;
            if self.seconds.is_some_and(|seconds| second >= seconds) {
                return Ok(false);
            }
        }
        if now < self.look {
            return Ok(true);
        }
        self.look = now + LOOK;
        Ok(!self.stop.wait(Duration::ZERO)?)
    }

    /// How long the loop may sleep.
    pub fn nap(&self) -> Duration {
        let next = self.start + Duration::from_secs(self.second + 1);

        next.saturating_duration_since(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

pub fn row(title: &str, cells: &[impl AsRef<str>]) -> Result<()> {
    let cells: Vec<_> = cells
        .iter()
        .map(|cell| format!("{:>16}", cell.as_ref()))
        .collect();

    say!("   {title:>6}{}", cells.concat())
}
