// SPDX-License-Identifier: GPL-2.0

//! Every frame that a socket gives to the kernel comes back once, whatever becomes of the port, its
//! peer, or the peer's buffers: it was sent, or lost and counted.

use super::{reconfig::CHANGES, wake_tx, zero_copy};
use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{ensure_eq, wait_until},
    support::{
        restart,
        traffic::{check_alive, settle, settle_after_down},
        xsk::wait_free,
    },
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
        xsk::{
            socket::{Mode, Setup, Socket},
            tx::XskTx,
        },
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::errno::Errno;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

/// Frames that wait: more than a transmit ring of 64 descriptors takes, fewer than one of 512.
const FRAMES: u32 = 100;

/// A socket of port A whose frames wait for buffers of port B, and the socket of B that has none.
struct Waiting {
    sender: Socket,
    receiver: Socket,
}

impl Waiting {
    fn new(bed: &Bed) -> Result<Self> {
        let receiver = Socket::open(&bed.b, 0, zero_copy())?;
        let sender = Socket::open(&bed.a, 0, zero_copy())?;
        let before = bed.a.counters()?.tx("stopped")?;

        (0..FRAMES).for_each(|n| sender.put(n, &Probe::new(1, n).frame()));
        wake_tx(&sender)?;
        wait_until("the frames wait for a buffer", || {
            Ok(bed.a.counters()?.tx("stopped")? > before)
        })?;
        let waiting = Self { sender, receiver };
        waiting.still_waits()?;
        Ok(waiting)
    }

    fn still_waits(&self) -> Result<()> {
        ensure_eq!(
            self.sender.completions.len(),
            0,
            "completions without a buffer for the frame"
        );
        Ok(())
    }

    /// The kernel completes all of them, each once and in order, without being called.
    fn all_come_back(&self) -> Result<()> {
        wait_until("all frames come back", || {
            Ok(self.sender.completions.len() >= FRAMES)
        })?;
        ensure_eq!(
            self.sender.completed(),
            (0..FRAMES)
                .map(|n| self.sender.buffer(n))
                .collect::<Vec<_>>(),
            "completions"
        );
        ensure_eq!(self.sender.tx().len(), 0, "descriptors in the TX ring");
        Ok(())
    }

    fn close(self, bed: &Bed) -> Result<()> {
        drop((self.sender, self.receiver));
        wait_free(&bed.a, 0)?;
        wait_free(&bed.b, 0)
    }
}

/// What ends the waiting: the change, who counts the frames, and how.
type End = (&'static str, fn(&Bed, &Waiting) -> Result<()>, Fate);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They arrive at B.
    Sent,
    /// A has not sent them.
    Errors,
    /// B has lost them.
    NoBuffer,
}

const ENDS: [End; 5] = [
    (
        "buffers",
        |_, waiting| {
            waiting.receiver.fill_all();
            waiting.receiver.wake_rx().context("waking the receiver")
        },
        Fate::Sent,
    ),
    ("the port goes down", |bed, _| bed.a.down(), Fate::Errors),
    ("the peer goes down", |bed, _| bed.b.down(), Fate::Errors),
    (
        "the peer's flow control goes off",
        |bed, _| bed.b.ethtool("-A", "tx off").map(drop),
        Fate::NoBuffer,
    ),
    (
        "the port's flow control goes off",
        |bed, _| bed.a.ethtool("-A", "rx off").map(drop),
        Fate::NoBuffer,
    ),
];

