// SPDX-License-Identifier: GPL-2.0

//! xdp_attach: a program by a netlink message that is made by hand.

use super::{ours, refused, refused_to_nobody, row, send, sent, start};
use crate::{
    bed::{Bed, Port},
    bpf::{self, wait_freed, Program},
    harness::case,
    host::{cmd, ensure_eq, module, process::Running},
    nl::{
        attr,
        link::{Link, XdpAttached},
        number,
    },
};
use anyhow::{anyhow, bail, ensure, Context, Result};
use nix::{libc, sys::signal::Signal};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const HEADER: usize = 16;
const IFINFOMSG: usize = 16;

/// Waits until the program is attached, and returns its id as the sample says it.
fn attached(sample: &mut Running) -> Result<u32> {
    sample.wait_for("4. What the program counts")?;
    ours(sample, ", id ")
}

fn mode(link: &Link) -> (XdpAttached, Option<u32>) {
    (link.xdp_mode, link.xdp_driver_id.or(link.xdp_generic_id))
}

fn expect_mode(port: &Port, expected: (XdpAttached, Option<u32>)) -> Result<()> {
    ensure_eq!(
        mode(&port.link()?),
        expected,
        "mode and program of the port"
    );
    Ok(())
}

case!(ports "samples::xdp_attach_counts", "", counts);
/// What it counts is what was sent, of every protocol; in the end no program is left.
fn counts(bed: &Bed) -> Result<()> {
    bed.up()?;
    let mut sample = start(&bed.b, "xdp_attach ox1")?;
    let id = attached(&mut sample)?;
    expect_mode(&bed.b, (XdpAttached::Driver, Some(id)))?;

    let arrived = send(bed)?;
    bed.b.wait_received(arrived)?;
    // The row that is being counted, and one more.
    let rows = sample.said().lines().count() + 2;
    sample.wait_until("has printed the counters", |said| {
        said.lines().count() >= rows
    })?;
    let said = sample.interrupt()?;

    let expected = sent();
    ensure_eq!(row(&said, "all")?, expected, "counters in: {said}");
    let mut sum = vec![0; expected.len()];
    for second in 1.. {
        let Ok(row) = row(&said, &second.to_string()) else {
            break;
        };
        for (sum, count) in sum.iter_mut().zip(row) {
            *sum += count;
        }
    }
    ensure_eq!(sum, expected, "counters of all seconds in: {said}");
    ensure!(
        said.contains("IFLA_XDP_EXPECTED_FD") && said.trim_end().ends_with("ox1 has no program"),
        "detached: {said}"
    );
    expect_mode(&bed.b, (XdpAttached::None, None))?;
    wait_freed(id)?;
    bed.b
        .counters()?
        .expect_rx("B", &[("xdp_pass", arrived), ("packets", arrived)])
}

/// The bytes in a part of what the sample says: lines of an offset and of at most 8 bytes.
fn bytes(part: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();

    for line in part.lines() {
        let mut words = line.split_whitespace();
        let Some(Ok(at)) = words.next().map(str::parse::<usize>) else {
            continue;
        };

        ensure_eq!(at, bytes.len(), "offset in: {line}");
        // A name of a field may be a hexadecimal number as well, but not in these columns.
        for byte in line
            .get(8..)
            .unwrap_or_default()
            .chars()
            .collect::<Vec<_>>()[..]
            .chunks(3)
            .take(8)
        {
            let byte: String = byte.iter().collect();

            match u8::from_str_radix(byte.trim(), 16) {
                Ok(byte) => bytes.push(byte),
                Err(_) => break,
            }
        }
    }
    Ok(bytes)
}

