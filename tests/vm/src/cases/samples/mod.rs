// SPDX-License-Identifier: GPL-2.0

//! The programs of `samples`, as a user runs them: what they do, and what they say about it.

mod ddos_filter;
mod hints;
mod hook_chain;
mod hook_cost;
mod socket_filter;
mod xdp_attach;
mod xsk;

use crate::{
    bed::{Bed, Port},
    host::{cmd, ensure_eq, process::Running},
    wire::{
        frames::{ethernet, ipv4, ipv6, transport, ARP, ICMP, IPV4, IPV6, TCP, UDP},
        packet::Sender,
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use std::{env, path::Path};

const ICMPV6: u8 = 58;

/// Starts a sample, given with its arguments as one line, in the port's namespace.
pub(super) fn start(port: &Port, line: &str) -> Result<Running> {
    let line = command(line)?;

    port.ns.enter(|| Running::start(&line))
}

/// The line with the sample's whole path.
fn command(line: &str) -> Result<String> {
    let folder = env::var("OXNIC_SAMPLES").context("OXNIC_SAMPLES names no folder")?;

    Ok(Path::new(&folder).join(line).display().to_string())
}

/// What a sample says that has to fail: with status 1, and with `reason` in its last line, which
/// begins with the sample's name.
fn refused(port: &Port, line: &str, reason: &str) -> Result<String> {
    refused_in_words(start(port, line)?, line, reason)
}

/// As [`refused`], for a user who may do nothing.
fn refused_to_nobody(port: &Port, line: &str) -> Result<()> {
    let whole = format!("{} {}", cmd::AS_NOBODY, command(line)?);
    let running = port.ns.enter(|| Running::start(&whole))?;

    refused_in_words(running, line, "needs root (CAP_NET_ADMIN, CAP_BPF)").map(drop)
}

fn refused_in_words(running: Running, line: &str, reason: &str) -> Result<String> {
    let name = line.split_whitespace().next().unwrap_or_default();
    let (status, said) = running.end()?;
    let last = said.lines().last().unwrap_or_default();

    ensure_eq!(
        status.code(),
        Some(1),
        "`{line}`: exit status, with: {said}"
    );
    ensure!(
        last.starts_with(&format!("{name}: ")) && last.contains(reason),
        "`{line}`: expected \"{name}: ... {reason}\" as its last line in: {said}"
    );
    ensure!(!said.contains("panicked"), "`{line}`: {said}");
    Ok(said)
}

/// The id of the sample's program, which it says behind these words.
fn ours(sample: &mut Running, words: &str) -> Result<u32> {
    sample.wait_for(words)?;
    let said = sample.said();
    let digits: String = said
        .split_once(words)
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect())
        .unwrap_or_default();

    digits.parse().with_context(|| format!("id in: {said}"))
}

/// The port has this program, run by its driver, or none.
fn expect_program(port: &Port, id: Option<u32>) -> Result<()> {
    let link = port.link()?;

    ensure_eq!(link.xdp_driver_id, id, "program in driver mode");
    ensure_eq!(link.xdp_generic_id, None, "program in generic mode");
    Ok(())
}

/// Frames of every protocol and how often each is sent: ARP, ICMP, ICMPv6, TCP, UDP, other.
fn traffic() -> [(Vec<u8>, u64); 6] {
    let (a4, b4) = ([10, 77, 0, 1], [10, 77, 0, 2]);
    let (mut a6, mut b6) = ([0; 16], [0; 16]);

    (a6[0], b6[0]) = (0xfd, 0xfd);
    let v4 = |protocol| {
        ethernet(
            IPV4,
            &ipv4(a4, b4, protocol, 0, &transport(4001, 9, protocol)),
        )
    };
    let v6 = |protocol| ethernet(IPV6, &ipv6(a6, b6, protocol, &transport(4001, 9, UDP)));

    [
        (ethernet(ARP, &[0; 46]), 3),
        (v4(ICMP), 5),
        (v6(ICMPV6), 7),
        (v4(TCP), 11),
        (v6(UDP), 13),
        (ethernet(0x88b5, &[0x22; 46]), 17),
    ]
}

/// How often each is sent.
fn sent() -> Vec<u64> {
    traffic().iter().map(|(_, count)| *count).collect()
}

/// Sends them all from A to B, and returns how many they are.
fn send(bed: &Bed) -> Result<u64> {
    let sender = Sender::open(&bed.a)?;
    let mut sent = 0;

    for (frame, count) in traffic() {
        for _ in 0..count {
            sender.send(&frame)?;
        }
        sent += count;
    }
    Ok(sent)
}

/// The numbers of the first row of a table that begins with `title`.
fn row(said: &str, title: &str) -> Result<Vec<u64>> {
    let numbers = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix(title))
        .find(|rest| rest.starts_with(' '))
        .ok_or_else(|| anyhow!("no row \"{title}\" in: {said}"))?;

    numbers
        .split_whitespace()
        .map(|word| word.parse().with_context(|| format!("row: {numbers}")))
        .collect()
}
