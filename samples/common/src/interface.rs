// SPDX-License-Identifier: GPL-2.0

//! Network interfaces by name.

use anyhow::{bail, Result};
use nix::{errno::Errno, net::if_::if_nametoindex};
use std::fmt;

/// An interface of this network namespace.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    /// The number that the kernel wants instead of the name.
    pub index: u32,
}

impl Interface {
    pub fn find(name: &str) -> Result<Self> {
        match if_nametoindex(name) {
            Ok(index) => Ok(Self {
                name: name.to_owned(),
                index,
            }),
            Err(Errno::ENODEV) => bail!("no interface called {name}"),
            Err(errno) => bail!("looking for interface {name}: {}", errno.desc()),
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}
