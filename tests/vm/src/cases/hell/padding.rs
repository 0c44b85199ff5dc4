// SPDX-License-Identifier: GPL-2.0

//! No bytes of an earlier frame are left in a buffer.

use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::ensure_eq,
    support::{steer::Steer, traffic::settle_wire},
    wire::{
        capture::Capture,
        ensure_same,
        frames::{ethernet, tagged, CTAG},
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        xsk::Xsk,
        ETH, ETH_ZLEN,
    },
};
use anyhow::{Context, Result};

/// Few buffers, so that each is used again soon.
const SMALL: &str = "queues=1 ring_size=64";
const POISON: u8 = 0xaa;
/// More than the port has buffers, so that each of them is written to.
const ROUNDS: usize = 200;
/// An EtherType that no protocol uses.
const NOBODYS: u16 = 0x88b5;
/// The longest frame.
const LONGEST: usize = 1514;

/// Fills each of a port's buffers.
fn poison() -> Vec<u8> {
    ethernet(NOBODYS, &[POISON; LONGEST - ETH])
}

/// Frames that are too short for the wire.
fn runts() -> impl Iterator<Item = Vec<u8>> {
    (ETH..ETH_ZLEN).map(|len| ethernet(NOBODYS, &vec![0x55; len - ETH]))
}

/// The same with a tag.
fn tagged_runts() -> impl Iterator<Item = Vec<u8>> {
    runts().map(|frame| tagged(&frame, &[(CTAG, 5)]))
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(ETH_ZLEN), 0);
    frame
}

/// A tag that is beside the frame when it arrives was in front of its padding on the wire.
fn without_tag(frame: Vec<u8>) -> Vec<u8> {
    let mut frame = padded(frame);
    frame.drain(12..16);
    frame
}

/// Sends long frames, which `next` returns as they are.
fn poison_all(sender: &Sender, mut next: impl FnMut() -> Result<Vec<u8>>) -> Result<()> {
    (0..ROUNDS).try_for_each(|_| {
        sender.send(&poison())?;
        ensure_same("a long frame", &next()?, &poison())
    })
}

/// Sends frames, of which `next` returns what `expect` makes of them.
fn compare(
    sender: &Sender,
    frames: impl Iterator<Item = Vec<u8>>,
    mut next: impl FnMut() -> Result<Vec<u8>>,
    expect: impl Fn(Vec<u8>) -> Vec<u8>,
) -> Result<()> {
    for frame in frames {
        let what = format!("a frame of {} bytes", frame.len());

        sender.send(&frame)?;
        let found = next().with_context(|| what.clone())?;
        ensure_same(&what, &found, &expect(frame))?;
    }
    Ok(())
}

case!(ports "hell::padding_in_the_stack", SMALL, stack);
fn stack(bed: &Bed) -> Result<()> {
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let tap = Tap::open(&bed.b)?;
    poison_all(&sender, || tap.any())?;
    compare(&sender, runts(), || tap.any(), padded)?;
    poison_all(&sender, || tap.any())?;
    compare(&sender, tagged_runts(), || tap.any(), without_tag)?;
    settle_wire(bed).map(drop)
}

case!(ports "hell::padding_in_a_program", SMALL, program);
fn program(bed: &Bed) -> Result<()> {
    let mut capture = Capture::start(&bed.b)?;
    let mut next = || {
        let frames = capture.wait_for(1, |_| true)?;
        ensure_eq!(frames.len(), 1, "frames");
        frames.into_iter().next().context("no frame")
    };

    bed.b.ethtool("-K", "rxvlan off")?;
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    poison_all(&sender, &mut next)?;
    compare(&sender, runts(), &mut next, padded)?;
    poison_all(&sender, &mut next)?;
    compare(&sender, tagged_runts(), &mut next, padded)?;
    settle_wire(bed).map(drop)
}

case!(ports "hell::padding_in_a_socket", SMALL, socket);
/// The program of redirects wants probes, which take 58 bytes at least: two of padding are left.
fn socket(bed: &Bed) -> Result<()> {
    const SHORTEST: usize = 58;
    let mut steer = Steer::load()?;
    let socket = Xsk::open(&bed.b, 0, 2048, false)?;

    steer.socket(0, &socket)?;
    steer.by_socket()?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let frames = (0..).zip([LONGEST, SHORTEST].into_iter().cycle());
    let frames = frames.take(ROUNDS).map(|(seq, len)| {
        let mut frame = Probe::new(1, seq).len(len).frame();
        frame.truncate(len);
        frame
    });
    compare(&sender, frames, || socket.any(), padded)?;
    settle_wire(bed).map(drop)
}

/// A program on B that moves the tail of each frame.
struct Tail(Program);

impl Tail {
    fn attach(bed: &Bed) -> Result<Self> {
        let program = Program::load("adjust", "adjust_tail")?;

        bed.b.attach(&program)?;
        Ok(Self(program))
    }

    fn moves(&mut self, delta: i32, verdict: u8) -> Result<()> {
        self.0.write("config", 0, [delta, verdict.into()])
    }
}

case!(ports "hell::padding_of_what_a_program_shrank", SMALL, shrunk);
/// A program cuts off a frame's end and sends the rest back, into a buffer that had a long frame.
fn shrunk(bed: &Bed) -> Result<()> {
    let mut tail = Tail::attach(bed)?;

    tail.moves(0, verdict::TX)?;
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let tap = Tap::open(&bed.a)?;
    poison_all(&sender, || tap.any())?;
    for left in ETH..=ETH_ZLEN {
        tail.moves(left as i32 - LONGEST as i32, verdict::TX)?;
        let cut = |mut frame: Vec<u8>| {
            frame.truncate(left);
            padded(frame)
        };
        compare(&sender, [poison()].into_iter(), || tap.any(), cut)?;
    }
    settle_wire(bed).map(drop)
}

case!(ports "hell::a_grown_tail_is_empty", SMALL, grown);
/// A program makes a frame longer, in a buffer that had a longer one.
fn grown(bed: &Bed) -> Result<()> {
    let mut tail = Tail::attach(bed)?;

    tail.moves(0, verdict::PASS)?;
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let tap = Tap::open(&bed.b)?;
    poison_all(&sender, || tap.any())?;
    tail.moves((LONGEST - ETH_ZLEN) as i32, verdict::PASS)?;
    let grown = |mut frame: Vec<u8>| {
        frame.resize(LONGEST, 0);
        frame
    };
    compare(&sender, runts(), || tap.any(), grown)?;
    ensure_eq!(tail.0.read::<u64>("refused", 0)?, 0, "frames refused");
    settle_wire(bed).map(drop)
}
