// SPDX-License-Identifier: GPL-2.0

//! What a run of the benchmarks found out, as `benchmarks.json` has it. All costs are nanoseconds,
//! and with that instructions, per frame if nothing else is said.

use crate::{device::Kind, scenario};
use oxnic_drop_points::cost::{mean, spread};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Default, Serialize, Deserialize)]
pub struct Results {
    pub kernel: String,
    pub scenarios: Vec<Row>,
    pub floor: Vec<Floor>,
    /// What the sources cost alone; subtracted from the scenarios.
    pub sources: Vec<Floor>,
    pub tcp: Vec<TcpRow>,
    pub ping: Vec<PingRow>,
    pub scaling: Vec<ScaleRow>,
    /// From a VM of its own, with the wall's clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate: Option<Rate>,
}

impl Results {
    /// Takes over what another run has measured; the rest stays.
    pub fn update(&mut self, newer: Self) {
        // As they are measured, also where a row is new.
        let order: Vec<_> = scenario::all("").into_iter().map(|one| one.name).collect();

        self.kernel = newer.kernel;
        replace(&mut self.scenarios, newer.scenarios, |row| &row.name);
        self.scenarios
            .sort_by_key(|row| order.iter().position(|name| *name == row.name));
        replace(&mut self.floor, newer.floor, |floor| &floor.name);
        replace(&mut self.sources, newer.sources, |floor| &floor.name);
        replace(&mut self.tcp, newer.tcp, |row| &row.name);
        replace(&mut self.ping, newer.ping, |row| &row.name);
        replace(&mut self.scaling, newer.scaling, |row| &row.name);
        self.rate = newer.rate.or(self.rate.take());
    }
}

/// Puts each newer row in the place of the one with the same name, or at the end.
fn replace<T>(rows: &mut Vec<T>, newer: Vec<T>, name: impl Fn(&T) -> &String) {
    for row in newer {
        match rows.iter_mut().find(|old| name(old) == name(&row)) {
            Some(old) => *old = row,
            None => rows.push(row),
        }
    }
}

pub type Cells = BTreeMap<Kind, Cell>;

#[derive(Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub title: String,
    /// The source, for the table.
    pub source: String,
    /// The most that oxnic may cost, as a part of what veth costs.
    pub goal: Option<f64>,
    pub cells: Cells,
}

impl Row {
    pub fn ratio(&self) -> Option<f64> {
        Some(cost(&self.cells, Kind::Oxnic)? / cost(&self.cells, Kind::Veth)?)
    }
}

/// The mean of the costs on a device, if it was measured there.
pub fn cost(cells: &Cells, kind: Kind) -> Option<f64> {
    mean(&cells.get(&kind)?.runs)
}

/// By how much the runs on any device differ at most, as a part of their mean.
pub fn widest(cells: &Cells) -> f64 {
    cells
        .values()
        .filter_map(|cell| spread(&cell.runs))
        .fold(0.0, f64::max)
}

#[derive(Default, Serialize, Deserialize)]
pub struct Cell {
    /// The cost in each run, net of the source's own.
    pub runs: Vec<f64>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Instructions per frame by function, the source's own subtracted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub profile: Vec<Function>,
}

#[derive(Serialize, Deserialize)]
pub struct Floor {
    pub name: String,
    pub runs: Vec<f64>,
}

impl Floor {
    pub fn new(name: &str, runs: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            runs,
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    /// In NAPI polls, and with that on the receiving side.
    pub poll: f64,
    pub elsewhere: f64,
}

/// Costs per byte.
#[derive(Serialize, Deserialize)]
pub struct TcpRow {
    pub name: String,
    pub title: String,
    /// The most per byte on oxnic.
    pub goal: Option<f64>,
    pub cells: Cells,
}

/// From sending a ping to its answer.
#[derive(Serialize, Deserialize)]
pub struct PingRow {
    pub name: String,
    pub title: String,
    pub cells: Cells,
}

#[derive(Serialize, Deserialize)]
pub struct ScaleRow {
    pub name: String,
    pub source: String,
    pub rings: u32,
    /// Pairs of ports that the frames go over in turn.
    pub ports: u32,
    pub flows: u32,
    pub runs: Vec<f64>,
}

/// Packets per second of the wall's clock.
#[derive(Serialize, Deserialize)]
pub struct Rate {
    pub cpus: u32,
    /// How many times the work of one CPU they do when they only count.
    pub spinning: f64,
    pub rows: Vec<RateRow>,
}

#[derive(Serialize, Deserialize)]
pub struct RateRow {
    pub name: String,
    pub title: String,
    pub kind: Kind,
    /// With one CPU at work, and with all.
    pub one: f64,
    pub all: f64,
}

#[cfg(test)]
mod tests {
    use super::{Results, Row};
    use std::collections::BTreeMap;

    fn results(names: &[&str], title: &str) -> Results {
        let row = |name: &&str| Row {
            name: (*name).into(),
            title: title.into(),
            source: String::new(),
            goal: None,
            cells: BTreeMap::new(),
        };

        Results {
            scenarios: names.iter().map(row).collect(),
            ..Results::default()
        }
    }

    #[test]
    fn an_update_leaves_the_rest() {
        let mut all = results(&["pktgen-stack", "pktgen-tx", "bulk-stack"], "old");

        all.update(results(&["pktgen-tx", "pktgen-pass"], "new"));
        let rows: Vec<_> = all
            .scenarios
            .iter()
            .map(|row| (row.name.as_str(), row.title.as_str()))
            .collect();

        assert_eq!(
            rows,
            [
                ("pktgen-stack", "old"),
                ("pktgen-pass", "new"),
                ("pktgen-tx", "new"),
                ("bulk-stack", "old"),
            ]
        );
    }
}
