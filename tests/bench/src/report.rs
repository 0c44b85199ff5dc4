// SPDX-License-Identifier: GPL-2.0

//! What becomes of a measurement: tables, a chart, JSON; runs in the lab.

use crate::{
    chart, goals,
    packets::Profiled,
    profile::{self, Functions, Symbols},
    result::{Function, Rate, Results},
    tables,
};
use anyhow::{ensure, Context, Result};
use oxnic_drop_points::text::fill_in;
use std::{collections::BTreeMap, fs, path::Path};

/// What the places of tables in texts are named after.
const COMMAND: &str = "make bench";
/// A function with fewer instructions per frame is not listed.
const LEAST: f64 = 0.5;

/// Where documentation has all results.
const JSON: &str = "benchmarks.json";

/// Prints the results in a directory, as far as they are there. With a directory for documentation the
/// tables go into the files in it and into README.md beside it; all results must be there then,
/// unless they are an `update` of those that the documentation has.
pub fn report(directory: &Path, documentation: Option<&Path>, update: bool) -> Result<()> {
    let mut results: Results = read(&directory.join("results.json"))?;
    let rate = directory.join("rate.json");

    if documentation.is_some() && !update || rate.exists() {
        results.rate = Some(read(&rate)?);
    }
    add_profiles(&mut results, directory)?;
    for (_, text) in tables::sections(&results) {
        if !text.is_empty() {
            println!("{text}");
        }
    }
    let Some(documentation) = documentation else {
        return Ok(());
    };
    if update {
        let mut all: Results = read(&documentation.join(JSON))?;

        all.update(results);
        results = all;
    }
    fs::write(
        documentation.join(JSON),
        serde_json::to_string_pretty(&results)? + "\n",
    )?;
    write_tables(&results, documentation)
}

/// Makes the chart and the tables of a directory for documentation from its results.
pub fn redraw(documentation: &Path) -> Result<()> {
    write_tables(&read(&documentation.join(JSON))?, documentation)
}

fn write_tables(results: &Results, documentation: &Path) -> Result<()> {
    let sections = tables::sections(results);
    let text = documentation.join("benchmarks.md");

    fs::write(documentation.join("benchmarks.svg"), chart::draw(results)?)?;
    let count = fill_in(&text, COMMAND, &sections)?;
    ensure!(
        count == sections.len(),
        "{} has a place for {count} tables of {}",
        text.display(),
        sections.len()
    );
    fill_in(&documentation.join("../README.md"), COMMAND, &sections)?;
    println!("written: benchmarks.md, .json, .svg in Documentation, and the table in README.md");
    println!("{}", goals::summary(&goals::all(results)));
    Ok(())
}

/// Prints the packets per second in a directory.
pub fn report_rate(directory: &Path) -> Result<()> {
    let rate: Rate = read(&directory.join("rate.json"))?;

    println!("{}", tables::rate(&rate));
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;

    serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}

fn add_profiles(results: &mut Results, directory: &Path) -> Result<()> {
    let profiled: Vec<Profiled> = read(&directory.join("profiled.json"))?;
    if profiled.is_empty() {
        return Ok(());
    }
    let symbols = Symbols::read(&directory.join("kallsyms"))?;
    let profiles = profile::read(&directory.join("profile"), &symbols)?;
    // The empty name is for what is not subtracted.
    let mut alone: BTreeMap<&str, PerFrame> = BTreeMap::from([("", PerFrame::new())]);

    ensure!(
        profiles.len() == profiled.len(),
        "{} profiles of {}",
        profiles.len(),
        profiled.len()
    );
    for (what, functions) in profiled.iter().zip(&profiles) {
        let functions = per_frame(functions, what.frames);
        let Some(kind) = what.kind else {
            alone.insert(&what.source, functions);
            continue;
        };
        let own = alone
            .get(what.source.as_str())
            .context("a source that was not profiled alone")?;
        let cell = results
            .scenarios
            .iter_mut()
            .find(|row| row.name == what.scenario)
            .and_then(|row| row.cells.get_mut(&kind))
            .context("a profile of an unknown scenario")?;

        cell.profile = net(functions, own);
    }
    Ok(())
}

/// Per frame, outside and inside of polls.
type PerFrame = BTreeMap<String, [f64; 2]>;

fn per_frame(functions: &Functions, frames: u64) -> PerFrame {
    functions
        .iter()
        .map(|(name, count)| {
            (
                name.clone(),
                count.map(|count| count as f64 / frames as f64),
            )
        })
        .collect()
}

fn net(mut functions: PerFrame, own: &PerFrame) -> Vec<Function> {
    for (name, instructions) in own {
        let function = functions.entry(name.clone()).or_default();

        for (sum, own) in function.iter_mut().zip(instructions) {
            *sum -= own;
        }
    }
    let mut list: Vec<_> = functions
        .into_iter()
        .map(|(name, [elsewhere, poll])| Function {
            name,
            poll: tenths(poll),
            elsewhere: tenths(elsewhere),
        })
        .filter(|function| function.poll.abs() >= LEAST || function.elsewhere.abs() >= LEAST)
        .collect();

    list.sort_by(|a, b| (b.poll + b.elsewhere).total_cmp(&(a.poll + a.elsewhere)));
    list
}

/// Rounded, as more digits than that say nothing.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
