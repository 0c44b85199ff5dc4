// SPDX-License-Identifier: GPL-2.0

//! Sockets that come and go, in any way and at any moment.

use super::{wake_tx, zero_copy};
use crate::{
    bed::{Bed, Port},
    cases::samples,
    harness::case,
    host::{
        ensure_eq,
        fault::{self, Faults},
        kmsg::Kmsg,
        module,
        usage::{Tolerances, Usage},
        wait_until,
    },
    nl::link::New,
    support::{
        polls::{poll_in_threads, slow_down},
        steer::{Chain, Steer},
        traffic::{check_alive, settle, settle_after_down, while_sending, Source},
        xsk::{steer_to, wait_free},
    },
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
        xsk::socket::{Mode, Setup, Socket},
    },
};
use anyhow::{ensure, Context, Result};
use nix::{errno::Errno, sys::signal::Signal};
use std::os::unix::process::ExitStatusExt;

const SMALL: &str = "queues=1 ring_size=64";

/// Reads frames until there were `count`; each has to be a probe, in one piece.
fn read(socket: &Socket, count: usize) -> Result<()> {
    let mut seen = 0;

    wait_until("frames arrive in the socket", || {
        while let Some((_, desc)) = socket.take_probe()? {
            socket.give_back(&desc);
            seen += 1;
        }
        if socket.fill.needs_wakeup() {
            socket.wake_rx()?;
        }
        Ok(seen >= count)
    })
}

case!(ports "xsk_zc::closed_under_traffic", "queues=2", closed);
/// A receiving socket is closed and bound again while frames come, in turns with one in copy mode:
/// every frame is in a socket, in the stack, or counted.
fn closed(bed: &Bed) -> Result<()> {
    const ROUNDS: usize = 30;
    let mut steer = Steer::load()?;

    steer.by_socket()?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    while_sending(&Source::new(&bed.a).times(2), |_| {
        for round in 0..ROUNDS {
            let mode = [Mode::ZeroCopy, Mode::ZeroCopy, Mode::Copy][round % 3];
            let queue = round as u32 % 2;
            let socket = Socket::open(
                &bed.b,
                queue,
                Setup {
                    mode,
                    ..zero_copy()
                },
            )?;

            socket.fill_all();
            steer.socket(queue, &socket)?;
            socket.wake_rx()?;
            read(&socket, 100).with_context(|| format!("round {round}, {mode:?}"))?;
        }
        Ok(())
    })?;
    let (_, b) = settle(bed)?;
    b.check_verdicts()?;
    check_alive(bed)
}

case!(ports "xsk_zc::closed_while_it_sends", SMALL, closed_tx);
/// A sending socket is closed with descriptors that wait for the peer's buffers. What was sent
/// arrives, nothing else does, and the next socket goes on.
fn closed_tx(bed: &Bed) -> Result<()> {
    const ROUNDS: u32 = 10;
    let _slow = slow_down(&bed.b)?;

    bed.up()?;
    poll_in_threads(&bed.b)?;
    for round in 0..ROUNDS {
        let tap = Tap::open(&bed.b)?;
        let before = bed.a.counters()?.sent()?;
        let socket = Socket::open(&bed.a, 0, zero_copy())?;
        let frames = socket.setup.buffers;

        (0..frames).for_each(|n| socket.put(n, &Probe::new(round, n).frame()));
        // The receiver has 64 buffers and is slow: some wait.
        wake_tx(&socket)?;
        wait_until("something is sent", || Ok(socket.completions.len() > 0))?;
        let told = socket.completions.len() as usize;
        drop(socket);
        wait_free(&bed.a, 0)?;
        let (a, _) = settle(bed)?;
        let seen = tap.rest()?;
        ensure!(
            seen.len() >= told,
            "{told} frames were completed, {} arrived",
            seen.len()
        );
        ensure_eq!(
            seen.len() as u64,
            a.counters.sent()? - before,
            "frames that arrived, against frames sent"
        );
        for (n, frame) in (0..).zip(&seen) {
            ensure_eq!(
                Probe::parse(frame)?,
                Some(Probe::new(round, n)),
                "frame of round {round}"
            );
        }
    }
    check_alive(bed)
}

