// SPDX-License-Identifier: GPL-2.0

//! The example driver of Documentation/abstractions.md, in the kernel: it sends, receives, runs a
//! program and goes.

use crate::{
    bed::{Port, NS_A},
    bpf::Program,
    harness::case,
    host::{cmd, ensure_eq, module, netns::Netns, wait_until},
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
    },
};
use anyhow::{Context, Result};

const FRAMES: u32 = 100;
/// What the device receives.
const FRAME: [u8; 60] = [0; 60];

case!(bare "beat::example_driver_works", works);
fn works() -> Result<()> {
    let path = std::env::var("OXNIC_BEAT").context("OXNIC_BEAT names no module")?;

    cmd::run(&format!("insmod {path}"))?;
    // The harness only unloads the module under test.
    let outcome = receive();
    let left = module::unload_other("beat");
    outcome.and(left)
}

fn receive() -> Result<()> {
    let parent = std::fs::canonicalize("/sys/class/net/beat0/device")?;
    ensure_eq!(parent.ends_with("faux/beat"), true, "{}", parent.display());

    let ns = Netns::create(NS_A)?;
    let port = Port::moved("beat0", &ns)?;

    // Twice, since a device that went down has to come up again.
    for _ in 0..2 {
        port.up()?;
        to_the_stack(&port)?;
        to_a_program(&port)?;
        port.down()?;
    }
    // The module goes while the interface is up.
    port.up()
}

fn to_the_stack(port: &Port) -> Result<()> {
    let tap = Tap::open(port)?;

    send(port)?;
    for n in 0..FRAMES {
        ensure_eq!(tap.any()?, FRAME, "frame {n}");
    }
    tap.silence()
}

fn to_a_program(port: &Port) -> Result<()> {
    let program = Program::load("count", "count_drop")?;
    port.attach(&program)?;
    let tap = Tap::open(port)?;

    send(port)?;
    wait_until("the program has seen all frames", || {
        Ok(program.read::<u64>("seen", 0)? == u64::from(FRAMES))
    })?;
    tap.silence()?;
    port.detach()
}

fn send(port: &Port) -> Result<()> {
    Sender::open(port)?.send_flow(&Probe::new(0, 0), FRAMES)
}
