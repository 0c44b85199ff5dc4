// SPDX-License-Identifier: GPL-2.0

//! Names in backticks. What is checked:
//!
//! - `path::name`: the module or type at the end of the path has it, or a test is called so;
//! - a type of Rust by itself, also in the arguments of a function: it is somewhere in the sources;
//! - a name with an underscore, as functions and fields have: it is in the sources, or the kernel's;
//! - a path of this repository: the file is there.
//!
//! The same for paths and items in the text of a picture.
//!
//! Tables that a command has measured are left alone, and so is what a name stands in for several.

use crate::{
    index::{Has, Index},
    page::{Page, Span},
    Finding,
};

/// Directories that a path of the repository begins with.
const DIRECTORIES: [&str; 5] = ["rust/", "samples/", "scripts/", "tests/", "Documentation/"];

/// Names in the text of a picture: paths of this repository, and `Type::function`.
pub fn check_picture(svg: &str, index: &Index) -> Vec<Finding> {
    (1..)
        .zip(svg.lines())
        .flat_map(|(number, line)| {
            line.split(['<', '>', ' ', ',', '"'])
                .map(move |word| (number, word))
        })
        .filter(|(_, word)| {
            word.contains("::") || DIRECTORIES.iter().any(|start| word.starts_with(start))
        })
        .filter_map(|(number, word)| {
            let word = word.trim_end_matches(['.', ':', ';', ')']);

            Some(Finding::new(number, wrong(word, index)?))
        })
        .collect()
}

pub fn check(page: &Page, index: &Index) -> Vec<Finding> {
    page.spans
        .iter()
        .filter_map(|Span { line, text, .. }| Some(Finding::new(*line, wrong(text, index)?)))
        .collect()
}

/// What is wrong with the text between two backticks.
fn wrong(text: &str, index: &Index) -> Option<String> {
    if let Some(wrong) = wrong_path(text, index) {
        return Some(wrong);
    }
    // Commands, what a program prints, and the signs that stand for any number.
    let is_code = text.contains("::") && !text.contains(['/', '=', '…']) && !text.starts_with('<');
    if is_code {
        let (path, rest) = text.split_at(text.find(['(', '<', ' ']).unwrap_or(text.len()));

        return wrong_item(path, index).or_else(|| {
            identifiers(rest)
                .find(|name| is_type(name) && !index.has_word(name))
                .map(|name| format!("`{text}`: there is no type {name}"))
        });
    }
    let name = text
        .split(['(', '<'])
        .next()
        .filter(|name| is_identifier(name) && !name.contains("_N"))?;
    let is_name = is_type(name)
        || name.trim_matches('_') == name
            && name.contains('_')
            && name.contains(|c: char| c.is_ascii_lowercase());

    (is_name && !index.has_word(name))
        .then(|| format!("`{text}` is a name of neither the sources nor the kernel"))
}

fn wrong_path(text: &str, index: &Index) -> Option<String> {
    let is_path = DIRECTORIES.iter().any(|start| text.starts_with(start))
        && !text.contains([' ', '*', '{', '<'])
        && !text.contains("NAME");

    (is_path && !index.has_file(text)).then(|| format!("`{text}` is not there"))
}

fn wrong_item(path: &str, index: &Index) -> Option<String> {
    let (outer, name) = path.rsplit_once("::")?;
    let outer = outer.rsplit("::").next().unwrap_or(outer);
    let has = if is_type(outer) {
        index.type_has(outer, name)
    } else {
        index.module_has(outer, name)
    };

    if has == Has::Yes || index.has_test(path) {
        return None;
    }
    match has {
        // Of another crate.
        Has::Unknown if index.has_word(outer) && index.has_word(name) => None,
        Has::Unknown => Some(format!("`{path}`: there is no {outer}")),
        _ => Some(format!("`{path}`: {outer} has no {name}")),
    }
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether it is written as types are: `Name`, not `NAME`.
fn is_type(name: &str) -> bool {
    is_identifier(name)
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.contains(|c: char| c.is_ascii_lowercase())
        && !name.contains('_')
}

#[cfg(test)]
mod tests {
    use super::wrong;
    use crate::index::Index;

    fn index() -> Index {
        let mut index = Index::default();
        let code = r#"
            /// Not the `Owner` of anything.
            pub struct Pool { size: usize }
            impl Pool { fn take(&self, cx: &Context) {} }
            trait Poll { const NAME: &str; }
            enum Act { Drop }
            fn max_size() {}
            fn cases() { run("pool::is_empty") }
        "#;

        index.add_rust("pool", code).unwrap();
        index
    }

    fn is_right(text: &str) -> bool {
        wrong(text, &index()).is_none()
    }

    #[test]
    fn names_that_there_are() {
        for text in [
            "Pool::take(&Context)",
            "Pool::size",
            "pool::Pool",
            "crate::pool::max_size()",
            "Poll::NAME",
            "Act::Drop",
            "Pool",
            "max_size",
            "pool::is_empty",
            "pool::",
            "rx_queue_N_bytes",
            "make test TESTS=other::",
            "some text",
        ] {
            assert!(is_right(text), "{text}");
        }
    }

    #[test]
    fn names_that_there_are_not() {
        for text in [
            "Pool::alloc",
            "Pool::take(&impl Owner)",
            "pool::take", // of the type, not of the module
            "Act::Pass",
            "Owner",
            "min_size",
            "pool::is_full",
            "other::",
            "rust/nowhere.rs",
        ] {
            assert!(!is_right(text), "{text}");
        }
    }
}
