// SPDX-License-Identifier: GPL-2.0

//! Rings that are empty or full: the kernel waits for user space, and loses nothing that it does
//! not say.

use super::{wake_tx, zero_copy};
use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{ensure_eq, rcu, wait_until},
    nl::netdev,
    random::{seed, Random},
    support::{
        probes::set_mtu,
        traffic::{check_alive, settle, settle_wire},
        xsk::{any_frame, cut, expect_frame, steer_to},
    },
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
        xsk::{
            socket::{Setup, Socket},
            tx::XskTx,
            Xsk, XDP_PKT_CONTD,
        },
        ETH,
    },
};
use anyhow::{anyhow, ensure, Context, Result};

const SMALL: &str = "queues=1 ring_size=64";

/// Reads all frames that are in the socket's ring, and gives their buffers back if asked to.
fn read_all(socket: &Socket, refill: bool) -> Result<Vec<Probe>> {
    let mut probes = Vec::new();

    while let Some((probe, desc)) = socket.take_probe()? {
        if refill {
            socket.give_back(&desc);
        }
        probes.push(probe);
    }
    Ok(probes)
}

/// Gives the kernel all buffers, and waits until the port has posted them: they must be fewer than
/// its ring takes. The kernel says in the fill ring which ones it has taken only when a frame goes
/// to the socket (`xsk_flush` in net/xdp/xsk.c). So this waits for refills that came short.
fn post_all(port: &Port, socket: &Socket) -> Result<()> {
    let refills_cut_short = || port.counters()?.rx("xsk_fill_empty");

    socket.fill_all();
    let before = refills_cut_short()?;
    wait_until("the kernel has taken all buffers", || {
        socket.wake_rx()?;
        // The first one may have begun before there were buffers.
        Ok(refills_cut_short()? >= before + 2)
    })?;
    // The poll that has taken them has ended.
    rcu::grace_period()
}

case!(ports "xsk_zc::fill_ring_starved", SMALL, starved);
/// Without buffers the sender waits, and no frame is lost, doubled or out of order, however few
/// buffers user space gives at a time. The kernel asks to be called.
fn starved(bed: &Bed) -> Result<()> {
    let probes: Vec<_> = (0..2000).map(|seq| Probe::new(1, seq)).collect();

    feed_slowly(bed, zero_copy(), &probes)
}

case!(ports "xsk_zc::fill_ring_starved_within_frames", SMALL, starved_within);
/// The same with frames that need several buffers, of which there are often some, but too few.
fn starved_within(bed: &Bed) -> Result<()> {
    const MTU: usize = 9000;
    let probes: Vec<_> = (0..500)
        .map(|seq| Probe::new(1, seq).len(60 + seq as usize * 997 % (MTU + ETH - 59)))
        .collect();

    set_mtu(bed, MTU)?;
    feed_slowly(
        bed,
        Setup {
            sg: true,
            ..zero_copy()
        },
        &probes,
    )
}

/// Has the stack send the probes to a socket to which few buffers are given at a time.
fn feed_slowly(bed: &Bed, setup: Setup, probes: &[Probe]) -> Result<()> {
    let seed = seed()?;
    let socket = Socket::open(&bed.b, 0, setup)?;
    let _steer = steer_to(&bed.b, 0, &socket)?;

    bed.up()?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| Sender::open(&bed.a)?.send_in_order(probes.iter().cloned()));

        // Not one buffer yet: the kernel knows that.
        wait_until("the kernel wants buffers", || {
            Ok(socket.fill.needs_wakeup())
        })?;
        receive_slowly(&socket, &mut Random::new(seed), probes)
            .with_context(|| format!("seed {seed}"))?;
        sender.join().map_err(|_| anyhow!("the sender panicked"))?
    })?;
    let statistics = socket.statistics()?;
    ensure!(
        statistics.rx_fill_ring_empty_descs > 0,
        "the fill ring was empty, and no one noticed"
    );
    ensure_eq!(
        (statistics.rx_dropped, statistics.rx_ring_full),
        (0, 0),
        "frames that the socket lost"
    );
    ensure_eq!(socket.rx().len(), 0, "buffers of frames too many");
    let (_, b) = settle(bed)?;
    let count = probes.len() as u64;
    b.check_verdicts()?;
    ensure!(
        b.counters.rx("xsk_fill_empty")? > 0,
        "the port has not counted that there were too few buffers"
    );
    b.counters.expect_rx(
        "B",
        &[
            ("packets", count),
            ("xsk_packets", count),
            ("xdp_redirect", count),
            ("no_buffer", 0),
        ],
    )
}

