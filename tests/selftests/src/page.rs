// SPDX-License-Identifier: GPL-2.0

//! What came out: a line on the terminal, and the page of the documentation.

use crate::results::{self, Device, Line, Outcome, Verdict};
use anyhow::{Context, Result};
use std::{collections::BTreeMap, fmt::Write, fs, path::Path, process::ExitCode};

/// The page up to the rows of its first table.
const HEAD: &str = include_str!("page.md");

/// A file with a number of queues.
type File = (String, u32);

/// What the runs of a case have ended with, and why.
#[derive(Default)]
struct Case {
    counts: BTreeMap<(Device, Outcome), u32>,
    why: String,
}

/// Files and cases, in the order in which they came first.
struct Summary {
    files: Vec<(File, Vec<String>)>,
    cases: BTreeMap<(File, String), Case>,
}

pub fn report(out: &Path, page: Option<&Path>) -> Result<ExitCode> {
    let lines = results::read(out)?;

    if let Some(page) = page {
        let kernel = fs::read_to_string(out.join("kernel"))?;

        fs::write(page, write(&lines, kernel.trim()))
            .with_context(|| page.display().to_string())?;
        eprintln!("== {} is written", page.display());
    }
    Ok(say_verdict(&lines))
}

/// What counts is oxnic; veth is there to compare.
fn say_verdict(lines: &[Line]) -> ExitCode {
    let with = |verdict| lines.iter().filter(move |line| line.verdict == verdict);

    eprintln!(
        "== Results on oxnic: {} passed, {} did not as expected, {} unexpectedly",
        with(Verdict::Ok).count(),
        with(Verdict::Expected).count(),
        with(Verdict::Unexpected).count(),
    );
    for line in with(Verdict::Unexpected) {
        let detail = line.detail.as_deref().unwrap_or("-");

        eprintln!("   {} {}: {detail}", line.outcome.word(), line.case);
    }
    if with(Verdict::Unexpected).next().is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The page.
fn write(lines: &[Line], kernel: &str) -> String {
    let summary = Summary::of(lines);
    let runs = lines.iter().map(|line| line.run).max().unwrap_or_default();
    let mut page = HEAD
        .replace("{kernel}", kernel)
        .replace("{runs}", &runs.to_string());

    for (file, _) in &summary.files {
        let [oxnic, veth] = Device::ALL.map(|device| {
            Outcome::ALL
                .map(|outcome| summary.count(file, device, outcome).to_string())
                .join(" / ")
        });

        page += &format!("| `{}` | {} | {oxnic} | {veth} |\n", file.0, file.1);
    }
    for (file, cases) in &summary.files {
        let queues = if file.1 == 1 {
            "1 queue".to_owned()
        } else {
            format!("{} queues", file.1)
        };

        page += &format!(
            "\n## {}, {queues}\n\n| case | oxnic | veth | |\n| --- | --- | --- | --- |\n",
            file.0
        );
        for name in cases {
            let Some(case) = summary.cases.get(&(file.clone(), name.clone())) else {
                continue;
            };
            let short = name
                .split_once('.')
                .map_or(name.as_str(), |(_, short)| short);
            let [oxnic, veth] = Device::ALL.map(|device| case.cell(device));

            page += &format!("| {short} | {oxnic} | {veth} | {} |\n", case.why);
        }
    }
    page
}

impl Summary {
    fn of(lines: &[Line]) -> Self {
        let mut summary = Self {
            files: Vec::new(),
            cases: BTreeMap::new(),
        };

        for line in lines {
            let file = (line.path.clone(), line.queues);
            let index = summary
                .files
                .iter()
                .position(|(known, _)| *known == file)
                .unwrap_or_else(|| {
                    summary.files.push((file.clone(), Vec::new()));
                    summary.files.len() - 1
                });
            let cases = &mut summary.files[index].1;

            if !cases.contains(&line.case) {
                cases.push(line.case.clone());
            }
            summary
                .cases
                .entry((file, line.case.clone()))
                .or_default()
                .add(line);
        }
        summary
    }

    fn count(&self, file: &File, device: Device, outcome: Outcome) -> u32 {
        self.cases
            .iter()
            .filter(|((of, _), _)| of == file)
            .map(|(_, case)| case.count(device, outcome))
            .sum()
    }
}

impl Case {
    fn add(&mut self, line: &Line) {
        *self.counts.entry((line.device, line.outcome)).or_default() += 1;
        if line.device != Device::Oxnic {
            return;
        }
        let why = match line.verdict {
            Verdict::Unexpected => {
                self.why = format!("**unexpected:** {}", line.detail.as_deref().unwrap_or("-"));
                return;
            }
            Verdict::Expected => &line.reason,
            _ => &line.detail,
        };

        if let (true, Some(why)) = (self.why.is_empty(), why) {
            self.why.clone_from(why);
        }
    }

    fn count(&self, device: Device, outcome: Outcome) -> u32 {
        self.counts
            .get(&(device, outcome))
            .copied()
            .unwrap_or_default()
    }

    /// One word if all runs agree, else how often what.
    fn cell(&self, device: Device) -> String {
        let counts: Vec<_> = Outcome::ALL
            .into_iter()
            .map(|outcome| (self.count(device, outcome), outcome.word()))
            .filter(|(count, _)| *count > 0)
            .collect();
        let mut text = String::new();

        match counts[..] {
            [] => text.push('-'),
            [(_, word)] => text.push_str(word),
            _ => {
                for (count, word) in counts {
                    let comma = if text.is_empty() { "" } else { ", " };
                    let _ = write!(text, "{comma}{count} {word}");
                }
            }
        }
        text
    }
}
