// SPDX-License-Identifier: GPL-2.0

//! Frames from hell: every frame that can be sent, and everything that a program can do to it.
//! Every frame is accounted for, and what comes out is compared byte by byte.
//!
//! What is chosen at random follows from the number in `OXNIC_SEED` in the environment.
//! `OXNIC_HELL` says how many times as many frames there are.

mod frames;
mod lists;
mod padding;
mod programs;
mod shapes;
mod vanish;

use crate::{
    host::{setting, watchdog},
    random::{self, Random},
};
use anyhow::{Context, Result};

/// Runs a random round as often as the environment says. Its seed is printed first, for a machine
/// that crashes, and again with an error.
fn rounds(name: &str, mut round: impl FnMut(&mut Random) -> Result<()>) -> Result<()> {
    let seed = random::seed()?;
    let rounds: u32 = setting("OXNIC_HELL", 1)?;
    let mut random = Random::new(seed);

    eprintln!("{name}: seed {seed}");
    for _ in 0..rounds {
        round(&mut random)
            .with_context(|| format!("again with: make hell HELL={rounds} SEED={seed}"))?;
        watchdog::still_alive();
    }
    Ok(())
}
