// SPDX-License-Identifier: GPL-2.0

//! What a frame costs: each scenario on each kind of device, net of its source.

use crate::{
    device::{Kind, BULK_SOURCE, DUMMY, KINDS, NULL},
    host,
    pktgen::{Mac, Pktgen, OTHER_MAC},
    profile,
    programs::{Mode, Programs},
    progress::{newest, Progress},
    result::{Cell, Floor, Row},
    scenario::{Gro, Scenario, Sink, Source},
    socket::Listener,
};
use anyhow::{ensure, Context, Result};
use oxnic_drop_points::{cost::slope, place::Dropping};
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    thread::sleep,
    time::Duration,
};

/// How often everything is measured.
pub const RUNS: usize = 2;
/// Frames of a measurement: so many that what is not of one frame does not show.
pub const FRAMES: u32 = 65536;
/// Frames before a profile, so that pools and caches are as in the long run.
const WARM_UP: u32 = 2048;
const PROGRAM_RUNS: u32 = 100_000;
const CPUMAP_FRAMES: u32 = 2048;
/// Frames that show whether a socket gets what is sent; its buffer must hold them.
const PROBES: u32 = 16;
/// An interrupt of a device may be late by that, and more.
const STILL_COMING: Duration = Duration::from_millis(5);

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

/// All that was found out here.
pub struct Packets {
    pub rows: Vec<Row>,
    pub floor: Vec<Floor>,
    pub sources: Vec<Floor>,
}

pub struct Bench<'a> {
    programs: &'a Programs,
    scenarios: &'a [Scenario],
    sources: BTreeSet<Source>,
    /// What a scenario leaves behind until the next one is set up.
    leftover: RefCell<Leftover<'a>>,
}

#[derive(Default)]
struct Leftover<'a> {
    listener: Option<Listener>,
    dropping: Option<Dropping<'a>>,
    /// A port, and how it had GRO before.
    gro: Option<(String, Gro)>,
}

impl<'a> Bench<'a> {
    pub fn new(programs: &'a Programs, scenarios: &'a [Scenario]) -> Self {
        Self {
            programs,
            scenarios,
            sources: scenarios.iter().map(|scenario| scenario.source).collect(),
            leftover: RefCell::default(),
        }
    }

    pub fn steps(&self) -> usize {
        RUNS * (self.scenarios.len() * KINDS.len() + self.sources.len() + 2)
    }

    /// To be called before anything is measured.
    pub fn begin(&self) -> Result<()> {
        self.programs.attach_tcx(BULK_SOURCE, "bench_tc_send")?;
        self.programs.queue_to_cpu(0, CPUMAP_FRAMES)
    }

    /// Undoes what `begin` did.
    pub fn end(&self) -> Result<()> {
        self.programs.detach_tcx(BULK_SOURCE, "bench_tc_send")
    }

    /// Measures everything; the devices are there, bare.
    pub fn measure(&self, progress: &mut Progress) -> Result<Packets> {
        let mut rows: Vec<_> = self.scenarios.iter().map(row).collect();
        let mut floor = [
            ("the program alone, BPF_PROG_TEST_RUN", Vec::new()),
            ("live frames, XDP_DROP", Vec::new()),
        ];
        let mut alone: BTreeMap<Source, Vec<f64>> = BTreeMap::new();

        for _ in 0..RUNS {
            floor[0].1.push(slope(PROGRAM_RUNS, |count| {
                self.programs.run("bench_drop", count)
            })?);
            progress.step(floor[0].0, "", &newest(&floor[0].1, 0));
            floor[1].1.push(slope(FRAMES, |count| {
                self.programs.run_live("bench_drop", 60, OTHER_MAC, count)
            })?);
            progress.step(floor[1].0, "", &newest(&floor[1].1, 0));
            for source in &self.sources {
                let runs = alone.entry(*source).or_default();

                runs.push(slope(FRAMES, |frames| {
                    self.send(*source, sink_of(*source), OTHER_MAC, frames)
                })?);
                progress.step(&source.title(), "alone", &newest(runs, 0));
            }
            for (scenario, row) in self.scenarios.iter().zip(&mut rows) {
                for kind in KINDS {
                    let own = alone[&scenario.source].last().copied().unwrap_or(0.0);
                    let cell = row.cells.entry(kind).or_default();

                    match self.scenario(scenario, kind) {
                        Ok(cost) => cell.runs.push(cost - own),
                        Err(error) => match error.downcast::<Impossible>() {
                            Ok(reason) => cell.skipped = Some(reason.0),
                            Err(error) => {
                                return Err(error).with_context(|| {
                                    format!("{} on {}", scenario.name, kind.name())
                                })
                            }
                        },
                    }
                    let result = match cell.skipped {
                        Some(_) => "not possible".into(),
                        None => newest(&cell.runs, 0),
                    };
                    progress.step(&scenario.name, kind.name(), &result);
                }
            }
        }
        self.clean_up()?;
        Ok(Packets {
            rows,
            floor: floor
                .into_iter()
                .map(|(name, runs)| Floor::new(name, runs))
                .collect(),
            sources: alone
                .into_iter()
                .map(|(source, runs)| Floor::new(&source.title(), runs))
                .collect(),
        })
    }

