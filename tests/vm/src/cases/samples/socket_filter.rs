// SPDX-License-Identifier: GPL-2.0

//! socket_filter: the same frames in the driver and in the socket layer.

use super::{expect_program, ours, refused, refused_to_nobody, row, send, sent, start};
use crate::{
    bed::{mac_text, Bed, V4},
    bpf::{self, Program},
    harness::case,
    host::{cmd, ensure_eq, process::Running},
    wire::{
        frames::{ethernet, ipv4, transport, ARP, IPV4, UDP},
        packet::Sender,
    },
};
use anyhow::{anyhow, ensure, Context, Result};

/// Of the sample's UDP socket.
const PORT: u16 = 4009;

/// Brings the ports up, B with an address but without IPv6: its stack says nothing by itself.
fn up(bed: &Bed) -> Result<()> {
    bed.b.add_address(&format!("{}/24", V4[1]))?;
    bed.up()
}

/// A datagram for a port of B's.
fn datagram(bed: &Bed, port: u16) -> Result<Vec<u8>> {
    let packet = ipv4(
        [10, 77, 0, 1],
        [10, 77, 0, 2],
        UDP,
        0,
        &transport(40001, port, UDP),
    );
    let mut frame = ethernet(IPV4, &packet);

    frame[..6].copy_from_slice(&bed.b.mac()?);
    Ok(frame)
}

/// Starts the sample on B and waits until it counts.
fn counting(bed: &Bed, options: &str) -> Result<Running> {
    let mut sample = start(
        &bed.b,
        &format!("socket_filter ox1 --port {PORT} {options}"),
    )?;

    sample.wait_for("second")?;
    Ok(sample)
}

/// Ends it, after the second in which the last frame was counted.
fn finish(mut sample: Running) -> Result<String> {
    let rows = sample.said().lines().count() + 8;

    sample.wait_until("has printed the counters", |said| {
        said.lines().count() >= rows
    })?;
    sample.interrupt()
}

/// The sums of a place: those behind the word "all".
fn all(said: &str, place: &str) -> Result<Vec<u64>> {
    let (_, sums) = said
        .split_once("  all  ")
        .ok_or_else(|| anyhow!("no sums in: {said}"))?;

    row(sums, place)
}

/// A cell of the table of the last frame; the cells are divided by two blanks or more.
fn view(said: &str, title: &str, column: usize) -> Result<String> {
    let (_, views) = said
        .split_once("The last UDP frame")
        .ok_or_else(|| anyhow!("no views in: {said}"))?;

    views
        .lines()
        .find_map(|line| line.trim().strip_prefix(title))
        .and_then(|cells| {
            cells
                .split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .nth(column)
                .map(str::to_owned)
        })
        .with_context(|| format!("no \"{title}\" in column {column} of: {views}"))
}

