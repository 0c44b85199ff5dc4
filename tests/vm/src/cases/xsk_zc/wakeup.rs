// SPDX-License-Identifier: GPL-2.0

//! When the kernel wants to be called, and when it goes on by itself.

use super::{wake_tx, zero_copy};
use crate::{
    bed::Bed,
    harness::case,
    host::{cpus, ensure_eq, wait_until},
    nl::netdev::{self, NapiSettings},
    sockopt::{BusyPoll, PreferBusyPoll},
    support::{
        polls::{napi, poll_at, poll_in_threads, slow_down},
        probes::check_flows,
        traffic::{check_alive, settle},
        xsk::{steer_to, wait_free},
    },
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
        xsk::socket::{Setup, Socket},
        Mac,
    },
};
use anyhow::{ensure, Context, Result};
use nix::{
    poll::{PollFlags, PollTimeout},
    sys::socket::setsockopt,
};

const SMALL: &str = "queues=1 ring_size=64";

/// Puts the probes of a flow, from `first` on, into the TX ring.
fn give(socket: &Socket, first: u32, count: u32) {
    for seq in first..first + count {
        socket.put(seq % socket.setup.buffers, &Probe::new(1, seq).frame());
    }
}

/// Waits for so many completions without calling the kernel for them.
fn wait_completed(socket: &Socket, count: u32) -> Result<()> {
    let mut back = 0;

    wait_until("frames are sent without a call", || {
        back += socket.completed().len() as u32;
        Ok(back >= count)
    })?;
    ensure_eq!(back, count, "completions");
    Ok(())
}

case!(ports "xsk_zc::flags", "queues=1", flags);
/// The kernel asks for a call when it has no buffer to receive into, and not when it has enough.
fn flags(bed: &Bed) -> Result<()> {
    bed.up()?;
    let socket = Socket::open(&bed.b, 0, zero_copy())?;
    wait_until("the kernel wants buffers", || {
        Ok(socket.fill.needs_wakeup())
    })?;
    socket.fill_all();
    socket.wake_rx()?;
    wait_until("the kernel has buffers", || Ok(!socket.fill.needs_wakeup()))?;
    ensure!(socket.tx().needs_wakeup(), "it wants to be called to send");
    let tap = Tap::open(&bed.a)?;
    give(&socket, 0, 8);
    // Poll is such a call.
    ensure!(
        !socket.poll(PollFlags::POLLIN, PollTimeout::ZERO)?,
        "nothing is received"
    );
    wait_completed(&socket, 8)?;
    ensure_eq!(tap.probes(8)?.len(), 8, "frames sent by poll");
    settle(bed).map(drop)
}

case!(ports "xsk_zc::flag_of_a_ring_that_is_nearly_full", SMALL, nearly_full);
/// The kernel asks for a call as long as the receive ring lacks buffers that it would post. When it
/// lacks so few that it is not refilled, there is nothing to ask for.
fn nearly_full(bed: &Bed) -> Result<()> {
    const RING: u32 = 64;
    // `REFILL_BATCH` in rust/driver/rx/poll.rs.
    const BATCH: u32 = 16;

    bed.up()?;
    for missing in [1, BATCH - 1, BATCH] {
        let socket = Socket::open(&bed.b, 0, zero_copy())?;
        let refills_cut_short = || bed.b.counters()?.rx("xsk_fill_empty");

        wait_until("the kernel wants buffers", || {
            Ok(socket.fill.needs_wakeup())
        })?;
        socket.fill_first(RING - missing);
        if missing >= BATCH {
            let before = refills_cut_short()?;
            wait_until("the kernel looks for more buffers", || {
                socket.wake_rx()?;
                Ok(refills_cut_short()? > before + 1)
            })?;
            ensure!(socket.fill.needs_wakeup(), "{missing} buffers are missing");
            (RING - missing..RING).for_each(|n| socket.fill.push([socket.buffer(n)]));
        }
        wait_until("the kernel asks for no more calls", || {
            socket.wake_rx()?;
            Ok(!socket.fill.needs_wakeup())
        })
        .with_context(|| format!("{missing} buffers were missing"))?;
        drop(socket);
        wait_free(&bed.b, 0)?;
    }
    check_alive(bed)
}

