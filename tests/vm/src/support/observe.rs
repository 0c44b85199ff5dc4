// SPDX-License-Identifier: GPL-2.0

//! The metadata with which frames reach the stack, as a classifier at a port's ingress sees it.

use crate::{bed::Port, bpf};
use anyhow::{anyhow, Result};
use aya::{
    maps::Array,
    programs::{tc::TcAttachType, SchedClassifier},
    Ebpf, EbpfLoader,
};

/// The classifier of `observe.bpf.c`.
pub struct Observer(Ebpf);

/// The number of frames so far, and the metadata of the last one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub frames: u64,
    /// The flow hash, 0 for none.
    pub hash: u32,
    /// How many checksums in a row are known to be good, minus one; negative for none.
    pub csum_level: i32,
    /// Protocol and control information of the tag in the metadata, 0 for none.
    pub vlan: u32,
}

impl Observer {
    pub fn attach(port: &Port) -> Result<Self> {
        let mut object = EbpfLoader::new()
            .btf(None)
            .load_file(bpf::path("observe")?)?;

        port.ns.enter(|| {
            let program: &mut SchedClassifier = object
                .program_mut("observe")
                .ok_or_else(|| anyhow!("no program observe"))?
                .try_into()?;

            program.load()?;
            program.attach(&port.name, TcAttachType::Ingress)?;
            Ok(())
        })?;
        Ok(Self(object))
    }

    pub fn last(&self) -> Result<Seen> {
        let map = self.0.map("last").ok_or_else(|| anyhow!("no map last"))?;
        // A 64-bit and four 32-bit numbers.
        let [frames, first, second] = Array::<_, [u64; 3]>::try_from(map)?.get(&0, 0)?;

        Ok(Seen {
            frames,
            hash: first as u32,
            csum_level: (first >> 32) as i32,
            vlan: second as u32,
        })
    }
}
