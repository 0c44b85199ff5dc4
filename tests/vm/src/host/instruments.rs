// SPDX-License-Identifier: GPL-2.0

//! The instruments of the debug kernel that have to be asked: all others speak up in the kernel
//! log.
//!
//! `OXNIC_KERNEL=debug` in the environment says that they have to be there; without it nothing here
//! does anything.

use anyhow::{bail, Context, Result};
use std::{
    env, fs,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";
const LOCKDEP: &str = "/proc/lockdep_stats";
/// kmemleak takes nothing for lost that is younger than 5 s.
const AGE: Duration = Duration::from_millis(5500);
/// Tests between two scans of kmemleak's: one takes as long as a test.
const INTERVAL: u32 = 20;

/// Whether this is the debug kernel.
pub fn present() -> bool {
    env::var("OXNIC_KERNEL").is_ok_and(|kernel| kernel == "debug")
}

/// Asks all of them, after a test.
pub fn check() -> Result<()> {
    if !present() {
        return Ok(());
    }
    static TESTS: AtomicU32 = AtomicU32::new(0);

    locks_watched()?;
    if TESTS.fetch_add(1, Ordering::Relaxed) % INTERVAL == INTERVAL - 1 {
        no_leaks()?;
    }
    Ok(())
}

/// Asks all of them, after the last test, so that nothing is too young to be found.
pub fn last_check() -> Result<()> {
    if !present() {
        return Ok(());
    }
    locks_watched()?;
    no_leaks()?;
    thread::sleep(AGE);
    no_leaks()
}

/// Lockdep switches itself off with its first report, and so do other reports with it. What is run
/// from then on has not been watched.
fn locks_watched() -> Result<()> {
    let stats = fs::read_to_string(LOCKDEP).with_context(|| format!("reading {LOCKDEP}"))?;
    let on = stats
        .lines()
        .filter_map(|line| line.split_once("debug_locks:"))
        .any(|(_, value)| value.trim() == "1");

    if !on {
        bail!("lockdep is switched off, by what it or another instrument reported");
    }
    Ok(())
}

/// Has kmemleak look for memory that nothing points to. An object is reported by the second scan
/// that finds it unchanged, when it is old enough.
fn no_leaks() -> Result<()> {
    fs::write(KMEMLEAK, "scan").with_context(|| format!("writing to {KMEMLEAK}"))?;
    let found = fs::read_to_string(KMEMLEAK)?;

    if found.is_empty() {
        return Ok(());
    }
    // Each object is reported once.
    fs::write(KMEMLEAK, "clear")?;
    bail!("memory lost, in this test or in one before it:\n{found}")
}
