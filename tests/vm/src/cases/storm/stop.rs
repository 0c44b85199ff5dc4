// SPDX-License-Identifier: GPL-2.0

//! How the traffic is stopped: one kind after the other, so that a sender that waits for a buffer
//! must be woken by what has happened already, not by a later frame.

use super::{
    gate::{Gate, Kind, PORTS},
    program::StormProgram,
    state::Storm,
    traffic::{FIRST_FLOW, FLOWS},
};
use crate::{
    host::live,
    wire::probe::{verdict, Probe},
};
use anyhow::Result;
use std::{thread, time::Duration};

/// How long the other traffic goes on after one kind has stopped.
const A_WHILE: Duration = Duration::from_millis(150);
/// How often frames are redirected before the end, and the pause after each time.
const REDIRECTS: u32 = 8;
const BETWEEN: Duration = Duration::from_millis(10);
/// Live frames on which the kernel runs a program at a time; then it flushes the redirected
/// ones.
const POLL: u32 = 64;
/// In longer rings, only this many descriptors are filled.
const LONGEST_RING: u32 = 512;
/// Which of the frames of a poll the program of a devmap drops, by its number in `storm.bpf.c`, and
/// how many it passes.
const DROPS: [(u32, u32); 4] = [(2, 48), (2, 48), (3, 32), (4, 16)];
/// How often allocations fail before the large frames stop too: for a sender that waits for a ring
/// that was only partly refilled, there is no other frame that would wake it.
const SHORTAGES: u32 = 12;

/// Stops the traffic: first the redirects, then the small frames of the stack, then the large ones,
/// for which there may be no pages meanwhile.
pub fn stop_traffic(storm: &mut Storm<'_>, gate: &Gate) -> Result<()> {
    gate.close_from(Kind::Redirect)?;
    if storm.makes("drop_redirected") && storm.random.flip() {
        // Frames that programs send back would flush what the last redirects leave in a ring.
        storm.pass_all(true)?;
        redirect_last(storm)?;
    }
    thread::sleep(A_WHILE);
    gate.close_from(Kind::Stack)?;
    thread::sleep(A_WHILE);
    if storm.makes("no_pages") && storm.random.flip() {
        return storm.without_pages(SHORTAGES, || gate.close_from(Kind::Bulk));
    }
    gate.close_from(Kind::Bulk)
}

/// Redirects frames to one port after the other, mostly to the one whose peer has the shortest
/// rings. The program of the devmap drops the last frames of each poll, so the kernel does not
/// flush the ones before them. The ring is mostly full then, and the next frame of the stack has to
/// wait for it.
fn redirect_last(storm: &mut Storm<'_>) -> Result<()> {
    let mut program = StormProgram::load("storm_frags")?;

    storm.log("frames are redirected, and the last ones are dropped");
    for _ in 0..REDIRECTS {
        let some = storm.random.below(PORTS as u32) as usize;
        let shortest = (0..PORTS).min_by_key(|n| storm.ports[n ^ 1].model.ring);
        let n = storm.random.pick(&[some, shortest.unwrap_or(some)]);
        let port = &storm.ports[n].port;
        // The kernel reuses the pages of live frames with the marks that they have: starting at 0
        // lasts long enough.
        let probe = Probe::new(FIRST_FLOW + storm.random.below(FLOWS), 0).verdict(verdict::DEVMAP);
        let (which, passed) = storm.random.pick(&DROPS);
        let ring = storm.ports[n ^ 1].model.ring.min(LONGEST_RING);
        let polls = match storm.random.below(4) {
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
