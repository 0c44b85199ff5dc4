// SPDX-License-Identifier: GPL-2.0

//! The kernel's tracepoints, read through an instance of tracefs of our own.

use anyhow::{Context, Result};
use nix::mount::{mount, MsFlags};
use std::{fs, io::Write, path::Path};

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

        trace.clear()?;
        for event in events {
            trace.enable(event, true)?;
        }
        Ok(trace)
    }

    /// What was recorded so far, each line from the event's fields on.
    pub fn lines(&self, event: &str) -> Result<Vec<String>> {
        Ok(self
            .split_lines(event)?
            .into_iter()
            .map(|(_, fields)| fields)
            .collect())
    }

    /// As [`Trace::lines`], each with a number that counts every spin lock that was held when it was
    /// recorded: how deep preemption was disabled, or with `PREEMPT_RT` migration to other CPUs.
    pub fn lines_with_lock_depth(&self, event: &str) -> Result<Vec<(u32, String)>> {
        self.split_lines(event)?
            .into_iter()
            .map(|(head, fields)| {
                // "TASK-PID [CPU] FLAGS TIME:"; of the flags the fourth and the fifth are
                // hexadecimal digits, or dots.
                let flags = head.rsplit(' ').filter(|word| !word.is_empty()).nth(1);
                let depths = flags
                    .and_then(|flags| flags.get(3..5))
                    .with_context(|| format!("flags in \"{head}\""))?;
                let digit = |c: char| c.to_digit(16).unwrap_or(0);
                Ok((depths.chars().map(digit).sum(), fields))
            })
            .collect()
    }

    /// What was recorded so far, in this order: the name and the fields of each event.
    pub fn all(&self) -> Result<Vec<(String, String)>> {
        let text = fs::read_to_string(format!("{INSTANCE}/trace"))?;

        // "TASK-PID [CPU] FLAGS TIME: EVENT: FIELDS"
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let mut parts = line.splitn(3, ": ").skip(1).map(str::to_owned);

                parts
                    .next()
                    .zip(parts.next())
                    .with_context(|| format!("no event: \"{line}\""))
            })
            .collect()
    }

    /// Switches an event, or all of a system.
    pub fn enable(&self, event: &str, on: bool) -> Result<()> {
        write(
            &format!("events/{event}/enable"),
            if on { "1" } else { "0" },
        )
    }

    /// Forgets what was recorded.
    pub fn clear(&self) -> Result<()> {
        write("trace", "")
    }

    /// What was recorded of an event: what comes before its name, and its fields.
    fn split_lines(&self, event: &str) -> Result<Vec<(String, String)>> {
        let marker = format!(" {event}: ");
        let text = fs::read_to_string(format!("{INSTANCE}/trace"))?;

        Ok(text
            .lines()
            .filter_map(|line| line.split_once(&marker))
            .map(|(head, fields)| (head.to_owned(), fields.to_owned()))
            .collect())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // An instance that is left behind only costs memory.
        let _ = fs::remove_dir(INSTANCE);
    }
}

/// The group of the probes of this file.
const GROUP: &str = "oxnic_tests";
const PROBES: &str = "/sys/kernel/tracing/kprobe_events";

/// A function of the kernel whose calls are counted.
pub struct Function {
    pub name: &'static str,
    /// Of its calls only those count: a filter on the number `arg0`, its first argument, and
    /// `comm`.
    pub filter: &'static str,
}

/// Counts calls of functions of the kernel until dropped.
pub struct Calls<'a> {
    trace: Trace,
    functions: &'a [Function],
}

impl<'a> Calls<'a> {
    pub fn of(functions: &'a [Function]) -> Result<Self> {
        mount_once("tracefs", ROOT, "instances")?;
        for Function { name, .. } in functions {
            edit_probes(&format!("p:{GROUP}/{name} {name} arg0=$arg1:u64"))?;
        }
        let calls = Self {
            trace: Trace::start_all(&[])?,
            functions,
        };
        for Function { name, filter } in functions {
            write(&format!("events/{GROUP}/{name}/filter"), filter)?;
            write(&format!("events/{GROUP}/{name}/enable"), "1")?;
        }
        Ok(calls)
    }

    /// How often each was called since the last look.
    pub fn take(&self) -> Result<Vec<usize>> {
        let counts = self
            .functions
            .iter()
            .map(|function| Ok(self.trace.lines(function.name)?.len()))
            .collect();

        write("trace", "")?;
        counts
    }
}

impl Drop for Calls<'_> {
    fn drop(&mut self) {
        for Function { name, .. } in self.functions {
            // A probe that stays behind is found by the next who wants it.
            let _ = write(&format!("events/{GROUP}/{name}/enable"), "0");
            let _ = edit_probes(&format!("-:{GROUP}/{name}"));
        }
    }
}

/// What a function of the kernel returns to the module, recorded until dropped.
pub struct Returns(Trace);

impl Returns {
    pub fn of(function: &str) -> Result<Self> {
        mount_once("tracefs", ROOT, "instances")?;
        edit_probes(&format!("r:{GROUP}/returns {function} ret=$retval:s32"))?;
        Ok(Self(Trace::start(&format!("{GROUP}/returns"))?))
    }

    /// The values so far.
    pub fn values(&self) -> Result<Vec<i32>> {
        self.0
            .lines("returns")?
            .iter()
            .filter(|line| line.contains("[oxnic]"))
            .filter_map(|line| line.split_once(" ret="))
            .map(|(_, value)| value.trim().parse().with_context(|| value.to_owned()))
            .collect()
    }
}

impl Drop for Returns {
    fn drop(&mut self) {
        let _ = write(&format!("events/{GROUP}/returns/enable"), "0");
        let _ = edit_probes(&format!("-:{GROUP}/returns"));
    }
}

/// Adds a probe, or takes it away.
fn edit_probes(text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().append(true).open(PROBES)?;

    file.write_all(text.as_bytes())
        .with_context(|| format!("kprobe_events: {text}"))
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
