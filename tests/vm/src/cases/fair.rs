// SPDX-License-Identifier: GPL-2.0

//! Small and large frames from two transmit queues meet in one receive ring that is always full:
//! each queue gets its share of the buffers, and large frames arrive as a whole, a few segments at
//! a time.

use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{cpus, ensure_eq, wait_until},
    support::{
        large::{self, Large},
        polls::{poll_in_threads, slow_down},
        traffic::{check_alive, settle_wire},
    },
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
        ETH,
    },
};
use anyhow::{anyhow, ensure, Result};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// The shares are taken over this many frames of both queues together.
const FRAMES: u64 = 3000;
/// A queue gets at least one of this many frames.
const LEAST: u64 = 4;
const MSS: u16 = 1000;
/// Nearly as many as the port takes from the stack at a time: 28 for the smallest ring.
const SEGMENTS: u32 = 27;
/// How often the queues have stopped before the shares are measured.
const STOPS: u64 = 3;

const TWO: &str = "queues=2 ring_size=64";

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Small,
    Large,
}

impl Kind {
    fn open(self, port: &Port) -> Result<(Sender, Vec<u8>)> {
        Ok(match self {
            Self::Small => (Sender::open(port)?, Probe::new(0, 0).frame()),
            Self::Large => {
                let large = Large::new(SEGMENTS as usize * usize::from(MSS), MSS);
                (large::open(port)?, large.frame())
            }
        })
    }
}

case!(ports "fair::small_and_large", TWO,
    |bed| shares(bed, [Kind::Small, Kind::Large]); two_cpus());
case!(ports "fair::large_and_small", TWO,
    |bed| shares(bed, [Kind::Large, Kind::Small]); two_cpus());
case!(ports "fair::large_and_large", TWO,
    |bed| shares(bed, [Kind::Large, Kind::Large]); two_cpus());
fn shares(bed: &Bed, kinds: [Kind; 2]) -> Result<()> {
    let cpus = &cpus::all()?[..2];
    let _slow = slow_down(&bed.b)?;
    let stop = &AtomicBool::new(false);

    bed.b.ethtool("-L", "combined 1")?;
    // GRO would merge the segments again.
    bed.b.ethtool("-K", "gro off")?;
    bed.up()?;
    poll_in_threads(&bed.b)?;
    let tap = Tap::open(&bed.b)?;
    let sent = thread::scope(|scope| {
        let senders: Vec<_> = cpus
            .iter()
            .zip(kinds)
            .map(|(cpu, kind)| scope.spawn(move || send(bed, *cpu, kind, stop)))
            .collect();
        let sent = count(bed);

        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().map_err(|_| anyhow!("a sender panicked"))??;
        }
        sent
    })?;
    eprintln!("    the queues have sent {sent:?} frames");
    ensure!(
        sent.iter().all(|n| n * LEAST >= FRAMES),
        "of {} frames the queues have sent {sent:?}",
        sent.iter().sum::<u64>()
    );

    let (_, b) = settle_wire(bed)?;
    let frames: Vec<_> = (0..b.counters.rx("packets")?)
        .map(|_| tap.any())
        .collect::<Result<_>>()?;
    if kinds != [Kind::Large; 2] {
        whole(&frames)?;
    }
    check_alive(bed)
}

/// Sends from a CPU without end, so by the transmit queue of its number: see [`super::xps`].
fn send(bed: &Bed, cpu: usize, kind: Kind, stop: &AtomicBool) -> Result<()> {
    cpus::run_on(cpu, || {
        let (sender, frame) = kind.open(&bed.a)?;
        while !stop.load(Ordering::Relaxed) {
            sender.send(&frame)?;
        }
        Ok(())
    })
}

/// How many of the next [`FRAMES`] frames each queue of port A puts on the wire, once both have
/// filled the ring.
fn count(bed: &Bed) -> Result<Vec<u64>> {
    let port = &bed.a;
    wait_until("both queues find the ring full", || {
        let stopped = port.counters()?.tx_each("stopped")?;
        Ok(stopped.iter().all(|n| *n >= STOPS))
    })?;
    let before = port.counters()?.tx_each("packets")?;
    let mut sent = Vec::new();
    wait_until("frames are sent", || {
        let now = port.counters()?.tx_each("packets")?;
        sent = now
            .iter()
            .zip(&before)
            .map(|(now, old)| now - old)
            .collect();
        Ok(sent.iter().sum::<u64>() >= FRAMES)
    })?;
    Ok(sent)
}

/// The segments of all large frames, which are alike and come one after the other, are there in
/// order.
fn whole(frames: &[Vec<u8>]) -> Result<()> {
    const TCP: u8 = 6;
    let sequences: Vec<_> = frames
        .iter()
        .filter(|frame| frame[ETH + 9] == TCP)
        .map(|frame| {
            let at = ETH + 20 + 4;
            u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
        })
        .collect();

    ensure!(!sequences.is_empty(), "no segment was received");
    for (n, (found, segment)) in sequences.iter().zip((0..SEGMENTS).cycle()).enumerate() {
        let first = sequences[0];
        ensure_eq!(
            found.wrapping_sub(first),
            segment * u32::from(MSS),
            "segment {n}: bytes in front of it"
        );
    }
    ensure_eq!(
        sequences.len() % SEGMENTS as usize,
        0,
        "segments of a frame that is not whole"
    );
    Ok(())
}
