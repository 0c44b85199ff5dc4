// SPDX-License-Identifier: GPL-2.0

//! What attaching and detaching a program does to the port.

use super::{off, on};
use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{ensure_eq, kmsg::Kmsg, wait_until},
    nl::link::XDP_FLAGS_DRV_MODE,
    support::{
        held::Held,
        traffic::{check_alive, settle, settle_after_down, wait_flowing, while_sending, Source},
    },
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{ensure, Result};
use nix::errno::Errno;
use std::time::Duration;

case!(ports "switches::attach_needs_queues", "queues=4", needs_queues);
/// A program needs as many spare queues as there are in use.
fn needs_queues(bed: &Bed) -> Result<()> {
    let program = Program::load("count", "count_pass")?;
    let sources = Source::new(&bed.a).times(2);

    bed.up()?;
    bed.b.attach(&program)?;
    on(&bed.b, "xdp-attach-needs-queues")?;
    while_sending(&sources, |_| {
        wait_flowing_to(&bed.b)?;
        // One that is attached stays, and may be detached.
        bed.b.detach()?;
        for queues in [4, 3] {
            if queues != 4 {
                bed.b.ethtool("-L", &format!("combined {queues}"))?;
            }
            bed.b.attach_refused(
                Some(&program),
                XDP_FLAGS_DRV_MODE,
                None,
                Errno::EINVAL,
                &format!("XDP needs {queues} more queues, but there are only 4"),
            )?;
        }
        bed.b.ethtool("-L", "combined 2")?;
        bed.b.attach(&program)?;
        let mut log = Kmsg::from_now()?;
        bed.b.ethtool_refusal("-L", "combined 3")?;
        let line = "oxnic ox1: channels: XDP needs 3 more queues";
        ensure_eq!(log.starting_with(line)?.len(), 1, "lines \"{line}\"");
        bed.b.ethtool("-L", "combined 1")?;
        bed.b.ethtool("-L", "combined 2")?;
        wait_flowing_to(&bed.b)?;
        off(&bed.b, "xdp-attach-needs-queues")?;
        bed.b.ethtool("-L", "combined 4")?;
        wait_flowing_to(&bed.b)
    })?;
    let (_, b) = settle(bed)?;
    b.counters.expect_rx("B", &[("down", 0), ("no_buffer", 0)])
}

/// Waits until a port has received some more frames.
fn wait_flowing_to(port: &Port) -> Result<()> {
    port.wait_received(port.link()?.stat("rx_packets")? + 50)
}

/// Frames that wait in the ring of B while a program is attached, replaced or detached.
const WAITING: u32 = 10;

/// Lets frames wait in B's ring, makes a change, and returns how many of them were lost.
fn lost_by(bed: &Bed, change: impl FnOnce() -> Result<()>) -> Result<u64> {
    let probe = Probe::new(1, 0);
    let sender = Sender::open(&bed.a)?;
    let down = || bed.b.counters()?.rx("down");
    let before = down()?;
    let held = Held::new(&bed.b, 0, || sender.send(&probe.frame()))?;

    sender.send_flow(&probe, WAITING)?;
    change()?;
    // Twice, so that the size differs from the one before.
    held.release(256)?;
    bed.b.ethtool("-G", "rx 512")?;
    settle_after_down(bed)?;
    Ok(down()? - before)
}

case!(ports "switches::attach_loses_frames", "queues=1", loses_frames);
/// The frames in the rings are lost and counted when the first program is attached and the last one
/// detached; when it is replaced, only if that is as attaching. Without the switch none is.
fn loses_frames(bed: &Bed) -> Result<()> {
    let programs = [
        Program::load("count", "count_drop")?,
        Program::load("count", "count_pass")?,
    ];
    let all = u64::from(WAITING);

    bed.up()?;
    for (flags, attached, replaced) in [
        ("", 0, 0),
        ("xdp-attach-loses-frames", all, 0),
        ("xdp-replace-as-attach", all, all),
    ] {
        if !flags.is_empty() {
            on(&bed.b, flags)?;
        }
        let lost = [
            lost_by(bed, || bed.b.attach(&programs[0]))?,
            lost_by(bed, || bed.b.attach(&programs[1]))?,
            lost_by(bed, || bed.b.detach())?,
        ];
        ensure_eq!(
            lost,
            [attached, replaced, attached],
            "{flags}: lost by attaching, replacing, detaching"
        );
    }
    // Nothing is lost by a change that is refused.
    bed.b.set_mtu(9000)?;
    let lost = lost_by(bed, || {
        bed.b.attach_refused(
            Some(&programs[0]),
            XDP_FLAGS_DRV_MODE,
            None,
            Errno::EOPNOTSUPP,
            "no frags support",
        )
    })?;
    ensure_eq!(lost, 0, "lost by a refused program");
    check_alive(bed)
}

