// SPDX-License-Identifier: GPL-2.0

//! Programs are swapped while frames arrive on all rings.

use crate::{
    bed::Bed,
    bpf::{wait_freed, Program},
    harness::case,
    host::{ensure_eq, wait_until},
    stats::check_both,
    support::in_parallel,
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{anyhow, ensure, Result};
use aya::maps::{Array, Map};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

const SENDERS: u32 = 4;
/// Frames a sender sends between two breaths; without these the swaps would get no CPU.
const BURST: u32 = 16;
/// Programs that have the port only once and are given up by the test before they are replaced.
const FLEETING: usize = 20;
/// How often each of two lasting programs takes over between two fleeting ones.
const ROUNDS: usize = 6;

case!(ports "swap::under_traffic", "queues=4", under_traffic);
/// Every frame is counted by exactly one program's own map, however often the program changes and
/// although most are given up at once when they are replaced.
fn under_traffic(bed: &Bed) -> Result<()> {
    let mut maps = Vec::new();
    let mut fleeting = (0..FLEETING)
        .map(|n| load(n, &mut maps))
        .collect::<Result<Vec<_>>>()?;
    let lasting = [load(0, &mut maps)?, load(1, &mut maps)?];
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);

    // Six lines for each swap would flood the log.
    bed.b.msglvl("drv off")?;
    bed.b.attach(&lasting[0])?;
    bed.up()?;

    thread::scope(|scope| {
        let senders = scope.spawn(|| {
            in_parallel((0..SENDERS).map(|n| {
                let (stop, sent) = (&stop, &sent);
                move || send_until(bed, n, stop, sent)
            }))
        });
        let swapped = swap(bed, &mut fleeting, &lasting, &maps);

        stop.store(true, Ordering::Relaxed);
        senders
            .join()
            .map_err(|_| anyhow!("the senders panicked"))??;
        swapped
    })?;

    let sent = sent.load(Ordering::Relaxed);
    bed.b.wait_received(sent)?;
    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    let seen = maps.iter().map(seen_by).collect::<Result<Vec<_>>>()?;

    ensure_eq!(
        seen.iter().sum::<u64>(),
        sent,
        "frames that the programs counted, and frames sent"
    );
    ensure_eq!(
        b.counters.rx("xdp_pass")? + b.counters.rx("xdp_drop")?,
        sent,
        "B: verdicts"
    );
    ensure!(
        b.counters.rx_each("packets")?.iter().all(|n| *n > 0),
        "a ring had no traffic: {:?}",
        b.counters.rx_each("packets")?
    );
    // The stack saw what was passed to it and nothing else.
    ensure_eq!(
        b.link.stat("rx_otherhost_dropped")?,
        b.counters.rx("xdp_pass")?,
        "frames that reached the stack of B"
    );
    b.check_verdicts()?;
    check_both(&a, &b)
}

fn send_until(bed: &Bed, n: u32, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let sender = Sender::open(&bed.a)?;

    for seq in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        sender.send(&Probe::new(n * 16 + seq % 16, seq).frame())?;
        sent.fetch_add(1, Ordering::Relaxed);
        if seq % BURST == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Replaces the program again and again. No reference of the test's own keeps a fleeting one
/// alive, so it must be gone once it is replaced, while the traffic goes on.
fn swap(
    bed: &Bed,
    fleeting: &mut Vec<Program>,
    lasting: &[Program; 2],
    maps: &[Map],
) -> Result<()> {
    while let Some(program) = fleeting.pop() {
        let id = program.id;

        bed.b.attach(&program)?;
        drop(program);
        ensure_eq!(bed.b.link()?.xdp_driver_id, Some(id), "program attached");
        // It has its share of the frames before it goes.
        let map = &maps[fleeting.len()];
        wait_until("the program sees frames", || Ok(seen_by(map)? > 20))?;

        for program in lasting.iter().cycle().take(2 * ROUNDS) {
            bed.b.attach(program)?;
        }
        wait_freed(id)?;
    }
    Ok(())
}

/// How many frames the program of a map has seen.
fn seen_by(map: &Map) -> Result<u64> {
    Ok(Array::<_, u64>::try_from(map)?.get(&0, 0)?)
}

/// Loads a counting program, every other one passing or dropping, and keeps its map, which so
/// outlives it.
fn load(n: usize, maps: &mut Vec<Map>) -> Result<Program> {
    let name = if n % 2 == 0 {
        "count_pass"
    } else {
        "count_drop"
    };
    let mut program = Program::load("count", name)?;

    maps.push(program.take_map("seen")?);
    Ok(program)
}
