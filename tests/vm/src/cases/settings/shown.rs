// SPDX-License-Identifier: GPL-2.0

//! What shows of a setting.

use super::Shown;
use crate::{
    bed::{mac_text, Port},
    support::{ntuple::places, rss},
    wire::toeplitz::Key,
};
use anyhow::{anyhow, Context, Result};
use std::{collections::BTreeMap, fmt};

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ethtool(option, "", name) => write!(f, "ethtool {option}, {name}"),
            Self::Ethtool(option, heading, name) => {
                write!(f, "ethtool {option}, {heading}, {name}")
            }
            Self::Sysfs(file) => write!(f, "{file} in sysfs"),
            Self::By(name, _) => write!(f, "{name}"),
        }
    }
}

/// The values that show at these places.
pub fn read(places: &[Shown], port: &Port) -> Result<Vec<String>> {
    // Each command is run once.
    let mut outputs: BTreeMap<&str, String> = BTreeMap::new();

    places
        .iter()
        .map(|place| match place {
            Shown::Ethtool(option, heading, name) => {
                if !outputs.contains_key(option) {
                    outputs.insert(option, port.ethtool(option, "")?);
                }
                value(&outputs[option], heading, name)
            }
            Shown::Sysfs(file) => port.read_sysfs(file),
            Shown::By(_, read) => read(port),
        })
        .zip(places)
        .map(|(found, place)| found.with_context(|| place.to_string()))
        .collect()
}

/// The value in the first line `NAME: VALUE` behind a heading. Where a line has more than one
/// value, there are two blanks between them.
fn value(text: &str, heading: &str, name: &str) -> Result<String> {
    let (_, rest) = text
        .split_once(heading)
        .ok_or_else(|| anyhow!("no heading \"{heading}\" in: {text}"))?;

    rest.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)
        .and_then(|(_, value)| value.trim().split("  ").next())
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("no line \"{name}\" in: {text}"))
}

/// The indirection table as the queues that it has in turn, or as queues each with the number of
/// entries in a row that it has; then key, function and transformation.
pub fn rss(port: &Port) -> Result<String> {
    let shown = rss::Shown::of(port)?;
    let key = match shown.key {
        key if key == Key::of_the_system()?.text() => "of the system".to_owned(),
        key => key,
    };

    let names: Vec<_> = shown
        .function
        .iter()
        .chain(&shown.transform)
        .map(|name| name.trim_end_matches(':'))
        .collect();

    Ok(format!(
        "{}; key {key}; {}",
        table(&shown.table),
        names.join(" ")
    ))
}

fn table(entries: &[u32]) -> String {
    const LONGEST: usize = 8;
    let words = |list: &[u32]| {
        list.iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let in_turn = (1..=LONGEST).find(|&n| {
        entries
            .iter()
            .enumerate()
            .all(|(at, queue)| *queue == entries[at % n])
    });

    match in_turn {
        Some(n) => words(&entries[..n]),
        None => entries
            .chunk_by(|a, b| a == b)
            .map(|run| format!("{}x{}", run[0], run.len()))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

pub fn rules(port: &Port) -> Result<String> {
    let locations: Vec<_> = places(port)?.iter().map(u32::to_string).collect();

    Ok(locations.join(" "))
}

pub fn mac(port: &Port) -> Result<String> {
    Ok(mac_text(&port.mac()?))
}

pub fn on_or_off(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}
