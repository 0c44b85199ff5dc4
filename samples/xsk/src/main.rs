// SPDX-License-Identifier: GPL-2.0

//! AF_XDP: a program in user space receives and sends frames in memory that it shares with the
//! kernel, and with the card if the driver can.

#![deny(unsafe_code)]

mod forward;
mod generate;
mod kernel;
mod program;
mod rates;
mod receive;
mod socket;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use nix::{
    errno::Errno,
    poll::{poll, PollFd, PollFlags, PollTimeout},
};
use oxnic_samples::{bpf::ObjectFile, interface::Interface, say, stop::Stop};
use socket::{Calls, Mode, Options, Socket};
use std::{
    os::fd::{AsFd, BorrowedFd},
    process::ExitCode,
    time::Duration,
};
use xdp::{
    libc::xdp::XdpStatistics,
    umem::{FrameSize, UmemCfg, UmemCfgBuilder},
};

const NAME: &str = "xsk";

/// Moves frames through AF_XDP sockets: receives and counts them, forwards them from one interface
/// to another, or generates them. Prints once in a second how many, until Ctrl-C.
#[derive(Parser, Debug)]
#[command(name = NAME, version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Count what arrives at a queue
    Receive(receive::Args),

    /// Send what arrives at one interface out of the other, both ways; no byte of it is copied in
    /// user space
    Forward(forward::Args),

    /// Send UDP datagrams as fast as possible
    Generate(generate::Args),
}

/// Options of all commands.
#[derive(clap::Args, Clone, Debug)]
struct Common {
    /// The number of the queue
    #[arg(long, value_name = "N", default_value_t = 0)]
    queue: u32,

    /// Have the kernel copy the frames (XDP_COPY), which works with any driver; its own choice
    /// without this and --zero-copy: zero-copy if the driver can
    #[arg(long, conflicts_with = "zero_copy")]
    copy: bool,

    /// Have the driver use the frames of the socket themselves (XDP_ZEROCOPY), or fail
    #[arg(long)]
    zero_copy: bool,

    /// Tell the kernel of new frames for each batch, not only when it wants to be told: bind
    /// without XDP_USE_NEED_WAKEUP
    #[arg(long)]
    no_need_wakeup: bool,

    /// Bytes of each frame of the umem
    #[arg(long, value_name = "BYTES", value_enum, default_value_t = Size::Large)]
    frame_size: Size,

    /// The most frames that are moved from ring to ring at once
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,

    /// Stop after this many frames
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// Stop after this time instead of at Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Size {
    #[value(name = "2048")]
    Small,
    #[value(name = "4096")]
    Large,
}

impl Common {
    fn options(&self, posted: usize) -> Options {
        Options {
            queue: self.queue,
            mode: match (self.copy, self.zero_copy) {
                (true, _) => Mode::Copy,
                (_, true) => Mode::ZeroCopy,
                _ => Mode::Any,
            },
            need_wakeup: !self.no_need_wakeup,
            batch: self.batch(),
            posted,
        }
    }

    fn frame_size(&self) -> usize {
        match self.frame_size {
            Size::Small => 2048,
            Size::Large => 4096,
        }
    }

    fn chunk(&self) -> FrameSize {
        match self.frame_size {
            Size::Small => FrameSize::TwoK,
            Size::Large => FrameSize::FourK,
        }
    }

    fn batch(&self) -> usize {
        self.batch.into()
    }

    /// The size of the next batch, after so many frames.
    fn batch_left(&self, done: u64) -> usize {
        let left = self
            .count
            .map_or(u64::MAX, |count| count.saturating_sub(done));

        self.batch()
            .min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn is_enough(&self, frames: u64) -> bool {
        self.count.is_some_and(|count| frames >= count)
    }
}

/// Options of what receives.
#[derive(clap::Args, Clone, Debug)]
struct Receiving {
    /// Bytes to keep free in front of each packet, beside the 256 that the kernel keeps
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    headroom: u32,

    #[command(flatten)]
    object: ObjectFile,
}

impl Receiving {
    fn frames(&self, common: &Common, count: u32) -> Result<UmemCfg> {
        Ok(UmemCfgBuilder {
            frame_size: common.chunk(),
            frame_count: count,
            head_room: self.headroom,
            ..UmemCfgBuilder::default()
        }
        .build()?)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();

    oxnic_samples::run(NAME, || {
        let stop = Stop::on_signals()?;

        match &args.command {
            Command::Receive(args) => receive::run(args, &stop),
            Command::Forward(args) => forward::run(args, &stop),
            Command::Generate(args) => generate::run(args, &stop),
        }
    })
}

/// Waits until one of the sockets has received something or can send, or it is time to stop, but
/// not longer than that. The kernel takes this as a call to go on, too.
fn wait(stop: &Stop, sockets: &[BorrowedFd<'_>], time: Duration) -> Result<()> {
    let mut fds: Vec<_> = [stop.as_fd()]
        .iter()
        .chain(sockets)
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    // Rounded up to the milliseconds of poll.
    let timeout =
        PollTimeout::try_from(time + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);

    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("waiting"),
    }
}

/// What the kernel says at the end of what it could not do.
#[derive(Default)]
struct Report {
    sockets: Vec<(String, XdpStatistics, Calls)>,
}

impl Report {
    fn add(mut self, interface: &Interface, socket: &Socket) -> Result<Self> {
        self.sockets
            .push((interface.to_string(), socket.statistics()?, socket.calls()));
        Ok(self)
    }

    fn say(&self) -> Result<()> {
        say!("\nXDP_STATISTICS, and how often the kernel was told of new entries")?;
        for (name, statistics, calls) in &self.sockets {
            say!(
                "   {name}: rx_dropped {}, rx_ring_full {}, rx_fill_ring_empty_descs {}, \
                 tx_invalid_descs {}, tx_ring_empty_descs {}",
                statistics.rx_dropped,
                statistics.rx_ring_full,
                statistics.rx_fill_ring_empty_descs,
                statistics.tx_invalid_descs,
                statistics.tx_ring_empty_descs
            )?;
            say!(
                "   {name}: {} times by sendto, {} times by recvfrom",
                calls.sendto,
                calls.recvfrom
            )?;
        }
        Ok(())
    }
}
