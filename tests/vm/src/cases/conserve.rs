// SPDX-License-Identifier: GPL-2.0

//! Every frame is accounted for, in both directions, under a mix of all verdicts.

use super::{
    in_parallel,
    verdict::{set_cpumap, ILLEGAL},
};
use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{ensure_eq, wait_until},
    stats::{check_both, Snapshot},
    wire::{
        packet::Sender,
        probe::{verdict, Probe},
    },
};
use anyhow::{ensure, Context, Result};

/// So many that they hardly all hash to one ring, whatever the key of the day.
const FLOWS: u32 = 8;
const PER_FLOW: u32 = 784;

/// The verdicts in turn, and the counters that tell how often each took effect.
const MIX: [(u8, &[&str]); 7] = [
    (verdict::PASS, &["xdp_pass"]),
    (verdict::TX, &["xdp_tx", "xdp_tx_errors"]),
    (verdict::DROP, &["xdp_drop"]),
    (verdict::REDIRECT, &["xdp_redirect"]),
    (verdict::ABORTED, &["xdp_aborted"]),
    (verdict::UNKNOWN, &["xdp_unknown"]),
    (verdict::BAD_REDIRECT, &["xdp_redirect_errors"]),
];

/// The probe with sequence number `seq` of a flow: verdict and length go round.
fn probe(flow: u32, seq: u32) -> Probe {
    let (verdict, _) = MIX[(seq + flow) as usize % MIX.len()];

    Probe::new(flow, seq)
        .verdict(verdict)
        .len(60 + (seq as usize * 37) % 1455)
}

fn send(port: &Port, flow: u32) -> Result<()> {
    let sender = Sender::open(port)?;

    (0..PER_FLOW).try_for_each(|seq| sender.send(&probe(flow, seq).frame()))
}

/// Sends the mix from both ports at once through a program at either.
pub fn exchange(bed: &Bed) -> Result<[(Program, Snapshot); 2]> {
    let mut programs = Vec::new();

    for port in [&bed.a, &bed.b] {
        let mut program = Program::load("verdict", "verdict")?;

        set_cpumap(&mut program)?;
        port.attach(&program)?;
        programs.push(program);
    }
    bed.up()?;
    let jobs = [&bed.a, &bed.b]
        .into_iter()
        .flat_map(|port| (0..FLOWS).map(move |n| (port, n)));
    in_parallel(jobs.map(|(port, flow)| move || send(port, flow)))?;

    // What came to A came back from B and the other way round, so the sums settle together.
    let total = |port: &Port| -> Result<u64> { port.link()?.stat("tx_packets") };
    let mut sums = (0, 0);
    loop {
        let now = (total(&bed.a)?, total(&bed.b)?);
        bed.a.wait_accounted(now.1)?;
        bed.b.wait_accounted(now.0)?;
        if now == sums {
            break;
        }
        sums = now;
    }
    let (b, a) = (programs.pop(), programs.pop());
    match (a, b) {
        (Some(a), Some(b)) => Ok([(a, bed.a.snapshot()?), (b, bed.b.snapshot()?)]),
        _ => unreachable!("two programs were pushed"),
    }
}

/// What the program decided is what the driver did, verdict by verdict.
fn check_mix(program: &Program, port: &Snapshot) -> Result<()> {
    for (verdict, counters) in MIX {
        let mut found = 0;
        for counter in counters {
            found += port.counters.rx(counter)?;
        }
        let expected = program.read::<u64>("counts", verdict.into())?;
        ensure_eq!(
            found,
            expected,
            "{}: {} for verdict {verdict}",
            port.name,
            counters.join(" + ")
        );
    }
    port.check_verdicts()
}

case!(ports "conserve::mixed_verdicts_both_ways", "queues=4", mixed; allow(&[ILLEGAL]));
fn mixed(bed: &Bed) -> Result<()> {
    let [(program_a, a), (program_b, b)] = exchange(bed)?;
    let each = u64::from(FLOWS * PER_FLOW) / MIX.len() as u64;

    for (program, port, peer) in [(&program_a, &a, &b), (&program_b, &b, &a)] {
        // XDP_TX does not wait for buffers.
        let back = peer.counters.rx("xdp_tx")? - port.counters.rx("no_buffer")?;

        check_mix(program, port)?;
        port.counters.expect_rx(
            &port.name,
            &[
                ("xdp_drop", each),
                ("xdp_aborted", each),
                ("xdp_unknown", each),
                ("xdp_redirect", each),
                ("xdp_redirect_errors", each),
                ("xdp_pass", each + back),
                ("oversize", 0),
                ("down", 0),
            ],
        )?;
        ensure!(
            port.counters
                .rx_each("packets")?
                .iter()
                .filter(|n| **n > 0)
                .count()
                > 1,
            "{}: only one ring had traffic",
            port.name
        );
    }
    check_both(&a, &b)?;

    // The stack got what was passed to it and what the cpumap brought there, and nothing else.
    for (port, snapshot) in [(&bed.a, &a), (&bed.b, &b)] {
        let passed = snapshot.counters.rx("xdp_pass")? + snapshot.counters.rx("xdp_redirect")?;
        let mut found = 0;

        wait_until("the stack has every frame", || {
            found = port.link()?.stat("rx_otherhost_dropped")?;
            Ok(found >= passed)
        })
        .with_context(|| {
            format!(
                "{}: {found} of {passed} frames reached the stack",
                port.name
            )
        })?;
        ensure_eq!(
            found,
            passed,
            "{}: frames that reached the stack",
            port.name
        );
    }
    Ok(())
}

case!(ports "conserve::small_rings_without_pause", "queues=2 ring_size=64", lossy;
    allow(&[ILLEGAL]));
/// Without flow control: whatever is lost is lost under a name.
fn lossy(bed: &Bed) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        port.ethtool("-A", "rx off tx off")?;
    }
    let [(program_a, a), (program_b, b)] = exchange(bed)?;

    check_mix(&program_a, &a)?;
    check_mix(&program_b, &b)?;
    check_both(&a, &b)
}
