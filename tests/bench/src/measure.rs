// SPDX-License-Identifier: GPL-2.0

//! The measurement; runs in the VM.

use crate::{
    device::{self, Kind, BULK_SOURCE, DUMMY, KINDS, NULL},
    host,
    pktgen::Pktgen,
    profile,
    programs::{Programs, BATCH, GENERIC, NATIVE},
    result::{Cell, Floor, Results, Row},
    scenario::{self, Scenario, Sink, Source},
};
use anyhow::{ensure, Context, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::Path,
};

/// How often everything is measured.
const RUNS: usize = 2;
/// Frames that are sent before a measurement, so that pools and caches are as in the long run.
const WARM_UP: u32 = 2048;
/// Frames of a measurement: so many that what is not of one frame does not show.
const FRAMES: u32 = 65536;
const PROGRAM_RUNS: u32 = 100_000;

/// What the plugin's profiles are of, in their order.
#[derive(Serialize, Deserialize)]
pub struct Profiled {
    /// Empty for the source alone.
    pub scenario: String,
    pub kind: Option<Kind>,
    pub source: String,
    pub frames: u64,
}

/// A scenario that is not possible on a device, with the reason.
#[derive(Debug)]
struct Impossible(String);

impl std::fmt::Display for Impossible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Impossible {}

struct Bench {
    programs: Programs,
    done: usize,
    steps: usize,
}

pub fn measure(out: &Path, objects: &Path, filter: &str) -> Result<()> {
    let scenarios = scenario::all(filter);
    let sources: BTreeSet<Source> = scenarios.iter().map(|scenario| scenario.source).collect();

    ensure!(
        !scenarios.is_empty(),
        "no scenario has '{filter}' in its name"
    );
    device::make_others()?;
    for kind in KINDS {
        kind.make(1)?;
    }
    let mut bench = Bench {
        programs: Programs::load(objects)?,
        done: 0,
        steps: RUNS * (scenarios.len() * KINDS.len() + sources.len() + 2),
    };

    bench.programs.attach_bulk_source(BULK_SOURCE)?;
    bench.programs.queue_to_cpu(0, 2048)?;
    let mut rows: Vec<_> = scenarios.iter().map(row).collect();
    let mut floor = [
        ("the program alone, BPF_PROG_TEST_RUN", Vec::new()),
        ("live frames, XDP_DROP", Vec::new()),
    ];
    let mut alone: BTreeMap<Source, Vec<f64>> = BTreeMap::new();

    for _ in 0..RUNS {
        floor[0].1.push(slope(PROGRAM_RUNS, |count| {
            bench.programs.run("bench_drop", count)
        })?);
        bench.progress(floor[0].0, "", Some(&floor[0].1));
        floor[1].1.push(slope(FRAMES, |count| {
            bench.programs.run_live("bench_drop", 60, count)
        })?);
        bench.progress(floor[1].0, "", Some(&floor[1].1));
        for source in &sources {
            let runs = alone.entry(*source).or_default();
            runs.push(bench.alone(*source)?);
            bench.progress(&source.title(), "alone", Some(runs));
        }
        for (scenario, row) in scenarios.iter().zip(&mut rows) {
            for kind in KINDS {
                let own = alone[&scenario.source].last().copied().unwrap_or(0.0);
                let cell = row.cells.entry(kind).or_default();

                match bench.scenario(scenario, kind, FRAMES) {
                    Ok(cost) => cell.runs.push(cost - own),
                    Err(error) => match error.downcast::<Impossible>() {
                        Ok(reason) => cell.skipped = Some(reason.0),
                        Err(error) => {
                            return Err(error)
                                .with_context(|| format!("{} on {}", scenario.name, kind.name()))
                        }
                    },
                }
                bench.progress(
                    &scenario.name,
                    kind.name(),
                    cell.skipped.is_none().then_some(&cell.runs),
                );
            }
        }
    }
    // The modules and programs are all loaded, so this has them too.
    let kallsyms = host::read("/proc/kallsyms")?;

    fs::write(out.join("kallsyms"), &kallsyms)?;
    profile::write_ranges(&kallsyms, &out.join("ranges"))?;
    let profiled = bench.profiles(&scenarios, &rows)?;
    let results = Results {
        kernel: host::read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        scenarios: rows,
        floor: floors(
            floor
                .into_iter()
                .map(|(name, runs)| (name.to_owned(), runs)),
        ),
        sources: floors(
            alone
                .into_iter()
                .map(|(source, runs)| (source.title(), runs)),
        ),
    };

    fs::write(out.join("results.json"), serde_json::to_string(&results)?)?;
    fs::write(out.join("profiled.json"), serde_json::to_string(&profiled)?)?;
    Ok(())
}

