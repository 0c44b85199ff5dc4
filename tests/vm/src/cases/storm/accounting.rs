// SPDX-License-Identifier: GPL-2.0

//! The storm holds its breath: every frame is accounted for, and every port is as it was told to be.

use super::{
    gate::{Gate, Kind, PORTS},
    sharing,
    world::World,
};
use crate::{
    bed::{Bed, Port},
    host::{ensure_eq, wait_until},
    stats::check_both_after_down,
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{Context, Result};
use std::{thread, time::Duration};

/// Flows that go to all queues.
const FRAMES: u32 = 64;
/// For so long some traffic goes on when other has stopped.
const A_WHILE: Duration = Duration::from_millis(150);
/// So small an MTU takes no probe of the usual length.
const SMALL_MTU: u32 = 576;

/// Stops the traffic and checks everything.
pub fn settle(world: &mut World<'_>, gate: &Gate) -> Result<()> {
    world.log("all is counted");
    come_to_rest(world, gate)?;
    gate.check()?;
    for n in 0..PORTS {
        check_nobody_waits(&world.cards[n].port)?;
    }
    world.calm(true)?;
    for pair in 0..PORTS / 2 {
        let bed = world.bed(pair);

        flush(world, pair, &bed)?;
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
            sharing::check(world, pair)?;
        }
    }
    world.check_log()
}

/// Stops the traffic bit by bit. What programs have redirected is not followed by more of it, but by frames of
/// the stack, and those by large frames only, for which there may be no pages. So whoever has to wait has to
/// be woken by what has happened, and not by what comes later.
fn come_to_rest(world: &mut World<'_>, gate: &Gate) -> Result<()> {
    gate.close_from(Kind::Redirect);
    thread::sleep(A_WHILE);
    gate.close_from(Kind::Stack);
    thread::sleep(A_WHILE);
    if world.random.flip() {
        let time = world.random.pick(&[10, 50, 200]);
        return world.without_pages(|| {
            thread::sleep(Duration::from_millis(time));
            gate.close_from(Kind::Bulk);
        });
    }
    gate.close_from(Kind::Bulk);
    Ok(())
}

/// No queue stands still: what waits in front of the port gets in, though nothing else comes.
fn check_nobody_waits(port: &Port) -> Result<()> {
    let mut text = String::new();

    wait_until("the port takes what waits for it", || {
        text = port
            .ns
            .exec(&format!("tc -s qdisc show dev {}", port.name))?;
        Ok(text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("backlog "))
            .all(|line| line.starts_with("0b 0p")))
    })
    .with_context(|| format!("{}: {text}", port.name))
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
        let before = to.link()?.stat("rx_packets")?;
        let sender = Sender::open(from)?;

        (0..FRAMES).try_for_each(|flow| sender.send(&Probe::new(flow, 0).frame()))?;
        to.wait_received(before + u64::from(FRAMES))
            .context("when all was at rest")?;
    }
    Ok(())
}