case!(ports "xsk_zc::without_need_wakeup", "queues=1", without);
/// Without the option the kernel looks for buffers by itself: a frame that has waited for one
/// arrives as soon as there is one, without a call.
fn without(bed: &Bed) -> Result<()> {
    const ROUNDS: u32 = 20;
    let setup = Setup {
        need_wakeup: false,
        ..zero_copy()
    };
    let sender = Socket::open(&bed.a, 0, setup)?;
    let receiver = Socket::open(&bed.b, 0, setup)?;
    let _steer = steer_to(&bed.b, 0, &receiver)?;
    let stopped = || bed.a.counters()?.tx("stopped");

    bed.up()?;
    for round in 0..ROUNDS {
        let before = stopped()?;

        give(&sender, round, 1);
        wake_tx(&sender)?;
        wait_until("the frame waits for a buffer", || Ok(stopped()? > before))?;
        receiver.fill.push([receiver.buffer(round)]);
        wait_until("it arrives", || Ok(receiver.rx().len() > 0))?;
        let (probe, _) = receiver.take_probe()?.context("no descriptor")?;
        ensure_eq!(probe, Probe::new(1, round), "frame");
        wait_completed(&sender, 1)?;
    }
    settle(bed).map(drop)
}

case!(ports "xsk_zc::waits_without_spinning", "queues=1", no_spinning);
/// Without the option the kernel looks for buffers again and again as long as there are too few,
/// but leaves the CPU time for other things.
fn no_spinning(bed: &Bed) -> Result<()> {
    const IDLE: u64 = 20;
    let cpu = cpus::all()?.into_iter().max().context("no CPU")?;

    bed.up()?;
    // The last has enough for the MTU, but not for the longest frame that there can be.
    for (sg, buffers) in [(false, 0), (true, 0), (true, 16)] {
        let setup = Setup {
            need_wakeup: false,
            sg,
            chunk: 4096,
            ..zero_copy()
        };
        let socket = Socket::open(&bed.b, 0, setup)?;

        poll_at(&bed.b, cpu)?;
        socket.fill_first(buffers);
        socket.wake_rx()?;
        let before = cpus::idle(cpu)?;
        wait_until("the CPU that polls has nothing to do", || {
            Ok(cpus::idle(cpu)? > before + IDLE)
        })
        .with_context(|| format!("sg {sg}, {buffers} buffers"))?;

        // No call for this one.
        let tap = Tap::open(&bed.b)?;
        Sender::open(&bed.a)?.send(&Probe::new(1, 0).frame())?;
        (buffers..buffers + 32).for_each(|n| socket.fill.push([socket.buffer(n)]));
        ensure_eq!(tap.probes(1)?, [Probe::new(1, 0)], "frame in the stack");
        drop(socket);
        wait_free(&bed.b, 0)?;
    }
    settle(bed).map(drop)
}

case!(ports "xsk_zc::descriptors_that_wait_go_on_by_themselves", SMALL, waiting);
/// Descriptors that found no buffer at the peer are sent when it has some, without a call.
fn waiting(bed: &Bed) -> Result<()> {
    let slow = slow_down(&bed.b)?;
    let socket = Socket::open(&bed.a, 0, zero_copy())?;
    let frames = socket.setup.buffers;

    bed.up()?;
    poll_in_threads(&bed.b)?;
    let tap = Tap::open(&bed.b)?;
    give(&socket, 0, frames);
    // One call, which cannot send 512 frames to 64 buffers.
    wake_tx(&socket)?;
    wait_completed(&socket, frames)?;
    ensure_eq!(
        tap.probes(frames as usize)?,
        (0..frames)
            .map(|seq| Probe::new(1, seq))
            .collect::<Vec<_>>(),
        "frames"
    );
    ensure_eq!(slow.seen()?, u64::from(frames), "frames the program saw");
    settle(bed)?;
    // It has given the port no buffers to receive into.
    drop(socket);
    check_alive(bed)
}

