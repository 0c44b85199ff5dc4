// SPDX-License-Identifier: GPL-2.0

//! Runs the kernel's own driver tests, those of `selftests.toml`, on oxnic and on veth, and makes
//! `Documentation/selftests.md` of the results. `scripts/selftests` calls `run` in the VM and
//! `report` in the lab.

mod config;
mod features;
mod hw_metadata;
mod ksft;
mod page;
mod ports;
mod results;
mod run;
mod tap;
mod xsk;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the tests, in the VM, and prints each result as it comes
    Run {
        /// Which files and cases there are
        #[arg(long, default_value = "/oxnic/tests/selftests/selftests.toml")]
        config: PathBuf,
        /// The built parts of the kernel's tree
        #[arg(long, default_value = "/build/selftests/linux")]
        tree: PathBuf,
        /// Where the results and the output of each file go
        #[arg(long, default_value = "/out")]
        out: PathBuf,
        /// How often to run them
        #[arg(long, default_value_t = 1)]
        repeat: u32,
        /// Only files whose paths contain one of these
        names: Vec<String>,
    },
    /// Says how many cases passed on oxnic; fails if one ended unexpectedly
    Report {
        /// Where `run` has left the results
        #[arg(long, default_value = "/build/selftests/out")]
        out: PathBuf,
        /// Write this page, too
        #[arg(long)]
        page: Option<PathBuf>,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Run {
            config,
            tree,
            out,
            repeat,
            names,
        } => run::run(&config::read(&config)?, &tree, &out, repeat, &names)?,
        Command::Report { out, page } => return page::report(&out, page.as_deref()),
    }
    Ok(ExitCode::SUCCESS)
}
