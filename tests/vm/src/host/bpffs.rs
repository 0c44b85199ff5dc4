// SPDX-License-Identifier: GPL-2.0

//! The file system in which BPF programs and maps have names.

use anyhow::{Context, Result};
use nix::mount::{mount, umount, MsFlags};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Not below /sys, which `ip netns exec` covers with another one.
const ROOT: &str = "/run/oxnic-tests-bpf";

/// A folder in a BPF file system, removed with all that is in it when dropped.
pub struct Pins {
    folder: PathBuf,
}

impl Pins {
    pub fn make(name: &str) -> Result<Self> {
        let folder = Path::new(ROOT).join(name);

        if !Path::new(ROOT).exists() {
            fs::create_dir(ROOT)?;
            mount(
                Some("bpf"),
                ROOT,
                Some("bpf"),
                MsFlags::empty(),
                None::<&str>,
            )
            .context("mounting a BPF file system")?;
        }
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the program is to be.
    pub fn program(&self) -> PathBuf {
        self.folder.join("program")
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // The harness sees what stays behind. The last one takes the file system along; it would go
        // with all that is in it.
        let _ = fs::remove_dir_all(&self.folder);
        let is_last = fs::read_dir(ROOT).is_ok_and(|mut left| left.next().is_none());
        if is_last && umount(ROOT).is_ok() {
            let _ = fs::remove_dir(ROOT);
        }
    }
}
