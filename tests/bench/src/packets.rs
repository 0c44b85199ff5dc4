// SPDX-License-Identifier: GPL-2.0

//! What a frame costs: each scenario on each kind of device, net of its source.

use crate::{
    device::{Kind, BULK_SOURCE, DUMMY, KINDS, NULL},
    host::{self, Mac},
    pktgen::{Pktgen, OTHER_MAC},
    profile,
    programs::{Mode, Programs},
    progress::{newest, Progress},
    result::{Cell, Floor, Row},
    scenario::{Gro, Scenario, Sink, Source},
    socket::Listener,
    xsk::{NullReceiver, Receiver, Sender},
};
use anyhow::{ensure, Context, Result};
use oxnic_drop_points::{
    cost::{short_run, slope},
    place::Dropping,
};
use oxnic_xsk::{Errno, Mode as XskMode};
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
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
/// The kernel takes a queue from a closed AF_XDP socket in a work item, and a device in zero-copy
/// mode then replaces the ring. This is ample, as the CPU has nothing else to do.
const UNBINDING: Duration = Duration::from_millis(50);

/// What the plugin's profiles are of, in their order.
#[derive(Serialize, Deserialize)]
pub struct Profiled {
    /// Empty for the source alone.
    pub scenario: String,
    pub kind: Option<Kind>,
    /// Empty if what the source costs alone is not to be subtracted.
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
    /// The AF_XDP socket that sends, and the one that receives.
    sender: Option<Sender>,
    receiver: Option<Receiver>,
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
        RUNS * (self.scenarios.len() * KINDS.len() + self.sources.len() + 3)
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
            (
                "a frame into the RX ring of an AF_XDP socket, zero-copy",
                Vec::new(),
            ),
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
            floor[2].1.push(self.null_receive()?);
            progress.step(floor[2].0, "", &newest(&floor[2].1, 0));
            for source in &self.sources {
                let runs = alone.entry(*source).or_default();

                self.open_sender(*source, sink_of(*source), None)?;
                runs.push(slope(FRAMES, |frames| {
                    self.send(*source, sink_of(*source), OTHER_MAC, frames)
                })?);
                progress.step(&source.title(), "alone", &newest(runs, 0));
                self.clean_up()?;
            }
            for (scenario, row) in self.scenarios.iter().zip(&mut rows) {
                for kind in KINDS {
                    let own = if scenario.source.is_charged() {
                        0.0
                    } else {
                        alone[&scenario.source].last().copied().unwrap_or(0.0)
                    };
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

    /// What the kernel needs for a frame to an AF_XDP socket in zero-copy mode, besides the device.
    fn null_receive(&self) -> Result<f64> {
        let receiver = NullReceiver::open(NULL, FRAMES + short_run(FRAMES))?;

        self.programs.redirect_to_socket(receiver.as_fd())?;
        self.programs.attach(NULL, "bench_xsk", Mode::Native)?;
        let cost = slope(FRAMES, |frames| receiver.receive(frames))?;

        self.programs.detach(NULL, "bench_xsk", Mode::Native)?;
        drop(receiver);
        sleep(UNBINDING);
        Ok(cost)
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
            Source::Xsk { .. } => self
                .leftover
                .borrow()
                .sender
                .as_ref()
                .context("no AF_XDP socket is open")?
                .send(frames),
        }
    }

    /// Opens the AF_XDP socket, if that is the source, to send out of a device.
    fn open_sender(&self, source: Source, device: &str, kind: Option<Kind>) -> Result<()> {
        if let Source::Xsk { size, mode } = source {
            let sender = bound(Sender::open(device, size, mode), kind, mode)?;

            self.leftover.borrow_mut().sender = Some(sender);
        }
        Ok(())
    }

    /// Opens the AF_XDP socket at the receiving port, and has a program redirect to it.
    fn open_receiver(&self, kind: Kind, mode: XskMode, forwards: bool) -> Result<()> {
        let port = kind.port(1);
        let frames = FRAMES + short_run(FRAMES);
        let receiver = Receiver::open(&port, mode, frames, forwards);
        let receiver = bound(receiver, Some(kind), mode)?;

        self.programs.redirect_to_socket(receiver.as_fd())?;
        self.leftover.borrow_mut().receiver = Some(receiver);
        self.programs.attach(&port, "bench_xsk", Mode::Native)
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

        let elapsed = all_arrive(scenario.sink, kind, frames, || {
            let sent = self.send(scenario.source, &device, to, frames)?;
            let leftover = self.leftover.borrow();

            match (scenario.sink, &leftover.receiver) {
                (Sink::XskForward(_), Some(receiver)) => Ok(sent + receiver.forward(frames)?),
                _ => Ok(sent),
            }
        })?;
        if let (Sink::Xsk(_), Some(receiver)) = (scenario.sink, &self.leftover.borrow().receiver) {
            receiver.drop_all(frames)?;
        }
        Ok(elapsed)
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
            Sink::Xsk(mode) => self.open_receiver(kind, mode, false)?,
            Sink::XskForward(mode) => {
                self.open_receiver(kind, mode, true)?;
                programs.attach(&a, "bench_drop", Mode::Native)?;
            }
        }
        self.open_sender(scenario.source, &a, Some(kind))?;
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
        if leftover.sender.is_some() || leftover.receiver.is_some() {
            drop((leftover.sender, leftover.receiver));
            sleep(UNBINDING);
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
        let sources: BTreeSet<_> = wanted
            .iter()
            .map(|(scenario, _)| scenario.source)
            .filter(|source| !source.is_charged())
            .collect();

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
                    source: if scenario.source.is_charged() {
                        String::new()
                    } else {
                        scenario.source.title()
                    },
                    frames: FRAMES.into(),
                });
            }
        }
        self.clean_up()?;
        Ok(list)
    }

    pub fn profile_steps(&self) -> usize {
        let wanted = self.scenarios.iter().filter(|scenario| scenario.profile);
        let sources: BTreeSet<_> = wanted
            .clone()
            .map(|scenario| scenario.source)
            .filter(|source| !source.is_charged())
            .collect();

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

/// An AF_XDP socket that was to be bound to a port. Of all that can fail, one thing is no error:
/// there is no zero-copy on veth.
fn bound<T>(socket: Result<T>, kind: Option<Kind>, mode: XskMode) -> Result<T> {
    socket.map_err(|error| match error.downcast_ref() {
        Some(Errno::EOPNOTSUPP) if (kind, mode) == (Some(Kind::Veth), XskMode::ZeroCopy) => {
            Impossible("veth has no AF_XDP zero-copy".into()).into()
        }
        _ => error,
    })
}

/// What is counted where all frames of a scenario must come by.
fn arrived(sink: Sink, kind: Kind) -> Result<Vec<(String, u64)>> {
    let [a, b, _, d] = kind.ports();
    let mut list = vec![&b];

    match sink {
        Sink::Tx | Sink::XskForward(_) => list.push(&a),
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
        Source::Pktgen(_)
        | Source::Bulk { .. }
        | Source::Xsk {
            mode: XskMode::Copy,
            ..
        } => DUMMY,
        Source::XdpXmit { .. } | Source::Xsk { .. } => NULL,
    }
}
