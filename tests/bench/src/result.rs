// SPDX-License-Identifier: GPL-2.0

//! What a run of the benchmarks found out, as `benchmarks.json` has it.

use crate::device::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize)]
pub struct Results {
    pub kernel: String,
    pub scenarios: Vec<Row>,
    pub floor: Vec<Floor>,
    /// What the sources cost alone; subtracted from the scenarios.
    pub sources: Vec<Floor>,
}

/// A scenario; all costs are nanoseconds per frame, and with that instructions.
#[derive(Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub title: String,
    /// The source, for the table.
    pub source: String,
    pub goal: Option<f64>,
    pub cells: BTreeMap<Kind, Cell>,
}

impl Row {
    pub fn cost(&self, kind: Kind) -> Option<f64> {
        mean(&self.cells.get(&kind)?.runs)
    }

    pub fn ratio(&self) -> Option<f64> {
        Some(self.cost(Kind::Oxnic)? / self.cost(Kind::Veth)?)
    }
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

#[derive(Clone, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    /// In NAPI polls, and with that on the receiving side.
    pub poll: f64,
    pub elsewhere: f64,
}

pub fn mean(runs: &[f64]) -> Option<f64> {
    (!runs.is_empty()).then(|| runs.iter().sum::<f64>() / runs.len() as f64)
}

/// By how much runs differ, as a part of their mean.
pub fn spread(runs: &[f64]) -> Option<f64> {
    let high = runs.iter().copied().fold(f64::MIN, f64::max);
    let low = runs.iter().copied().fold(f64::MAX, f64::min);

    Some((high - low) / mean(runs)?)
}
