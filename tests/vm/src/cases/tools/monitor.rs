// SPDX-License-Identifier: GPL-2.0

//! xdp-monitor: it sees what the driver reports through the kernel's tracepoints.

use super::{start, total, Pins};
use crate::{
    bed::Bed,
    harness::case,
    host::ensure_eq,
    support::verdict::{attach_verdict, set_cpumap},
    wire::{
        packet::Sender,
        probe::{verdict, Probe},
    },
};
use anyhow::{anyhow, ensure, Result};
use aya::maps::DevMap;

const TO_CPU: u32 = 300;
const TO_PORT: u32 = 200;
const ABORTED: u32 = 20;
const FAILED: u32 = 10;

case!(ports "tools::monitor", "", monitor);
fn monitor(bed: &Bed) -> Result<()> {
    let pins = Pins::watch()?;
    let port = &bed.b;
    let mut program = attach_verdict(bed)?;

    set_cpumap(&mut program)?;
    let map = program
        .object()
        .map_mut("devs")
        .ok_or_else(|| anyhow!("no map devs"))?;
    // Back to where they came from. A devmap takes devices of its writer's namespace.
    port.ns
        .enter(|| Ok(DevMap::try_from(map)?.set(0, port.ifindex, None, 0)?))?;

    let mut tool = start(port, "xdp-monitor --stats --extended --interval 1")?;
    // Its first line of numbers: by then it is attached to everything.
    tool.wait_for("devmap_xmit")?;

    let sender = Sender::open(&bed.a)?;
    let mut sent = 0;
    for (verdict, count) in [
        (verdict::REDIRECT, TO_CPU),
        (verdict::DEVMAP, TO_PORT),
        (verdict::ABORTED, ABORTED),
        (verdict::BAD_REDIRECT, FAILED),
    ] {
        sender.send_flow(&Probe::new(1, 0).verdict(verdict), count)?;
        sent += count;
    }
    port.wait_received(sent.into())?;
    for line in ["XDP_ABORTED", "XDP_REDIRECT", "EINVAL"] {
        tool.wait_for(line)?;
    }
    let said = tool.interrupt()?;

    for (label, expected) in [
        ("Packets redirected", TO_CPU + TO_PORT),
        ("Packets transmitted", TO_PORT),
        // A redirect that fails is one error more: the driver drops the frame for it.
        ("Errors recorded", ABORTED + 2 * FAILED),
    ] {
        ensure_eq!(
            total(&said, label)?,
            u64::from(expected),
            "xdp-monitor: {label}, in: {said}"
        );
    }
    ensure!(said.contains("kthread"), "{said}");
    pins.ensure_none()?;

    bed.a.wait_received(TO_PORT.into())?;
    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    b.counters.expect_rx(
        "B",
        &[
            ("xdp_redirect", (TO_CPU + TO_PORT).into()),
            ("xdp_aborted", ABORTED.into()),
            ("xdp_redirect_errors", FAILED.into()),
        ],
    )?;
    ensure_eq!(
        b.counters.tx("xdp_xmit")?,
        u64::from(TO_PORT),
        "B: tx_queue_*_xdp_xmit"
    );
    ensure_eq!(
        a.counters.rx("packets")?,
        u64::from(TO_PORT),
        "A: rx_queue_*_packets"
    );
    b.check_verdicts()
}
