// SPDX-License-Identifier: GPL-2.0

//! Loads the XDP program and attaches it.

use anyhow::{Context, Result};
use aya::{
    maps::{Array, DevMap},
    programs::{Xdp, XdpFlags},
    Ebpf,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/verdicts.bpf.o"));

/// The program, attached to an interface as long as this exists.
pub struct Verdicts {
    ebpf: Ebpf,
}

impl Verdicts {
    /// Attaches the program in the driver, and has it redirect to the interface of number `target`.
    pub fn attach(interface: &str, target: u32) -> Result<Self> {
        let mut ebpf = Ebpf::load(OBJECT)?;
        let mut targets: DevMap<_> = ebpf.map_mut("targets").context("targets")?.try_into()?;

        targets.set(0, target, None, 0)?;

        let program: &mut Xdp = ebpf
            .program_mut("xdp_verdicts")
            .context("xdp_verdicts")?
            .try_into()?;

        program.load()?;
        program.attach(interface, XdpFlags::DRV_MODE)?;
        Ok(Self { ebpf })
    }

    /// The number of frames with this verdict.
    pub fn count(&self, verdict: u32) -> Result<u64> {
        let verdicts: Array<_, u64> = self.ebpf.map("verdicts").context("verdicts")?.try_into()?;

        Ok(verdicts.get(&verdict, 0)?)
    }
}
