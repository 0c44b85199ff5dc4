// SPDX-License-Identifier: GPL-2.0

//! The steps: each chooses at random what it does, knows from the model whether that must be refused,
//! does it, and brings the model up to date.

mod device;
mod ethtool;
mod steer;
mod xdp;

use super::{gate::PORTS, world::World};
use anyhow::{Context, Result};

/// A kind of step, at the port of that number.
type Step = fn(&mut World<'_>, usize) -> Result<()>;

/// All kinds, and how often each is taken.
const KINDS: [(u32, Step); 23] = [
    (10, xdp::attach),
    (5, xdp::detach),
    (4, xdp::create_link),
    (3, xdp::update_link),
    (3, xdp::close_link),
    (5, xdp::open_socket),
    (3, xdp::close_socket),
    (5, ethtool::channels),
    (5, ethtool::ring_size),
    (4, ethtool::features),
    (3, ethtool::moderation),
    (3, ethtool::pause),
    (3, steer::table),
    (2, steer::key),
    (2, steer::symmetric),
    (5, steer::rule),
    (4, steer::context),
    (5, device::mtu),
    (10, device::up_or_down),
    (2, device::address),
    (2, device::promiscuous),
    (2, device::threads),
    (5, device::restart_queue),
];
/// Of a thousand steps, the first so many load the module anew, those from there to the next number
/// replace a pair, and those to the last move a port to another namespace.
const RELOADS: u32 = 12;
const TO_PAIRS: u32 = RELOADS + 20;
const TO_TRAVELS: u32 = TO_PAIRS + 30;

/// Takes one step.
pub fn take(world: &mut World<'_>) -> Result<()> {
    world.count();
    let n = world.random.below(PORTS as u32) as usize;

    match world.random.below(1000) {
        0..RELOADS => world.reload()?,
        RELOADS..TO_PAIRS => world.replace(n / 2)?,
        TO_PAIRS..TO_TRAVELS => world.travel(n)?,
        _ => {
            let step = choose(world);
            step(world, n)?;
        }
    }
    world.publish(n);
    let card = &world.cards[n];
    card.model
        .check_link(&card.port, |choice| card.programs.id(choice))
        .context("after the step")
}

fn choose(world: &mut World<'_>) -> Step {
    let sum = KINDS.iter().map(|(weight, _)| weight).sum();
    let mut at = world.random.below(sum);

    for (weight, step) in KINDS {
        if at < weight {
            return step;
        }
        at -= weight;
    }
    KINDS[0].1
}
