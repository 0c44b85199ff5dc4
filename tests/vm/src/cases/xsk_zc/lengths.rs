// SPDX-License-Identifier: GPL-2.0

//! Frames that do not fit into a buffer of a socket, although the port's own buffers would take
//! them.

use super::zero_copy;
use crate::{
    bed::Bed,
    harness::case,
    host::ensure_eq,
    support::{
        probes::set_mtu,
        steer::Steer,
        traffic::{check_alive, settle},
        xsk::{steer_to, wait_free},
    },
    wire::{
        packet::Sender,
        probe::Probe,
        rest::Rest,
        xsk::socket::{Setup, Socket},
    },
};
use anyhow::Result;

/// Sends probes of these lengths to a socket of port B, and returns the lengths of those that
/// arrive.
fn arrive(bed: &Bed, socket: &Socket, lengths: &[usize]) -> Result<Vec<usize>> {
    let rest = Rest::now()?;
    let mut found = Vec::new();

    for (seq, len) in (0..).zip(lengths) {
        let probe = Probe::new(1, seq).len(*len);

        Sender::open(&bed.a)?.send(&probe.frame())?;
        rest.wait()?;
        while let Some((received, desc)) = socket.take_probe()? {
            ensure_eq!(received, probe, "frame in the socket");
            found.push(received.len);
            socket.give_back(&desc);
        }
    }
    Ok(found)
}

case!(ports "xsk_zc::mtu_grows_beyond_a_buffer", "queues=1", grows);
/// The kernel looks at the MTU only when a socket is bound. Frames that do not fit later are lost
/// and counted.
fn grows(bed: &Bed) -> Result<()> {
    let room = zero_copy().room();

    bed.up()?;
    let socket = Socket::open(&bed.b, 0, zero_copy())?;
    let _steer = steer_to(&bed.b, 0, &socket)?;

    socket.fill_all();
    socket.wake_rx()?;
    set_mtu(bed, 9000)?;
    ensure_eq!(
        arrive(
            bed,
            &socket,
            &[60, 1514, room, room + 1, 1900, 4000, 9014, 61]
        )?,
        [60, 1514, room, 61],
        "lengths of the frames that fit"
    );
    let (_, b) = settle(bed)?;
    b.counters
        .expect_rx("B", &[("oversize", 4), ("xdp_no_frags", 0)])?;
    drop(socket);
    wait_free(&bed.b, 0)?;
    bed.b.detach()?;
    check_alive(bed)
}

case!(ports "xsk_zc::program_without_frags", "queues=1", without_frags);
/// With XDP_USE_SG a small buffer takes less than a frame of the usual MTU. A program without frags
/// support does not get those that need two.
fn without_frags(bed: &Bed) -> Result<()> {
    let setup = Setup {
        sg: true,
        ..zero_copy()
    };
    let mut steer = Steer::load()?;

    bed.up()?;
    let socket = Socket::open(&bed.b, 0, setup)?;
    let room = setup.room();
    steer.by_socket()?;
    steer.socket(0, &socket)?;
    bed.b.attach(&steer.program)?;
    socket.fill_all();
    socket.wake_rx()?;
    ensure_eq!(
        arrive(bed, &socket, &[60, room, room + 1, 1514, 61])?,
        [60, room, 61],
        "lengths of the frames in one buffer"
    );
    let (_, b) = settle(bed)?;
    b.counters
        .expect_rx("B", &[("oversize", 0), ("xdp_no_frags", 2)])
}