    /// Sends frames out of a device; returns how long the sender took. Frames may still be on
    /// their way.
    fn send(&self, source: Source, device: &str, to: Mac, frames: u32) -> Result<f64> {
        match source {
            Source::Pktgen(pktgen) => pktgen.send(device, to, frames),
            Source::Bulk { size } => self
                .programs
                .send_skbs(BULK_SOURCE, device, size, to, frames),
            Source::XdpXmit { size } => self.programs.send_frames(device, size, to, frames),
        }
    }

    fn scenario(&self, scenario: &Scenario, kind: Kind) -> Result<f64> {
        let to = self.set_up(scenario, kind)?;
        let cost = slope(FRAMES, |frames| self.send_all(scenario, kind, to, frames))?;

        // Whatever comes to the socket was not dropped where it should have been.
        let leftover = self.leftover.borrow();
        let received = leftover.listener.as_ref().map_or(0, Listener::received);
        ensure!(
            received == 0,
            "{received} frames were not dropped and went to the socket"
        );
        Ok(cost)
    }

    /// Sends frames out of a device and waits until all of them are where they end: one that was
    /// lost on its way would have been cheap, and one that comes later would be paid by the next
    /// measurement.
    fn send_all(&self, scenario: &Scenario, kind: Kind, to: Mac, frames: u32) -> Result<f64> {
        let device = kind.port(0);

        all_arrive(scenario.sink, kind, frames, || {
            self.send(scenario.source, &device, to, frames)
        })
    }

    /// Makes the ports ready for a scenario; returns the address that its frames must have.
    fn set_up(&self, scenario: &Scenario, kind: Kind) -> Result<Mac> {
        let [a, b, c, d] = kind.ports();
        let programs = self.programs;
        let mtu = if scenario.sink == Sink::DropJumbo {
            9000
        } else {
            1500
        };

        self.clean_up()?;
        for port in kind.ports() {
            programs.detach_all(&port)?;
        }
        for port in [&a, &b] {
            host::run(&format!("ip link set dev {port} mtu {mtu}"))
                .map_err(|_| Impossible(format!("no MTU of {mtu} on {port}")))?;
        }
        let to = if scenario.sink.is_local() {
            self.listen(scenario, kind)?
        } else {
            OTHER_MAC
        };
        match scenario.sink {
            Sink::Stack => (),
            Sink::At(place) => {
                let mut leftover = self.leftover.borrow_mut();

                leftover.dropping = Some(programs.dropper.drop_at(
                    place,
                    &b,
                    leftover.listener.as_ref(),
                )?);
            }
            Sink::DropJumbo => programs.attach(&b, "bench_drop_frags", Mode::Native)?,
            Sink::Pass(gro) => {
                if let Some(gro) = gro {
                    self.set_gro(&b, gro)?;
                }
                programs.attach(&b, "bench_pass", Mode::Native)?;
            }
            Sink::Tx => {
                programs.attach(&b, "bench_tx", Mode::Native)?;
                programs.attach(&a, "bench_drop", Mode::Native)?;
            }
            Sink::RedirectNull => {
                programs.redirect_to(NULL)?;
                programs.attach(&b, "bench_redirect", Mode::Native)?;
            }
            Sink::RedirectPort => {
                programs.attach(&d, "bench_drop", Mode::Native)?;
                self.need_xmit(&c)?;
                programs.redirect_to(&c)?;
                programs.attach(&b, "bench_redirect", Mode::Native)?;
            }
            Sink::Cpumap => {
                programs.attach(&b, "bench_cpu", Mode::Native)?;
                prefer_cpumap(matches!(scenario.source, Source::XdpXmit { .. }))?;
            }
        }
        match scenario.source {
            Source::Pktgen(Pktgen { clone, .. }) if clone > 0 && kind == Kind::Veth => {
                return Err(
                    Impossible("veth does not let pktgen share its sk_buffs".into()).into(),
                );
            }
            Source::XdpXmit { .. } => self.need_xmit(&a)?,
            _ => (),
        }
        Ok(to)
    }

    /// Removes what the last scenario left behind.
    fn clean_up(&self) -> Result<()> {
        let leftover = self.leftover.take();

        if let Some(dropping) = leftover.dropping {
            dropping.end()?;
        }
        if let Some((port, gro)) = leftover.gro {
            host::set_gro(&port, gro)?;
        }
        Ok(())
    }

    /// Switches GRO of a port, for one scenario.
    fn set_gro(&self, port: &str, gro: Gro) -> Result<()> {
        self.leftover.borrow_mut().gro = Some((port.to_owned(), host::gro(port)?));
        host::set_gro(port, gro)
    }

