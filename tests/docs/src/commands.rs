// SPDX-License-Identifier: GPL-2.0

//! Commands of this repository, in code and in backticks: `make TARGET` names a target of the
//! Makefile, and `scripts/NAME` is there, or in the kernel's tree.

use crate::{page::Page, Finding};
use std::{collections::BTreeSet, path::PathBuf};

/// Targets of the kernel's build that a page speaks of.
const OF_THE_KERNEL: [&str; 3] = ["prepare", "modules_prepare", "olddefconfig"];

/// The targets of a Makefile.
pub fn targets(makefile: &str) -> BTreeSet<String> {
    makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', ' ', '#', '.']))
        .filter_map(|line| line.split_once(':'))
        .filter(|(_, rest)| !rest.starts_with('='))
        .flat_map(|(names, _)| names.split_whitespace())
        .map(str::to_owned)
        .collect()
}

pub fn check(page: &Page, targets: &BTreeSet<String>, roots: &[PathBuf]) -> Vec<Finding> {
    let blocks = page.blocks.iter().filter(|block| block.language.is_empty());
    let lines = blocks.flat_map(|block| {
        (block.line..)
            .zip(block.text.lines())
            .filter_map(|(line, text)| Some((line, command(text)?)))
    });
    let spans = page
        .spans
        .iter()
        .map(|span| (span.line, span.text.as_str()));

    lines
        .chain(spans)
        .filter_map(|(line, text)| Some(Finding::new(line, wrong(text, targets, roots)?)))
        .collect()
}

/// A line of a block, less a prompt; nothing if it is output.
fn command(line: &str) -> Option<&str> {
    let line = line.trim().trim_start_matches("# ");

    (line.starts_with("make ") || line.starts_with("scripts/")).then_some(line)
}

fn wrong(text: &str, targets: &BTreeSet<String>, roots: &[PathBuf]) -> Option<String> {
    let mut words = text.split_whitespace();
    let first = words.next()?;

    if first.starts_with("scripts/") && !first.contains(['*', '{', ',']) {
        return (!roots.iter().any(|root| root.join(first).exists()))
            .then(|| format!("`{first}` is not there"));
    }
    if first != "make" {
        return None;
    }
    words
        .take_while(|word| !word.starts_with(['-', '#', '$', '(', '&']))
        .filter(|word| !word.contains(['=', '/', '.']) && word.contains(|c: char| c.is_lowercase()))
        .find(|word| !targets.contains(*word) && !OF_THE_KERNEL.contains(word))
        .map(|word| format!("`{text}`: the Makefile has no target {word}"))
}

#[cfg(test)]
mod tests {
    use super::{targets, wrong};

    fn is_right(text: &str) -> bool {
        let makefile = "A ?= 1\nall: b\ntest-debug:\n\t@x y: z\nb := c\n";

        wrong(
            text,
            &targets(makefile),
            &[env!("CARGO_MANIFEST_DIR").into()],
        )
        .is_none()
    }

    #[test]
    fn what_is_there() {
        for text in [
            "make",
            "make all",
            "make test-debug TESTS=a::b   # nothing",
            "make KVER=$(uname -r)",
            "make -C tree nothing",
            "make prepare modules_prepare",
            "src/main.rs nothing",
        ] {
            assert!(is_right(text), "{text}");
        }
    }

    #[test]
    fn what_is_not() {
        for text in [
            "make nothing",
            "make all b",
            "make A=1 nothing",
            "scripts/nothing --all",
        ] {
            assert!(!is_right(text), "{text}");
        }
    }
}
