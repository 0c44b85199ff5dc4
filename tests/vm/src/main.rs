// SPDX-License-Identifier: GPL-2.0

//! Tests of the oxnic module, run as root in a virtual machine that may crash.
//!
//! `oxnic-tests [FILTER] [--list]` takes cargo test's arguments and reports in its form. The
//! environment says what is tested: `OXNIC_KO` is the path of `oxnic.ko`, `OXNIC_BEAT` that of the
//! example driver, `beat.ko`, `OXNIC_BPF` the folder with the compiled programs of `samples/bpf`
//! and `tests/bpf`, `OXNIC_SAMPLES` the one with the programs of `samples`, and `OXNIC_KERNEL` is
//! `debug` on the debug kernel. Several virtual machines can share the work: with `OXNIC_SHARE=2/3`
//! this one runs every third test, from the second on.
//!
//! Every test loads the module again, puts the two ports of a pair into network namespaces of their
//! own, and after it the harness looks for what the test or the module left behind: see
//! [`harness`].

// Only for what nix and aya cannot do: see `wire::xsk::raw`, `host::clock` and `host::live`.
#![deny(unsafe_code)]

mod bed;
mod bpf;
mod cases;
mod harness;
mod host;
mod nl;
mod random;
mod sockopt;
mod stats;
mod support;
mod wire;

use anyhow::{ensure, Context, Result};
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let mut args = libtest_mimic::Arguments::from_args();
    // There is one module and one kernel log: two tests at once would see each other.
    args.test_threads = Some(1);

    let (first, every) = match share() {
        Ok(share) => share,
        Err(error) => {
            eprintln!("OXNIC_SHARE: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = harness::cases()
        .into_iter()
        .skip(first)
        .step_by(every)
        .map(harness::trial)
        .collect();
    let conclusion = libtest_mimic::run(&args, trials);
    if let Err(error) = harness::last_check() {
        eprintln!("after the last test: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// Which tests are run here: the number of the first, and every how many-th from there.
fn share() -> Result<(usize, usize)> {
    let Ok(text) = env::var("OXNIC_SHARE") else {
        return Ok((0, 1));
    };
    let parts = || -> Option<(usize, usize)> {
        let (this, of) = text.split_once('/')?;
        Some((this.parse().ok()?, of.parse().ok()?))
    };
    let (this, of) = parts().with_context(|| format!("not a share such as 2/3: \"{text}\""))?;

    ensure!((1..=of).contains(&this), "no share {this} of {of}");
    Ok((this - 1, of))
}
