// SPDX-License-Identifier: GPL-2.0

//! Which functions the instructions are in, as QEMU counted them (see `plugin/profile.c`).

use crate::device::Kind;
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

/// Tells the plugin where NAPI polls begin and end: in net_rx_action, which calls __napi_poll.
pub fn write_ranges(kallsyms: &str, path: &Path) -> Result<()> {
    let mut text = String::new();
    let addresses = kallsyms
        .lines()
        .filter_map(|line| u64::from_str_radix(line.split_whitespace().next()?, 16).ok());
    let address_of = |name: &str| {
        kallsyms
            .lines()
            .find_map(|line| {
                let mut words = line.split_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                (words.nth(1)? == name).then_some(address)
            })
            .with_context(|| format!("the kernel has no function {name}"))
    };

    for (inside, name) in [(0, "net_rx_action"), (1, "__napi_poll")] {
        let start = address_of(name)?;
        let end = addresses
            .clone()
            .filter(|address| *address > start)
            .min()
            .context("no symbol follows")?;
        text += &format!("{inside} {start:x} {end:x}\n");
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Instructions of a function, outside and inside of a NAPI poll.
pub type Count = [u64; 2];

pub type Functions = BTreeMap<String, Count>;

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

/// Whose a function is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The module's, with what it takes from the kernel's headers.
    Driver,
    PagePool,
    /// The program and the kernel's way into it.
    Program,
    Other,
}

pub const PARTS: [Part; 4] = [Part::Driver, Part::PagePool, Part::Program, Part::Other];

impl Part {
    /// Whose a function is in a profile of frames on a device.
    pub fn of(function: &str, kind: Kind) -> Self {
        if function.ends_with(&format!("[{}]", kind.name())) {
            Self::Driver
        } else if function.contains("page_pool") {
            Self::PagePool
        } else if function.ends_with("[bpf]") || function.starts_with("bpf_dispatcher") {
            Self::Program
        } else {
            Self::Other
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
                let function = functions
                    .entry(symbols.name(address).to_owned())
                    .or_default();

                for sum in function {
                    let count: u64 = words.next().context("a line is too short")?.parse()?;
                    *sum += instructions * count;
                }
            }
        }
    }
    Ok(profiles)
}
