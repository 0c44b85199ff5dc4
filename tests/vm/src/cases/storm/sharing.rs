// SPDX-License-Identifier: GPL-2.0

//! Small frames and large ones, from two queues into one ring: the large ones, which need many
//! buffers at once, are not starved.

use super::{
    state::Storm,
    steps::ethtool::{set_pause, set_ring},
    stuck::wait_for_progress,
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

/// Size of the ring: in a longer one there is mostly room for both.
const RING: u32 = 64;
/// How long each buffer takes to allocate, in microseconds: longer than the stack takes for a
/// frame.
const SLOW: u32 = 100;
/// Segments of a large frame, and the bytes of each: a ring of 64 accepts four segments more.
const SEGMENTS: u64 = 24;
const SEGMENT: usize = 500;
/// How many large frames are sent at once.
const LARGE: u64 = 8;
/// Flows of small frames to choose from: one must go into the same ring as the large frames.
const FLOWS: u32 = 64;
/// How many small frames may get into the ring before all large ones have. A large frame that waits
/// for buffers gets the next ones: it waits for the frames before it, at most a ring of them, and
/// for the buffers that it needs. The rest is tolerance.
const MOST: u64 = LARGE * 8 * RING as u64;
/// Send buffer and queue length: room for all large frames, and for more small ones.
const SEND_BUFFER: usize = 4 << 20;
const QUEUE: u32 = 20_000;
/// How much of it small frames use when the large ones are sent.
const ENOUGH: u32 = 1 << 20;
/// After this many small frames that much never waits: the ring is emptied as fast as they come.
const MANY: u64 = 50_000;
/// `SK_MEMINFO_WMEM_ALLOC`
const WAITING: usize = 2;

/// Checks it from one end of a pair to the other, if the settings of both allow it.
pub fn check(storm: &mut Storm<'_>, pair: usize) -> Result<()> {
    let mut ends = [2 * pair, 2 * pair + 1];

    if storm.random.flip() {
        ends.reverse();
    }
    let [from, to] = ends;
    let is_fit = |n: usize| storm.ports[n].model.up && storm.ports[n].model.mtu >= 1500;
    let [.., last] = cpus::all()?[..] else {
        return Ok(());
    };
    let sender = &storm.ports[from].model;

    if !is_fit(from) || !is_fit(to) || !sender.has("tso") || sender.queues < 2 || last == 0 {
        return Ok(());
    }
    // The ring is short, and senders that find it full wait.
    let before = ends.map(|n| storm.ports[n].model.pause);
    let ring = storm.ports[to].model.ring;
    set_ring(storm, to, &[], RING)?;
    for n in ends {
        set_pause(storm, n, [true; 2])?;
    }
    let [a, b] = ends.map(|n| storm.ports[n].port.clone());
    let mut queues = [0, 1];
    if storm.random.flip() {
        queues.reverse();
    }

    storm.log(format!(
        "small frames from queue {}, large ones from queue {} of {} to {}",
        queues[0], queues[1], a.name, b.name
    ));
    a.set_tx_queue_len(QUEUE)?;
    poll_at(&b, last)?;
    storm.with_slow_pages(SLOW, || share(&Bed { a, b }, queues))?;
    set_ring(storm, to, &[], ring)?;
    for (n, pause) in ends.into_iter().zip(before) {
        set_pause(storm, n, pause)?;
    }
    Ok(())
}

/// Describes large frames that are not sent yet.
fn left(waiting: u32) -> Option<String> {
    (waiting != 0).then(|| format!("{waiting} bytes of large frames wait"))
}

/// The CPU of a queue's number sends from that queue.
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
    // A rule or a filter may drop it.
    wait_for_progress("a large frame is sent", || Ok(left(waiting()?)))?;
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
                let many_sent = bed.a.counters()?.tx("packets")? >= sent + MANY;
                Ok(many_sent || waiting_in(&small)? >= ENOUGH)
            })?;
            send(LARGE)?;
            let start = received()?[ring];
            let mut seen = 0;
            wait_for_progress("the large frames are sent", || {
                seen = (received()?[ring] - start).saturating_sub(LARGE * SEGMENTS);
                let waiting = waiting()?;
                ensure!(
                    waiting == 0 || seen < MOST,
                    "{}: the queue of the large frames is starved: {seen} small frames got into \
                     ring {ring} of {}, and {waiting} bytes of large ones still wait",
                    bed.a.name,
                    bed.b.name
                );
                Ok(left(waiting).map(|left| format!("{left}, after {seen} small frames")))
            })?;
            eprintln!("storm: {seen} small frames before {LARGE} large ones");
            Ok(())
        })();

        end.store(true, Ordering::Relaxed);
        sending
            .join()
            .map_err(|_| anyhow!("the sender panicked"))??;
        outcome
    })
}

/// A flow of small frames that reach a ring.
fn flow_into(bed: &Bed, ring: usize) -> Result<Option<u32>> {
    let sender = Sender::open(&bed.a)?;
    let received = || bed.b.counters()?.rx_each("packets");

    for flow in 0..FLOWS {
        let before = received()?;
        sender.send(&Probe::new(flow, 0).len(60).frame())?;
        let mut after = Vec::new();
        wait_for_progress("a small frame arrives", || {
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
