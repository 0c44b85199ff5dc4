// SPDX-License-Identifier: GPL-2.0

//! What the kernel itself keeps in memory of user space, and goes by: the sizes of a frame's
//! buffers.

use super::zero_copy;
use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::{ensure_eq, repeat_until},
    random::{seed, Random},
    support::{
        probes::set_mtu,
        traffic::{check_alive, settle_wire},
        xsk::wait_free,
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        xsk::socket::{Setup, Socket},
    },
};
use anyhow::Result;
use std::sync::atomic::{AtomicBool, Ordering};

/// The end of a buffer, where the kernel's `struct skb_shared_info` is: its size, where it has the
/// number of fragments, among others that are 0, and the length of all of them; where these begin,
/// the size of each, and where its length is.
const SHARED_INFO: u64 = 320;
const COUNT: u64 = 0;
const LEN_OF_ALL: u64 = 40;
const FRAGS: u64 = 48;
const FRAG: u64 = 16;
const FRAG_LEN: u64 = 8;

/// Writes to what the kernel goes by in all buffers of a socket, until `stop` says so.
///
/// It never says that there are more fragments than there are: no driver could help against that,
/// as the kernel itself then takes other memory for a fragment (`xsk_buff_get_tail` in
/// include/net/xdp_sock_drv.h).
fn scribble_lengths(socket: &Socket, seed: u64, stop: &AtomicBool) {
    let mut random = Random::new(seed);
    let chunk = socket.setup.chunk as u64;

    while !stop.load(Ordering::Relaxed) {
        let buffer = chunk * u64::from(random.below(socket.setup.buffers));
        let (place, value) = match random.below(6) {
            0 => (COUNT, 0),
            1 => (LEN_OF_ALL, random.next() & 0x7fff_ffff),
            _ => {
                let len = match random.below(3) {
                    0 => 0,
                    1 => u64::from(random.below(4096)),
                    _ => random.next() & 0x7fff_ffff,
                };

                (FRAGS + FRAG * u64::from(random.below(3)) + FRAG_LEN, len)
            }
        };

        socket
            .frames
            .u64(buffer + chunk - SHARED_INFO + place)
            .store(value, Ordering::Relaxed);
    }
}

case!(ports "xsk_zc::lengths_of_buffers_that_change", "queues=1", lengths; two_cpus());
/// User space overwrites the lengths of a frame's buffers while a program cuts its end off, which
/// goes by them. The frame may become any, but only within its buffers, and has one verdict; or it
/// is lost and counted. The frames after it are as they were.
fn lengths(bed: &Bed) -> Result<()> {
    const FRAMES: u32 = 500;
    const MTU: usize = 9000;
    let seed = seed()?;
    // Few buffers: each is written to more often.
    let setup = Setup {
        sg: true,
        chunk: 4096,
        buffers: 64,
        ..zero_copy()
    };

    set_mtu(bed, MTU)?;
    let socket = Socket::open(&bed.b, 0, setup)?;
    let mut program = Program::load("frags", "adjust_tail")?;
    let stop = AtomicBool::new(false);

    bed.b.attach(&program)?;
    bed.up()?;
    socket.fill_all();
    socket.wake_rx()?;
    std::thread::scope(|scope| {
        scope.spawn(|| scribble_lengths(&socket, seed, &stop));
        let outcome: Result<()> = (|| {
            let sender = Sender::open(&bed.a)?;
            let mut sent = 0;
            let mut round = || {
                for seq in 0..FRAMES {
                    sender.send(&Probe::new(1, seq).len(8000).frame())?;
                }
                sent += u64::from(FRAMES);
                bed.b.wait_received(sent)
            };

            for act in [verdict::PASS, verdict::TX, verdict::DROP] {
                for cut in [1_i32, 200, 2000, 5000] {
                    // Offset, length, delta, verdict.
                    program.write("config", 0, [0, 0, -cut as u32, act.into()])?;
                    round()?;
                }
            }
            repeat_until(
                "the port finds a frame with impossible lengths",
                round,
                || Ok(bed.b.counters()?.rx("xsk_frags_invalid")? > 0),
            )
        })();
        stop.store(true, Ordering::Relaxed);
        outcome
    })?;
    let (_, b) = settle_wire(bed)?;
    b.check_verdicts()?;

    bed.b.detach()?;
    let tap = Tap::open(&bed.b)?;
    let probes: Vec<_> = (0..60)
        .map(|seq| Probe::new(2, seq).len([128, 8000, 3000][seq as usize % 3]))
        .collect();
    Sender::open(&bed.a)?.send_in_order(probes.iter().cloned())?;
    ensure_eq!(tap.probes(probes.len())?, probes, "frames afterwards");
    drop(socket);
    wait_free(&bed.b, 0)?;
    check_alive(bed)
}
