// SPDX-License-Identifier: GPL-2.0

//! When nothing moves any more: how that is found out, and what is then said of it.

use super::{gate::PORTS, world::World};
use crate::{bed::Port, host::watchdog};
use anyhow::{bail, Result};
use std::{thread, time::Duration};

/// How often one looks at what stays the same until it is said to stand still. Looks are work: on a slow machine
/// they take longer.
const LOOKS: u32 = 600;
/// The pause between two looks.
pub const PAUSE: Duration = Duration::from_millis(20);

/// Waits until a look finds nothing left. Fails if what is left is the same for [`LOOKS`].
pub fn wait_while_moving(
    what: &str,
    mut look: impl FnMut() -> Result<Option<String>>,
) -> Result<()> {
    let (mut last, mut same) = (String::new(), 0);

    while let Some(left) = look()? {
        same = if left == last { same + 1 } else { 0 };
        if same == LOOKS {
            bail!("{what}: nothing has changed for {LOOKS} looks; {left}");
        }
        last = left;
        thread::sleep(PAUSE);
    }
    watchdog::still_alive();
    Ok(())
}

/// The queueing disciplines of a port in which frames wait, a line each.
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
                let place = qdisc.split(" bands ").next().unwrap_or_default();
                waiting.push(format!("{}: {frames} wait in {place}", port.name));
            }
        }
    }
    Ok((!waiting.is_empty()).then(|| waiting.join("\n")))
}

/// What stands still at all ports: transmit queues that were stopped more often than woken, and where frames
/// wait.
pub fn describe(world: &World<'_>) -> String {
    let mut found = Vec::new();

    for card in &world.cards[..PORTS] {
        found.extend(stopped(&card.port).unwrap_or_default());
        found.extend(backlog(&card.port).ok().flatten());
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
                "{}: transmit queue {n} stands still: stopped {stopped} times, woken {woken}",
                port.name
            )
        })
        .collect())
}
