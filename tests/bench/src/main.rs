// SPDX-License-Identifier: GPL-2.0

//! Measures what a frame costs on oxnic and on veth, in instructions: in a VM where QEMU lets each
//! instruction take one nanosecond (`-icount shift=0`), the time that passes is their number.
//! `scripts/bench` runs `measure` in such a VM and `report` in the lab.

mod device;
mod host;
mod measure;
mod pktgen;
mod profile;
mod programs;
mod report;
mod result;
mod scenario;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, in the VM.
    Measure {
        /// Where the results go.
        #[arg(long, default_value = "/out")]
        out: PathBuf,
        /// The folder of the compiled BPF programs.
        #[arg(long, default_value = "/build/bpf")]
        objects: PathBuf,
        /// Only scenarios whose name contains this.
        #[arg(default_value = "")]
        filter: String,
    },
    /// Prints the results of a measurement, and writes them to a folder.
    Report {
        /// Where the results are.
        results: PathBuf,
        /// Where the JSON, the chart and the tables go; nowhere if not given.
        #[arg(long)]
        documentation: Option<PathBuf>,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Measure {
            out,
            objects,
            filter,
        } => measure::measure(&out, &objects, &filter),
        Command::Report {
            results,
            documentation,
        } => report::report(&results, documentation.as_deref()),
    }
}