    /// Has a socket at the end of the stack, and sees to it that frames get there as long as
    /// nothing drops them: else the cost of something else would be measured.
    fn listen(&self, scenario: &Scenario, kind: Kind) -> Result<Mac> {
        let b = kind.port(1);
        let to = host::mac(&b)?;
        let listener = Listener::new(&b)?;

        self.send_all(scenario, kind, to, PROBES)?;
        let received = listener.received();
        ensure!(
            received == PROBES as usize,
            "{received} of {PROBES} frames reached the socket without a filter"
        );
        self.leftover.borrow_mut().listener = Some(listener);
        Ok(to)
    }

    fn need_xmit(&self, port: &str) -> Result<()> {
        if !self.programs.takes_frames(port)? {
            return Err(Impossible(format!("{port} has no ndo_xdp_xmit at this time")).into());
        }
        Ok(())
    }

    /// Has QEMU count the instructions of each function, once for each scenario that asks for it
    /// and once for its source alone.
    pub fn profiles(&self, rows: &[Row], progress: &mut Progress) -> Result<Vec<Profiled>> {
        let mut list = Vec::new();
        let wanted: Vec<_> = self
            .scenarios
            .iter()
            .zip(rows)
            .filter(|(scenario, _)| scenario.profile)
            .collect();
        let sources: BTreeSet<_> = wanted.iter().map(|(scenario, _)| scenario.source).collect();

        for source in sources {
            let send = |frames| self.send(source, sink_of(source), OTHER_MAC, frames);

            send(WARM_UP)?;
            profiled(|| send(FRAMES))?;
            progress.step("profile of", &source.title(), "done");
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
                    progress.step(&scenario.name, kind.name(), "not possible");
                    continue;
                }
                let to = self.set_up(scenario, kind)?;

                self.send_all(scenario, kind, to, WARM_UP)?;
                all_arrive(scenario.sink, kind, FRAMES, || {
                    profiled(|| self.send(scenario.source, &kind.port(0), to, FRAMES))
                })?;
                progress.step("profile of", &scenario.name, kind.name());
                list.push(Profiled {
                    scenario: scenario.name.clone(),
                    kind: Some(kind),
                    source: scenario.source.title(),
                    frames: FRAMES.into(),
                });
            }
        }
        self.clean_up()?;
        Ok(list)
    }

    pub fn profile_steps(&self) -> usize {
        let wanted = self.scenarios.iter().filter(|scenario| scenario.profile);
        let sources: BTreeSet<_> = wanted.clone().map(|scenario| scenario.source).collect();

        wanted.count() * KINDS.len() + sources.len()
    }
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

/// What is counted where all frames of a scenario must come by.
fn arrived(sink: Sink, kind: Kind) -> Result<Vec<(String, u64)>> {
    let [a, b, _, d] = kind.ports();
    let mut list = vec![&b];

    match sink {
        Sink::Tx => list.push(&a),
        Sink::RedirectPort => list.push(&d),
        _ => (),
    }
    let mut counts = list
        .into_iter()
        .map(|port| {
            Ok((
                format!("rx_packets of {port}"),
                host::counter(port, "rx_packets")?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    if sink.is_for_others() {
        counts.push((
            format!("dropped in ip_rcv of {b}"),
            host::dropped_for_others(&b)?,
        ));
    }
    Ok(counts)
}

/// Whether the thread that takes frames out of the cpumap goes before all else. There is one CPU,
/// and a source that does not leave it of its own will lets the cpumap overflow.
fn prefer_cpumap(prefer: bool) -> Result<()> {
    let policy = if prefer {
        "--fifo --pid 1"
    } else {
        "--other --pid 0"
    };

    host::run(&format!("chrt {policy} {}", host::process("cpumap/")?)).map(drop)
}

/// Sends frames and waits until all of them are where they end.
fn all_arrive(sink: Sink, kind: Kind, frames: u32, send: impl Fn() -> Result<f64>) -> Result<f64> {
    let before = arrived(sink, kind)?;
    let elapsed = send()?;

    host::eventually(|| {
        for ((place, before), (_, now)) in before.iter().zip(arrived(sink, kind)?) {
            let came = now - before;
            ensure!(
                came == u64::from(frames),
                "{came} of {frames} frames arrived: {place}"
            );
        }
        Ok(())
    })?;
    Ok(elapsed)
}

/// Has QEMU count while something is sent, and as long as frames can be on their way after that;
/// the CPU has nothing else to do then.
fn profiled(send: impl Fn() -> Result<f64>) -> Result<f64> {
    profile::start();
    let result = send();
    sleep(STILL_COMING);
    profile::stop();
    result
}

/// What the cost of a source alone is measured against.
fn sink_of(source: Source) -> &'static str {
    match source {
        Source::Pktgen(_) | Source::Bulk { .. } => DUMMY,
        Source::XdpXmit { .. } => NULL,
    }
}
