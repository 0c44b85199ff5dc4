// SPDX-License-Identifier: GPL-2.0

//! The MTU, and the longest frame that a port sends and takes.

use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{ensure_eq, wait_until},
    nl::link::New,
    support::{
        buffers::{MTU_MAX, OVERHEAD, SINGLE_MTU},
        probes::{send_all, total_len},
        traffic::{settle, wait_flowing, while_sending, Source},
    },
    wire::{
        ensure_same,
        frames::{CTAG, STAG},
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        ETH,
    },
};
use anyhow::{ensure, Result};

fn set_mtu(port: &Port, mtu: usize) -> Result<()> {
    port.set_mtu(mtu)
}

case!(ports "mtu::every_length", "", every_length);
/// From the shortest frame to the longest in one buffer, and some beyond.
fn every_length(bed: &Bed) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        set_mtu(port, SINGLE_MTU + 100)?;
    }
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let probes: Vec<_> = (60..=SINGLE_MTU + 100 + ETH)
        .zip(0..)
        .map(|(len, seq)| Probe::new(1, seq).len(len))
        .collect();

    send_all(bed, &probes)?;
    let found = tap.probes(probes.len())?;
    ensure!(found == probes, "frames at B are not those sent");
    let (a, _) = settle(bed)?;
    ensure_eq!(
        a.counters.tx("bytes")?,
        total_len(&probes),
        "A: bytes put on the wire"
    );
    Ok(())
}

case!(ports "mtu::longest_frame", "", longest);
/// The longest in one buffer: without a program, passed by one, and sent back by one.
fn longest(bed: &Bed) -> Result<()> {
    const LEN: usize = SINGLE_MTU + ETH;
    let program = Program::load("verdict", "verdict")?;

    for port in [&bed.a, &bed.b] {
        set_mtu(port, SINGLE_MTU)?;
    }
    bed.up()?;
    let (tap_a, tap_b) = (Tap::open(&bed.a)?, Tap::open(&bed.b)?);
    let sender = Sender::open(&bed.a)?;
    let probe = |seq, act| Probe::new(1, seq).verdict(act).len(LEN);

    sender.send(&probe(0, verdict::PASS).frame())?;
    ensure_same(
        "without a program",
        &tap_b.only()?,
        &probe(0, verdict::PASS).frame(),
    )?;

    bed.b.attach(&program)?;
    sender.send(&probe(1, verdict::PASS).frame())?;
    ensure_same(
        "passed by a program",
        &tap_b.only()?,
        &probe(1, verdict::PASS).frame(),
    )?;

    sender.send(&probe(2, verdict::TX).frame())?;
    ensure_same(
        "sent back",
        &tap_a.only()?,
        &probe(2, verdict::TX).reflected().frame(),
    )?;
    tap_b.silence()?;

    // The stack enforces the sender's own MTU.
    ensure!(
        sender
            .try_send(&Probe::new(1, 3).len(LEN + 1).frame())
            .is_err(),
        "the kernel took a frame longer than the MTU"
    );
    let (_, b) = settle(bed)?;
    b.counters.expect_rx(
        "B",
        &[
            ("packets", 3),
            ("bytes", 3 * LEN as u64),
            ("xdp_pass", 1),
            ("xdp_tx", 1),
            ("oversize", 0),
        ],
    )
}

case!(ports "mtu::longest_frame_with_two_tags", "", tagged);
/// Two VLAN tags fill the last buffer that a frame can have to its last byte.
fn tagged(bed: &Bed) -> Result<()> {
    let mut ends = Vec::new();

    for port in [&bed.a, &bed.b] {
        let mut below = port.clone();

        port.set_mtu(MTU_MAX)?;
        port.up()?;
        for (name, protocol, id) in [("outer", STAG, 5), ("inner", CTAG, 6)] {
            let new = New::vlan(below.ifindex, protocol, id).mtu(MTU_MAX as u32);
            below = Port::add(&port.ns, name, new)?;
            below.up()?;
        }
        ends.push(below);
    }
    for port in &ends {
        port.wait_running(true)?;
    }
    let tap = Tap::open(&ends[1])?;
    // To the receiver's own address: a VLAN device is not promiscuous.
    let probe = Probe {
        dst: bed.b.mac()?,
        ..Probe::new(1, 0).len(MTU_MAX + ETH)
    };

    Sender::open(&ends[0])?.send(&probe.frame())?;
    ensure_same("frame with two tags", &tap.only()?, &probe.frame())?;
    let (_, b) = settle(bed)?;
    b.counters.expect_rx(
        "B",
        &[
            ("packets", 1),
            ("bytes", (MTU_MAX + OVERHEAD) as u64),
            ("oversize", 0),
        ],
    )
}

