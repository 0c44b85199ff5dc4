// SPDX-License-Identifier: GPL-2.0

//! Quotations of the sources: blocks of Rust and C, and of anything else that says what it quotes.
//!
//! A comment before the block names the file, `<!-- source: rust/driver/xdp.rs -->`, and every line
//! of the block must be in it as it is, one after the other. A line `...` stands for what was left
//! out. A block that quotes nothing says so: `<!-- not a quotation -->`.

use crate::{
    page::{Block, Page},
    Finding,
};
use std::{fs, path::Path};

const LANGUAGES: [&str; 2] = ["rust", "c"];
const SOURCE: &str = "source: ";
const LEFT_OUT: &str = "...";

pub fn check(page: &Page, root: &Path) -> Vec<Finding> {
    page.blocks
        .iter()
        .filter(|block| {
            LANGUAGES.contains(&block.language.as_str())
                || block
                    .comment
                    .as_deref()
                    .is_some_and(|comment| comment.starts_with(SOURCE))
        })
        .filter_map(|block| check_block(block, root).err())
        .collect()
}

fn check_block(block: &Block, root: &Path) -> Result<(), Finding> {
    let comment = block.comment.as_deref().unwrap_or_default();

    if comment == "not a quotation" {
        return Ok(());
    }
    let Some(path) = comment.strip_prefix(SOURCE) else {
        return Err(Finding::new(
            block.line,
            "a block of code with neither \"<!-- source: FILE -->\" nor \
             \"<!-- not a quotation -->\" before it",
        ));
    };
    let source = fs::read_to_string(root.join(path))
        .map_err(|error| Finding::new(block.line, format!("quotes {path}: {error}")))?;

    find(&block.text, &source, path).map_err(|(line, what)| Finding::new(block.line + line, what))
}

/// Looks for a quotation in a source. An error has the line of the quotation, counted from 1, and
/// what is wrong with it.
fn find(quotation: &str, source: &str, path: &str) -> Result<(), (usize, String)> {
    let source: Vec<_> = source.lines().collect();
    let quotation: Vec<_> = quotation.lines().collect();
    let mut from = 0;
    let mut first = 0;

    for run in quotation.split(|line| line.trim() == LEFT_OUT) {
        from = find_run(run, &source, from)
            .map_err(|(line, what)| (first + line + 1, format!("{path}: {what}")))?;
        first += run.len() + 1;
    }
    Ok(())
}

/// Looks for a run of lines behind a place in a source; returns where it ends. An error has the
/// first line of the run, counted from 0, that is not there.
fn find_run(run: &[&str], source: &[&str], from: usize) -> Result<usize, (usize, String)> {
    // How many lines are right, if the run begins at a line of the source.
    let right = |start: usize| {
        run.iter()
            .zip(&source[start..])
            .take_while(|(line, there)| line == there)
            .count()
    };
    // The first of the best.
    let best = (from..=source.len())
        .max_by_key(|start| (right(*start), usize::MAX - start))
        .unwrap_or(from);
    let count = right(best);

    if count == run.len() {
        return Ok(best + count);
    }
    let there = match source.get(best + count) {
        _ if count == 0 => "it has no such line here, nor after".to_owned(),
        Some(line) => format!("line {} is `{}`", best + count + 1, line.trim()),
        None => "it ends before".to_owned(),
    };

    Err((count, format!("`{}`: {there}", run[count].trim())))
}

#[cfg(test)]
mod tests {
    use super::find;

    const SOURCE: &str = "fn a() {\n    one();\n    two();\n}\n\nfn b() {\n    one();\n}\n";

    fn error(quotation: &str) -> (usize, String) {
        find(quotation, SOURCE, "x.rs").unwrap_err()
    }

    #[test]
    fn what_is_there_is_found() {
        for quotation in [
            SOURCE,
            "    one();\n    two();\n",
            "fn a() {\n...\n}\n...\nfn b() {\n",
            "    one();\n    ...\n    one();\n}\n",
            "...\nfn b() {\n...\n",
        ] {
            assert_eq!(find(quotation, SOURCE, "x.rs"), Ok(()), "{quotation}");
        }
    }

    #[test]
    fn a_changed_line_is_named() {
        let (line, what) = error("fn a() {\n    one();\n    three();\n}\n");

        assert_eq!(line, 3);
        assert_eq!(what, "x.rs: `three();`: line 3 is `two();`");
    }

    #[test]
    fn a_line_of_another_depth_is_another() {
        assert_eq!(error("one();\n").0, 1);
    }

    #[test]
    fn what_was_left_out_is_marked() {
        assert_eq!(error("fn a() {\n    two();\n").0, 2);
    }

    #[test]
    fn runs_are_in_order() {
        let (line, what) = error("fn b() {\n...\nfn a() {\n");

        assert_eq!(line, 3);
        assert!(what.contains("no such line"), "{what}");
    }

    #[test]
    fn the_end_is_the_end() {
        let (line, what) = error("fn b() {\n    one();\n}\nfn c() {}\n");

        assert_eq!(line, 4);
        assert!(what.contains("ends before"), "{what}");
    }
}
