// SPDX-License-Identifier: GPL-2.0

//! Whether a frame costs more where there are more rings, ports or flows.

use crate::{
    device::{Kind, BULK_SOURCE, DUMMY},
    host,
    packets::{FRAMES, RUNS},
    pktgen::{Pktgen, OTHER_MAC},
    programs::{Mode, Programs},
    progress::{newest, Progress},
    result::ScaleRow,
};
use anyhow::{ensure, Context, Result};
use oxnic_drop_points::cost::slope;

/// Ports and rings, and how many pairs of ports the frames are sent over in turn.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Layout {
    rings: u32,
    pairs: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Pktgen { flows: u32 },
    Bulk,
}

const LAYOUTS: [Layout; 5] = [
    Layout { rings: 1, pairs: 1 },
    Layout { rings: 4, pairs: 1 },
    Layout {
        rings: 16,
        pairs: 1,
    },
    Layout { rings: 1, pairs: 4 },
    Layout {
        rings: 1,
        pairs: 16,
    },
];
/// Few and many flows; many reach all rings.
const FLOWS: [u32; 2] = [1, 1024];

pub struct Bench<'a> {
    programs: &'a Programs,
    rows: Vec<(Layout, Source, ScaleRow)>,
}

impl<'a> Bench<'a> {
    /// The measurements whose names contain `filter`.
    pub fn new(programs: &'a Programs, filter: &str) -> Self {
        let mut rows = Vec::new();

        for layout in LAYOUTS {
            let Layout { rings, pairs } = layout;
            let mut add = |source, title: &str, flows| {
                let row = ScaleRow {
                    name: format!("scale-{title}-rings-{rings}-ports-{pairs}-flows-{flows}"),
                    source: title.into(),
                    rings,
                    ports: pairs,
                    flows,
                    runs: Vec::new(),
                };

                rows.push((layout, source, row));
            };

            if pairs == 1 {
                for flows in FLOWS {
                    add(Source::Pktgen { flows }, "pktgen", flows);
                }
            }
            add(Source::Bulk, "bulk", 1);
        }
        rows.retain(|row| row.2.name.contains(filter));
        Self { programs, rows }
    }

    pub fn steps(&self) -> usize {
        RUNS * self.rows.len()
    }

    /// Measures everything; no device of oxnic is there.
    pub fn measure(mut self, progress: &mut Progress) -> Result<Vec<ScaleRow>> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        self.programs.attach_tcx(BULK_SOURCE, "bench_tc_spread")?;
        for layout in LAYOUTS {
            if self.rows.iter().all(|row| row.0 != layout) {
                continue;
            }
            make_dummy(layout.rings)?;
            Kind::Oxnic.make_bare(layout.pairs, layout.rings)?;
            for pair in 0..layout.pairs {
                self.programs.attach(
                    &Kind::Oxnic.port(2 * pair + 1),
                    "bench_drop",
                    Mode::Native,
                )?;
            }
            for (_, source, row) in self.rows.iter_mut().filter(|row| row.0 == layout) {
                for _ in 0..RUNS {
                    let own = slope(FRAMES, |frames| {
                        send(self.programs, *source, &[DUMMY.into()], frames)
                    })?;
                    let cost = slope(FRAMES, |frames| {
                        send_all(self.programs, layout, *source, frames)
                    })
                    .with_context(|| row.name.clone())?;

                    row.runs.push(cost - own);
                    progress.step(&row.name, "oxnic", &newest(&row.runs, 0));
                }
            }
            Kind::Oxnic.remove(layout.pairs)?;
        }
        self.programs.detach_tcx(BULK_SOURCE, "bench_tc_spread")?;
        Ok(self.rows.into_iter().map(|row| row.2).collect())
    }
}

/// What the sources are measured against has as many transmit queues: to choose one for an sk_buff
/// of the stack takes a hash over its headers, which is none of the device's work.
fn make_dummy(queues: u32) -> Result<()> {
    for line in [
        format!("ip link del {DUMMY}"),
        format!("ip link add {DUMMY} numtxqueues {queues} type dummy"),
        format!("ip link set dev {DUMMY} addrgenmode none"),
        format!("ip link set dev {DUMMY} up"),
    ] {
        host::run(&line)?;
    }
    Ok(())
}

fn send(programs: &Programs, source: Source, devices: &[String], frames: u32) -> Result<f64> {
    match source {
        Source::Pktgen { flows } => Pktgen {
            flows,
            ..Pktgen::new(60)
        }
        .send(&devices[0], OTHER_MAC, frames),
        Source::Bulk => {
            let devices: Vec<&str> = devices.iter().map(String::as_str).collect();

            programs.send_skbs_to(BULK_SOURCE, &devices, 60, OTHER_MAC, frames)
        }
    }
}

/// Sends frames and waits until all have arrived, and in all rings if they are of many flows.
fn send_all(programs: &Programs, layout: Layout, source: Source, frames: u32) -> Result<f64> {
    let [senders, receivers] = [0, 1].map(|end| {
        (0..layout.pairs)
            .map(|pair| Kind::Oxnic.port(2 * pair + end))
            .collect::<Vec<_>>()
    });
    let counts = || {
        receivers
            .iter()
            .map(|port| host::ring_counters(port, "rx_queue_", "_packets"))
            .collect::<Result<Vec<_>>>()
            .map(|counts| counts.concat())
    };
    let before = counts()?;
    let elapsed = send(programs, source, &senders, frames)?;

    ensure!(
        before.len() == (layout.rings * layout.pairs) as usize,
        "{} rings have counters",
        before.len()
    );
    host::eventually(|| {
        let came: Vec<u64> = counts()?
            .iter()
            .zip(&before)
            .map(|(now, before)| now - before)
            .collect();
        let sum: u64 = came.iter().sum();
        let used = came.iter().filter(|count| **count > 0).count();
        let expected = match source {
            Source::Pktgen { flows: 1 } => 1,
            Source::Pktgen { .. } => layout.rings as usize,
            Source::Bulk => layout.pairs as usize,
        };

        ensure!(sum == u64::from(frames), "{sum} of {frames} frames arrived");
        ensure!(
            used == expected,
            "frames came through {used} rings, not {expected}"
        );
        Ok(())
    })?;
    Ok(elapsed)
}
