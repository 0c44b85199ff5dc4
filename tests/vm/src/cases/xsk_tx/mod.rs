// SPDX-License-Identifier: GPL-2.0

//! Frames that AF_XDP sockets send in copy mode: the bytes that come to the peer, what becomes of
//! descriptors that are wrong or find no buffer, and that each buffer comes back once.

mod metadata;

use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::ensure_eq,
    random::{seed, Random},
    support::{
        buffers::BUFFERS_MAX,
        in_parallel,
        polls::{poll_in_threads, slow_down},
        probes::{assorted, set_mtu},
        qstats,
        steer::Steer,
        traffic::{check_alive, settle, settle_after_down, settle_wire},
        xsk::{any_frame, cut, expect_frame},
    },
    wire::{
        packet::Tap,
        probe::{verdict, Probe},
        xsk::{
            socket::{Mode, Setup},
            tx::XskTx,
            Desc, Xsk,
        },
        ETH, ETH_ZLEN,
    },
};
use anyhow::{ensure, Result};
use nix::errno::Errno;

/// Metadata with all that there is to ask for.
const METADATA: u32 = 24;

const SMALL: &str = "queues=1 ring_size=64";

/// The frame as it is on the wire.
fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(ETH_ZLEN), 0);
    frame
}

/// What counts the frames of a socket in this mode: those that are sent, and those that cannot be.
fn counters(mode: Mode) -> [&'static str; 2] {
    match mode {
        Mode::Copy => ["packets", "dropped"],
        _ => ["xsk_packets", "xsk_errors"],
    }
}

case!(ports "xsk_tx::each_length", "queues=1", |bed| lengths(bed, Mode::Copy));
case!(ports "xsk_zc::each_length", "queues=1", |bed| lengths(bed, Mode::ZeroCopy));
/// From a single byte to the largest that fits, padded to what the wire needs. What has no whole
/// header is no frame: it is dropped and counted.
fn lengths(bed: &Bed, mode: Mode) -> Result<()> {
    let seed = seed()?;
    let mut random = Random::new(seed);
    let (mut count, mut dropped) = (0, 0);

    bed.up()?;
    for (from, to) in bed.ways() {
        let tap = Tap::open(to)?;

        for chunk in [2048, 4096] {
            let options = Setup {
                chunk,
                mode,
                ..Setup::default()
            };
            let mut socket = XskTx::open(from, 0, options)?;

            ensure!(socket.needs_wakeup(), "the kernel wants no wakeup");
            for len in (1..=66).chain([127, 128, 255, 256, 1023, 1499, 1513, 1514]) {
                let frame = any_frame(&mut random, len);
                let sent = socket.queue(&frame, None)?;

                // Each way of telling the kernel in turn.
                if len % 2 == 0 {
                    ensure!(socket.kick_by_poll()?, "no room in an empty ring");
                }
                ensure_eq!(socket.flush()?, [sent], "completions of {len} bytes");
                if len < ETH {
                    dropped += 1;
                    continue;
                }
                expect_frame(
                    &tap,
                    &format!("{} to {}, {len} bytes, seed {seed}", from.name, to.name),
                    &padded(frame),
                )?;
                count += 1;
            }
            ensure_eq!(socket.invalid()?, 0, "invalid descriptors");
        }
        tap.silence()?;
    }
    let (a, b) = settle_wire(bed)?;
    for port in [a, b] {
        let [packets, errors] = counters(mode);

        port.counters
            .expect_tx(&port.name, &[(packets, count / 2), (errors, dropped / 2)])?;
    }
    Ok(())
}

case!(ports "xsk_tx::from_socket_to_socket", "queues=1", to_socket);
/// What one socket sends comes to another one, of the port at the other end.
fn to_socket(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::PASS);

    bed.up()?;
    for (from, to) in bed.ways() {
        let mut steer = Steer::load()?;
        let receiver = Xsk::open(to, 0, 2048, false)?;
        let mut sender = XskTx::open(from, 0, Setup::default())?;

        steer.by_socket()?;
        steer.socket(0, &receiver)?;
        to.attach(&steer.program)?;
        for probe in &probes {
            sender.queue(&probe.frame(), None)?;
        }
        sender.flush()?;
        for probe in &probes {
            ensure_eq!(
                Probe::parse(&receiver.any()?)?,
                Some(probe.clone()),
                "frame in the socket"
            );
        }
        receiver.silence()?;
        to.detach()?;
    }
    settle(bed).map(drop)
}

