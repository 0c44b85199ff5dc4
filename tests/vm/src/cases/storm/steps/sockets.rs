// SPDX-License-Identifier: GPL-2.0

//! AF_XDP sockets.

use crate::{
    cases::storm::{
        sockets::{Bound, How},
        state::Storm,
    },
    nl::netdev,
    wire::xsk::socket::Mode,
};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

/// Binds one in copy mode to a queue.
pub fn open(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    bind(storm, n, Mode::Copy)
}

/// Binds one in zero-copy mode, for which the MTU may be too large.
pub fn open_zero_copy(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    bind(storm, n, Mode::ZeroCopy)
}

fn bind(storm: &mut Storm<'_>, n: usize, mode: Mode) -> Result<()> {
    let queue = storm.random.below(storm.ports[n].model.queues);
    let how = How::any(&mut storm.random, mode);
    let state = &storm.ports[n];
    let port = state.port.clone();

    if state.sockets.contains_key(&queue) {
        return Ok(());
    }
    let segments = port.ns.enter(|| netdev::zc_max_segments(port.ifindex))?;
    let allowed = how.fits(state.model.mtu, segments);
    storm.log(format!(
        "ox{n}: AF_XDP socket at queue {queue}: {how:?}{}",
        if allowed { "" } else { " (not allowed)" }
    ));
    let socket = match Bound::open(&port, queue, how) {
        Err(error) if error.downcast_ref() == Some(&Errno::EINVAL) => {
            ensure!(!allowed, "it was refused");
            return Ok(());
        }
        result => result?,
    };
    ensure!(allowed, "it was not refused");
    let state = &mut storm.ports[n];
    for program in &mut state.programs.storm {
        program.socket(queue, &socket)?;
    }
    state.sockets.insert(queue, socket);
    Ok(())
}

/// Closes one, whatever is in its rings.
pub fn close(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    storm.drain_sockets(n).context("frames in a socket")?;
    let queue = storm.random.below(storm.ports[n].model.max_queues);

    if storm.ports[n].sockets.contains_key(&queue) {
        storm.log(format!(
            "ox{n}: the AF_XDP socket at queue {queue} is closed"
        ));
        storm.ports[n].sockets.remove(&queue);
    }
    Ok(())
}

/// Sends by each of them.
pub fn send(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let count = 1 + storm.random.below(64);

    if storm.ports[n].sockets.is_empty() {
        return Ok(());
    }
    storm.log(format!(
        "ox{n}: each AF_XDP socket sends up to {count} frames"
    ));
    let Storm { ports, random, .. } = storm;
    let state = &mut ports[n];
    state
        .sockets
        .values_mut()
        .try_for_each(|socket| socket.send(random, count, state.model.mtu))
}
