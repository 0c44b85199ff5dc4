// SPDX-License-Identifier: GPL-2.0

//! What a program writes in front of a frame reaches user space with it: the port's hints among
//! others.

use crate::{
    bed::Bed,
    bpf::Bound,
    harness::case,
    host::{
        clock::{tai, TaiOffset},
        ensure_eq, wait_until,
    },
    nl::link::XDP_FLAGS_DRV_MODE,
    support::{probes::set_mtu, traffic::settle},
    wire::{
        packet::Sender,
        probe::Probe,
        toeplitz::Key,
        xsk::{
            socket::{Mode, Setup, Socket},
            Desc, XDP_PKT_CONTD,
        },
        ETH,
    },
};
use anyhow::{ensure, Context, Result};
use std::os::fd::AsRawFd;

/// Bytes of `struct note` in `xsk_meta.bpf.c`.
const NOTE: usize = 32;

struct Note {
    stamp: u64,
    hash: u32,
    stamp_error: i32,
    hash_error: i32,
    len: u32,
    seq: u32,
    inverse: u32,
}

impl Note {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let word =
            |at: usize| -> Result<u32> { Ok(u32::from_ne_bytes(bytes[at..at + 4].try_into()?)) };

        Ok(Self {
            stamp: u64::from_ne_bytes(bytes[..8].try_into()?),
            hash: word(8)?,
            stamp_error: word(12)? as i32,
            hash_error: word(16)? as i32,
            len: word(20)?,
            seq: word(24)?,
            inverse: word(28)?,
        })
    }
}

case!(ports "xsk::metadata_reaches_user_space", "queues=1", |bed| metadata(bed, Mode::Copy));
case!(ports "xsk_zc::metadata_reaches_user_space", "queues=1",
    |bed| metadata(bed, Mode::ZeroCopy));
fn metadata(bed: &Bed, mode: Mode) -> Result<()> {
    const MTU: usize = 9000;
    const FRAMES: u32 = 40;
    let _apart = TaiOffset::set(37)?;
    let key = Key::of_the_system()?;

    set_mtu(bed, MTU)?;
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    for (headroom, unaligned) in [(0, false), (64, false), (0, true)] {
        let setup = Setup {
            mode,
            headroom,
            unaligned,
            chunk: if unaligned { 3000 } else { 4096 },
            sg: true,
            ..Setup::default()
        };
        let socket = Socket::open(&bed.b, 0, setup)?;
        let bound = Bound::load(&bed.b, "xsk_meta")?;

        bound.xsk_map("sockets")?.set(0, socket.as_raw_fd(), 0)?;
        bed.b
            .try_attach_fd(Some(bound.fd()), XDP_FLAGS_DRV_MODE, None)?
            .context("attaching a program to the port that it is bound to")?;
        socket.fill_all();
        socket.wake_rx()?;
        for seq in 0..FRAMES {
            let len = 60 + seq as usize * 997 % (MTU + ETH - 60);
            let frame = Probe::new(seq, seq).len(len).frame();
            let what = format!("{len} bytes, {setup:?}");
            let from = tai()?;

            sender.send(&frame)?;
            let (note, received) = next(&socket).with_context(|| what.clone())?;
            let to = tai()?;
            ensure!(received == frame, "another frame: {what}");
            ensure_eq!(
                (note.seq, note.inverse, note.len as usize),
                (seq, !seq, len),
                "what the program wrote: {what}"
            );
            ensure_eq!(
                (note.hash_error, note.hash),
                (0, key.hash(&frame[26..38])),
                "hash: {what}"
            );
            ensure!(
                note.stamp_error == 0 && (from..=to).contains(&note.stamp),
                "stamped {} ({}), between {from} and {to}: {what}",
                note.stamp,
                note.stamp_error
            );
        }
        bed.b.detach()?;
    }
    settle(bed).map(drop)
}

/// Waits for a frame; returns what is in front of it, and its bytes. Its buffers go back.
fn next(socket: &Socket) -> Result<(Note, Vec<u8>)> {
    let part = || -> Result<Desc> {
        wait_until(
            "a frame arrives in the socket",
            || Ok(socket.rx().len() > 0),
        )?;
        socket.take().context("no descriptor")
    };
    let mut desc = part()?;
    let note = Note::parse(&socket.frames.bytes(socket.start(&desc) - NOTE, NOTE))?;
    let mut frame = socket.bytes(&desc);

    socket.give_back(&desc);
    while desc.options & XDP_PKT_CONTD != 0 {
        desc = part()?;
        frame.extend(socket.bytes(&desc));
        socket.give_back(&desc);
    }
    Ok((note, frame))
}
