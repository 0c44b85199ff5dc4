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
/// The kernel runs a program on so many live frames at a time, and has sent off then what it redirects.
const POLL: u32 = 64;
/// Longer rings are not filled.
const LONGEST_RING: u32 = 512;
/// Which of the frames of a poll a devmap's program drops, as `storm.bpf.c` numbers it, and how many it passes.
const DROPS: [(u32, u32); 4] = [(2, 48), (2, 48), (3, 32), (4, 16)];
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
/// of the devmap drop the last ones of each poll, after which the kernel tells nobody that they were the last. The
/// ring is mostly full then, and the next frame of the stack has to wait for it.
fn redirect_last(world: &mut World<'_>) -> Result<()> {
    let mut program = Swirl::load("storm_frags")?;

    world.log("frames are redirected, and the last ones dropped");
    for _ in 0..REDIRECTS {
        let some = world.random.below(PORTS as u32) as usize;
        let shortest = (0..PORTS).min_by_key(|n| world.cards[n ^ 1].model.ring);
        let n = world.random.pick(&[some, shortest.unwrap_or(some)]);
        let port = &world.cards[n].port;
        // The kernel uses the pages of live frames again, marked as they are: from 0 the mark lasts.
        let probe = Probe::new(FIRST_FLOW + world.random.below(FLOWS), 0).verdict(verdict::DEVMAP);
        let (which, passed) = world.random.pick(&DROPS);
        let ring = world.cards[n ^ 1].model.ring.min(LONGEST_RING);
        let polls = match world.random.below(4) {
            0 => 1,
            _ => ring.div_ceil(passed) + 1,
        };

        program.drop_redirected(which)?;
        program.redirect_to(port)?;
        let fd = program.fd()?;
        port.ns
            .enter(|| live::run(fd, &probe.len(60).frame(), polls * POLL))?;
        thread::sleep(BETWEEN);
    }
    Ok(())
}
