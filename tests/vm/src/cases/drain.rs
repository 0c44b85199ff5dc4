// SPDX-License-Identifier: GPL-2.0

//! A change of many rings waits once for all of them, not for each. The waits are counted, not
//! timed.

use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::{
        cpus, ensure_eq,
        tracefs::{Calls, Function},
        wait_until, FOR_EVER,
    },
    nl::netdev::{self, NapiSettings},
    support::{
        large::{self, Large},
        polls::{napi, poll_in_threads},
        restart::restart,
        traffic::{check_alive, settle},
    },
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
        ETH,
    },
};
use anyhow::{ensure, Context, Result};
use std::time::{Duration, Instant};

/// How often a change checks at most whether the rings are empty, whatever their number: once a
/// millisecond, for a second altogether.
const MOST_ROUNDS: usize = 1000;
const MOST_TIME: Duration = Duration::from_secs(1);
/// Empty rounds of the program for each frame: the frames in the rings take much less than a second,
const SLOW: u32 = 5000;
/// or several seconds on any machine, and each of them longer than it takes to send many.
const SLOWEST: u32 = 500_000;

/// Keeps the polls of B, which are threads, on one CPU, and leaves the others to the thread that
/// changes B.
fn keep_polls_together(bed: &Bed) -> Result<()> {
    let cpu = cpus::all()?.pop().unwrap_or(0);

    for napi in bed.b.ns.enter(|| netdev::napis(bed.b.ifindex))? {
        cpus::keep_on(napi.pid.context("a NAPI has no thread")?, cpu)?;
    }
    Ok(())
}

/// Sends so many frames of each of 64 flows, of which every ring gets some.
fn fill(bed: &Bed, frames: u32) -> Result<()> {
    let sender = Sender::open(&bed.a)?;

    (0..64).try_for_each(|flow| sender.send_flow(&Probe::new(flow, 0), frames))
}

case!(ports "drain::slow_program", "queues=8 ring_size=1024", slow_program);
/// Rings that a slow program does not empty within a second are given up together. A faster program
/// gets all frames.
fn slow_program(bed: &Bed) -> Result<()> {
    let mut program = Program::load("count", "count_slow")?;

    bed.b.ethtool("-A", "tx off rx off")?;
    bed.b.attach(&program)?;
    bed.up()?;
    poll_in_threads(&bed.b)?;
    program.write("rounds", 0, SLOW)?;
    wait_until("a slow program gets all frames", || gets_all(bed))?;
    settle(bed)?;

    program.write("rounds", 0, SLOWEST)?;
    are_given_up(bed)?;
    program.write("rounds", 0, 0u32)?;
    let (_, b) = settle(bed)?;
    ensure_eq!(
        program.seen()?,
        b.counters.rx("packets")?,
        "frames that the program saw"
    );
    b.check_verdicts()?;
    bed.b.detach()?;
    check_alive(bed)
}

/// Changes rings with frames in them. Returns whether the program got all. If not, time was up, which
/// happens on a loaded machine.
fn gets_all(bed: &Bed) -> Result<bool> {
    let before = bed.b.counters()?.rx("down")?;
    let mut lost = before;

    for (option, what) in [
        ("-G", "rx 2048"),
        ("-L", "combined 1"),
        ("-L", "combined 8"),
        ("-G", "rx 1024"),
    ] {
        fill(bed, 4)?;
        let start = Instant::now();
        bed.b.ethtool(option, what)?;
        let time = start.elapsed();
        let counters = bed.b.counters()?;
        let now = counters.rx("down")?;
        ensure!(
            now == lost || time >= MOST_TIME,
            "ethtool {option} {what}: {} frames were lost after {time:?}",
            now - lost
        );
        lost = now;
        counters.expect_rx("ox1", &[("no_buffer", 0)])?;
    }
    Ok(lost == before)
}

/// Changes rings that are not empty for a long time.
fn are_given_up(bed: &Bed) -> Result<()> {
    const WAITS: [Function; 1] = [Function {
        name: "usleep_range_state",
        // Checking the rings waits for a millisecond. Other waits are the kernel's own.
        filter: "arg0 == 1000 && comm == \"ethtool\"",
    }];
    let waits = Calls::of(&WAITS)?;
    let mut lost = bed.b.counters()?.rx("down")?;

    for (option, what) in [("-G", "rx 2048"), ("-L", "combined 1")] {
        keep_polls_together(bed)?;
        fill(bed, 128)?;
        waits.take()?;
        bed.b.ethtool(option, what)?;
        let rounds = waits.take()?[0];
        ensure!(
            (1..=MOST_ROUNDS).contains(&rounds),
            "ethtool {option} {what}: {rounds} checks of the rings"
        );
        let now = bed.b.counters()?.rx("down")?;
        ensure!(
            now > lost,
            "ethtool {option} {what}: the rings were empty in time: nothing was tested"
        );
        lost = now;
    }
    Ok(())
}

