// SPDX-License-Identifier: GPL-2.0

//! Allocations of memory that fail because a test wants it (the kernel's fault injection).
//!
//! Only what is allocated below the module fails: by it, or by what it calls. The kernel looks for
//! the module's code on the stack of whoever allocates.

use super::{module, watchdog};
use anyhow::{anyhow, Context, Result};
use std::{
    fs,
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Which allocation of a thread is to fail.
const FAIL_NTH: &str = "/proc/thread-self/fail-nth";

/// Modules are loaded close to one another: within so many bytes.
const NEARBY: u64 = 64 << 20;

/// More allocations than any change needs.
const MOST: u32 = 1000;

const DEBUGFS: &str = "/sys/kernel/debug";
/// What can fail: objects of the slab allocator, and pages.
const KINDS: [&str; 2] = ["failslab", "fail_page_alloc"];
const FUNCTION: &str = "fail_function";

/// What the kernel says of objects of its own for which there is no memory.
pub const SAID: [&str; 9] = [
    "page_pool_create_percpu() gave up",
    // Of the references to a device that the debug kernel keeps track of.
    "ref_tracker: memory allocation failure",
    "kobject: ",
    "Failed to add kobject for irq",
    "debugfs: out of free dentries",
    "sysctl could not get directory",
    // The parent device: it cannot be added, or not be bound to its driver.
    "device_add for faux device 'oxnic' failed with",
    "faux_driver oxnic: really_probe: driver_sysfs_add failed",
    // Of what kmemleak keeps for itself about memory from vmalloc.
    "kmemleak: Cannot allocate a scan area",
];

/// Whether the kernel has fault injection.
pub fn is_there() -> bool {
    Path::new(FAIL_NTH).exists()
}

/// Allocations below the module can be made to fail until this goes.
pub struct Faults(());

impl Faults {
    /// The module must be loaded.
    pub fn below_module() -> Result<Self> {
        let faults = Self(());
        let base = module::text()?;
        for kind in KINDS {
            for (name, value) in [
                ("require-start", base.saturating_sub(NEARBY)),
                ("require-end", base + NEARBY),
                ("probability", 0),
                ("task-filter", 0),
                ("ignore-gfp-wait", 0),
                ("verbose", 0),
            ] {
                set(kind, name, value)?;
            }
        }
        set("fail_page_alloc", "min-order", 0)?;
        Ok(faults)
    }

    /// Runs `work` in this thread, where the `n`th allocation fails, and says whether there were so
    /// many. What `work` has other threads or processes do is left alone.
    pub fn nth<T>(&self, n: u32, work: impl FnOnce() -> T) -> Result<(T, bool)> {
        let file = OpenOptions::new().read(true).write(true).open(FAIL_NTH)?;
        file.write_all_at(n.to_string().as_bytes(), 0)?;
        let outcome = work();
        let mut left = [0; 16];
        let len = file.read_at(&mut left, 0)?;
        file.write_all_at(b"0", 0)?;
        Ok((outcome, left[..len].trim_ascii() == b"0"))
    }

    /// Makes `percent` of all allocations fail, on every CPU and in every context, while `work`
    /// runs.
    pub fn while_failing<T>(&self, percent: u64, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let switch = |percent| {
            KINDS.iter().try_for_each(|kind| {
                set(kind, "times", u64::MAX)?;
                set(kind, "probability", percent)
            })
        };
        switch(percent)?;
        let outcome = work();
        switch(0)?;
        outcome
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        for kind in KINDS {
            for (name, value) in [
                ("probability", 0),
                ("require-start", 0),
                ("require-end", u64::MAX),
            ] {
                // A test that fails says why in its own words.
                let _ = set(kind, name, value);
            }
        }
    }
}

/// Calls `attempt` with 1, 1 + `step` and so on: which allocation is to fail in it. Ends when
/// `attempt` says that there were not so many, and returns how many have failed.
pub fn one_after_the_other(step: u32, mut attempt: impl FnMut(u32) -> Result<bool>) -> Result<u32> {
    for (count, n) in (0..).zip((1..=MOST).step_by(step as usize)) {
        if !attempt(n).with_context(|| format!("allocation {n}"))? {
            eprintln!("    {count} of {} allocations failed", n - 1);
            return Ok(count);
        }
        watchdog::still_alive();
    }
    Err(anyhow!("more than {MOST} allocations"))
}

/// Makes a function of the kernel return null, whoever calls it, while `work` runs. It must be one
/// that is marked for this (`ALLOW_ERROR_INJECTION`).
pub fn while_null<T>(function: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    while_often_null(function, 100, work)
}

/// As [`while_null`], but only `percent` of all calls return null.
pub fn while_often_null<T>(
    function: &str,
    percent: u64,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    write(&dir(FUNCTION).join("inject"), function)?;
    let outcome = (|| {
        set(FUNCTION, &format!("{function}/retval"), 0)?;
        set(FUNCTION, "verbose", 0)?;
        set(FUNCTION, "interval", 1)?;
        set(FUNCTION, "times", u64::MAX)?;
        set(FUNCTION, "probability", percent)?;
        work()
    })();
    set(FUNCTION, "probability", 0)?;
    write(&dir(FUNCTION).join("inject"), &format!("!{function}"))?;
    outcome
}

fn dir(kind: &str) -> PathBuf {
    Path::new(DEBUGFS).join(kind)
}

fn set(kind: &str, name: &str, value: u64) -> Result<()> {
    // -1 is no limit; all of these files take it in decimal, and addresses too.
    let text = match (name, value) {
        ("times", u64::MAX) => "-1".to_owned(),
        _ => value.to_string(),
    };
    write(&dir(kind).join(name), &text)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing \"{text}\" to {}", path.display()))
}
