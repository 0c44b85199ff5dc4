// SPDX-License-Identifier: GPL-2.0

//! The storm holds its breath: every frame is accounted for, and every port is as it was told to be.

use super::{
    gate::{Gate, PORTS},
    world::World,
};
use crate::{
    bed::Bed,
    host::ensure_eq,
    stats::check_both_after_down,
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{Context, Result};

/// So small an MTU takes no probe of the usual length.
const SMALL_MTU: u32 = 576;

/// Stops the traffic and checks everything.
pub fn settle(world: &mut World<'_>, gate: &Gate) -> Result<()> {
    world.log("all is counted");
    gate.close();
    gate.check()?;
    world.calm(true)?;
    for pair in 0..PORTS / 2 {
        let bed = world.bed(pair);

        count(world, pair, &bed).with_context(|| format!("pair {pair}"))?;
    }
    for n in 0..PORTS {
        let card = &world.cards[n];

        card.model.check_all(&card.port)?;
        world.drain_sockets(n)?;
    }
    for pair in 0..PORTS / 2 {
        let bed = world.bed(pair);
        let ends = &world.cards[2 * pair..2 * pair + 2];

        if ends
            .iter()
            .all(|card| card.model.up && card.model.mtu >= SMALL_MTU)
        {
            check_alive(&bed)?;
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
    const FRAMES: u32 = 64;

    for (from, to) in [(&bed.a, &bed.b), (&bed.b, &bed.a)] {
        from.wait_running(true)?;
        let before = to.link()?.stat("rx_packets")?;
        let sender = Sender::open(from)?;

        (0..FRAMES).try_for_each(|flow| sender.send(&Probe::new(flow, 0).frame()))?;
        to.wait_received(before + u64::from(FRAMES))
            .context("when all was at rest")?;
    }
    Ok(())
}
