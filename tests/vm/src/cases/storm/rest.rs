// SPDX-License-Identifier: GPL-2.0

//! How the traffic stops: bit by bit, so that whoever has to wait must be woken by what has happened, and is not
//! helped by what comes later.

use super::{
    gate::{Gate, Kind, PORTS},
    program::Swirl,
    traffic::{FIRST_FLOW, FLOWS},
    world::World,
};
use crate::{
    host::live,
    wire::probe::{verdict, Probe},
};
use anyhow::Result;
use std::{thread, time::Duration};

/// For so long some traffic goes on when other has stopped.
const A_WHILE: Duration = Duration::from_millis(150);
/// How often frames are redirected at last, and the pause after it.
const REDIRECTS: u32 = 8;
const BETWEEN: Duration = Duration::from_millis(10);
/// How often there are no pages for large frames before these stop, too: who waits then for a ring that is
/// refilled in part only has nobody else to wake it.
const SHORTAGES: u32 = 12;

/// Stops the traffic. What programs have redirected is not followed by more of it, but by frames of the stack, and
/// those by large frames only, for which there may be no pages.
pub fn come_to_rest(world: &mut World<'_>, gate: &Gate) -> Result<()> {
    gate.close_from(Kind::Redirect)?;
    if world.takes("drop_redirected") && world.random.flip() {
        // What programs send back would publish what the last frames leave behind.
        world.calm(true)?;
        redirect_last(world)?;
    }
    thread::sleep(A_WHILE);
    gate.close_from(Kind::Stack)?;
    thread::sleep(A_WHILE);
    if world.takes("no_pages") && world.random.flip() {
        return world.without_pages(SHORTAGES, || gate.close_from(Kind::Bulk));
    }
    gate.close_from(Kind::Bulk)
}

/// Redirects frames to one port after the other, mostly with the shortest of the peers' rings, and has the program
/// of the devmap drop those that are handed over last, after which the kernel tells nobody that they were the
/// last.
fn redirect_last(world: &mut World<'_>) -> Result<()> {
    let mut program = Swirl::load("storm_frags")?;

    world.log("frames are redirected, and the last ones dropped");
    for _ in 0..REDIRECTS {
        let some = world.random.below(PORTS as u32) as usize;
        let shortest = (0..PORTS).min_by_key(|n| world.cards[n ^ 1].model.ring);
        let n = world.random.pick(&[some, shortest.unwrap_or(some)]);
        let port = &world.cards[n].port;
        // Who receives it passes it on.
        let probe = Probe {
            mark: u8::MAX - 1,
            ..Probe::new(FIRST_FLOW + world.random.below(FLOWS), 0).verdict(verdict::DEVMAP)
        };
        let (which, count) = (
            world.random.pick(&[2, 2, 3, 4]),
            world.random.pick(&[64, 128, 256]),
        );

        program.drop_redirected(which)?;
        program.redirect_to(port)?;
        let fd = program.fd()?;
        port.ns
            .enter(|| live::run(fd, &probe.len(60).frame(), count))?;
        thread::sleep(BETWEEN);
    }
    Ok(())
}
