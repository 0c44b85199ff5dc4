// SPDX-License-Identifier: GPL-2.0

//! The names that the sources have.

use crate::files;
use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, iter,
    path::{Path, PathBuf},
};
use syn::{visit::Visit, ImplItem, Item, TraitItem, Type, UseTree};

/// Where code is, in the clone.
const DIRECTORIES: [&str; 4] = ["rust", "samples", "tests", "scripts"];
/// And in the kernel's tree, as far as pages speak of it.
const KERNEL: [&str; 5] = ["include", "net", "kernel", "lib", "tools/lib/bpf"];

#[derive(Default)]
pub struct Index {
    /// What a module has, by the module's own name.
    modules: BTreeMap<String, BTreeSet<String>>,
    /// What a type or trait has: functions, constants, variants, fields.
    types: BTreeMap<String, BTreeSet<String>>,
    /// What is written anywhere in code, without its comments.
    words: HashSet<String>,
    /// Strings; the names of tests are among them.
    strings: BTreeSet<String>,
    /// The clone, and the kernel's tree.
    roots: Vec<PathBuf>,
}

/// Whether a module or type has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    Yes,
    No,
    /// There is no such module or type here.
    Unknown,
}

impl Index {
    pub fn read(root: &Path, kernel: Option<&Path>) -> Result<Self> {
        let mut index = Self {
            roots: iter::once(root).chain(kernel).map(Path::to_owned).collect(),
            ..Self::default()
        };

        for directory in DIRECTORIES {
            for path in files(root, Path::new(directory), &["rs", "c", "h", "conf", ""])? {
                // Made by bindgen; it has the kernel's names.
                if path.ends_with("generated.rs") {
                    continue;
                }
                let text = read(&root.join(&path))?;

                if path.extension().is_some_and(|end| end == "rs") {
                    index
                        .add_rust(&module_name(&path), &text)
                        .with_context(|| format!("parsing {}", path.display()))?;
                } else {
                    index.add_words(&text);
                }
            }
        }
        if let Some(kernel) = kernel {
            for directory in KERNEL {
                for path in files(kernel, Path::new(directory), &["c", "h"])? {
                    index.add_words(&read(&kernel.join(path))?);
                }
            }
        }
        Ok(index)
    }

    pub fn module_has(&self, module: &str, name: &str) -> Has {
        has(&self.modules, module, name)
    }

    pub fn type_has(&self, type_name: &str, name: &str) -> Has {
        has(&self.types, type_name, name)
    }

    /// Counters of what is received or sent have a prefix that is added to all of them.
    pub fn has_word(&self, word: &str) -> bool {
        let counter = word.strip_prefix("rx_").or(word.strip_prefix("tx_"));

        self.words.contains(word) || counter.is_some_and(|name| self.words.contains(name))
    }

    /// Whether there is a file or directory, here or in the kernel.
    pub fn has_file(&self, path: &str) -> bool {
        self.roots.iter().any(|root| root.join(path).exists())
    }

    /// Whether a test, or a group of them if it ends in `::`, is called so.
    pub fn has_test(&self, name: &str) -> bool {
        self.strings
            .range(name.to_owned()..)
            .next()
            .is_some_and(|string| string.starts_with(name))
    }

    fn add_words(&mut self, text: &str) {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if !self.words.contains(word) {
                self.words.insert(word.to_owned());
            }
        }
    }

    pub fn add_rust(&mut self, module: &str, text: &str) -> Result<()> {
        let file = syn::parse_file(text)?;
        let tokens: TokenStream = text.parse().map_err(|error| anyhow::anyhow!("{error}"))?;

        self.add_tokens(tokens);
        self.modules.entry(module.to_owned()).or_default();
        Items {
            index: self,
            module: module.to_owned(),
        }
        .visit_file(&file);
        Ok(())
    }

    fn add_tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                TokenTree::Ident(ident) => {
                    self.words.insert(ident.to_string());
                }
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();

                    // Doc comments are strings too; what they say proves nothing, so only a string that
                    // is one word, or a path of names, counts.
                    if let Some(string) = text.strip_prefix('"') {
                        let string = string.trim_end_matches('"');

                        if !string.contains([' ', '\\']) {
                            self.add_words(string);
                            self.strings.insert(string.to_owned());
                        }
                    }
                }
                TokenTree::Punct(_) => (),
            }
        }
    }
}

