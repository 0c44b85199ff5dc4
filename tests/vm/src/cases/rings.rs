// SPDX-License-Identifier: GPL-2.0

//! Every receive ring has the program.

use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::{ensure_eq, kmsg::Kmsg},
    stats::check_both,
    support::in_parallel,
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{ensure, Result};

const FLOWS: u32 = 64;

case!(ports "rings::each_sees_the_program", "queues=4", each_sees);
/// Attach, replace, detach: after each, frames on all rings, and the log names ring and program.
fn each_sees(bed: &Bed) -> Result<()> {
    let mut log = Kmsg::from_now()?;
    let first = Program::load("count", "count_drop")?;
    let second = Program::load("count", "count_pass")?;

    bed.up()?;
    bed.b.msglvl("rx_status on")?;

    bed.b.attach(&first)?;
    let before = sweep(bed, 1)?;
    let verdict = format!(
        "READ_ONCE: id {}; bpf_prog_run_xdp(128 bytes) = XDP_DROP",
        first.id
    );
    check_lines(&mut log, &verdict, &before)?;
    ensure_eq!(
        bed.b.counters()?.rx_each("xdp_drop")?,
        before,
        "B: rx_queue_*_xdp_drop"
    );
    ensure_eq!(
        first.seen()?,
        u64::from(FLOWS),
        "frames the first program saw"
    );

    bed.b.attach(&second)?;
    sweep(bed, 2)?;
    let verdict = format!(
        "READ_ONCE: id {}; bpf_prog_run_xdp(128 bytes) = XDP_PASS",
        second.id
    );
    check_lines(&mut log, &verdict, &before)?;
    ensure_eq!(
        bed.b.counters()?.rx_each("xdp_pass")?,
        before,
        "B: rx_queue_*_xdp_pass"
    );
    ensure_eq!(
        first.seen()?,
        u64::from(FLOWS),
        "frames the first program saw in the end"
    );
    ensure_eq!(
        second.seen()?,
        u64::from(FLOWS),
        "frames the second program saw"
    );

    bed.b.detach()?;
    sweep(bed, 3)?;
    check_lines(
        &mut log,
        "READ_ONCE: none; napi_gro_receive(128 bytes)",
        &before,
    )?;
    ensure_eq!(
        second.seen()?,
        u64::from(FLOWS),
        "frames the second program saw in the end"
    );

    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    check_both(&a, &b)
}

/// One frame on each flow for the `round`-th time; returns how many went to each ring per round.
fn sweep(bed: &Bed, round: u64) -> Result<Vec<u64>> {
    let sender = Sender::open(&bed.a)?;

    (0..FLOWS).try_for_each(|flow| sender.send(&Probe::new(flow, 0).frame()))?;
    bed.b.wait_received(u64::from(FLOWS) * round)?;
    let packets = bed.b.counters()?.rx_each("packets")?;

    ensure_eq!(packets.len(), 4, "receive rings");
    ensure!(
        packets.iter().all(|n| *n > 0),
        "a ring got none of {FLOWS} flows: {packets:?}"
    );
    ensure!(
        packets.iter().all(|n| n % round == 0),
        "flows moved between rings: {packets:?}"
    );
    Ok(packets.iter().map(|n| n / round).collect())
}

/// The log has the verdict line of each ring as often as frames went there, and forgets them.
fn check_lines(log: &mut Kmsg, verdict: &str, expected: &[u64]) -> Result<()> {
    for (ring, count) in expected.iter().enumerate() {
        let lines = log.starting_with(&format!("oxnic ox1: rx_ring[{ring}]: {verdict}"))?;

        ensure_eq!(
            lines.len() as u64,
            *count,
            "lines \"rx_ring[{ring}]: {verdict}\""
        );
    }
    log.forget()
}

case!(ports "rings::a_flow_stays_in_its_ring", "queues=4", flow_stays);
/// Frames of one flow share a ring whichever transmit queue they took.
fn flow_stays(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 200;

    bed.up()?;
    in_parallel((0..4).map(|_| || Sender::open(&bed.a)?.send_flow(&Probe::new(5, 0), COUNT)))?;
    bed.b.wait_received(u64::from(4 * COUNT))?;

    let packets = bed.b.counters()?.rx_each("packets")?;
    let used = packets.iter().filter(|n| **n > 0).count();
    ensure_eq!(
        used,
        1,
        "rings that got frames of the one flow ({packets:?})"
    );
    Ok(())
}
