// SPDX-License-Identifier: GPL-2.0

//! Loading and unloading again and again leaves memory where it was.

use crate::{
    bed::{Bed, Port, NS_A, NS_B},
    bpf::Program,
    harness::case,
    host::{
        instruments, module,
        netns::Netns,
        usage::{Tolerances, Usage},
    },
    stats::check_both,
    wire::{
        packet::Sender,
        probe::{verdict, Probe},
    },
};
use anyhow::{bail, Context, Result};

const WARM_UP: u64 = 10;
/// Cycles between two looks at the memory.
const CYCLES: u64 = 90;
/// How often memory may exceed its limit before the test fails: a leak grows with every cycle,
/// while a cache of the kernel grows only once.
const ROUNDS: u64 = 3;
/// What may be missing after so many cycles. Of slabs, four kilobytes more with each cycle, less
/// than a device and its queues take, are too much; of memory as a whole, six pages of each cycle,
/// or the buffers of one ring that were forgotten once.
const TOLERANCES: Tolerances = Tolerances {
    available: 2048,
    slab: 4 * CYCLES,
};

case!(bare "reload::memory_is_where_it_was", memory_is_where_it_was);
fn memory_is_where_it_was() -> Result<()> {
    let ns_a = Netns::create(NS_A)?;
    let ns_b = Netns::create(NS_B)?;

    let initial = Netns::initial();
    initial.sysctl("core/default_qdisc", "pfifo_fast")?;
    // Only the test's own frames are to be counted.
    initial.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    let checked = compare(&ns_a, &ns_b);
    initial.sysctl("ipv6/conf/default/disable_ipv6", "0")?;
    checked
}

fn compare(ns_a: &Netns, ns_b: &Netns) -> Result<()> {
    let cycles = |count| {
        (0..count).try_for_each(|n| cycle(n, ns_a, ns_b).with_context(|| format!("cycle {n}")))
    };
    cycles(WARM_UP)?;
    // On the debug kernel memory is not compared: what is lost there, kmemleak finds after one
    // cycle.
    let count = if instruments::present() {
        WARM_UP
    } else {
        CYCLES
    };
    let mut grown = Vec::new();
    for _ in 0..ROUNDS {
        let before = Usage::now(&[ns_a, ns_b])?;
        cycles(count)?;
        match before.wait_back(&[ns_a, ns_b], Some(&TOLERANCES)) {
            Ok(()) => return Ok(()),
            Err(error) => grown.push(format!("{error:#}")),
        }
    }
    bail!("each time there was more in use: {}", grown.join("; "))
}

/// Ports up, a program in each, and traffic with every verdict. Sometimes in namespaces of their
/// own, with every counter checked; that takes longer than all the rest.
fn cycle(n: u64, ns_a: &Netns, ns_b: &Netns) -> Result<()> {
    const FRAMES: u32 = 24;
    const VERDICTS: [u8; 4] = [verdict::PASS, verdict::DROP, verdict::TX, verdict::ABORTED];
    let thorough = n % 10 == 0;

    module::load("queues=2")?;
    let initial = Netns::initial();
    let bed = if thorough {
        Bed {
            a: Port::moved("ox0", ns_a)?,
            b: Port::moved("ox1", ns_b)?,
        }
    } else {
        Bed {
            a: Port::find(&initial, "ox0")?,
            b: Port::find(&initial, "ox1")?,
        }
    };
    let program = Program::load("verdict", "verdict")?;
    for port in [&bed.a, &bed.b] {
        port.attach(&program)?;
        port.receive_probes()?;
    }
    drop(program);
    bed.up()?;

    let sender = Sender::open(&bed.a)?;
    (0..FRAMES).try_for_each(|seq| {
        let act = VERDICTS[seq as usize % VERDICTS.len()];
        sender.send(&Probe::new(seq, seq).verdict(act).frame())
    })?;
    bed.b.wait_received(FRAMES.into())?;
    bed.a.wait_received(u64::from(FRAMES / 4))?;
    if thorough {
        check_both(&bed.a.snapshot()?, &bed.b.snapshot()?)?;
    }
    module::unload()
}