case!(ports "samples::xdp_attach_message", "", message);
/// What the sample shows of its message is what strace sees it send, and what the tests' own
/// netlink code reads in it; the same for the answer.
fn message(bed: &Bed) -> Result<()> {
    let trace = "/tmp/xdp_attach.strace";
    let line = super::command("xdp_attach ox1 --driver --seconds 1")?;
    let said = bed
        .b
        .ns
        .enter(|| {
            Running::start(&format!(
                "strace -o {trace} -e trace=sendto,recvfrom -e write=all -e read=all {line}"
            ))
        })?
        .finish()?;
    let dump = fs::read_to_string(trace)?;
    fs::remove_file(trace)?;

    let (_, part) = said
        .split_once("3. The message")
        .ok_or_else(|| anyhow!("no message in: {said}"))?;
    let (sent, part) = part
        .split_once("The kernel answers:")
        .ok_or_else(|| anyhow!("no answer in: {said}"))?;
    let (answer, _) = part
        .split_once("4. What the program counts")
        .ok_or_else(|| anyhow!("no end of the answer in: {said}"))?;
    let (sent, answer) = (bytes(sent)?, bytes(answer)?);

    ensure_eq!(
        traced(&dump, "sendto", "RTM_SETLINK")?,
        sent,
        "the message as strace sees it, in: {dump}"
    );
    ensure_eq!(
        traced(&dump, "recvfrom", "NLMSG_ERROR")?,
        answer,
        "the answer as strace sees it, in: {dump}"
    );

    ensure_eq!(number(&sent[4..6])?, u64::from(libc::RTM_SETLINK), "type");
    let xdp = attr(&sent[HEADER + IFINFOMSG..], IFLA_XDP)
        .ok_or_else(|| anyhow!("no IFLA_XDP in: {said}"))?;
    let flags = attr(xdp, IFLA_XDP_FLAGS).context("no IFLA_XDP_FLAGS")?;
    ensure_eq!(number(flags)?, 4, "IFLA_XDP_FLAGS");
    let fd = number(attr(xdp, IFLA_XDP_FD).context("no IFLA_XDP_FD")?)?;
    ensure!(
        said.contains(&format!("descriptor {fd}, id ")),
        "IFLA_XDP_FD {fd} in: {said}"
    );
    expect_mode(&bed.b, (XdpAttached::None, None))
}

/// The bytes of the first call of `call` that strace shows with `word`.
fn traced(dump: &str, call: &str, word: &str) -> Result<Vec<u8>> {
    let mut lines = dump
        .lines()
        .skip_while(|line| !(line.starts_with(call) && line.contains(word)))
        .skip(1);
    let mut bytes = Vec::new();

    while let Some(hex) = lines
        .next()
        .and_then(|line| line.strip_prefix(" | "))
        // The offset, two groups of 8 bytes, and the same as text.
        .and_then(|line| line.get(7..7 + 49))
    {
        for byte in hex.split_whitespace() {
            bytes.push(u8::from_str_radix(byte, 16)?);
        }
    }
    if bytes.is_empty() {
        bail!("no {call} with {word} in: {dump}");
    }
    Ok(bytes)
}

case!(ports "samples::xdp_attach_modes", "", modes);
fn modes(bed: &Bed) -> Result<()> {
    bed.up()?;
    let sent = send(bed)?;
    bed.b.wait_received(sent)?;

    for (option, mode) in [
        ("", XdpAttached::Driver),
        ("--driver", XdpAttached::Driver),
        ("--skb", XdpAttached::SocketBuffer),
    ] {
        let mut sample = start(&bed.b, &format!("xdp_attach ox1 {option}"))?;
        let id = attached(&mut sample)?;

        expect_mode(&bed.b, (mode, Some(id)))?;
        sample.interrupt()?;
        expect_mode(&bed.b, (XdpAttached::None, None))?;
    }

    // Another file, without counters.
    let drop = bpf::path("xdp_drop")?;
    let mut sample = start(&bed.b, &format!("xdp_attach ox1 --obj {}", drop.display()))?;
    sample.wait_for("no map called \"protocols\"")?;
    let sent = sent + send(bed)?;
    bed.b.wait_received(sent)?;
    sample.interrupt()?;
    bed.b
        .counters()?
        .expect_rx("B", &[("xdp_drop", sent / 2), ("packets", sent)])
}

case!(ports "samples::xdp_attach_another_program", "", another_program);
/// A program that was there before, or comes later.
fn another_program(bed: &Bed) -> Result<()> {
    let first = Program::sample("xdp_pass")?;
    let second = Program::sample("xdp_drop")?;

    bed.b.attach(&first)?;
    let said = refused(
        &bed.b,
        "xdp_attach ox1 --if-none-exists",
        "XDP program already attached (EBUSY)",
    )?;
    ensure!(said.contains("NLMSGERR_ATTR_MSG"), "{said}");
    refused(
        &bed.b,
        &format!("xdp_attach ox1 --replace {}", second.id),
        "Active program does not match expected (EEXIST)",
    )?;
    refused(
        &bed.b,
        "xdp_attach ox1 --skb",
        "Native and generic XDP can't be active at the same time (EEXIST)",
    )?;
    refused(
        &bed.b,
        "xdp_attach ox1 --replace 4000000000",
        "there is no program with id 4000000000",
    )?;
    expect_mode(&bed.b, (XdpAttached::Driver, Some(first.id)))?;

    for options in ["", &format!("--replace {}", first.id)] {
        let mut sample = start(&bed.b, &format!("xdp_attach ox1 {options}"))?;
        let id = attached(&mut sample)?;

        expect_mode(&bed.b, (XdpAttached::Driver, Some(id)))?;
        let said = sample.interrupt()?;
        ensure!(
            said.contains(&format!("ox1 has program id {}, in driver mode", first.id)),
            "the program before in: {said}"
        );
        expect_mode(&bed.b, (XdpAttached::None, None))?;
        bed.b.attach(&first)?;
    }

    let mut sample = start(&bed.b, "xdp_attach ox1")?;
    attached(&mut sample)?;
    bed.b.attach(&second)?;
    let said = sample.interrupt()?;
    ensure!(
        said.trim_end()
            .ends_with(&format!("ox1 has program id {}, in driver mode", second.id)),
        "{said}"
    );
    expect_mode(&bed.b, (XdpAttached::Driver, Some(second.id)))
}

