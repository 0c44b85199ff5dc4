// SPDX-License-Identifier: GPL-2.0

//! What decides which ring a frame goes to.

use crate::cases::storm::{
    model::{Target, NTUPLE},
    state::Storm,
    traffic::{FIRST_FLOW, FLOWS},
};
use crate::wire::probe::Probe;
use anyhow::Result;

/// Rules have locations below this number.
const LOCATIONS: u32 = 8;
/// The most RSS contexts.
const CONTEXTS: u32 = 3;

/// `ethtool -X`: the indirection table.
pub fn table(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let queues = storm.ports[n].model.queues;
    let among = storm.random.below(queues + 2);

    if among == 0 {
        storm.command(n, &[], "ethtool -X DEV default")?;
        storm.ports[n].model.equal = None;
        return Ok(());
    }
    let refusal: &[&str] = if among > queues {
        &["Invalid argument"]
    } else {
        &[]
    };
    if storm.command(n, refusal, &format!("ethtool -X DEV equal {among}"))? {
        storm.ports[n].model.equal = Some(among);
    }
    Ok(())
}

/// `ethtool -X`: the key.
pub fn key(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let bytes: Vec<_> = (0..40)
        .map(|_| format!("{:02x}", storm.random.below(256)))
        .collect();
    let key = bytes.join(":");

    storm.command(n, &[], &format!("ethtool -X DEV hkey {key}"))?;
    storm.ports[n].model.key = Some(key);
    Ok(())
}

/// `ethtool -X`: whether both directions of a flow have one hash.
pub fn symmetric(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let new = storm.random.flip();
    let name = if new { "symmetric-xor" } else { "none" };

    storm.command(n, &[], &format!("ethtool -X DEV xfrm {name}"))?;
    storm.ports[n].model.symmetric = new;
    Ok(())
}

/// `ethtool -N`: a rule for one flow is added or replaced, or one is deleted.
pub fn rule(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let location = storm.random.below(LOCATIONS);
    let model = &storm.ports[n].model;
    let is_there = model.rules.contains_key(&location);
    let mut refusal = Vec::new();

    if storm.random.below(3) == 0 {
        if !is_there {
            refusal.push("Cannot delete");
        }
        if storm.command(n, &refusal, &format!("ethtool -N DEV delete {location}"))? {
            storm.ports[n].model.rules.remove(&location);
        }
        return Ok(());
    }
    let target = match storm.random.below(model.queues + 2 + CONTEXTS) {
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
    let flow = FIRST_FLOW + storm.random.below(FLOWS);
    let frame = Probe::new(flow, 0).frame();
    let line = format!(
        "ethtool -N DEV flow-type udp4 src-port {} {action} loc {location}",
        u16::from_be_bytes([frame[34], frame[35]]),
    );
    if storm.command(n, &refusal, &line)? {
        storm.ports[n].model.rules.insert(location, target);
    }
    Ok(())
}

/// `ethtool -X`: an RSS context is created, changed or deleted.
pub fn context(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let number = 1 + storm.random.below(CONTEXTS);
    let among = 1 + storm.random.below(storm.ports[n].model.queues + 1);
    let delete = storm.random.below(3) == 0;
    let model = &storm.ports[n].model;
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
        if storm.command(
            n,
            &refusal,
            &format!("ethtool -X DEV context {number} delete"),
        )? {
            storm.ports[n].model.contexts.remove(&number);
        }
        return Ok(());
    }
    if among > model.queues {
        refusal.push("Invalid argument");
    }
    // A new one gets the first free number.
    let free = (1..number).find(|number| !model.contexts.contains_key(number));
    let (name, number) = match is_there {
        true => (number.to_string(), number),
        false => ("new".to_owned(), free.unwrap_or(number)),
    };
    let line = format!("ethtool -X DEV context {name} equal {among}");
    if storm.command(n, &refusal, &line)? {
        storm.ports[n].model.contexts.insert(number, among);
    }
    Ok(())
}