case!(ports "xsk_zc::waiting_ends", "queues=1", ends);
/// Frames wait for buffers, until there are some, or there is nothing more to wait for.
fn ends(bed: &Bed) -> Result<()> {
    for (name, end, fate) in ENDS {
        bed.up()?;
        let tap = Tap::open(&bed.b)?;
        let before = (bed.a.counters()?, bed.b.counters()?);
        let waiting = Waiting::new(bed).context(name)?;

        end(bed, &waiting).context(name)?;
        waiting.all_come_back().context(name)?;
        let now = (bed.a.counters()?, bed.b.counters()?);
        let errors = now.0.tx("xsk_errors")? - before.0.tx("xsk_errors")?;
        let lost = now.1.rx("no_buffer")? - before.1.rx("no_buffer")?;
        let all = u64::from(FRAMES);
        ensure_eq!(
            (errors, lost),
            match fate {
                Fate::Sent => (0, 0),
                Fate::Errors => (all, 0),
                Fate::NoBuffer => (0, all),
            },
            "{name}: frames counted as errors, and for want of a buffer"
        );
        if fate == Fate::Sent {
            let expected: Vec<_> = (0..FRAMES).map(|n| Probe::new(1, n)).collect();
            ensure_eq!(tap.probes(expected.len())?, expected, "{name}: frames");
        }
        bed.up()?;
        waiting.close(bed)?;
        for port in [&bed.a, &bed.b] {
            port.ethtool("-A", "rx on tx on")?;
        }
    }
    settle_after_down(bed)?;
    check_alive(bed)
}

case!(ports "xsk_zc::waiting_for_the_pages_of_the_peer", "queues=1", pages);
/// The socket that has no buffers is closed: its queue has pages again, and the frames are sent.
fn pages(bed: &Bed) -> Result<()> {
    bed.up()?;
    for _ in 0..5 {
        let tap = Tap::open(&bed.b)?;
        let Waiting { sender, receiver } = Waiting::new(bed)?;

        drop(receiver);
        wait_until("all frames come back", || {
            Ok(sender.completions.len() == FRAMES)
        })?;
        ensure_eq!(
            tap.probes(FRAMES as usize)?,
            (0..FRAMES).map(|n| Probe::new(1, n)).collect::<Vec<_>>(),
            "frames"
        );
        drop(sender);
        wait_free(&bed.b, 0)?;
    }
    settle(bed)?;
    check_alive(bed)
}

case!(ports "xsk_zc::waiting_survives_changes", "queues=4", survives);
/// Frames that wait still wait after a change to the port or to its peer, and are sent as soon as
/// there are buffers; nothing is completed that was not sent.
fn survives(bed: &Bed) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        port.ethtool("-L", "combined 2")?;
        port.ethtool("-X", "equal 1")?;
    }
    bed.up()?;
    for port in [&bed.a, &bed.b] {
        for (name, change) in CHANGES {
            // What that does to them is above.
            if name == "down and up" {
                continue;
            }
            let what = || format!("{}: {name}", port.name);
            let tap = Tap::open(&bed.b)?;
            let waiting = Waiting::new(bed).with_context(what)?;

            change(port).with_context(what)?;
            waiting.still_waits().with_context(what)?;
            waiting.receiver.fill_all();
            waiting.receiver.wake_rx()?;
            waiting.all_come_back().with_context(what)?;
            ensure_eq!(
                tap.probes(FRAMES as usize).with_context(what)?,
                (0..FRAMES).map(|n| Probe::new(1, n)).collect::<Vec<_>>(),
                "{}: frames",
                what()
            );
            waiting.close(bed)?;
        }
    }
    settle(bed)?;
    check_alive(bed)
}

case!(ports "xsk_zc::waiting_when_the_port_goes", "queues=1 ring_size=64", goes);
/// The port moves to another namespace, or is deleted. What the kernel had taken comes back, the
/// rest stays in the TX ring, and the socket is told.
fn goes(bed: &Bed) -> Result<()> {
    // So that some stay in the TX ring.
    bed.a.ethtool("-G", "tx 64")?;
    let told = |waiting: &Waiting| -> Result<()> {
        ensure_eq!(
            waiting.sender.wake_tx(),
            Err(Errno::ENXIO),
            "sending by a port that is gone"
        );
        let back = waiting.sender.completed();
        let left = waiting.sender.tx().len();
        ensure_eq!(
            back.len() as u32 + left,
            FRAMES,
            "completions, and {left} descriptors in the TX ring"
        );
        ensure_eq!(
            back,
            (0..FRAMES - left)
                .map(|n| waiting.sender.buffer(n))
                .collect::<Vec<_>>(),
            "completions"
        );
        Ok(())
    };

    bed.up()?;
    let waiting = Waiting::new(bed)?;
    let moved = bed.a.move_to(&bed.b.ns)?;
    told(&waiting).context("another namespace")?;
    drop(waiting);
    let back = moved.move_to(&bed.a.ns)?;

    let bed = Bed {
        a: back,
        b: bed.b.clone(),
    };
    bed.up()?;
    check_alive(&bed)?;
    let waiting = Waiting::new(&bed)?;
    bed.a.delete()?;
    told(&waiting).context("deleted")
}

