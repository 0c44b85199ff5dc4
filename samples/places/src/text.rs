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

/// Writes sections into a text, between the lines that say `<!-- COMMAND: NAME -->` and
/// `<!-- end -->`; returns how many there were.
pub fn fill_in(path: &Path, command: &str, sections: &[(&str, String)]) -> Result<usize> {
    const END: &str = "<!-- end -->";
    let begin = format!("<!-- {command}: ");
    let old = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut pieces = old.split(&begin);
    let mut new = pieces.next().unwrap_or("").to_owned();
    let mut count = 0;

    for piece in pieces {
        let context = || format!("{}: a line '{begin}...' is not complete", path.display());
        let (name, rest) = piece.split_once(" -->").with_context(context)?;
        let (_, rest) = rest.split_once(END).with_context(context)?;
        let (_, text) = sections
            .iter()
            .find(|section| section.0 == name)
            .with_context(|| format!("{}: no section is called {name}", path.display()))?;

        new += &format!(
            "{begin}{name} -->\n\n{}\n\n{END}{rest}",
            text.trim_matches('\n')
        );
        count += 1;
    }
    if new != old {
        fs::write(path, new).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(count)
}
