// SPDX-License-Identifier: GPL-2.0

//! What is done with the tools and files of the system.

use crate::pktgen::Mac;
use anyhow::{ensure, Context, Result};
use std::{fs, process::Command, thread::sleep, time::Duration};

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
    fs::write(path, text).with_context(|| format!("writing '{text}' to {path}"))
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

/// How many frames the stack dropped because they were for another address.
pub fn dropped_for_others(device: &str) -> Result<u64> {
    let text = run(&format!("ip -s -s -j link show dev {device}"))?;
    let links: serde_json::Value = serde_json::from_str(&text)?;

    // Left out as long as there are none.
    Ok(links[0]["stats64"]["rx"]["otherhost"].as_u64().unwrap_or(0))
}

/// Counters of `ethtool -S` whose names begin and end like this, by what is between, a number.
pub fn ring_counters(device: &str, before: &str, after: &str) -> Result<Vec<u64>> {
    let text = run(&format!("ethtool -S {device}"))?;
    let mut counters: Vec<(u32, u64)> = text
        .lines()
        .filter_map(|line| {
            let (name, value) = line.trim().split_once(": ")?;
            let ring = name.strip_prefix(before)?.strip_suffix(after)?;

            Some((ring.parse().ok()?, value.parse().ok()?))
        })
        .collect();

    counters.sort_unstable();
    Ok(counters.into_iter().map(|(_, count)| count).collect())
}

/// The process whose name begins like this.
pub fn process(name: &str) -> Result<u32> {
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();

        if comm.starts_with(name) {
            if let Some(Ok(process)) = path.file_name().map(|name| name.to_string_lossy().parse()) {
                return Ok(process);
            }
        }
    }
    anyhow::bail!("no process is called {name}")
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

/// Tries until it works; a device may take its time with frames, but not a second.
pub fn eventually(what: impl Fn() -> Result<()>) -> Result<()> {
    const TRIES: u32 = 100;

    for _ in 0..TRIES {
        if what().is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(10));
    }
    what()
}