fn floors(list: impl Iterator<Item = (String, Vec<f64>)>) -> Vec<Floor> {
    list.map(|(name, runs)| Floor { name, runs }).collect()
}

fn row(scenario: &Scenario) -> Row {
    Row {
        name: scenario.name.clone(),
        title: scenario.title.clone(),
        source: scenario.source.title(),
        goal: scenario.goal,
        cells: BTreeMap::<Kind, Cell>::new(),
    }
}

impl Bench {
    fn progress(&mut self, name: &str, what: &str, runs: Option<&Vec<f64>>) {
        self.done += 1;
        let cost = match runs.and_then(|runs| runs.last()) {
            Some(cost) => format!("{cost:.0}"),
            None => "skipped".into(),
        };

        println!("[{:3}/{}] {name} {what}: {cost}", self.done, self.steps);
        let _ = std::io::stdout().flush();
    }

    /// What the source costs into a device that only frees.
    fn alone(&self, source: Source) -> Result<f64> {
        self.source_into(source, sink_of(source), FRAMES)
    }

    fn source_into(&self, source: Source, device: &str, frames: u32) -> Result<f64> {
        match source {
            Source::Pktgen(pktgen) => {
                pktgen.send(device, WARM_UP.into())?;
                pktgen.send(device, frames.into())
            }
            _ => slope(frames, |frames| self.once(source, device, frames)),
        }
    }

    /// Sends frames; returns how long that took.
    fn once(&self, source: Source, device: &str, frames: u32) -> Result<f64> {
        match source {
            Source::Pktgen(pktgen) => Ok(pktgen.send(device, frames.into())? * f64::from(frames)),
            Source::Bulk { size } => self.programs.send_skbs(BULK_SOURCE, device, size, frames),
            Source::XdpXmit { size } => self.programs.send_frames(device, size, frames),
        }
    }

    fn scenario(&self, scenario: &Scenario, kind: Kind, frames: u32) -> Result<f64> {
        let [a, b, ..] = kind.ports();

        self.set_up(scenario, kind)?;
        let before = host::counter(b, "rx_packets")?;
        let cost = self.source_into(scenario.source, a, frames)?;
        let received = host::counter(b, "rx_packets")? - before;

        // A frame that was lost on its way would have been cheap.
        let sent = self.sent(scenario.source, frames);
        ensure!(
            received == sent,
            "{received} of {sent} frames arrived at {b}"
        );
        Ok(cost)
    }

    /// How many frames a measurement sends, warm-up and all.
    fn sent(&self, source: Source, frames: u32) -> u64 {
        match source {
            Source::Pktgen(_) => u64::from(WARM_UP + frames),
            _ => u64::from(frames + 2 * few(frames)),
        }
    }

