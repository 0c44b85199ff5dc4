// SPDX-License-Identifier: GPL-2.0

//! The device itself.

use crate::{
    cases::storm::{
        model::{mac, Moderation, MAX_MTU, MAX_USECS, MIN_MTU},
        steps::ethtool::set_moderation,
        world::World,
    },
    host::ensure_eq,
    support::{polls::set_threaded, restart},
};
use anyhow::Result;
use nix::errno::Errno;

/// `ip link set mtu`.
pub fn mtu(world: &mut World<'_>, n: usize) -> Result<()> {
    let new = world.random.pick(&[
        1500,
        1500,
        1400,
        576,
        MIN_MTU,
        3434,
        3435,
        9000,
        MAX_MTU,
        MIN_MTU - 1,
        MAX_MTU + 1,
    ]);
    let model = &world.cards[n].model;
    let mut refusal = Vec::new();

    if new < MIN_MTU {
        refusal.push("mtu less than device minimum");
    } else if new > model.max_mtu() {
        refusal.push("mtu greater than device maximum");
    }
    if new == model.mtu {
        refusal.clear();
    }
    if world.command(n, &refusal, &format!("ip link set dev DEV mtu {new}"))? {
        world.cards[n].model.mtu = new;
    }
    Ok(())
}

/// `ip link set up` and `down`: mostly up, or there would not be much traffic. Of what goes down every
/// other port is first made to let frames wait, so that they are lost with its rings.
pub fn up_or_down(world: &mut World<'_>, n: usize) -> Result<()> {
    let up = !world.cards[n].model.up || world.random.below(4) == 0;
    let name = if up { "up" } else { "down" };

    if !up && world.random.flip() {
        set_moderation(
            world,
            n,
            Moderation {
                adaptive: false,
                usecs: MAX_USECS,
                frames: world.cards[n].model.ring,
            },
        )?;
    }
    world.command(n, &[], &format!("ip link set dev DEV {name}"))?;
    world.cards[n].model.up = up;
    Ok(())
}

/// `ip link set address`.
pub fn address(world: &mut World<'_>, n: usize) -> Result<()> {
    let (bytes, text) = mac(world.random.next());

    world.command(n, &[], &format!("ip link set dev DEV address {text}"))?;
    world.cards[n].model.mac = bytes;
    Ok(())
}

/// `ip link set promisc`.
pub fn promiscuous(world: &mut World<'_>, n: usize) -> Result<()> {
    let new = !world.cards[n].model.promisc;
    let name = if new { "on" } else { "off" };

    world.command(n, &[], &format!("ip link set dev DEV promisc {name}"))?;
    world.cards[n].model.promisc = new;
    Ok(())
}

/// Polls in threads, or in softirqs. A port that is down has none.
pub fn threads(world: &mut World<'_>, n: usize) -> Result<()> {
    let threaded = world.random.flip();

    if !world.cards[n].model.up {
        return Ok(());
    }
    world.log(format!("ox{n}: threaded: {threaded}"));
    set_threaded(&world.cards[n].port, threaded)
}

/// A receive queue is made anew, for which there is a file in debugfs.
pub fn restart_queue(world: &mut World<'_>, n: usize) -> Result<()> {
    let queue = world.random.below(world.cards[n].model.queues + 1);
    let card = &world.cards[n];
    let port = card.port.clone();
    let expected = if queue >= card.model.queues {
        Err(Errno::ERANGE)
    } else if !card.model.up {
        Err(Errno::ENETDOWN)
    } else {
        Ok(())
    };

    world.log(format!(
        "restart_queue: {} {queue}: {expected:?}",
        port.name
    ));
    ensure_eq!(
        restart::write(&port.ns, &format!("{} {queue}", port.name))?,
        expected,
        "{}: restart of queue {queue}",
        port.name
    );
    Ok(())
}
