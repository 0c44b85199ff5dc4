// SPDX-License-Identifier: GPL-2.0

//! xdpdump: what it captures before and behind a program, byte by byte.

use super::{load, start, unload_all, Pins};
use crate::{
    bed::Bed,
    harness::case,
    host::{cmd, ensure_eq},
    support::probes::{assorted, send_all},
    wire::{
        packet::Tap,
        probe::{verdict, Probe},
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use std::fs;

const PROGRAM: &str = "chain_three";
/// What the program leaves in a frame.
const MARK: u8 = 3;
/// As xdpdump writes it, and as tcpdump writes what it read of that.
const FILES: [&str; 2] = ["/tmp/oxnic-xdpdump.pcapng", "/tmp/oxnic-tcpdump.pcap"];

case!(ports "tools::dump", "", dump);
fn dump(bed: &Bed) -> Result<()> {
    let pins = Pins::watch()?;
    let outcome = dump_both_ways(bed);

    for file in FILES {
        // It is not there if the test failed before.
        let _ = fs::remove_file(file);
    }
    outcome?;
    unload_all(&bed.b)?;
    pins.ensure_none()
}

fn dump_both_ways(bed: &Bed) -> Result<()> {
    let mut probes = assorted(verdict::PASS);
    probes.extend(assorted(verdict::DROP));
    for (seq, probe) in (0..).zip(&mut probes) {
        probe.seq = seq;
    }

    bed.up()?;
    load(&bed.b, "chain", PROGRAM, 50)?;
    to_file(bed, &probes)?;
    to_terminal(bed, &probes)
}

/// Runs xdpdump while all probes are sent.
fn captured(bed: &Bed, probes: &[Probe], options: &str) -> Result<String> {
    let port = &bed.b;
    let tap = Tap::open(port)?;
    let before = port.link()?.stat("rx_packets")?;
    let mut xdpdump = start(
        port,
        &format!(
            // By lines: both of its outputs go to one pipe, and the counts at the end would come
            // in the middle of a line.
            "stdbuf -oL xdpdump --interface {} --program-names {PROGRAM} --rx-capture entry,exit \
             {options}",
            port.name
        ),
    )?;

    xdpdump.wait_for("listening on")?;
    send_all(bed, probes)?;
    port.wait_received(before + probes.len() as u64)?;
    let said = xdpdump.interrupt()?;

    // Watching a program changes nothing in what it does.
    let passed: Vec<_> = probes
        .iter()
        .filter(|probe| probe.verdict == verdict::PASS)
        .map(changed)
        .collect();
    ensure_eq!(tap.probes(passed.len())?, passed, "frames at B");
    for line in [
        format!("{} packets captured", 2 * probes.len()),
        "0 packets dropped by perf ring".to_owned(),
    ] {
        ensure!(said.contains(&line), "expected \"{line}\" in: {said}");
    }
    Ok(said)
}

/// The probe behind the program.
fn changed(probe: &Probe) -> Probe {
    Probe {
        mark: MARK,
        ..probe.clone()
    }
}

fn to_file(bed: &Bed, probes: &[Probe]) -> Result<()> {
    let [written, converted] = FILES;

    captured(bed, probes, &format!("--write {written}"))?;
    // As root, for it would otherwise write as a user who may not.
    cmd::run(&format!("tcpdump -Z root -r {written} -w {converted}"))?;

    let mut found = pcap_frames(&fs::read(converted)?)?
        .iter()
        .map(|frame| Probe::parse(frame)?.ok_or_else(|| anyhow!("a frame that no test sent")))
        .collect::<Result<Vec<_>>>()?;
    let mut expected: Vec<_> = probes.to_vec();
    expected.extend(probes.iter().map(changed));
    // Each CPU's frames are written one after the other.
    for frames in [&mut found, &mut expected] {
        frames.sort_by_key(|probe| (probe.seq, probe.mark));
    }
    ensure_eq!(found, expected, "frames in the file");

    let listed = cmd::run(&format!("tcpdump -Z root -nn -r {written}"))?;
    ensure_eq!(
        listed.matches("10.77.0.1.").count(),
        2 * probes.len(),
        "frames that tcpdump lists"
    );
    Ok(())
}

/// Without a file, xdpdump prints a line for each frame.
fn to_terminal(bed: &Bed, probes: &[Probe]) -> Result<()> {
    let said = captured(bed, probes, "")?;

    for probe in probes {
        let action = match probe.verdict {
            verdict::DROP => "DROP",
            _ => "PASS",
        };

        for at in ["entry", &format!("exit[{action}]")] {
            let (begin, end) = (
                format!("{PROGRAM}()@{at}: packet size {} bytes", probe.len),
                format!("on if_index {}, rx queue ", bed.b.ifindex),
            );
            ensure!(
                said.lines()
                    .any(|line| line.contains(&begin) && line.contains(&end)),
                "expected \"{begin} ... {end}\" in: {said}"
            );
        }
    }
    Ok(())
}

/// The frames of a file in the classic format: 24 bytes of header, then 16 bytes before each frame
/// that say how much of it follows.
fn pcap_frames(file: &[u8]) -> Result<Vec<&[u8]>> {
    let word = |at: usize| -> Option<usize> {
        let bytes = file.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let mut frames = Vec::new();
    let mut at = 24;

    while at < file.len() {
        let frame = word(at + 8)
            .zip(word(at + 12))
            .filter(|(kept, whole)| kept == whole)
            .and_then(|(kept, _)| file.get(at + 16..at + 16 + kept))
            .with_context(|| format!("bad record at byte {at}"))?;

        frames.push(frame);
        at += 16 + frame.len();
    }
    Ok(frames)
}
