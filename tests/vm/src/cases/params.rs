// SPDX-License-Identifier: GPL-2.0

//! Module parameters: their ranges, their defaults, and what a port of each extreme can do.

use crate::{
    bed::{port_names, Bed, Port, V4, V6},
    harness::case,
    host::{cmd, ensure_eq, kmsg::Kmsg, module, netns::Netns, wait_until},
    support::{ports::check_sizes, traffic::settle},
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
    },
};
use anyhow::{anyhow, bail, ensure, Result};
use nix::errno::Errno;
use std::fs;

const ZERO_TO_64: &str = "0 to 64";
const ONE_TO_64: &str = "1 to 64";
/// Where they are listed.
const PERSONALITIES: &str = "Documentation/cards.md";
const RING_SIZES: &str = "a power of two from 64 to 4096";
/// Lines about any module from elsewhere, which the kernel begins with the module's name.
const TAINTS: [&str; 2] = ["taints kernel", "module verification failed"];

/// What the module itself wrote to the log.
fn own_lines(log: &mut Kmsg) -> Result<Vec<String>> {
    let mut lines = log.starting_with("oxnic")?;

    lines.retain(|line| !TAINTS.iter().any(|piece| line.contains(piece)));
    Ok(lines)
}

/// The kernel has neither the module nor a device of it.
fn nothing_left() -> Result<()> {
    ensure!(!module::is_loaded(), "the module is there");
    ensure_eq!(
        port_names()?,
        Vec::<String>::new(),
        "devices of a module that was refused"
    );
    Ok(())
}

case!(bare "params::out_of_range", out_of_range; allow(&["must be"]));
fn out_of_range() -> Result<()> {
    let mut log = Kmsg::from_now()?;

    for (name, range, values) in [
        ("pairs", ZERO_TO_64, &["65", "-1", "4294967297"][..]),
        ("queues", ONE_TO_64, &["0", "65", "-1", "65537"]),
        (
            "ring_size",
            RING_SIZES,
            &[
                "0",
                "1",
                "32",
                "63",
                "65",
                "100",
                "4095",
                "4097",
                "8192",
                "-1",
                "-64",
                "4294967360",
            ],
        ),
    ] {
        for value in values {
            let params = format!("{name}={value}");

            log.forget()?;
            ensure_eq!(
                module::try_load(&params)?,
                Err(Errno::EINVAL),
                "loading with {params}"
            );
            ensure_eq!(
                own_lines(&mut log)?,
                [format!("oxnic: {params}: must be {range}")],
                "what the log says about {params}"
            );
            nothing_left()?;
        }
    }

    // One bad parameter is enough.
    log.forget()?;
    ensure_eq!(
        module::try_load("pairs=2 queues=65 ring_size=128")?,
        Err(Errno::EINVAL),
        "loading with one bad parameter of three"
    );
    ensure_eq!(
        own_lines(&mut log)?,
        ["oxnic: queues=65: must be 1 to 64"],
        "what the log says about one bad parameter of three"
    );
    nothing_left()?;

    // And `insmod` shows the error as a person sees it.
    let text = cmd::refusal(&format!("insmod {} queues=99", module::path()?))?;
    ensure!(
        text.contains("Invalid"),
        "insmod says \"{text}\", not that a parameter is invalid"
    );
    nothing_left()
}

case!(bare "params::no_number", no_number; allow(&["invalid for parameter"]));
/// The kernel itself refuses what is not a number.
fn no_number() -> Result<()> {
    for params in ["pairs=two", "queues=", "ring_size=64k", "queues=1.5"] {
        ensure_eq!(
            module::try_load(params)?,
            Err(Errno::EINVAL),
            "loading with {params}"
        );
        nothing_left()?;
    }
    Ok(())
}

case!(bare "params::modinfo", modinfo);
fn modinfo() -> Result<()> {
    let text = cmd::run(&format!("modinfo -p {}", module::path()?))?;
    let mut names = Vec::new();

    for line in text.lines() {
        let (name, description) = line
            .split_once(':')
            .ok_or_else(|| anyhow!("modinfo -p: \"{line}\""))?;
        let expected = match name {
            "pairs" => ZERO_TO_64,
            "queues" => ONE_TO_64,
            "ring_size" => RING_SIZES,
            "personality" => PERSONALITIES,
            _ => bail!("modinfo shows a parameter {name}"),
        };

        ensure!(
            description.contains(expected),
            "modinfo describes {name} as \"{description}\", without what it can be, {expected}"
        );
        ensure!(
            description.contains("default"),
            "modinfo does not say what the default of {name} is: \"{description}\""
        );
        names.push(name);
    }
    names.sort_unstable();
    ensure_eq!(
        names,
        ["pairs", "personality", "queues", "ring_size"],
        "modinfo -p"
    );

    // What the kernel asks for when a user wants a link of the type.
    let alias = cmd::run(&format!("modinfo -F alias {}", module::path()?))?;
    ensure_eq!(alias.trim(), "rtnl-link-oxnic", "modinfo -F alias");
    Ok(())
}

