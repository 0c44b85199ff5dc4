// SPDX-License-Identifier: GPL-2.0

//! xdp-tools, as a user runs them, against oxnic: what they do to frames, what the ports count, and
//! what the tools say about it.
//!
//! The tools run in the thread's own namespace, not through `ip netns exec`: that mounts another
//! `/sys`, in which nothing that was pinned before can be seen.

mod bench;
mod dump;
mod filter;
mod forward;
mod loader;
mod monitor;
mod trafficgen;

use crate::{
    bed::Port,
    bpf,
    host::{cmd, process::Running},
};
use anyhow::{anyhow, bail, ensure, Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the tools pin what outlives them.
const PINS: &str = "/sys/fs/bpf";

/// Runs a tool in the port's namespace and returns all that it says.
fn run(port: &Port, line: &str) -> Result<String> {
    start(port, line)?.finish()
}

/// What a tool says in the port's namespace when it has to fail.
fn refusal(port: &Port, line: &str) -> Result<String> {
    port.ns.enter(|| cmd::refusal(line))
}

/// Starts a tool in the port's namespace.
fn start(port: &Port, line: &str) -> Result<Running> {
    port.ns.enter(|| Running::start(line))
}

/// What tools have pinned, removed when the test ends; otherwise a failed test's programs would
/// stay.
struct Pins;

impl Pins {
    fn watch() -> Result<Self> {
        let pins = Self;

        pins.ensure_none().context("before the test")?;
        Ok(pins)
    }

    fn ensure_none(&self) -> Result<()> {
        let pinned = files(Path::new(PINS))?;

        ensure!(pinned.is_empty(), "pinned: {pinned:?}");
        Ok(())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        for file in files(Path::new(PINS)).unwrap_or_default() {
            // One that cannot be removed shows up as a program that was left.
            let _ = fs::remove_file(file);
        }
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();

    for entry in fs::read_dir(folder)? {
        let path = entry?.path();

        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// The programs of a port, as `xdp-loader status` shows them.
#[derive(Debug, Default)]
struct Status {
    /// Of the dispatcher.
    id: Option<u32>,
    mode: String,
    chain: Vec<Chained>,
}

#[derive(Debug)]
struct Chained {
    priority: u32,
    name: String,
    id: u32,
}

impl Status {
    fn of(port: &Port) -> Result<Self> {
        let text = run(port, &format!("xdp-loader status {}", port.name))?;

        Self::parse(&text, &port.name).with_context(|| format!("xdp-loader status: {text}"))
    }

    fn parse(text: &str, name: &str) -> Result<Self> {
        let mut status = None;

        for line in text.lines() {
            let words: Vec<_> = line.split_whitespace().collect();

            match (&words[..], &mut status) {
                ([port, "<No", ..], _) if *port == name => status = Some(Self::default()),
                ([port, "xdp_dispatcher", mode, id, ..], _) if *port == name => {
                    status = Some(Self {
                        id: Some(id.parse()?),
                        mode: (*mode).to_owned(),
                        chain: Vec::new(),
                    });
                }
                (["=>", priority, name, id, ..], Some(status)) => status.chain.push(Chained {
                    priority: priority.parse()?,
                    name: (*name).to_owned(),
                    id: id.parse()?,
                }),
                _ => {}
            }
        }
        status.ok_or_else(|| anyhow!("no line of {name}"))
    }

    fn id_of(&self, name: &str) -> Result<u32> {
        self.chain
            .iter()
            .find(|program| program.name == name)
            .map(|program| program.id)
            .ok_or_else(|| anyhow!("no program {name} in {self:?}"))
    }
}

/// `xdp-loader load` of a program of `file.bpf.o` in native mode.
fn load(port: &Port, file: &str, name: &str, priority: u32) -> Result<()> {
    run(
        port,
        &format!(
            "xdp-loader load --mode native --prio {priority} --prog-name {name} {} {}",
            port.name,
            bpf::path(file)?.display()
        ),
    )
    .map(drop)
}

fn unload_all(port: &Port) -> Result<()> {
    run(port, &format!("xdp-loader unload {} --all", port.name)).map(drop)
}

/// The number after `label` and a colon in what xdp-bench and xdp-monitor say at their end; they
/// leave out lines that would say zero.
fn total(said: &str, label: &str) -> Result<u64> {
    let Some(line) = said.lines().find(|line| line.trim().starts_with(label)) else {
        return Ok(0);
    };
    let (_, value) = line
        .split_once(':')
        .ok_or_else(|| anyhow!("no number in \"{line}\""))?;

    match value.trim().replace(',', "").parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("no number in \"{line}\""),
    }
}
