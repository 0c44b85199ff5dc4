// SPDX-License-Identifier: GPL-2.0

//! Real packets per second: with one CPU and one ring at work, and with as many as there are. The
//! clock of the VM is the wall's here.

use crate::{
    device::{self, Kind, KINDS, NULL},
    host,
    pktgen::{self, Pktgen, OTHER_MAC},
    programs::{Mode, Programs},
    progress::Progress,
    result::{Rate, RateRow},
};
use anyhow::{ensure, Context, Result};
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How often each rate is measured; the median counts, for other work on the machine disturbs.
const RUNS: usize = 5;
/// About how long a measurement takes.
const SECONDS: f64 = 0.7;
/// Frames by which the rate is estimated first.
const ESTIMATE: u32 = 20_480;
const WHOLE: u32 = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sink {
    Stack,
    Drop,
    Pass,
    Tx,
    Redirect,
}

/// Names, titles, what happens at the receiving port, and whether pktgen sends bursts of one
/// sk_buff, which veth does not allow.
const SCENARIOS: [(&str, &str, Sink, bool); 6] = [
    ("drop", "native XDP_DROP", Sink::Drop, false),
    (
        "burst-drop",
        "native XDP_DROP, clone_skb 1000, burst 32",
        Sink::Drop,
        true,
    ),
    ("stack", "no program, dropped in ip_rcv", Sink::Stack, false),
    (
        "pass",
        "native XDP_PASS, dropped in ip_rcv",
        Sink::Pass,
        false,
    ),
    ("tx", "native XDP_TX", Sink::Tx, false),
    (
        "redirect",
        "native XDP_REDIRECT to a null device",
        Sink::Redirect,
        false,
    ),
];

pub fn measure(out: &Path, objects: &Path, filter: &str) -> Result<()> {
    let cpus = thread::available_parallelism()?.get() as u32;
    let scenarios: Vec<_> = SCENARIOS
        .iter()
        .filter(|scenario| format!("rate-{}", scenario.0).contains(filter))
        .collect();
    let mut progress = Progress::new(1 + KINDS.len() * scenarios.len());
    let mut rows = Vec::new();

    ensure!(!scenarios.is_empty(), "no rate has '{filter}' in its name");
    device::make_others()?;
    let programs = Programs::load(objects)?;
    programs.redirect_to(NULL)?;

    let spinning = spinning(cpus)?;
    progress.step(
        "CPUs that only count",
        "",
        &format!("{spinning:.2} times the work of one"),
    );
    for kind in KINDS {
        // The same device for one and for all, so that only the work differs.
        kind.make_bare(2, cpus)?;
        let ports = if kind == Kind::Oxnic {
            ports_by_ring(cpus)?
        } else {
            // Each transmit queue of veth has its receive ring.
            vec![1024; cpus as usize]
        };

        for (name, title, sink, burst) in &scenarios {
            if *burst && kind == Kind::Veth {
                progress.step(name, kind.name(), "not possible");
                continue;
            }
            attach(&programs, kind, *sink)?;
            let pktgen = if *burst {
                Pktgen {
                    clone: 1000,
                    burst: 32,
                    ..Pktgen::new(60)
                }
            } else {
                Pktgen::new(60)
            };
            let [one, all] = rates(kind, &pktgen, &ports)
                .with_context(|| format!("{name} on {}", kind.name()))?;

            progress.step(
                name,
                kind.name(),
                &format!("{:.0} and {:.0} kpps", one / 1e3, all / 1e3),
            );
            rows.push(RateRow {
                name: format!("rate-{name}"),
                title: (*title).into(),
                kind,
                one,
                all,
            });
        }
        kind.remove(2)?;
    }
    let rate = Rate {
        cpus,
        spinning,
        rows,
    };
    fs::write(out.join("rate.json"), serde_json::to_string(&rate)?)?;
    Ok(())
}