case!(ports "xsk_zc::without_flow_control", "queues=1 ring_size=64", lossy);
/// Without flow control frames that find no buffer at the peer are lost, counted there, and come
/// back like all others.
fn lossy(bed: &Bed) -> Result<()> {
    const ROUNDS: u64 = 10;

    bed.b.ethtool("-A", "tx off")?;
    bed.up()?;
    let receiver = Socket::open(&bed.b, 0, zero_copy())?;
    let mut sender = XskTx::open(&bed.a, 0, zero_copy())?;
    for round in 1..=ROUNDS {
        for n in 0..FRAMES {
            sender.queue(&Probe::new(1, n).frame(), None)?;
        }
        ensure_eq!(sender.flush()?.len(), FRAMES as usize, "completions");
        let lost = bed.b.counters()?.rx("no_buffer")?;
        ensure_eq!(lost, round * u64::from(FRAMES), "no_buffer");
    }
    let (a, _) = settle(bed)?;
    a.counters.expect_tx(
        "A",
        &[
            ("xsk_packets", ROUNDS * u64::from(FRAMES)),
            ("xsk_errors", 0),
            ("stopped", 0),
        ],
    )?;
    drop((receiver, sender));
    wait_free(&bed.b, 0)?;
    check_alive(bed)
}

case!(ports "xsk_zc::socket_that_gives_no_buffers", "queues=2", no_buffers);
/// With flow control the frames of the stack wait for a socket, too, even if it never gives its
/// queue a buffer. Its port can switch off that they wait: then they are lost and counted, and the
/// peer's other frames get through again.
fn no_buffers(bed: &Bed) -> Result<()> {
    const SENT: u32 = 300;

    bed.b.ethtool("-X", "equal 1")?;
    bed.up()?;
    let socket = Socket::open(&bed.b, 0, zero_copy())?;
    thread::scope(|scope| -> Result<()> {
        let sender = scope.spawn(|| Sender::open(&bed.a)?.send_flow(&Probe::new(1, 0), SENT));

        let stopped = wait_until("the peer's queue is stopped", || {
            Ok(bed.a.counters()?.tx("stopped")? > 0)
        });
        // Else the sender would wait for ever.
        bed.b.ethtool("-A", "tx off")?;
        sender
            .join()
            .map_err(|_| anyhow!("the sender panicked"))??;
        stopped
    })?;
    bed.b.wait_accounted(SENT.into())?;
    bed.b
        .counters()?
        .expect_rx("B", &[("no_buffer", SENT.into()), ("packets", 0)])?;

    // The other queue has pages.
    bed.b.ethtool("-X", "weight 0 1")?;
    let tap = Tap::open(&bed.b)?;
    Sender::open(&bed.a)?.send(&Probe::new(2, 0).frame())?;
    ensure_eq!(tap.probes(1)?, [Probe::new(2, 0)], "a frame of the stack");
    drop(socket);
    wait_free(&bed.b, 0)?;
    bed.b.ethtool("-A", "tx on")?;
    bed.b.ethtool("-X", "default")?;
    check_alive(bed)
}

