// SPDX-License-Identifier: GPL-2.0

//! Interrupt moderation: when frames raise an interrupt.

use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::{ensure_eq, tracefs::Trace, PATIENCE},
    support::{
        probes::flood,
        steer::{Chain, Steer},
        traffic::{check_alive, settle},
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use std::{
    thread,
    time::{Duration, Instant},
};

/// The longest time that can be set.
const LONGEST: Duration = Duration::from_millis(10);
/// After this long without a poll the next frame raises an interrupt at once.
const IDLE: Duration = Duration::from_millis(15);
/// A frame that waits longer never raises an interrupt.
const STUCK: Duration = PATIENCE;

/// Settings that differ in all that matters.
const SETTINGS: [&str; 6] = [
    "adaptive-rx on rx-usecs 0 rx-frames 64",
    "adaptive-rx off rx-usecs 0 rx-frames 64",
    "adaptive-rx off rx-usecs 0 rx-frames 0",
    "adaptive-rx off rx-usecs 50 rx-frames 1",
    "adaptive-rx off rx-usecs 3000 rx-frames 3",
    "adaptive-rx off rx-usecs 10000 rx-frames 0",
];

const SMALL: &str = "queues=1 ring_size=64";

/// A few frames one after the other, the first of which comes after a pause. What the others do is
/// timed from before the first was sent, so that a wait cannot end too early by being measured
/// late.
struct Round {
    first: Duration,
    all: Duration,
}

impl Round {
    /// `more` frames follow as soon as the first is there.
    fn run(sender: &Sender, tap: &Tap, probe: &Probe, more: u32) -> Result<Self> {
        let frames: Vec<_> = (0..=more)
            .map(|seq| {
                Probe {
                    seq,
                    ..probe.clone()
                }
                .frame()
            })
            .collect();
        let receive = || {
            tap.next(STUCK)?
                .ok_or_else(|| anyhow!("a frame is not there after {STUCK:?}"))
        };

        thread::sleep(IDLE);
        let start = Instant::now();
        sender.send(&frames[0])?;
        receive().context("the first frame after a pause")?;
        let first = start.elapsed();
        for frame in &frames[1..] {
            sender.send(frame)?;
        }
        for _ in 0..more {
            receive()?;
        }
        Ok(Self {
            first,
            all: start.elapsed(),
        })
    }

    /// The first frame came at once, the others only after the longest moderation time.
    fn is_held(&self) -> bool {
        self.first < LONGEST / 2 && self.all >= LONGEST
    }

    /// All came at once.
    fn is_prompt(&self) -> bool {
        self.all < LONGEST
    }
}

/// On a busy machine a round may say nothing, and so may most of them: it is enough that some are
/// as expected. The expected outcomes differ so much that a port that shows one never shows the
/// other.
fn mostly(
    what: &str,
    mut round: impl FnMut() -> Result<Round>,
    is_good: fn(&Round) -> bool,
) -> Result<()> {
    const GOOD: usize = 8;
    const ROUNDS: usize = 2000;
    let mut rounds: Vec<Round> = Vec::new();
    let mut good = 0;

    while good < GOOD {
        ensure!(
            rounds.len() < ROUNDS,
            "{what}: only {good} of {ROUNDS} rounds; first and last frame: {:?}",
            rounds
                .iter()
                .take(40)
                .map(|r| (r.first, r.all))
                .collect::<Vec<_>>()
        );
        let new = round().with_context(|| what.to_owned())?;

        good += usize::from(is_good(&new));
        rounds.push(new);
    }
    Ok(())
}

case!(ports "coalesce::no_time", "queues=1", no_time);
/// Each frame that finds the port idle is announced by an interrupt of its own, which brings one
/// poll.
fn no_time(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 100;
    let probe = Probe::new(1, 0);

    bed.b.ethtool("-C", "adaptive-rx off rx-usecs 0")?;
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let sender = Sender::open(&bed.a)?;
    mostly(
        "rx-usecs 0",
        || Round::run(&sender, &tap, &probe, 1),
        Round::is_prompt,
    )?;

    let trace = Trace::start("napi/napi_poll")?;
    for seq in 0..COUNT {
        sender.send(&Probe::new(1, seq).frame())?;
        tap.next(STUCK)?
            .ok_or_else(|| anyhow!("frame {seq} is not there after {STUCK:?}"))?;
    }
    let device = format!("for device {} work 1 ", bed.b.name);
    let polls = trace.lines("napi_poll")?;
    let polls = polls.iter().filter(|line| line.contains(&device)).count();
    ensure_eq!(polls, COUNT as usize, "polls that found one frame");
    settle(bed).map(drop)
}

case!(ports "coalesce::the_time", "queues=1", the_time);
fn the_time(bed: &Bed) -> Result<()> {
    let probe = Probe::new(1, 0);

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let sender = Sender::open(&bed.a)?;
    for (what, is_good) in [
        (
            "adaptive-rx off rx-usecs 10000",
            Round::is_held as fn(&Round) -> bool,
        ),
        ("rx-usecs 0", Round::is_prompt),
        ("rx-usecs 10000", Round::is_held),
        // The user's setting holds again when adaptive moderation is off.
        ("adaptive-rx on", Round::is_prompt),
        ("adaptive-rx off", Round::is_held),
    ] {
        bed.b.ethtool("-C", what)?;
        mostly(what, || Round::run(&sender, &tap, &probe, 1), is_good)?;
    }
    bed.b.down()?;
    bed.up()?;
    mostly(
        "down and up",
        || Round::run(&sender, &tap, &probe, 1),
        Round::is_held,
    )?;
    settle(bed).map(drop)
}

case!(ports "coalesce::the_time_with_xdp_tx", "queues=1", with_xdp_tx);
/// The frames of the peer's program are moderated as those of its stack.
fn with_xdp_tx(bed: &Bed) -> Result<()> {
    let probe = Probe::new(1, 0).verdict(verdict::TX);
    let program = Program::load("verdict", "verdict")?;

    bed.b.attach(&program)?;
    for port in [&bed.a, &bed.b] {
        port.ethtool("-C", "adaptive-rx off rx-usecs 0")?;
    }
    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    let sender = Sender::open(&bed.a)?;
    for (what, is_good) in [
        ("rx-usecs 0", Round::is_prompt as fn(&Round) -> bool),
        ("rx-usecs 10000", Round::is_held),
    ] {
        bed.a.ethtool("-C", what)?;
        mostly(what, || Round::run(&sender, &tap, &probe, 1), is_good)?;
    }
    settle(bed).map(drop)
}

// With all its instruments the debug kernel does not send so many frames in the longest time.
case!(ports "coalesce::enough_frames", "queues=1", enough_frames; stock_only());
/// That many frames raise the interrupt at once; one frame less waits for the time.
fn enough_frames(bed: &Bed) -> Result<()> {
    let probe = Probe::new(1, 0);

    bed.b
        .ethtool("-C", "adaptive-rx off rx-usecs 10000 rx-frames 4")?;
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let sender = Sender::open(&bed.a)?;
    for (more, is_good) in [
        (3, Round::is_held as fn(&Round) -> bool),
        (4, Round::is_prompt),
    ] {
        mostly(
            &format!("{more} frames"),
            || Round::run(&sender, &tap, &probe, more),
            is_good,
        )?;
    }
    // One frame is enough for an interrupt.
    bed.b.ethtool("-C", "rx-frames 1")?;
    mostly(
        "rx-frames 1",
        || Round::run(&sender, &tap, &probe, 1),
        Round::is_prompt,
    )?;
    settle(bed).map(drop)
}

case!(ports "coalesce::half_a_ring", SMALL, half_a_ring; stock_only());
/// An interrupt is raised at the latest when half of the ring is filled, whatever the user set.
fn half_a_ring(bed: &Bed) -> Result<()> {
    let probe = Probe::new(1, 0).len(60);

    bed.b.ethtool("-C", "adaptive-rx off rx-usecs 10000")?;
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let sender = Sender::open(&bed.a)?;
    for pause in ["on", "off"] {
        bed.b.ethtool("-A", &format!("tx {pause} rx {pause}"))?;
        for frames in [64, 0] {
            bed.b.ethtool("-C", &format!("rx-frames {frames}"))?;
            for (more, is_good) in [
                (31, Round::is_held as fn(&Round) -> bool),
                (32, Round::is_prompt),
            ] {
                mostly(
                    &format!("flow control {pause}, rx-frames {frames}, {more} frames"),
                    || Round::run(&sender, &tap, &probe, more),
                    is_good,
                )?;
            }
        }
    }
    let (_, b) = settle(bed)?;
    b.counters.expect_rx("B", &[("no_buffer", 0)])
}

case!(ports "coalesce::a_full_ring_loses_nothing", SMALL, full_ring);
/// Flow control while polls are delayed: a queue that stops is woken by the poll that it waits for.
fn full_ring(bed: &Bed) -> Result<()> {
    const FLOWS: u32 = 2;
    const COUNT: u32 = 800;

    bed.up()?;
    for what in SETTINGS {
        let tap = Tap::open(&bed.b)?;

        bed.b.ethtool("-C", what)?;
        flood(&bed.a, FLOWS, COUNT, |flow| Probe::new(flow, 0))?;
        tap.probes((FLOWS * COUNT) as usize)
            .with_context(|| what.to_owned())?;
    }
    let (_, b) = settle(bed)?;
    let count = SETTINGS.len() as u64 * u64::from(FLOWS * COUNT);
    b.counters
        .expect_rx("B", &[("packets", count), ("no_buffer", 0), ("down", 0)])?;
    check_alive(bed)
}

case!(ports "coalesce::no_frame_is_stuck", "pairs=2 queues=2", not_stuck);
/// Single frames and small bursts, from the stack and from redirects, with every setting: all of
/// them arrive, and none waits for the next.
fn not_stuck(bed: &Bed) -> Result<()> {
    const BURSTS: [u32; 8] = [1, 1, 2, 1, 3, 4, 17, 1];
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;
    let mut seq = 0;

    steer.device(0, &chain.second.a, None)?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    let tap = Tap::open(&chain.second.b)?;
    let sender = Sender::open(&bed.a)?;
    for what in SETTINGS {
        for port in [&bed.b, &chain.second.b] {
            port.ethtool("-C", what)?;
        }
        for burst in BURSTS.iter().cycle().take(24) {
            for _ in 0..*burst {
                sender.send(&Probe::new(seq % 3, seq).frame())?;
                seq += 1;
            }
            for n in 0..*burst {
                let frame = tap.next(STUCK)?.with_context(|| {
                    format!("{what}: frame {n} of {burst} is not there after {STUCK:?}")
                })?;
                ensure!(Probe::parse(&frame)?.is_some(), "a frame that no test sent");
            }
        }
    }
    tap.silence()?;
    let [_, ox1, ox2, ox3] = chain.settle()?;
    ox1.counters
        .expect_rx("ox1", &[("xdp_redirect", seq.into()), ("no_buffer", 0)])?;
    ox2.counters
        .expect_tx("ox2", &[("xdp_xmit", seq.into()), ("xdp_xmit_errors", 0)])?;
    ox3.counters
        .expect_rx("ox3", &[("packets", seq.into()), ("no_buffer", 0)])
}
