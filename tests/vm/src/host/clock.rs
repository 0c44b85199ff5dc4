// SPDX-License-Identifier: GPL-2.0

//! International Atomic Time, which time stamps are in.

#![allow(unsafe_code)]

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    libc,
    time::{clock_gettime, ClockId},
};
use std::mem::MaybeUninit;

/// Nanoseconds of `CLOCK_TAI`.
pub fn tai() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_TAI)?;

    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

/// Sets TAI apart from UTC, which a machine does not do by itself, until dropped.
pub struct TaiOffset;

impl TaiOffset {
    pub fn set(seconds: i64) -> Result<Self> {
        adjust(seconds)?;
        Ok(Self)
    }
}

impl Drop for TaiOffset {
    fn drop(&mut self) {
        let _ = adjust(0);
    }
}

fn adjust(seconds: i64) -> Result<()> {
    let mut request = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: All of its fields are integers, for which zero is a value.
    let request = unsafe { request.assume_init_mut() };

    request.modes = libc::ADJ_TAI;
    request.constant = seconds;
    // SAFETY: The kernel reads and writes `request`.
    let state = unsafe { libc::adjtimex(request) };
    Errno::result(state).map(drop).context("setting TAI")
}
