// SPDX-License-Identifier: GPL-2.0

//! User space that writes anything, at any time: it hurts no one but itself.

use super::{wake_tx, zero_copy};
use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{ensure_eq, rcu, wait_until},
    nl::netdev,
    random::{seed, Random},
    support::{
        probes::set_mtu,
        steer::Steer,
        traffic::{check_alive, settle, settle_wire},
        xsk::wait_free,
    },
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
        xsk::{
            socket::{Setup, Socket},
            tx::{CHECKSUM, TIMESTAMP, XDP_TX_METADATA},
            Desc, XDP_PKT_CONTD,
        },
        ETH,
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};

/// Any descriptor: most are nearly right.
fn any_desc(random: &mut Random, socket: &Socket) -> Desc {
    let setup = &socket.setup;
    let umem = setup.umem_len() as u64;
    let edge = |random: &mut Random| random.between(-3, 3) as u64;
    let addr = match random.below(8) {
        0 => random.next(),
        1 => umem.wrapping_add(edge(random)),
        2 => 0u64.wrapping_add(edge(random)),
        3 => u64::MAX - u64::from(random.below(5000)),
        // At the end of a buffer.
        4 => {
            socket.buffer(random.below(setup.buffers)) + setup.chunk as u64
                - u64::from(random.below(80))
        }
        // With an offset in the upper bits, as unaligned addresses have it.
        5 => socket.buffer(random.below(setup.buffers)) | (u64::from(random.below(4096)) << 48),
        _ => socket.buffer(random.below(setup.buffers)) + u64::from(random.below(200)),
    };
    let len = match random.below(8) {
        0 => 0,
        1 => random.next() as u32,
        2 => setup.chunk as u32 + random.below(3),
        3 => 1 + random.below(20),
        _ => 60 + random.below(1400),
    };
    let options = match random.below(8) {
        0 => random.next() as u32,
        1 | 2 => XDP_PKT_CONTD,
        3 => XDP_TX_METADATA,
        _ => 0,
    };

    Desc { addr, len, options }
}

/// Whether the kernel takes a descriptor (`xp_aligned_validate_desc` in net/xdp/xsk_queue.h).
fn is_valid(desc: &Desc, setup: &Setup) -> bool {
    let (chunk, metadata) = (setup.chunk as u64, u64::from(setup.metadata));
    let Some(start) = desc.addr.checked_sub(metadata) else {
        return false;
    };

    desc.len != 0
        && start % chunk + u64::from(desc.len) + metadata <= chunk
        && start < u64::from(setup.buffers) * chunk
        && desc.options & !(XDP_PKT_CONTD | XDP_TX_METADATA) == 0
}

/// How many frames of these descriptors the port gets to see, and how many of them are shorter than
/// an Ethernet header.
fn frames(descs: &[Desc], setup: &Setup, limit: usize) -> (u64, u64) {
    let whole = descs
        .split_inclusive(|desc| desc.options & XDP_PKT_CONTD == 0)
        .filter(|parts| parts.len() <= limit && parts.iter().all(|desc| is_valid(desc, setup)));

    whole.fold((0, 0), |(count, short), parts| {
        let len: usize = parts.iter().map(|desc| desc.len as usize).sum();

        (count + 1, short + u64::from(len < ETH))
    })
}

case!(ports "xsk_zc::random_descriptors", "queues=1", random_descriptors);
/// Random descriptors: each comes back once, whatever it was. The frames of those that are valid
/// are sent, or counted as errors, and no others. Frames of others are as they were.
fn random_descriptors(bed: &Bed) -> Result<()> {
    let seed = seed()?;
    let mut random = Random::new(seed);

    bed.up()?;
    for (from, to) in bed.ways() {
        for sg in [false, true] {
            for (metadata, chunk, unaligned) in [
                (0, 4096, false),
                (24, 4096, false),
                (0, 3000, true),
                (24, 2048, true),
            ] {
                let setup = Setup {
                    sg,
                    metadata,
                    chunk,
                    unaligned,
                    ..zero_copy()
                };

                give_random(from, setup, &mut random)
                    .with_context(|| format!("{setup:?}, seed {seed}"))?;
            }
        }
        // A frame of the stack gets through as it is.
        let tap = Tap::open(to)?;
        Sender::open(from)?.send(&Probe::new(1, 1).frame())?;
        ensure_eq!(tap.probes(1)?, [Probe::new(1, 1)], "a frame of the stack");
    }
    settle_wire(bed)?;
    check_alive(bed)
}

