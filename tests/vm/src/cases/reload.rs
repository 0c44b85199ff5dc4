// SPDX-License-Identifier: GPL-2.0

//! Loading and unloading again and again leaves memory where it was.

use crate::{
    bed::{Bed, Port, NS_A, NS_B},
    bpf::{self, Program},
    harness::Case,
    host::{cmd, cpus::free_deferred_skbs, ensure_eq, module, netns::Netns, wait_until},
    nl::netdev,
    stats::check_both,
    wire::{
        packet::Sender,
        probe::{verdict, Probe},
    },
};
use anyhow::{anyhow, bail, Context, Result};
use std::{fs, io};

const WARM_UP: u64 = 10;
/// Cycles between two looks at the memory.
const CYCLES: u64 = 90;
/// How often memory may have grown by more than it may before that is believed: what cycles lose they
/// lose each time, while what a cache of the kernel's has set aside just then it does not set aside again.
const ROUNDS: u64 = 3;
const AVAILABLE: &str = "MemAvailable";
/// What may be missing after so many cycles, in KiB, by the name in /proc/meminfo.
///
/// Slabs and areas of vmalloc are counted as they are given away, so that little else moves them: four
/// kilobytes more with each cycle, less than a device and its queues take, are too much. Memory as a
/// whole moves by what the kernel's allocators and the file system keep at hand; six pages of each
/// cycle, or the buffers of one ring that were forgotten once, are too much. A single page of a buffer
/// that does not come back is found by its page pool, which then stays.
const TOLERANCES: [(&str, u64); 5] = [
    (AVAILABLE, 2048),
    ("Slab", 4 * CYCLES),
    ("SUnreclaim", 4 * CYCLES),
    ("VmallocUsed", 128),
    ("Percpu", 64),
];

pub fn cases() -> Vec<Case> {
    vec![Case::bare(
        "reload::memory_is_where_it_was",
        memory_is_where_it_was,
    )]
}

fn memory_is_where_it_was() -> Result<()> {
    let ns_a = Netns::create(NS_A)?;
    let ns_b = Netns::create(NS_B)?;

    let initial = Netns::initial();
    initial.sysctl("core/default_qdisc", "pfifo_fast")?;
    // The kernel need not write to the log that caches are dropped.
    fs::write("/proc/sys/vm/drop_caches", "4")?;
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
    let mut grown = Vec::new();
    for _ in 0..ROUNDS {
        let before = Usage::now(ns_a, ns_b)?;
        cycles(CYCLES)?;
        match settled(ns_a, ns_b, &before) {
            Ok(()) => return Ok(()),
            Err(error) => grown.push(format!("{error:#}")),
        }
    }
    bail!("each time there was more in use: {}", grown.join("; "))
}

/// Much is given back a grace period later, or when the kernel next looks after it.
fn settled(ns_a: &Netns, ns_b: &Netns, before: &Usage) -> Result<()> {
    let mut outcome = Ok(());
    let settled = wait_until("memory is where it was", || {
        outcome = Usage::now(ns_a, ns_b)?.compare(before);
        Ok(outcome.is_ok())
    });
    // Says more than that it was waited in vain.
    outcome?;
    settled
}

/// Ports up, a program in each, and traffic with every verdict. Now and then in namespaces of their
/// own, with every counter checked; that costs more time than all the rest.
fn cycle(n: u64, ns_a: &Netns, ns_b: &Netns) -> Result<()> {
    const FRAMES: u32 = 24;
    const VERDICTS: [u8; 4] = [verdict::PASS, verdict::DROP, verdict::TX, verdict::ABORTED];
    let thorough = n % 10 == 0;

    module::load("queues=2")?;
    let initial = Netns::initial();
    let bed = if thorough {
        Bed {
            a: Port::moved("ox0", ns_a, NS_A)?,
            b: Port::moved("ox1", ns_b, NS_B)?,
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
        port.set("up")?;
    }
    drop(program);

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

/// What the kernel has in use.
#[derive(Debug)]
struct Usage {
    /// Of /proc/meminfo, in KiB, in the order of [`TOLERANCES`].
    memory: Vec<u64>,
    sockets: u64,
    pools: usize,
    programs: usize,
    modules: usize,
    namespaces: usize,
}

impl Usage {
    fn now(ns_a: &Netns, ns_b: &Netns) -> Result<Self> {
        // Cached files and names are no loss.
        fs::write("/proc/sys/vm/drop_caches", "3")?;
        free_deferred_skbs()?;
        shrink_slabs()?;
        let memory = memory()?;
        let mut sockets = 0;
        let mut pools = 0;
        for ns in [&Netns::initial(), ns_a, ns_b] {
            let (used, here) = ns.enter(|| {
                let text = fs::read_to_string("/proc/thread-self/net/sockstat")?;
                Ok((number_after(&text, "sockets: used")?, netdev::page_pools()?))
            })?;
            sockets += used;
            pools += here.len();
        }

        Ok(Self {
            memory,
            sockets,
            pools,
            programs: bpf::program_ids()?.len(),
            modules: fs::read_to_string("/proc/modules")?.lines().count(),
            namespaces: cmd::run("ip netns list")?.lines().count(),
        })
    }

    /// What grew, with the amount, if it is more than it may be.
    fn compare(&self, before: &Self) -> Result<()> {
        for (n, (name, tolerance)) in TOLERANCES.iter().enumerate() {
            let (old, new) = (before.memory[n], self.memory[n]);
            // Everything but this one says what is used.
            let grown = if *name == AVAILABLE {
                old.saturating_sub(new)
            } else {
                new.saturating_sub(old)
            };

            anyhow::ensure!(
                grown < *tolerance,
                "{name}: {old} KiB before, {new} KiB after {CYCLES} cycles"
            );
        }
        ensure_eq!(self.sockets, before.sockets, "sockets");
        ensure_eq!(self.pools, before.pools, "page pools");
        ensure_eq!(self.programs, before.programs, "BPF programs");
        ensure_eq!(self.modules, before.modules, "modules");
        ensure_eq!(self.namespaces, before.namespaces, "namespaces");
        Ok(())
    }
}

/// Makes every slab cache give back its empty slabs.
fn shrink_slabs() -> Result<()> {
    for cache in fs::read_dir("/sys/kernel/slab")? {
        let shrink = cache?.path().join("shrink");
        match fs::write(&shrink, "1") {
            // A cache may be gone by now.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("writing {}", shrink.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What /proc/meminfo says of each of [`TOLERANCES`], in KiB.
///
/// Free pages that a processor keeps at hand are available too, although they are not counted there. How
/// many it keeps depends on how quickly it has lately taken and given pages.
fn memory() -> Result<Vec<u64>> {
    const PAGE: u64 = 4;
    let text = fs::read_to_string("/proc/meminfo")?;
    let at_hand: u64 = fs::read_to_string("/proc/zoneinfo")?
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("count:"))
        .map(|count| Ok(count.trim().parse::<u64>()?))
        .sum::<Result<_>>()?;
    TOLERANCES
        .iter()
        .map(|(name, _)| {
            let more = if *name == AVAILABLE { at_hand } else { 0 };
            Ok(number_after(&text, &format!("{name}:"))? + PAGE * more)
        })
        .collect()
}

fn number_after(text: &str, name: &str) -> Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| anyhow!("no number after {name}"))
}
