// SPDX-License-Identifier: GPL-2.0

//! A port beside a device of netdevsim: bridged, and with programs that redirect from one to the
//! other.

use crate::{
    bed::{Bed, Port, NS_A, NS_B},
    harness::case,
    host::{
        ensure_eq,
        netdevsim::{self, Netdevsim},
    },
    nl::link::New,
    support::{
        probes::{assorted, send_all},
        steer::Steer,
        traffic::{settle, settle_wire},
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
    },
};
use anyhow::{Context, Result};

/// Sends frames of all lengths, and fails unless they arrive unchanged. Returns how many these are.
fn through(from: &Port, to: &Port, what: &str) -> Result<u64> {
    const TIMES: u32 = 20;
    let frames: Vec<_> = (0..TIMES)
        .flat_map(|_| assorted(verdict::PASS))
        .zip(0..)
        .map(|(probe, seq)| Probe { seq, ..probe })
        .collect();
    let tap = Tap::open(to)?;
    let sender = Sender::open(from)?;

    frames
        .iter()
        .try_for_each(|probe| sender.send(&probe.frame()))?;
    let found = tap.probes(frames.len()).context(what.to_owned())?;
    ensure_eq!(found, frames, "{what}");
    Ok(frames.len() as u64)
}

/// What a device of the kernel has received and sent.
fn frames(port: &Port) -> Result<(u64, u64)> {
    let link = port.link()?;

    Ok((link.stat("rx_packets")?, link.stat("tx_packets")?))
}

case!(ports "netdevsim::bridge", "queues=2", bridge; needs(netdevsim::is_there));
fn bridge(bed: &Bed) -> Result<()> {
    bed.up()?;
    let sim = Netdevsim::make(NS_B, NS_A)?;

    let bridge = Port::add(&bed.b.ns, "br0", New::bridge())?;
    for port in [&bed.b, &sim.near] {
        port.join(&bridge)?;
    }
    bridge.up()?;
    let there = through(&bed.a, &sim.far, "from the port")?;
    let back = through(&sim.far, &bed.a, "to the port")?;
    ensure_eq!(frames(&sim.near)?, (back, there), "netdevsim, near");
    ensure_eq!(frames(&sim.far)?, (there, back), "netdevsim, far");
    let (a, b) = settle_wire(bed)?;
    for (port, received, sent) in [(&a, back, there), (&b, there, back)] {
        port.counters
            .expect_rx(&port.name, &[("packets", received)])?;
        port.counters.expect_tx(&port.name, &[("packets", sent)])?;
    }
    Ok(())
}

case!(ports "netdevsim::redirect", "queues=2", redirect; needs(netdevsim::is_there));
/// netdevsim runs programs on skbs, which are redirected to the port's `ndo_start_xmit`. It takes
/// no frames of XDP itself: what the port's program redirects to it is lost and counted.
fn redirect(bed: &Bed) -> Result<()> {
    bed.up()?;
    let sim = Netdevsim::make(NS_B, NS_A)?;
    let mut steer = Steer::load()?;

    sim.near.attach(&steer.program)?;
    steer.by_ifindex(bed.b.ifindex)?;
    let by_number = through(&sim.far, &bed.a, "redirected by number")?;
    steer.device(0, &bed.b, None)?;
    steer.by_device(0)?;
    let by_map = through(&sim.far, &bed.a, "redirected by a devmap")?;
    let (a, b) = settle(bed)?;
    let all = by_number + by_map;
    ensure_eq!(frames(&sim.near)?, (all, 0), "netdevsim, near");
    a.counters.expect_rx(&a.name, &[("packets", all)])?;
    b.counters.expect_tx(&b.name, &[("packets", all)])?;
    sim.near.detach()?;

    steer.by_ifindex(sim.near.ifindex)?;
    bed.b.attach(&steer.program)?;
    let lost = assorted(verdict::PASS);
    send_all(bed, &lost)?;
    bed.b.wait_received(lost.len() as u64)?;
    let (_, b) = settle(bed)?;
    b.check_verdicts()?;
    b.counters
        .expect_rx(&b.name, &[("xdp_redirect_errors", lost.len() as u64)])?;
    ensure_eq!(frames(&sim.near)?, (all, 0), "netdevsim, near, in the end");
    Ok(())
}
