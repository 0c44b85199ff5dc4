// SPDX-License-Identifier: GPL-2.0

//! Small frames and large ones, from two queues into one ring: the large ones, which need many buffers at
//! once, get theirs too.

use super::{steps::napi::set_affinity, world::World};
use crate::{
    bed::{Bed, Port},
    host::{cpus, wait_until},
    nl::netdev,
    sockopt::MemInfo,
    support::large::{self, Large},
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use std::{
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// In a longer ring there is mostly room for both.
const LONGEST_RING: u32 = 128;
/// Segments of a large frame, of so many bytes each: a ring of 64 may take four more.
const SEGMENTS: u64 = 24;
const SEGMENT: usize = 500;
/// How many large frames are sent, all at once.
const LARGE: u64 = 16;
/// Room for them.
const SEND_BUFFER: usize = 4 << 20;
/// Flows of small frames: some of another queue than the large frames, and into the same ring.
const FLOWS: u32 = 8;
/// Small frames that may come into the ring for each large one, in rings. A large one that waits for buffers
/// is to get the next ones: it waits for those who were there before, a ring of them, and then for those that
/// it needs.
const RINGS: u64 = 8;
/// `SK_MEMINFO_WMEM_ALLOC`
const WAITING: usize = 2;

/// Does that from one end of a pair to the other, if both are fit for it.
pub fn check(world: &mut World<'_>, pair: usize) -> Result<()> {
    let mut ends = [2 * pair, 2 * pair + 1];

    if world.random.flip() {
        ends.reverse();
    }
    let [from, to] = ends.map(|n| &world.cards[n]);
    let up = from.model.up && to.model.up;
    let waits = from.model.pause[0] && to.model.pause[1];
    let large = from.model.has("tso") && from.model.mtu >= 1500 && to.model.mtu >= 1500;

    if !up || !waits || !large || from.model.queues < 2 || to.model.ring > LONGEST_RING {
        return Ok(());
    }
    let most = RINGS * u64::from(to.model.ring);
    let bed = Bed {
        a: from.port.clone(),
        b: to.port.clone(),
    };
    world.log(format!(
        "small frames beside large ones from {} to {}",
        bed.a.name, bed.b.name
    ));
    poll_at(&bed.b, cpus::all()?.len() - 1)?;
    share(&bed, most)
}

/// Has a port polled by one processor, so that others fill its rings.
fn poll_at(port: &Port, cpu: usize) -> Result<()> {
    for napi in port.ns.enter(|| netdev::napis(port.ifindex))? {
        set_affinity(napi.irq.context("no interrupt")?, &cpu.to_string())?;
    }
    Ok(())
}

fn share(bed: &Bed, most: u64) -> Result<()> {
    let frame = Large::new(SEGMENTS as usize * SEGMENT, SEGMENT as u16).frame();
    let large = large::open(&bed.a)?;
    let waiting = || -> Result<u32> { Ok(getsockopt(&large, MemInfo)?[WAITING]) };
    let received = || bed.b.counters()?.rx_each("packets");

    setsockopt(&large.as_fd(), sockopt::SndBufForce, &SEND_BUFFER)?;
    let before = received()?;
    large.send(&frame)?;
    // Rules, and filters, may have it lost.
    wait_until("a large frame goes", || Ok(waiting()? == 0))?;
    thread::sleep(Duration::from_millis(20));
    let after = received()?;
    let Some(ring) = (0..after.len()).find(|n| after[*n] - before[*n] >= SEGMENTS) else {
        return Ok(());
    };
    let end = AtomicBool::new(false);

    thread::scope(|scope| {
        let small = scope.spawn(|| {
            cpus::run_on(0, || {
                let sender = Sender::open(&bed.a)?;

                for flow in (0..FLOWS).cycle() {
                    if end.load(Ordering::Relaxed) {
                        break;
                    }
                    sender.send(&Probe::new(flow, 0).len(60).frame())?;
                }
                Ok(())
            })
        });
        let outcome = (|| {
            let start = received()?[ring];
            for _ in 0..LARGE {
                large.send(&frame)?;
            }
            let mut seen = 0;
            wait_until("the large frames get on", || {
                seen = (received()?[ring] - start).saturating_sub(LARGE * SEGMENTS);
                let left = waiting()?;
                ensure!(
                    left == 0 || seen < LARGE * most,
                    "{seen} small frames came while {LARGE} large ones had to wait; {left} bytes wait still"
                );
                Ok(left == 0)
            })?;
            eprintln!(
                "storm: {seen} small frames beside {LARGE} large ones, ring {}",
                most / RINGS
            );
            Ok(())
        })();

        end.store(true, Ordering::Relaxed);
        small.join().map_err(|_| anyhow!("the sender panicked"))??;
        outcome
    })
}