case!(ports "switches::attach_loses_frames_under_traffic", "queues=2 ring_size=64", loses_traffic);
/// Programs come and go in both directions under traffic. What is lost is counted, and the programs
/// see the rest.
fn loses_traffic(bed: &Bed) -> Result<()> {
    let programs = [
        Program::load("count", "count_pass_frags")?,
        Program::load("count", "count_drop_frags")?,
    ];
    let sources: Vec<_> = [&bed.a, &bed.b]
        .into_iter()
        .flat_map(|port| Source::new(port).times(2))
        .collect();

    bed.up()?;
    for port in [&bed.a, &bed.b] {
        port.msglvl("drv off")?;
        on(port, "xdp-attach-loses-frames")?;
        on(port, "xdp-replace-as-attach")?;
    }
    while_sending(&sources, |_| {
        for n in 0..15 {
            for port in [&bed.a, &bed.b] {
                match n % 3 {
                    0 => port.attach(&programs[0])?,
                    1 => port.attach(&programs[1])?,
                    _ => port.detach()?,
                }
            }
            wait_flowing(bed, 30)?;
        }
        Ok(())
    })?;
    settle(bed)?;
    check_alive(bed)
}

/// How long the link is lost, in milliseconds.
const LOSS_MS: u64 = 500;

fn carrier(bed: &Bed) -> Result<[bool; 2]> {
    Ok([bed.a.link()?.carrier, bed.b.link()?.carrier])
}

/// Waits until the link is back at both ends. The carrier first: the kernel tells that it is
/// running some time later, so that may still be about the time before.
fn wait_link(bed: &Bed) -> Result<()> {
    wait_until("the link is back", || Ok(carrier(bed)? == [true; 2]))?;
    bed.a.wait_running(true)?;
    bed.b.wait_running(true)
}

case!(ports "switches::attach_link_down", "queues=1", link_down);
/// The link is lost for some time, at both ends, when the first program is attached and the last
/// one detached. It comes back by itself. What is sent meanwhile is lost and counted.
fn link_down(bed: &Bed) -> Result<()> {
    let programs = [
        Program::load("count", "count_drop")?,
        Program::load("count", "count_pass")?,
    ];
    let frame = Probe::new(1, 0).frame();
    let mut log = Kmsg::from_now()?;

    bed.up()?;
    bed.b.attach(&programs[0])?;
    ensure_eq!(carrier(bed)?, [true; 2], "without the switch");
    bed.b.detach()?;
    on(&bed.b, "xdp-attach-link-down")?;
    for n in 0..3 {
        let changes = bed.a.read_sysfs("carrier_down_count")?.parse::<u32>()?;
        match n {
            0 => bed.b.attach(&programs[0])?,
            // Replaced: the link stays.
            1 => bed.b.attach(&programs[1])?,
            _ => bed.b.detach()?,
        }
        let lost = n != 1;
        let now = bed.a.read_sysfs("carrier_down_count")?.parse::<u32>()?;
        ensure_eq!(
            now - changes,
            u32::from(lost),
            "step {n}: times A's link was lost"
        );
        wait_link(bed)?;
        let received = bed.b.link()?.stat("rx_packets")?;
        Sender::open(&bed.a)?.send(&frame)?;
        bed.b.wait_received(received + 1)?;
    }
    let line = format!("oxnic ox1: link lost for {LOSS_MS} ms");
    ensure_eq!(log.starting_with(&line)?.len(), 2, "lines \"{line}\"");
    settle(bed).map(drop)
}

