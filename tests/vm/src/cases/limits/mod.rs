// SPDX-License-Identifier: GPL-2.0

//! Limits: what users may do, what can be set, and how much memory it takes.

mod ethtool;
mod memory;
mod privileges;

use crate::bed::Port;
use anyhow::Result;

/// All that can be asked of a port, and what can be seen of it.
fn state(port: &Port) -> Result<String> {
    let mut text = port.ns.ip(&format!("-d link show dev {}", port.name))?;

    for option in ["", "-k", "-g", "-l", "-a", "-c", "-x", "-n"] {
        text += &port.ethtool(option, "")?;
    }
    Ok(text)
}
