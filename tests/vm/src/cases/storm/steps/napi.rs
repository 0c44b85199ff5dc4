// SPDX-License-Identifier: GPL-2.0

//! What decides who polls, when, and on which CPU; delayed CPUs and page allocations that fail.

use crate::{
    cases::storm::{
        model::{Moderation, MAX_USECS},
        state::Storm,
        steps::ethtool::set_moderation,
    },
    host::{cpus, netns::Netns},
    nl::netdev::{self, NapiSettings},
    support::polls::{napi, set_affinity},
};
use anyhow::{Context, Result};
use std::{thread, time::Duration};

/// A random queue of the port, if it is up.
fn some_queue(storm: &mut Storm<'_>, n: usize) -> Option<u32> {
    let queues = storm.ports[n].model.queues;
    let queue = storm.random.below(queues);

    storm.ports[n].model.up.then_some(queue)
}

/// Interrupts of a port's queues go to one CPU, mostly to the last, since senders are on the others
/// too; or to all CPUs, the default.
pub fn affinity(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let all = cpus::all()?;
    let last = all[all.len() - 1];
    let port = storm.ports[n].port.clone();

    for napi in port.ns.enter(|| netdev::napis(port.ifindex))? {
        let irq = napi.irq.context("no interrupt")?;
        let list = match storm.random.below(8) {
            0 => format!("0-{last}"),
            1..4 => storm.random.pick(&all).to_string(),
            _ => last.to_string(),
        };

        storm.log(format!("ox{n}: interrupt {irq} to {list}"));
        set_affinity(irq, &list)?;
    }
    Ok(())
}

/// Interrupts of a queue are deferred while it is polled anyway, or no longer. A NAPI with a thread
/// keeps it.
pub fn deferral(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let Some(queue) = some_queue(storm, n) else {
        return Ok(());
    };
    let polls = storm.random.pick(&[0, 0, 1, 2, 100]);
    let ns = storm.random.pick(&[0, 1_000, 200_000, 20_000_000]);
    let port = storm.ports[n].port.clone();
    let napi = napi(&port, queue.into())?;
    let settings = NapiSettings {
        defer_hard_irqs: polls,
        gro_flush_timeout: ns,
        ..napi.settings
    };

    storm.log(format!(
        "ox{n}: queue {queue}: defer-hard-irqs {polls} gro-flush-timeout {ns}"
    ));
    port.ns.enter(|| netdev::set_napi(napi.id, &settings))?;
    storm.ports[n].model.deferral.insert(queue, (polls, ns));
    Ok(())
}

/// Sets how long new sockets poll, in microseconds.
pub fn busy_sockets(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let usecs = storm.random.pick(&[0, 50, 1000]);
    let moderation = Moderation {
        adaptive: false,
        usecs: storm.random.pick(&[20, 500, MAX_USECS]),
        frames: 64,
    };

    storm.log(format!("net.core.busy_read: {usecs}"));
    Netns::initial().sysctl("core/busy_read", &usecs.to_string())?;
    set_moderation(storm, n, moderation)
}

pub fn slow_cpus(storm: &mut Storm<'_>, _: usize) -> Result<()> {
    storm.slow_cpus()
}

/// Page allocations for the rings fail for some time.
pub fn no_pages(storm: &mut Storm<'_>, _: usize) -> Result<()> {
    let time = Duration::from_millis(storm.random.pick(&[10, 50, 300]));

    storm.without_pages(1, || {
        thread::sleep(time);
        Ok(())
    })
}
