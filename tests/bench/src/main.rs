// SPDX-License-Identifier: GPL-2.0

//! Measures what a frame costs on oxnic and on veth, in instructions: in a VM where QEMU lets each
//! instruction take one nanosecond (`-icount shift=0`), the time that passes is their number.
//! `scripts/bench` runs `measure` in such a VM and `report` in the lab.

mod chart;
mod device;
mod goals;
mod host;
mod measure;
mod packets;
mod profile;
mod programs;
mod rate;
mod report;
mod result;
mod scaling;
mod scenario;
mod tables;
mod tcp;
mod xsk;

use anyhow::Result;
use clap::{Parser, Subcommand};
use oxnic_drop_points::{pktgen, progress, socket};
use std::path::PathBuf;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures instructions, in a VM that counts them.
    Measure {
        /// Where the results go.
        #[arg(long, default_value = "/out")]
        out: PathBuf,
        /// The directory of the compiled BPF programs.
        #[arg(long, default_value = "/build/bpf")]
        objects: PathBuf,
        /// Only what has this in its name.
        #[arg(default_value = "")]
        filter: String,
    },
    /// Measures packets per second, in a VM with several CPUs.
    Rate {
        /// Where the results go.
        #[arg(long, default_value = "/out")]
        out: PathBuf,
        /// The directory of the compiled BPF programs.
        #[arg(long, default_value = "/build/bpf")]
        objects: PathBuf,
        /// Only what has this in its name.
        #[arg(default_value = "")]
        filter: String,
    },
    /// Receives what `measure` sends by TCP; started by it.
    Receive {
        /// Where to listen.
        address: String,
    },
    /// Prints the packets per second.
    ReportRate {
        /// Where the results are.
        results: PathBuf,
    },
    /// Prints the results of a measurement, and writes them to a directory.
    Report {
        /// Where the results are.
        results: PathBuf,
        /// Where the JSON, the chart and the tables go; nowhere if not given.
        #[arg(long)]
        documentation: Option<PathBuf>,
        /// The results are of a part of the benchmarks: keep what the JSON has of the others.
        #[arg(long, requires = "documentation")]
        update: bool,
    },
    /// Makes the chart and the tables again from the JSON, and measures nothing.
    Redraw {
        /// Where all of them are.
        documentation: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Measure {
            out,
            objects,
            filter,
        } => measure::measure(&out, &objects, &filter),
        Command::Rate {
            out,
            objects,
            filter,
        } => rate::measure(&out, &objects, &filter),
        Command::Receive { address } => tcp::receive(&address),
        Command::ReportRate { results } => report::report_rate(&results),
        Command::Report {
            results,
            documentation,
            update,
        } => report::report(&results, documentation.as_deref(), update),
        Command::Redraw { documentation } => report::redraw(&documentation),
    }
}