    fn set_up(&self, scenario: &Scenario, kind: Kind) -> Result<()> {
        let [a, b, c, d] = kind.ports();
        let programs = &self.programs;
        let mtu = if scenario.sink == Sink::DropJumbo {
            9000
        } else {
            1500
        };

        for port in kind.ports() {
            programs.detach(port)?;
        }
        for port in [a, b] {
            host::run(&format!("ip link set dev {port} mtu {mtu}"))
                .map_err(|_| Impossible(format!("no MTU of {mtu} on {port}")))?;
        }
        match scenario.sink {
            Sink::Stack => (),
            Sink::Drop => programs.attach(b, "bench_drop", NATIVE)?,
            Sink::DropJumbo => programs.attach(b, "bench_drop_frags", NATIVE)?,
            Sink::Pass => programs.attach(b, "bench_pass", NATIVE)?,
            Sink::Tx => {
                programs.attach(b, "bench_tx", NATIVE)?;
                programs.attach(a, "bench_drop", NATIVE)?;
            }
            Sink::RedirectNull => {
                programs.redirect_to(NULL)?;
                programs.attach(b, "bench_redirect", NATIVE)?;
            }
            Sink::RedirectPort => {
                programs.attach(d, "bench_drop", NATIVE)?;
                self.need_xmit(c)?;
                programs.redirect_to(c)?;
                programs.attach(b, "bench_redirect", NATIVE)?;
            }
            Sink::Cpumap => programs.attach(b, "bench_cpu", NATIVE)?,
            Sink::GenericDrop => programs.attach(b, "bench_drop", GENERIC)?,
        }
        match scenario.source {
            Source::Pktgen(Pktgen { clone, .. }) if clone > 0 && kind == Kind::Veth => {
                Err(Impossible("veth does not let pktgen share its sk_buffs".into()).into())
            }
            Source::XdpXmit { .. } => self.need_xmit(a),
            _ => Ok(()),
        }
    }

    fn need_xmit(&self, port: &str) -> Result<()> {
        if !self.programs.takes_frames(port)? {
            return Err(Impossible(format!("{port} has no ndo_xdp_xmit at this time")).into());
        }
        Ok(())
    }

    /// Has QEMU count the instructions of each function, once for each scenario that asks for it
    /// and once for its source alone.
    fn profiles(&self, scenarios: &[Scenario], rows: &[Row]) -> Result<Vec<Profiled>> {
        let mut list = Vec::new();
        let wanted: Vec<_> = scenarios
            .iter()
            .zip(rows)
            .filter(|(scenario, _)| scenario.profile)
            .collect();
        let sources: BTreeSet<_> = wanted.iter().map(|(scenario, _)| scenario.source).collect();

        for source in sources {
            self.profile(source, sink_of(source))?;
            list.push(Profiled {
                scenario: String::new(),
                kind: None,
                source: source.title(),
                frames: FRAMES.into(),
            });
        }
        for (scenario, row) in wanted {
            for kind in KINDS {
                if row.cells[&kind].skipped.is_some() {
                    continue;
                }
                println!("profile of {} {}", scenario.name, kind.name());
                self.set_up(scenario, kind)?;
                self.profile(scenario.source, kind.ports()[0])?;
                list.push(Profiled {
                    scenario: scenario.name.clone(),
                    kind: Some(kind),
                    source: scenario.source.title(),
                    frames: FRAMES.into(),
                });
            }
        }
        Ok(list)
    }

    fn profile(&self, source: Source, device: &str) -> Result<()> {
        self.once(source, device, WARM_UP)?;
        profile::start();
        let result = self.once(source, device, FRAMES);
        profile::stop();
        result.map(drop)
    }
}

/// The cost of one of `count` without that of starting and ending a run.
fn slope(count: u32, run: impl Fn(u32) -> Result<f64>) -> Result<f64> {
    let start = run(few(count))?;
    let all = run(few(count) + count)?;

    Ok((all - start) / f64::from(count))
}

/// The length of the first of the two runs of `slope`, in whole batches.
fn few(count: u32) -> u32 {
    count / 8 / BATCH * BATCH
}

fn sink_of(source: Source) -> &'static str {
    match source {
        Source::Pktgen(_) | Source::Bulk { .. } => DUMMY,
        Source::XdpXmit { .. } => NULL,
    }
}
