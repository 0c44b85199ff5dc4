// SPDX-License-Identifier: GPL-2.0

//! The device itself.

use crate::{
    cases::storm::{
        model::{mac, Moderation, MAX_MTU, MAX_USECS, MIN_MTU, SINGLE_MTU},
        state::Storm,
        steps::ethtool::set_moderation,
    },
    host::ensure_eq,
    support::{buffers::JUMBO, polls::set_threaded, restart},
};
use anyhow::Result;
use nix::errno::Errno;

/// `ip link set mtu`.
pub fn mtu(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let new = storm.random.pick(&[
        1500,
        1500,
        1400,
        576,
        MIN_MTU,
        SINGLE_MTU,
        SINGLE_MTU + 1,
        JUMBO as u32,
        MAX_MTU,
        MIN_MTU - 1,
        MAX_MTU + 1,
    ]);
    let model = &storm.ports[n].model;
    let mut refusal = Vec::new();

    if new < MIN_MTU {
        refusal.push("mtu less than device minimum");
    } else if new > model.max_mtu() {
        refusal.push("mtu greater than device maximum");
    }
    if new == model.mtu {
        refusal.clear();
    }
    if storm.command(n, &refusal, &format!("ip link set dev DEV mtu {new}"))? {
        storm.ports[n].model.mtu = new;
    }
    Ok(())
}

/// `ip link set up` and `down`: mostly up, or there would not be much traffic. Before every other
/// `down`, moderation is set so that frames wait in the rings, and are lost with them.
pub fn up_or_down(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let up = !storm.ports[n].model.up || storm.random.below(4) == 0;
    let name = if up { "up" } else { "down" };

    if !up && storm.random.flip() {
        set_moderation(
            storm,
            n,
            Moderation {
                adaptive: false,
                usecs: MAX_USECS,
                frames: storm.ports[n].model.ring,
            },
        )?;
    }
    storm.command(n, &[], &format!("ip link set dev DEV {name}"))?;
    storm.ports[n].model.up = up;
    Ok(())
}

/// `ip link set address`.
pub fn address(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let (bytes, text) = mac(storm.random.next());

    storm.command(n, &[], &format!("ip link set dev DEV address {text}"))?;
    storm.ports[n].model.mac = bytes;
    Ok(())
}

/// `ip link set promisc`.
pub fn promiscuous(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let new = !storm.ports[n].model.promisc;
    let name = if new { "on" } else { "off" };

    storm.command(n, &[], &format!("ip link set dev DEV promisc {name}"))?;
    storm.ports[n].model.promisc = new;
    Ok(())
}

/// Polls in threads or in softirqs. A port that is down has no NAPI to set it for.
pub fn threads(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let threaded = storm.random.flip();

    if !storm.ports[n].model.up {
        return Ok(());
    }
    storm.log(format!("ox{n}: threaded: {threaded}"));
    set_threaded(&storm.ports[n].port, threaded)
}

/// Restarts a receive queue, by the file in debugfs.
pub fn restart_queue(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let queue = storm.random.below(storm.ports[n].model.queues + 1);
    let state = &storm.ports[n];
    let port = state.port.clone();
    let expected = if queue >= state.model.queues {
        Err(Errno::ERANGE)
    } else if !state.model.up {
        Err(Errno::ENETDOWN)
    } else {
        Ok(())
    };

    storm.log(format!(
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
