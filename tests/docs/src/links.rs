// SPDX-License-Identifier: GPL-2.0

//! Links within the repository: to a file or directory, and to a heading of a page.

use crate::{
    page::{Link, Page},
    Finding,
};
use std::path::{Component, Path, PathBuf};

pub fn check(page: &Page, pages: &[Page], root: &Path) -> Vec<Finding> {
    page.links
        .iter()
        .filter_map(|link| check_link(link, page, pages, root).err())
        .collect()
}

fn check_link(link: &Link, page: &Page, pages: &[Page], root: &Path) -> Result<(), Finding> {
    let Link { line, target } = link;

    // With a scheme it leads elsewhere.
    if target.contains(':') {
        return Ok(());
    }
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target.as_str(), None),
    };
    let path = if file.is_empty() {
        Some(page.path.clone())
    } else {
        resolve(&page.path, file)
    };
    let path = path
        .filter(|path| root.join(path).exists())
        .ok_or_else(|| Finding::new(*line, format!("a link to {file}, which is not there")))?;
    let Some(anchor) = anchor else { return Ok(()) };
    let there = pages
        .iter()
        .find(|page| page.path == path)
        .is_some_and(|page| page.anchors.contains(anchor));

    if !there {
        return Err(Finding::new(
            *line,
            format!("{} has no heading #{anchor}", path.display()),
        ));
    }
    Ok(())
}

/// What a link means in a page; nothing if it leads out of the repository.
fn resolve(page: &Path, link: &str) -> Option<PathBuf> {
    let mut path = page.parent()?.to_owned();

    for part in Path::new(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => (),
            Component::ParentDir if path.pop() => (),
            _ => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::page::Page;
    use std::path::Path;

    /// The findings in a page of this crate, which has the heading "Two words", beside Cargo.toml.
    fn findings(text: &str) -> Vec<String> {
        let text = format!("# Two words\n\n## Two `words`!\n\n{text}\n");
        let page = Page::parse("src/page.md".into(), &text);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));

        check(&page, &[Page::parse("src/main.rs".into(), &text)], root)
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn what_is_there() {
        let text = "[a](../Cargo.toml) [b](main.rs#two-words) [c](main.rs#two-words-1) \
                    ![d](.) [e](https://nowhere.invalid/x#y)";

        assert!(findings(text).is_empty());
    }

    #[test]
    fn what_is_not() {
        for text in [
            "[a](Cargo.toml)",
            "![a](nothing.svg)",
            "[a](../../../../../etc/passwd)",
            "[a](main.rs#two-words-2)",
            "[a](#two-words)", // of a page that is none of those that were read
        ] {
            assert_eq!(findings(text).len(), 1, "{text}");
        }
    }
}