case!(ports "xsk_tx::every_queue", "queues=4", |bed| queues(bed, Mode::Copy));
case!(ports "xsk_zc::every_queue", "queues=4", |bed| queues(bed, Mode::ZeroCopy));
/// A socket on each queue of both ports at once, with the stack's own frames in between.
fn queues(bed: &Bed, mode: Mode) -> Result<()> {
    const QUEUES: u32 = 4;
    const FRAMES: u32 = 400;
    const BATCH: u32 = 50;
    const TO_RECEIVE: usize = 128;

    bed.up()?;
    let taps = [Tap::open(&bed.b)?, Tap::open(&bed.a)?];
    let jobs = bed.ways().into_iter().flat_map(|(port, _)| {
        (0..QUEUES).map(move |queue| {
            move || {
                let options = Setup {
                    mode,
                    ..Setup::default()
                };
                let mut socket = XskTx::open(port, queue, options)?;

                if mode == Mode::ZeroCopy {
                    socket.receive_into(TO_RECEIVE);
                }
                for seq in 0..FRAMES {
                    socket.queue(&Probe::new(queue, seq).frame(), None)?;
                    if (seq + 1) % BATCH == 0 {
                        ensure_eq!(socket.flush()?.len(), BATCH as usize, "completions");
                    }
                }
                Ok(socket)
            }
        })
    });
    // A queue whose socket is closed loses what it has received and not polled yet.
    let sockets = in_parallel(jobs)?;

    let expected: Vec<_> = (0..QUEUES)
        .flat_map(|flow| (0..FRAMES).map(move |seq| Probe::new(flow, seq)))
        .collect();
    for tap in &taps {
        ensure!(
            tap.probes_sorted(expected.len())? == expected,
            "other probes than were sent"
        );
    }
    drop(sockets);
    let (a, b) = settle(bed)?;
    for port in [a, b] {
        let [packets, _] = counters(mode);

        ensure_eq!(
            port.counters.tx_each(packets)?,
            [u64::from(FRAMES); QUEUES as usize],
            "{}: tx_queue_*_{packets}",
            port.name
        );
    }
    [&bed.a, &bed.b].into_iter().try_for_each(qstats::check)
}

case!(ports "xsk_tx::multi_buffer", "queues=1", multi);
/// Frames in several buffers, up to the longest there are.
fn multi(bed: &Bed) -> Result<()> {
    let seed = seed()?;
    let mut random = Random::new(seed);
    let options = Setup {
        chunk: 4096,
        sg: true,
        metadata: METADATA,
        ..Setup::default()
    };

    for mtu in [9000, 60_000] {
        set_mtu(bed, mtu)?;
        bed.up()?;
        for (from, to) in bed.ways() {
            let tap = Tap::open(to)?;
            let mut socket = XskTx::open(from, 0, options)?;
            let room = socket.room();

            for parts in 1..=BUFFERS_MAX {
                let longest = (parts * room).min(mtu + ETH);

                for len in [60.max(parts), longest / 2, longest] {
                    let len = len.max(parts);
                    let frame = any_frame(&mut random, len);
                    let parts = cut(&mut random, &frame, parts, room);
                    let what = format!("{len} bytes in {} buffers, seed {seed}", parts.len());

                    socket.queue_parts(&parts, None)?;
                    ensure_eq!(socket.flush()?.len(), parts.len(), "{what}: completions");
                    expect_frame(&tap, &what, &frame)?;
                }
            }
            ensure_eq!(socket.invalid()?, 0, "invalid descriptors");

            // One buffer more is too many: all are given back, and the next frame gets through.
            let frame = any_frame(&mut random, 1000);
            let parts = cut(&mut random, &frame, BUFFERS_MAX + 1, room);
            socket.queue_parts(&parts, None)?;
            ensure_eq!(socket.flush()?.len(), parts.len(), "completions");
            ensure_eq!(
                socket.invalid()?,
                parts.len() as u64,
                "descriptors of a frame in too many buffers"
            );
            socket.queue_parts(&cut(&mut random, &frame, 3, room), None)?;
            socket.flush()?;
            expect_frame(&tap, "a frame after one in too many buffers", &frame)?;
            tap.silence()?;
        }
    }
    settle_wire(bed).map(drop)
}

/// Makes a descriptor one that the kernel must not take.
fn spoil(random: &mut Random, desc: &mut Desc, chunk: usize, metadata: u32) {
    let umem = chunk as u64 * 512;

    match random.below(6) {
        0 => desc.len = 0,
        1 => desc.len = chunk as u32 - metadata + 1,
        2 => desc.len = u32::MAX - random.below(100),
        3 => desc.options |= 1 << random.between(2, 31),
        4 => desc.addr = umem + u64::from(metadata) + (random.next() >> 8),
        _ => desc.addr = u64::MAX - u64::from(random.below(4096)),
    }
}

