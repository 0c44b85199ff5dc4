// SPDX-License-Identifier: GPL-2.0

//! Changes to ports at work.

use super::traffic::{check_alive, settle_wire, wait_flowing, while_sending, Source};
use crate::{
    bed::{Bed, Port},
    bpf::Program,
    host::ensure_eq,
};
use anyhow::{Context, Result};
use std::fmt::Display;

/// Programs on both ports and traffic in both directions, while `work` goes on; no frame is lost.
pub fn under_traffic<S: Copy + Display>(
    bed: &Bed,
    work: impl Fn(S, &Port) -> Result<()>,
    steps: &[S],
) -> Result<()> {
    let programs = [
        Program::load("count", "count_drop")?,
        Program::load("count", "count_pass")?,
    ];

    bed.up()?;
    bed.a.attach(&programs[0])?;
    bed.b.attach(&programs[1])?;
    let sources = [Source::new(&bed.a), Source::new(&bed.b)];
    while_sending(&sources, |_| {
        for &step in steps {
            for port in [&bed.b, &bed.a] {
                work(step, port).with_context(|| format!("{}: {step}", port.name))?;
                wait_flowing(bed, 100).with_context(|| format!("{}: {step}", port.name))?;
            }
        }
        Ok(())
    })?;
    let (a, b) = settle_wire(bed)?;
    for (snapshot, program) in [(&a, &programs[0]), (&b, &programs[1])] {
        snapshot.check_verdicts()?;
        snapshot.counters.expect_rx(
            &snapshot.name,
            &[
                ("no_buffer", 0),
                ("oversize", 0),
                ("down", 0),
                ("skb_alloc_fail", 0),
            ],
        )?;
        snapshot
            .counters
            .expect_tx(&snapshot.name, &[("dropped", 0), ("carrier", 0)])?;
        ensure_eq!(
            program.seen()?,
            snapshot.counters.rx("packets")?,
            "{}: frames that the program saw",
            snapshot.name
        );
    }
    check_alive(bed)
}
