// SPDX-License-Identifier: GPL-2.0

//! Network namespaces.

use super::{cmd, PATIENCE};
use anyhow::{anyhow, Context, Result};
use nix::{
    errno::Errno,
    mount::{mount, umount2, MntFlags, MsFlags},
    sched::{setns, unshare, CloneFlags},
};
use std::{
    fs,
    fs::File,
    path::{Path, PathBuf},
    thread,
};

/// Where `ip netns` has the names.
const FOLDER: &str = "/run/netns";

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
        share_folder().context(FOLDER)?;
        let file = path(name);
        File::create_new(&file).with_context(|| format!("{}", file.display()))?;
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("making a namespace")?;
            let this = Path::new("/proc/thread-self/ns/net");
            Ok(bind(this, &file)?)
        })?;
        let ns = Self::existing(name);

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

    /// The initial namespace and all that have a name.
    pub fn all() -> Result<Vec<Self>> {
        let mut all = vec![Self::initial()];

        if Path::new(FOLDER).exists() {
            for entry in fs::read_dir(FOLDER).context(FOLDER)? {
                all.push(Self::existing(&entry?.file_name().to_string_lossy()));
            }
        }
        Ok(all)
    }

    /// Removes the name; the namespace goes with its last user.
    pub fn delete(&self) -> Result<()> {
        match &self.name {
            Some(name) => {
                let file = path(name);
                umount2(&file, MntFlags::MNT_DETACH)?;
                Ok(fs::remove_file(file)?)
            }
            None => Ok(()),
        }
    }

    /// Whether there is one of the name.
    pub fn exists(name: &str) -> bool {
        path(name).exists()
    }

    /// What stands for the namespace.
    pub fn file(&self) -> Result<File> {
        let file = match &self.name {
            Some(name) => path(name),
            None => PathBuf::from("/proc/self/ns/net"),
        };
        File::open(&file).with_context(|| format!("{}", file.display()))
    }

    /// Runs `work` in a thread inside the namespace. Sockets opened there stay in it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        if self.name.is_none() {
            return work();
        }
        let file = self.file()?;

        in_thread(|| {
            setns(file, CloneFlags::CLONE_NEWNET).context("entering a namespace")?;
            work()
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

    /// Runs `ping` with the given arguments in the namespace, which waits for the answers until
    /// they come.
    pub fn ping(&self, args: &str) -> Result<String> {
        self.exec(&format!("ping -W {} {args}", PATIENCE.as_secs()))
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

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Makes the folder of the names one whose mounts come and go in all mount namespaces, as `ip netns
/// add` does: or a command's that is at work would keep a namespace that is deleted.
fn share_folder() -> Result<()> {
    let folder = Path::new(FOLDER);
    let share = || {
        mount(
            None::<&str>,
            folder,
            None::<&str>,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )
    };

    fs::create_dir_all(folder)?;
    match share() {
        // It is no mount yet.
        Err(Errno::EINVAL) => {
            bind(folder, folder)?;
            Ok(share()?)
        }
        result => Ok(result?),
    }
}

fn bind(from: &Path, to: &Path) -> nix::Result<()> {
    mount(
        Some(from),
        to,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
}

/// Runs `work` in a thread of its own, which can be in another namespace.
fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .map_err(|_| anyhow!("a thread in a namespace panicked"))?
    })
}
