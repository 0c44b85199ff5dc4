// SPDX-License-Identifier: GPL-2.0

//! What the kernel has in use, to be compared before and after.

use super::{cmd, cpus::free_deferred_skbs, ensure_eq, instruments, netns::Netns, wait_until};
use crate::{bpf, nl::netdev};
use anyhow::{anyhow, ensure, Context, Result};
use std::{fs, io};

const AVAILABLE: &str = "MemAvailable";
/// The names of what is compared in /proc/meminfo, in KiB. Slabs and areas of vmalloc are counted
/// as they are given away, so that little else moves them. Memory as a whole moves by what the
/// kernel's allocators and the file system keep at hand. A single page of a buffer that does not
/// come back is found by its page pool, which then stays.
const MEMORY: [&str; 5] = [AVAILABLE, "Slab", "SUnreclaim", "VmallocUsed", "Percpu"];

/// What may be missing, in KiB.
pub struct Tolerances {
    /// Of memory as a whole.
    pub available: u64,
    /// Of slabs.
    pub slab: u64,
}

impl Tolerances {
    fn of(&self, name: &str) -> u64 {
        match name {
            AVAILABLE => self.available,
            "VmallocUsed" => 128,
            "Percpu" => 64,
            _ => self.slab,
        }
    }
}

/// What the kernel has in use.
#[derive(Debug)]
pub struct Usage {
    /// Of /proc/meminfo, in KiB, in the order of [`MEMORY`].
    memory: Vec<u64>,
    sockets: u64,
    pools: usize,
    programs: usize,
    modules: usize,
    namespaces: usize,
}

impl Usage {
    /// In the initial namespace and those given.
    pub fn now(spaces: &[&Netns]) -> Result<Self> {
        give_back()?;
        let memory = memory()?;
        let mut sockets = 0;
        let mut pools = 0;
        for ns in [&Netns::initial()].iter().chain(spaces) {
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

    /// Waits until no more is in use than there was now; memory too if it has tolerances. Much is
    /// given back a grace period later, or when the kernel next looks after it.
    ///
    /// On the debug kernel memory is left to kmemleak, as KASAN keeps much of it for a while after
    /// it was freed, so that its use is seen.
    pub fn wait_back(&self, spaces: &[&Netns], memory: Option<&Tolerances>) -> Result<()> {
        let memory = memory.filter(|_| !instruments::present());
        let mut outcome = Ok(());
        let settled = wait_until("everything is given back", || {
            outcome = Self::now(spaces)?.compare(self, memory);
            Ok(outcome.is_ok())
        });

        // Its error says more than a timeout.
        outcome?;
        settled
    }

    /// What grew, with the amount, if it is more than it may be.
    fn compare(&self, before: &Self, memory: Option<&Tolerances>) -> Result<()> {
        for (n, name) in MEMORY.iter().enumerate() {
            let (old, new) = (before.memory[n], self.memory[n]);
            // Everything but this one says what is used.
            let grown = if *name == AVAILABLE {
                old.saturating_sub(new)
            } else {
                new.saturating_sub(old)
            };

            ensure!(
                memory.is_none_or(|tolerances| grown < tolerances.of(name)),
                "{name}: {old} KiB before, {new} KiB after"
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

/// Bytes that no one uses, not even to have something at hand.
pub fn unused() -> Result<u64> {
    give_back()?;
    let text = fs::read_to_string("/proc/meminfo")?;

    Ok(1024 * number_after(&text, "MemFree:")?)
}

/// Bytes of the kernel's own objects: of what is in slabs and cannot be given back, too large for
/// them, or in areas of vmalloc.
pub fn objects() -> Result<u64> {
    give_back()?;
    let text = fs::read_to_string("/proc/meminfo")?;

    Ok(1024 * (number_after(&text, "SUnreclaim:")? + number_after(&text, "VmallocUsed:")?))
}

/// Makes the kernel give back what it only has at hand. Cached files and names are no loss. It need
/// not write to the log that they are dropped.
fn give_back() -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "4")?;
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    free_deferred_skbs()?;
    shrink_slabs()
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

/// What /proc/meminfo says of each of [`MEMORY`], in KiB.
///
/// Free pages that a CPU keeps at hand are available too, although they are not counted there. How
/// many it keeps depends on how quickly it has lately taken and given pages.
fn memory() -> Result<Vec<u64>> {
    const PAGE: u64 = 4;
    let text = fs::read_to_string("/proc/meminfo")?;
    let at_hand: u64 = fs::read_to_string("/proc/zoneinfo")?
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("count:"))
        .map(|count| Ok(count.trim().parse::<u64>()?))
        .sum::<Result<_>>()?;
    MEMORY
        .iter()
        .map(|name| {
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
