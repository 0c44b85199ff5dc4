// SPDX-License-Identifier: GPL-2.0

//! Flow control: what happens to frames for a full receive ring.

use crate::{
    bed::{Bed, Port, V4, V6},
    bpf::Program,
    harness::case,
    host::{cpus, ensure_eq, kmsg::Kmsg, repeat_until, tracefs::Trace, wait_until, PATIENCE},
    stats::Snapshot,
    support::{
        held::Held,
        in_parallel,
        polls::{poll_in_threads, slow_down},
        probes::{check_flows, flood},
        traffic::{check_alive, settle, settle_after_down, while_sending, Source},
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
    },
};
use anyhow::{ensure, Context, Result};
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    net::{IpAddr, UdpSocket},
    thread,
};

const SENDERS: u32 = 4;
const FRAMES: u32 = 600;
/// Datagrams of a sender.
const COUNT: u32 = 500;
const ONE: &str = "queues=1 ring_size=64";
const FOUR: &str = "queues=4 ring_size=64";

/// Whether a queue of the port had to wait.
fn was_stopped(port: &Port) -> Result<bool> {
    Ok(port.counters()?.tx("stopped")? > 0)
}

/// Every queue that was stopped was woken. A wake that comes while a queue is about to stop is
/// counted and does no harm, hence "at least".
fn check_waited(from: &Snapshot) -> Result<()> {
    let (stopped, woken) = (from.counters.tx("stopped")?, from.counters.tx("woken")?);

    ensure!(
        woken >= stopped,
        "{}: queues stopped {stopped} times and woken {woken} times",
        from.name
    );
    Ok(())
}

fn check_no_loss(to: &Snapshot, received: u64) -> Result<()> {
    to.counters.expect_rx(
        &to.name,
        &[
            ("packets", received),
            ("no_buffer", 0),
            ("oversize", 0),
            ("down", 0),
        ],
    )
}

case!(ports "pause::one_full_ring_loses_nothing", ONE, |bed| raw(bed, false));
case!(ports "pause::four_full_rings_lose_nothing", FOUR, |bed| raw(bed, true));
fn raw(bed: &Bed, threads: bool) -> Result<()> {
    let slow = slow_down(&bed.b)?;

    bed.up()?;
    if threads {
        poll_in_threads(&bed.b)?;
    }
    let tap = Tap::open(&bed.b)?;
    let mut count = 0;
    repeat_until(
        "a queue is stopped",
        || {
            count += u64::from(SENDERS * FRAMES);
            flood(&bed.a, SENDERS, FRAMES, |flow| Probe::new(flow, 0))?;
            let probes = tap.probes((SENDERS * FRAMES) as usize)?;
            check_flows(&probes, 0..SENDERS, FRAMES)
        },
        || was_stopped(&bed.a),
    )?;

    let (a, b) = settle(bed)?;
    ensure_eq!(
        a.counters.tx("packets")?,
        count,
        "A: frames put on the wire"
    );
    ensure_eq!(slow.seen()?, count, "frames the program saw");
    check_no_loss(&b, count)?;
    check_waited(&a)?;
    check_alive(bed)
}

case!(ports "pause::udp_loses_nothing", FOUR, udp);
/// Datagrams from sockets that wait for room in their send buffers.
fn udp(bed: &Bed) -> Result<()> {
    let _slow = slow_down(&bed.b)?;

    bed.up_with_addresses()?;
    poll_in_threads(&bed.b)?;
    // How far the senders get ahead depends on the scheduler.
    let mut rounds = 0;
    repeat_until(
        "a queue is stopped",
        || {
            rounds += 1;
            datagrams(bed)
        },
        || was_stopped(&bed.a),
    )?;

    let (a, b) = settle(bed)?;
    ensure!(
        b.counters.rx("packets")? >= rounds * u64::from(SENDERS * COUNT),
        "B: fewer frames than datagrams"
    );
    // IPv6 multicast of the stack has no receiver there.
    let filtered = b.counters.dropped_by("mac_filter")?;
    check_no_loss(&b, a.counters.tx("packets")? - filtered)?;
    check_waited(&a)?;
    check_alive(bed)
}

