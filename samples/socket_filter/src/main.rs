// SPDX-License-Identifier: GPL-2.0

//! The same frames at two hooks: an XDP program in the driver, and socket filters.

#![forbid(unsafe_code)]

mod sockets;
mod view;

use anyhow::{anyhow, bail, Context, Result};
use aya::{
    maps::{Array, MapData, PerCpuArray},
    programs::{xdp::XdpLinkId, ProgramError, ProgramFd, SocketFilter, Xdp, XdpFlags},
    Ebpf,
};
use clap::Parser;
use nix::errno::Errno;
use oxnic_samples::{
    bpf::{self, ObjectFile},
    interface::Interface,
    protocols::{self, Counts},
    say,
    stop::Stop,
};
use sockets::Filtered;
use std::{
    os::fd::{AsFd, AsRawFd},
    process::ExitCode,
    time::{Duration, Instant},
};

const NAME: &str = "socket_filter";

/// Counts the frames of an interface by protocol at three places: in the driver (XDP), at a packet
/// socket, and at a UDP socket. Prints the counters every second until Ctrl-C, and then what each
/// program had of the last UDP frame.
#[derive(Parser, Debug)]
#[command(name = NAME, version)]
struct Args {
    /// The interface that receives the frames
    interface: String,

    /// The port of the UDP socket
    #[arg(long, value_name = "PORT", default_value_t = 9)]
    port: u16,

    /// Attach no XDP program, only the socket filters
    #[arg(long)]
    no_xdp: bool,

    /// Stop after this time instead of at Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,

    #[command(flatten)]
    object: ObjectFile,
}

fn main() -> ExitCode {
    let args = Args::parse();

    oxnic_samples::run(NAME, || sample(&args))
}

fn sample(args: &Args) -> Result<()> {
    let stop = Stop::on_signals()?;
    let interface = Interface::find(&args.interface)?;
    let file = args.object.path(NAME)?;

    say!("1. The programs, from {}", file.display())?;
    let mut object = bpf::open(&file)?;
    let packet_filter = load_filter(&mut object, "count_packet")?;
    let udp_filter = load_filter(&mut object, "count_udp")?;

    say!("\n2. A packet socket on {interface}, which sees all of its frames")?;
    let packet = Filtered::packet(&interface, &packet_filter)?;
    say_attached(&packet, &packet_filter)?;

    say!("\n3. A UDP socket on {interface}, port {}", args.port)?;
    let udp = Filtered::udp(&interface, args.port, &udp_filter)?;
    say_attached(&udp, &udp_filter)?;

    // The link goes with the process, and its program with it; so do the filters with the sockets.
    let mut link = None;
    if !args.no_xdp {
        say!("\n4. An XDP program in the driver of {interface}")?;
        link = Some(attach_xdp(&mut object, &interface)?);
    }

    say!("\nWhat the programs count")?;
    let received = watch(&object, &stop, args, &udp)?;

    say!("\nThe last UDP frame that arrived, as each program had it")?;
    view::print(&Array::try_from(map(&object, "views")?)?)?;

    say!("\nWhat got to user space")?;
    say!(
        "   packet socket: {} frames, as its filter says 0",
        packet.drain()?
    )?;
    say!("   UDP socket: {received} datagrams, as its filter says their length")?;
    if let Some(link) = link {
        xdp_mut(&mut object)?
            .detach(link)
            .context("detaching the XDP program")?;
        say!("The XDP program is detached")?;
    }
    Ok(())
}

fn load_filter(object: &mut Ebpf, name: &str) -> Result<ProgramFd> {
    let program: &mut SocketFilter = object
        .program_mut(name)
        .ok_or_else(|| anyhow!("the file has no program {name}"))?
        .try_into()?;

    bpf::loaded(name, program.load())?;
    let fd = program.fd()?.try_clone()?;
    say!(
        "   BPF_PROG_LOAD {name}, BPF_PROG_TYPE_SOCKET_FILTER: descriptor {}",
        fd.as_fd().as_raw_fd()
    )?;
    Ok(fd)
}

