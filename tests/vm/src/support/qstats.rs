// SPDX-License-Identifier: GPL-2.0

//! Compares the kernel's queue statistics with the counters of the driver and of the link.

use crate::{
    bed::Port,
    host::ensure_eq,
    nl::netdev::{self, QueueStats},
    stats::Snapshot,
};
use anyhow::Result;

pub fn device_stats(port: &Port) -> Result<QueueStats> {
    port.ns.enter(|| netdev::device_stats(port.ifindex))
}

/// As [`check`], for a port that uses only its first `n` queues. The counters of the others are in
/// the sums.
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
                Some(
                    c.tx_each("packets")?[id]
                        + each("xdp_tx")?[id]
                        + c.tx_each("xdp_xmit")?[id]
                        + c.tx_each("xsk_packets")?[id]
                ),
                Some(
                    c.tx_each("bytes")?[id]
                        + each("xdp_tx_bytes")?[id]
                        + c.tx_each("xdp_xmit_bytes")?[id]
                        + c.tx_each("xsk_bytes")?[id]
                )
            ),
            "{}: transmit queue {id}: packets, bytes",
            port.name
        );
    }
    check_device(port, &snapshot)
}

/// Each queue's numbers are those of the driver, and their sums those of the link.
pub fn check(port: &Port) -> Result<()> {
    let all = port.counters()?.rx_each("packets")?.len();

    check_first(port, all)
}

pub fn check_device(port: &Port, snapshot: &Snapshot) -> Result<()> {
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
