// SPDX-License-Identifier: GPL-2.0

//! Commands that run during the test until it stops them.

use super::wait_until;
use anyhow::{anyhow, bail, ensure, Context, Result};
use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

/// A running command, killed when dropped.
pub struct Running {
    child: Child,
    keyboard: Option<ChildStdin>,
    line: String,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts a command, given as one line and split at blanks, in the calling thread's namespace.
    pub fn start(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let program = words.next().ok_or_else(|| anyhow!("empty command"))?;

        Self::spawn(line, Command::new(program).args(words).stdin(Stdio::null()))
    }

    /// Starts a command as the only one of a terminal, whose keyboard is [`Running::press`].
    pub fn at_terminal(line: &str) -> Result<Self> {
        let mut script = Command::new("script");

        // exec: the shell in between would die of Ctrl-C too, and its status be the one returned.
        script
            .args(["--quiet", "--return", "--echo", "never", "--command"])
            .args([&format!("exec {line}"), "/dev/null"])
            .stdin(Stdio::piped());
        Self::spawn(line, &mut script)
    }

    fn spawn(line: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{line}`"))?;
        let said = Arc::default();
        let readers = [
            child.stdout.take().map(|pipe| read(pipe, &said)),
            child.stderr.take().map(|pipe| read(pipe, &said)),
        ];

        Ok(Self {
            keyboard: child.stdin.take(),
            child,
            line: line.to_owned(),
            said,
            readers: readers.into_iter().flatten().collect(),
        })
    }

    /// What it has said so far, on both of its outputs.
    pub fn said(&self) -> String {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until it has said `text`.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        self.wait_until(&format!("says \"{text}\""), |said| said.contains(text))
    }

    /// Waits until what it has said so far is enough.
    pub fn wait_until(&mut self, what: &str, enough: impl Fn(&str) -> bool) -> Result<()> {
        let line = self.line.clone();

        wait_until(&format!("`{line}` {what}"), || {
            let ended = self.child.try_wait()?;

            if enough(&self.said()) {
                return Ok(true);
            }
            match ended {
                None => Ok(false),
                Some(status) => bail!("`{line}` ended ({status}) before it {what}"),
            }
        })
        .with_context(|| format!("it said: {}", self.said().trim()))
    }

    /// Ends it as Ctrl-C does; it has to end well. Returns all that it said.
    pub fn interrupt(self) -> Result<String> {
        self.signal(Signal::SIGINT)?;
        self.finish()
    }

    /// Presses keys at its terminal, which stays open.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.keyboard
            .as_mut()
            .ok_or_else(|| anyhow!("`{}` has no keyboard", self.line))?
            .write_all(keys.as_bytes())
            .with_context(|| format!("pressing keys at `{}`", self.line))
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), signal)
            .with_context(|| format!("sending {signal} to `{}`", self.line))
    }

    /// Waits until it ends, which has to be well. Returns all that it said.
    pub fn finish(self) -> Result<String> {
        let line = self.line.clone();
        let (status, said) = self.end()?;

        ensure!(status.success(), "`{line}`: {status}: {}", said.trim());
        Ok(said)
    }

    /// Waits until it ends, however that may be.
    pub fn end(mut self) -> Result<(ExitStatus, String)> {
        let status = self.wait()?;

        Ok((status, self.said()))
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let line = self.line.clone();
        let mut ended = None;

        wait_until(&format!("`{line}` ends"), || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        })?;
        for reader in self.readers.drain(..) {
            reader
                .join()
                .map_err(|_| anyhow!("reading from `{line}`: panicked"))?;
        }
        ended.ok_or_else(|| anyhow!("`{line}` has not ended"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut pipe: impl Read + Send + 'static, said: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let said = Arc::clone(said);

    thread::spawn(move || {
        let mut bytes = [0; 4096];

        while let Ok(n @ 1..) = pipe.read(&mut bytes) {
            said.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    })
}