fn say_attached(socket: &Filtered, filter: &ProgramFd) -> Result<()> {
    say!(
        "   setsockopt({}, SOL_SOCKET, SO_ATTACH_BPF, {})",
        socket.number(),
        filter.as_fd().as_raw_fd()
    )
}

fn xdp_mut(object: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(object
        .program_mut("count_xdp")
        .ok_or_else(|| anyhow!("the file has no program count_xdp"))?
        .try_into()?)
}

/// Attaches the XDP program by a BPF link. In contrast to a program that is attached by netlink, it
/// never takes the place of another.
fn attach_xdp(object: &mut Ebpf, interface: &Interface) -> Result<XdpLinkId> {
    let program = xdp_mut(object)?;

    bpf::loaded("count_xdp", program.load())?;
    match program.attach_to_if_index(interface.index, XdpFlags::default()) {
        Ok(link) => {
            say!(
                "   BPF_PROG_LOAD count_xdp, BPF_PROG_TYPE_XDP; BPF_LINK_CREATE: program id {}",
                program.info()?.id()
            )?;
            Ok(link)
        }
        Err(ProgramError::SyscallError(error))
            if matches!(
                error.io_error.raw_os_error().map(Errno::from_raw),
                Some(Errno::EBUSY | Errno::EEXIST)
            ) =>
        {
            bail!("{interface} has an XDP program already; with --no-xdp it keeps it")
        }
        Err(error) => Err(error).with_context(|| format!("attaching the program to {interface}")),
    }
}

fn map<'a>(object: &'a Ebpf, name: &str) -> Result<&'a aya::maps::Map> {
    object
        .map(name)
        .ok_or_else(|| anyhow!("the file has no map {name}"))
}

/// The counters of a place.
struct Row<'a> {
    title: &'a str,
    counters: PerCpuArray<&'a MapData, u64>,
    first: Counts,
    before: Counts,
}

impl<'a> Row<'a> {
    fn new(object: &'a Ebpf, title: &'a str, name: &str) -> Result<Self> {
        let counters =
            PerCpuArray::try_from(map(object, name)?).with_context(|| format!("the map {name}"))?;
        let first = protocols::read(&counters)?;

        Ok(Self {
            title,
            counters,
            first,
            before: first,
        })
    }

    /// What has been counted since the last time.
    fn next(&mut self) -> Result<Counts> {
        let now = protocols::read(&self.counters)?;
        let counts = protocols::since(&self.before, &now);

        self.before = now;
        Ok(counts)
    }
}

/// Prints once in a second what the programs have counted in it, and reads what the UDP socket gets.
/// Returns how many datagrams that were.
fn watch(object: &Ebpf, stop: &Stop, args: &Args, udp: &Filtered) -> Result<u64> {
    let mut rows = vec![
        Row::new(object, "packet in", "frames_in")?,
        Row::new(object, "packet out", "frames_out")?,
        Row::new(object, "UDP", "datagrams")?,
    ];
    if !args.no_xdp {
        rows.insert(0, Row::new(object, "XDP", "xdp_frames")?);
    }
    let start = Instant::now();
    let mut received = 0;

    line("second", "place", &protocols::NAMES)?;
    for second in 1.. {
        let stopped = stop.wait_until(start + Duration::from_secs(second))?;

        received += udp.drain()?;
        for (row, first) in rows.iter_mut().zip([true].into_iter().chain([false; 3])) {
            let number = if first {
                second.to_string()
            } else {
                String::new()
            };

            line(&number, row.title, &row.next()?)?;
        }
        if stopped || Some(second) == args.seconds {
            break;
        }
    }
    for (row, title) in rows.iter().zip(["all", "", "", ""]) {
        line(title, row.title, &protocols::since(&row.first, &row.before))?;
    }
    Ok(received)
}

fn line<T: ToString>(number: &str, place: &str, cells: &[T]) -> Result<()> {
    let cells: Vec<_> = cells
        .iter()
        .map(|cell| format!("{:>8}", cell.to_string()))
        .collect();

    say!("   {number:>6}  {place:<10}{}", cells.concat())
}