case!(ports "xsk_tx::invalid_descriptors", "queues=1", invalid);
/// Frames with an invalid descriptor among their own are counted and given back, all of them, and
/// nothing of them is sent. The others arrive, in order.
fn invalid(bed: &Bed) -> Result<()> {
    const ROUNDS: usize = 40;
    let seed = seed()?;
    let mut random = Random::new(seed);
    let options = Setup {
        metadata: METADATA,
        sg: true,
        ..Setup::default()
    };

    bed.up()?;
    for (from, to) in bed.ways() {
        let tap = Tap::open(to)?;
        let mut socket = XskTx::open(from, 0, options)?;
        let mut counted = 0;

        for round in 0..ROUNDS {
            let mut good = Vec::new();
            let mut given = 0;

            for _ in 0..8 {
                let parts = random.between(1, 4) as usize;
                let frame = any_frame(&mut random, 200);
                let bad = random.flip().then(|| random.below(parts as u32) as usize);

                for (n, part) in cut(&mut random, &frame, parts, 200).iter().enumerate() {
                    let mut desc = socket.write(part, None)?;
                    let buffer = socket.buffer_of(desc.addr);

                    if bad == Some(n) {
                        spoil(&mut random, &mut desc, options.chunk, options.metadata);
                    }
                    desc.options |= u32::from(n + 1 < parts);
                    socket.give(desc, Some(buffer));
                }
                given += parts;
                match bad {
                    Some(_) => counted += parts as u64,
                    None => good.push(frame),
                }
            }
            ensure_eq!(
                socket.flush()?.len(),
                given,
                "round {round}, seed {seed}: completions"
            );
            for frame in good {
                expect_frame(&tap, &format!("round {round}, seed {seed}"), &frame)?;
            }
            ensure_eq!(
                socket.invalid()?,
                counted,
                "round {round}, seed {seed}: invalid descriptors"
            );
        }
        tap.silence()?;
    }
    settle_wire(bed).map(drop)
}

case!(ports "xsk_tx::longer_than_the_mtu", "queues=1", too_long);
/// The kernel sends by AF_XDP what it would not send by itself. The receiver keeps what a tagged
/// frame may have, and counts the rest.
fn too_long(bed: &Bed) -> Result<()> {
    const KEPT: usize = 1522;
    let seed = seed()?;
    let mut random = Random::new(seed);
    let options = Setup {
        chunk: 4096,
        ..Setup::default()
    };
    let mut lost = 0;

    bed.up()?;
    for (from, to) in bed.ways() {
        let tap = Tap::open(to)?;
        let mut socket = XskTx::open(from, 0, options)?;

        for len in [1514, 1518, KEPT, KEPT + 1, 2000, 3000, 4096] {
            let frame = any_frame(&mut random, len);
            let addr = socket.queue(&frame, None)?;

            ensure_eq!(socket.flush()?, [addr], "completions of {len} bytes");
            if len <= KEPT {
                expect_frame(&tap, &format!("{len} bytes"), &frame)?;
            } else {
                lost += 1;
            }
        }
        tap.silence()?;
    }
    let (a, b) = settle_wire(bed)?;
    for port in [a, b] {
        port.counters
            .expect_rx(&port.name, &[("oversize", lost / 2)])?;
    }
    Ok(())
}

case!(ports "xsk_tx::no_link", "queues=1", no_link);
/// Without a link the kernel drops and says so, a port that is down takes nothing, and both are
/// over when the link is there again.
fn no_link(bed: &Bed) -> Result<()> {
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let mut socket = XskTx::open(&bed.a, 0, Setup::default())?;

    bed.b.down()?;
    bed.a.wait_running(false)?;
    for seq in 0..3 {
        let addr = socket.queue(&Probe::new(1, seq).frame(), None)?;

        ensure_eq!(socket.kick(), Err(Errno::EBUSY), "without a link");
        ensure_eq!(socket.completed()?, [addr], "completions without a link");
    }
    let dropped = bed.a.link()?.stat("tx_dropped")?;
    ensure!(dropped >= 3, "tx_dropped is {dropped} without a link");

    bed.a.down()?;
    let addr = socket.queue(&Probe::new(1, 3).frame(), None)?;
    ensure_eq!(socket.kick(), Err(Errno::ENETDOWN), "down");
    ensure_eq!(socket.completed()?, [], "completions while down");
    bed.up()?;
    ensure_eq!(socket.flush()?, [addr], "completions of what has waited");
    ensure_eq!(tap.probes(1)?, [Probe::new(1, 3)], "what has waited");
    settle_after_down(bed).map(drop)
}

