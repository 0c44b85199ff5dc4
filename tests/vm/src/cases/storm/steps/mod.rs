// SPDX-License-Identifier: GPL-2.0

//! The steps: each chooses at random what it does, knows from the model whether that must be refused,
//! does it, and brings the model up to date.

mod device;
pub mod ethtool;
pub mod napi;
mod steer;
mod xdp;

use super::{gate::PORTS, world::World};
use anyhow::{Context, Result};

/// A kind of step, at the port of that number.
type Step = fn(&mut World<'_>, usize) -> Result<()>;

/// All kinds, how often each is taken, and its name.
const KINDS: [(u32, &str, Step); 29] = [
    (10, "attach", xdp::attach),
    (5, "detach", xdp::detach),
    (4, "create_link", xdp::create_link),
    (3, "update_link", xdp::update_link),
    (3, "close_link", xdp::close_link),
    (5, "open_socket", xdp::open_socket),
    (3, "close_socket", xdp::close_socket),
    (5, "channels", ethtool::channels),
    (5, "ring_size", ethtool::ring_size),
    (4, "features", ethtool::features),
    (3, "moderation", ethtool::moderation),
    (3, "pause", ethtool::pause),
    (3, "table", steer::table),
    (2, "key", steer::key),
    (2, "symmetric", steer::symmetric),
    (5, "rule", steer::rule),
    (4, "context", steer::context),
    (5, "mtu", device::mtu),
    (10, "up_or_down", device::up_or_down),
    (2, "address", device::address),
    (2, "promiscuous", device::promiscuous),
    (2, "threads", device::threads),
    (5, "restart_queue", device::restart_queue),
    (4, "affinity", napi::affinity),
    (3, "deferral", napi::deferral),
    (2, "busy_sockets", napi::busy_sockets),
    (2, "slow_processors", napi::slow_processors),
    (2, "no_pages", napi::no_pages),
    (3, "drop_redirected", xdp::drop_redirected),
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
        0..RELOADS if world.takes("reload") => world.reload()?,
        RELOADS..TO_PAIRS if world.takes("replace") => world.replace(n / 2)?,
        TO_PAIRS..TO_TRAVELS if world.takes("travel") => world.travel(n)?,
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
    let taken = |name| world.takes(name);
    let kinds: Vec<_> = KINDS.iter().filter(|(_, name, _)| taken(name)).collect();
    let sum = kinds.iter().map(|(weight, ..)| weight).sum();
    let mut at = world.random.below(sum);

    for (weight, _, step) in kinds {
        if at < *weight {
            return *step;
        }
        at -= weight;
    }
    KINDS[0].2
}
