// SPDX-License-Identifier: GPL-2.0

//! hook_chain: watches the kernel on its way to the XDP hook.
//!
//! It attaches a program to a port of oxnic, has ftrace record what the kernel calls until the
//! driver's `ndo_bpf` has done its work, and then what it calls until the program runs on a frame.
//! Both are printed as a tree, with the driver's own lines of the kernel log where they were
//! printed.

mod device;
mod symbols;
mod trace;
mod tree;

use anyhow::{anyhow, bail, ensure, Context, Result};
use aya::programs::Xdp;
use clap::Parser;
use device::{Attached, Ethtool, Reporting};
use nix::unistd::gettid;
use oxnic_samples::{
    bpf::{self, ObjectFile},
    interface::Interface,
    say,
    stop::Stop,
};
use std::{
    os::fd::AsFd,
    process::ExitCode,
    time::{Duration, Instant},
};
use symbols::Symbols;
use trace::{Event, Instance, What};
use tree::{Stage, Way};

const NAME: &str = "hook_chain";
const MODULE: &str = "oxnic";

/// `linux/netdevice.h`: message types of `ethtool -s ... msglvl`.
const NETIF_MSG_DRV: u32 = 1 << 0;
const NETIF_MSG_RX_STATUS: u32 = 1 << 11;

/// How often the trace is looked at while a frame is awaited.
const LOOK: Duration = Duration::from_millis(100);

/// Where rtnetlink has found out what the message is about.
const CONTROL_ROOT: &str = "rtnetlink_rcv_msg";
/// From the netlink message to the driver. The names are those of the source.
const CONTROL_WAY: Way = &[
    stage("rtnetlink_rcv_msg", ""),
    stage("rtnl_setlink", "RTM_SETLINK"),
    stage("do_setlink", ""),
    stage("dev_change_xdp_fd", "IFLA_XDP"),
    stage("dev_xdp_attach", ""),
    stage("dev_xdp_install", ""),
    stage("<NetdevOps<Vsi>>::bpf", "ndo_bpf"),
    stage("<Vsi as Ops>::bpf", ""),
    stage("<Vsi>::xdp", ""),
    stage("<Vsi>::xdp_setup", "XDP_SETUP_PROG"),
];
/// Those of oxnic's functions that ftrace can trace.
const OWN: &str = "*:mod:oxnic";

/// The softirq of received frames.
const DATA_ROOT: &str = "net_rx_action";
/// From NAPI to the program. It is the way that oxnic goes while it reports what the program decides:
/// else it would call the dispatcher itself.
const DATA_WAY: Way = &[
    stage("net_rx_action", "NET_RX_SOFTIRQ"),
    stage("__napi_poll", ""),
    stage("<Napi<RxPoll>>::poll", "napi_struct.poll"),
    stage("<RxPoll as Poll>::poll", ""),
    stage("<RxPoll>::clean_rx_irq", ""),
    stage("<RxPoll>::clean", ""),
    stage("<RxContext>::run_xdp", ""),
    stage("oxnic_bpf_prog_run_xdp", ""),
    stage("bpf_prog_run_xdp", ""),
    stage(DISPATCHER, ""),
];
const RUN: &str = "oxnic_bpf_prog_run_xdp";
const DISPATCHER: &str = "bpf_dispatcher_xdp_func";
/// Called by the program of `hook_chain.bpf.c`.
const CALLED_BY_PROGRAM: &str = "bpf_xdp_get_buff_len";

const fn stage(name: &'static str, role: &'static str) -> Stage {
    Stage { name, role }
}

/// Shows how the kernel gets to the XDP hook of oxnic: from a netlink message to ndo_bpf, and from
/// NAPI to the XDP program.
///
/// It attaches a program that lets everything pass, records both ways with ftrace, and prints them
/// as trees. For the second a frame has to arrive at the interface. Everything is put back as it
/// was: the program, what the driver reports, and ftrace, of which it uses an instance of its own.
#[derive(Parser)]
#[command(name = NAME, after_help = tree::LEGEND)]
struct Args {
    /// A port of oxnic that has no XDP program
    interface: String,

    /// How many seconds to wait for a frame
    #[arg(long, default_value_t = 60, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,

    /// Show everything that is on the stack as part of the tree, from the system call on
    #[arg(long)]
    whole: bool,

    #[command(flatten)]
    object: ObjectFile,
}

fn main() -> ExitCode {
    let args = Args::parse();

    oxnic_samples::run(NAME, || hook_chain(&args))
}

