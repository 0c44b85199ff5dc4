// SPDX-License-Identifier: GPL-2.0

//! hints: what the card knows about each frame.

use super::{expect_program, ours, refused, refused_to_nobody, start};
use crate::{
    bed::Bed,
    bpf::{self, Program},
    harness::case,
    host::{clock::tai, cmd, ensure_eq, process::Running},
    wire::{
        frames::{ethernet, ipv4, tagged, transport, ARP, CTAG, IPV4, STAG, UDP},
        packet::Sender,
        probe::Probe,
        toeplitz::Key,
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::sys::signal::Signal;

/// Starts the sample on B and waits until it is attached.
fn watching(bed: &Bed, options: &str) -> Result<(Running, u32)> {
    let mut sample = start(&bed.b, &format!("hints ox1 {options}"))?;

    sample.wait_for("RSS hash")?;
    let id = ours(&mut sample, ": id ")?;
    Ok((sample, id))
}

/// The line of a frame: length, type, queue, time of reception in nanoseconds, and the rest.
struct Line {
    len: usize,
    kind: String,
    stamp: u64,
    age: u64,
    /// Hash and tag.
    rest: String,
}

fn line(said: &str, frame: usize) -> Result<Line> {
    let (_, table) = said
        .split_once("VLAN tag\n")
        .ok_or_else(|| anyhow!("no table in: {said}"))?;
    let line = table
        .lines()
        .nth(frame)
        .ok_or_else(|| anyhow!("no frame {frame} in: {said}"))?;
    let words: Vec<_> = line.split_whitespace().collect();
    let [number, len, kind, _queue, stamp, age, "ns", rest @ ..] = &words[..] else {
        anyhow::bail!("not a frame: {line}");
    };
    let (seconds, nanoseconds) = stamp.split_once('.').context("no point in a time")?;

    ensure_eq!(number.parse::<usize>()?, frame + 1, "number in: {line}");
    Ok(Line {
        len: len.parse()?,
        kind: (*kind).to_owned(),
        stamp: seconds.parse::<u64>()? * 1_000_000_000 + nanoseconds.parse::<u64>()?,
        age: age.parse()?,
        rest: rest.join(" "),
    })
}

case!(ports "samples::hints_of_each_frame", "queues=2", frames);
/// Time, hash and tag of every frame, as the tests know them.
fn frames(bed: &Bed) -> Result<()> {
    let key = Key::of_the_system()?;
    let (source, target) = ([10, 77, 0, 1], [10, 77, 0, 2]);
    let plain = ethernet(
        IPV4,
        &ipv4(source, target, UDP, 0, &transport(40001, 443, UDP)),
    );
    let hash = format!("{:08x} IPv4 UDP", key.hash(&plain[26..38]));
    let frames = [
        (plain.clone(), "IPv4", format!("{hash} none"), 0),
        (
            tagged(&plain, &[(CTAG, 0x6005)]),
            "IPv4",
            format!("{hash} 802.1Q id 5 priority 3"),
            4,
        ),
        // Only tags of the first kind are taken out.
        (
            tagged(&plain, &[(STAG, 7)]),
            "VLAN",
            format!("{hash} none"),
            0,
        ),
        (ethernet(ARP, &[0; 46]), "ARP", "none none".to_owned(), 0),
    ];

    bed.up()?;
    bed.b.ethtool("-K", "rxvlan on rx-vlan-stag-hw-parse off")?;
    let (mut sample, id) = watching(bed, "")?;
    expect_program(&bed.b, Some(id))?;
    let sender = Sender::open(&bed.a)?;
    let mut times = Vec::new();
    for (number, (frame, ..)) in (1..).zip(&frames) {
        let before = tai()?;

        sender.send(frame)?;
        let start = format!("\n   {number:>5} ");
        sample.wait_until(&format!("has frame {number}"), |said| said.contains(&start))?;
        times.push((before, tai()?));
    }
    let said = sample.interrupt()?;

    for (number, ((frame, kind, rest, taken), (before, after))) in
        frames.iter().zip(times).enumerate()
    {
        let line = line(&said, number)?;

        ensure_eq!(line.len, frame.len() - taken, "length in: {said}");
        ensure_eq!(&line.kind, kind, "type in: {said}");
        ensure_eq!(&line.rest, rest, "hash and tag in: {said}");
        ensure!(
            before <= line.stamp && line.stamp + line.age <= after,
            "frame {number}: sent after {before}, stamped {}, {} ns old, done {after}",
            line.stamp,
            line.age
        );
    }
    ensure!(
        said.contains("detached: 4 frames, and 0 more that found no room"),
        "{said}"
    );
    expect_program(&bed.b, None)
}

case!(ports "samples::hints_full_ring", "", full_ring);
/// What comes while it does not read fills the ring; the rest goes its way, and is counted.
fn full_ring(bed: &Bed) -> Result<()> {
    /// More than fit into 1 MiB, each with 48 bytes and 8 in front.
    const COUNT: u32 = 20_000;

    bed.up()?;
    let (mut sample, _) = watching(bed, "")?;
    sample.signal(Signal::SIGSTOP)?;
    Sender::open(&bed.a)?.send_flow(&Probe::new(1, 0), COUNT)?;
    bed.b.wait_received(COUNT.into())?;
    sample.signal(Signal::SIGCONT)?;
    let fit = (1 << 20) / 56;
    // It leaves a gap, so that a full ring does not look like an empty one.
    let last = format!("\n   {:>5} ", fit - 1);
    sample.wait_until("has read the ring", |said| said.contains(&last))?;
    let said = sample.interrupt()?;

    let (_, end) = said
        .rsplit_once("detached: ")
        .ok_or_else(|| anyhow!("no end in: {said}"))?;
    let numbers: Vec<u32> = end
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [seen, lost] = numbers[..] else {
        anyhow::bail!("not two numbers: {end}");
    };
    ensure_eq!(seen + lost, COUNT, "frames in the ring and lost: {end}");
    ensure!(lost >= COUNT - fit, "lost: {end}");
    bed.b
        .counters()?
        .expect_rx("B", &[("xdp_pass", COUNT.into())])
}

case!(ports "samples::hints_ends", "", ends);
/// After a number of frames, a time, or at SIGTERM.
fn ends(bed: &Bed) -> Result<()> {
    bed.up()?;
    let (sample, _) = watching(bed, "--frames 3")?;
    let sender = Sender::open(&bed.a)?;
    for _ in 0..10 {
        sender.send(&ethernet(ARP, &[0; 46]))?;
    }
    let said = sample.finish()?;
    line(&said, 2)?;
    ensure!(line(&said, 3).is_err(), "frames in: {said}");
    expect_program(&bed.b, None)?;

    start(&bed.b, "hints ox1 --seconds 1")?.finish()?;
    expect_program(&bed.b, None)?;

    let (sample, _) = watching(bed, "")?;
    sample.signal(Signal::SIGTERM)?;
    let said = sample.finish()?;
    ensure!(said.contains("The program is detached"), "{said}");
    expect_program(&bed.b, None)
}

case!(ports "samples::hints_refusals", "", refusals);
fn refusals(bed: &Bed) -> Result<()> {
    refused(&bed.b, "hints ox9", "no interface called ox9")?;
    refused_to_nobody(&bed.b, "hints ox1")?;
    refused(&bed.b, "hints lo", "its driver says nothing about frames")?;
    refused(&bed.b, "hints ox1 --obj /none.bpf.o", "/none.bpf.o")?;

    let bad = bpf::path("xdp_refused")?;
    let said = refused(
        &bed.b,
        &format!("hints ox1 --obj {}", bad.display()),
        "loading program xdp_refused for ox1: the verifier refuses it",
    )?;
    ensure!(
        said.contains("invalid access to packet") && !said.contains("libbpf"),
        "the verifier's log in: {said}"
    );
    let other = bpf::path("xdp_pass")?;
    refused(
        &bed.b,
        &format!("hints ox1 --obj {}", other.display()),
        "no map records",
    )?;

    let first = Program::sample("xdp_pass")?;
    bed.b.attach(&first)?;
    refused(
        &bed.b,
        "hints ox1",
        &format!("ox1 has an XDP program already, id {}", first.id),
    )?;
    expect_program(&bed.b, Some(first.id))?;
    let help = cmd::run(&super::command("hints --help")?)?;
    for option in ["--frames <N>", "--obj <FILE>", "--seconds <N>"] {
        ensure!(help.contains(option), "no {option} in: {help}");
    }
    Ok(())
}
