// SPDX-License-Identifier: GPL-2.0

//! Loading and unloading of the module under test.

use crate::host::wait_until;
use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags},
};
use std::{
    env,
    ffi::CString,
    fs::{self, File},
    path::Path,
};

const NAME: &str = "oxnic";

/// The path of the module's file.
pub fn path() -> Result<String> {
    env::var("OXNIC_KO").context("OXNIC_KO names no module")
}

/// Loads the module with the given parameters; the error is the kernel's.
pub fn try_load(params: &str) -> Result<Result<(), Errno>> {
    let path = path()?;
    let file = File::open(&path).with_context(|| format!("opening {path}"))?;

    Ok(finit_module(
        file,
        &CString::new(params)?,
        ModuleInitFlags::empty(),
    ))
}

/// Loads the module.
pub fn load(params: &str) -> Result<()> {
    try_load(params)?.with_context(|| format!("loading the module with \"{params}\""))
}

/// Unloads the module.
pub fn unload() -> Result<()> {
    unload_other(NAME)
}

/// Unloads any module. The kernel refuses while a process reads one of its files, so that is
/// tried again for a while.
pub fn unload_other(name: &str) -> Result<()> {
    let name = CString::new(name)?;

    wait_until("the module can be unloaded", || {
        match delete_module(&name, DeleteModuleFlags::O_NONBLOCK) {
            Ok(()) => Ok(true),
            Err(Errno::EBUSY | Errno::EAGAIN) => Ok(false),
            Err(e) => Err(e).context("unloading the module"),
        }
    })
}

/// Where the module's code is.
pub fn text() -> Result<u64> {
    let path = format!("/sys/module/{NAME}/sections/.text");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;

    Ok(u64::from_str_radix(
        text.trim().trim_start_matches("0x"),
        16,
    )?)
}

/// Whether the module is in the kernel.
pub fn is_loaded() -> bool {
    Path::new("/sys/module").join(NAME).exists()
}
