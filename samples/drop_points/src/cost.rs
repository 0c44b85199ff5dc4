// SPDX-License-Identifier: GPL-2.0

//! What one frame costs: the unit, a single measurement, and several of them.

use anyhow::Result;
use std::{arch::asm, fmt, time::Instant};

/// Frames that go together: as a driver hands them to the stack, and the kernel's default for frames
/// that it makes itself.
pub const BATCH: u32 = 64;

/// The cost of one of `count`: the difference between a short run and one that is longer by
/// `count`. What starting and ending a run costs is not in it, nor are the frames that are on
/// their way when the sender ends, for there are as many in both.
pub fn slope(count: u32, run: impl Fn(u32) -> Result<f64>) -> Result<f64> {
    let few = short_run(count);
    let start = run(few)?;
    let all = run(few + count)?;

    Ok((all - start) / f64::from(count))
}

/// The frames of the short run, in whole batches.
pub const fn short_run(count: u32) -> u32 {
    count / 8 / BATCH * BATCH
}

pub fn mean(runs: &[f64]) -> Option<f64> {
    (!runs.is_empty()).then(|| runs.iter().sum::<f64>() / runs.len() as f64)
}

/// By how much runs differ, as a part of their mean.
pub fn spread(runs: &[f64]) -> Option<f64> {
    let high = runs.iter().copied().fold(f64::MIN, f64::max);
    let low = runs.iter().copied().fold(f64::MAX, f64::min);

    Some((high - low) / mean(runs)?)
}

/// What a nanosecond of this machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A virtual machine whose clock counts instructions (QEMU's `-icount shift=0`).
    Instructions,
    /// Any other: time goes by, whatever is executed.
    Nanoseconds,
}

impl Unit {
    /// Finds out by timing two loops with a known number of instructions. Where the clock counts
    /// them, both take as many nanoseconds; where it does not, a clock and a processor would have to
    /// fit each other by chance, and the longer body would have to be no more parallel than the
    /// shorter one.
    pub fn of_this_machine() -> Self {
        const ROUNDS: u64 = 500_000;
        let loops: [(u64, fn(u64)); 2] = [(2, count_down), (8, count_down_slowly)];

        if loops
            .iter()
            .all(|(instructions, body)| is_counted(*instructions, ROUNDS, body))
        {
            Self::Instructions
        } else {
            Self::Nanoseconds
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Instructions => "instructions",
            Self::Nanoseconds => "nanoseconds",
        })
    }
}

/// Whether a loop takes a nanosecond for each of its instructions. An interrupt makes it longer, so
/// the shortest of some trials counts.
fn is_counted(instructions: u64, rounds: u64, body: &fn(u64)) -> bool {
    const TRIALS: u32 = 5;
    let expected = (instructions * rounds) as f64;
    let shortest = (0..TRIALS)
        .map(|_| {
            let start = Instant::now();

            body(rounds);
            start.elapsed().as_nanos() as f64
        })
        .fold(f64::MAX, f64::min);

    (shortest / expected - 1.0).abs() < 0.02
}

/// A loop that counts a register down, at least once, by two instructions a round and those that are
/// named.
macro_rules! count_down {
    ($rounds:expr $(, $instruction:literal)*) => {
        // SAFETY: It touches nothing but the register and the flags.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            asm!(
                "2:",
                $($instruction,)*
                "dec {0}",
                "jnz 2b",
                inout(reg) u64::max($rounds, 1) => _,
                options(nomem, nostack)
            );
            #[cfg(target_arch = "aarch64")]
            asm!(
                "2:",
                $($instruction,)*
                "subs {0}, {0}, #1",
                "b.ne 2b",
                inout(reg) u64::max($rounds, 1) => _,
                options(nomem, nostack)
            );
        }
    };
}

/// Two instructions a round.
fn count_down(rounds: u64) {
    count_down!(rounds);
}

/// Eight instructions a round.
fn count_down_slowly(rounds: u64) {
    count_down!(rounds, "nop", "nop", "nop", "nop", "nop", "nop");
}