case!(ports "xsk_zc::killed_under_traffic", "queues=1 pairs=2", killed);
/// A process is killed that receives, sends, or forwards by zero-copy sockets: the kernel takes
/// back what it had, and the next process gets the queue.
fn killed(bed: &Bed) -> Result<()> {
    const ROUNDS: usize = 4;
    let chain = Chain::make(bed)?;
    let [a, b] = [&chain.first.a, &chain.first.b];
    // What grows while the sample is at work.
    let received = || b.counters()?.rx("xsk_packets");
    let sent = || b.counters()?.tx("xsk_packets");
    let forwarded = || chain.second.a.counters()?.tx("xsk_packets");
    let works: [(&str, &dyn Fn() -> Result<u64>); 3] = [
        ("xsk receive ox1 --zero-copy", &received),
        ("xsk generate ox1 --zero-copy", &sent),
        ("xsk forward ox1 ox2 --zero-copy", &forwarded),
    ];

    chain.up()?;
    while_sending(&[Source::new(a)], |_| {
        for round in 0..ROUNDS {
            for (line, frames) in works {
                for port in [b, &chain.second.a] {
                    wait_free(port, 0)?;
                }
                let mut sample = samples::start(b, line)?;

                sample.wait_for("second")?;
                let before = frames()?;
                wait_until("the sample is at work", || Ok(frames()? > before + 100))
                    .with_context(|| format!("round {round}, `{line}`"))?;
                sample.signal(Signal::SIGKILL)?;
                let (status, said) = sample.end()?;
                ensure_eq!(
                    status.signal(),
                    Some(Signal::SIGKILL as i32),
                    "round {round}, `{line}`: {said}"
                );
            }
        }
        Ok(())
    })?;
    for port in [b, &chain.second.a] {
        wait_free(port, 0)?;
    }
    for bed in [&chain.first, &chain.second] {
        settle(bed)?;
        check_alive(bed)?;
    }
    Ok(())
}

case!(ports "xsk_zc::hundred_cycles", "queues=1", cycles);
/// A hundred times bound, used and closed: memory is where it was.
fn cycles(bed: &Bed) -> Result<()> {
    const CYCLES: u64 = 100;
    // A cycle has 2 MiB of buffers, and as many pages in each of the rings that it makes.
    const TOLERANCES: Tolerances = Tolerances {
        available: 4096,
        slab: 4 * CYCLES,
    };
    let spaces = [&bed.a.ns, &bed.b.ns];
    let once = |_| -> Result<()> {
        let receiver = Socket::open(&bed.b, 0, zero_copy())?;
        let sender = Socket::open(&bed.a, 0, zero_copy())?;
        let _steer = steer_to(&bed.b, 0, &receiver)?;

        receiver.fill_all();
        receiver.wake_rx()?;
        (0..20).for_each(|seq| sender.put(seq, &Probe::new(0, seq).frame()));
        wait_until("they are sent", || {
            wake_tx(&sender)?;
            Ok(sender.completions.len() == 20)
        })?;
        ensure_eq!(sender.completed().len(), 20, "completions");
        wait_until("they arrive", || Ok(receiver.rx().len() == 20))?;
        bed.b.detach()
    };

    bed.up()?;
    // The allocators keep something at hand of whatever they have once been asked for.
    (0..10).try_for_each(once)?;
    let before = Usage::now(&spaces)?;
    (0..CYCLES).try_for_each(|n| once(n).with_context(|| format!("cycle {n}")))?;
    before.wait_back(&spaces, Some(&TOLERANCES))?;
    settle(bed).map(drop)
}

case!(ports "xsk_zc::module_goes", "queues=2", module_goes);
/// The port goes while sockets are bound to it and frames are under way: each socket is told.
fn module_goes(bed: &Bed) -> Result<()> {
    let mut sockets = Vec::new();

    bed.up()?;
    for port in [&bed.a, &bed.b] {
        for queue in 0..2 {
            let socket = Socket::open(port, queue, zero_copy())?;

            socket.fill_all();
            (0..64).for_each(|n| socket.put(n, &Probe::new(queue, n).frame()));
            sockets.push(socket);
        }
    }
    sockets.iter().try_for_each(wake_tx)?;
    module::unload()?;
    for socket in &sockets {
        ensure_eq!(
            socket.wake_tx(),
            Err(Errno::ENXIO),
            "sending by a port that is gone"
        );
        ensure_eq!(socket.wake_rx(), Err(Errno::ENXIO), "receiving from it");
    }
    drop(sockets);
    Ok(())
}