case!(ports "drain::many_rings", "queues=64 ring_size=64", many_rings);
/// How many grace periods are waited for does not depend on the number of rings.
fn many_rings(bed: &Bed) -> Result<()> {
    const GRACE_PERIODS: [Function; 1] = [Function {
        name: "synchronize_net",
        filter: "comm == \"ethtool\" || comm == \"ip\"",
    }];
    type Change = fn(&Bed) -> Result<()>;
    const CHANGES: [(&str, Change); 3] = [
        ("ethtool -G", |bed| {
            bed.b.ethtool("-G", "rx 128")?;
            Ok(())
        }),
        ("ip link set down", |bed| bed.b.down()),
        ("ip link set up", |bed| bed.b.up()),
    ];
    let calls = Calls::of(&GRACE_PERIODS)?;
    let measure = |change: Change| -> Result<usize> {
        calls.take()?;
        change(bed)?;
        Ok(calls.take()?[0])
    };
    let fewer = |queues: u32| {
        bed.b.ethtool("-L", "combined 64")?;
        measure(if queues == 1 {
            |bed| bed.b.ethtool("-L", "combined 1").map(drop)
        } else {
            |bed| bed.b.ethtool("-L", "combined 63").map(drop)
        })
    };

    bed.up()?;
    let (by_one, to_one) = (fewer(63)?, fewer(1)?);
    ensure_eq!(to_one, by_one, "ethtool -L: 63 rings fewer, and one");
    let with_one: Vec<_> = CHANGES
        .iter()
        .map(|(_, change)| measure(*change))
        .collect::<Result<_>>()?;
    bed.b.ethtool("-L", "combined 64")?;
    bed.b.ethtool("-G", "rx 64")?;
    for ((what, change), expected) in CHANGES.iter().zip(with_one) {
        ensure_eq!(measure(*change)?, expected, "{what}: 64 rings, and one");
    }
    bed.a.up()?;
    check_alive(bed)
}

case!(ports "drain::merged_frames", "queues=2", merged_frames);
/// Frames that GRO holds, to merge them with later ones, are flushed to the stack before their NAPI
/// is deleted.
fn merged_frames(bed: &Bed) -> Result<()> {
    const PAYLOAD: usize = 2000;
    const MSS: usize = 1000;
    const HEADERS: usize = ETH + 20 + 20;
    /// GRO does not hold frames if a tick of the clock comes during their poll: then others are
    /// sent, so many times at most.
    const ATTEMPTS: usize = 1000;
    type Change = fn(&Bed) -> Result<()>;
    const CHANGES: [(&str, Change); 3] = [
        ("restart", |bed| restart(&bed.b, 1)),
        ("ethtool -G", |bed| bed.b.ethtool("-G", "rx 256").map(drop)),
        ("ethtool -L", |bed| {
            bed.b.ethtool("-N", "delete 0")?;
            bed.b.ethtool("-L", "combined 1").map(drop)
        }),
    ];
    let held = NapiSettings {
        gro_flush_timeout: FOR_EVER,
        ..NapiSettings::default()
    };

    bed.up()?;
    bed.b.ethtool("-N", "flow-type tcp4 action 1 loc 0")?;
    let id = napi(&bed.b, 1)?.id;
    bed.b.ns.enter(|| netdev::set_napi(id, &held))?;
    let tap = Tap::open(&bed.b)?;
    let came = || {
        let frames = tap.rest()?;
        Ok::<_, anyhow::Error>(
            frames
                .iter()
                .map(|frame| frame.len() - HEADERS)
                .sum::<usize>(),
        )
    };
    let sender = large::open(&bed.a)?;
    let large = Large::new(PAYLOAD, MSS as u16).frame();
    for (what, change) in CHANGES {
        let mut attempts = 0..ATTEMPTS;
        let mut missing = 0;

        while missing == 0 {
            attempts
                .next()
                .with_context(|| format!("{what}: GRO has held no frames"))?;
            sender.send(&large)?;
            missing += PAYLOAD;
            missing -= came()?;
        }
        change(bed)?;
        ensure_eq!(came()?, missing, "{what}: bytes that GRO held");
    }
    check_alive(bed)
}