case!(ports "samples::socket_filter_counts", "", counts);
fn counts(bed: &Bed) -> Result<()> {
    const DATAGRAMS: u64 = 4;
    const OUTGOING: u64 = 3;
    let datagram = datagram(bed, PORT)?;

    up(bed)?;
    let mut sample = counting(bed, "")?;
    let id = ours(&mut sample, "program id ")?;
    expect_program(&bed.b, Some(id))?;

    let mut arrived = send(bed)?;
    // What is for no host in particular gets to the packet socket alone; these to the UDP socket
    // too.
    let sender = Sender::open(&bed.a)?;
    for _ in 0..DATAGRAMS {
        sender.send(&datagram)?;
        arrived += 1;
    }
    let back = Sender::open(&bed.b)?;
    for _ in 0..OUTGOING {
        back.send(&ethernet(ARP, &[0; 46]))?;
    }
    bed.b.wait_received(arrived)?;
    let said = finish(sample)?;

    let mut expected = sent();
    expected[4] += DATAGRAMS;
    ensure_eq!(all(&said, "XDP")?, expected, "XDP in: {said}");
    ensure_eq!(all(&said, "packet in")?, expected, "packet in: {said}");
    // An XDP program has no part in what the port sends.
    ensure_eq!(
        all(&said, "packet out")?,
        [OUTGOING, 0, 0, 0, 0, 0],
        "packet out: {said}"
    );
    ensure_eq!(
        all(&said, "UDP")?,
        [0, 0, 0, 0, DATAGRAMS, 0],
        "UDP in: {said}"
    );
    ensure!(
        said.contains("packet socket: 0 frames")
            && said.contains(&format!("UDP socket: {DATAGRAMS} datagrams")),
        "{said}"
    );

    let len = datagram.len();
    let hex = |bytes: &[u8]| {
        let words: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        words.join(" ")
    };
    for (title, cells) in [
        (
            "length",
            [len, len, len - 14 - 20].map(|len| len.to_string()),
        ),
        ("ifindex", [(); 3].map(|()| bed.b.ifindex.to_string())),
        (
            "first bytes",
            [&datagram[..8], &datagram[..8], &datagram[34..42]].map(hex),
        ),
        ("protocol", ["-", "0x0800", "0x0800"].map(str::to_owned)),
        (
            "pkt_type",
            ["-", "PACKET_HOST", "PACKET_HOST"].map(str::to_owned),
        ),
    ] {
        for (column, cell) in cells.iter().enumerate() {
            ensure_eq!(&view(&said, title, column)?, cell, "{title} in: {said}");
        }
    }
    ensure!(
        view(&said, "first bytes", 0)?.starts_with(&mac_text(&bed.b.mac()?).replace(':', " ")),
        "{said}"
    );
    let times = [0, 1, 2].map(|column| {
        let text = view(&said, "time", column)?;
        text.trim_start_matches('+')
            .trim_end_matches(" us")
            .parse::<u64>()
            .with_context(|| format!("time in: {said}"))
    });
    let [xdp, packet, udp] = times;
    let (xdp, packet, udp) = (xdp?, packet?, udp?);
    ensure!(xdp == 0 && xdp < packet && packet < udp, "times in: {said}");
    expect_program(&bed.b, None)
}

case!(ports "samples::socket_filter_behind_a_drop", "", behind_a_drop);
/// What an XDP program drops, no socket sees; what a filter refuses, all others still get.
fn behind_a_drop(bed: &Bed) -> Result<()> {
    let drop = Program::sample("xdp_drop")?;

    up(bed)?;
    bed.b.attach(&drop)?;
    refused(
        &bed.b,
        "socket_filter ox1",
        "ox1 has an XDP program already",
    )?;
    expect_program(&bed.b, Some(drop.id))?;

    let sample = counting(bed, "--no-xdp")?;
    let dropped = send(bed)?;
    bed.b.wait_received(dropped)?;
    // While it runs, so that the same sockets see the same frames.
    bed.b.detach()?;
    let passed = send(bed)?;
    bed.b.wait_received(dropped + passed)?;
    let said = finish(sample)?;
    ensure!(!said.contains("count_xdp"), "{said}");
    ensure_eq!(all(&said, "packet in")?, sent(), "packet in: {said}");
    ensure_eq!(all(&said, "UDP")?, [0; 6], "UDP in: {said}");
    expect_program(&bed.b, None)
}

case!(ports "samples::socket_filter_refusals", "", refusals);
fn refusals(bed: &Bed) -> Result<()> {
    up(bed)?;
    refused(&bed.b, "socket_filter ox9", "no interface called ox9")?;
    refused_to_nobody(&bed.b, "socket_filter ox1")?;

    let bad = bpf::path("socket_refused")?;
    let said = refused(
        &bed.b,
        &format!("socket_filter ox1 --obj {}", bad.display()),
        "loading program count_packet: the verifier refuses it",
    )?;
    ensure!(
        said.contains("invalid bpf_context access"),
        "the verifier's log in: {said}"
    );
    let other = bpf::path("xdp_drop")?;
    refused(
        &bed.b,
        &format!("socket_filter ox1 --obj {}", other.display()),
        "no program count_packet",
    )?;

    let sample = counting(bed, "")?;
    refused(
        &bed.b,
        &format!("socket_filter ox1 --port {PORT} --no-xdp"),
        &format!("UDP port {PORT}: EADDRINUSE"),
    )?;
    sample.interrupt()?;

    let said = start(&bed.b, "socket_filter ox1 --seconds 1")?.finish()?;
    ensure!(said.contains("None arrived"), "{said}");
    expect_program(&bed.b, None)?;
    let help = cmd::run(&super::command("socket_filter --help")?)?;
    for option in ["--port <PORT>", "--no-xdp", "--obj <FILE>", "--seconds <N>"] {
        ensure!(help.contains(option), "no {option} in: {help}");
    }
    Ok(())
}
