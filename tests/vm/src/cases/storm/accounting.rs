// SPDX-License-Identifier: GPL-2.0

//! The storm holds its breath: every frame is accounted for, and every port is as it was told to be.

use super::{
    gate::{Gate, PORTS},
    rest::come_to_rest,
    sharing,
    standstill::{self, backlog, wait_while_moving},
    world::World,
};
use crate::{
    bed::Bed,
    host::ensure_eq,
    stats::check_both_after_down,
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{Context, Result};

/// Flows that go to all queues.
const FRAMES: u32 = 64;
/// So small an MTU takes no probe of the usual length.
const SMALL_MTU: u32 = 576;

/// Stops the traffic and checks everything.
pub fn settle(world: &mut World<'_>, gate: &Gate) -> Result<()> {
    world.log("all is counted");
    come_to_rest(world, gate)
        .with_context(|| format!("traffic cannot be stopped\n{}", standstill::describe(world)))?;
    gate.check()?;
    for n in 0..PORTS {
        let port = &world.cards[n].port;
        wait_while_moving("a port takes what waits for it", || backlog(port))
            .with_context(|| standstill::describe(world))?;
    }
    world.calm(true)?;
    for pair in 0..PORTS / 2 {
        let bed = world.bed(pair);

        flush(world, pair, &bed)?;
        count(world, pair, &bed)
            .with_context(|| format!("pair {pair}\n{}", standstill::describe(world)))?;
    }
    for n in 0..PORTS {
        let card = &world.cards[n];

        card.model.check_all(&card.port)?;
        world.drain_sockets(n)?;
    }
    let shared = world.random.below(PORTS as u32 / 2) as usize;
    for pair in 0..PORTS / 2 {
        let bed = world.bed(pair);
        let ends = &world.cards[2 * pair..2 * pair + 2];

        if ends
            .iter()
            .all(|card| card.model.up && card.model.mtu >= SMALL_MTU)
        {
            check_alive(&bed)?;
            if pair == shared && world.takes("sharing") {
                sharing::check(world, pair)?;
            }
        }
    }
    world.check_log()
}

/// Lets the traffic go on.
pub fn go_on(world: &mut World<'_>, gate: &Gate) -> Result<()> {
    world.calm(false)?;
    gate.open();
    Ok(())
}

/// Has the polls see frames of which they have not been told: a program may have dropped the frame that would
/// have said so, and then they wait for the next one.
fn flush(world: &World<'_>, pair: usize, bed: &Bed) -> Result<()> {
    if world.cards[2 * pair..2 * pair + 2]
        .iter()
        .all(|card| card.model.up)
    {
        for port in [&bed.a, &bed.b] {
            port.wait_running(true)?;
            let sender = Sender::open(port)?;

            (0..FRAMES).try_for_each(|flow| sender.send(&Probe::new(flow, 0).len(60).frame()))?;
        }
    }
    Ok(())
}

/// Every frame that was sent came or is lost under a name, and each run of a program had one outcome.
fn count(world: &World<'_>, pair: usize, bed: &Bed) -> Result<()> {
    let (a, b) = bed.settled()?;

    check_both_after_down(&a, &b)?;
    for (snapshot, card) in [&a, &b].into_iter().zip(&world.cards[2 * pair..]) {
        ensure_eq!(
            snapshot.verdicts()?,
            card.programs.runs()?,
            "{}: verdicts, and runs of programs",
            snapshot.name
        );
    }
    Ok(())
}

/// No queue stands still: a frame on each of many flows arrives. Frames of the stack's own may be
/// among them.
fn check_alive(bed: &Bed) -> Result<()> {
    for (from, to) in [(&bed.a, &bed.b), (&bed.b, &bed.a)] {
        from.wait_running(true)?;
        let received = || to.link()?.stat("rx_packets");
        let each = || to.counters()?.rx_each("packets");
        let (before, each_before) = (received()?, each()?);
        let sender = Sender::open(from)?;

        (0..FRAMES).try_for_each(|flow| sender.send(&Probe::new(flow, 0).frame()))?;
        wait_while_moving(
            "a frame on each of many flows arrives, as all is at rest",
            || {
                let new = received()? - before;
                let rings: Vec<_> = each()?
                    .iter()
                    .zip(&each_before)
                    .map(|(now, before)| now - before)
                    .collect();

                Ok((new < FRAMES.into()).then(|| {
                    format!(
                        "{new} of {FRAMES} came to {}, into its rings {rings:?}",
                        to.name
                    )
                }))
            },
        )?;
    }
    Ok(())
}
