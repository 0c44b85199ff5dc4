// SPDX-License-Identifier: GPL-2.0

//! Network namespaces.

use super::cmd;
use anyhow::{anyhow, Context, Result};
use nix::sched::{setns, CloneFlags};
use std::{fs, fs::File, thread};

/// A named namespace. It goes with [`Netns::delete`], not by itself: who holds a socket in it keeps
/// it alive anyway, and the harness wants to see whether it went.
#[derive(Clone, Debug)]
pub struct Netns {
    name: Option<String>,
}

impl Netns {
    /// The namespace the tests were started in.
    pub fn initial() -> Self {
        Self { name: None }
    }

    /// Makes a namespace in which no port speaks IPv6 unless the test wants it: what the stack
    /// sends by itself there (router solicitations, duplicate address detection, multicast
    /// reports) would spoil exact counters.
    pub fn create(name: &str) -> Result<Self> {
        cmd::run(&format!("ip netns add {name}"))?;
        let ns = Self {
            name: Some(name.to_owned()),
        };

        ns.sysctl("ipv6/conf/all/disable_ipv6", "1")?;
        ns.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
        Ok(ns)
    }

    /// A namespace that is there already.
    pub fn existing(name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
        }
    }

    /// Removes the name; the namespace goes with its last user.
    pub fn delete(&self) -> Result<()> {
        match &self.name {
            Some(name) => cmd::run(&format!("ip netns del {name}")).map(drop),
            None => Ok(()),
        }
    }

    /// Runs `work` in a thread inside the namespace. Sockets opened there stay in it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let Some(name) = &self.name else {
            return work();
        };
        let file = File::open(format!("/run/netns/{name}"))?;

        thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(file, CloneFlags::CLONE_NEWNET).context("entering a namespace")?;
                    work()
                })
                .join()
                .map_err(|_| anyhow!("a thread in namespace {name} panicked"))?
        })
    }

    /// Runs `ip` with the given arguments in the namespace.
    pub fn ip(&self, args: &str) -> Result<String> {
        cmd::run(&self.ip_line(args))
    }

    /// What `ip` says when it has to fail.
    pub fn ip_refusal(&self, args: &str) -> Result<String> {
        cmd::refusal(&self.ip_line(args))
    }

    /// Runs any command in the namespace. Its `/sys` is that of the tests.
    pub fn exec(&self, line: &str) -> Result<String> {
        self.enter(|| cmd::run(line))
    }

    /// What a command says when it has to fail.
    pub fn exec_refusal(&self, line: &str) -> Result<String> {
        self.enter(|| cmd::refusal(line))
    }

    /// As [`Netns::exec`], where `/sys` shows the devices of the namespace.
    pub fn exec_with_sysfs(&self, line: &str) -> Result<String> {
        match &self.name {
            Some(name) => cmd::run(&format!("ip netns exec {name} {line}")),
            None => cmd::run(line),
        }
    }

    /// Writes a value below `/proc/sys/net`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.enter(|| {
            fs::write(format!("/proc/sys/net/{key}"), value)
                .with_context(|| format!("setting net/{key}"))
        })
    }

    fn ip_line(&self, args: &str) -> String {
        match &self.name {
            Some(name) => format!("ip -n {name} {args}"),
            None => format!("ip {args}"),
        }
    }
}
