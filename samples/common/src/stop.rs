// SPDX-License-Identifier: GPL-2.0

//! Ctrl-C, so that a sample can put back what it has changed before it ends.

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

/// The wish to stop: Ctrl-C (SIGINT) or SIGTERM. Its descriptor becomes readable with it and stays
/// so, since nobody reads the signal; a sample can poll it beside others.
pub struct Stop {
    signals: SignalFd,
}

impl Stop {
    /// From now on the signals do not end the program by themselves. They are blocked in the
    /// calling thread and in those that it starts later, so this comes first.
    pub fn on_signals() -> Result<Self> {
        let mut signals = SigSet::empty();

        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block().context("blocking signals")?;
        Ok(Self {
            signals: SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)
                .context("opening a signalfd")?,
        })
    }

    /// Waits that long, less if it is time to stop, and says whether it is.
    pub fn wait(&self, time: Duration) -> Result<bool> {
        self.wait_until(Instant::now() + time)
    }

    /// As [`Stop::wait`], up to a point in time: what has to happen every second then does, however
    /// long the work in between takes.
    pub fn wait_until(&self, end: Instant) -> Result<bool> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // Rounded up to the milliseconds of poll, else the last one is spent spinning.
            let timeout = PollTimeout::try_from(left + Duration::from_micros(999))
                .unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];

            match poll(&mut fds, timeout) {
                Ok(0) if Instant::now() >= end => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(errno).context("waiting"),
            }
        }
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}