fn give_random(from: &Port, setup: Setup, random: &mut Random) -> Result<()> {
    const ROUNDS: usize = 300;
    let limit = from.ns.enter(|| netdev::zc_max_segments(from.ifindex))? as usize;
    let socket = Socket::open(from, 0, setup)?;
    let before = from.counters()?;
    let (mut expected, mut least_errors) = (0, 0);

    for round in 0..ROUNDS {
        let mut given: Vec<_> = (0..random.between(1, 32))
            .map(|_| any_desc(random, &socket))
            .collect();
        // What was begun is ended, so that nothing is left for the next round.
        given.push(Desc {
            addr: socket.buffer(0) + u64::from(setup.metadata),
            len: 60,
            options: 0,
        });
        let (frames, short) = frames(&given, &setup, limit);
        (expected, least_errors) = (expected + frames, least_errors + short);

        given
            .iter()
            .for_each(|desc| socket.tx().push((*desc).into()));
        let mut addresses: Vec<_> = given.iter().map(|desc| desc.addr).collect();
        let mut back = Vec::new();
        wait_until("all descriptors come back", || {
            wake_tx(&socket)?;
            back.extend(socket.completed());
            Ok(back.len() >= addresses.len())
        })?;
        addresses.sort_unstable();
        back.sort_unstable();
        ensure_eq!(back, addresses, "completions of round {round}");
        ensure_eq!(socket.tx().len(), 0, "descriptors in the ring");
    }
    ensure!(
        socket.statistics()?.tx_invalid_descs > 0,
        "no descriptor was invalid"
    );
    // The poll that has completed them has ended.
    rcu::grace_period()?;
    let after = from.counters()?;
    let more = |what| Ok::<_, anyhow::Error>(after.tx(what)? - before.tx(what)?);
    let errors = more("xsk_errors")?;
    if setup.unaligned {
        // Which of them the kernel takes depends on where in memory the pages are.
        return Ok(());
    }
    ensure_eq!(
        more("xsk_packets")? + errors,
        expected,
        "frames sent, and counted as errors"
    );
    ensure!(
        errors >= least_errors,
        "{errors} errors, {least_errors} frames without a whole header"
    );
    Ok(())
}

/// A descriptor that the kernel does not take.
fn invalid_desc(random: &mut Random, socket: &Socket) -> Desc {
    let good = Desc {
        addr: socket.buffer(random.below(socket.setup.buffers)),
        len: 100,
        options: 0,
    };

    match random.below(4) {
        0 => Desc { len: 0, ..good },
        1 => Desc {
            len: socket.setup.chunk as u32 + 1,
            ..good
        },
        2 => Desc {
            options: 1 << 5,
            ..good
        },
        _ => Desc {
            addr: socket.setup.umem_len() as u64 + good.addr,
            ..good
        },
    }
}

