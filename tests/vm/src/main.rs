// SPDX-License-Identifier: GPL-2.0

//! Tests of the oxnic module, run as root in a virtual machine that may crash.
//!
//! `oxnic-tests [FILTER] [--list]` takes cargo test's arguments and reports in its form. The
//! environment says what is tested: `OXNIC_KO` is the path of `oxnic.ko`, `OXNIC_BEAT` that of the
//! example driver, `beat.ko`, `OXNIC_BPF` the folder with the compiled programs of `samples/bpf`
//! and `tests/bpf`, `OXNIC_SAMPLES` the one with the programs of `samples`, and `OXNIC_KERNEL` is
//! `debug` on the debug kernel. Several virtual machines can share the work: `OXNIC_CLAIMS` is a
//! directory that all of them see, and each test runs in the machine that comes to it first.
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

use crate::support::buffers::check_page_size;
use std::{env, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let mut args = libtest_mimic::Arguments::from_args();
    // There is one module and one kernel log: two tests at once would see each other.
    args.test_threads = Some(1);
    if let Err(error) = check_page_size() {
        eprintln!("before the first test: {error:#}");
        return ExitCode::FAILURE;
    }

    let claims = env::var_os("OXNIC_CLAIMS").map(PathBuf::from);
    let trials = harness::cases()
        .into_iter()
        .map(|case| harness::trial(case, claims.clone()))
        .collect();
    let conclusion = libtest_mimic::run(&args, trials);
    if let Err(error) = harness::last_check() {
        eprintln!("after the last test: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
