// SPDX-License-Identifier: GPL-2.0

//! The kernel's packet generator, which calls a device's `ndo_start_xmit` itself.

use super::{cmd, netns::Netns};
use crate::bed::Port;
use anyhow::{anyhow, Context, Result};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// /proc/net would be the namespace of the process, not that of the thread.
const ROOT: &str = "/proc/thread-self/net/pktgen";
/// A setting that each port has already, and what is left of saying it again: the port shows it
/// until it begins to send.
const MARK: (&str, &str) = ("delay 0", "Result: OK: delay=0");
/// How long its threads may take to begin what they were told to. The kernel may lose a start
/// beside a stop, or when a port goes, so they are not waited for without end.
const BEGINS: Duration = Duration::from_secs(60);

/// The module pktgen, loaded as long as this lives.
pub struct Pktgen;

impl Pktgen {
    pub fn load() -> Result<Self> {
        cmd::run("modprobe pktgen")?;
        Ok(Self)
    }

    /// Makes it ready to send out of a port from the thread on the CPU `cpu`, without a pause
    /// between frames, as `settings` say.
    pub fn add(&self, port: &Port, cpu: usize, settings: &[&str]) -> Result<()> {
        let thread = format!("kpktgend_{cpu}");

        write(&port.ns, &thread, &format!("add_device {}", port.name))?;
        write(&port.ns, &port.name, MARK.0)?;
        settings
            .iter()
            .try_for_each(|line| write(&port.ns, &port.name, line))
    }

    /// Whether a port was added, and has not gone since.
    pub fn has(&self, port: &Port) -> Result<bool> {
        port.ns
            .enter(|| Ok(Path::new(ROOT).join(&port.name).exists()))
    }

    /// Sends out of all ports of a namespace that were added, until each is done or another thread
    /// says stop.
    ///
    /// The kernel waits only for threads that have begun when it looks. One that is told to start
    /// once more while it sends forgets the frame that it has at hand, so all of them are waited
    /// for here.
    pub fn send(&self, ns: &Netns) -> Result<()> {
        let ports = || -> Result<Vec<_>> {
            Ok(fs::read_dir(ROOT)?
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| name != "pgctrl" && !name.starts_with("kpktgend_"))
                .collect())
        };
        for port in ns.enter(ports)? {
            // It may have gone.
            let _ = write(ns, &port, MARK.0);
        }
        write(ns, "pgctrl", "start")?;
        let end = Instant::now() + BEGINS;
        while ns.enter(|| {
            Ok(ports()?.iter().any(|port| match Stage::of(port) {
                Stage::Waits => Instant::now() < end,
                Stage::Sends => true,
                Stage::Done => false,
            }))
        })? {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub fn stop(&self, ns: &Netns) -> Result<()> {
        write(ns, "pgctrl", "stop")
    }

    /// How many frames were sent out of a port since it was added or the last start.
    pub fn sent(&self, port: &Port) -> Result<u64> {
        let path = format!("{ROOT}/{}", port.name);
        let said = port.ns.enter(|| Ok(fs::read_to_string(path)?))?;

        said.split("pkts-sofar: ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|count| count.parse().ok())
            .ok_or_else(|| anyhow!("pktgen does not say what it sent: {said}"))
    }
}

impl Drop for Pktgen {
    fn drop(&mut self) {
        cmd::try_run("rmmod pktgen");
    }
}

/// What a port's thread is at.
enum Stage {
    /// It has not begun yet.
    Waits,
    Sends,
    Done,
}

impl Stage {
    /// A port that has gone has nothing to do.
    fn of(port: &str) -> Self {
        match fs::read_to_string(Path::new(ROOT).join(port)) {
            Ok(said) if said.contains(MARK.1) => Self::Waits,
            Ok(said) if said.contains("Result: Starting") => Self::Sends,
            _ => Self::Done,
        }
    }
}

fn write(ns: &Netns, file: &str, line: &str) -> Result<()> {
    ns.enter(|| {
        fs::write(format!("{ROOT}/{file}"), format!("{line}\n"))
            .with_context(|| format!("pktgen: {line}"))
    })
}
