// SPDX-License-Identifier: GPL-2.0

//! Which functions the instructions are in, as QEMU counted them (see `plugin/profile.c`).

use anyhow::{Context, Result};
use rustc_demangle::demangle;
use std::{arch::asm, collections::BTreeMap, fs, path::Path};

/// From here on QEMU counts. Without the plugin this does nothing.
#[inline(never)]
pub fn start() {
    // SAFETY: It is a nop.
    unsafe {
        asm!(
            ".byte 0x0f, 0x1f, 0x84, 0x00, 0x01, 0x00, 0x78, 0x6f",
            options(nostack)
        )
    }
}

/// QEMU writes down what it has counted.
#[inline(never)]
pub fn stop() {
    // SAFETY: It is a nop.
    unsafe {
        asm!(
            ".byte 0x0f, 0x1f, 0x84, 0x00, 0x02, 0x00, 0x78, 0x6f",
            options(nostack)
        )
    }
}

/// Instructions per function.
pub type Functions = BTreeMap<String, u64>;

/// The kernel's symbols, sorted by address.
pub struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// From what was /proc/kallsyms in the guest.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let mut symbols: Vec<_> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                let code = matches!(words.next()?, "t" | "T" | "w" | "W");
                let name = format!("{:#}", demangle(words.next()?));
                let module = words.next().unwrap_or("");

                code.then(|| (address, format!("{name} {module}").trim_end().to_owned()))
            })
            .collect();

        // Of several names for one place, the first; the sort is stable.
        symbols.sort_by_key(|symbol| symbol.0);
        symbols.dedup_by_key(|symbol| symbol.0);
        Ok(Self(symbols))
    }

    fn name(&self, address: u64) -> &str {
        const USER: u64 = 1 << 47;

        if address < USER {
            return "(user space)";
        }
        match self.0.partition_point(|symbol| symbol.0 <= address) {
            0 => "(unknown)",
            after => &self.0[after - 1].1,
        }
    }
}

/// The profiles in the file that the plugin wrote, in their order.
pub fn read(path: &Path, symbols: &Symbols) -> Result<Vec<Functions>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut profiles = Vec::new();

    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("profile") => profiles.push(Functions::new()),
            Some("end") | None => (),
            Some(address) => {
                let functions = profiles.last_mut().context("counts before a profile")?;
                let address = u64::from_str_radix(address, 16)?;
                let instructions: u64 = words.next().context("a line is too short")?.parse()?;
                let count: u64 = words.next().context("a line is too short")?.parse()?;

                *functions
                    .entry(symbols.name(address).to_owned())
                    .or_default() += instructions * count;
            }
        }
    }
    Ok(profiles)
}