/// Pings over IPv4 and IPv6, in the largest size too.
fn ping(bed: &Bed) -> Result<()> {
    for address in [V4[1], V6[1]] {
        for size in [56, 1452] {
            let text = bed
                .a
                .ns
                .ping(&format!("-c 5 -i 0.01 -s {size} {address}"))?;

            ensure!(
                text.contains(" 0% packet loss"),
                "ping of {size} bytes to {address}: {text}"
            );
        }
    }
    Ok(())
}

case!(ports "params::least_of_everything", "pairs=1 queues=1 ring_size=64",
    |bed| check_port(bed, 1, 64));
/// The port has what it was asked for, and works.
fn check_port(bed: &Bed, queues: u64, ring_size: u64) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        check_sizes(port, queues, ring_size)?;
    }
    bed.up_with_addresses()?;
    ping(bed)?;
    settle(bed).map(drop)
}

fn cpus() -> Result<u64> {
    Ok(fs::read_to_string("/proc/cpuinfo")?
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count() as u64)
}

case!(ports "params::defaults", "", defaults);
fn defaults(bed: &Bed) -> Result<()> {
    check_port(bed, cpus()?.min(4), 512)?;
    ensure_eq!(
        port_names()?,
        Vec::<String>::new(),
        "ports besides the first pair"
    );
    Ok(())
}

case!(ports "params::largest_ring", "ring_size=4096", largest_ring);
/// Every descriptor is used twice.
fn largest_ring(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 9000;

    // Before the stack has addresses, after which it sends by itself.
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    Sender::open(&bed.a)?.send_flow(&Probe::new(3, 0), COUNT)?;
    for (seq, probe) in (0..).zip(tap.probes(COUNT as usize)?) {
        ensure_eq!(probe.seq, seq, "frame in its turn");
    }
    settle(bed)?;
    check_port(bed, cpus()?.min(4), 4096)
}

case!(ports "params::most_queues", "queues=64 ring_size=64", most_queues);
/// All 64 rings are in use, and all 64 transmit queues run.
fn most_queues(bed: &Bed) -> Result<()> {
    const FLOWS: u32 = 1024;

    // Before the stack has addresses, after which it sends by itself.
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    (0..FLOWS).try_for_each(|flow| sender.send(&Probe::new(flow, 0).frame()))?;
    let (_, b) = settle(bed)?;
    let used = b.counters.rx_each("packets")?;

    ensure_eq!(
        used.iter().sum::<u64>(),
        u64::from(FLOWS),
        "frames received"
    );
    // With 16 flows per ring on average, the chance of a ring without any is one in millions.
    ensure!(
        used.iter().all(|n| *n > 0),
        "a ring got none of {FLOWS} flows: {used:?}"
    );
    check_port(bed, 64, 64)
}

case!(bare "params::most_of_everything_loads", most);
/// Rings have no memory until the port goes up, so all limits at once are no problem.
fn most() -> Result<()> {
    module::load("pairs=64 queues=64 ring_size=4096")?;
    let mut found = port_names()?;
    let mut expected: Vec<_> = (0..128).map(|n| format!("ox{n}")).collect();

    found.sort();
    expected.sort();
    ensure_eq!(found, expected, "ports of 64 pairs");
    module::unload()?;
    nothing_left()
}

case!(bare "params::all_pairs_are_joined", all_pairs);
/// 64 pairs, all of them up: a frame into each port comes out of its partner and nowhere else.
fn all_pairs() -> Result<()> {
    let initial = Netns::initial();

    // The stack must not send by itself.
    initial.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    let checked = all_pairs_here(&initial);
    initial.sysctl("ipv6/conf/default/disable_ipv6", "0")?;
    checked
}

fn all_pairs_here(initial: &Netns) -> Result<()> {
    module::load("pairs=64 queues=2 ring_size=64")?;
    ensure_eq!(port_names()?.len(), 128, "ports of 64 pairs");
    let ports = (0..128)
        .map(|n| Port::find(initial, &format!("ox{n}")))
        .collect::<Result<Vec<_>>>()?;

    ports.iter().try_for_each(Port::receive_probes)?;
    ports.iter().try_for_each(Port::up)?;
    for port in &ports {
        port.wait_running(true)?;
    }
    for (n, port) in ports.iter().enumerate() {
        let partner = &ports[n ^ 1];
        let tap = Tap::open(partner)?;
        let probe = Probe::new(n as u32, 1000 + n as u32);

        Sender::open(port)?.send(&probe.frame())?;
        let mut found = None;
        wait_until("the frame is there", || {
            found = tap.next(crate::host::PATIENCE)?;
            Ok(found.is_some())
        })?;
        ensure_eq!(
            Probe::parse(&found.unwrap_or_default())?,
            Some(probe),
            "frame from {} to {}",
            port.name,
            partner.name
        );
    }
    for port in &ports {
        let link = port.link()?;

        ensure_eq!(link.stat("rx_packets")?, 1, "{}: rx_packets", port.name);
        ensure_eq!(link.stat("tx_packets")?, 1, "{}: tx_packets", port.name);
    }
    module::unload()?;
    nothing_left()
}