/// For each ring of the peer of the first port a UDP source port whose flow it gets.
fn ports_by_ring(rings: u32) -> Result<Vec<u32>> {
    const TRIES: u32 = 1000;
    let [a, b, ..] = Kind::Oxnic.ports();
    let mut ports = vec![None; rings as usize];

    for port in 1024..1024 + TRIES {
        let before = host::ring_counters(&b, "rx_queue_", "_packets")?;

        send(&Pktgen::new(60), &a, &[port], 1)?;
        host::eventually(|| {
            let now = host::ring_counters(&b, "rx_queue_", "_packets")?;
            ensure!(now != before, "no frame arrived at {b}");
            Ok(())
        })?;
        let now = host::ring_counters(&b, "rx_queue_", "_packets")?;

        if let Some(ring) = now
            .iter()
            .zip(&before)
            .position(|(now, before)| now > before)
        {
            ports[ring].get_or_insert(port);
        }
        if ports.iter().all(Option::is_some) {
            break;
        }
    }
    ports
        .into_iter()
        .collect::<Option<_>>()
        .context("no flow found for each ring")
}

fn attach(programs: &Programs, kind: Kind, sink: Sink) -> Result<()> {
    let [a, b, ..] = kind.ports();

    programs.detach_all(&a)?;
    programs.detach_all(&b)?;
    match sink {
        Sink::Stack => Ok(()),
        Sink::Drop => programs.attach(&b, "bench_drop", Mode::Native),
        Sink::Pass => programs.attach(&b, "bench_pass", Mode::Native),
        Sink::Tx => programs
            .attach(&a, "bench_drop", Mode::Native)
            .and_then(|()| programs.attach(&b, "bench_tx", Mode::Native)),
        Sink::Redirect => programs.attach(&b, "bench_redirect", Mode::Native),
    }
}

/// The medians of the packets per second with one CPU and with all, measured in turn.
fn rates(kind: Kind, pktgen: &Pktgen, ports: &[u32]) -> Result<[f64; 2]> {
    let [a, b, ..] = kind.ports();
    let estimate = send(pktgen, &a, &ports[..1], ESTIMATE)?;
    // In whole bursts, as pktgen sends them.
    let frames = (estimate * SECONDS) as u32 / WHOLE * WHOLE;
    let mut rates = [Vec::new(), Vec::new()];

    for _ in 0..RUNS {
        for (list, cpus) in rates.iter_mut().zip([1, ports.len()]) {
            let before = host::counter(&b, "rx_packets")?;

            list.push(send(pktgen, &a, &ports[..cpus], frames)?);
            host::eventually(|| {
                let came = host::counter(&b, "rx_packets")? - before;
                let sent = u64::from(frames) * cpus as u64;
                ensure!(came == sent, "{came} of {sent} frames arrived at {b}");
                Ok(())
            })?;
        }
    }
    Ok(rates.map(|mut list| {
        list.sort_by(f64::total_cmp);
        list[list.len() / 2]
    }))
}

/// Sends frames from as many CPUs as there are ports, each its own; returns the packets per second
/// of all together.
fn send(pktgen: &Pktgen, device: &str, ports: &[u32], frames: u32) -> Result<f64> {
    let cpus = thread::available_parallelism()?.get() as u32;
    let name = |cpu| format!("{device}@{cpu}");

    (0..cpus).try_for_each(pktgen::remove_devices)?;
    for (cpu, port) in (0..).zip(ports) {
        pktgen.prepare(cpu, device, &name(cpu), OTHER_MAC, *port, frames)?;
    }
    pktgen::start()?;
    (0..)
        .zip(ports)
        .map(|(cpu, _)| Ok(f64::from(frames) / pktgen::sent(&name(cpu), frames)? * 1e9))
        .sum()
}

/// How many times the work of one CPU all of them do, if it is nothing but counting: what the
/// machine below can give.
fn spinning(cpus: u32) -> Result<f64> {
    let mut ratios: Vec<f64> = (0..RUNS)
        .map(|_| Ok(count(cpus)? as f64 / count(1)? as f64))
        .collect::<Result<_>>()?;

    ratios.sort_by(f64::total_cmp);
    Ok(ratios[ratios.len() / 2])
}

/// How far so many threads count together within a moment.
fn count(threads: u32) -> Result<u64> {
    let stop = AtomicBool::new(false);

    thread::scope(|scope| {
        let counters: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0u64;

                    while !stop.load(Ordering::Relaxed) {
                        count = std::hint::black_box(count + 1);
                    }
                    count
                })
            })
            .collect();
        let start = Instant::now();

        while start.elapsed().as_secs_f64() < SECONDS {
            thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
        counters
            .into_iter()
            .map(|counter| counter.join().ok().context("a thread that counts failed"))
            .sum()
    })
}
