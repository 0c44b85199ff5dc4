// SPDX-License-Identifier: GPL-2.0

//! What the kernel knows about its functions: /proc/kallsyms lists those that have a symbol,
//! available_filter_functions of tracefs those that ftrace can trace.
//!
//! Nothing here depends on how a symbol of Rust is mangled: all names are demangled first, and
//! compared as they stand in the source, without the modules they are in.

use anyhow::{ensure, Context, Result};
use std::{collections::HashSet, fs};

/// The functions of the running kernel and its modules.
pub struct Symbols {
    known: HashSet<String>,
    traceable: HashSet<String>,
}

impl Symbols {
    /// `traceable` is the content of available_filter_functions.
    pub fn read(module: &str, traceable: &str) -> Result<Self> {
        let text = fs::read_to_string("/proc/kallsyms").context("reading /proc/kallsyms")?;
        let of_module = format!("[{module}]");

        ensure!(
            text.lines().any(|line| line.ends_with(&of_module)),
            "the module {module} is not loaded"
        );
        Ok(Self {
            // "ffffffffc0658290 t oxnic_bpf_prog_run_xdp	[oxnic]"
            known: text
                .lines()
                .filter_map(|line| {
                    let mut words = line.split_whitespace().skip(1);
                    let is_code = matches!(words.next(), Some("t" | "T" | "w" | "W"));

                    // The padding in front of a function has a symbol too.
                    words
                        .next()
                        .filter(|name| is_code && !name.starts_with("__pfx_"))
                })
                .map(function)
                .collect(),
            // "oxnic_bpf_prog_run_xdp [oxnic]"
            traceable: traceable
                .lines()
                .filter_map(|line| line.split_whitespace().next())
                .map(function)
                .collect(),
        })
    }

    /// Whether there is a function of this name. One that was inlined everywhere is none any more.
    pub fn is_known(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// Whether ftrace can be told to report the calls of this function.
    pub fn is_traceable(&self, name: &str) -> bool {
        self.traceable.contains(name)
    }
}

/// The name of a function as it is in the source, of the symbol that the compiler made of it.
///
/// GCC marks a copy that it has made of a function with a suffix (`do_setlink.isra.0`), and Rust's
/// names have in them where they are defined and a hash.
pub fn function(symbol: &str) -> String {
    match rustc_demangle::try_demangle(symbol) {
        Ok(name) => without_modules(&format!("{name:#}")),
        Err(_) => match symbol.split_once('.') {
            Some((name, _)) if !name.is_empty() => name.to_owned(),
            _ => symbol.to_owned(),
        },
    }
}

/// `<oxnic::driver::vsi::Vsi as oxnic::net::device::Ops>::bpf` is `<Vsi as Ops>::bpf`.
fn without_modules(path: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    let mut rest = path.chars().peekable();

    while let Some(letter) = rest.next() {
        if letter.is_alphanumeric() || letter == '_' {
            word.push(letter);
            continue;
        }
        let is_module = word.starts_with(|first: char| first.is_lowercase() || first == '_');

        if letter == ':' && rest.peek() == Some(&':') && is_module {
            rest.next();
        } else {
            short.push_str(&word);
            short.push(letter);
        }
        word.clear();
    }
    short + &word
}

#[cfg(test)]
impl Symbols {
    pub fn of(known: &[&str], traceable: &[&str]) -> Self {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();

        Self {
            known: set(known),
            traceable: set(traceable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::function;

    #[test]
    fn names_of_symbols() {
        for (symbol, name) in [
            ("do_setlink.isra.0", "do_setlink"),
            (".Ltmp1", ".Ltmp1"),
            (
                "_RNvXs2_NtNtCs3RmpnaPaZMB_5oxnic6driver3vsiNtB5_3VsiNtNtNtB9_3net6device3Ops3bpf",
                "<Vsi as Ops>::bpf",
            ),
            (
                "_RNvMs5_NtNtCs3RmpnaPaZMB_5oxnic3net4napiINtB5_4NapiNtNtNtB9_6driver2rx6RxPollE4pollB9_",
                "<Napi<RxPoll>>::poll",
            ),
            ("_RNvNtNtCs3RmpnaPaZMB_5oxnic3net5print4info", "info"),
        ] {
            assert_eq!(function(symbol), name);
        }
    }
}