fn has(map: &BTreeMap<String, BTreeSet<String>>, key: &str, name: &str) -> Has {
    match map.get(key) {
        Some(names) if names.contains(name) => Has::Yes,
        Some(_) => Has::No,
        None => Has::Unknown,
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;

    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The name of the module that is in a file.
fn module_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    let name = if stem == "mod" {
        path.parent().and_then(Path::file_name).unwrap_or_default()
    } else {
        stem
    };

    name.to_string_lossy().into_owned()
}

/// Collects the items of a module.
struct Items<'a> {
    index: &'a mut Index,
    module: String,
}

impl Items<'_> {
    fn add_item(&mut self, name: impl ToString) {
        self.index
            .modules
            .entry(self.module.clone())
            .or_default()
            .insert(name.to_string());
    }

    fn add_to_type(&mut self, type_name: &str, name: impl ToString) {
        self.index
            .types
            .entry(type_name.to_owned())
            .or_default()
            .insert(name.to_string());
    }

    fn add_use(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.add_use(&path.tree),
            UseTree::Name(name) => self.add_item(&name.ident),
            UseTree::Rename(rename) => self.add_item(&rename.rename),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(tree)),
            UseTree::Glob(_) => (),
        }
    }

    fn add_fields(&mut self, type_name: &str, fields: &syn::Fields) {
        self.index.types.entry(type_name.to_owned()).or_default();
        for field in fields {
            if let Some(ident) = &field.ident {
                self.add_to_type(type_name, ident);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Items<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Const(item) => self.add_item(&item.ident),
            Item::Fn(item) => self.add_item(&item.sig.ident),
            Item::Static(item) => self.add_item(&item.ident),
            Item::Type(item) => self.add_item(&item.ident),
            Item::Use(item) => self.add_use(&item.tree),
            Item::Macro(item) => {
                if let Some(ident) = &item.ident {
                    self.add_item(ident);
                }
            }
            Item::Struct(item) => {
                self.add_item(&item.ident);
                self.add_fields(&item.ident.to_string(), &item.fields);
            }
            Item::Enum(item) => {
                self.add_item(&item.ident);
                for variant in &item.variants {
                    self.add_to_type(&item.ident.to_string(), &variant.ident);
                }
            }
            Item::Trait(item) => {
                self.add_item(&item.ident);
                for one in &item.items {
                    let name = item.ident.to_string();
                    match one {
                        TraitItem::Const(one) => self.add_to_type(&name, &one.ident),
                        TraitItem::Fn(one) => self.add_to_type(&name, &one.sig.ident),
                        TraitItem::Type(one) => self.add_to_type(&name, &one.ident),
                        _ => (),
                    }
                }
            }
            Item::Impl(item) => {
                if let Some(name) = type_name(&item.self_ty) {
                    for one in &item.items {
                        match one {
                            ImplItem::Const(one) => self.add_to_type(&name, &one.ident),
                            ImplItem::Fn(one) => self.add_to_type(&name, &one.sig.ident),
                            ImplItem::Type(one) => self.add_to_type(&name, &one.ident),
                            _ => (),
                        }
                    }
                }
            }
            Item::Mod(item) => {
                let outer = self.module.clone();

                self.add_item(&item.ident);
                if item.content.is_some() {
                    self.module = item.ident.to_string();
                    syn::visit::visit_item_mod(self, item);
                    self.module = outer;
                }
            }
            _ => (),
        }
    }
}

fn type_name(self_ty: &Type) -> Option<String> {
    match self_ty {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        Type::Reference(reference) => type_name(&reference.elem),
        _ => None,
    }
}
