// SPDX-License-Identifier: GPL-2.0

//! The speed of polls, and the CPU or thread on which they run.

use crate::{
    bed::Port,
    bpf::Program,
    host::instruments,
    nl::netdev::{self, Napi},
};
use anyhow::{Context, Result};
use std::fs;

/// Rounds of an empty loop for each frame, so that a port receives much more slowly than its peer
/// can send.
pub const SLOW: u32 = 50_000;

/// Makes a port's polls slow.
pub fn slow_down(port: &Port) -> Result<Program> {
    let mut program = Program::load("count", "count_slow")?;

    // The debug kernel makes senders slow, but not programs.
    let rounds = if instruments::present() {
        4 * SLOW
    } else {
        SLOW
    };
    program.write("rounds", 0, rounds)?;
    port.attach(&program)?;
    Ok(program)
}

/// Gives each NAPI of a port that is up a thread. In softirqs, slow polls of more rings than there
/// are CPUs would starve the senders, and the rings would hardly fill up.
pub fn poll_in_threads(port: &Port) -> Result<()> {
    set_threaded(port, true)
}

/// Switches NAPI threads on or off.
pub fn set_threaded(port: &Port, threaded: bool) -> Result<()> {
    port.write_sysfs("threaded", if threaded { "1" } else { "0" })
}

/// The file with the CPUs that an interrupt may go to.
pub fn affinity_file(irq: u64) -> String {
    format!("/proc/irq/{irq}/smp_affinity_list")
}

/// Makes an interrupt go to these CPUs.
pub fn set_affinity(irq: u64, cpus: &str) -> Result<()> {
    let path = affinity_file(irq);

    fs::write(&path, cpus).with_context(|| format!("writing {cpus} to {path}"))
}

/// Makes one CPU poll all rings of a port, so that the others can fill them.
pub fn poll_at(port: &Port, cpu: usize) -> Result<()> {
    for napi in port.ns.enter(|| netdev::napis(port.ifindex))? {
        set_affinity(napi.irq.context("no interrupt")?, &cpu.to_string())?;
    }
    Ok(())
}

/// The NAPI of a receive queue.
pub fn napi(port: &Port, queue: u64) -> Result<Napi> {
    let (queues, napis) = port
        .ns
        .enter(|| Ok((netdev::queues(port.ifindex)?, netdev::napis(port.ifindex)?)))?;
    let id = queues
        .iter()
        .find(|it| it.receives && it.id == queue)
        .and_then(|it| it.napi);

    napis
        .into_iter()
        .find(|napi| Some(napi.id) == id)
        .with_context(|| format!("{}: queue {queue} has no NAPI", port.name))
}
