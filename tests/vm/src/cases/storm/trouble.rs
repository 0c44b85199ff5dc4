// SPDX-License-Identifier: GPL-2.0

//! Makes rare events frequent: page allocations that fail, and a CPU that is delayed between two
//! instructions where it could race with another. The module `tests/vm/kmod/trouble.c` does it, on
//! any kernel.

use crate::host::{module, wait_until};
use anyhow::{ensure, Context, Result};
use nix::{
    errno::Errno,
    kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags},
};
use object::{Object, ObjectSymbol, SymbolKind};
use std::{
    env,
    ffi::CString,
    fs::{self, File},
    sync::OnceLock,
};

const PARAMETERS: &str = "/sys/module/trouble/parameters";
/// The kernel's function that interrupts another CPU. Its callers must not use one
/// `call_single_data` at the same time.
const CALL: &str = "smp_call_function_single_async";
/// The end of the mangled name of the method that arms an interrupt at the end of a poll.
const REARM: &str = "5rearm";
/// A lower bound of the length of [`CALL`]: kallsyms has no lengths.
const CALL_LEN: u64 = 96;

/// A function: its name and length.
type Function = (String, u64);

/// The functions in which two CPUs could race, and are delayed.
fn racing_functions() -> Result<&'static [Function]> {
    static FUNCTIONS: OnceLock<Vec<Function>> = OnceLock::new();

    if let Some(functions) = FUNCTIONS.get() {
        return Ok(functions);
    }
    let mut functions = vec![(CALL.to_owned(), CALL_LEN)];
    let file = fs::read(module::path()?)?;
    for symbol in object::File::parse(&*file)?.symbols() {
        if symbol.kind() == SymbolKind::Text && symbol.name()?.ends_with(REARM) {
            functions.push((format!("oxnic:{}", symbol.name()?), symbol.size()));
        }
    }
    ensure!(functions.len() > 1, "no function {REARM} in the module");
    Ok(FUNCTIONS.get_or_init(|| functions))
}

/// The module, until this is dropped.
pub struct Trouble(());

impl Trouble {
    /// Loads it, for allocations that fail.
    pub fn load() -> Result<Self> {
        Self::with("")
    }

    /// Loads it, and delays CPUs in the functions where they could race.
    pub fn slow_cpus() -> Result<Self> {
        let functions = racing_functions()?;
        let list = |which: fn(&Function) -> String| {
            let all: Vec<_> = functions.iter().map(which).collect();
            all.join(",")
        };
        let trouble = Self::with(&format!(
            "functions={} len={}",
            list(|function| function.0.clone()),
            list(|function| function.1.to_string())
        ))?;
        let slow = fs::read_to_string(format!("{PARAMETERS}/places"))?;

        ensure!(slow.trim() != "0", "no instruction can be probed");
        Ok(trouble)
    }

    fn with(params: &str) -> Result<Self> {
        let path = env::var("OXNIC_TROUBLE").context("OXNIC_TROUBLE names no module")?;
        let file = File::open(&path).with_context(|| format!("opening {path}"))?;

        finit_module(file, &CString::new(params)?, ModuleInitFlags::empty())
            .with_context(|| format!("loading {path}"))?;
        Ok(Self(()))
    }

    /// Sets whether the ports' page pools get pages.
    pub fn pages(&self, there: bool) -> Result<()> {
        set("no_pages", u32::from(!there))
    }

    /// Sets how long the allocation of a page takes.
    pub fn page_usecs(&self, usecs: u32) -> Result<()> {
        set("page_usecs", usecs)
    }
}

fn set(parameter: &str, value: u32) -> Result<()> {
    fs::write(format!("{PARAMETERS}/{parameter}"), value.to_string())
        .with_context(|| format!("writing {parameter}"))
}

impl Drop for Trouble {
    fn drop(&mut self) {
        // If this fails, loading it again fails too, and is reported.
        let _ = wait_until("the module of the tests can be unloaded", || {
            Ok(!matches!(
                delete_module(c"trouble", DeleteModuleFlags::O_NONBLOCK),
                Err(Errno::EBUSY | Errno::EAGAIN)
            ))
        });
    }
}