/// All that is sent on several flows at a time is received, in order: each sender stays on one CPU,
/// since a socket chooses its transmit queue again every second (`net.core.txq_reselection_ms`).
fn datagrams(bed: &Bed) -> Result<()> {
    let cpus = cpus::all()?;

    thread::scope(|scope| -> Result<()> {
        let mut threads = Vec::new();

        for (flow, cpu) in (0..SENDERS).zip(cpus.into_iter().cycle()) {
            let (from, to) = if flow % 2 == 0 {
                (V4[0], V4[1])
            } else {
                (V6[0], V6[1])
            };
            let (from, to): (IpAddr, IpAddr) = (from.parse()?, to.parse()?);
            let receiver = bed
                .b
                .ns
                .enter(|| Ok(UdpSocket::bind((to, 7000 + flow as u16))?))?;
            let sender = bed.a.ns.enter(|| {
                let socket = UdpSocket::bind((from, 0))?;
                socket.connect((to, 7000 + flow as u16))?;
                Ok(socket)
            })?;

            setsockopt(&receiver, sockopt::RcvBufForce, &(64 << 20))?;
            receiver.set_read_timeout(Some(PATIENCE))?;
            sender.set_write_timeout(Some(PATIENCE))?;
            threads.push(scope.spawn(move || {
                cpus::keep_on(0, cpu)?;
                (0..COUNT).try_for_each(|seq| {
                    ensure_eq!(
                        sender.send(&datagram(flow, seq))?,
                        datagram(flow, seq).len(),
                        "bytes sent"
                    );
                    Ok(())
                })
            }));
            threads.push(scope.spawn(move || receive_datagrams(&receiver, flow, COUNT)));
        }
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread of the test panicked"))??;
        }
        Ok(())
    })
}

fn receive_datagrams(socket: &UdpSocket, flow: u32, count: u32) -> Result<()> {
    let mut found = [0; 2048];

    for seq in 0..count {
        let len = socket
            .recv(&mut found)
            .with_context(|| format!("flow {flow}: waiting for datagram {seq} of {count}"))?;
        ensure_eq!(
            found[..len],
            datagram(flow, seq)[..],
            "flow {flow}: datagram {seq}"
        );
    }
    Ok(())
}

/// Datagrams of all sizes that fit into a frame.
fn datagram(flow: u32, seq: u32) -> Vec<u8> {
    let len = 8 + (seq as usize * 37) % 1400;
    let mut bytes = [flow.to_be_bytes(), seq.to_be_bytes()].concat();

    bytes.extend((8..len).map(|i| (i as u32 * 13 + seq * 31 + flow * 7) as u8));
    bytes
}

case!(ports "pause::both_directions", FOUR, both_directions);
/// Each port's full ring stops the other's queues. No port waits for itself.
fn both_directions(bed: &Bed) -> Result<()> {
    let _slow = (slow_down(&bed.a)?, slow_down(&bed.b)?);

    bed.up()?;
    for port in [&bed.a, &bed.b] {
        poll_in_threads(port)?;
    }
    let (tap_a, tap_b) = (Tap::open(&bed.a)?, Tap::open(&bed.b)?);
    let mut count = 0;
    repeat_until(
        "queues of both ports are stopped",
        || {
            count += u64::from(SENDERS * FRAMES);
            in_parallel(
                [&bed.a, &bed.b]
                    .map(|port| move || flood(port, SENDERS, FRAMES, |flow| Probe::new(flow, 0))),
            )?;
            [&tap_a, &tap_b].into_iter().try_for_each(|tap| {
                let probes = tap.probes((SENDERS * FRAMES) as usize)?;
                check_flows(&probes, 0..SENDERS, FRAMES)
            })
        },
        || Ok(was_stopped(&bed.a)? && was_stopped(&bed.b)?),
    )?;

    let (a, b) = settle(bed)?;
    for snapshot in [&a, &b] {
        check_no_loss(snapshot, count)?;
        check_waited(snapshot)?;
    }
    check_alive(bed)
}

case!(ports "pause::off_loses_and_counts", FOUR, off);
/// Without flow control, at either end, the receiver loses what finds no buffer, and counts it.
fn off(bed: &Bed) -> Result<()> {
    let _slow = slow_down(&bed.b)?;
    let count = u64::from(SENDERS * FRAMES);
    let mut sent = 0;
    let mut lost = 0;
    let mut stopped = 0;

    bed.up()?;
    poll_in_threads(&bed.b)?;
    for (port, setting, loses) in [
        (&bed.b, "tx off rx off", true),
        (&bed.b, "tx on rx on", false),
        (&bed.a, "rx off", true),
        (&bed.a, "rx on", false),
        // A port's setting for its own ring does not concern its peer.
        (&bed.b, "rx off", false),
        (&bed.a, "tx off", false),
    ] {
        port.ethtool("-A", setting)?;
        let tap = Tap::open(&bed.b)?;
        let what = format!("{} {setting}", port.name);
        let before = sent;
        repeat_until(
            &what,
            || {
                sent += count;
                flood(&bed.a, SENDERS, FRAMES, |flow| Probe::new(flow, 0))
            },
            || {
                let (a, b) = settle(bed)?;
                Ok(if loses {
                    b.counters.rx("no_buffer")? > lost
                } else {
                    a.counters.tx("stopped")? > stopped
                })
            },
        )?;
        let (a, b) = settle(bed)?;

        ensure_eq!(
            a.counters.tx("packets")?,
            sent,
            "{what}: A: frames put on the wire"
        );
        let new_lost = b.counters.rx("no_buffer")? - lost;
        let new_stopped = a.counters.tx("stopped")? - stopped;
        ensure!(
            (new_lost > 0) == loses && (new_stopped > 0) != loses,
            "{what}: {new_lost} frames lost, queues stopped {new_stopped} times"
        );
        tap.probes((sent - before - new_lost) as usize)?;
        lost += new_lost;
        stopped += new_stopped;

        ensure_eq!(
            b.link.stat("rx_missed_errors")?,
            lost,
            "{what}: B: rx_missed_errors"
        );
        b.counters.expect_rx(
            "B",
            &[("packets", sent - lost), ("oversize", 0), ("down", 0)],
        )?;
    }
    Ok(())
}

