// SPDX-License-Identifier: GPL-2.0

//! The link's settings, and what a port says about time stamps.

use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{ensure_eq, kmsg::Kmsg},
    support::traffic::check_alive,
};
use anyhow::{anyhow, ensure, Context, Result};

/// A value that `ethtool PORT` shows.
fn shown(port: &Port, name: &str) -> Result<String> {
    let text = port.ethtool("", "")?;

    text.lines()
        .filter_map(|line| line.trim().split_once(": "))
        .find(|(n, _)| *n == name)
        .map(|(_, value)| value.trim().to_owned())
        .ok_or_else(|| anyhow!("ethtool shows no {name}: {text}"))
}

fn check(bed: &Bed, speed: u32) -> Result<()> {
    check_shown(bed, &format!("{speed}Mb/s"), "Full")
}

/// Without carrier neither is known.
fn check_unknown(bed: &Bed) -> Result<()> {
    check_shown(bed, "Unknown!", "Unknown! (255)")
}

fn check_shown(bed: &Bed, speed: &str, duplex: &str) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        for (name, value) in [
            ("Speed", speed),
            ("Duplex", duplex),
            ("Auto-negotiation", "off"),
            ("Port", "Other"),
        ] {
            ensure_eq!(shown(port, name)?, value, "{}: {name}", port.name);
        }
    }
    Ok(())
}

/// The files in sysfs, which can be read only while the interface is up.
fn check_sysfs(port: &Port, speed: &str, duplex: &str) -> Result<()> {
    for (file, value) in [("speed", speed), ("duplex", duplex)] {
        let text = port
            .ns
            .exec_with_sysfs(&format!("cat /sys/class/net/{}/{file}", port.name))?;
        ensure_eq!(text.trim(), value, "{}: {file}", port.name);
    }
    Ok(())
}

case!(ports "link::speed", "", speed);
/// What is set at one end holds at both, also if it is set while there is no link, which has no
/// speed.
fn speed(bed: &Bed) -> Result<()> {
    check_unknown(bed)?;
    bed.up()?;
    check(bed, 10_000)?;
    bed.b.down()?;
    check_unknown(bed)?;
    check_sysfs(&bed.a, "-1", "unknown")?;
    bed.a.ethtool("-s", "speed 50000")?;
    bed.a.ethtool("-s", "duplex full")?;
    bed.up()?;
    check(bed, 50_000)?;
    bed.a.down()?;
    bed.a.ethtool("-s", "speed 25000 duplex full autoneg off")?;
    check_unknown(bed)?;
    bed.up()?;
    check(bed, 25_000)?;
    bed.b.ethtool("-s", "speed 1")?;
    check(bed, 1)?;
    bed.a.ethtool("-s", "speed 10000000 duplex full")?;
    check(bed, 10_000_000)?;
    for port in [&bed.a, &bed.b] {
        check_sysfs(port, "10000000", "full")?;
    }
    bed.a.down()?;
    check_unknown(bed)?;
    bed.up()?;
    check(bed, 10_000_000)?;
    check_alive(bed)
}

case!(ports "link::refusals", "", refusals);
fn refusals(bed: &Bed) -> Result<()> {
    let mut log = Kmsg::from_now()?;

    bed.up()?;
    for (what, why) in [
        ("speed 0", "speed must be 1 to 10000000 Mb/s"),
        ("speed 10000001", "speed must be 1 to 10000000 Mb/s"),
        ("duplex half", "half duplex not supported"),
        ("speed 25000 duplex half", "half duplex not supported"),
        ("autoneg on", "autonegotiation not supported"),
    ] {
        bed.a.ethtool_refusal("-s", what)?;
        let line = format!("oxnic ox0: link: {why}");
        ensure!(
            !log.starting_with(&line)?.is_empty(),
            "ethtool -s {what}: the log has no \"{line}\""
        );
        log.forget()?;
        check(bed, 10_000).with_context(|| format!("after the refusal of {what}"))?;
    }
    for what in ["port tp", "advertise 0x1000"] {
        bed.a.ethtool_refusal("-s", what)?;
        check(bed, 10_000).with_context(|| format!("after the refusal of {what}"))?;
    }
    check_alive(bed)
}

case!(ports "link::time_stamping", "", time_stamping);
/// Time stamps come from the kernel's software, so nothing else is announced.
fn time_stamping(bed: &Bed) -> Result<()> {
    let text = bed.a.ethtool("-T", "")?;
    let lines: Vec<_> = text.lines().map(str::trim).collect();

    for line in [
        "software-transmit",
        "software-receive",
        "software-system-clock",
        "PTP Hardware Clock: none",
        "Hardware Transmit Timestamp Modes: none",
        "Hardware Receive Filter Modes: none",
    ] {
        ensure!(
            lines.contains(&line),
            "ethtool -T has no \"{line}\": {text}"
        );
    }
    ensure!(
        !lines.iter().any(|line| line.starts_with("hardware-")),
        "ethtool -T announces hardware: {text}"
    );
    Ok(())
}
