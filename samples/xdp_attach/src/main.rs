// SPDX-License-Identifier: GPL-2.0

//! Loads an XDP program and attaches it to an interface with a netlink message made by hand.

#![forbid(unsafe_code)]

mod link;
mod message;
mod socket;

use anyhow::{anyhow, bail, Context, Result};
use aya::{
    maps::PerCpuArray,
    programs::{loaded_programs, Program, ProgramFd, Xdp},
    Ebpf,
};
use clap::Parser;
use link::{Attached, NO_PROGRAM};
use nix::errno::Errno;
use oxnic_samples::{
    bpf::{self, ObjectFile},
    interface::Interface,
    protocols, say,
    stop::Stop,
};
use socket::{Outcome, Socket};
use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    process::ExitCode,
    time::{Duration, Instant},
};

const NAME: &str = "xdp_attach";

/// Loads an XDP program and attaches it to an interface, with a netlink message that is made by hand
/// and shown byte by byte. Then prints every second how many frames of each protocol the program
/// has counted, until Ctrl-C, and detaches it.
///
/// Without --if-none-exists and --replace, the program takes the place of the one that may be there.
#[derive(Parser, Debug)]
#[command(name = NAME, version)]
struct Args {
    /// The interface that receives the frames
    interface: String,

    /// Have the driver run the program (XDP_FLAGS_DRV_MODE); the kernel's own choice if the driver
    /// can
    #[arg(long, conflicts_with = "skb")]
    driver: bool,

    /// Have the network stack run it, on the driver's sk_buffs (XDP_FLAGS_SKB_MODE)
    #[arg(long)]
    skb: bool,

    /// Only if no program is attached (XDP_FLAGS_UPDATE_IF_NOEXIST)
    #[arg(long, conflicts_with = "replace")]
    if_none_exists: bool,

    /// Only in the place of the program with this id (XDP_FLAGS_REPLACE, IFLA_XDP_EXPECTED_FD)
    #[arg(long, value_name = "ID")]
    replace: Option<u32>,

    /// The program's name, if the file has several
    #[arg(long, value_name = "NAME")]
    program: Option<String>,

    /// Stop after this time instead of at Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,

    #[command(flatten)]
    object: ObjectFile,
}

impl Args {
    /// The flags that choose the mode. Who detaches has to give the same.
    fn mode(&self) -> u32 {
        let mut flags = 0;

        if self.driver {
            flags |= link::XDP_FLAGS_DRV_MODE;
        }
        if self.skb {
            flags |= link::XDP_FLAGS_SKB_MODE;
        }
        flags
    }
}

fn main() -> ExitCode {
    let args = Args::parse();

    oxnic_samples::run(NAME, || sample(&args))
}

fn sample(args: &Args) -> Result<()> {
    let stop = Stop::on_signals()?;
    let interface = Interface::find(&args.interface)?;
    let file = args.object.path("xdp_count")?;

    say!("1. The program, from {}", file.display())?;
    let mut object = bpf::open(&file)?;
    let name = choose(&object, args.program.as_deref())?;
    let program = load(&mut object, &name)?;

    say!("\n2. A netlink socket")?;
    let socket = Socket::open()?;
    say!(
        "   socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) = {}",
        socket.number()
    )?;
    say!(
        "   {interface} has {}",
        Attached::query(&socket, &interface, 1)?
    )?;

    say!("\n3. The message that attaches the program")?;
    let attachment = attach(args, &socket, &interface, &program)?;
    say!(
        "   {interface} has {}",
        Attached::query(&socket, &interface, 3)?
    )?;

    watch(&object, &stop, args.seconds)?;

    say!("\n5. The message that detaches it")?;
    attachment.detach()
}

/// The program of that name, or the only one.
fn choose(object: &Ebpf, name: Option<&str>) -> Result<String> {
    let names: Vec<_> = object
        .programs()
        .filter(|(_, program)| matches!(program, Program::Xdp(_)))
        .map(|(name, _)| name)
        .collect();

    match (name, &names[..]) {
        (Some(name), _) if names.contains(&name) => Ok(name.to_owned()),
        (Some(name), _) => bail!("the file has no XDP program called {name}"),
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => bail!("the file has no XDP program"),
        (None, _) => bail!(
            "the file has several XDP programs, and --program names one: {}",
            names.join(", ")
        ),
    }
}

/// `BPF_PROG_LOAD`: the verifier looks at the program, the compiler makes machine code of it.
fn load(object: &mut Ebpf, name: &str) -> Result<ProgramFd> {
    let program: &mut Xdp = object
        .program_mut(name)
        .ok_or_else(|| anyhow!("the file has no program {name}"))?
        .try_into()?;

    bpf::loaded(name, program.load())?;
    let info = program.info().context("asking about the program")?;
    let fd = program.fd()?.try_clone()?;

    say!("   BPF_PROG_LOAD {name}: the verifier lets it in")?;
    say!(
        "   descriptor {}, id {}, tag {:016x}, {} bytes of machine code",
        fd.as_fd().as_raw_fd(),
        info.id(),
        info.tag(),
        info.size_jitted()
    )?;
    Ok(fd)
}

