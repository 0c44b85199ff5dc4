// SPDX-License-Identifier: GPL-2.0

//! Senders that run while a test does something else.

use crate::{
    bed::{Bed, Port},
    host::{ensure_eq, wait_until},
    stats::{check_both, check_both_after_down, check_wire, Snapshot},
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{anyhow, Context, Result};
use nix::errno::Errno;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Flows of a sender: enough to reach every ring of a port with a few rings.
const FLOWS: u32 = 16;

/// One sending thread on a port.
#[derive(Clone)]
pub struct Source<'a> {
    pub port: &'a Port,
    /// What it sends, except for the flow and the sequence number.
    pub probe: Probe,
    /// Whether the kernel may refuse a frame because the port is down or was deleted.
    pub may_fail: bool,
}

impl<'a> Source<'a> {
    pub fn new(port: &'a Port) -> Self {
        Self {
            port,
            probe: Probe::new(0, 0),
            may_fail: false,
        }
    }

    pub fn probe(self, probe: Probe) -> Self {
        Self { probe, ..self }
    }

    pub fn may_fail(self) -> Self {
        Self {
            may_fail: true,
            ..self
        }
    }

    /// This many such threads.
    pub fn times(self, count: usize) -> Vec<Self> {
        vec![self; count]
    }
}

/// How many frames of a sender the kernel has accepted and refused so far.
#[derive(Default)]
struct Tally {
    taken: AtomicU64,
    refused: AtomicU64,
}

/// The running senders.
pub struct Traffic {
    stop: AtomicBool,
    tallies: Vec<Tally>,
}

impl Traffic {
    /// How many frames the kernel has accepted so far.
    pub fn taken(&self) -> u64 {
        self.tallies
            .iter()
            .map(|tally| tally.taken.load(Ordering::Relaxed))
            .sum()
    }

    /// Waits until the kernel has refused a frame of each sender.
    pub fn wait_all_refused(&self) -> Result<()> {
        wait_until("the kernel refuses a frame of each sender", || {
            Ok(self
                .tallies
                .iter()
                .all(|tally| tally.refused.load(Ordering::Relaxed) > 0))
        })
    }

    fn send(&self, n: usize, source: &Source<'_>) -> Result<()> {
        let sender = Sender::open(source.port)?;
        let tally = &self.tallies[n];
        let first = n as u32 * FLOWS;

        let mut seq = 0u32;

        while !self.stop.load(Ordering::Relaxed) {
            let frame = Probe {
                flow: first + seq % FLOWS,
                seq,
                ..source.probe.clone()
            }
            .frame();

            match sender.try_send(&frame) {
                Ok(()) => tally.taken.fetch_add(1, Ordering::Relaxed),
                Err(Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV) if source.may_fail => {
                    thread::sleep(Duration::from_millis(1));
                    tally.refused.fetch_add(1, Ordering::Relaxed)
                }
                Err(e) => {
                    return Err(e).with_context(|| format!("{}: sender {n}", source.port.name))
                }
            };
            seq = seq.wrapping_add(1);
        }
        Ok(())
    }
}

/// Stops the senders even if the test panics; it would wait for them for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` while frames are sent.
pub fn while_sending<T>(
    sources: &[Source<'_>],
    work: impl FnOnce(&Traffic) -> Result<T>,
) -> Result<T> {
    let traffic = Traffic {
        stop: AtomicBool::new(false),
        tallies: sources.iter().map(|_| Tally::default()).collect(),
    };

    thread::scope(|scope| {
        let traffic = &traffic;
        let senders: Vec<_> = sources
            .iter()
            .enumerate()
            .map(|(n, source)| scope.spawn(move || traffic.send(n, source)))
            .collect();
        let stop = StopOnDrop(&traffic.stop);
        let done = work(traffic);

        drop(stop);
        for sender in senders {
            sender
                .join()
                .map_err(|_| anyhow!("a sender panicked"))?
                .context("while the test was at work")?;
        }
        done
    })
}

/// Waits until both ports have received `frames` more frames.
pub fn wait_flowing(bed: &Bed, frames: u64) -> Result<()> {
    let goal = |port: &Port| Ok::<_, anyhow::Error>(port.link()?.stat("rx_packets")? + frames);
    let (a, b) = (goal(&bed.a)?, goal(&bed.b)?);

    bed.a.wait_received(a)?;
    bed.b.wait_received(b)
}

/// Waits until no frame is in flight any more, and checks that each is accounted for.
pub fn settle(bed: &Bed) -> Result<(Snapshot, Snapshot)> {
    settle_as(bed, check_both)
}

/// As [`settle`], after frames were sent at a port without a link.
pub fn settle_after_down(bed: &Bed) -> Result<(Snapshot, Snapshot)> {
    settle_as(bed, check_both_after_down)
}

/// As [`settle`], after frames that the stack drops as unknown: it counts them with the port's
/// losses.
pub fn settle_wire(bed: &Bed) -> Result<(Snapshot, Snapshot)> {
    settle_as(bed, |a, b| check_wire(a, b).and(check_wire(b, a)))
}

fn settle_as(
    bed: &Bed,
    check: fn(&Snapshot, &Snapshot) -> Result<()>,
) -> Result<(Snapshot, Snapshot)> {
    let mut last: Option<(Snapshot, Snapshot)> = None;
    let outcome = wait_until("every frame sent is received or counted as lost", || {
        let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
        // Frames may wait in front of a stopped queue while none is on the wire.
        let at_rest = last.as_ref().is_some_and(|(old_a, old_b)| {
            a.counters.at_rest_since(&old_a.counters) && b.counters.at_rest_since(&old_b.counters)
        });
        // The stack may send a frame of its own between the two readings of a snapshot, which then
        // differ. Counters that are really wrong stay wrong.
        let done = at_rest && check(&a, &b).is_ok();

        last = Some((a, b));
        Ok(done)
    });
    let (a, b) = last.ok_or_else(|| anyhow!("no counters"))?;

    // Its error says more than a timeout.
    check(&a, &b)?;
    outcome?;
    Ok((a, b))
}

/// Checks that no queue is stuck: a frame on each of many flows arrives, in both directions.
pub fn check_alive(bed: &Bed) -> Result<()> {
    const FRAMES: u64 = 4 * FLOWS as u64;
    let (a, b) = settle_after_down(bed)?;

    for port in [&bed.a, &bed.b] {
        let sender = Sender::open(port)?;
        (0..FRAMES as u32).try_for_each(|flow| sender.send(&Probe::new(flow, 0).frame()))?;
    }
    let (new_a, new_b) = settle_after_down(bed)?;
    for (old, new) in [(a, new_a), (b, new_b)] {
        let received = |snapshot: &Snapshot| snapshot.counters.rx("packets");

        ensure_eq!(
            received(&new)?,
            received(&old)? + FRAMES,
            "{}: frames received after all",
            new.name
        );
    }
    Ok(())
}