case!(ports "pause::a_port_that_goes_down_frees_waiters", FOUR, down);
/// Queues that wait for a port that goes down, or whose own port goes down, run again afterwards.
fn down(bed: &Bed) -> Result<()> {
    let _slow = slow_down(&bed.b)?;

    bed.b.msglvl("drv off")?;
    for victim in [&bed.b, &bed.a, &bed.b, &bed.a, &bed.b] {
        let sources = Source::new(&bed.a).may_fail().times(SENDERS as usize);

        bed.up()?;
        poll_in_threads(&bed.b)?;
        let before = bed.a.counters()?.tx("stopped")?;
        while_sending(&sources, |_| {
            wait_until("queues wait", || {
                Ok(bed.a.counters()?.tx("stopped")? > before + 3)
            })?;
            victim.down()
        })?;
        bed.up()?;
        check_alive(bed)?;
    }

    let (_, b) = settle_after_down(bed)?;
    b.counters
        .expect_rx("B", &[("no_buffer", 0), ("oversize", 0)])
}

case!(ports "pause::xdp_tx_does_not_wait", ONE, xdp_tx);
/// A ring gets frames from the peer's stack, which waits, and from the peer's program, which does
/// not. Only frames of the program are lost.
fn xdp_tx(bed: &Bed) -> Result<()> {
    let _slow = slow_down(&bed.a)?;
    let program = Program::load("verdict", "verdict")?;

    bed.b.attach(&program)?;
    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    let (mut count, mut reflected) = (0, 0);
    repeat_until(
        "a frame of the program is lost, and a queue is stopped",
        || {
            count += u64::from(2 * FRAMES);
            in_parallel([&bed.a, &bed.b].map(|port| {
                move || {
                    flood(port, 2, FRAMES, |flow| {
                        Probe::new(flow, 0).verdict(verdict::TX)
                    })
                }
            }))?;
            settle(bed)?;
            let probes = tap
                .rest()?
                .iter()
                .map(|frame| Probe::parse(frame)?.context("a frame that no test sent"))
                .collect::<Result<Vec<_>>>()?;
            let (own, back): (Vec<_>, Vec<_>) = probes.into_iter().partition(|p| p.mark == 0);
            reflected += back.len() as u64;
            check_flows(&own, 0..2, FRAMES)
        },
        || Ok(bed.a.counters()?.rx("no_buffer")? > 0 && was_stopped(&bed.b)?),
    )?;
    let (a, b) = settle(bed)?;
    let lost = a.counters.rx("no_buffer")?;

    b.counters
        .expect_rx("B", &[("xdp_tx", count), ("xdp_tx_errors", 0)])?;
    check_waited(&b)?;
    a.counters
        .expect_rx("A", &[("packets", 2 * count - lost), ("down", 0)])?;
    ensure_eq!(reflected, count - lost, "frames of B's program at A");
    b.check_verdicts()?;
    check_alive(bed)
}

case!(ports "pause::watchdog", ONE, watchdog; allow(&["NETDEV WATCHDOG"]));
/// A queue that was stopped for too long is reported, and makes the peer poll its ring, whose
/// interrupts are deferred.
fn watchdog(bed: &Bed) -> Result<()> {
    // More than the ring takes, and fewer than it takes when it was polled once.
    const COUNT: u32 = 100;
    let mut log = Kmsg::from_now()?;
    let trace = Trace::start("oxnic/ndo_tx_timeout")?;

    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let _held = Held::new(&bed.b, 0, || sender.send(&Probe::new(0, 0).frame()))?;
    sender.send_flow(&Probe::new(1, 0), COUNT)?;
    wait_until("the queue goes on", || {
        Ok(bed.a.counters()?.tx("packets")? == u64::from(1 + COUNT))
    })?;
    let a = bed.a.snapshot()?;
    a.counters
        .expect_tx("A", &[("stopped", 1), ("woken", 1), ("timeout", 1)])?;
    ensure_eq!(
        log.starting_with("oxnic ox0: tx_queue")?,
        [
            "oxnic ox0: tx_queue[0]: ndo_tx_timeout: rx_ring[0] of the peer has 0 of 64 buffers \
            free, its poll is due; interrupted"
        ],
        "what the log says"
    );
    ensure_eq!(
        trace.lines("ndo_tx_timeout")?,
        [format!(
            "dev=ox0 ifindex={} queue=0 rx_queue=0 size=64 free=0 due=1",
            bed.a.ifindex
        )],
        "events"
    );
    bed.b.down()?;
    settle_after_down(bed).map(drop)
}
