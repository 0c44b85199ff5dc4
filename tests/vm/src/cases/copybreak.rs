// SPDX-License-Identifier: GPL-2.0

//! Small frames for the stack are copied, and their buffers posted again (`rx-copybreak`).

use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{ensure_eq, wait_until},
    sockopt::MemInfo,
    support::{
        probes::send_all,
        traffic::{settle, wait_flowing, while_sending, Source},
    },
    wire::{ensure_same, packet::Tap, probe::Probe},
};
use anyhow::{ensure, Context, Result};
use nix::sys::socket::getsockopt;

/// The word of [`MemInfo`] that says how much memory the frames take that a socket has received.
const RECEIVED: usize = 0;
/// An skb around a whole page takes at least this much, and a copy of a small frame at most half.
const PAGE: u32 = 4096;

fn set(port: &Port, bytes: u32) -> Result<()> {
    port.ethtool("--set-tunable", &format!("rx-copybreak {bytes}"))
        .map(drop)
}

fn get(port: &Port) -> Result<u32> {
    let text = port.ethtool("--get-tunable", "rx-copybreak")?;
    let value = text.rsplit(':').next().context("no value")?;
    value.trim().parse().context(text)
}

/// Sends a frame of `len` bytes from A to B, whose stack must get it as it was sent. Returns how
/// much memory it takes there.
fn memory_of(bed: &Bed, len: usize) -> Result<u32> {
    let probe = Probe::new(1, 0).len(len);
    let tap = Tap::open(&bed.b)?;
    let mut memory = 0;

    send_all(bed, std::slice::from_ref(&probe))?;
    wait_until("the frame is in the socket", || {
        memory = getsockopt(&tap, MemInfo)?[RECEIVED];
        Ok(memory != 0)
    })?;
    ensure_same(&format!("{len} bytes"), &tap.only()?, &probe.frame())?;
    Ok(memory)
}

case!(ports "copybreak::small_frames", "queues=1", small_frames);
/// Exactly the frames of up to the limit are copied, with a program and without, and all reach the
/// stack as they were sent.
fn small_frames(bed: &Bed) -> Result<()> {
    let program = Program::load("count", "count_pass")?;

    bed.up()?;
    ensure_eq!(get(&bed.b)?, 0, "the default");
    for with_program in [false, true] {
        if with_program {
            bed.b.attach(&program)?;
        }
        for limit in [0, 256, 100, 1000, 0] {
            set(&bed.b, limit)?;
            ensure_eq!(get(&bed.b)?, limit, "the limit");
            ensure_eq!(get(&bed.a)?, 0, "that of the other port");
            for len in [100, 101, 256, 257, 1000, 1001, 1514] {
                let memory = memory_of(bed, len)?;
                let what = format!("limit {limit}, {len} bytes take {memory}");
                if len <= limit as usize {
                    ensure!(memory <= PAGE / 2, "{what}: not copied");
                } else {
                    ensure!(memory >= PAGE, "{what}: copied");
                }
            }
        }
    }
    let (_, b) = settle(bed)?;
    b.counters
        .expect_rx("B", &[("down", 0), ("no_buffer", 0), ("skb_alloc_fail", 0)])
}

case!(ports "copybreak::changed_under_traffic", "queues=2", under_traffic);
/// The limit changes under traffic in both directions, and nothing is lost.
fn under_traffic(bed: &Bed) -> Result<()> {
    let program = Program::load("count", "count_pass")?;
    let sources = [Source::new(&bed.a), Source::new(&bed.b)];

    bed.b.attach(&program)?;
    bed.up()?;
    while_sending(&sources, |_| {
        for limit in [0, 256, 64, u32::MAX, 1, 256] {
            set(&bed.a, limit)?;
            set(&bed.b, limit)?;
            wait_flowing(bed, 50)?;
        }
        Ok(())
    })?;
    let (a, b) = settle(bed)?;
    for snapshot in [&a, &b] {
        snapshot.counters.expect_rx(
            &snapshot.name,
            &[("down", 0), ("no_buffer", 0), ("skb_alloc_fail", 0)],
        )?;
    }
    ensure_eq!(
        program.seen()?,
        b.counters.rx("packets")?,
        "frames that the program saw"
    );
    Ok(())
}
