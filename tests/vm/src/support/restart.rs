// SPDX-License-Identifier: GPL-2.0

//! Restarts of a queue, by the file in debugfs.

use crate::{bed::Port, host::netns::Netns};
use anyhow::{Context, Result};
use nix::errno::Errno;
use std::{fs::OpenOptions, io::Write};

pub const FILE: &str = "/sys/kernel/debug/oxnic/restart_queue";

/// Writes to the file from a network namespace; the inner error is the kernel's refusal.
pub fn write(from: &Netns, text: &str) -> Result<Result<(), Errno>> {
    from.enter(|| {
        let mut file = OpenOptions::new()
            .write(true)
            .open(FILE)
            .with_context(|| format!("opening {FILE}"))?;

        match file.write_all(text.as_bytes()) {
            Ok(()) => Ok(Ok(())),
            Err(error) => match error.raw_os_error() {
                Some(number) => Ok(Err(Errno::from_raw(number))),
                None => Err(error.into()),
            },
        }
    })
}

/// Restarts a queue of a port.
pub fn restart(port: &Port, queue: u64) -> Result<()> {
    write(&port.ns, &format!("{} {queue}\n", port.name))?
        .with_context(|| format!("{}: restart of queue {queue}", port.name))
}
