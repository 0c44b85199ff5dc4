// SPDX-License-Identifier: GPL-2.0

//! A storm: random steps in the control path of four ports while traffic of every kind goes on.
//!
//! The steps follow from a seed. A [`model`] of the ports says of each whether the kernel has to do it
//! or to refuse it. Now and then, and at the end, the traffic stops and everything is [checked]
//! (accounting::settle).
//!
//! `OXNIC_STORM_STEPS` and `OXNIC_SEED` in the environment say how many steps there are and which;
//! `OXNIC_STORM_KINDS`, of which kinds, if not of all, and `OXNIC_STORM_EVERY`, after how many of them
//! everything is looked at. `OXNIC_SOAK_FRAMES` says how many frames the soak takes.

mod accounting;
mod busy;
mod gate;
mod model;
mod program;
mod rest;
mod sharing;
mod soak;
mod standstill;
mod steps;
mod traffic;
mod trouble;
mod world;

use crate::{
    bed::{NS_A, NS_B},
    harness::case,
    host::{cmd, instruments, netns::Netns, setting, usage::Usage},
    random,
};
use anyhow::{ensure, Context, Result};
use gate::Gate;
use std::{env, fs, sync::atomic::Ordering, thread};
use world::World;

/// Steps without a word in the environment; fewer on the debug kernel, where they take longer.
const STEPS: u32 = 300;
const DEBUG_STEPS: u32 = 150;
/// Steps between two looks at everything, without a word in the environment.
const EVERY: u32 = 50;
/// What pktgen has to say when a port goes, or is down.
const PKTGEN: &str = "pktgen: ";
/// Steps between two lines that say how far the storm is.
const PROGRESS: u32 = 500;

case!(ports "storm::soak", soak::PARAMS, soak::soak);
case!(bare "storm::steps", storm; allow(&[PKTGEN]));
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
    // It stays when its devices go.
    cmd::run("modprobe veth")?;
    let spaces = [&Netns::create(NS_A)?, &Netns::create(NS_B)?];
    let before = Usage::now(&spaces)?;
    // What the stack says by itself is not in the way, but it never ends.
    initial.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    let outcome = run(seed, steps, spaces);
    initial.sysctl("core/busy_read", "0")?;
    initial.sysctl("ipv6/conf/default/disable_ipv6", "0")?;
    outcome.with_context(|| {
        format!(
            "again with: make storm STEPS={steps} SEED={seed}{}",
            chosen()
        )
    })?;
    before.wait_back(&spaces, None)
}

/// What else was chosen, as `make storm` takes it.
fn chosen() -> String {
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
    let mut world = World::make(seed, &gate, spaces)?;

    thread::scope(|scope| {
        let outcome = traffic::start(scope, &gate, seed, spaces)
            .and_then(|()| renice(-15))
            .and_then(|()| take(&mut world, &gate, steps))
            .and(renice(0));

        if let Err(error) = &outcome {
            // Said here, too, as what comes now may hang. Who waits for a port gives up when that goes.
            eprintln!("storm: {error:#}");
            let _ = world.unload();
        }
        outcome.and(gate.end()).and(gate.check())
    })
    .with_context(|| {
        format!(
            "step {}, after\n    {}\n ",
            world.steps(),
            world.last_steps()
        )
    })?;
    world.unload()?;
    ensure!(
        gate.compared.load(Ordering::Relaxed) > 0,
        "nothing of what arrived was compared"
    );
    Ok(())
}

/// Has this thread, and the commands it runs, get the CPU before or beside the traffic, which would take most
/// of it.
fn renice(nice: i32) -> Result<()> {
    let thread = fs::read_link("/proc/thread-self")?;
    let number = thread.file_name().unwrap_or_default().to_string_lossy();

    cmd::run(&format!("renice -n {nice} -p {number}")).map(drop)
}

/// Takes the steps. In the end the traffic is at rest.
fn take(world: &mut World<'_>, gate: &Gate, steps: u32) -> Result<()> {
    let every = setting("OXNIC_STORM_EVERY", EVERY)?;

    gate.open();
    for n in 1..=steps {
        steps::take(world)?;
        gate.check()?;
        if n % every == 0 || n == steps {
            accounting::settle(world, gate)?;
            if n < steps {
                accounting::go_on(world, gate)?;
            }
        }
        if n % PROGRESS == 0 {
            let compared = gate.compared.load(Ordering::Relaxed);
            eprintln!("storm: step {n} of {steps}, {compared} bytes compared");
        }
    }
    Ok(())
}
