// SPDX-License-Identifier: GPL-2.0

//! `xsk forward`: what arrives at one interface is sent out of the other, both ways.

use crate::{
    program::Attached,
    rates::{row, Clock, Count},
    socket::{map_frames, Socket, RING},
    wait, Common, Receiving, Report,
};
use anyhow::{ensure, Result};
use oxnic_samples::{interface::Interface, say, stop::Stop};
use std::{os::fd::AsFd, time::Duration};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// One interface
    one: String,

    /// The other interface
    other: String,

    #[command(flatten)]
    receiving: Receiving,

    #[command(flatten)]
    common: Common,
}

pub fn run(args: &Args, stop: &Stop) -> Result<()> {
    let [one, other] = [Interface::find(&args.one)?, Interface::find(&args.other)?];
    let file = args.receiving.object.path("xsk")?;

    ensure!(one.index != other.index, "{one} is given twice");
    say!("1. Two sockets that use the same frames")?;
    // As many as both kernel sides may have to receive into, and as many to send.
    let frames = map_frames(args.receiving.frames(&args.common, 2 * RING)?)?;
    let options = args.common.options(RING as usize / 2);
    let mut a = Socket::open(&frames, &one, options)?;
    let mut b = Socket::open(&frames, &other, options)?;
    a.refill()?;
    b.refill()?;

    say!("\n2. The program, from {}", file.display())?;
    let queue = args.common.queue;
    let programs = [
        Attached::new(&file, &one, queue, a.as_fd())?,
        Attached::new(&file, &other, queue, b.as_fd())?,
    ];

    say!("\n3. What is forwarded")?;
    forward(args, stop, [&one, &other], &mut a, &mut b)?;
    for program in programs {
        program.detach()?;
    }
    Report::default().add(&one, &a)?.add(&other, &b)?.say()
}

fn forward(
    args: &Args,
    stop: &Stop,
    [one, other]: [&Interface; 2],
    a: &mut Socket,
    b: &mut Socket,
) -> Result<()> {
    let mut clock = Clock::start(stop, args.common.seconds);
    let mut now = [Count::default(); 2];
    let mut before = now;

    let ways = [format!("{one} > {other}"), format!("{other} > {one}")];
    let [to, from] = ways.each_ref().map(String::as_str);

    row("second", &[to, "Mbit/s", from, "Mbit/s"])?;
    loop {
        let [there, back] = &mut now;
        let found = a.forward(b, |packet| there.add(packet.len()))?
            + b.forward(a, |packet| back.add(packet.len()))?;

        for socket in [&mut *a, &mut *b] {
            socket.reclaim();
            socket.refill()?;
        }
        let go_on = clock.tick(|second, time| {
            let cells = cells(now, before, time);

            before = now;
            row(&second.to_string(), &cells)
        })?;
        let frames = now[0].frames + now[1].frames;
        let sending = a.sending() + b.sending() > 0 || a.is_waiting() || b.is_waiting();
        if !go_on || args.common.is_enough(frames) && !sending {
            break;
        }
        if found == 0 {
            // What the kernel did not get to send is sent by poll.
            let nap = if sending {
                Duration::from_millis(1)
            } else {
                clock.nap()
            };
            wait(stop, &[a.as_fd(), b.as_fd()], nap)?;
        }
    }
    row("all", &cells(now, [Count::default(); 2], clock.elapsed()))
}

fn cells(now: [Count; 2], before: [Count; 2], time: Duration) -> Vec<String> {
    now.into_iter()
        .zip(before)
        .flat_map(|(now, before)| (now - before).cells(time))
        .collect()
}
