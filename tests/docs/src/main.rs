// SPDX-License-Identifier: GPL-2.0

//! Checks README.md and the pages in Documentation/ against the sources:
//!
//! - a block of Rust or C says which file it quotes, and each of its lines is there ([`quote`]);
//! - a link leads to a file, and to a heading in it ([`links`]);
//! - a name in backticks is one of the sources, or of the kernel ([`names`]), also in a picture;
//! - a function that is said to be in a file is in that file ([`place`]);
//! - a target of make and a script are there ([`commands`]);
//! - a line of prose fits into the width of a page.
//!
//! usage: `oxnic-docs [CLONE [KERNEL_TREE]]`

mod commands;
mod index;
mod links;
mod names;
mod page;
mod place;
mod quote;

use anyhow::{bail, Context, Result};
use index::Index;
use page::Page;
use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
};

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    line: usize,
    what: String,
}

impl Finding {
    fn new(line: usize, what: impl fmt::Display) -> Self {
        Self {
            line,
            what: what.to_string(),
        }
    }
}

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let root = arguments.next().unwrap_or_else(|| ".".into());
    let kernel = arguments.next();
    let index = Index::read(&root, kernel.as_deref())?;
    let pages = read_pages(&root)?;
    let targets = commands::targets(&fs::read_to_string(root.join("Makefile"))?);
    let roots: Vec<_> = [&root].into_iter().chain(&kernel).cloned().collect();
    let mut count = 0;

    for page in &pages {
        let mut findings = quote::check(page, &root);

        findings.extend(links::check(page, &pages, &root));
        findings.extend(names::check(page, &index));
        findings.extend(place::check(page, &roots));
        findings.extend(commands::check(page, &targets, &roots));
        findings.extend(
            page.too_long
                .iter()
                .map(|line| Finding::new(*line, format!("longer than {} columns", page::WIDTH))),
        );
        findings.sort_by_key(|finding| finding.line);
        for Finding { line, what } in &findings {
            println!("{}:{line}: {what}", page.path.display());
        }
        count += findings.len();
    }
    for path in files(&root, Path::new("Documentation"), &["svg"])? {
        let text = fs::read_to_string(root.join(&path))?;

        for Finding { line, what } in names::check_picture(&text, &index) {
            println!("{}:{line}: {what}", path.display());
            count += 1;
        }
    }
    if count > 0 {
        bail!("{count} places in {} pages are wrong", pages.len());
    }
    println!("{} pages, nothing wrong", pages.len());
    Ok(())
}

fn read_pages(root: &Path) -> Result<Vec<Page>> {
    let mut paths = vec![PathBuf::from("README.md")];

    paths.extend(files(root, Path::new("Documentation"), &["md"])?);
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(root.join(&path))
                .with_context(|| format!("reading {}", path.display()))?;

            Ok(Page::parse(path, &text))
        })
        .collect()
}

/// The files in a directory of the clone, and in those below it, with these extensions; but for
/// what is built.
fn files(root: &Path, directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut list = Vec::new();
    let entries = fs::read_dir(root.join(directory))
        .with_context(|| format!("reading {}", directory.display()))?;

    for entry in entries {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        let end = path.extension().unwrap_or_default();

        if entry.file_type()?.is_dir() {
            if !path.ends_with("target") {
                list.extend(files(root, &path, extensions)?);
            }
        } else if extensions.iter().any(|wanted| end == *wanted) {
            list.push(path);
        }
    }
    list.sort();
    Ok(list)
}
