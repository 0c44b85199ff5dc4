// SPDX-License-Identifier: GPL-2.0

//! Commands of the system, given as one line and split at blanks.

use anyhow::{anyhow, bail, Context, Result};
use std::process::{Command, Output};

/// Begins a command that is run by a user who is in no group and owns no file.
pub const AS_NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

/// A command's standard output, or an error that holds its standard error.
pub fn run(line: &str) -> Result<String> {
    let out = output(line)?;

    if !out.status.success() {
        bail!("`{line}`: {}: {}", out.status, said(&out));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// What a command that has to fail says.
pub fn refusal(line: &str) -> Result<String> {
    let out = output(line)?;

    if out.status.success() {
        bail!("`{line}` was expected to fail and did not");
    }
    Ok(said(&out))
}

/// Runs a command whether it succeeds or not, for clearing up.
pub fn try_run(line: &str) {
    let _ = output(line);
}

fn output(line: &str) -> Result<Output> {
    let mut words = line.split_whitespace();
    let program = words.next().ok_or_else(|| anyhow!("empty command"))?;

    Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("starting `{line}`"))
}

fn said(out: &Output) -> String {
    let text = [out.stdout.as_slice(), out.stderr.as_slice()].concat();

    String::from_utf8_lossy(&text).trim().to_owned()
}
