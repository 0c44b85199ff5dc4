// SPDX-License-Identifier: GPL-2.0

//! Limits: what users may do, what can be set, and how much memory it takes.

mod ethtool;
mod memory;
mod privileges;

use crate::bed::Port;
use anyhow::Result;

/// Everything that commands show of a port.
fn state(port: &Port) -> Result<String> {
    let mut text = port.ns.ip(&format!("-d link show dev {}", port.name))?;

    for option in ["", "-k", "-g", "-l", "-a", "-c", "-x", "-n"] {
        text += &port.ethtool(option, "")?;
    }
    Ok(text)
}