case!(ports "switches::link_down_under_traffic", "queues=2", link_down_traffic);
/// As above, under traffic in both directions, while the ports are also taken down and up, their
/// rings exchanged, and their queues restarted.
fn link_down_traffic(bed: &Bed) -> Result<()> {
    let program = Program::load("count", "count_pass_frags")?;
    let sources: Vec<_> = [&bed.a, &bed.b]
        .into_iter()
        .flat_map(|port| Source::new(port).may_fail().times(2))
        .collect();

    bed.up()?;
    for port in [&bed.a, &bed.b] {
        port.msglvl("drv off")?;
        on(port, "xdp-attach-link-down")?;
        on(port, "xdp-attach-loses-frames")?;
    }
    while_sending(&sources, |_| {
        for n in 0..8 {
            let port = [&bed.a, &bed.b][n % 2];
            port.attach(&program)?;
            match n {
                2 => {
                    bed.a.down()?;
                    bed.a.up()?;
                }
                3 => {
                    bed.a.down()?;
                    bed.a.up()?;
                }
                4 => port.ethtool("-G", "rx 256").map(drop)?,
                5 => port.ethtool("-L", "combined 1").map(drop)?,
                6 => port.ethtool("-L", "combined 1").map(drop)?,
                // The other end loses it too.
                7 => bed.a.attach(&program)?,
                _ => {}
            }
            wait_link(bed)?;
            wait_flowing(bed, 30)?;
            for port in [&bed.a, &bed.b] {
                if port.link()?.xdp_driver_id.is_some() {
                    port.detach()?;
                }
            }
            wait_link(bed)?;
            wait_flowing(bed, 30)?;
        }
        Ok(())
    })?;
    settle_after_down(bed)?;
    check_alive(bed)
}

case!(ports "switches::link_down_frames_are_lost", "queues=1", link_down_lost);
/// While the link is lost no frame gets across: what the stack still sends is lost at the sender.
/// Frames that were in the ring are received.
fn link_down_lost(bed: &Bed) -> Result<()> {
    const FRAMES: u32 = 5;
    let program = Program::load("count", "count_drop")?;
    let probe = Probe::new(1, 0);

    bed.up()?;
    on(&bed.b, "xdp-attach-link-down")?;
    let sender = Sender::open(&bed.a)?;
    let held = Held::new(&bed.b, 0, || sender.send(&probe.frame()))?;
    sender.send_flow(&probe, FRAMES)?;
    // Frames that may get across, and those that cannot.
    let (mut maybe, mut lost) = (0, 0);
    for n in 0.. {
        ensure!(n < 20, "the link is always back before a frame is sent");
        if n % 2 == 0 {
            bed.b.attach(&program)?;
        } else {
            bed.b.detach()?;
        }
        // A slow machine may need longer than the link is lost.
        while !bed.a.link()?.carrier {
            // The kernel may drop it without a word.
            let _ = sender.try_send(&probe.frame());
            if bed.a.link()?.carrier {
                maybe += 1;
            } else {
                lost += 1;
            }
        }
        wait_link(bed)?;
        if lost >= 3 {
            break;
        }
    }
    held.release(256)?;
    let (a, b) = settle_after_down(bed)?;
    b.counters
        .expect_rx("B", &[("down", 0), ("no_buffer", 0)])?;
    let received = b.counters.rx("packets")?;
    let before = u64::from(FRAMES) + 1;
    ensure!(
        (before..=before + maybe).contains(&received),
        "{received} frames received, {before} were sent before, {maybe} when the link was back"
    );
    ensure_eq!(a.counters.tx("packets")?, received, "A: frames on the wire");
    check_alive(bed)
}

case!(ports "switches::link_down_again", "queues=2", link_down_again);
/// The link is back at once when the interface goes down and up, and is lost again about when the
/// timer of the first loss expires. It comes back all the same, for all queues of both ends.
fn link_down_again(bed: &Bed) -> Result<()> {
    const ROUNDS: u64 = 12;
    let program = Program::load("count", "count_pass")?;

    bed.up()?;
    on(&bed.b, "xdp-attach-link-down")?;
    for n in 0..ROUNDS {
        bed.b.attach(&program)?;
        bed.b.down()?;
        bed.b.up()?;
        ensure!(
            bed.b.link()?.carrier,
            "round {n}: no link though the interface went down and up"
        );
        // From some time before the timer expires to some time after.
        std::thread::sleep(Duration::from_millis(LOSS_MS - 2 * ROUNDS + 4 * n));
        bed.b.detach()?;
        wait_link(bed)?;
    }
    for (from, to) in [(&bed.a, &bed.b), (&bed.b, &bed.a)] {
        let sender = Sender::open(from)?;
        for flow in 0..8 {
            let received = to.link()?.stat("rx_packets")?;
            sender.send(&Probe::new(flow, 0).frame())?;
            to.wait_received(received + 1)?;
        }
    }
    settle_after_down(bed)?;
    check_alive(bed)
}