/// A program at an interface. It would stay there when this process ends, so it is detached
/// whatever way that happens.
struct Attachment<'a> {
    socket: &'a Socket,
    interface: &'a Interface,
    program: RawFd,
    mode: u32,
    attached: bool,
}

fn attach<'a>(
    args: &Args,
    socket: &'a Socket,
    interface: &'a Interface,
    program: &ProgramFd,
) -> Result<Attachment<'a>> {
    let mut flags = args.mode();
    let mut expected = None;

    if args.if_none_exists {
        flags |= link::XDP_FLAGS_UPDATE_IF_NOEXIST;
    }
    // Open as long as the message needs it.
    let replaced = args.replace.map(program_by_id).transpose()?;
    if let Some(replaced) = &replaced {
        flags |= link::XDP_FLAGS_REPLACE;
        expected = Some(replaced.as_fd().as_raw_fd());
    }

    let program = program.as_fd().as_raw_fd();
    let message = link::set_xdp(interface, program, flags, expected, 2);
    say!("{message}")?;
    let outcome = Outcome::parse(&socket.ask(&message)?)?;
    let attachment = Attachment {
        socket,
        interface,
        program,
        mode: args.mode(),
        attached: outcome.errno.is_none(),
    };

    say!("   The kernel answers:")?;
    say!("{}", outcome.picture)?;
    match outcome.errno {
        None => Ok(attachment),
        Some(errno) => Err(refusal(errno, outcome.reason))
            .with_context(|| format!("attaching the program to {interface}")),
    }
}

/// A descriptor of a program that is in the kernel already.
fn program_by_id(id: u32) -> Result<ProgramFd> {
    loaded_programs()
        // One may go while the list is read.
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .ok_or_else(|| anyhow!("there is no program with id {id}"))?
        .fd()
        .with_context(|| format!("opening program id {id}"))
}

fn refusal(errno: Errno, reason: Option<String>) -> anyhow::Error {
    match reason {
        Some(reason) => anyhow!("{reason} ({errno:?})"),
        None => anyhow!(errno),
    }
}

impl Attachment<'_> {
    fn detach(mut self) -> Result<()> {
        // The message says whom to detach: if another program has taken the place meanwhile, that
        // one stays.
        let message = self.message();

        self.attached = false;
        let outcome = Outcome::parse(&self.socket.ask(&message)?)?;
        say!("{message}\n   The kernel answers:\n{}", outcome.picture)?;
        match outcome.errno {
            None => {}
            // The device was removed, or moved to another namespace.
            Some(Errno::ENODEV) => return say!("   {} is not here any more", self.interface),
            Some(Errno::EEXIST) => say!("   It was not there any more")?,
            Some(errno) => {
                return Err(refusal(errno, outcome.reason))
                    .with_context(|| format!("detaching the program from {}", self.interface))
            }
        }
        say!(
            "   {} has {}",
            self.interface,
            Attached::query(self.socket, self.interface, 5)?
        )
    }

    fn message(&self) -> message::Message {
        link::set_xdp(
            self.interface,
            NO_PROGRAM,
            self.mode | link::XDP_FLAGS_REPLACE,
            Some(self.program),
            4,
        )
    }
}

impl Drop for Attachment<'_> {
    fn drop(&mut self) {
        if self.attached {
            // An error is on its way already, and it is the one to tell.
            let _ = self.socket.ask(&self.message());
        }
    }
}

/// Prints once in a second what the program has counted in it.
fn watch(object: &Ebpf, stop: &Stop, seconds: Option<u64>) -> Result<()> {
    let counters = object
        .map("protocols")
        .map(PerCpuArray::try_from)
        .transpose()
        .context("the map \"protocols\"")?;
    let first = match &counters {
        Some(counters) => protocols::read(counters)?,
        None => protocols::Counts::default(),
    };
    let mut before = first;
    let start = Instant::now();

    // After the first reading: all frames that arrive from now on are in the table.
    say!("\n4. What the program counts")?;
    match &counters {
        Some(_) => row("second", &protocols::NAMES)?,
        None => say!("   Nothing: it has no map called \"protocols\". It runs until Ctrl-C")?,
    }
    for second in 1.. {
        let stopped = stop.wait_until(start + Duration::from_secs(second))?;

        if let Some(counters) = &counters {
            let now = protocols::read(counters)?;

            row(&second.to_string(), &protocols::since(&before, &now))?;
            before = now;
        }
        if stopped || Some(second) == seconds {
            break;
        }
    }
    if counters.is_some() {
        row("all", &protocols::since(&first, &before))?;
    }
    Ok(())
}

fn row<T: ToString>(title: &str, cells: &[T]) -> Result<()> {
    let cells: Vec<_> = cells
        .iter()
        .map(|cell| format!("{:>10}", cell.to_string()))
        .collect();

    say!("   {title:>6}{}", cells.concat())
}