case!(ports "xsk_zc::steered_away_from_a_socket", "queues=2", steered_away);
/// A queue gets no buffers, and who sends to it waits, with frames for other queues too. When no
/// frame is steered to it any more, senders go on: the stack, and a socket.
fn steered_away(bed: &Bed) -> Result<()> {
    const FLOWS: u32 = 64;
    let probes: Vec<_> = (0..FLOWS).map(|flow| Probe::new(flow, 0)).collect();
    let stops = || bed.a.counters()?.tx("stopped");

    bed.a.ethtool("-L", "combined 1")?;
    bed.up()?;
    for by_socket in [false, true] {
        let receiver = Socket::open(&bed.b, 1, zero_copy())?;
        let sender = Socket::open(&bed.a, 0, zero_copy())?;
        let before = stops()?;
        let tap = Tap::open(&bed.b)?;

        // For what the other end sends.
        for n in FLOWS..sender.setup.buffers {
            sender.fill.push([sender.buffer(n)]);
        }
        sender.wake_rx()?;
        bed.b.ethtool("-X", "equal 2")?;
        if by_socket {
            (0..FLOWS).for_each(|n| sender.put(n, &probes[n as usize].frame()));
            wake_tx(&sender)?;
        } else {
            let stack = Sender::open(&bed.a)?;
            probes
                .iter()
                .try_for_each(|probe| stack.send(&probe.frame()))?;
        }
        wait_until("a frame waits for the socket's queue", || {
            Ok(stops()? > before)
        })?;
        let mut seen = tap
            .rest()?
            .iter()
            .map(|frame| Probe::parse(frame)?.context("a frame that no test sent"))
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            seen.len() < probes.len(),
            "frames arrived without buffers, socket {by_socket}"
        );
        bed.b.ethtool("-X", "equal 1")?;
        seen.extend(tap.probes(probes.len() - seen.len())?);
        ensure_eq!(seen, probes, "frames, socket {by_socket}");
        drop((sender, receiver));
        wait_free(&bed.a, 0)?;
        wait_free(&bed.b, 1)?;
    }
    check_alive(bed)
}

case!(ports "xsk_zc::frames_that_are_no_longer_wanted", "queues=1", unwanted);
/// A queue gets no buffers, and a frame for it waits. When the port accepts such frames no more,
/// because of their address or their length, the sender goes on and the frame counts as lost.
fn unwanted(bed: &Bed) -> Result<()> {
    type Change = fn(&Bed) -> Result<()>;
    // Only a promiscuous port receives it.
    const FOREIGN: Mac = [0x02, 0, 0, 0, 0, 0x77];
    const CHANGES: [(&str, Change); 2] = [
        ("mac_filter_drop", |bed| bed.b.set_promisc(false)),
        ("oversize", |bed| bed.b.set_mtu(1000)),
    ];
    let stops = || bed.a.counters()?.tx("stopped");

    for by_socket in [false, true] {
        for (reason, change) in CHANGES {
            bed.up()?;
            bed.b.set_promisc(true)?;
            let receiver = Socket::open(&bed.b, 0, zero_copy())?;
            let sender = Socket::open(&bed.a, 0, zero_copy())?;
            let before = (stops()?, lost(bed, reason)?);
            let frame = Probe {
                dst: FOREIGN,
                ..Probe::new(1, 0).len(1400)
            }
            .frame();

            if by_socket {
                sender.put(0, &frame);
                wake_tx(&sender)?;
            } else {
                Sender::open(&bed.a)?.send(&frame)?;
            }
            wait_until("the frame waits", || Ok(stops()? > before.0))?;
            ensure_eq!(lost(bed, reason)?, before.1, "{reason}: lost too early");
            change(bed)?;
            wait_until("the frame is lost", || Ok(lost(bed, reason)? > before.1))?;
            if by_socket {
                wait_completed(&sender, 1)?;
            }
            drop((sender, receiver));
            wait_free(&bed.a, 0)?;
            wait_free(&bed.b, 0)?;
            bed.b.set_mtu(1500)?;
            settle(bed)?;
        }
    }
    bed.b.set_promisc(true)?;
    check_alive(bed)
}

