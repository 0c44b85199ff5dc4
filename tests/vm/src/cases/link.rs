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
