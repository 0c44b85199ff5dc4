// SPDX-License-Identifier: GPL-2.0

//! A soak: very many frames while programs and rings change, after which memory is where it was.

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

/// Frames without a word in the environment.
const FRAMES: u64 = 100_000;
/// Frames that are sent between two looks at how many there were.
const ROUND: u64 = 10_000;
/// So large a part of the frames comes before memory is looked at for the first time.
const WARM_UP: u64 = 5;
/// What the kernel keeps at hand moves about; the buffers of one ring of the usual size, which have
/// 2048 KiB, that were forgotten once are too much.
const TOLERANCES: Tolerances = Tolerances {
    available: 2048,
    slab: 512,
};
/// What is set over and over again while frames come.
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

/// Sends until B has had `frames` altogether, and counts them. Rings and programs are then as at first.
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

/// Sends one round, and takes every setting at least once meanwhile.
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
