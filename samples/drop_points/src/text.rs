// SPDX-License-Identifier: GPL-2.0

//! Tables in Markdown, and their places in texts.

use anyhow::{Context, Result};
use std::{fs, path::Path};

/// A table with its head: the names of the columns, the first so many of them for text.
pub fn table(head: &[&str], text: usize, rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let rule = (0..head.len()).map(|column| if column < text { "---" } else { "---:" });
    let mut table = line(head.to_vec()) + &line(rule.collect());

    for row in rows {
        table += &line(row.iter().map(String::as_str).collect());
    }
    table
}

pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

pub fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// Writes sections into a text, between the lines `<!-- COMMAND: NAME -->` and `<!-- end -->`;
/// returns how many there were.
pub fn fill_in(path: &Path, command: &str, sections: &[(&str, String)]) -> Result<usize> {
    let old = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut lines = old.split_inclusive('\n');
    let mut new = String::new();
    let mut count = 0;

    while let Some(line) = lines.next() {
        new += line;
        let Some(name) = begins(line, command) else {
            continue;
        };
        let (_, text) = sections
            .iter()
            .find(|section| section.0 == name)
            .with_context(|| format!("{}: no section is called {name}", path.display()))?;
        let end = lines
            .find(|line| line.trim_end() == "<!-- end -->")
            .with_context(|| format!("{}: {name} has no end", path.display()))?;

        new += &format!("\n{}\n\n{end}", text.trim_matches('\n'));
        count += 1;
    }
    if new != old {
        fs::write(path, new).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(count)
}

/// Whether a text has a place for a section.
pub fn has_place(text: &str, command: &str) -> bool {
    text.lines().any(|line| begins(line, command).is_some())
}

/// The name of the section that begins in a line.
fn begins<'a>(line: &'a str, command: &str) -> Option<&'a str> {
    line.trim_end()
        .strip_prefix("<!-- ")?
        .strip_prefix(command)?
        .strip_prefix(": ")?
        .strip_suffix(" -->")
}
