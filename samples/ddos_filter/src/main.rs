// SPDX-License-Identifier: GPL-2.0

//! ddos_filter: what XDP is for. A program in front of the network stack drops what comes from
//! blocked addresses and what is too much, while everything can be looked at and changed.

#![forbid(unsafe_code)]

mod filter;
mod prefix;
mod table;

use anyhow::{anyhow, Context, Result};
use aya::programs::{ProgramError, Xdp, XdpFlags};
use clap::{Parser, Subcommand};
use filter::{Filter, Limit, Pins, Rule};
use oxnic_samples::{
    bpf::{self, ObjectFile},
    interface::Interface,
    say,
    stop::Stop,
};
use prefix::Prefix;
use std::{
    io::ErrorKind,
    process::ExitCode,
    time::{Duration, Instant},
};
use table::{Display, Sampler};

const NAME: &str = "ddos_filter";
/// How many of the worst sources are shown.
const WORST: usize = 5;

/// Drops a flood in front of the network stack: all that comes from blocked addresses, and from any
/// other source what is more than a limit.
///
/// `run` attaches the filter and shows what it does until Ctrl-C. The other commands change and
/// show it meanwhile, from another terminal.
#[derive(Parser)]
#[command(name = NAME)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Filter what an interface receives, and show statistics until Ctrl-C: a table on a terminal,
    /// else a line each time
    Run {
        /// The interface that receives the frames
        interface: String,

        /// Drop what comes from these addresses
        #[arg(long, value_name = "PREFIX")]
        block: Vec<Prefix>,

        /// Let pass what comes from these, even from within a blocked prefix, and without a limit
        #[arg(long, value_name = "PREFIX")]
        allow: Vec<Prefix>,

        #[command(flatten)]
        limit: LimitArgs,

        /// Seconds between two looks at the statistics
        #[arg(long, default_value_t = 1, value_name = "SECONDS",
            value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval: u64,

        /// Let the network stack run the program, for a driver that cannot
        #[arg(long)]
        skb: bool,

        #[command(flatten)]
        object: ObjectFile,
    },

    /// Block addresses, or allow them
    Add {
        /// Where the filter runs
        interface: String,

        /// Addresses, as 10.1.0.0/16, 2001:db8::/32 or a single one
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<Prefix>,

        /// Let them pass, even from within a blocked prefix, and without a limit
        #[arg(long)]
        allow: bool,
    },

    /// Take rules out again
    Remove {
        /// Where the filter runs
        interface: String,

        /// The rules' addresses, as they were given
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<Prefix>,
    },

    /// Show the rules, one a line
    List {
        /// Where the filter runs
        interface: String,
    },

    /// Change how many packets a source may send
    Limit {
        /// Where the filter runs
        interface: String,

        #[command(flatten)]
        limit: LimitArgs,
    },

    /// Show the statistics once
    Stats {
        /// Where the filter runs
        interface: String,
    },
}

#[derive(clap::Args)]
struct LimitArgs {
    /// How many packets a second any source may send; 0 is no limit. A source is an address of IPv4
    /// or the first 64 bits of one of IPv6
    #[arg(long, default_value_t = 0, value_name = "PACKETS",
        value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    rate: u32,

    /// How many it may send at once, after a pause
    #[arg(long, default_value_t = 100, value_name = "PACKETS",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    burst: u32,
}

