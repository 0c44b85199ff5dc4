// SPDX-License-Identifier: GPL-2.0

//! Shared by the tests of AF_XDP: frames and the pieces in which they are sent, and who has a
//! queue.

use super::steer::Steer;
use crate::{
    bed::Port,
    host::wait_until,
    nl::netdev,
    random::Random,
    wire::{ensure_same, packet::Tap, xsk::socket::Socket, ETH, NOBODY, SOURCE},
};
use anyhow::{Context, Result};

/// A frame of any length and content, from its first bytes only if it is shorter than a header. Its
/// type is one that nothing here knows.
pub fn any_frame(random: &mut Random, len: usize) -> Vec<u8> {
    let mut frame = [&NOBODY[..], &SOURCE, &[0x88, 0xb5]].concat();

    frame.extend(random.bytes(len.saturating_sub(ETH)));
    frame.truncate(len);
    frame
}

/// Cuts a frame into so many parts of any lengths, none of which is larger than `room`.
pub fn cut<'a>(random: &mut Random, frame: &'a [u8], parts: usize, room: usize) -> Vec<&'a [u8]> {
    let mut rest = frame;
    let mut result = Vec::new();

    for left in (0..parts).rev() {
        // What is left must fit into what follows, a byte in each part at least.
        let least = rest.len().saturating_sub(left * room).max(1);
        let most = (rest.len() - left).min(room);
        let len = random.between(least as i64, most as i64) as usize;
        let (part, more) = rest.split_at(len);

        result.push(part);
        rest = more;
    }
    result
}

/// Compares the next frame that comes to the tap.
pub fn expect_frame(tap: &Tap, what: &str, expected: &[u8]) -> Result<()> {
    let found = tap.any().with_context(|| what.to_owned())?;

    ensure_same(what, &found, expected)
}

/// Bytes by which a program may make a frame longer at its head: the headroom, less what the kernel
/// keeps of it for `struct xdp_frame`. The headroom of a port's own buffers is 320 bytes, that of
/// a socket's 256 (`XDP_PACKET_HEADROOM`). The port must be up, or the kernel names no sockets.
pub fn head_max(port: &Port) -> Result<i32> {
    const KEPT: i32 = 40;
    let queues = port.ns.enter(|| netdev::queues(port.ifindex))?;
    let headroom = if queues.iter().any(|q| q.xsk) {
        256
    } else {
        320
    };

    Ok(headroom - KEPT)
}

/// Waits until a queue of a port that is up is free: the kernel takes it from a closed socket a
/// moment later.
pub fn wait_free(port: &Port, queue: u64) -> Result<()> {
    wait_until("the queue has no socket", || {
        Ok(port
            .ns
            .enter(|| netdev::queues(port.ifindex))?
            .iter()
            .filter(|q| q.id == queue)
            .all(|q| !q.xsk))
    })
}

/// Attaches a program that gives a socket the frames of its queue, of any length.
pub fn steer_to(port: &Port, queue: u32, socket: &Socket) -> Result<Steer> {
    let mut steer = Steer::load_frags()?;

    steer.by_socket()?;
    steer.socket(queue, socket)?;
    port.attach(&steer.program)?;
    Ok(steer)
}
