// SPDX-License-Identifier: GPL-2.0

//! What chooses the ring of a frame.

use crate::cases::storm::{
    model::{Target, NTUPLE},
    traffic::{FIRST_FLOW, FLOWS},
    world::World,
};
use crate::wire::probe::Probe;
use anyhow::Result;

/// Rules are at the first of so many places.
const PLACES: u32 = 8;
/// So many contexts there are at most.
const CONTEXTS: u32 = 3;

/// `ethtool -X`: the indirection table.
pub fn table(world: &mut World<'_>, n: usize) -> Result<()> {
    let queues = world.cards[n].model.queues;
    let among = world.random.below(queues + 2);

    if among == 0 {
        world.command(n, &[], "ethtool -X DEV default")?;
        world.cards[n].model.equal = None;
        return Ok(());
    }
    let refusal: &[&str] = if among > queues {
        &["Invalid argument"]
    } else {
        &[]
    };
    if world.command(n, refusal, &format!("ethtool -X DEV equal {among}"))? {
        world.cards[n].model.equal = Some(among);
    }
    Ok(())
}

/// `ethtool -X`: the key.
pub fn key(world: &mut World<'_>, n: usize) -> Result<()> {
    let bytes: Vec<_> = (0..40)
        .map(|_| format!("{:02x}", world.random.below(256)))
        .collect();
    let key = bytes.join(":");

    world.command(n, &[], &format!("ethtool -X DEV hkey {key}"))?;
    world.cards[n].model.key = Some(key);
    Ok(())
}

/// `ethtool -X`: whether both directions of a flow have one hash.
pub fn symmetric(world: &mut World<'_>, n: usize) -> Result<()> {
    let new = world.random.flip();
    let name = if new { "symmetric-xor" } else { "none" };

    world.command(n, &[], &format!("ethtool -X DEV xfrm {name}"))?;
    world.cards[n].model.symmetric = new;
    Ok(())
}

/// `ethtool -N`: a rule for one flow is added or takes another's place, or one is taken away.
pub fn rule(world: &mut World<'_>, n: usize) -> Result<()> {
    let place = world.random.below(PLACES);
    let model = &world.cards[n].model;
    let is_there = model.rules.contains_key(&place);
    let mut refusal = Vec::new();

    if world.random.below(3) == 0 {
        if !is_there {
            refusal.push("Cannot delete");
        }
        if world.command(n, &refusal, &format!("ethtool -N DEV delete {place}"))? {
            world.cards[n].model.rules.remove(&place);
        }
        return Ok(());
    }
    let target = match world.random.below(model.queues + 2 + CONTEXTS) {
        0 => Target::Drop,
        n if n <= CONTEXTS => Target::Context(n),
        n => Target::Queue(n - CONTEXTS - 1),
    };
    if !model.has(NTUPLE) {
        refusal.push("not supported");
    }
    let (there, action) = match target {
        Target::Drop => (true, "action -1".to_owned()),
        Target::Queue(queue) => (queue < model.queues, format!("action {queue}")),
        Target::Context(number) => (
            model.contexts.contains_key(&number),
            format!("context {number}"),
        ),
    };
    if !there {
        refusal.push("Invalid argument");
    }
    let flow = FIRST_FLOW + world.random.below(FLOWS);
    let frame = Probe::new(flow, 0).frame();
    let line = format!(
        "ethtool -N DEV flow-type udp4 src-port {} {action} loc {place}",
        u16::from_be_bytes([frame[34], frame[35]]),
    );
    if world.command(n, &refusal, &line)? {
        world.cards[n].model.rules.insert(place, target);
    }
    Ok(())
}

/// `ethtool -X`: an RSS context is made, changed or deleted.
pub fn context(world: &mut World<'_>, n: usize) -> Result<()> {
    let number = 1 + world.random.below(CONTEXTS);
    let among = 1 + world.random.below(world.cards[n].model.queues + 1);
    let delete = world.random.below(3) == 0;
    let model = &world.cards[n].model;
    let is_there = model.contexts.contains_key(&number);
    let mut refusal = Vec::new();

    if delete {
        if !is_there {
            refusal.push("No such file");
        } else if model
            .rules
            .values()
            .any(|target| *target == Target::Context(number))
        {
            refusal.push("busy");
        }
        if world.command(
            n,
            &refusal,
            &format!("ethtool -X DEV context {number} delete"),
        )? {
            world.cards[n].model.contexts.remove(&number);
        }
        return Ok(());
    }
    if among > model.queues {
        refusal.push("Invalid argument");
    }
    // A new one gets the first number that is free.
    let free = (1..number).find(|number| !model.contexts.contains_key(number));
    let (name, number) = match is_there {
        true => (number.to_string(), number),
        false => ("new".to_owned(), free.unwrap_or(number)),
    };
    let line = format!("ethtool -X DEV context {name} equal {among}");
    if world.command(n, &refusal, &line)? {
        world.cards[n].model.contexts.insert(number, among);
    }
    Ok(())
}
