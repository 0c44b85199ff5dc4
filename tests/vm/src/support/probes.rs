// SPDX-License-Identifier: GPL-2.0

//! Sets of probes, and how they are sent.

use super::{buffers::BUFFER, in_parallel};
use crate::{
    bed::{Bed, Port},
    host::{cpus, ensure_eq},
    wire::{packet::Sender, probe::Probe, ETH},
};
use anyhow::{bail, Result};

/// Sends `count` probes on each of `flows` flows, each flow from a socket and thread of its own.
/// The threads are spread over all CPUs.
pub fn flood(
    port: &Port,
    flows: u32,
    count: u32,
    make: impl Fn(u32) -> Probe + Sync,
) -> Result<()> {
    let make = &make;
    let cpus = cpus::all()?;

    in_parallel((0..flows).zip(cpus.into_iter().cycle()).map(|(flow, cpu)| {
        move || {
            cpus::keep_on(0, cpu)?;
            Sender::open(port)?.send_flow(&make(flow), count)
        }
    }))
    .map(drop)
}

/// Sends one frame after the other from port A.
pub fn send_all(bed: &Bed, probes: &[Probe]) -> Result<()> {
    Sender::open(&bed.a)?.send_in_order(probes.iter().cloned())
}

/// As [`send_all`], but waits for B to receive each, so that what is told of them has one possible
/// order.
pub fn send_each(bed: &Bed, probes: &[Probe]) -> Result<()> {
    let sender = Sender::open(&bed.a)?;
    let mut received = bed.b.link()?.stat("rx_packets")?;

    for probe in probes {
        sender.send(&probe.frame())?;
        received += 1;
        bed.b.wait_received(received)?;
    }
    Ok(())
}

/// Probes of one flow in all sizes that the default MTU allows.
pub fn assorted(verdict: u8) -> Vec<Probe> {
    [
        60, 61, 63, 64, 65, 127, 128, 129, 255, 256, 1000, 1024, 1499, 1513, 1514,
    ]
    .into_iter()
    .zip(0..)
    .map(|(len, seq)| Probe::new(1, seq).verdict(verdict).len(len))
    .collect()
}

pub fn total_len(probes: &[Probe]) -> u64 {
    probes.iter().map(|probe| probe.len as u64).sum()
}

/// The `count` probes of each of these flows are all there and in order.
pub fn check_flows(
    probes: &[Probe],
    flows: impl IntoIterator<Item = u32>,
    count: u32,
) -> Result<()> {
    for flow in flows {
        let seqs: Vec<_> = probes
            .iter()
            .filter(|probe| probe.flow == flow)
            .map(|probe| probe.seq)
            .collect();

        ensure_eq!(seqs.len(), count as usize, "frames of flow {flow}");
        if let Some(at) = (0..count).zip(&seqs).find(|(n, seq)| n != *seq) {
            bail!(
                "flow {flow}: frame {} where frame {} was expected",
                at.1,
                at.0
            );
        }
    }
    Ok(())
}

pub fn set_mtu(bed: &Bed, mtu: usize) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        port.set_mtu(mtu)?;
    }
    Ok(())
}

/// Probes of one flow with lengths around several boundaries between buffers, as far as the MTU
/// allows.
pub fn lengths(mtu: usize, verdict: u8) -> Vec<Probe> {
    let longest = mtu + ETH;
    let around = |n: usize| [n * BUFFER - 1, n * BUFFER, n * BUFFER + 1];

    [60, 1514]
        .into_iter()
        .chain([1, 2, 3, 9, 17].into_iter().flat_map(around))
        .chain([BUFFER + 2, 8000, 30_000, longest - 1, longest])
        .filter(|len| *len <= longest)
        .zip(0..)
        .map(|(len, seq)| Probe::new(1, seq).verdict(verdict).len(len))
        .collect()
}

/// How many of the probes are in more than one buffer.
pub fn long(probes: &[Probe]) -> u64 {
    probes.iter().filter(|probe| probe.len > BUFFER).count() as u64
}
