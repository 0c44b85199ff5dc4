// SPDX-License-Identifier: GPL-2.0

//! Checks what the files of the module import from each other:
//!
//! - a layer imports only from those below it ([`LAYERS`]);
//! - no files import each other in a circle.
//!
//! An import is a `use`, or a path that begins with `crate`, `super` or `kernel`. The imported file
//! is that of the longest part of the path that is a module; the kernel's crate counts as one file.
//!
//! usage: `imports [CLONE]`

use anyhow::{bail, Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};
use syn::{visit::Visit, UseTree};

/// Each layer, and those from which it may import.
const LAYERS: [(&str, &[&str]); 7] = [
    ("driver", &["card", "net", "nic", "dest", "compat", KERNEL]),
    ("card", &["net", "nic", "dest", "compat", KERNEL]),
    ("net", &["bindings", "dest", "compat", KERNEL]),
    ("nic", &["dest"]),
    ("dest", &[]),
    ("bindings", &[KERNEL]),
    ("compat", &[KERNEL]),
];

/// The kernel's crate.
const KERNEL: &str = "kernel";

/// The only file of `nic` that uses the kernel: it replaces the kernel's types on the host.
const NIC_STORAGE: [&str; 2] = ["nic", "storage"];

/// A module by its path in the crate.
type Module = Vec<String>;

/// The modules that each module imports from.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

fn main() -> Result<()> {
    let root = env::args_os().nth(1).map_or(".".into(), PathBuf::from);
    let mut files = BTreeMap::new();

    read(&root.join("rust"), &mut Vec::new(), &mut files)?;
    let imports = imports(&files)?;
    let mut wrong = false;

    for (from, to) in forbidden(&imports) {
        println!("{} must not import from {}", show(from), show(to));
        wrong = true;
    }
    for circle in circles(&imports) {
        let names: Vec<_> = circle.iter().map(|file| show(file)).collect();

        println!("these import each other in a circle: {}", names.join(", "));
        wrong = true;
    }
    if wrong {
        bail!("files import what they must not");
    }
    println!("{} files, nothing wrong", files.len());
    Ok(())
}

fn show(module: &Module) -> String {
    module.join("::")
}

/// Reads the modules in a directory, and in those below it.
fn read(directory: &Path, module: &mut Module, files: &mut BTreeMap<Module, String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();

        module.push(name.to_string());
        if path.is_dir() {
            read(&path, module, files)?;
        } else if path.extension().is_some_and(|end| end == "rs") && name != "generated" {
            let text = fs::read_to_string(&path)?;
            // The root of the crate, and what stands for a directory, have the name of what they
            // are in.
            let own = if name == "mod" || module.len() == 1 {
                &module[..module.len() - 1]
            } else {
                module.as_slice()
            };

            files.insert(own.to_vec(), text);
        }
        module.pop();
    }
    Ok(())
}

fn imports(files: &BTreeMap<Module, String>) -> Result<Imports> {
    let mut all = Imports::new();

    for (module, text) in files {
        let file = syn::parse_file(text).with_context(|| format!("parsing {}", show(module)))?;
        let mut found = Paths::default();

        found.visit_file(&file);
        let from = all.entry(module.clone()).or_default();
        for path in found.0 {
            if let Some(target) = resolve(module, &path, files) {
                if target != *module {
                    from.insert(target);
                }
            }
        }
    }
    Ok(all)
}

/// The module of the item that `path` names in `module`; [`None`] if it is of another crate than
/// this one and the kernel's.
fn resolve(module: &Module, path: &[String], files: &BTreeMap<Module, String>) -> Option<Module> {
    let (mut target, rest) = match path.first()?.as_str() {
        "crate" => (Module::new(), &path[1..]),
        "self" => (module.clone(), &path[1..]),
        _ => (module.clone(), path),
    };

    for name in rest {
        if name == "super" {
            target.pop();
            continue;
        }
        target.push(name.clone());
        if !files.contains_key(&target) {
            target.pop();
            break;
        }
    }
    let is_own =
        matches!(path[0].as_str(), "crate" | "self" | "super") || target.len() > module.len();

    if !is_own && path[0] == KERNEL {
        return Some(vec![KERNEL.to_owned()]);
    }
    is_own.then_some(target)
}

