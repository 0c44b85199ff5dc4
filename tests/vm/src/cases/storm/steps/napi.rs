// SPDX-License-Identifier: GPL-2.0

//! Who polls, when and on which processor, and what is missing for a while.

use crate::{
    cases::storm::{
        model::{Moderation, MAX_USECS},
        steps::ethtool::set_moderation,
        world::World,
    },
    host::{cpus, netns::Netns},
    nl::netdev::{self, NapiSettings},
    support::polls::{napi, set_affinity},
};
use anyhow::{Context, Result};
use std::{thread, time::Duration};

/// A queue of a port that is up.
fn some_queue(world: &mut World<'_>, n: usize) -> Option<u32> {
    let queues = world.cards[n].model.queues;
    let queue = world.random.below(queues);

    world.cards[n].model.up.then_some(queue)
}

/// Interrupts of a port's queues go to one processor, mostly the last: the senders are on others, too. Or to
/// all, as at first.
pub fn affinity(world: &mut World<'_>, n: usize) -> Result<()> {
    let all = cpus::all()?;
    let last = all[all.len() - 1];
    let port = world.cards[n].port.clone();

    for napi in port.ns.enter(|| netdev::napis(port.ifindex))? {
        let irq = napi.irq.context("no interrupt")?;
        let list = match world.random.below(8) {
            0 => format!("0-{last}"),
            1..4 => world.random.pick(&all).to_string(),
            _ => last.to_string(),
        };

        world.log(format!("ox{n}: interrupt {irq} to {list}"));
        set_affinity(irq, &list)?;
    }
    Ok(())
}

/// Interrupts of a queue are put off as long as it is polled anyway, or no longer. What a thread of
/// its own polls it goes on to poll.
pub fn deferral(world: &mut World<'_>, n: usize) -> Result<()> {
    let Some(queue) = some_queue(world, n) else {
        return Ok(());
    };
    let polls = world.random.pick(&[0, 0, 1, 2, 100]);
    let ns = world.random.pick(&[0, 1_000, 200_000, 20_000_000]);
    let port = world.cards[n].port.clone();
    let napi = napi(&port, queue.into())?;
    let settings = NapiSettings {
        defer_hard_irqs: polls,
        gro_flush_timeout: ns,
        ..napi.settings
    };

    world.log(format!(
        "ox{n}: queue {queue}: defer-hard-irqs {polls} gro-flush-timeout {ns}"
    ));
    port.ns.enter(|| netdev::set_napi(napi.id, &settings))?;
    world.cards[n].model.deferral.insert(queue, (polls, ns));
    Ok(())
}

/// All sockets that are opened from now on poll, for so many microseconds.
pub fn busy_sockets(world: &mut World<'_>, n: usize) -> Result<()> {
    let usecs = world.random.pick(&[0, 50, 1000]);
    let moderation = Moderation {
        adaptive: false,
        usecs: world.random.pick(&[20, 500, MAX_USECS]),
        frames: 64,
    };

    world.log(format!("net.core.busy_read: {usecs}"));
    Netns::initial().sysctl("core/busy_read", &usecs.to_string())?;
    set_moderation(world, n, moderation)
}

pub fn slow_processors(world: &mut World<'_>, _: usize) -> Result<()> {
    world.slow_processors()
}

/// Rings get no pages for some time.
pub fn no_pages(world: &mut World<'_>, _: usize) -> Result<()> {
    let time = Duration::from_millis(world.random.pick(&[10, 50, 300]));

    world.without_pages(1, || {
        thread::sleep(time);
        Ok(())
    })
}
