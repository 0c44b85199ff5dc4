// SPDX-License-Identifier: GPL-2.0

//! A kernel whose DMA goes through bounce buffers, as in an encrypted VM: it copies between a page
//! and a buffer of its own when it maps, syncs or unmaps the page. Here the kernel's command line
//! asks for that.

use super::{wake_tx, zero_copy};
use crate::{
    bed::Bed,
    harness::case,
    host::{ensure_eq, kmsg::Kmsg, wait_until},
    support::{
        traffic::{check_alive, settle},
        xsk::{steer_to, wait_free},
    },
    wire::{
        probe::Probe,
        xsk::socket::{Mode, Setup, Socket},
    },
};
use anyhow::{ensure, Result};
use nix::errno::Errno;
use std::{fs, sync::Arc};

fn dma_bounces() -> bool {
    fs::read_to_string("/proc/cmdline")
        .is_ok_and(|line| line.split_whitespace().any(|word| word == "swiotlb=force"))
}

case!(ports "xsk_bounce::memory_stays", "queues=1", stays; needs(dma_bounces));
/// When a socket is closed its memory stays as it is: frames that have arrived, and what user space
/// has written since the socket was bound.
fn stays(bed: &Bed) -> Result<()> {
    const FRAMES: u32 = 40;
    const ROUNDS: u32 = 3;

    bed.up()?;
    for round in 0..ROUNDS {
        let [sender, receiver] = [&bed.a, &bed.b].map(|port| Socket::open(port, 0, zero_copy()));
        let (sender, receiver) = (sender?, receiver?);
        let steer = steer_to(&bed.b, 0, &receiver)?;
        let setup = receiver.setup;
        let memories = [&sender, &receiver].map(|socket| Arc::clone(&socket.frames));
        let ours = Probe::new(9, round).len(1000).frame();

        receiver.fill_first(FRAMES);
        for n in FRAMES..setup.buffers {
            let at = receiver.buffer(n) as usize;

            memories.iter().for_each(|memory| memory.write(at, &ours));
        }
        (0..FRAMES).for_each(|n| sender.put(n, &Probe::new(round, n).frame()));
        wake_tx(&sender)?;
        wait_until("all frames arrive, and come back", || {
            if receiver.fill.needs_wakeup() {
                receiver.wake_rx()?;
            }
            Ok(receiver.rx().len() == FRAMES && sender.completions.len() == FRAMES)
        })?;
        let descs: Vec<_> = std::iter::from_fn(|| receiver.take()).collect();
        let received: Vec<_> = descs.iter().map(|desc| receiver.start(desc)).collect();
        let sent: Vec<_> = (0..FRAMES).map(|n| sender.buffer(n) as usize).collect();
        let rest: Vec<_> = (FRAMES..setup.buffers)
            .map(|n| receiver.buffer(n) as usize)
            .collect();

        bed.b.detach()?;
        drop((steer, sender, receiver));
        wait_free(&bed.a, 0)?;
        wait_free(&bed.b, 0)?;
        for (memory, starts) in memories.iter().zip([&sent, &received]) {
            for (seq, &start) in (0..).zip(starts) {
                let probe = Probe::new(round, seq);

                ensure_eq!(
                    memory.bytes(start, probe.len),
                    probe.frame(),
                    "frame {seq} of round {round}"
                );
            }
            for &start in &rest {
                ensure!(
                    memory.bytes(start, ours.len()) == ours,
                    "what user space has written at {start:#x} is lost, round {round}"
                );
            }
        }
    }
    settle(bed)?;
    check_alive(bed)
}

case!(
    ports "xsk_bounce::refused", "queues=1", refused;
    needs(dma_bounces), allow(&["swiotlb buffer is full"])
);
/// Memory that cannot be mapped is refused zero-copy, and the kernel log says why; without a wish
/// the socket gets copy mode. Then another one gets zero-copy.
fn refused(bed: &Bed) -> Result<()> {
    const PREFIX: &str = "oxnic ox1: AF_XDP, queue 0: ";
    // The kernel has 64 MiB of bounce buffers (CONFIG_SWIOTLB_DEFAULT_SIZE_MB).
    let too_large = Setup {
        chunk: 4096,
        buffers: 20 << 10,
        ..zero_copy()
    };
    let unaligned = Setup {
        chunk: 3000,
        unaligned: true,
        ..zero_copy()
    };
    let mut log = Kmsg::from_now()?;

    for up in [false, true] {
        if up {
            bed.up()?;
        }
        for (setup, errno, why) in [
            (
                too_large,
                Errno::ENOMEM,
                "the umem cannot be mapped for DMA: ENOMEM",
            ),
            (
                unaligned,
                Errno::EOPNOTSUPP,
                "unaligned chunks do not work with bounce buffers for DMA",
            ),
        ] {
            for mode in [Mode::ZeroCopy, Mode::Any] {
                let socket = Socket::unbound(&bed.b, Setup { mode, ..setup })?;
                let expected = match mode {
                    Mode::Any => Ok(()),
                    Mode::ZeroCopy | Mode::Copy => Err(errno),
                };

                // The kernel takes the queue from the socket before this one a moment later.
                let mut outcome = Ok(());
                wait_until("the queue is free", || {
                    outcome = socket.bind(&bed.b, 0);
                    Ok(outcome != Err(Errno::EBUSY))
                })?;
                ensure_eq!(outcome, expected, "{mode:?}: {why}");
                // A kernel without CONFIG_SYMBOLIC_ERRNAME has no names of errors.
                let lines: Vec<_> = log
                    .starting_with(PREFIX)?
                    .iter()
                    .map(|line| line.replace("Error(12)", "ENOMEM"))
                    .collect();
                ensure_eq!(lines, [format!("{PREFIX}{why}")], "{mode:?}: in the log");
                log.forget()?;
                if expected.is_ok() {
                    ensure!(!socket.is_zero_copy()?, "{why}, and it has zero-copy");
                }
            }
            let socket = Socket::open(&bed.b, 0, zero_copy())?;
            ensure!(socket.is_zero_copy()?, "a usual socket after that");
        }
    }
    wait_free(&bed.b, 0)?;
    check_alive(bed)
}
