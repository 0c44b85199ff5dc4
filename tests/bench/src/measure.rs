// SPDX-License-Identifier: GPL-2.0

//! The measurement in instructions; runs in the VM.

use crate::{
    device::{self, KINDS},
    host, packets, profile,
    programs::Programs,
    progress::Progress,
    result::Results,
    scaling, scenario, tcp,
};
use anyhow::{ensure, Result};
use std::{fs, path::Path};

pub fn measure(out: &Path, objects: &Path, filter: &str) -> Result<()> {
    let scenarios = scenario::all(filter);

    device::make_others()?;
    let programs = Programs::load(objects)?;
    let packets = packets::Bench::new(&programs, &scenarios);
    let tcp = tcp::Bench::new(filter);
    let scaling = scaling::Bench::new(&programs, filter);
    let mut steps = tcp.steps() + scaling.steps();

    if !scenarios.is_empty() {
        steps += packets.steps() + packets.profile_steps();
    }
    ensure!(steps > 0, "nothing has '{filter}' in its name");
    let mut progress = Progress::new(steps);
    let mut results = Results {
        kernel: host::read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        ..Default::default()
    };
    let mut profiled = Vec::new();

    if !scenarios.is_empty() {
        KINDS.iter().try_for_each(|kind| kind.make_bare(2, 1))?;
        packets.begin()?;
        let costs = packets.measure(&mut progress)?;
        // The modules and programs are all loaded, so this has them too.
        let kallsyms = host::read("/proc/kallsyms")?;

        fs::write(out.join("kallsyms"), &kallsyms)?;
        profile::write_ranges(&kallsyms, &out.join("ranges"))?;
        profiled = packets.profiles(&costs.rows, &mut progress)?;
        results.scenarios = costs.rows;
        results.floor = costs.floor;
        results.sources = costs.sources;
        packets.end()?;
        KINDS.iter().try_for_each(|kind| kind.remove(2))?;
    }
    KINDS.iter().try_for_each(|kind| kind.make(1, 1))?;
    (results.tcp, results.ping) = tcp.measure(&programs, &mut progress)?;
    KINDS.iter().try_for_each(|kind| kind.remove(1))?;
    results.scaling = scaling.measure(&mut progress)?;

    fs::write(out.join("results.json"), serde_json::to_string(&results)?)?;
    fs::write(out.join("profiled.json"), serde_json::to_string(&profiled)?)?;
    Ok(())
}
