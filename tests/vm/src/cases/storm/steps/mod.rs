// SPDX-License-Identifier: GPL-2.0

//! The steps. Each chooses at random what it does, finds out from the model whether that must be
//! refused, does it, and updates the model.

mod device;
pub mod ethtool;
pub mod napi;
mod sockets;
mod steer;
mod xdp;

use super::{gate::PORTS, state::Storm};
use anyhow::{Context, Result};

/// A step at a port, given by its number.
type Step = fn(&mut Storm<'_>, usize) -> Result<()>;

/// The kinds of steps: relative frequency, name, function.
const KINDS: [(u32, &str, Step); 33] = [
    (10, "attach", xdp::attach),
    (5, "detach", xdp::detach),
    (4, "create_link", xdp::create_link),
    (3, "update_link", xdp::update_link),
    (3, "close_link", xdp::close_link),
    (5, "open_socket", sockets::open),
    (5, "open_zero_copy", sockets::open_zero_copy),
    (5, "close_socket", sockets::close),
    (8, "send_by_sockets", sockets::send),
    (5, "channels", ethtool::channels),
    (5, "ring_size", ethtool::ring_size),
    (4, "features", ethtool::features),
    (5, "private_flags", ethtool::private_flags),
    (3, "moderation", ethtool::moderation),
    (3, "pause", ethtool::pause),
    (3, "time_stamps", ethtool::time_stamps),
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
    (2, "slow_cpus", napi::slow_cpus),
    (2, "no_pages", napi::no_pages),
    (3, "drop_redirected", xdp::drop_redirected),
];
/// Of 1000 numbers, those below the first reload the module, those below the second replace a pair,
/// and those below the third move a port to another namespace.
const RELOADS: u32 = 12;
const TO_PAIRS: u32 = RELOADS + 20;
const TO_MOVES: u32 = TO_PAIRS + 30;

/// Makes one step.
pub fn make(storm: &mut Storm<'_>) -> Result<()> {
    storm.count();
    let n = storm.random.below(PORTS as u32) as usize;

    match storm.random.below(1000) {
        0..RELOADS if storm.makes("reload") => storm.reload()?,
        RELOADS..TO_PAIRS if storm.makes("replace") => storm.replace(n / 2)?,
        TO_PAIRS..TO_MOVES if storm.makes("netns") => storm.move_port(n)?,
        _ => {
            let step = choose(storm);
            step(storm, n)?;
        }
    }
    storm.publish(n);
    let state = &storm.ports[n];
    state
        .model
        .check_link(&state.port, |choice| state.programs.id(choice))
        .context("after the step")
}

fn choose(storm: &mut Storm<'_>) -> Step {
    let taken = |name| storm.makes(name);
    let kinds: Vec<_> = KINDS.iter().filter(|(_, name, _)| taken(name)).collect();
    let sum = kinds.iter().map(|(weight, ..)| weight).sum();
    let mut at = storm.random.below(sum);

    for (weight, _, step) in kinds {
        if at < *weight {
            return *step;
        }
        at -= weight;
    }
    KINDS[0].2
}