fn hook_chain(args: &Args) -> Result<()> {
    let stop = Stop::on_signals()?;
    let interface = Interface::find(&args.interface)?;
    let ethtool = Ethtool::open(&interface)?;
    match ethtool.driver()?.as_deref() {
        Some(MODULE) => {}
        Some(other) => bail!("{interface} is no port of {MODULE}: its driver is {other}"),
        None => bail!("{interface} is no port of {MODULE}"),
    }

    let mut object = bpf::open(&args.object.path(NAME)?)?;
    let program: &mut Xdp = object
        .program_mut(NAME)
        .ok_or_else(|| anyhow!("the file has no program {NAME}"))?
        .try_into()?;
    bpf::loaded(NAME, program.load())?;
    let fd = program.fd()?.try_clone()?;
    let id = program.info()?.id();

    // From here on things are changed. What is made first is put back last.
    let instance = Instance::make()?;
    instance.check()?;
    let symbols = Symbols::read(MODULE, &instance.traceable()?)?;
    let _reporting = Reporting::start(&ethtool, NETIF_MSG_DRV | NETIF_MSG_RX_STATUS)?;

    // The way to ndo_bpf: all that this thread makes the kernel do while it attaches a program.
    say!("Attaching program {id} ({NAME}) to {interface}: RTM_SETLINK with IFLA_XDP.\n")?;
    let task = u32::try_from(gettid().as_raw())?;
    instance.start(&[OWN, "bpf_prog_inc", "bpf_prog_put"], Some(task))?;
    let _attached = Attached::attach(&interface, fd.as_fd())?;
    instance.stop()?;
    let control = on_the_way(instance.events()?, CONTROL_ROOT);
    ensure!(
        control
            .iter()
            .any(|event| passes(event, "<NetdevOps<Vsi>>::bpf")),
        "nothing was recorded in ndo_bpf"
    );
    tree::print(&control, CONTROL_WAY, CONTROL_ROOT, args.whole, &symbols)?;

    // The way to the program: whoever it is that the softirq interrupts.
    instance.start(&[RUN, DISPATCHER, CALLED_BY_PROGRAM], None)?;
    say!(
        "\nWaiting for a frame at {interface}, for {} s at most: send one from its peer.\n",
        args.timeout
    )?;
    let Some(data) = first_frame(&instance, &stop, &interface, args.timeout)? else {
        return say!("Stopped before a frame came.");
    };
    tree::print(&data, DATA_WAY, DATA_ROOT, args.whole, &symbols)?;
    say!("\n{}", tree::LEGEND)?;
    say!("\nDetaching the program from {interface}; all is as it was before.")
}

/// Those events that happened in a call of `root`.
fn on_the_way(events: Vec<Event>, root: &str) -> Vec<Event> {
    events
        .into_iter()
        .filter(|event| passes(event, root))
        .collect()
}

fn passes(event: &Event, name: &str) -> bool {
    event
        .stack
        .iter()
        .any(|symbol| symbols::function(symbol) == name)
}

/// Waits until the program has run on a frame, and returns what was recorded about it. `None` if it
/// was told to stop before.
fn first_frame(
    instance: &Instance,
    stop: &Stop,
    interface: &Interface,
    timeout: u64,
) -> Result<Option<Vec<Event>>> {
    let end = Instant::now() + Duration::from_secs(timeout);

    loop {
        let events = on_the_way(instance.events()?, DATA_ROOT);

        if let Some(frame) = frame(&events, interface) {
            instance.stop()?;
            return Ok(Some(frame));
        }
        if Instant::now() > end {
            bail!("no frame came to {interface} within {timeout} s");
        }
        if stop.wait(LOOK).context("waiting for a frame")? {
            return Ok(None);
        }
    }
}

/// What belongs to the first frame that our program saw: the call of it before, and after it the
/// line that the driver prints about it. Other ports may have programs too, and be polled at the
/// same time.
fn frame(events: &[Event], interface: &Interface) -> Option<Vec<Event>> {
    let is_call = |event: &Event, name: &str| matches!(&event.what, What::Call(symbol) if symbols::function(symbol) == name);
    let at = events
        .iter()
        .position(|event| is_call(event, CALLED_BY_PROGRAM))?;
    let same = |event: &&(usize, &Event)| event.1.cpu == events[at].cpu;
    let indexed: Vec<_> = events.iter().enumerate().collect();
    let (first, _) = indexed[..at]
        .iter()
        .filter(same)
        .rfind(|(_, event)| is_call(event, RUN))?;
    let about = format!(" {}: rx_ring[", interface.name);
    let (last, _) = indexed[at..]
        .iter()
        .filter(same)
        .find(|(_, event)| matches!(&event.what, What::Line(line) if line.contains(&about)))?;

    Some(
        indexed[*first..=*last]
            .iter()
            .filter(same)
            .map(|&(_, event)| event.clone())
            .collect(),
    )
}