case!(ports "mtu::too_long_for_the_receiver", "", too_long);
/// A frame longer than the receiver's MTU and the longest header is lost in front of the ring; the
/// sender does not notice.
fn too_long(bed: &Bed) -> Result<()> {
    let mut received = Vec::new();
    let mut sent = Vec::new();

    set_mtu(&bed.a, MTU_MAX)?;
    bed.up()?;
    for mtu in [1500, 68, 1501, 3000] {
        let longest = mtu + OVERHEAD;
        let tap = Tap::open(&bed.b)?;
        let probes: Vec<_> = [
            longest - 1,
            longest,
            longest + 1,
            longest + 2,
            MTU_MAX + ETH,
        ]
        .into_iter()
        .zip(0..)
        .map(|(len, seq)| Probe::new(1, seq).len(len))
        .collect();
        let (good, bad) = probes.split_at(2);

        set_mtu(&bed.b, mtu)?;
        send_all(bed, &probes)?;
        ensure_eq!(tap.probes(good.len())?, good, "mtu {mtu}: frames at B");
        received.extend(good.to_vec());
        sent.extend(probes.clone());

        let (a, b) = settle(bed)?;
        let lost = (sent.len() - received.len()) as u64;
        ensure!(bad.len() as u64 <= lost, "nothing was tested");
        b.counters.expect_rx(
            "B",
            &[
                ("oversize", lost),
                ("packets", received.len() as u64),
                ("bytes", total_len(&received)),
                ("no_buffer", 0),
            ],
        )?;
        for name in ["rx_length_errors", "rx_errors"] {
            ensure_eq!(b.link.stat(name)?, lost, "mtu {mtu}: B: {name}");
        }
        ensure_eq!(
            a.counters.tx("packets")?,
            sent.len() as u64,
            "mtu {mtu}: A: frames put on the wire"
        );
        ensure_eq!(
            a.counters.tx("bytes")?,
            total_len(&sent),
            "mtu {mtu}: A: bytes put on the wire"
        );
        for name in ["tx_errors", "tx_dropped"] {
            ensure_eq!(a.link.stat(name)?, 0, "mtu {mtu}: A: {name}");
        }
    }
    Ok(())
}

case!(ports "mtu::too_long_by_xdp_tx", "", too_long_tx);
/// A program makes frames longer than what the port that they go back to takes.
fn too_long_tx(bed: &Bed) -> Result<()> {
    const LEN: usize = 1514;
    let mut program = Program::load("adjust", "adjust_tail")?;
    let sender = |delta: i32, program: &mut Program| -> Result<()> {
        program.write("config", 0, [delta, i32::from(verdict::TX)])?;
        Sender::open(&bed.a)?.send(&Probe::new(1, 0).len(LEN).frame())
    };

    bed.b.attach(&program)?;
    bed.up()?;
    let tap = Tap::open(&bed.a)?;

    sender(8, &mut program)?;
    ensure_eq!(tap.only()?.len(), LEN + 8, "frame that just fits");
    sender(9, &mut program)?;
    bed.b.wait_received(2)?;
    tap.silence()?;

    let (a, b) = settle(bed)?;
    b.counters
        .expect_rx("B", &[("xdp_tx", 2), ("xdp_tx_errors", 0)])?;
    a.counters
        .expect_rx("A", &[("packets", 1), ("oversize", 1)])?;
    ensure_eq!(a.link.stat("rx_length_errors")?, 1, "A: rx_length_errors");
    ensure_eq!(
        b.link.stat("tx_bytes")?,
        (2 * LEN + 8 + 9) as u64,
        "B: bytes sent back"
    );
    b.check_verdicts()
}

case!(ports "mtu::change_under_traffic", "queues=4", under_traffic);
/// The receiver's limit changes while frames of a length between the limits arrive. Not a frame is
/// lost for another reason.
fn under_traffic(bed: &Bed) -> Result<()> {
    let program = Program::load("count", "count_pass")?;
    let sources: Vec<_> = [&bed.a, &bed.b]
        .into_iter()
        .flat_map(|port| Source::new(port).probe(Probe::new(0, 0).len(700)).times(2))
        .collect();

    bed.b.attach(&program)?;
    bed.up()?;
    while_sending(&sources, |traffic| {
        for mtu in [SINGLE_MTU, 1500, 686] {
            // Not below what the port itself sends.
            set_mtu(&bed.a, mtu)?;
        }
        wait_flowing(bed, 100)?;
        for n in 0..4 {
            let taken = traffic.taken();

            // B's stack sends within B's own MTU; what B receives depends on the new one.
            set_mtu(&bed.b, 1500)?;
            wait_flowing(bed, 50)?;
            set_mtu(&bed.b, 686)?;
            set_mtu(&bed.a, if n % 2 == 0 { SINGLE_MTU } else { 686 })?;
            wait_flowing(bed, 50)?;
            ensure!(traffic.taken() > taken, "the senders stand still");
        }
        Ok(())
    })?;

    let (a, b) = settle(bed)?;
    for snapshot in [&a, &b] {
        snapshot.counters.expect_rx(
            &snapshot.name,
            &[("oversize", 0), ("no_buffer", 0), ("down", 0)],
        )?;
        for name in ["tx_errors", "tx_dropped", "rx_errors", "rx_dropped"] {
            ensure_eq!(snapshot.link.stat(name)?, 0, "{}: {name}", snapshot.name);
        }
    }
    ensure_eq!(
        program.seen()?,
        b.counters.rx("packets")?,
        "frames the program saw"
    );
    losing_under_traffic(bed)
}

/// As above, with a limit below the frames for half of the time.
fn losing_under_traffic(bed: &Bed) -> Result<()> {
    let sources = Source::new(&bed.a)
        .probe(Probe::new(0, 0).len(700))
        .times(3);
    let (before_a, before_b) = settle(bed)?;

    while_sending(&sources, |_| {
        for _ in 0..5 {
            let received = bed.b.link()?.stat("rx_packets")?;
            set_mtu(&bed.b, 1500)?;
            bed.b.wait_received(received + 50)?;

            let lost = bed.b.link()?.stat("rx_length_errors")?;
            set_mtu(&bed.b, 600)?;
            wait_until("frames are too long", || {
                Ok(bed.b.link()?.stat("rx_length_errors")? > lost + 50)
            })?;
        }
        Ok(())
    })?;
    let (a, b) = settle(bed)?;
    let sent = a.counters.tx("packets")? - before_a.counters.tx("packets")?;
    let received = b.counters.rx("packets")? - before_b.counters.rx("packets")?;
    ensure_eq!(
        received + b.counters.rx("oversize")?,
        sent,
        "frames received or too long, against sent"
    );
    b.counters.expect_rx("B", &[("no_buffer", 0), ("down", 0)])
}
