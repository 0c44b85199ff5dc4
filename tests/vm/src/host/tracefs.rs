// SPDX-License-Identifier: GPL-2.0

//! The kernel's tracepoints, read through an instance of tracefs of our own.

use anyhow::{Context, Result};
use nix::mount::{mount, MsFlags};
use std::{fs, path::Path};

const ROOT: &str = "/sys/kernel/tracing";
const INSTANCE: &str = "/sys/kernel/tracing/instances/oxnic-tests";

/// Records events, such as `xdp/xdp_exception`, until dropped.
pub struct Trace;

impl Trace {
    pub fn start(event: &str) -> Result<Self> {
        Self::start_all(&[event])
    }

    pub fn start_all(events: &[&str]) -> Result<Self> {
        mount_once("tracefs", ROOT, "instances")?;
        if !Path::new(INSTANCE).exists() {
            fs::create_dir(INSTANCE).context("making a tracefs instance")?;
        }
        let trace = Self;

        write("trace", "")?;
        for event in events {
            write(&format!("events/{event}/enable"), "1")?;
        }
        Ok(trace)
    }

    /// What was recorded so far, each line from the event's fields on.
    pub fn lines(&self, event: &str) -> Result<Vec<String>> {
        let marker = format!(" {event}: ");
        let text = fs::read_to_string(format!("{INSTANCE}/trace"))?;

        Ok(text
            .lines()
            .filter_map(|line| line.split_once(&marker))
            .map(|(_, fields)| fields.to_owned())
            .collect())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // An instance that stays behind costs memory and harms nobody.
        let _ = fs::remove_dir(INSTANCE);
    }
}

/// Makes the kernel print its once-only messages once more.
pub fn clear_warn_once() -> Result<()> {
    mount_once("debugfs", "/sys/kernel/debug", "clear_warn_once")?;
    fs::write("/sys/kernel/debug/clear_warn_once", "1").context("clearing warn_once")
}

fn write(file: &str, text: &str) -> Result<()> {
    fs::write(format!("{INSTANCE}/{file}"), text).with_context(|| format!("tracefs: {file}"))
}

/// Mounts a file system unless `probe` can be seen in it already.
fn mount_once(kind: &str, at: &str, probe: &str) -> Result<()> {
    if Path::new(at).join(probe).exists() {
        return Ok(());
    }
    mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting {kind}"))
}