/// The paths in a file that may be of this crate.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl Paths {
    fn add_use(&mut self, tree: &UseTree, path: &mut Vec<String>) {
        match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                self.add_use(&tree.tree, path);
                path.pop();
            }
            UseTree::Name(name) => self.add(path, &name.ident),
            UseTree::Rename(rename) => self.add(path, &rename.ident),
            UseTree::Glob(_) => self.0.push(path.clone()),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, path);
                }
            }
        }
    }

    fn add(&mut self, path: &[String], last: &proc_macro2::Ident) {
        let mut path = path.to_vec();

        path.push(last.to_string());
        self.0.push(path);
    }

    /// What macros are given is not parsed: its paths are names with colons in between.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        let mut colons = 2;

        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 => {
                    path.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && colons < 2 => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                _ => {}
            }
            self.end(&mut path);
            colons = 2;
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Vec<String>) {
        let path = std::mem::take(path);

        if matches!(
            path.first().map(String::as_str),
            Some("crate" | "super" | KERNEL)
        ) {
            self.0.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());

        self.end(&mut names.collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.add_tokens(item.tokens.clone());
    }

    // Links in comments are no imports; `pub(in super)` neither.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

/// The imports from a layer that is not below.
fn forbidden(imports: &Imports) -> Vec<(&Module, &Module)> {
    let mut found = Vec::new();

    for (from, targets) in imports {
        let Some((_, allowed)) = LAYERS
            .iter()
            .find(|(layer, _)| from.first().is_some_and(|own| own == layer))
        else {
            continue;
        };
        for to in targets {
            let is_allowed = to.first().is_none_or(|layer| {
                *layer == from[0]
                    || allowed.contains(&layer.as_str())
                    || (*from == NIC_STORAGE && layer == KERNEL)
            });

            if !is_allowed {
                found.push((from, to));
            }
        }
    }
    found
}

/// The largest sets of modules that all import each other, be it by way of others.
fn circles(imports: &Imports) -> Vec<Vec<&Module>> {
    let reached: BTreeMap<_, _> = imports
        .keys()
        .map(|from| (from, reached(imports, from)))
        .collect();
    let mut found: Vec<Vec<&Module>> = Vec::new();

    for module in imports.keys() {
        let circle: Vec<_> = reached[module]
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(module)))
            .collect();

        if !circle.is_empty() && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

/// All that a module imports from, be it by way of others.
fn reached<'a>(imports: &'a Imports, from: &'a Module) -> BTreeSet<&'a Module> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];

    while let Some(module) = open.pop() {
        for target in imports.get(module).into_iter().flatten() {
            if seen.insert(target) {
                open.push(target);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str) -> Module {
        path.split("::")
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn imports_of(files: &[(&str, &str)]) -> Imports {
        let files = files
            .iter()
            .map(|(path, text)| (module(path), (*text).to_owned()))
            .collect();

        imports(&files).unwrap()
    }

    fn of(imports: &Imports, path: &str) -> Vec<String> {
        imports[&module(path)].iter().map(show).collect()
    }

    #[test]
    fn paths_are_followed_to_the_file() {
        let found = imports_of(&[
            ("", "mod card; mod driver;"),
            ("card", "pub mod rx;"),
            ("card::rx", "pub struct A;"),
            ("driver", "mod xdp; pub use xdp::run::Run;"),
            ("driver::xdp", "pub mod run; pub mod setup;"),
            (
                "driver::xdp::run",
                "use super::setup::{self, B}; use crate::card::{rx, rx::A};",
            ),
            (
                "driver::xdp::setup",
                "fn f() -> super::super::xdp::run::Run { g!(h, crate::card::rx::A) }",
            ),
        ]);

        assert_eq!(of(&found, "driver"), ["driver::xdp::run"]);
        assert_eq!(
            of(&found, "driver::xdp::run"),
            ["card::rx", "driver::xdp::setup"]
        );
        assert_eq!(
            of(&found, "driver::xdp::setup"),
            ["card::rx", "driver::xdp::run"]
        );
    }

    #[test]
    fn a_module_below_and_another_crate() {
        let found = imports_of(&[
            ("net", "mod bh; use bh::Lock; use core::ptr;"),
            ("net::bh", "use kernel::bh::X;"),
        ]);

        assert_eq!(of(&found, "net"), ["net::bh"]);
        assert_eq!(of(&found, "net::bh"), ["kernel"]);
    }

    #[test]
    fn circles_are_found_once() {
        let found = imports_of(&[
            ("card::a", "use super::b::X;"),
            ("card::b", "use super::c::X;"),
            ("card::c", "use super::a::X;"),
            ("card::d", "use super::a::X;"),
        ]);
        let found = circles(&found);

        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0],
            [&module("card::a"), &module("card::b"), &module("card::c")]
        );
    }

    #[test]
    fn two_files_without_a_circle() {
        let found = imports_of(&[
            ("card::a", "use super::b::X;"),
            ("card::b", "pub struct X;"),
        ]);

        assert!(circles(&found).is_empty());
    }

    #[test]
    fn layers() {
        let found = imports_of(&[
            ("card", ""),
            ("driver", ""),
            ("card::a", "use crate::driver::b::X;"),
            ("driver::b", "use crate::card::a::X; use crate::bindings;"),
            ("bindings", ""),
        ]);

        assert_eq!(
            forbidden_names(&found),
            ["card::a -> driver::b", "driver::b -> bindings"]
        );
    }

    #[test]
    fn nic_uses_the_kernel_in_one_file() {
        let found = imports_of(&[
            ("nic", ""),
            ("nic::storage", "use kernel::sync::Arc;"),
            ("nic::ring", "fn f() -> kernel::sync::Arc<u8> { g() }"),
            ("net", "use kernel::sync::Arc;"),
        ]);

        assert_eq!(forbidden_names(&found), ["nic::ring -> kernel"]);
    }

    fn forbidden_names(imports: &Imports) -> Vec<String> {
        forbidden(imports)
            .iter()
            .map(|(from, to)| format!("{} -> {}", show(from), show(to)))
            .collect()
    }
}
