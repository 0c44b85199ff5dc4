// SPDX-License-Identifier: GPL-2.0

//! How the storm finds out that something is stuck, and what it reports then.

use super::{gate::PORTS, state::Storm};
use crate::{bed::Port, host::watchdog};
use anyhow::{bail, Result};
use std::{thread, time::Duration};

/// After how many checks in a row with the same result something counts as stuck. A check is work,
/// so it takes longer on a slow machine.
const CHECKS: u32 = 600;
/// The pause between two checks.
pub const PAUSE: Duration = Duration::from_millis(20);

/// Waits until a check returns `None`. Fails if it has returned the same text [`CHECKS`] times in a
/// row.
pub fn wait_for_progress(
    what: &str,
    mut look: impl FnMut() -> Result<Option<String>>,
) -> Result<()> {
    let (mut last, mut same) = (String::new(), 0);

    while let Some(left) = look()? {
        same = if left == last { same + 1 } else { 0 };
        if same == CHECKS {
            bail!("{what}: nothing has changed in {CHECKS} checks; {left}");
        }
        last = left;
        thread::sleep(PAUSE);
    }
    watchdog::still_alive();
    Ok(())
}

/// The queueing disciplines of a port in which frames wait, one per line.
pub fn backlog(port: &Port) -> Result<Option<String>> {
    let text = port
        .ns
        .exec(&format!("tc -s qdisc show dev {}", port.name))?;
    let (mut qdisc, mut waiting) = ("", Vec::new());

    for line in text.lines() {
        if line.starts_with("qdisc ") {
            qdisc = line;
        } else if let Some(frames) = line.trim().strip_prefix("backlog ") {
            if !frames.starts_with("0b 0p") {
                let location = qdisc.split(" bands ").next().unwrap_or_default();
                waiting.push(format!("{}: {frames} wait in {location}", port.name));
            }
        }
    }
    Ok((!waiting.is_empty()).then(|| waiting.join("\n")))
}

/// What is stuck at all ports: transmit queues that were stopped more often than woken, and
/// queueing disciplines in which frames wait.
pub fn describe(storm: &Storm<'_>) -> String {
    let mut found = Vec::new();

    for state in &storm.ports[..PORTS] {
        found.extend(stopped(&state.port).unwrap_or_default());
        found.extend(backlog(&state.port).ok().flatten());
    }
    if found.is_empty() {
        return "no transmit queue was stopped more often than woken, and no frame waits"
            .to_owned();
    }
    found.join("\n")
}

fn stopped(port: &Port) -> Result<Vec<String>> {
    let counters = port.counters()?;
    let (stopped, woken) = (counters.tx_each("stopped")?, counters.tx_each("woken")?);

    Ok(stopped
        .iter()
        .zip(&woken)
        .enumerate()
        .filter(|(_, (stopped, woken))| stopped > woken)
        .map(|(n, (stopped, woken))| {
            format!(
                "{}: transmit queue {n} is stuck: stopped {stopped} times, woken {woken} times",
                port.name
            )
        })
        .collect())
}
