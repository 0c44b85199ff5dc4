// SPDX-License-Identifier: GPL-2.0

//! The kernel's statistics of each queue (`netdev` netlink family), beside those of the driver and of
//! `ip -s link`.

use super::{
    conserve::exchange,
    steer::{Chain, Steer},
    traffic::settle,
    verdict::ILLEGAL,
};
use crate::{
    bed::{Bed, Port},
    harness::case,
    host::ensure_eq,
    nl::netdev::{self, QueueStats},
    stats::Snapshot,
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{ensure, Result};

fn device_stats(port: &Port) -> Result<QueueStats> {
    port.ns.enter(|| netdev::device_stats(port.ifindex))
}

/// Each queue's numbers are those of the driver, and their sums those of the link.
fn check(port: &Port) -> Result<()> {
    let all = port.counters()?.rx_each("packets")?.len();

    check_first(port, all)
}

/// As [`check`], for a port that uses only its first `n` queues: the others are in the sums.
pub fn check_first(port: &Port, n: usize) -> Result<()> {
    let queues = port.ns.enter(|| netdev::queue_stats(port.ifindex))?;
    let snapshot = port.snapshot()?;
    let c = &snapshot.counters;
    let each = |what: &str| c.rx_each(what);

    ensure_eq!(queues.len(), 2 * n, "{}: queues with statistics", port.name);
    for id in 0..n {
        let of = |receives| {
            queues
                .iter()
                .find(|queue| queue.queue == Some((receives, id as u64)))
                .cloned()
                .unwrap_or_default()
        };
        let (rx, tx) = (of(true), of(false));

        ensure_eq!(
            (rx.rx_packets, rx.rx_bytes, rx.rx_alloc_fail),
            (
                Some(each("packets")?[id]),
                Some(each("bytes")?[id]),
                Some(each("skb_alloc_fail")?[id] + each("buf_alloc_fail")?[id])
            ),
            "{}: receive queue {id}: packets, bytes, alloc-fail",
            port.name
        );
        ensure_eq!(
            (tx.tx_packets, tx.tx_bytes),
            (
                Some(c.tx_each("packets")?[id] + each("xdp_tx")?[id] + c.tx_each("xdp_xmit")?[id]),
                Some(
                    c.tx_each("bytes")?[id]
                        + each("xdp_tx_bytes")?[id]
                        + c.tx_each("xdp_xmit_bytes")?[id]
                )
            ),
            "{}: transmit queue {id}: packets, bytes",
            port.name
        );
    }
    check_device(port, &snapshot)
}

fn check_device(port: &Port, snapshot: &Snapshot) -> Result<()> {
    let device = device_stats(port)?;

    for (name, value) in [
        ("rx_packets", device.rx_packets),
        ("rx_bytes", device.rx_bytes),
        ("tx_packets", device.tx_packets),
        ("tx_bytes", device.tx_bytes),
    ] {
        ensure_eq!(
            value,
            Some(snapshot.link.stat(name)?),
            "{}: {name} of the device",
            port.name
        );
    }
    ensure_eq!(
        device.rx_alloc_fail,
        Some(0),
        "{}: alloc-fail of the device",
        port.name
    );
    Ok(())
}

case!(ports "qstats::all_verdicts", "queues=4", verdicts; allow(&[ILLEGAL]));
/// Frames that XDP consumed count as those that it passed.
fn verdicts(bed: &Bed) -> Result<()> {
    let [(_program_a, a), (_program_b, b)] = exchange(bed)?;

    for (port, snapshot) in [(&bed.a, &a), (&bed.b, &b)] {
        ensure!(
            snapshot.counters.rx("xdp_tx")? > 0 && snapshot.counters.rx("xdp_drop")? > 0,
            "{}: nothing was tested",
            port.name
        );
        check(port)?;
    }
    Ok(())
}

case!(ports "qstats::redirects", "pairs=2 queues=2", redirects);
/// What is redirected counts at the queue that sends it.
fn redirects(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 100;
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;

    steer.device(0, &chain.second.a, None)?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    let sender = Sender::open(&bed.a)?;
    for seq in 0..COUNT {
        sender.send(&Probe::new(seq % 8, seq).len(60 + seq as usize * 9).frame())?;
    }
    let [_, _, ox2, _] = chain.settle()?;
    ox2.counters
        .expect_tx("ox2", &[("xdp_xmit", COUNT.into())])?;
    for port in chain.ports() {
        check(port)?;
    }
    Ok(())
}

case!(ports "qstats::down_and_up", "queues=2", down_and_up; allow(&[ILLEGAL]));
/// A port that goes down and comes up again keeps its sums, and shows its queues while it is up.
fn down_and_up(bed: &Bed) -> Result<()> {
    let _programs = exchange(bed)?;

    for _ in 0..2 {
        let before = [device_stats(&bed.a)?, device_stats(&bed.b)?];

        for (port, before) in [&bed.a, &bed.b].into_iter().zip(&before) {
            check(port)?;
            port.set("down")?;
            ensure_eq!(
                &device_stats(port)?,
                before,
                "{}: sums after down",
                port.name
            );
            check_device(port, &port.snapshot()?)?;
        }
        bed.up()?;
        for (port, before) in [&bed.a, &bed.b].into_iter().zip(&before) {
            ensure_eq!(&device_stats(port)?, before, "{}: sums after up", port.name);
            check(port)?;
        }
        Sender::open(&bed.a)?.send_flow(&Probe::new(1, 0), 10)?;
        settle(bed)?;
    }
    Ok(())
}
