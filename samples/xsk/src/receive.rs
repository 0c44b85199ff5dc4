// SPDX-License-Identifier: GPL-2.0

//! `xsk receive`: counts what arrives at a queue.

use crate::{
    program::Attached,
    rates::{row, Clock, Count},
    socket::{map_frames, Socket, RING},
    wait, Common, Receiving, Report,
};
use anyhow::Result;
use oxnic_samples::{interface::Interface, say, stop::Stop};
use std::os::fd::AsFd;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The interface that receives the frames
    interface: String,

    #[command(flatten)]
    receiving: Receiving,

    #[command(flatten)]
    common: Common,
}

pub fn run(args: &Args, stop: &Stop) -> Result<()> {
    let interface = Interface::find(&args.interface)?;
    let file = args.receiving.object.path("xsk")?;

    say!("1. The socket")?;
    let frames = map_frames(args.receiving.frames(&args.common, RING)?)?;
    let mut socket = Socket::open(&frames, &interface, args.common.options(RING as usize))?;
    // Before frames come, so that the first ones find room.
    socket.refill()?;

    say!("\n2. The program, from {}", file.display())?;
    let program = Attached::new(&file, &interface, args.common.queue, socket.as_fd())?;

    say!("\n3. What arrives")?;
    count(args, stop, &mut socket)?;
    program.detach()?;
    Report::default().add(&interface, &socket)?.say()
}

fn count(args: &Args, stop: &Stop, socket: &mut Socket) -> Result<()> {
    let mut clock = Clock::start(stop, args.common.seconds);
    let (mut now, mut before) = (Count::default(), Count::default());

    row("second", &["frames", "Mbit/s"])?;
    loop {
        let found = socket.receive(|packet| now.add(packet.len()));

        socket.refill()?;
        let go_on = clock.tick(|second, time| {
            let cells = (now - before).cells(time);

            before = now;
            row(&second.to_string(), &cells)
        })?;
        if !go_on || args.common.is_enough(now.frames) {
            break;
        }
        if found == 0 {
            wait(stop, &[socket.as_fd()], clock.nap())?;
        }
    }
    // What has come since the socket was last looked at.
    socket.receive(|packet| now.add(packet.len()));
    row("all", &now.cells(clock.elapsed()))
}
