// SPDX-License-Identifier: GPL-2.0

//! The check of everything while the traffic is stopped: every frame is accounted for, every port
//! shows the settings that it has been given, and no queue is stuck.

use super::{
    gate::{Gate, PORTS},
    sharing,
    state::Storm,
    stop::stop_traffic,
    stuck::{self, backlog, wait_for_progress},
};
use crate::{
    bed::Bed,
    host::ensure_eq,
    stats::check_both_after_down,
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{Context, Result};

/// Flows, enough to reach all queues.
const FRAMES: u32 = 64;
/// Below this MTU a probe of the usual length does not fit.
const SMALL_MTU: u32 = 576;

/// Stops the traffic and checks everything.
pub fn stop_and_check(storm: &mut Storm<'_>, gate: &Gate) -> Result<()> {
    storm.log("all frames are counted");
    stop_traffic(storm, gate)
        .with_context(|| format!("traffic cannot be stopped\n{}", stuck::describe(storm)))?;
    gate.check()?;
    for n in 0..PORTS {
        let port = &storm.ports[n].port;
        wait_for_progress("a port takes the frames that wait to be sent", || {
            backlog(port)
        })
        .with_context(|| stuck::describe(storm))?;
        storm.finish_sockets(n)?;
    }
    storm.pass_all(true)?;
    for pair in 0..PORTS / 2 {
        let bed = storm.bed(pair);

        flush(storm, pair, &bed)?;
        count(storm, pair, &bed)
            .with_context(|| format!("pair {pair}\n{}", stuck::describe(storm)))?;
    }
    for n in 0..PORTS {
        let state = &storm.ports[n];

        state.model.check_all(&state.port)?;
        storm.drain_sockets(n)?;
    }
    let shared = storm.random.below(PORTS as u32 / 2) as usize;
    for pair in 0..PORTS / 2 {
        let bed = storm.bed(pair);
        let ends = &storm.ports[2 * pair..2 * pair + 2];

        if ends
            .iter()
            .all(|state| state.model.up && state.model.mtu >= SMALL_MTU)
        {
            check_alive(&bed)?;
            if pair == shared && storm.makes("sharing") {
                sharing::check(storm, pair)?;
            }
        }
    }
    storm.check_log()
}

/// Starts the traffic again.
pub fn resume(storm: &mut Storm<'_>, gate: &Gate) -> Result<()> {
    storm.pass_all(false)?;
    gate.open();
    Ok(())
}

/// Makes the polls see frames that are in their rings, but not announced yet: the program of a
/// devmap may have dropped the frame with which the kernel would have flushed them, and then they
/// wait for the next frame.
fn flush(storm: &Storm<'_>, pair: usize, bed: &Bed) -> Result<()> {
    if storm.ports[2 * pair..2 * pair + 2]
        .iter()
        .all(|state| state.model.up)
    {
        for port in [&bed.a, &bed.b] {
            port.wait_running(true)?;
            let sender = Sender::open(port)?;

            (0..FRAMES).try_for_each(|flow| sender.send(&Probe::new(flow, 0).len(60).frame()))?;
        }
    }
    Ok(())
}

/// Every frame that was sent was received, or is counted as lost, and each run of a program had one
/// verdict.
fn count(storm: &Storm<'_>, pair: usize, bed: &Bed) -> Result<()> {
    let (a, b) = bed.settled()?;

    check_both_after_down(&a, &b)?;
    for (snapshot, state) in [&a, &b].into_iter().zip(&storm.ports[2 * pair..]) {
        ensure_eq!(
            snapshot.verdicts()?,
            state.programs.runs()?,
            "{}: verdicts, against runs of programs",
            snapshot.name
        );
    }
    Ok(())
}

/// No queue is stuck: a frame on each of many flows arrives. The stack may send frames of its own
/// meanwhile.
fn check_alive(bed: &Bed) -> Result<()> {
    for (from, to) in [(&bed.a, &bed.b), (&bed.b, &bed.a)] {
        from.wait_running(true)?;
        let received = || to.link()?.stat("rx_packets");
        let each = || to.counters()?.rx_each("packets");
        let (before, each_before) = (received()?, each()?);
        let sender = Sender::open(from)?;

        (0..FRAMES).try_for_each(|flow| sender.send(&Probe::new(flow, 0).frame()))?;
        wait_for_progress(
            "a frame on each of many flows arrives, without other traffic",
            || {
                let new = received()? - before;
                let rings: Vec<_> = each()?
                    .iter()
                    .zip(&each_before)
                    .map(|(now, before)| now - before)
                    .collect();

                Ok((new < FRAMES.into()).then(|| {
                    format!(
                        "{new} of {FRAMES} arrived at {}, in its rings {rings:?}",
                        to.name
                    )
                }))
            },
        )?;
    }
    Ok(())
}
