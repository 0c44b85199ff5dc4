// SPDX-License-Identifier: GPL-2.0

//! Flow steering rules as ethtool sets and shows them.

use super::{
    probes::send_all,
    steer::Steer,
    traffic::{check_alive, settle, settle_wire},
};
use crate::{
    bed::{Bed, Port},
    host::ensure_eq,
    wire::{probe::Probe, xsk::Xsk},
};
use anyhow::{anyhow, Result};

/// Adds a rule and returns its location.
pub fn add(port: &Port, rule: &str) -> Result<u32> {
    let text = port.ethtool("-N", rule)?;

    text.split_whitespace()
        .next_back()
        .and_then(|place| place.parse().ok())
        .ok_or_else(|| anyhow!("ethtool -N {rule} names no place: {text}"))
}

/// The lines of a rule in `ethtool -n`, trimmed.
pub fn shown(port: &Port, place: u32) -> Result<Vec<String>> {
    let text = port.ethtool("-n", &format!("rule {place}"))?;

    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

pub fn places(port: &Port) -> Result<Vec<u32>> {
    let text = port.ethtool("-n", "")?;

    Ok(text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Filter: "))
        .filter_map(|place| place.parse().ok())
        .collect())
}

/// An AF_XDP socket on queue 2 gets the probes after `add_rule` has steered them there.
pub fn socket_gets(bed: &Bed, add_rule: impl FnOnce() -> Result<u32>) -> Result<()> {
    const COUNT: u32 = 50;
    let mut steer = Steer::load()?;
    let socket = Xsk::open(&bed.b, 2, 2048, false)?;

    steer.socket(2, &socket)?;
    steer.by_socket()?;
    bed.b.attach(&steer.program)?;
    add_rule()?;
    bed.up()?;
    let probes: Vec<_> = (0..COUNT).map(|seq| Probe::new(seq, seq)).collect();
    send_all(bed, &probes)?;
    for probe in &probes {
        ensure_eq!(
            Probe::parse(&socket.any()?)?,
            Some(probe.clone()),
            "frame in the socket"
        );
    }
    settle(bed).map(drop)
}

/// Port B has had a program all the time, and received every frame.
pub fn all_received(bed: &Bed) -> Result<()> {
    let (_, b) = settle_wire(bed)?;
    b.counters
        .expect_rx("B", &[("no_buffer", 0), ("oversize", 0), ("down", 0)])?;
    ensure_eq!(b.counters.dropped_by("ntuple")?, 0, "dropped");
    b.check_verdicts()?;
    check_alive(bed)
}
