// SPDX-License-Identifier: GPL-2.0

//! Changes to ports under traffic.

use super::traffic::{check_alive, settle_wire, wait_flowing, while_sending, Source};
use crate::{
    bed::{Bed, Port},
    bpf::Program,
    host::ensure_eq,
    wire::probe::Probe,
};
use anyhow::{Context, Result};
use std::fmt::Display;

/// What goes on while ports are changed: traffic in both directions, and a program on each port.
pub struct Background {
    /// Programs of `count.bpf.c`, of port A and of port B.
    pub programs: [&'static str; 2],
    /// What is sent, except for the flow and the sequence number.
    pub probe: Probe,
    /// Whether frames may find no buffer, as without flow control.
    pub may_lose: bool,
}

impl Default for Background {
    fn default() -> Self {
        Self {
            programs: ["count_drop", "count_pass"],
            probe: Probe::new(0, 0),
            may_lose: false,
        }
    }
}

impl Background {
    /// Does `work` meanwhile. Then every frame is accounted for, none is lost, the programs have
    /// seen all that were received, and no queue is stuck.
    pub fn run(&self, bed: &Bed, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let programs = [
            Program::load("count", self.programs[0])?,
            Program::load("count", self.programs[1])?,
        ];
        let sources = [&bed.a, &bed.b].map(|port| Source::new(port).probe(self.probe.clone()));

        bed.up()?;
        bed.a.attach(&programs[0])?;
        bed.b.attach(&programs[1])?;
        // The counters go on from what was sent earlier.
        let (old_a, old_b) = settle_wire(bed)?;
        while_sending(&sources, |_| work())?;
        let (a, b) = settle_wire(bed)?;
        for (old, new, program) in [(&old_a, &a, &programs[0]), (&old_b, &b, &programs[1])] {
            let (counters, name) = (&new.counters, &new.name);
            let received = counters.rx("packets")? - old.counters.rx("packets")?;

            counters.expect_rx(name, &[("oversize", 0), ("down", 0), ("skb_alloc_fail", 0)])?;
            if !self.may_lose {
                counters.expect_rx(name, &[("no_buffer", 0)])?;
            }
            counters.expect_tx(name, &[("dropped", 0), ("carrier", 0)])?;
            ensure_eq!(
                new.verdicts()? - old.verdicts()?,
                received,
                "{name}: sum of all verdicts"
            );
            ensure_eq!(
                program.seen()?,
                received,
                "{name}: frames that the program saw"
            );
        }
        check_alive(bed)
    }
}

/// Makes a change to one port after the other under traffic, once for each step; no frame is lost.
pub fn under_traffic<S: Copy + Display>(
    bed: &Bed,
    change: impl Fn(S, &Port) -> Result<()>,
    steps: &[S],
) -> Result<()> {
    Background::default().run(bed, || {
        for &step in steps {
            for port in [&bed.b, &bed.a] {
                change(step, port).with_context(|| format!("{}: {step}", port.name))?;
                wait_flowing(bed, 100).with_context(|| format!("{}: {step}", port.name))?;
            }
        }
        Ok(())
    })
}
