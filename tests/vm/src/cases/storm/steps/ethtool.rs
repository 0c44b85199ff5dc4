// SPDX-License-Identifier: GPL-2.0

//! Rings, features, interrupts and flow control.

use crate::cases::storm::{
    model::{Moderation, FEATURES, MAX_USECS},
    world::World,
};
use anyhow::Result;

/// `ethtool -L`: what somebody uses is not taken away.
pub fn channels(world: &mut World<'_>, n: usize) -> Result<()> {
    let card = &world.cards[n];
    let (model, max) = (&card.model, card.model.max_queues);
    let new = 1 + world.random.below(max + 1);
    let mut refusal = Vec::new();

    if new > max {
        refusal.push("exceeds maximum");
    } else if new != model.queues {
        if model.queues_in_use().is_some_and(|used| used > new) {
            refusal.push("requested channel counts are too low for existing");
        }
        if card.sockets.keys().any(|queue| *queue >= new) {
            refusal.push("in use by AF_XDP");
        }
    }
    if world.command(n, &refusal, &format!("ethtool -L DEV combined {new}"))? {
        world.cards[n].model.queues = new;
    }
    Ok(())
}

/// `ethtool -G`.
pub fn ring_size(world: &mut World<'_>, n: usize) -> Result<()> {
    let new = world
        .random
        .pick(&[64, 64, 128, 256, 512, 1024, 2048, 4096, 32, 100, 8192]);
    let refusal: &[&str] = match new {
        32 | 100 => &["rx: must be a power of two from 64 to 4096"],
        8192 => &["exceeds maximum"],
        _ => &[],
    };

    set_ring(world, n, refusal, new)
}

pub fn set_ring(world: &mut World<'_>, n: usize, refusal: &[&str], new: u32) -> Result<()> {
    if world.command(n, refusal, &format!("ethtool -G DEV rx {new}"))? {
        world.cards[n].model.ring = new;
    }
    Ok(())
}

/// `ethtool -K`: switches one feature.
pub fn features(world: &mut World<'_>, n: usize) -> Result<()> {
    let (feature, _) = world.random.pick(&FEATURES);
    let model = &world.cards[n].model;

    if model.can_switch(feature) {
        let new = if model.has(feature) { "off" } else { "on" };

        world.command(n, &[], &format!("ethtool -K DEV {feature} {new}"))?;
        world.cards[n].model.switch(feature);
    }
    Ok(())
}

/// `ethtool -C`.
pub fn moderation(world: &mut World<'_>, n: usize) -> Result<()> {
    let random = &mut world.random;
    let new = Moderation {
        adaptive: random.flip(),
        usecs: random.pick(&[0, 1, 50, 500, MAX_USECS, MAX_USECS + 1]),
        frames: random.pick(&[0, 1, 32, 64, 512]),
    };

    set_moderation(world, n, new)
}

pub fn set_moderation(world: &mut World<'_>, n: usize, new: Moderation) -> Result<()> {
    let model = &world.cards[n].model;
    let mut refusal = Vec::new();

    // Nobody is asked when nothing changes.
    if new != model.moderation {
        if new.usecs > MAX_USECS {
            refusal.push("rx-usecs: at most 10000");
        } else if new.frames > model.ring {
            refusal.push("the size of the ring");
        }
    }
    let line = format!(
        "ethtool -C DEV adaptive-rx {} rx-usecs {} rx-frames {}",
        on(new.adaptive),
        new.usecs,
        new.frames
    );
    if world.command(n, &refusal, &line)? {
        world.cards[n].model.moderation = new;
    }
    Ok(())
}

/// `ethtool -A`.
pub fn pause(world: &mut World<'_>, n: usize) -> Result<()> {
    let new = [world.random.flip(), world.random.flip()];

    set_pause(world, n, new)
}

/// For what is received, and what is sent.
pub fn set_pause(world: &mut World<'_>, n: usize, [rx, tx]: [bool; 2]) -> Result<()> {
    world.command(
        n,
        &[],
        &format!("ethtool -A DEV rx {} tx {}", on(rx), on(tx)),
    )?;
    world.cards[n].model.pause = [rx, tx];
    Ok(())
}

fn on(on: bool) -> &'static str {
    if on {
        "on"
    } else {
        "off"
    }
}
