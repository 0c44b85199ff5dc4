// SPDX-License-Identifier: GPL-2.0

//! What a port says about its link and about time stamps.

use crate::{bed::Bed, harness::case, host::ensure_eq};
use anyhow::{ensure, Result};

case!(ports "link::speed_in_sysfs", "", speed_in_sysfs);
/// Without a link there is no speed. The files can be read only while the interface is up.
fn speed_in_sysfs(bed: &Bed) -> Result<()> {
    let check = |speed: &str, duplex: &str| -> Result<()> {
        for (file, value) in [("speed", speed), ("duplex", duplex)] {
            ensure_eq!(bed.a.read_sysfs(file)?, value, "{file} in sysfs");
        }
        Ok(())
    };

    bed.up()?;
    check("10000", "full")?;
    bed.b.down()?;
    check("-1", "unknown")?;
    bed.b.ethtool("-s", "speed 25000 duplex full")?;
    check("-1", "unknown")?;
    bed.up()?;
    check("25000", "full")
}

case!(ports "link::time_stamping", "", time_stamping);
/// What is announced: stamps of both clocks, and no way to set the card's.
fn time_stamping(bed: &Bed) -> Result<()> {
    let text = bed.a.ethtool("-T", "")?;
    let lines: Vec<_> = text.lines().map(str::trim).collect();

    for line in [
        "software-transmit",
        "software-receive",
        "software-system-clock",
        "hardware-transmit",
        "hardware-receive",
        "hardware-raw-clock",
        "PTP Hardware Clock: none",
    ] {
        ensure!(
            lines.contains(&line),
            "ethtool -T has no \"{line}\": {text}"
        );
    }
    for (heading, expected) in [
        ("Hardware Transmit Timestamp Modes:", ["off", "on"]),
        ("Hardware Receive Filter Modes:", ["none", "all"]),
    ] {
        let at = lines.iter().position(|line| *line == heading);
        let found: Vec<_> = at
            .map(|at| &lines[at + 1..])
            .unwrap_or_default()
            .iter()
            .take_while(|line| !line.ends_with(':') && !line.is_empty())
            .collect();

        ensure!(
            found == expected.iter().collect::<Vec<_>>(),
            "ethtool -T, {heading} expected {expected:?}, found {found:?}: {text}"
        );
    }
    Ok(())
}