impl LimitArgs {
    fn limit(&self) -> Limit {
        Limit {
            rate: self.rate,
            burst: self.burst,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();

    oxnic_samples::run(NAME, || sample(args.command))
}

fn sample(command: Command) -> Result<()> {
    match command {
        Command::Run {
            interface,
            block,
            allow,
            limit,
            interval,
            skb,
            object,
        } => {
            let stop = Stop::on_signals()?;
            let interface = Interface::find(&interface)?;
            let mode = if skb {
                XdpFlags::SKB_MODE
            } else {
                XdpFlags::DRV_MODE
            };

            run(
                &interface,
                &object,
                mode,
                &stop,
                Duration::from_secs(interval),
                |filter| {
                    for (prefixes, pass) in [(&block, false), (&allow, true)] {
                        for prefix in prefixes {
                            filter.add(*prefix, pass)?;
                        }
                    }
                    filter.set_limit(limit.limit())
                },
            )
        }
        Command::Add {
            interface,
            prefixes,
            allow,
        } => {
            let mut filter = Filter::find(&Interface::find(&interface)?)?;

            for prefix in prefixes {
                filter.add(prefix, allow)?;
                say!("{prefix} is {}", Rule::word(allow))?;
            }
            Ok(())
        }
        Command::Remove {
            interface,
            prefixes,
        } => {
            let mut filter = Filter::find(&Interface::find(&interface)?)?;

            for prefix in prefixes {
                let rule = filter.remove(prefix)?;

                say!(
                    "{prefix} was {}: {} packets, {} bytes",
                    rule.what(),
                    rule.count.packets,
                    rule.count.bytes
                )?;
            }
            Ok(())
        }
        Command::List { interface } => {
            for rule in Filter::find(&Interface::find(&interface)?)?.rules()? {
                say!("{} {}", rule.prefix, rule.what())?;
            }
            Ok(())
        }
        Command::Limit { interface, limit } => {
            let interface = Interface::find(&interface)?;

            Filter::find(&interface)?.set_limit(limit.limit())?;
            match limit.limit() {
                Limit { rate: 0, .. } => say!("{interface} has no limit"),
                Limit { rate, burst } => {
                    say!("{interface} has a limit of {rate} packets/s for each source, {burst} at once")
                }
            }
        }
        Command::Stats { interface } => {
            let filter = Filter::find(&Interface::find(&interface)?)?;
            let sample = Sampler::new().next(filter.statistics(WORST)?);

            say!("{}", sample.table(usize::MAX))
        }
    }
}

/// Attaches the filter and shows what it does until it is told to stop. `prepare` sets it up before
/// the first frame.
fn run(
    interface: &Interface,
    object: &ObjectFile,
    mode: XdpFlags,
    stop: &Stop,
    interval: Duration,
    prepare: impl FnOnce(&mut Filter) -> Result<()>,
) -> Result<()> {
    let mut object = bpf::open(&object.path(NAME)?)?;
    let program: &mut Xdp = object
        .program_mut(NAME)
        .ok_or_else(|| anyhow!("the file has no program {NAME}"))?
        .try_into()?;
    bpf::loaded(NAME, program.load())?;

    // The program has its maps by now. Others get them by these names.
    let (_pins, mut filter) = Pins::make(interface, &mut object)?;
    prepare(&mut filter)?;

    // By a link: when this program ends, however that may be, so does the filter.
    let program: &mut Xdp = object
        .program_mut(NAME)
        .ok_or_else(|| anyhow!("the file has no program {NAME}"))?
        .try_into()?;
    let link = program
        .attach_to_if_index(interface.index, mode)
        .map_err(|error| not_attached(error, interface))?;
    let begin = Instant::now();
    let mut sampler = Sampler::new();

    say!("Filtering what {interface} receives, until Ctrl-C.")?;
    sampler.next(filter.statistics(WORST)?);
    {
        let display = Display::open()?;
        let mut next = begin + interval;

        while !stop.wait_until(next)? {
            let sample = sampler.next(filter.statistics(WORST)?);

            display.show(interface, begin.elapsed().as_secs(), &sample)?;
            next += interval;
        }
    }

    program.detach(link).context("detaching the program")?;
    let sample = Sampler::new().next(filter.statistics(WORST)?);
    say!(
        "Stopped after {} s; {interface} receives everything again.\n{}",
        begin.elapsed().as_secs(),
        sample.table(usize::MAX)
    )
}

fn not_attached(error: ProgramError, interface: &Interface) -> anyhow::Error {
    let ProgramError::SyscallError(call) = error else {
        return anyhow!(error).context(format!("attaching to {interface}"));
    };

    if call.io_error.kind() == ErrorKind::ResourceBusy {
        return anyhow!("{interface} has an XDP program already");
    }
    anyhow!(call.io_error).context(format!("attaching to {interface}"))
}
