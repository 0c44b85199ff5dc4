// SPDX-License-Identifier: GPL-2.0

//! Frames redirected to AF_XDP sockets in copy mode.

use crate::{
    bed::Bed,
    harness::case,
    host::ensure_eq,
    support::{
        probes::{assorted, lengths, long, send_all, set_mtu},
        steer::Steer,
        traffic::settle,
    },
    wire::{
        packet::Tap,
        probe::{verdict, Probe},
        xsk::Xsk,
    },
};
use anyhow::{ensure, Context, Result};

/// Sizes of the sockets' buffers: the largest there can be, and half of that.
const CHUNKS: [usize; 2] = [4096, 2048];

/// Sends the probes to a socket and compares what comes to it.
fn received(bed: &Bed, steer: &mut Steer, chunk: usize, sg: bool, probes: &[Probe]) -> Result<()> {
    let socket = Xsk::open(&bed.b, 0, chunk, sg)?;
    let tap = Tap::open(&bed.b)?;

    steer.socket(0, &socket)?;
    for probe in probes {
        send_all(bed, std::slice::from_ref(probe))?;
        let frame = socket
            .any()
            .with_context(|| format!("{} bytes to buffers of {chunk}", probe.len))?;

        ensure_eq!(
            Probe::parse(&frame)?,
            Some(probe.clone()),
            "frame in the socket"
        );
    }
    socket.silence()?;
    tap.silence()?;
    ensure_eq!(socket.dropped()?, 0, "frames the socket dropped");
    Ok(())
}

case!(ports "xsk::single_buffer", "queues=1", single);
fn single(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::PASS);
    let mut steer = Steer::load()?;

    steer.by_socket()?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    for chunk in CHUNKS {
        received(bed, &mut steer, chunk, false, &probes)?;
    }
    let (_, b) = settle(bed)?;
    b.check_verdicts()?;
    b.counters
        .expect_rx("B", &[("xdp_redirect", 2 * probes.len() as u64)])
}

case!(ports "xsk::multi_buffer", "queues=1", multi);
/// A frame in several buffers of the port arrives in several buffers of the socket, even of another
/// size.
fn multi(bed: &Bed) -> Result<()> {
    let mut steer = Steer::load_frags()?;
    let mut sent = 0;
    let mut in_several = 0;

    steer.by_socket()?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    // The kernel lets a socket have as many buffers for a frame as an skb has fragments.
    for (chunk, mtu) in [(CHUNKS[0], 9000), (CHUNKS[1], 9000), (CHUNKS[0], 60_000)] {
        let probes = lengths(mtu, verdict::PASS);

        set_mtu(bed, mtu)?;
        received(bed, &mut steer, chunk, true, &probes)?;
        sent += probes.len() as u64;
        in_several += long(&probes);
    }
    let (_, b) = settle(bed)?;
    b.check_verdicts()?;
    b.counters.expect_rx(
        "B",
        &[
            ("packets", sent),
            ("xdp_redirect", sent),
            ("multi_buffer", in_several),
        ],
    )
}

case!(ports "xsk::several_queues", "queues=4", queues);
/// Each queue has a socket of its own, which gets that queue's frames and no others.
fn queues(bed: &Bed) -> Result<()> {
    const FLOWS: u32 = 32;
    let mut steer = Steer::load()?;
    let sockets = (0..4)
        .map(|queue| Xsk::open(&bed.b, queue, CHUNKS[0], false))
        .collect::<Result<Vec<_>>>()?;

    for (socket, queue) in sockets.iter().zip(0..) {
        steer.socket(queue, socket)?;
    }
    steer.by_socket()?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    let mut expected = vec![0; 4];
    for flow in 0..FLOWS {
        let before = bed.b.counters()?.rx_each("xdp_redirect")?;
        let probe = Probe::new(flow, flow);

        send_all(bed, std::slice::from_ref(&probe))?;
        bed.b.wait_received(u64::from(flow) + 1)?;
        let after = bed.b.counters()?.rx_each("xdp_redirect")?;
        let queue = (0..4)
            .find(|n| after[*n] > before[*n])
            .context("no queue has redirected the frame")?;
        ensure_eq!(
            Probe::parse(&sockets[queue].any()?)?,
            Some(probe),
            "frame in the socket of queue {queue}"
        );
        expected[queue] += 1;
    }
    sockets.iter().try_for_each(Xsk::silence)?;
    ensure!(
        expected.iter().filter(|n| **n > 0).count() > 1,
        "all flows went to one queue"
    );
    let (_, b) = settle(bed)?;
    ensure_eq!(
        b.counters.rx_each("xdp_redirect")?,
        expected,
        "B: rx_queue_*_xdp_redirect"
    );
    b.check_verdicts()
}

case!(ports "xsk::frame_that_the_socket_cannot_take", "queues=1", refused);
/// A frame that needs several buffers of a socket that wants each in one is lost and counted; so is
/// one for a queue without a socket.
fn refused(bed: &Bed) -> Result<()> {
    let mut steer = Steer::load_frags()?;
    let socket = Xsk::open(&bed.b, 0, CHUNKS[1], false)?;

    steer.by_socket()?;
    set_mtu(bed, 9000)?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    send_all(bed, &[Probe::new(1, 0)])?;
    bed.b.wait_received(1)?;
    // `bpf_redirect_map` itself says no, with XDP_ABORTED: the map has no entry.
    bed.b
        .counters()?
        .expect_rx("B", &[("xdp_aborted", 1), ("xdp_redirect_errors", 0)])?;

    steer.socket(0, &socket)?;
    for (len, seq) in [(1792, 1), (1793, 2), (4000, 3), (9014, 4), (60, 5)] {
        send_all(bed, &[Probe::new(1, seq).len(len)])?;
    }
    bed.b.wait_received(6)?;
    for (len, seq) in [(1792, 1), (60, 5)] {
        ensure_eq!(
            Probe::parse(&socket.any()?)?,
            Some(Probe::new(1, seq).len(len)),
            "frame in the socket"
        );
    }
    socket.silence()?;
    ensure_eq!(socket.dropped()?, 3, "frames the socket dropped");
    let (_, b) = settle(bed)?;
    b.check_verdicts()?;
    b.counters
        .expect_rx("B", &[("xdp_redirect", 2), ("xdp_redirect_errors", 3)])
}