/// How many frames have arrived at B and were lost for this reason.
fn lost(bed: &Bed, reason: &str) -> Result<u64> {
    let losses = bed.b.counters()?.losses()?;
    let (_, frames) = losses
        .into_iter()
        .find(|(name, _)| *name == reason)
        .context("no such reason")?;
    Ok(frames)
}

case!(ports "xsk_zc::waiting_beside_the_stack", SMALL, beside);
/// A socket and the stack send out of the same queue to a slow receiver: neither keeps the other
/// from sending.
fn beside(bed: &Bed) -> Result<()> {
    const FRAMES: u32 = 400;
    let _slow = slow_down(&bed.b)?;
    let socket = Socket::open(&bed.a, 0, zero_copy())?;

    bed.up()?;
    poll_in_threads(&bed.b)?;
    let tap = Tap::open(&bed.b)?;
    std::thread::scope(|scope| {
        let stack = scope.spawn(|| Sender::open(&bed.a)?.send_flow(&Probe::new(2, 0), FRAMES));

        give(&socket, 0, FRAMES);
        wake_tx(&socket)?;
        wait_completed(&socket, FRAMES)?;
        stack
            .join()
            .map_err(|_| anyhow::anyhow!("the sender panicked"))?
    })?;
    let probes = tap.probes(2 * FRAMES as usize)?;
    check_flows(&probes, [1, 2], FRAMES)?;
    settle(bed).map(drop)
}

case!(ports "xsk_zc::busy_poll", "queues=1", busy_poll);
/// Sockets that poll their queue themselves, with interrupts deferred: the kernel does not call
/// the port's `ndo_xsk_wakeup` then, and all the same everything is sent and received.
fn busy_poll(bed: &Bed) -> Result<()> {
    const ROUNDS: u32 = 200;

    bed.up()?;
    // Not earlier: the kernel tells a socket which NAPI to poll when it is bound, and only a port
    // that is up has one (`xsk_bind` in net/xdp/xsk.c).
    let sender = Socket::open(&bed.a, 0, zero_copy())?;
    let receiver = Socket::open(&bed.b, 0, zero_copy())?;
    let _steer = steer_to(&bed.b, 0, &receiver)?;
    for (port, socket) in [(&bed.a, &sender), (&bed.b, &receiver)] {
        setsockopt(socket, PreferBusyPoll, &true)?;
        setsockopt(socket, BusyPoll, &20)?;
        let id = napi(port, 0)?.id;
        port.ns.enter(|| {
            netdev::set_napi(
                id,
                &NapiSettings {
                    defer_hard_irqs: 2,
                    gro_flush_timeout: 200_000,
                    ..NapiSettings::default()
                },
            )
        })?;
    }
    receiver.fill_all();
    let mut back = 0;
    for round in 0..ROUNDS {
        let count = 1 + round % 16;

        give(&sender, 0, count);
        let mut seen = 0;
        wait_until("frames of a round arrive", || {
            wake_tx(&sender)?;
            receiver.wake_rx()?;
            back += sender.completed().len() as u32;
            while let Some((probe, desc)) = receiver.take_probe()? {
                ensure_eq!(probe, Probe::new(1, seen), "frame");
                receiver.give_back(&desc);
                seen += 1;
            }
            Ok(seen == count)
        })?;
    }
    wait_until("all completions are there", || {
        wake_tx(&sender)?;
        back += sender.completed().len() as u32;
        Ok(back == (0..ROUNDS).map(|round| 1 + round % 16).sum())
    })?;
    settle(bed).map(drop)
}