case!(ports "xsk_zc::one_call_with_invalid_descriptors", "queues=1", one_call);
/// Invalid descriptors are no reason to leave good ones behind them in the TX ring: one call, and
/// all come back. A program that calls once and then waits would wait for ever.
fn one_call(bed: &Bed) -> Result<()> {
    const ROUNDS: usize = 50;
    let seed = seed()?;
    let mut random = Random::new(seed);
    // Whether each is good.
    let mut patterns = vec![
        vec![false, true, true],
        vec![true, false, false, true],
        vec![false; 5],
        [vec![false; 40], vec![true; 3]].concat(),
        [vec![true; 70], vec![false], vec![true; 70]].concat(),
    ];

    patterns.extend((0..ROUNDS).map(|_| {
        let count = random.between(1, 300);
        (0..count).map(|_| random.flip()).collect()
    }));
    bed.up()?;
    for sg in [false, true] {
        let setup = Setup { sg, ..zero_copy() };
        let socket = Socket::open(&bed.a, 0, setup)?;
        let tap = Tap::open(&bed.b)?;

        for (round, pattern) in (0..).zip(&patterns) {
            let mut addresses = Vec::new();
            let mut good = Vec::new();

            for (n, is_good) in (0..).zip(pattern) {
                if *is_good {
                    let probe = Probe::new(round, n);

                    socket.put(n, &probe.frame());
                    addresses.push(socket.buffer(n));
                    good.push(probe);
                } else {
                    let desc = invalid_desc(&mut random, &socket);

                    socket.tx().push(desc.into());
                    addresses.push(desc.addr);
                }
            }
            wake_tx(&socket)?;
            let mut back = Vec::new();
            wait_until("all descriptors come back after one call", || {
                back.extend(socket.completed());
                Ok(back.len() >= addresses.len())
            })
            .with_context(|| {
                format!(
                    "{} of {} have, sg {sg}, round {round}, seed {seed}",
                    back.len(),
                    addresses.len()
                )
            })?;
            ensure_eq!(back, addresses, "completions of round {round}, seed {seed}");
            ensure_eq!(tap.probes(good.len())?, good, "frames of round {round}");
        }
    }
    settle(bed).map(drop)
}

case!(ports "xsk_zc::random_fill", "queues=1 ring_size=64", random_fill);
/// Random addresses in the fill ring, the same ones several times, and ring indices that jump:
/// frames arrive in memory of the socket, or not at all.
fn random_fill(bed: &Bed) -> Result<()> {
    const ROUNDS: usize = 100;
    let seed = seed()?;
    let mut random = Random::new(seed);
    let (mut sent, mut received) = (0, 0);

    // Without flow control the sender does not wait for buffers that never come.
    for port in [&bed.a, &bed.b] {
        port.ethtool("-A", "rx off tx off")?;
    }
    bed.up()?;
    for round in 0..ROUNDS {
        let socket = Socket::open(&bed.b, 0, zero_copy())?;
        let mut steer = Steer::load()?;
        let umem = socket.setup.umem_len() as u64;

        steer.by_socket()?;
        steer.socket(0, &socket)?;
        bed.b.attach(&steer.program)?;
        for _ in 0..random.between(1, 200) {
            let addr = match random.below(4) {
                0 => random.next(),
                1 => umem.wrapping_add(random.between(-5000, 5000) as u64),
                // The first ones again and again.
                _ => socket.buffer(random.below(8)) + u64::from(random.below(2048)),
            };

            socket.fill.push([addr]);
        }
        socket.wake_rx()?;
        let mut arrive = |flow, len, count: u32| -> Result<()> {
            Sender::open(&bed.a)?.send_flow(&Probe::new(flow, 0).len(len), count)?;
            sent += u64::from(count);
            bed.b.wait_accounted(sent)?;
            // The poll that has counted the last one has handed it to the socket.
            rcu::grace_period()?;
            while let Some(desc) = socket.take() {
                let what = format!("a frame at {desc:x?}, seed {seed}, round {round}");

                ensure!(desc.addr + u64::from(desc.len) <= umem, "{what}");
                ensure_eq!(desc.len as usize, len, "length of {what}");
                // Of frames in the same buffer it has the last one.
                let probe = Probe::parse(&socket.bytes(&desc))?.with_context(|| what.clone())?;
                ensure_eq!(probe.flow, flow, "flow of {what}");
                received += 1;
            }
            Ok(())
        };

        arrive(1, 1000, 100)?;
        if random.flip() {
            // An index that says there is more than there is.
            socket.fill.jump(random.next() as u32);
            arrive(2, 500, 10)?;
        }
        bed.b.detach()?;
    }
    ensure!(received > 0, "no frame found a buffer, seed {seed}");
    for port in [&bed.a, &bed.b] {
        port.ethtool("-A", "rx on tx on")?;
    }
    settle_wire(bed)?;
    check_alive(bed)
}

