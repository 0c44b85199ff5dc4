// SPDX-License-Identifier: GPL-2.0

//! The kernel log, read record by record from the moment it was opened.

use anyhow::{Context, Result};
use nix::errno::Errno;
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
};

/// Severity of a line that says something is wrong (`KERN_WARNING`); lower is worse.
const WARNING: u8 = 4;

/// Words that never stand in a line of a healthy kernel, whatever its level.
const BAD_WORDS: [&str; 16] = [
    "warning:",
    "bug:",
    "oops",
    "leak",
    "stalled",
    "inflight",
    "refcount",
    "unregister_netdevice: waiting",
    "suspicious",
    "hung_task",
    "blocked for more than",
    "soft lockup",
    "call trace",
    "general protection",
    "bad page",
    "panic",
];

/// Lines of severity warning that are no fault, each with the reason.
const ALWAYS_ALLOWED: [&str; 8] = [
    // A queue was chosen for a frame just before the queue went; the kernel takes another.
    "selects TX queue",
    // The kernel says so, once, of an RSS context that is removed while no one listens.
    "Failed to send a RSS delete notification",
    // An out-of-tree module without a signature says so when it is loaded first.
    "loading out-of-tree module taints kernel",
    "module verification failed",
    // An emulated CPU's clocks and interrupts are late when the host is busy.
    "clocksource:",
    "hrtimer: interrupt took",
    "interrupt took too long",
    // A loop in the test's own programs keeps a work item from others under emulation.
    "hogged CPU for",
];

/// One record of the log.
#[derive(Clone, Debug)]
pub struct Line {
    pub level: u8,
    pub text: String,
}

impl Line {
    /// Whether a healthy kernel would not have written this line; `allowed` are pieces of text
    /// that the running test provokes on purpose.
    pub fn is_bad(&self, allowed: &[&str]) -> bool {
        let lower = self.text.to_lowercase();

        if allowed
            .iter()
            .chain(&ALWAYS_ALLOWED)
            .any(|piece| self.text.contains(piece))
        {
            return false;
        }
        self.level <= WARNING || BAD_WORDS.iter().any(|word| lower.contains(word))
    }
}

/// A reader of `/dev/kmsg`.
pub struct Kmsg {
    file: File,
    lines: Vec<Line>,
    /// The log's buffer wrapped around before it was read.
    pub lost: bool,
}

impl Kmsg {
    /// Starts at the end of the log: only what is written from now on is seen.
    pub fn from_now() -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("opening /dev/kmsg")?;

        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            lines: Vec::new(),
            lost: false,
        })
    }

    /// Reads what was written meanwhile and returns all lines since [`Kmsg::from_now`].
    pub fn lines(&mut self) -> Result<&[Line]> {
        let mut record = [0; 8192];

        loop {
            match self.file.read(&mut record) {
                Ok(n) => self
                    .lines
                    .extend(parse(&String::from_utf8_lossy(&record[..n]))),
                Err(e) if e.raw_os_error() == Some(Errno::EAGAIN as i32) => break,
                Err(e) if e.raw_os_error() == Some(Errno::EPIPE as i32) => self.lost = true,
                Err(e) => return Err(e).context("reading /dev/kmsg"),
            }
        }
        Ok(&self.lines)
    }

    /// The text of all lines since [`Kmsg::from_now`] that begin with `prefix`.
    pub fn starting_with(&mut self, prefix: &str) -> Result<Vec<String>> {
        Ok(self
            .lines()?
            .iter()
            .filter(|line| line.text.starts_with(prefix))
            .map(|line| line.text.clone())
            .collect())
    }

    /// Forgets the lines read so far.
    pub fn forget(&mut self) -> Result<()> {
        self.lines()?;
        self.lines.clear();
        Ok(())
    }
}

/// A record is `priority,sequence,time,flags;text`; lines that begin with a blank only repeat
/// the text's context.
fn parse(record: &str) -> Option<Line> {
    let (head, rest) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    let text = rest.lines().next().unwrap_or("").to_owned();

    Some(Line {
        level: (priority & 7) as u8,
        text,
    })
}