/// A port B whose one ring is polled slowly.
fn slow_receiver(bed: &Bed) -> Result<(Program, Tap)> {
    let slow = slow_down(&bed.b)?;

    bed.up()?;
    poll_in_threads(&bed.b)?;
    Ok((slow, Tap::open(&bed.b)?))
}

/// Queues frames of flow 1 and has the kernel send them, until it says that the port's queue is
/// stopped and the rest stays in the socket's ring. `seq` counts the frames. Returns how many came
/// back.
fn until_stopped(bed: &Bed, socket: &mut XskTx, seq: &mut u32) -> Result<usize> {
    const FRAMES_MAX: u32 = 1_000_000;
    const AHEAD: usize = 200;
    let stopped = || bed.a.counters()?.tx("stopped");
    let before = stopped()?;
    let mut completed = 0;

    loop {
        ensure!(*seq < FRAMES_MAX, "the queue was not stopped");
        while socket.outstanding() < AHEAD {
            socket.queue(&Probe::new(1, *seq).frame(), None)?;
            *seq += 1;
        }
        let said = socket.kick();
        let found = socket.completed()?.len();
        completed += found;
        ensure!(
            matches!(said, Ok(()) | Err(Errno::EAGAIN)),
            "sending by AF_XDP: {said:?}"
        );
        // No progress: it is not the limit of frames for each call.
        if found == 0 && stopped()? > before {
            ensure_eq!(said, Err(Errno::EAGAIN), "a stopped queue");
            ensure_eq!(
                socket.outstanding(),
                socket.pending() as usize,
                "buffers that the kernel has, against descriptors in the ring"
            );
            return Ok(completed);
        }
    }
}

case!(ports "xsk_tx::a_full_ring_loses_nothing", SMALL, full);
/// A frame that finds no buffer stays in the socket's ring, and the socket gets EAGAIN. Nothing is
/// lost, sent twice, reordered or completed before it was sent.
fn full(bed: &Bed) -> Result<()> {
    let (slow, tap) = slow_receiver(bed)?;
    let mut socket = XskTx::open(&bed.a, 0, Setup::default())?;
    let (mut seq, mut completed) = (0, 0);

    for _ in 0..5 {
        completed += until_stopped(bed, &mut socket, &mut seq)?;
    }
    completed += socket.flush()?.len();
    ensure_eq!(completed, seq as usize, "completions");
    ensure_eq!(socket.invalid()?, 0, "invalid descriptors");
    let expected: Vec<_> = (0..seq).map(|seq| Probe::new(1, seq)).collect();
    ensure!(
        tap.probes(expected.len())? == expected,
        "frames lost, repeated or out of order"
    );
    ensure_eq!(slow.seen()?, u64::from(seq), "frames the program saw");
    settle(bed)?;
    check_alive(bed)
}

case!(ports "xsk_tx::closed_with_frames_in_it", SMALL, closed);
/// A socket is closed while the queue is stopped, with descriptors in its ring, and another with
/// half a frame taken. The queue goes on, and the next socket can use it.
fn closed(bed: &Bed) -> Result<()> {
    let options = Setup {
        sg: true,
        ..Setup::default()
    };
    let (_slow, tap) = slow_receiver(bed)?;
    let mut socket = XskTx::open(&bed.a, 0, options)?;
    let sent = until_stopped(bed, &mut socket, &mut 0)?;
    drop(socket);

    // Half a frame is neither sent nor given back.
    let mut socket = XskTx::open(&bed.a, 0, options)?;
    let mut half = socket.write(&[0; 100], None)?;
    half.options = 1;
    socket.give(half, None);
    socket.kick()?;
    ensure_eq!(
        (socket.pending(), socket.outstanding()),
        (0, 1),
        "half a frame"
    );
    drop(socket);

    let mut socket = XskTx::open(&bed.a, 0, options)?;
    let last = Probe::new(2, 0);
    let addr = socket.queue(&last.frame(), None)?;
    ensure_eq!(socket.flush()?, [addr], "completions of the next socket");
    let expected: Vec<_> = (0..sent as u32)
        .map(|seq| Probe::new(1, seq))
        .chain([last])
        .collect();
    ensure!(
        tap.probes(expected.len())? == expected,
        "other frames than were completed, and that of the next socket"
    );
    settle(bed)?;
    check_alive(bed)
}