case!(ports "xsk_zc::buffer_that_is_twice_in_a_frame", "queues=1", twice);
/// User space has put a buffer into the fill ring twice, so that it is in one frame twice, in any
/// places: that frame is lost and counted, and those behind it are as they were sent.
fn twice(bed: &Bed) -> Result<()> {
    const MTU: usize = 12_000;
    let setup = Setup {
        chunk: 4096,
        sg: true,
        buffers: 8,
        ..zero_copy()
    };
    let patterns: [&[u32]; 6] = [
        &[0, 0, 1],
        &[0, 1, 0],
        &[0, 1, 1],
        &[0, 0, 0],
        &[0, 1, 0, 1],
        &[0, 1, 2, 0],
    ];

    set_mtu(bed, MTU)?;
    bed.up()?;
    for (flow, pattern) in (0..).zip(patterns) {
        let what = || format!("buffers {pattern:?}");
        // Takes so many buffers.
        let len_of = |buffers: usize| setup.room() * (buffers - 1) + 500;
        let lost = || bed.b.counters()?.rx("xsk_frags_invalid");
        let before = lost()?;
        let tap = Tap::open(&bed.b)?;
        let socket = Socket::open(&bed.b, 0, setup)?;

        wait_until("the kernel wants buffers", || {
            Ok(socket.fill.needs_wakeup())
        })?;
        for n in pattern.iter().copied().chain(3..8) {
            socket.fill.push([socket.buffer(n)]);
        }
        socket.wake_rx()?;
        let sender = Sender::open(&bed.a)?;
        let probes = [
            Probe::new(flow, 1),
            Probe::new(flow, 2).len(len_of(3)),
            Probe::new(flow, 3),
        ];
        sender.send(&Probe::new(flow, 0).len(len_of(pattern.len())).frame())?;
        for probe in &probes {
            sender.send(&probe.frame())?;
        }
        ensure_eq!(tap.probes(3)?, probes, "{}: frames behind it", what());
        ensure_eq!(lost()? - before, 1, "{}: frames lost", what());
        tap.silence()?;
        drop(socket);
        wait_free(&bed.b, 0)?;
    }
    settle_wire(bed)?;
    check_alive(bed)
}

/// Writes to any word of a socket's memory again and again, until `stop` says so. What is at the
/// start of a buffer, where the flags of metadata are, only asks for what `flags` has.
fn scribble(socket: &Socket, seed: u64, flags: &[u64], stop: &AtomicBool) {
    let mut random = Random::new(seed);
    let setup = &socket.setup;
    let chunk = setup.chunk as u64;

    while !stop.load(Ordering::Relaxed) {
        let buffer = chunk * u64::from(random.below(setup.buffers));
        let word = 8 * u64::from(random.below(setup.chunk as u32 / 8));
        let value = match word {
            0 if !flags.is_empty() => random.pick(flags),
            _ => random.next(),
        };

        socket
            .frames
            .u64(buffer + word)
            .store(value, Ordering::Relaxed);
    }
}