/// Sends by a socket until `stop` says so. Returns how many frames it gave to the kernel, all of
/// which have come back.
fn keep_sending(
    port: &Port,
    stop: &AtomicBool,
    completed: &AtomicU64,
    setup: Setup,
) -> Result<u64> {
    const AHEAD: usize = 200;
    let mut socket = XskTx::open(port, 0, setup)?;
    let mut given = 0;

    while !stop.load(Ordering::Relaxed) {
        while socket.outstanding() < AHEAD {
            socket.queue(&Probe::new(1, given as u32).frame(), None)?;
            given += 1;
        }
        match socket.kick() {
            Ok(()) | Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOBUFS | Errno::ENETDOWN) => {}
            Err(errno) => return Err(errno).context("sending by AF_XDP"),
        }
        // Fails if one comes back that the kernel does not have.
        let back = socket.completed()?.len() as u64;
        completed.fetch_add(back, Ordering::Relaxed);
        if back == 0 {
            thread::yield_now();
        }
    }
    socket.flush()?;
    Ok(given)
}

case!(ports "xsk_zc::completions_under_changes", "queues=4",
    |bed| under_changes(bed, false));
case!(ports "xsk_zc::completions_under_changes_of_zero_copy_ports", "queues=4",
    |bed| under_changes(bed, true));
/// Sockets of both ports send without pause while their ports change, to a queue with pages or with
/// buffers of another socket.
fn under_changes(bed: &Bed, receive: bool) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        port.ethtool("-L", "combined 2")?;
        // The other queue has the buffers of the socket that sends: none to receive into.
        port.ethtool("-X", "weight 0 1")?;
    }
    bed.up()?;
    let setup = Setup {
        mode: Mode::ZeroCopy,
        buffers: 1024,
        completion: 1024,
        ..Setup::default()
    };
    // No program: what arrives in a socket's buffers is copied for the stack, and they are used
    // again.
    let receivers = match receive {
        true => [&bed.a, &bed.b]
            .into_iter()
            .map(|port| Socket::open(port, 1, zero_copy()))
            .collect::<Result<Vec<_>>>()?,
        false => Vec::new(),
    };
    for socket in &receivers {
        socket.fill_all();
        socket.wake_rx()?;
    }
    let stop = AtomicBool::new(false);
    let completed = [AtomicU64::new(0), AtomicU64::new(0)];
    let given = thread::scope(|scope| {
        let senders = [(&bed.a, &completed[0]), (&bed.b, &completed[1])]
            .map(|(port, count)| scope.spawn(|| keep_sending(port, &stop, count, setup)));
        let outcome = change_all(bed, &completed);

        stop.store(true, Ordering::Relaxed);
        let given = senders.map(|sender| {
            sender
                .join()
                .map_err(|_| anyhow!("a sender panicked"))
                .and_then(|given| given)
        });
        outcome?;
        given.into_iter().collect::<Result<Vec<_>>>()
    })?;
    let (a, b) = settle_after_down(bed)?;
    for (port, given) in [a, b].iter().zip(given) {
        let (sent, errors) = (
            port.counters.tx("xsk_packets")?,
            port.counters.tx("xsk_errors")?,
        );

        ensure_eq!(
            sent + errors,
            given,
            "{}: {sent} frames sent and {errors} errors, against those given",
            port.name
        );
        ensure!(sent > 0, "{}: no frame was sent", port.name);
    }
    drop(receivers);
    [&bed.a, &bed.b]
        .into_iter()
        .try_for_each(|port| wait_free(port, 1))?;
    check_alive(bed)
}

fn change_all(bed: &Bed, completed: &[AtomicU64; 2]) -> Result<()> {
    let flows = |what: &str| {
        let now = || completed.each_ref().map(|n| n.load(Ordering::Relaxed));
        let before = now();

        wait_until(&format!("both sockets send after {what}"), || {
            Ok(now()
                .iter()
                .zip(before)
                .all(|(now, before)| *now > before + 100))
        })
    };

    flows("they were opened")?;
    for port in [&bed.a, &bed.b] {
        for (name, change) in CHANGES {
            let what = format!("{}: {name}", port.name);

            change(port).with_context(|| what.clone())?;
            bed.a.wait_running(true)?;
            flows(&what)?;
        }
        restart::restart(port, 1)?;
        flows("a restart of the other queue")?;
    }
    Ok(())
}
