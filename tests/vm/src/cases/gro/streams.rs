// SPDX-License-Identifier: GPL-2.0

//! TCP streams whose segments are put together again: the bytes arrive as they were sent, also if
//! they are forwarded.

use super::ONE;
use crate::{
    bed::{Bed, Port, V4, V4_VLAN, V6},
    bpf::Program,
    harness::case,
    host::{ensure_eq, tracefs::Trace},
    nl::link::New,
    support::{
        in_parallel,
        probes::set_mtu,
        steer::SecondPair,
        traffic::{settle, settle_wire},
    },
    wire::{
        capture::Capture,
        checksum::{verify, Kind},
        stream::{data, ensure_data, read_all, tcp_pair},
        ETH,
    },
};
use anyhow::{ensure, Context, Result};
use std::{io::Write, net::TcpStream, thread};

const LEN: usize = 400_000;

/// Sends over TCP, and compares what arrives.
fn send((mut near, far): (TcpStream, TcpStream), payload: &[u8]) -> Result<()> {
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_all(&far, payload.len()));

        near.write_all(payload).context("writing")?;
        let found = reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        ensure_data("stream", &found, payload)
    })
}

fn merged(port: &Port) -> Result<u64> {
    port.counters()?.rx("segments_merged")
}

/// Sends a stream from A to an address of B. Segments must be merged at B, or must not.
fn stream(bed: &Bed, to: &str, what: &str, merges: bool) -> Result<()> {
    let before = merged(&bed.b)?;

    send(tcp_pair(&bed.a, &bed.b, to)?, &data(1, LEN)).with_context(|| what.to_owned())?;
    ensure_eq!(
        merged(&bed.b)? > before,
        merges,
        "{what}: whether segments were merged"
    );
    Ok(())
}

case!(ports "gro::streams", ONE, streams);
/// With and without a program, over both IP versions, in one buffer and in several.
fn streams(bed: &Bed) -> Result<()> {
    let programs = [None, Some(Program::load("count", "count_pass_frags")?)];

    bed.up_with_addresses()?;
    for mtu in [1500, 3434, 9000, 16_000] {
        set_mtu(bed, mtu)?;
        for program in &programs {
            match program {
                Some(program) => bed.b.attach(program)?,
                None => bed.b.detach()?,
            }
            for to in [V4[1], V6[1]] {
                let what = format!("mtu {mtu}, to {to}, a program: {}", program.is_some());
                stream(bed, to, &what, true)?;
            }
        }
    }
    settle(bed).map(drop)
}

case!(ports "gro::many_streams", "queues=4", many_streams);
/// Streams both ways at once over several queues.
fn many_streams(bed: &Bed) -> Result<()> {
    bed.up_with_addresses()?;
    in_parallel((0..6).map(|n| {
        move || {
            let (from, to, at) = if n % 2 == 0 {
                (&bed.a, &bed.b, 1)
            } else {
                (&bed.b, &bed.a, 0)
            };
            let to = tcp_pair(from, to, if n < 2 { V4[at] } else { V6[at] })?;

            send(to, &data(n, LEN)).with_context(|| format!("stream {n}"))
        }
    }))?;
    for port in [&bed.a, &bed.b] {
        ensure!(merged(port)? > 0, "{}: no segments merged", port.name);
    }
    settle(bed).map(drop)
}

case!(ports "gro::lossy_stream", ONE, lossy);
/// A program drops frames in the middle of the stream.
fn lossy(bed: &Bed) -> Result<()> {
    let program = Program::load("segments", "lossy")?;

    bed.up_with_addresses()?;
    bed.b.attach(&program)?;
    stream(bed, V4[1], "lossy", true)?;
    stream(bed, V6[1], "lossy", true)?;
    ensure!(
        bed.b.counters()?.rx("xdp_drop")? > 0,
        "the program has dropped nothing"
    );
    settle(bed).map(drop)
}

