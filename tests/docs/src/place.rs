// SPDX-License-Identifier: GPL-2.0

//! A file with a function, "`rust/nic/wire.rs`, `Inlet::put`" or "`Inlet::put` in `rust/nic/wire.rs`",
//! also in the cells of a table: the file has what is named.

use crate::{
    page::{Page, Span},
    Finding,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What may stand between a file and the names that are in it.
const AND: [&str; 4] = ["", ",", "and", "|"];

pub fn check(page: &Page, roots: &[PathBuf]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The file that names refer to, as long as only names follow it.
    let mut file: Option<&Span> = None;

    for (index, span) in page.spans.iter().enumerate() {
        let between = span.before.as_deref().map(str::trim);

        if is_source(&span.text) {
            let before = index.checked_sub(1).and_then(|index| page.spans.get(index));

            if let (Some("in"), Some(name)) = (between, before) {
                findings.extend(check_place(name, &span.text, roots));
            }
            file = Some(span);
        } else if !between.is_some_and(|between| AND.contains(&between)) {
            file = None;
        } else if let Some(file) = file {
            findings.extend(check_place(span, &file.text, roots));
        }
    }
    findings
}

fn is_source(text: &str) -> bool {
    text.contains('/') && [".rs", ".c", ".h"].iter().any(|end| text.ends_with(end))
}

fn check_place(span: &Span, file: &str, roots: &[PathBuf]) -> Option<Finding> {
    let text = roots
        .iter()
        .find_map(|root| fs::read_to_string(root.join(file)).ok())?;
    let path = span.text.split(['(', '<']).next()?;
    let mut names = path.rsplit("::");
    let name = names.next()?;
    let path_is_there = !is_name(name)
        || defines(&text, name, Path::new(file))
            && names
                .next()
                .is_none_or(|outer| is_inside(&text, outer, Path::new(file)));

    (!path_is_there).then(|| Finding::new(span.line, format!("`{path}` is not in {file}")))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a file speaks of a type, or is the module.
fn is_inside(text: &str, outer: &str, file: &Path) -> bool {
    file.with_extension("").ends_with(outer)
        || file
            .parent()
            .is_some_and(|directory| directory.ends_with(outer))
        || text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .any(|word| word == outer)
}

/// Whether a file has an item of this name; of a file in C it is enough that the name occurs.
fn defines(text: &str, name: &str, file: &Path) -> bool {
    let is_rust = file.extension().is_some_and(|end| end == "rs");
    let mut words = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '!')
        .filter(|word| !word.is_empty());
    let mut before = "";

    words.any(|word| {
        let found = word == name
            && (!is_rust
                || matches!(
                    before,
                    "fn" | "struct"
                        | "enum"
                        | "trait"
                        | "type"
                        | "const"
                        | "static"
                        | "union"
                        | "mod"
                        | "macro_rules!"
                ));

        before = word;
        found
    })
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::page::Page;

    /// In this crate: what of a text is wrong.
    fn findings(text: &str) -> usize {
        let page = Page::parse("page.md".into(), text);

        check(&page, &[env!("CARGO_MANIFEST_DIR").into()]).len()
    }

    #[test]
    fn what_is_there() {
        for text in [
            "`src/place.rs`, `check`, and then `nothing`",
            "`place::check` in `src/place.rs`",
            "`src/place.rs`, `check` and `AND`",
            "| `src/page.rs` | `Page::parse`, `WIDTH` |\n| --- | --- |\n| `src/place.rs` | `is_name` |",
            "`src/nowhere.rs`, `check`", // what names::check reports
        ] {
            assert_eq!(findings(text), 0, "{text}");
        }
    }

    #[test]
    fn what_is_elsewhere() {
        for text in [
            "`src/place.rs`, `Page::parse`",
            "`Page::parse` in `src/place.rs`",
            "`src/page.rs`, `Nothing::parse`",
            "`src/place.rs`, `check` and `too_long`",
            "| `src/place.rs` | `Page` |\n| --- | --- |",
        ] {
            assert_eq!(findings(text), 1, "{text}");
        }
    }
}
