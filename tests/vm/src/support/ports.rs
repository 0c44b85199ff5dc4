// SPDX-License-Identifier: GPL-2.0

//! Ports that a test creates, and checks of a pair that works.

use crate::{
    bed::{Bed, Port},
    host::{ensure_eq, netns::Netns},
    nl::link::New,
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
    },
};
use anyhow::{anyhow, Context, Result};
use std::os::fd::AsFd;

/// Finds a port, and makes it receive the tests' frames.
pub fn found(ns: &Netns, name: &str) -> Result<Port> {
    let port = Port::find(ns, name)?;

    port.receive_probes()?;
    Ok(port)
}

/// Creates a port in a namespace, joined with `peer`.
pub fn make_joined(name: &str, ns_name: &str, peer: &Port) -> Result<Port> {
    let ns = Netns::existing(ns_name);
    let file = ns.file()?;
    let new = New::peer_of(peer.ifindex).in_ns(file.as_fd());

    peer.ns.enter(|| new.add(name))?;
    found(&ns, name)
}

/// Sends probes in both directions: each arrives once, unchanged, and is counted once.
pub fn exchange(bed: &Bed, frames: u32) -> Result<()> {
    for (from, to) in [(&bed.a, &bed.b), (&bed.b, &bed.a)] {
        let tap = Tap::open(to)?;
        let before = (from.snapshot()?, to.snapshot()?);

        Sender::open(from)?.send_flow(&Probe::new(3, 0), frames)?;
        for (seq, probe) in (0..).zip(tap.probes(frames as usize)?) {
            ensure_eq!(probe.seq, seq, "{}: frame in its turn", to.name);
        }
        let after = (from.snapshot()?, to.snapshot()?);
        ensure_eq!(
            after.0.counters.tx("packets")? - before.0.counters.tx("packets")?,
            u64::from(frames),
            "{}: tx packets",
            from.name
        );
        ensure_eq!(
            after.1.counters.rx("packets")? - before.1.counters.rx("packets")?,
            u64::from(frames),
            "{}: rx packets",
            to.name
        );
        for (snapshot, who) in [(&after.0, from), (&after.1, to)] {
            snapshot
                .check_link_stats_after_down()
                .with_context(|| who.name.clone())?;
        }
    }
    Ok(())
}

pub const LARGEST_RING: u64 = 4096;

/// The value of `NAME:` in a section of ethtool's output that follows a line with `section`.
pub fn ethtool_value(text: &str, section: &str, name: &str) -> Result<u64> {
    let (_, rest) = text
        .split_once(section)
        .ok_or_else(|| anyhow!("ethtool shows no \"{section}\": {text}"))?;

    rest.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| *n == name)
        .with_context(|| format!("ethtool shows no {name}: {text}"))?
        .1
        .trim()
        .parse()
        .with_context(|| format!("ethtool, {name}: {text}"))
}

pub fn check_sizes(port: &Port, queues: u64, ring_size: u64) -> Result<()> {
    let channels = port.ethtool("-l", "")?;
    let rings = port.ethtool("-g", "")?;

    for section in ["Pre-set maximums", "Current hardware settings"] {
        ensure_eq!(
            ethtool_value(&channels, section, "Combined")?,
            queues,
            "ethtool -l, {section}"
        );
    }
    for (section, value) in [
        ("Pre-set maximums", LARGEST_RING),
        ("Current hardware settings", ring_size),
    ] {
        ensure_eq!(
            ethtool_value(&rings, section, "RX")?,
            value,
            "ethtool -g, {section}"
        );
    }
    port.expect_queues(queues as usize)?;
    ensure_eq!(
        port.counters()?.rx_each("packets")?.len() as u64,
        queues,
        "receive queues in ethtool -S"
    );
    Ok(())
}

/// Whether a device is promiscuous.
pub fn is_promiscuous(port: &Port) -> Result<bool> {
    Ok(port.link()?.promiscuity != 0)
}
