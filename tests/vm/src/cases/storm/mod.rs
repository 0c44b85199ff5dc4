// SPDX-License-Identifier: GPL-2.0

//! The storm: random changes (steps) in the control path of four ports under traffic of every kind.
//!
//! The steps follow from a seed. A [`model`] of each port's configuration tells whether the kernel
//! must accept a step or refuse it. After every few steps, and at the end, the traffic stops and
//! everything is checked: see [`accounting`].
//!
//! Environment variables: `OXNIC_STORM_STEPS`, the number of steps; `OXNIC_SEED`, the seed;
//! `OXNIC_STORM_KINDS`, the kinds of steps, if not all; `OXNIC_STORM_EVERY`, after how many steps
//! everything is checked; `OXNIC_SOAK_FRAMES`, the number of frames of the soak.

mod accounting;
mod busy;
mod gate;
mod model;
mod program;
mod sharing;
mod soak;
mod sockets;
mod state;
mod steps;
mod stop;
mod stuck;
mod traffic;
mod trouble;

use crate::{
    bed::{NS_A, NS_B},
    harness::case,
    host::{cmd, instruments, netns::Netns, setting, usage::Usage},
    random,
    support::hwtstamp::ONE_STEP_REFUSED,
};
use anyhow::{ensure, Context, Result};
use gate::Gate;
use state::Storm;
use std::{env, fs, sync::atomic::Ordering, thread};

/// Steps by default; fewer on the debug kernel, where they take longer.
const STEPS: u32 = 300;
const DEBUG_STEPS: u32 = 150;
/// Steps between two checks of everything, by default.
const EVERY: u32 = 50;
/// What may be logged: by pktgen when a port is deleted, or down; and why an ioctl is refused.
const LOGGED: &[&str] = &["pktgen: ", ONE_STEP_REFUSED];
/// Steps between two lines about the progress.
const PROGRESS: u32 = 500;

case!(ports "storm::soak", soak::PARAMS, soak::soak);
case!(bare "storm::steps", storm; allow(LOGGED));
fn storm() -> Result<()> {
    let usual = if instruments::present() {
        DEBUG_STEPS
    } else {
        STEPS
    };
    let steps = setting("OXNIC_STORM_STEPS", usual)?;
    let seed = random::seed()?;
    let initial = Netns::initial();

    eprintln!("storm: {steps} steps with seed {seed}");
    initial.sysctl("core/default_qdisc", "pfifo_fast")?;
    // The module stays loaded when its devices are deleted.
    cmd::run("modprobe veth")?;
    let spaces = [&Netns::create(NS_A)?, &Netns::create(NS_B)?];
    let before = Usage::now(&spaces)?;
    // What IPv6 sends by itself would do no harm, but would never stop.
    initial.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    let outcome = run(seed, steps, spaces);
    initial.sysctl("core/busy_read", "0")?;
    initial.sysctl("ipv6/conf/default/disable_ipv6", "0")?;
    outcome.with_context(|| {
        format!(
            "again with: make storm STEPS={steps} SEED={seed}{}",
            options()
        )
    })?;
    before.wait_back(&spaces, None)
}

/// The other options that were given, as `make storm` takes them.
fn options() -> String {
    ["KINDS", "EVERY"]
        .iter()
        .filter_map(|name| {
            Some(format!(
                " {name}={}",
                env::var(format!("OXNIC_STORM_{name}")).ok()?
            ))
        })
        .collect()
}

fn run(seed: u64, steps: u32, spaces: [&Netns; 2]) -> Result<()> {
    let gate = Gate::new();
    let mut storm = Storm::make(seed, &gate, spaces)?;

    thread::scope(|scope| {
        let outcome = traffic::start(scope, &gate, seed, spaces)
            .and_then(|()| renice(-15))
            .and_then(|()| make_steps(&mut storm, &gate, steps))
            .and(renice(0));

        if let Err(error) = &outcome {
            // Printed here as well, since ending the traffic may hang. Threads that wait for a port
            // give up when it is deleted.
            eprintln!("storm: {error:#}");
            let _ = storm.unload();
        }
        outcome.and(gate.end()).and(gate.check())
    })
    .with_context(|| {
        format!(
            "step {}, after\n    {}\n ",
            storm.steps(),
            storm.last_steps()
        )
    })?;
    storm.unload()?;
    ensure!(
        gate.compared.load(Ordering::Relaxed) > 0,
        "nothing of what arrived was compared"
    );
    Ok(())
}

/// Sets the priority of this thread and of the commands that it runs: the traffic would take most
/// of the CPU time.
fn renice(nice: i32) -> Result<()> {
    let thread = fs::read_link("/proc/thread-self")?;
    let number = thread.file_name().unwrap_or_default().to_string_lossy();

    cmd::run(&format!("renice -n {nice} -p {number}")).map(drop)
}

/// Makes the steps. In the end the traffic is stopped.
fn make_steps(storm: &mut Storm<'_>, gate: &Gate, steps: u32) -> Result<()> {
    let every = setting("OXNIC_STORM_EVERY", EVERY)?;

    gate.open();
    for n in 1..=steps {
        steps::make(storm)?;
        gate.check()?;
        if n % every == 0 || n == steps {
            accounting::stop_and_check(storm, gate)?;
            if n < steps {
                accounting::resume(storm, gate)?;
            }
        }
        if n % PROGRESS == 0 {
            let compared = gate.compared.load(Ordering::Relaxed);
            eprintln!("storm: step {n} of {steps}, {compared} bytes compared");
        }
    }
    Ok(())
}