case!(ports "xsk_zc::frames_that_change_while_they_are_sent", "queues=2", changing; two_cpus());
/// Another thread writes to frames and metadata that the card reads: each frame is sent, or counted
/// as an error, and comes back once. Frames of others are as they were.
fn changing(bed: &Bed) -> Result<()> {
    const OTHERS: u32 = 2000;
    // Not the launch time: a frame would wait until any day.
    const FLAGS: [u64; 4] = [0, CHECKSUM, TIMESTAMP, CHECKSUM | TIMESTAMP];
    let seed = seed()?;
    let setup = Setup {
        metadata: 24,
        sg: true,
        ..zero_copy()
    };

    bed.up()?;
    // Whatever the destination has become.
    bed.b.set_promisc(true)?;
    let socket = Socket::open(&bed.a, 0, setup)?;
    let receiver = Socket::open(&bed.b, 0, zero_copy())?;
    receiver.fill_all();
    receiver.wake_rx()?;
    let tap = Tap::open(&bed.b)?;
    let stop = AtomicBool::new(false);

    let sent = std::thread::scope(|scope| {
        scope.spawn(|| scribble(&socket, seed ^ 1, &FLAGS, &stop));
        let others = scope.spawn(|| Sender::open(&bed.a)?.send_flow(&Probe::new(7, 0), OTHERS));
        let sent = send_any(&socket, &mut Random::new(seed));

        stop.store(true, Ordering::Relaxed);
        others
            .join()
            .map_err(|_| anyhow!("the sender panicked"))??;
        sent
    })?;
    let others: Vec<_> = tap
        .rest()?
        .iter()
        .filter_map(|frame| Probe::parse(frame).ok().flatten())
        .filter(|probe| probe.flow == 7)
        .collect();
    ensure!(
        others
            == (0..OTHERS)
                .map(|seq| Probe::new(7, seq))
                .collect::<Vec<_>>(),
        "frames of the stack"
    );
    ensure_eq!(tap.drops()?, 0, "frames that the tap lost");
    drop((socket, receiver));
    let (a, _) = settle_wire(bed)?;
    let (packets, errors) = (a.counters.tx("xsk_packets")?, a.counters.tx("xsk_errors")?);
    ensure_eq!(packets + errors, sent, "frames sent, and counted as errors");
    ensure!(packets > 0, "no frame was sent");
    check_alive(bed)
}

/// Sends whatever is in the socket's memory, in frames of up to a few buffers. Returns how many
/// frames.
fn send_any(socket: &Socket, random: &mut Random) -> Result<u64> {
    const DESCS: usize = 20_000;
    const AHEAD: usize = 256;
    let (mut given, mut back, mut frames, mut parts) = (0, 0, 0, 0);

    while back < DESCS {
        while given < DESCS && given - back < AHEAD {
            given += 1;
            parts += 1;
            let is_last = parts == 4 || given == DESCS || random.flip();
            let options = match is_last {
                true => 0,
                false => XDP_PKT_CONTD,
            };

            socket.tx().push(
                Desc {
                    addr: socket.buffer(random.below(socket.setup.buffers)) + 24,
                    len: 60 + random.below(1900),
                    options: options | random.pick(&[0, XDP_TX_METADATA]),
                }
                .into(),
            );
            if is_last {
                frames += 1;
                parts = 0;
            }
        }
        let before = back;
        wait_until("descriptors come back", || {
            wake_tx(socket)?;
            back += socket.completed().len();
            Ok(back > before)
        })?;
    }
    ensure_eq!(back, DESCS, "completions");
    Ok(frames)
}

case!(ports "xsk_zc::received_frames_that_change", "queues=1", received);
/// User space writes to the buffers that it gave away, while frames are received into them and a
/// program looks at them: each has one verdict, and nothing else happens.
fn received(bed: &Bed) -> Result<()> {
    const FRAMES: u32 = 5000;
    let seed = seed()?;
    let socket = Socket::open(&bed.b, 0, zero_copy())?;
    let program = Program::load("verdict", "verdict")?;
    let stop = AtomicBool::new(false);
    // They take every frame that is passed, or that XDP_TX sends back. Without them the stack would
    // count a frame as dropped whose protocol has become one that nobody takes.
    let _taps = (Tap::open(&bed.a)?, Tap::open(&bed.b)?);

    bed.b.attach(&program)?;
    bed.up()?;
    socket.fill_all();
    socket.wake_rx()?;
    std::thread::scope(|scope| {
        scope.spawn(|| scribble(&socket, seed, &[], &stop));
        let outcome = (|| {
            let sender = Sender::open(&bed.a)?;

            for seq in 0..FRAMES {
                let verdict = [0, 1, 2, 3][seq as usize % 4];
                sender.send(&Probe::new(1, seq).verdict(verdict).len(1000).frame())?;
            }
            bed.b.wait_received(FRAMES.into())
        })();
        stop.store(true, Ordering::Relaxed);
        outcome
    })?;
    let (_, b) = settle_wire(bed)?;
    b.check_verdicts()?;
    drop(socket);
    check_alive(bed)
}
