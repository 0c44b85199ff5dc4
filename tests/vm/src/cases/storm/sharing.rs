// SPDX-License-Identifier: GPL-2.0

//! Small frames and large ones, from two queues into one ring: the large ones, which need many buffers at
//! once, get theirs too.

use super::{
    standstill::wait_while_moving,
    steps::ethtool::{set_pause, set_ring},
    world::World,
};
use crate::{
    bed::Bed,
    host::{cpus, wait_until},
    sockopt::MemInfo,
    support::{
        large::{self, Large},
        polls::poll_at,
    },
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{anyhow, ensure, Result};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use std::{
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// In a longer ring there is mostly room for both.
const RING: u32 = 64;
/// For each buffer, in microseconds: longer than the stack takes for a frame.
const SLOW: u32 = 100;
/// Segments of a large frame, of so many bytes each: a ring of 64 may take four more.
const SEGMENTS: u64 = 24;
const SEGMENT: usize = 500;
/// How many large frames are sent, all at once.
const LARGE: u64 = 8;
/// Flows of small frames, of which one is to go into the same ring as the large ones.
const FLOWS: u32 = 64;
/// Small frames that may come into the ring for all large ones together. A large one that waits for buffers is
/// to get the next ones: it waits for those who were there before, a ring of them, and then for those that it
/// needs. Some more rings do no harm.
const MOST: u64 = LARGE * 8 * RING as u64;
/// Room for all large frames, and for more small ones than that, which wait in front of the port.
const SEND_BUFFER: usize = 4 << 20;
const QUEUE: u32 = 20_000;
/// So much of it is used by small frames when large ones come.
const ENOUGH: u32 = 1 << 20;
/// Small frames that are enough to find out that it never will be: the ring is emptied as fast as they come.
const MANY: u64 = 50_000;
/// `SK_MEMINFO_WMEM_ALLOC`
const WAITING: usize = 2;

/// Does that from one end of a pair to the other, if both are fit for it.
pub fn check(world: &mut World<'_>, pair: usize) -> Result<()> {
    let mut ends = [2 * pair, 2 * pair + 1];

    if world.random.flip() {
        ends.reverse();
    }
    let [from, to] = ends;
    let is_fit = |n: usize| world.cards[n].model.up && world.cards[n].model.mtu >= 1500;
    let [.., last] = cpus::all()?[..] else {
        return Ok(());
    };
    let sender = &world.cards[from].model;

    if !is_fit(from) || !is_fit(to) || !sender.has("tso") || sender.queues < 2 || last == 0 {
        return Ok(());
    }
    // The ring is short, and who finds it full waits.
    let before = ends.map(|n| world.cards[n].model.pause);
    let ring = world.cards[to].model.ring;
    set_ring(world, to, &[], RING)?;
    for n in ends {
        set_pause(world, n, [true; 2])?;
    }
    let [a, b] = ends.map(|n| world.cards[n].port.clone());
    let mut queues = [0, 1];
    if world.random.flip() {
        queues.reverse();
    }

    world.log(format!(
        "small frames from queue {}, large ones from queue {} of {} to {}",
        queues[0], queues[1], a.name, b.name
    ));
    a.set_tx_queue_len(QUEUE)?;
    poll_at(&b, last)?;
    world.with_slow_pages(SLOW, || share(&Bed { a, b }, queues))?;
    set_ring(world, to, &[], ring)?;
    for (n, pause) in ends.into_iter().zip(before) {
        set_pause(world, n, pause)?;
    }
    Ok(())
}

/// What is said of large frames that have not gone yet.
fn left(waiting: u32) -> Option<String> {
    (waiting != 0).then(|| format!("{waiting} bytes of large frames wait"))
}

/// From each queue sends the processor of its number.
fn share(bed: &Bed, [small_cpu, large_cpu]: [usize; 2]) -> Result<()> {
    let frame = Large::new(SEGMENTS as usize * SEGMENT, SEGMENT as u16).frame();
    let large = large::open(&bed.a)?;
    let small = Sender::open(&bed.a)?;
    let waiting_in = |socket: &Sender| -> Result<u32> { Ok(getsockopt(socket, MemInfo)?[WAITING]) };
    let waiting = || waiting_in(&large);
    let received = || bed.b.counters()?.rx_each("packets");
    let send = |count| {
        cpus::run_on(large_cpu, || {
            (0..count).try_for_each(|_| large.send(&frame))
        })
    };

    for socket in [&large, &small] {
        setsockopt(&socket.as_fd(), sockopt::SndBufForce, &SEND_BUFFER)?;
    }
    let before = received()?;
    send(1)?;
    // Rules, and filters, may have it lost.
    wait_while_moving("a large frame goes", || Ok(left(waiting()?)))?;
    thread::sleep(Duration::from_millis(20));
    let after = received()?;
    let Some(ring) = (0..after.len()).find(|n| after[*n] - before[*n] >= SEGMENTS) else {
        return Ok(());
    };
    let Some(flow) = flow_into(bed, ring)? else {
        return Ok(());
    };
    let end = AtomicBool::new(false);

    thread::scope(|scope| {
        let sending = scope.spawn(|| cpus::run_on(small_cpu, || send_small(&small, flow, &end)));
        let outcome = (|| {
            let sent = bed.a.counters()?.tx("packets")?;
            wait_until("small frames wait in front of the port", || {
                Ok(
                    waiting_in(&small)? >= ENOUGH
                        || bed.a.counters()?.tx("packets")? >= sent + MANY,
                )
            })?;
            send(LARGE)?;
            let start = received()?[ring];
            let mut seen = 0;
            wait_while_moving("the large frames get on", || {
                seen = (received()?[ring] - start).saturating_sub(LARGE * SEGMENTS);
                let waiting = waiting()?;
                ensure!(
                    waiting == 0 || seen < MOST,
                    "{} starves a queue: {seen} small frames came into ring {ring} of {} while {LARGE} large \
                     ones had to wait; {waiting} bytes wait still",
                    bed.a.name,
                    bed.b.name
                );
                Ok(left(waiting).map(|left| format!("{left}, {seen} small frames came")))
            })?;
            eprintln!("storm: {seen} small frames beside {LARGE} large ones");
            Ok(())
        })();

        end.store(true, Ordering::Relaxed);
        sending
            .join()
            .map_err(|_| anyhow!("the sender panicked"))??;
        outcome
    })
}

/// A flow of small frames that come into a ring.
fn flow_into(bed: &Bed, ring: usize) -> Result<Option<u32>> {
    let sender = Sender::open(&bed.a)?;
    let received = || bed.b.counters()?.rx_each("packets");

    for flow in 0..FLOWS {
        let before = received()?;
        sender.send(&Probe::new(flow, 0).len(60).frame())?;
        let mut after = Vec::new();
        wait_while_moving("a small frame arrives", || {
            after = received()?;
            Ok((after == before).then(|| format!("flow {flow}")))
        })?;
        if after[ring] > before[ring] {
            return Ok(Some(flow));
        }
    }
    Ok(None)
}

fn send_small(sender: &Sender, flow: u32, end: &AtomicBool) -> Result<()> {
    let frame = Probe::new(flow, 0).len(60).frame();

    while !end.load(Ordering::Relaxed) {
        sender.send(&frame)?;
    }
    Ok(())
}
