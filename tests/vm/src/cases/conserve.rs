// SPDX-License-Identifier: GPL-2.0

//! Every frame is accounted for, in both directions, under a mix of all verdicts.

use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::{ensure_eq, wait_until},
    stats::{check_both, Snapshot},
    support::verdict::{exchange_mix, FLOWS, ILLEGAL, MIX, PER_FLOW},
};
use anyhow::{ensure, Context, Result};

/// For each verdict, the driver did what the program decided.
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
    let [(program_a, a), (program_b, b)] = exchange_mix(bed)?;
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

    // The stack got exactly the frames of XDP_PASS and of the cpumap.
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
/// Without flow control: every frame that is lost is counted with a reason.
fn lossy(bed: &Bed) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        port.ethtool("-A", "rx off tx off")?;
    }
    let [(program_a, a), (program_b, b)] = exchange_mix(bed)?;

    check_mix(&program_a, &a)?;
    check_mix(&program_b, &b)?;
    check_both(&a, &b)
}