case!(ports "gro::vlan", ONE, vlan);
/// On VLAN devices, with the tag stripped by the card, and in the frame.
fn vlan(bed: &Bed) -> Result<()> {
    let program = Program::load("count", "count_pass")?;

    bed.up_with_addresses()?;
    bed.add_vlans()?;
    bed.b.attach(&program)?;
    for state in ["on", "off"] {
        bed.b.ethtool("-K", &format!("rxvlan {state}"))?;
        stream(bed, V4_VLAN[1], &format!("rxvlan {state}"), true)?;
    }
    settle(bed).map(drop)
}

/// Sends a stream from A through B to `far`, the end of a second wire, where all frames must fit
/// the MTU. With `tso` the second port cuts them, otherwise the stack.
fn forward(bed: &Bed, second: &SecondPair, to: &str) -> Result<()> {
    let wire = Bed {
        a: second.near.clone(),
        b: second.far.clone(),
    };
    let mut capture = Capture::start(&second.far)?;

    for tso in ["on", "off"] {
        // A frame that waits for a buffer is sent as it is, whatever the setting is then.
        wire.settled()?;
        second.near.ethtool("-K", &format!("tso {tso}"))?;
        let what = format!("to {to}, tso {tso}");
        let trace = Trace::start("net/net_dev_start_xmit")?;
        let before = merged(&bed.b)?;

        send(tcp_pair(&bed.a, &second.far, to)?, &data(2, LEN)).with_context(|| what.clone())?;
        ensure!(merged(&bed.b)? > before, "{what}: no segments merged");
        let dev = format!("dev={} ", second.near.name);
        // By their length: skb_segment() leaves the gso_size of an skb that GRO has merged into
        // another one in a segment that it makes of it.
        let large = trace
            .lines("net_dev_start_xmit")?
            .iter()
            .filter(|line| line.contains(&dev))
            .filter_map(|line| line.split_once(" len=")?.1.split(' ').next()?.parse().ok())
            .any(|len: usize| len > 1500 + ETH);
        ensure_eq!(large, tso == "on", "{what}: whether large frames were sent");
        let frames = capture.frames()?;
        for frame in &frames {
            ensure!(
                frame.len() <= 1500 + ETH,
                "{what}: a frame of {} bytes",
                frame.len()
            );
            verify(frame).with_context(|| what.clone())?;
        }
        let tcp = frames
            .iter()
            .filter(|frame| matches!(verify(frame), Ok(Kind::TcpV4 | Kind::TcpV6)));
        ensure!(tcp.count() > LEN / 1500, "{what}: too few frames");
    }
    drop(capture);
    second.far.detach()
}

case!(ports "gro::routed", "pairs=2 queues=1", routed);
/// The stack routes merged packets to another port.
fn routed(bed: &Bed) -> Result<()> {
    let second = SecondPair::make(bed)?;

    bed.up_with_addresses()?;
    second.up()?;
    second.near.add_address("10.79.0.1/24")?;
    second.far.add_address("10.79.0.2/24")?;
    bed.b.ns.sysctl("ipv4/ip_forward", "1")?;
    bed.a
        .ns
        .ip(&format!("route add 10.79.0.0/24 via {}", V4[1]))?;
    second.far.ns.ip("route add 10.77.0.0/24 via 10.79.0.1")?;
    forward(bed, &second, "10.79.0.2")?;
    settle_wire(bed).map(drop)
}

case!(ports "gro::bridged", "pairs=2 queues=1", bridged);
/// A bridge forwards them.
fn bridged(bed: &Bed) -> Result<()> {
    let second = SecondPair::make(bed)?;
    let bridge = Port::add(&bed.b.ns, "br0", New::bridge())?;

    for port in [&bed.b, &second.near] {
        port.join(&bridge)?;
    }
    bridge.up()?;
    // The far port takes the place of B, whose addresses are not used.
    let ends = Bed {
        a: bed.a.clone(),
        b: second.far.clone(),
    };
    bed.b.up()?;
    second.near.up()?;
    ends.up_with_addresses()?;
    forward(bed, &second, V4[1])?;
    forward(bed, &second, V6[1])?;
    settle_wire(bed).map(drop)
}
