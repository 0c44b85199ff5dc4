// SPDX-License-Identifier: GPL-2.0

//! Grace periods of RCU, which no one has a safe function for.

#![allow(unsafe_code)]

use anyhow::{Context, Result};
use nix::{errno::Errno, libc};

/// `MEMBARRIER_CMD_GLOBAL`
const GLOBAL: libc::c_int = 1;

/// Waits for a grace period: the softirqs and polls that run now have ended then. With one CPU the
/// kernel need not wait, as none runs beside this thread.
pub fn grace_period() -> Result<()> {
    // SAFETY: The call has no pointers.
    Errno::result(unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) })
        .context("membarrier")
        .map(drop)
}
