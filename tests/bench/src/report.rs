// SPDX-License-Identifier: GPL-2.0

//! The tables of a measurement; runs in the lab.

use crate::{
    device::Kind,
    measure::Profiled,
    profile::{self, Functions, Symbols},
    result::{mean, spread, Function, Results},
};
use anyhow::{ensure, Context, Result};
use std::{collections::BTreeMap, fs, path::Path};

/// A function with fewer instructions per frame is not listed.
const LEAST: f64 = 0.5;

pub fn report(folder: &Path, documentation: Option<&Path>) -> Result<()> {
    let mut results: Results = serde_json::from_slice(&fs::read(folder.join("results.json"))?)?;

    add_profiles(&mut results, folder)?;
    print!("{}", table(&results));
    print!("{}", receive_table(&results));
    print!("{}", profile_tables(&results));
    if let Some(documentation) = documentation {
        fs::write(
            documentation.join("benchmarks.json"),
            serde_json::to_string_pretty(&results)? + "\n",
        )?;
    }
    Ok(())
}

fn add_profiles(results: &mut Results, folder: &Path) -> Result<()> {
    let profiled: Vec<Profiled> = serde_json::from_slice(&fs::read(folder.join("profiled.json"))?)?;
    if profiled.is_empty() {
        return Ok(());
    }
    let symbols = Symbols::read(&folder.join("kallsyms"))?;
    let profiles = profile::read(&folder.join("profile"), &symbols)?;
    let mut alone: BTreeMap<&str, PerFrame> = BTreeMap::new();

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
            poll,
            elsewhere,
        })
        .filter(|function| function.poll.abs() >= LEAST || function.elsewhere.abs() >= LEAST)
        .collect();

    list.sort_by(|a, b| (b.poll + b.elsewhere).total_cmp(&(a.poll + a.elsewhere)));
    list
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

/// The table of all scenarios, in Markdown.
fn table(results: &Results) -> String {
    let mut text = String::from(
        "| scenario | | oxnic | veth | ratio | goal | repeatable to |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );

    for row in &results.scenarios {
        let differs = row
            .cells
            .values()
            .filter_map(|cell| spread(&cell.runs))
            .fold(0.0, f64::max);
        let verdict = match (row.ratio(), row.goal) {
            (Some(ratio), Some(goal)) if ratio <= goal => format!("{goal:.2} met"),
            (Some(_), Some(goal)) => format!("{goal:.2} MISSED"),
            (None, Some(goal)) => format!("{goal:.2} not measured"),
            (_, None) => String::new(),
        };

        text += &format!(
            "| {} | {} | {} | {} | {} | {} | {:.1} % |\n",
            row.name,
            row.title,
            number(row.cost(Kind::Oxnic), 0),
            number(row.cost(Kind::Veth), 0),
            number(row.ratio(), 2),
            verdict,
            differs * 100.0
        );
    }
    for list in [&results.floor, &results.sources] {
        text += "\n| alone | instructions | repeatable to |\n| --- | ---: | ---: |\n";
        for floor in list {
            text += &format!(
                "| {} | {} | {:.1} % |\n",
                floor.name,
                number(mean(&floor.runs), 0),
                spread(&floor.runs).unwrap_or(0.0) * 100.0
            );
        }
    }
    text += "\n";
    for row in &results.scenarios {
        for (kind, cell) in &row.cells {
            if let Some(reason) = &cell.skipped {
                text += &format!("{} on {} is left out: {reason}\n", row.name, kind.name());
            }
        }
    }
    text
}

/// What the receiving side takes, that is the NAPI polls: of the driver itself, of page_pool, of
/// the program and the kernel's way into it, and of the rest (for XDP_PASS most of all the stack).
fn receive_table(results: &Results) -> String {
    let mut text = String::from(
        "\n| in NAPI polls | | all | driver | page_pool | program | other |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );

    for row in &results.scenarios {
        for (kind, cell) in &row.cells {
            if cell.profile.is_empty() {
                continue;
            }
            let mut parts = [0.0; 4];

            for function in &cell.profile {
                parts[part(&function.name, kind.name())] += function.poll;
            }
            text += &format!(
                "| {} | {} | {:.0} |",
                row.name,
                kind.name(),
                parts.iter().sum::<f64>()
            );
            for part in parts {
                text += &format!(" {part:.0} |");
            }
            text += "\n";
        }
    }
    text
}

fn part(function: &str, module: &str) -> usize {
    if function.ends_with(&format!("[{module}]")) {
        0
    } else if function.contains("page_pool") {
        1
    } else if function.ends_with("[bpf]") || function.starts_with("bpf_dispatcher") {
        2
    } else {
        3
    }
}

/// The profiles by function, in Markdown.
fn profile_tables(results: &Results) -> String {
    let mut text = String::new();

    for row in &results.scenarios {
        for (kind, cell) in &row.cells {
            if cell.profile.is_empty() {
                continue;
            }
            let poll: f64 = cell.profile.iter().map(|function| function.poll).sum();
            let elsewhere: f64 = cell.profile.iter().map(|function| function.elsewhere).sum();

            text += &format!(
                "\n{} on {}: {poll:.0} in NAPI polls, {elsewhere:.0} elsewhere\n\n\
                 | function | in polls | elsewhere |\n| --- | ---: | ---: |\n",
                row.name,
                kind.name()
            );
            for function in &cell.profile {
                text += &format!(
                    "| {} | {:.1} | {:.1} |\n",
                    function.name, function.poll, function.elsewhere
                );
            }
        }
    }
    text
}