/// Receives the probes, in this order; each of their buffers is given back some time later.
fn receive_slowly(socket: &Socket, random: &mut Random, probes: &[Probe]) -> Result<()> {
    let mut free: Vec<_> = (0..socket.setup.buffers)
        .map(|n| socket.buffer(n))
        .collect();
    let mut frame = Vec::new();
    let mut expected = probes.iter();

    while expected.len() > 0 {
        let mut taken = 0;

        wait_until("a buffer comes back", || {
            let more = (random.between(1, 12) as usize).min(free.len());

            free.drain(free.len() - more..)
                .for_each(|buffer| socket.fill.push([buffer]));
            if socket.fill.needs_wakeup() {
                socket.wake_rx().context("waking the port to receive")?;
            }
            while let Some(desc) = socket.take() {
                frame.extend(socket.bytes(&desc));
                free.push(socket.buffer_of(&desc));
                taken += 1;
                if desc.options & XDP_PKT_CONTD == 0 {
                    let probe = Probe::parse(&std::mem::take(&mut frame))?;

                    ensure_eq!(probe.as_ref(), expected.next(), "frame in the socket");
                }
            }
            Ok(taken > 0)
        })?;
    }
    Ok(())
}

case!(ports "xsk_zc::one_call_for_a_slow_receiver", SMALL, slow_receiver);
/// A socket that sends calls the kernel once, and the other socket gives few buffers at a time: all
/// frames arrive, in order, and come back.
fn slow_receiver(bed: &Bed) -> Result<()> {
    let seed = seed()?;

    bed.up()?;
    for sg in [false, true] {
        let setup = Setup { sg, ..zero_copy() };
        let frames = setup.tx;
        let probes: Vec<_> = (0..frames).map(|seq| Probe::new(1, seq)).collect();
        let receiver = Socket::open(&bed.b, 0, setup)?;
        let _steer = steer_to(&bed.b, 0, &receiver)?;
        let sender = Socket::open(&bed.a, 0, setup)?;

        (0..frames).for_each(|n| sender.put(n, &probes[n as usize].frame()));
        wake_tx(&sender)?;
        receive_slowly(&receiver, &mut Random::new(seed), &probes)
            .with_context(|| format!("sg {sg}, seed {seed}"))?;
        wait_until("all frames come back", || {
            Ok(sender.completions.len() == frames)
        })?;
        bed.b.detach()?;
    }
    settle(bed).map(drop)
}

case!(ports "xsk_zc::fill_ring_starved_without_flow_control", SMALL, starved_lossy);
/// Without flow control frames that find no buffer are lost and counted; those that found one are
/// there, and it goes on when there are buffers again.
fn starved_lossy(bed: &Bed) -> Result<()> {
    const FRAMES: u32 = 300;
    const BUFFERS: u32 = 40;
    for port in [&bed.a, &bed.b] {
        port.ethtool("-A", "rx off tx off")?;
    }
    let socket = Socket::open(
        &bed.b,
        0,
        Setup {
            buffers: BUFFERS,
            ..zero_copy()
        },
    )?;
    let _steer = steer_to(&bed.b, 0, &socket)?;

    bed.up()?;
    for round in 1..=3 {
        post_all(&bed.b, &socket)?;
        Sender::open(&bed.a)?.send_flow(&Probe::new(round, 0), FRAMES)?;
        bed.b.wait_accounted(u64::from(round * FRAMES))?;
        rcu::grace_period()?;
        // All were there when the first frame came.
        ensure_eq!(
            read_all(&socket, false)?,
            (0..BUFFERS)
                .map(|seq| Probe::new(round, seq))
                .collect::<Vec<_>>(),
            "frames of round {round}"
        );
    }
    let (_, b) = settle(bed)?;
    b.counters.expect_rx(
        "B",
        &[
            ("xdp_redirect", u64::from(3 * BUFFERS)),
            ("no_buffer", u64::from(3 * (FRAMES - BUFFERS))),
        ],
    )
}

