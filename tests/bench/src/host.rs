// SPDX-License-Identifier: GPL-2.0

//! What is done with the tools and files of the system; most of it is shared.

use crate::scenario::Gro;
use anyhow::{ensure, Result};
pub use oxnic_drop_points::host::*;
use std::fs;

/// How many frames the stack dropped because they were for another address.
pub fn dropped_for_others(device: &str) -> Result<u64> {
    let text = run(&format!("ip -s -s -j link show dev {device}"))?;
    let links: serde_json::Value = serde_json::from_str(&text)?;

    // Left out as long as there are none.
    Ok(links[0]["stats64"]["rx"]["otherhost"].as_u64().unwrap_or(0))
}

/// Whether a device has GRO on.
pub fn gro(device: &str) -> Result<Gro> {
    let features = run(&format!("ethtool -k {device}"))?;

    if features.contains("generic-receive-offload: on") {
        Ok(Gro::On)
    } else {
        Ok(Gro::Off)
    }
}

/// Switches GRO on or off, and sees to it that it is.
pub fn set_gro(device: &str, wanted: Gro) -> Result<()> {
    let switch = match wanted {
        Gro::On => "on",
        Gro::Off => "off",
    };

    run(&format!("ethtool -K {device} gro {switch}"))?;
    ensure!(
        gro(device)? == wanted,
        "GRO of {device} cannot be switched {switch}"
    );
    Ok(())
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
