// SPDX-License-Identifier: GPL-2.0

//! The soak: very many frames while programs and rings change. Memory use must not grow.

use crate::{
    bed::{Bed, Port},
    bpf::Program,
    host::{
        pktgen::Pktgen,
        setting,
        usage::{Tolerances, Usage},
        watchdog,
    },
    support::traffic::settle,
};
use anyhow::{anyhow, Context, Result};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Frames by default.
const FRAMES: u64 = 100_000;
/// Frames of a round, after which those sent so far are counted.
const ROUND: u64 = 10_000;
/// Memory use is measured first after a fifth of the frames.
const WARM_UP: u64 = 5;
/// The kernel's caches vary. The buffers of one ring of the default size, 2048 KiB, are a leak.
const TOLERANCES: Tolerances = Tolerances {
    available: 2048,
    slab: 512,
};
/// The settings that are made over and over under traffic.
const RINGS: [(&str, &str); 8] = [
    ("-G", "rx 64"),
    ("-L", "combined 1"),
    ("-G", "rx 1024"),
    ("-L", "combined 4"),
    ("-G", "rx 2048"),
    ("-L", "combined 3"),
    ("-G", "rx 512"),
    ("-L", "combined 4"),
];

pub const PARAMS: &str = "queues=4";

pub fn soak(bed: &Bed) -> Result<()> {
    let frames = setting("OXNIC_SOAK_FRAMES", FRAMES)?;
    let programs = [
        Program::sample("xdp_drop")?,
        Program::sample("xdp_pass")?,
        Program::load("storm", "turn_back")?,
    ];
    let pktgen = Pktgen::load()?;

    for port in [&bed.a, &bed.b] {
        port.msglvl("drv off")?;
    }
    bed.up()?;
    pktgen.add(
        &bed.a,
        0,
        &[
            &format!("count {ROUND}"),
            "min_pkt_size 60",
            "max_pkt_size 1500",
            "dst_mac 02:00:00:00:00:fe",
            "flag UDPSRC_RND",
            "udp_src_min 1000",
            "udp_src_max 2000",
        ],
    )?;
    let spaces = [&bed.a.ns, &bed.b.ns];

    pass(bed, &pktgen, &programs, frames / WARM_UP)?;
    let before = Usage::now(&spaces)?;
    pass(bed, &pktgen, &programs, frames)?;
    before.wait_back(&spaces, Some(&TOLERANCES))
}

/// Sends until B has received `frames` in all, and counts them. In the end rings and programs are
/// as at first.
fn pass(bed: &Bed, pktgen: &Pktgen, programs: &[Program], frames: u64) -> Result<()> {
    let (mut done, mut shown) = (0, 0);

    while done < frames {
        change_while_sending(bed, pktgen, programs)?;
        done = bed.b.link()?.stat("rx_packets")?;
        if done - shown >= 1_000_000 {
            eprintln!("soak: {done} of {frames} frames");
            shown = done;
        }
        watchdog::still_alive();
    }
    let (a, _) = settle(bed)?;
    a.counters
        .expect_tx("ox0", &[("dropped", 0), ("carrier", 0)])
}

/// Sends one round, and makes every setting at least once meanwhile.
fn change_while_sending(bed: &Bed, pktgen: &Pktgen, programs: &[Program]) -> Result<()> {
    let sent = AtomicBool::new(false);

    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let outcome = pktgen.send(&bed.a.ns);
            sent.store(true, Ordering::Relaxed);
            outcome
        });
        let changed = change(bed, programs, &sent);

        sender
            .join()
            .map_err(|_| anyhow!("the sender panicked"))??;
        changed
    })
}

fn change(bed: &Bed, programs: &[Program], sent: &AtomicBool) -> Result<()> {
    let ports = || [&bed.a, &bed.b].into_iter();

    loop {
        for (n, (option, what)) in RINGS.into_iter().enumerate() {
            for port in ports() {
                attach(port, programs.get(n % (programs.len() + 1)))?;
                port.ethtool(option, what)
                    .with_context(|| format!("{}: {option} {what}", port.name))?;
            }
        }
        if sent.load(Ordering::Relaxed) {
            return ports().try_for_each(|port| attach(port, None));
        }
    }
}

fn attach(port: &Port, program: Option<&Program>) -> Result<()> {
    match program {
        Some(program) => port.attach(program),
        None => port.detach(),
    }
}
