// SPDX-License-Identifier: GPL-2.0

//! The programs of `samples`, as a user runs them: what they do, and what they say about it.

mod xdp_attach;

use crate::{
    bed::Port,
    harness::Case,
    host::{ensure_eq, process::Running},
};
use anyhow::{ensure, Context, Result};
use std::{env, path::Path};

pub fn cases() -> Vec<Case> {
    [xdp_attach::cases()].into_iter().flatten().collect()
}

/// Starts a sample, given with its arguments as one line, in the port's namespace.
fn start(port: &Port, line: &str) -> Result<Running> {
    let line = command(line)?;

    port.ns.enter(|| Running::start(&line))
}

/// The line with the sample's whole path.
fn command(line: &str) -> Result<String> {
    let folder = env::var("OXNIC_SAMPLES").context("OXNIC_SAMPLES names no folder")?;

    Ok(Path::new(&folder).join(line).display().to_string())
}

/// What a sample says that has to fail: with status 1, and with `reason` in its last line, which
/// begins with the sample's name.
fn refused(port: &Port, line: &str, reason: &str) -> Result<String> {
    let said = refused_in_words(start(port, line)?, line, reason)?;

    Ok(said)
}

/// As [`refused`], for a user who may do nothing.
fn refused_to_nobody(port: &Port, line: &str) -> Result<()> {
    let whole = format!(
        "setpriv --reuid=65534 --regid=65534 --clear-groups {}",
        command(line)?
    );
    let running = port.ns.enter(|| Running::start(&whole))?;

    refused_in_words(running, line, "needs root (CAP_NET_ADMIN, CAP_BPF)").map(drop)
}

fn refused_in_words(running: Running, line: &str, reason: &str) -> Result<String> {
    let name = line.split_whitespace().next().unwrap_or_default();
    let (status, said) = running.end()?;
    let last = said.lines().last().unwrap_or_default();

    ensure_eq!(
        status.code(),
        Some(1),
        "`{line}`: exit status, with: {said}"
    );
    ensure!(
        last.starts_with(&format!("{name}: ")) && last.contains(reason),
        "`{line}`: expected \"{name}: ... {reason}\" as its last line in: {said}"
    );
    ensure!(!said.contains("panicked"), "`{line}`: {said}");
    Ok(said)
}
