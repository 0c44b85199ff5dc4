// SPDX-License-Identifier: GPL-2.0

//! The counters by protocol: the Rust side of `samples/bpf/protocols.h`.

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuArray};
use std::borrow::Borrow;

/// The names of the protocols, in the order of the map's elements.
pub const NAMES: [&str; 6] = ["ARP", "ICMP", "ICMPv6", "TCP", "UDP", "other"];

/// Frames by protocol.
pub type Counts = [u64; NAMES.len()];

/// Reads a map of counters. Each CPU has counters of its own, so that none has to wait for another;
/// the sum of them is made here.
pub fn read(map: &PerCpuArray<impl Borrow<MapData>, u64>) -> Result<Counts> {
    let mut counts = Counts::default();

    for (index, count) in (0..).zip(&mut counts) {
        let per_cpu = map
            .get(&index, 0)
            .with_context(|| format!("reading element {index} of the counters"))?;

        *count = per_cpu.iter().sum();
    }
    Ok(counts)
}

/// What was counted between two readings.
pub fn since(before: &Counts, after: &Counts) -> Counts {
    let mut counts = *after;

    for (count, before) in counts.iter_mut().zip(before) {
        *count = count.saturating_sub(*before);
    }
    counts
}
