// SPDX-License-Identifier: GPL-2.0

//! What is done with the tools and files of the system.

use anyhow::{ensure, Context, Result};
use std::{
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Runs a command, given as one line, and returns what it printed.
pub fn run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().context("an empty command")?)
        .args(words)
        .output()
        .with_context(|| format!("running {line}"))?;

    ensure!(
        output.status.success(),
        "{line}: {} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {path}"))
}

pub fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing '{}' to {path}", text.trim()))
}

pub fn ifindex(device: &str) -> Result<u32> {
    Ok(read(&format!("/sys/class/net/{device}/ifindex"))?
        .trim()
        .parse()?)
}

/// A counter of `ip -s link`.
pub fn counter(device: &str, name: &str) -> Result<u64> {
    Ok(read(&format!("/sys/class/net/{device}/statistics/{name}"))?
        .trim()
        .parse()?)
}

pub fn mac(device: &str) -> Result<Mac> {
    let text = read(&format!("/sys/class/net/{device}/address"))?;
    let bytes: Vec<u8> = text
        .trim()
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;

    Mac::try_from(bytes)
        .ok()
        .with_context(|| format!("{device} has the address {text}"))
}

/// How long something may take that is under way. Most of it is over in milliseconds, but a busy machine
/// may not come to it for seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tries until it works: what a device or the kernel does in its own time.
pub fn until<T>(what: impl Fn() -> Result<T>) -> Result<T> {
    within(PATIENCE, what)
}

/// As [`until`], for what may never work, as the user has asked for something else than there is.
pub fn eventually<T>(what: impl Fn() -> Result<T>) -> Result<T> {
    within(PATIENCE / 6, what)
}

fn within<T>(patience: Duration, what: impl Fn() -> Result<T>) -> Result<T> {
    let end = Instant::now() + patience;

    loop {
        match what() {
            Err(_) if Instant::now() < end => sleep(Duration::from_millis(10)),
            result => return result,
        }
    }
}
