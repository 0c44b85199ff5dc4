// SPDX-License-Identifier: GPL-2.0

//! Prints what the card knows about each frame besides its bytes: XDP's receive hints.

#![forbid(unsafe_code)]

mod load;
mod record;

use anyhow::{Context, Result};
use clap::Parser;
use libbpf_rs::{MapCore, MapFlags, MapHandle, RingBufferBuilder};
use load::Loaded;
use nix::{
    errno::Errno,
    poll::{poll, PollFd, PollFlags, PollTimeout},
};
use oxnic_samples::{bpf::ObjectFile, interface::Interface, say, stop::Stop};
use record::Record;
use std::{
    cell::RefCell,
    collections::VecDeque,
    os::fd::AsFd,
    process::ExitCode,
    time::{Duration, Instant},
};

const NAME: &str = "hints";

/// The columns of the table.
const TITLES: [&str; 8] = [
    "frame",
    "length",
    "type",
    "queue",
    "received (TAI)",
    "age",
    "RSS hash",
    "VLAN tag",
];

/// Prints what the card knows about each frame that an interface receives: when it came, its RSS
/// hash and what that was computed over, and the VLAN tag that the card has taken out. An XDP program
/// asks the driver for it. Runs until Ctrl-C.
#[derive(Parser, Debug)]
#[command(name = NAME, version)]
struct Args {
    /// The interface that receives the frames
    interface: String,

    /// Stop after this many frames
    #[arg(long, value_name = "N")]
    frames: Option<u64>,

    /// Stop after this time
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
    let file = args.object.path("xdp_hints_ring")?;

    say!("1. The program, from {}", file.display())?;
    let program = Loaded::for_interface(&file, &interface)?;
    let (records, lost) = (program.map("records")?, program.map("lost")?);
    say!(
        "   BPF_PROG_LOAD {}, BPF_F_XDP_DEV_BOUND_ONLY: id {}, for {interface} alone",
        program.name(),
        program.id()?
    )?;

    say!("\n2. The program at {interface}")?;
    // The link goes with this process, and the program with the link.
    let link = program.attach(&interface)?;
    say!("   BPF_LINK_CREATE: attached")?;

    say!("\n3. What the driver says about each frame")?;
    let seen = watch(args, &stop, &records)?;

    drop(link);
    say!(
        "\nThe program is detached: {seen} frames, and {} more that found no room in the ring",
        count(&lost)?
    )
}

/// Prints a line for each record until it is time to stop. Returns how many there were.
fn watch(args: &Args, stop: &Stop, records: &MapHandle) -> Result<u64> {
    let queue = RefCell::new(VecDeque::new());
    let mut builder = RingBufferBuilder::new();
    builder.add(records, |bytes| {
        queue.borrow_mut().push_back(bytes.to_vec());
        0
    })?;
    let ring = builder.build()?;
    let end = args
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seen = 0;

    line(&TITLES)?;
    loop {
        let go_on = wait(stop, records, end)?;

        ring.consume().context("reading the ring")?;
        for bytes in queue.borrow_mut().drain(..) {
            if args.frames == Some(seen) {
                break;
            }
            seen += 1;
            let [len, kind, queue, stamp, age, hash, vlan] = Record::parse(&bytes)?.cells();
            line(&[
                &seen.to_string(),
                &len,
                &kind,
                &queue,
                &stamp,
                &age,
                &hash,
                &vlan,
            ])?;
        }
        if !go_on || args.frames == Some(seen) {
            return Ok(seen);
        }
    }
}

/// Waits for a record, and says whether to go on.
fn wait(stop: &Stop, records: &MapHandle, end: Option<Instant>) -> Result<bool> {
    let mut fds = [stop.as_fd(), records.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let timeout = end.map_or(PollTimeout::NONE, |end| {
        let left = end.saturating_duration_since(Instant::now());

        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });

    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno).context("waiting"),
    }
    // However many frames come.
    let over = end.is_some_and(|end| Instant::now() >= end);
    Ok(!over && fds[0].any() != Some(true))
}

fn line(cells: &[&str; TITLES.len()]) -> Result<()> {
    let [number, len, kind, queue, stamp, age, hash, vlan] = cells;

    say!("   {number:>5} {len:>6} {kind:<6} {queue:>5}  {stamp:<20} {age:>9}  {hash:<18} {vlan}")
}

/// The sum of a per-CPU counter.
fn count(map: &MapHandle) -> Result<u64> {
    let per_cpu = map
        .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)?
        .unwrap_or_default();

    Ok(per_cpu
        .iter()
        .filter_map(|value| value.first_chunk())
        .map(|value| u64::from_ne_bytes(*value))
        .sum())
}