case!(ports "xsk_zc::rx_ring_full", SMALL, rx_full);
/// A socket that does not read loses what its ring has no room for, which is counted; the buffers
/// of these frames are used again.
fn rx_full(bed: &Bed) -> Result<()> {
    const RING: u32 = 32;
    const FRAMES: u32 = 1000;
    let socket = Socket::open(
        &bed.b,
        0,
        Setup {
            rx: RING,
            ..zero_copy()
        },
    )?;
    let _steer = steer_to(&bed.b, 0, &socket)?;

    bed.up()?;
    socket.fill_all();
    socket.wake_rx()?;
    for round in 1..=3 {
        Sender::open(&bed.a)?.send_flow(&Probe::new(round, 0), FRAMES)?;
        bed.b.wait_received(u64::from(round * FRAMES))?;
        rcu::grace_period()?;
        ensure_eq!(
            read_all(&socket, true)?,
            (0..RING)
                .map(|seq| Probe::new(round, seq))
                .collect::<Vec<_>>(),
            "frames of round {round}"
        );
        ensure_eq!(
            socket.statistics()?.rx_ring_full,
            u64::from(round * (FRAMES - RING)),
            "frames without a place in the ring"
        );
    }
    let (_, b) = settle(bed)?;
    b.check_verdicts()?;
    b.counters.expect_rx(
        "B",
        &[
            ("xdp_redirect", u64::from(3 * RING)),
            ("xdp_redirect_errors", u64::from(3 * (FRAMES - RING))),
            ("no_buffer", 0),
        ],
    )
}

case!(ports "xsk_zc::completion_ring_full", SMALL, completion_full);
/// No frame is sent whose completion would find no place. When there is room again it goes on,
/// and each frame is sent once, in order.
fn completion_full(bed: &Bed) -> Result<()> {
    const RING: u32 = 32;
    let socket = Socket::open(
        &bed.a,
        0,
        Setup {
            completion: RING,
            ..zero_copy()
        },
    )?;
    let frames = socket.setup.tx;

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    (0..frames).for_each(|n| socket.put(n, &Probe::new(1, n).frame()));
    let mut taken = 0;
    while taken < frames {
        let expected = RING.min(frames - taken);

        wait_until("the completion ring is full", || {
            wake_tx(&socket)?;
            Ok(socket.completions.len() == expected)
        })?;
        // It stays so, however often the kernel is called.
        for _ in 0..10 {
            wake_tx(&socket)?;
        }
        // That there are no others.
        ensure_eq!(
            tap.probes(expected as usize)?,
            (taken..taken + expected)
                .map(|seq| Probe::new(1, seq))
                .collect::<Vec<_>>(),
            "frames sent"
        );
        let addresses = socket.completed();
        ensure_eq!(
            addresses,
            (taken..taken + expected)
                .map(|n| socket.buffer(n))
                .collect::<Vec<_>>(),
            "completions"
        );
        taken += expected;
    }
    tap.silence()?;
    ensure_eq!(socket.completed(), [], "completions in the end");
    let (a, _) = settle(bed)?;
    a.counters
        .expect_tx("A", &[("xsk_packets", frames.into()), ("xsk_errors", 0)])?;
    // It has given the port no buffers to receive into.
    drop(socket);
    check_alive(bed)
}

case!(ports "xsk_zc::one_call_for_many_frames", "queues=1", one_call);
/// One call sends all that is in the ring, if the peer can take it, in whatever pieces it is: there
/// is no other that could tell the kernel to go on.
fn one_call(bed: &Bed) -> Result<()> {
    let seed = seed()?;
    let mut random = Random::new(seed);
    let limit = bed.a.ns.enter(|| netdev::zc_max_segments(bed.a.ifindex))? as usize;
    let setup = Setup {
        sg: true,
        ..zero_copy()
    };

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let socket = Socket::open(&bed.a, 0, setup)?;
    for round in 0..20 {
        let (mut next, mut seq) = (0, 0);

        loop {
            // Mostly as many pieces as there can be: no batch of the kernel's ends with a frame.
            let parts = match random.flip() {
                true => limit,
                false => random.between(1, limit as i64) as usize,
            };
            if next + parts > setup.tx as usize {
                break;
            }
            let frame = Probe::new(round, seq).len(1500).frame();
            for (n, part) in (1..).zip(cut(&mut random, &frame, parts, setup.chunk)) {
                let options = if n < parts { XDP_PKT_CONTD } else { 0 };

                socket.put_part(next as u32, part, options);
                next += 1;
            }
            seq += 1;
        }
        wake_tx(&socket)?;
        wait_until("all is sent by one call", || {
            Ok(socket.completions.len() as usize == next)
        })
        .with_context(|| format!("{} of {next}, seed {seed}", socket.completions.len()))?;
        ensure_eq!(
            socket.completed(),
            (0..next as u32)
                .map(|n| socket.buffer(n))
                .collect::<Vec<_>>(),
            "completions"
        );
        ensure_eq!(
            tap.probes(seq as usize)?,
            (0..seq)
                .map(|seq| Probe::new(round, seq).len(1500))
                .collect::<Vec<_>>(),
            "frames"
        );
    }
    settle(bed).map(drop)
}

