// SPDX-License-Identifier: GPL-2.0

//! What happens seldom, often: pages that there are not, and a processor that loses time just between the
//! two instructions between which it must not matter. `tests/vm/kmod/trouble.c` makes it, on any kernel.

use crate::host::{cmd, module, wait_until};
use anyhow::{ensure, Context, Result};
use nix::{
    errno::Errno,
    kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags},
};
use std::{
    env,
    ffi::CString,
    fs::{self, File},
    sync::OnceLock,
};

const PARAMETERS: &str = "/sys/module/trouble/parameters";
/// The function of the kernel that interrupts another processor, which wants its callers to take turns.
const CALL: &str = "smp_call_function_single_async";
/// What arms an interrupt at the end of a poll, a method of that name.
const REARM: &str = "5rearm";
/// At least the length of the former, which no list has.
const CALL_LEN: u64 = 96;

/// A function: its name and length.
type Function = (String, u64);

/// Where processors are to lose time: the functions in which two of them must not meet.
fn narrow_places() -> Result<&'static [Function]> {
    static PLACES: OnceLock<Vec<Function>> = OnceLock::new();

    if let Some(places) = PLACES.get() {
        return Ok(places);
    }
    let mut places = vec![(CALL.to_owned(), CALL_LEN)];
    for line in cmd::run(&format!("nm --print-size {}", module::path()?))?.lines() {
        let words: Vec<_> = line.split_whitespace().collect();

        if let [_, len, "t" | "T", name] = words[..] {
            if name.ends_with(REARM) {
                places.push((format!("oxnic:{name}"), u64::from_str_radix(len, 16)?));
            }
        }
    }
    ensure!(places.len() > 1, "no function {REARM} in the module");
    Ok(PLACES.get_or_init(|| places))
}

/// The module, until this is dropped.
pub struct Trouble(());

impl Trouble {
    /// Loads it, for pages that there are not.
    pub fn load() -> Result<Self> {
        Self::with("")
    }

    /// Loads it; processors are slow in some places from now on.
    pub fn slow_processors() -> Result<Self> {
        let places = narrow_places()?;
        let list = |which: fn(&Function) -> String| {
            let all: Vec<_> = places.iter().map(which).collect();
            all.join(",")
        };
        let trouble = Self::with(&format!(
            "functions={} len={}",
            list(|place| place.0.clone()),
            list(|place| place.1.to_string())
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

    /// Whether the ports' page pools get pages.
    pub fn pages(&self, there: bool) -> Result<()> {
        set("no_pages", u32::from(!there))
    }

    /// How many microseconds each page takes.
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
        // What goes wrong here is found out when it is loaded next.
        let _ = wait_until("the module of the tests can be unloaded", || {
            Ok(!matches!(
                delete_module(c"trouble", DeleteModuleFlags::O_NONBLOCK),
                Err(Errno::EBUSY | Errno::EAGAIN)
            ))
        });
    }
}