case!(ports "samples::xdp_attach_cleans_up", "", cleans_up);
/// However it ends, its program does not stay.
fn cleans_up(bed: &Bed) -> Result<()> {
    let mut sample = start(&bed.b, "xdp_attach ox1")?;
    attached(&mut sample)?;
    sample.signal(Signal::SIGTERM)?;
    sample.finish()?;
    expect_mode(&bed.b, (XdpAttached::None, None))?;

    let said = start(&bed.b, "xdp_attach ox1 --seconds 2")?.finish()?;
    ensure_eq!(row(&said, "2")?.len(), 6, "columns in: {said}");
    ensure!(row(&said, "3").is_err(), "seconds in: {said}");
    expect_mode(&bed.b, (XdpAttached::None, None))?;

    // No one reads on: `xdp_attach ox1 | head -n 1`.
    let line = super::command("xdp_attach")?;
    let mut child = bed.b.ns.enter(|| {
        Ok(Command::new(&line)
            .arg("ox1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?)
    })?;
    let mut reader = BufReader::new(child.stdout.take().context("no output")?);
    let mut text = String::new();
    while !text.contains("second") {
        ensure!(reader.read_line(&mut text)? > 0, "ended with: {text}");
    }
    drop(reader);
    let output = child.wait_with_output()?;
    ensure_eq!(output.status.code(), Some(1), "status without a reader");
    ensure!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    expect_mode(&bed.b, (XdpAttached::None, None))
}

case!(ports "samples::xdp_attach_rmmod", "", rmmod);
/// The interface goes while it runs.
fn rmmod(bed: &Bed) -> Result<()> {
    let mut sample = start(&bed.b, "xdp_attach ox1")?;
    let id = attached(&mut sample)?;

    module::unload()?;
    let said = sample.interrupt()?;
    ensure!(
        said.contains("ENODEV") && said.trim_end().ends_with("ox1 is not here any more"),
        "{said}"
    );
    wait_freed(id)
}

case!(ports "samples::xdp_attach_refusals", "", refusals);
fn refusals(bed: &Bed) -> Result<()> {
    refused(&bed.b, "xdp_attach ox9", "no interface called ox9")?;
    refused_to_nobody(&bed.b, "xdp_attach ox1")?;

    let bad = bpf::path("xdp_refused")?;
    let said = refused(
        &bed.b,
        &format!("xdp_attach ox1 --obj {}", bad.display()),
        "loading program xdp_refused: the verifier refuses it",
    )?;
    ensure!(
        said.contains("invalid access to packet"),
        "the verifier's log in: {said}"
    );

    refused(&bed.b, "xdp_attach ox1 --obj /none.bpf.o", "/none.bpf.o")?;
    refused(
        &bed.b,
        "xdp_attach ox1 --program xdp_other",
        "no XDP program called xdp_other",
    )?;
    let several = bpf::path("count")?;
    refused(
        &bed.b,
        &format!("xdp_attach ox1 --obj {}", several.display()),
        "several XDP programs",
    )?;
    // The loopback device has no native XDP.
    refused(
        &bed.b,
        "xdp_attach lo --driver",
        "Underlying driver does not support XDP in native mode (EOPNOTSUPP)",
    )?;
    expect_mode(&bed.b, (XdpAttached::None, None))?;

    let line = super::command("xdp_attach ox1 --driver --skb")?;
    let (status, said) = bed.b.ns.enter(|| Running::start(&line))?.end()?;
    ensure_eq!(status.code(), Some(2), "status of wrong options: {said}");
    let help = cmd::run(&super::command("xdp_attach --help")?)?;
    for option in [
        "--if-none-exists",
        "--replace <ID>",
        "--obj <FILE>",
        "--seconds <N>",
    ] {
        ensure!(help.contains(option), "no {option} in: {help}");
    }
    Ok(())
}