case!(ports "xsk_zc::multi_buffer_to_the_limit", "queues=1", multi);
/// Frames in as many buffers as the port announces, of any lengths; one more is too many, and
/// comes back.
fn multi(bed: &Bed) -> Result<()> {
    let seed = seed()?;
    let mut random = Random::new(seed);
    let limit = bed.a.ns.enter(|| netdev::zc_max_segments(bed.a.ifindex))? as usize;
    let setup = Setup {
        chunk: 4096,
        sg: true,
        ..zero_copy()
    };

    for mtu in [9000, 60_000] {
        set_mtu(bed, mtu)?;
        bed.up()?;
        for (from, to) in bed.ways() {
            let tap = Tap::open(to)?;
            let mut socket = XskTx::open(from, 0, setup)?;

            for parts in (1..=limit + 1).chain([limit + 2, 2 * limit, 2 * limit + 1]) {
                let longest = (parts * 4096).min(mtu + ETH);

                for len in [60.max(parts), longest / 2, longest] {
                    let len = len.max(parts);
                    let frame = any_frame(&mut random, len);
                    let pieces = cut(&mut random, &frame, parts, setup.chunk);
                    let what = format!("{len} bytes in {parts} buffers, seed {seed}");

                    socket.queue_parts(&pieces, None)?;
                    ensure_eq!(socket.flush()?.len(), parts, "{what}: completions");
                    if parts <= limit {
                        expect_frame(&tap, &what, &frame)?;
                    }
                }
            }
            // Nothing of those in too many; and the next one gets through.
            let frame = any_frame(&mut random, 214);
            socket.queue(&frame, None)?;
            socket.flush()?;
            expect_frame(&tap, "after those", &frame)?;
            tap.silence()?;
        }
    }
    settle_wire(bed).map(drop)
}

case!(ports "xsk_zc::part_of_a_frame", "queues=1", part);
/// A frame whose end user space has not written yet is not sent; with its end it is, whole.
fn part(bed: &Bed) -> Result<()> {
    let setup = Setup {
        chunk: 4096,
        sg: true,
        ..zero_copy()
    };
    let socket = Socket::open(&bed.a, 0, setup)?;
    let frame = Probe::new(1, 0).len(1500).frame();

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    socket.put_part(0, &frame[..500], XDP_PKT_CONTD);
    for _ in 0..10 {
        wake_tx(&socket)?;
    }
    tap.silence()?;
    socket.put_part(1, &frame[500..600], XDP_PKT_CONTD);
    wake_tx(&socket)?;
    tap.silence()?;
    socket.put(2, &frame[600..]);
    wait_until("all three buffers come back", || {
        wake_tx(&socket)?;
        Ok(socket.completions.len() == 3)
    })?;
    ensure_eq!(tap.probes(1)?, [Probe::new(1, 0).len(1500)], "the frame");
    settle(bed).map(drop)
}

case!(ports "xsk_zc::buffers_of_the_receiver", "queues=1", receiver);
/// A long frame takes as many of the receiver's buffers as it needs and no more, whatever the
/// sender's were; each of them comes back.
fn receiver(bed: &Bed) -> Result<()> {
    const MTU: usize = 9000;
    set_mtu(bed, MTU)?;
    bed.up()?;
    for chunk in [2048, 4096] {
        let socket = Xsk::with(
            &bed.b,
            0,
            Setup {
                chunk,
                sg: true,
                buffers: 64,
                ..zero_copy()
            },
        )?;
        let _steer = steer_to(&bed.b, 0, socket.socket())?;

        // Each frame is read before the next is sent: a buffer that is lost would be missed.
        for seq in 0..200 {
            let probe = Probe::new(1, seq).len(60 + (seq as usize * 997) % (MTU + ETH - 60));
            Sender::open(&bed.a)?.send(&probe.frame())?;
            ensure_eq!(Probe::parse(&socket.any()?)?, Some(probe), "chunk {chunk}");
        }
        socket.silence()?;
        bed.b.detach()?;
    }
    settle(bed).map(drop)
}