case!(ports "xsk_zc::port_is_deleted", "queues=1", deleted);
/// A port is deleted just after its socket was closed, whose memory the kernel has not taken from
/// the port yet, or while the socket is open.
fn deleted(bed: &Bed) -> Result<()> {
    const ROUNDS: u32 = 30;

    bed.up()?;
    for round in 0..ROUNDS {
        let near = Port::add(&bed.b.ns, "ox2", New::port())?;
        let far = Port::add(&bed.b.ns, "ox3", New::peer_of(near.ifindex))?;
        let pair = Bed { a: near, b: far };

        pair.up()?;
        let socket = Socket::open(&pair.a, 0, zero_copy())?;
        socket.fill_all();
        (0..64).for_each(|n| socket.put(n, &Probe::new(0, n).frame()));
        wake_tx(&socket)?;
        if round % 2 == 0 {
            drop(socket);
            pair.a.delete()?;
        } else {
            pair.a.delete()?;
            ensure_eq!(
                socket.wake_rx(),
                Err(Errno::ENXIO),
                "a socket of a port that is gone"
            );
        }
        pair.b.delete()?;
    }
    check_alive(bed)
}

case!(ports "xsk_zc::bind_without_memory", SMALL, without_memory; with_faults());
/// Whatever allocation fails when a socket is bound: it is bound, or refused, and then the queue
/// has its pages as before, and the kernel log says why. To close it takes no memory.
fn without_memory(bed: &Bed) -> Result<()> {
    const CHECKED: u32 = 8;
    let faults = Faults::below_module()?;
    let mut log = Kmsg::from_now()?;

    bed.up()?;
    let count = fault::one_after_the_other(1, |n| {
        let socket = Socket::unbound(&bed.b, zero_copy())?;
        log.forget()?;
        let (outcome, failed) = faults.nth(n, || socket.bind(&bed.b, 0))?;
        let reasons = log.starting_with("oxnic ox1: AF_XDP, queue 0: ")?;
        ensure_eq!(
            reasons.len(),
            usize::from(outcome.is_err()),
            "lines of the log that say why it was refused: {reasons:?}"
        );
        match outcome {
            Ok(()) => ensure!(socket.is_zero_copy()?, "the socket has another mode"),
            Err(errno) => {
                ensure_eq!(errno, Errno::ENOMEM, "why it was refused");
                ensure!(failed, "refused although memory was there");
            }
        }
        drop(socket);
        wait_free(&bed.b, 0)?;
        if n % CHECKED == 0 {
            check_alive(bed)?;
        }
        Ok(failed)
    })?;
    ensure!(count > 0, "nothing was allocated");

    for _ in 0..5 {
        let socket = Socket::open(&bed.b, 0, zero_copy())?;
        socket.fill_all();
        socket.wake_rx()?;
        faults.while_failing(100, || {
            drop(socket);
            wait_free(&bed.b, 0)
        })?;
        check_alive(bed)?;
    }
    Ok(())
}

case!(ports "xsk_zc::namespace_changes", "queues=1", namespace);
/// A port that moves to another namespace has no socket there; it can be bound again in both.
fn namespace(bed: &Bed) -> Result<()> {
    bed.up()?;
    let socket = Socket::open(&bed.b, 0, zero_copy())?;
    socket.fill_all();
    let moved: Port = bed.b.move_to(&bed.a.ns)?;
    ensure_eq!(
        socket.wake_rx(),
        Err(Errno::ENXIO),
        "the socket left behind"
    );
    drop(socket);

    let socket = Socket::open(&moved, 0, zero_copy())?;
    socket.fill_all();
    drop(socket);
    let back = moved.move_to(&bed.b.ns)?;
    back.up()?;
    bed.a.wait_running(true)?;
    let socket = Socket::open(&back, 0, zero_copy())?;
    drop(socket);
    Sender::open(&bed.a)?.send(&Probe::new(1, 0).frame())?;
    settle_after_down(bed).map(drop)
}
