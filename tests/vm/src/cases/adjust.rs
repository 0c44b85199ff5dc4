// SPDX-License-Identifier: GPL-2.0

//! Programs that move the head or tail of a frame, or put metadata in front of it.

use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::ensure_eq,
    stats::check_both,
    support::{
        buffers::{BUFFER, PAGE, SINGLE_MTU},
        probes::send_all,
        steer::Chain,
        xsk::head_max,
    },
    wire::{
        ensure_same,
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        ETH_ZLEN,
    },
};
use anyhow::{anyhow, Context, Result};
use aya::{
    maps::{CpuMap, DevMap},
    programs::{tc::TcAttachType, SchedClassifier},
};

/// What `adjust_head` writes in front of a frame: an Ethernet header and a pattern.
fn pattern() -> [u8; 256] {
    let mut bytes = [0; 256];

    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = (i * 5 + 2) as u8;
    }
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

/// Attaches a program of `adjust.bpf.c` to port B and brings the link up.
fn attach(bed: &Bed, name: &str) -> Result<Program> {
    let mut program = Program::load("adjust", name)?;

    program.write("pattern", 0, pattern())?;
    bed.b.attach(&program)?;
    bed.up()?;
    Ok(program)
}

fn configure(program: &mut Program, delta: i32, act: u8) -> Result<()> {
    program.write("config", 0, [delta, act.into()])
}

/// The verdicts that let a frame out again, and their counters.
const WAYS: [(u8, &str); 2] = [(verdict::PASS, "xdp_pass"), (verdict::TX, "xdp_tx")];

/// Sends a probe of each length through the program with each of these verdicts, and compares the
/// result with what `expect` makes of the frame.
fn adjusted(
    bed: &Bed,
    program: &mut Program,
    delta: i32,
    lens: &[usize],
    expect: impl Fn(Vec<u8>) -> Vec<u8>,
) -> Result<()> {
    let sender = Sender::open(&bed.a)?;

    for (act, what) in WAYS {
        let tap = Tap::open(if act == verdict::TX { &bed.a } else { &bed.b })?;

        configure(program, delta, act)?;
        let frames: Vec<_> = lens
            .iter()
            .zip(0..)
            .map(|(len, seq)| Probe::new(1, seq).len(*len).frame())
            .collect();

        frames.iter().try_for_each(|frame| sender.send(frame))?;
        for frame in frames {
            let what = format!("{what}, {} bytes adjusted by {delta}", frame.len());
            let found = tap.any().with_context(|| what.clone())?;

            ensure_same(&what, &found, &expect(frame))?;
        }
        tap.silence()?;
    }
    ensure_eq!(
        program.read::<u64>("refused", 0)?,
        0,
        "times the helper refused {delta}"
    );
    Ok(())
}

fn finish(bed: &Bed) -> Result<()> {
    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);

    b.check_verdicts()?;
    check_both(&a, &b)
}

case!(ports "adjust::head_grows", "", head_grows);
fn head_grows(bed: &Bed) -> Result<()> {
    let mut program = attach(bed, "adjust_head")?;
    let most = head_max(&bed.b)?;

    // The frame that comes back is not addressed to a port.
    bed.a.set_promisc(true)?;
    for n in [14, 15, 64, 200, most.min(256)] {
        adjusted(bed, &mut program, -n, &[60, 301, 1200], |frame| {
            [&pattern()[..n as usize], &frame].concat()
        })?;
    }
    finish(bed)
}

case!(ports "adjust::head_shrinks", "", head_shrinks);
fn head_shrinks(bed: &Bed) -> Result<()> {
    let mut program = attach(bed, "adjust_head")?;

    // The frame that comes back is not addressed to a port.
    bed.a.set_promisc(true)?;
    for n in [1, 4, 14, 50] {
        adjusted(bed, &mut program, n, &[128, 301, 1514], |frame| {
            frame[n as usize..].to_vec()
        })?;
    }
    finish(bed)
}

case!(ports "adjust::head_limits", "", head_limits);
/// The headroom is 320 bytes, of which the kernel keeps 40 for itself.
fn head_limits(bed: &Bed) -> Result<()> {
    let mut program = attach(bed, "adjust_head")?;
    let tap = Tap::open(&bed.b)?;

    // Beyond the headroom, and less than an Ethernet header left over.
    for delta in [-281, -(PAGE as i32), 128 - 13, PAGE as i32] {
        configure(&mut program, delta, verdict::PASS)?;
        send_all(bed, &[Probe::new(1, 0).len(128)])?;
    }
    bed.b.wait_received(4)?;
    tap.silence()?;
    ensure_eq!(
        program.read::<u64>("refused", 0)?,
        4,
        "times the helper refused"
    );
    bed.b
        .counters()?
        .expect_rx("B", &[("packets", 4), ("xdp_drop", 4)])?;
    finish(bed)
}

case!(ports "adjust::tail_shrinks", "", tail_shrinks);
fn tail_shrinks(bed: &Bed) -> Result<()> {
    let mut program = attach(bed, "adjust_tail")?;

    for n in [1, 20, 60] {
        adjusted(bed, &mut program, -n, &[128, 301, 1514], |mut frame| {
            frame.truncate(frame.len() - n as usize);
            frame
        })?;
    }
    finish(bed)
}

case!(ports "adjust::tail_grows_to_the_limit", "", tail_grows);
/// The new bytes are zero. One byte more than the buffer has room for is refused.
fn tail_grows(bed: &Bed) -> Result<()> {
    let mut program = attach(bed, "adjust_tail")?;

    // A frame may be longer than the MTU of port A by now.
    bed.a.set_mtu(SINGLE_MTU)?;
    bed.b.set_mtu(SINGLE_MTU)?;
    for n in [1, 100, 1000] {
        adjusted(bed, &mut program, n, &[60, 301, 1514], |mut frame| {
            frame.resize(frame.len() + n as usize, 0);
            frame
        })?;
    }
    let tap = Tap::open(&bed.b)?;

    for (len, seq) in [60usize, 301, 1514, BUFFER - 8].into_iter().zip(0..) {
        let probe = Probe::new(1, seq).len(len);
        let room = BUFFER - len;
        let mut expected = probe.frame();

        configure(&mut program, room as i32, verdict::PASS)?;
        send_all(bed, &[probe.clone()])?;
        expected.resize(BUFFER, 0);
        ensure_same(
            &format!("{len} bytes grown by {room}"),
            &tap.only()?,
            &expected,
        )?;

        configure(&mut program, room as i32 + 1, verdict::PASS)?;
        send_all(bed, &[probe])?;
        tap.silence().context("growing beyond the buffer")?;
    }
    ensure_eq!(
        program.read::<u64>("refused", 0)?,
        4,
        "times the helper refused"
    );
    finish(bed)
}

case!(ports "adjust::tail_grows_beyond_the_peers_mtu", "", tail_beyond_mtu);
/// A frame that grew too long for the port that it is sent to is lost there, and counted with that
/// reason.
fn tail_beyond_mtu(bed: &Bed) -> Result<()> {
    let mut program = attach(bed, "adjust_tail")?;
    let tap = Tap::open(&bed.a)?;

    for (delta, seq) in [(8, 0), (9, 1)] {
        configure(&mut program, delta, verdict::TX)?;
        send_all(bed, &[Probe::new(1, seq).len(1514)])?;
        bed.b.wait_received(u64::from(seq) + 1)?;
    }
    ensure_eq!(
        tap.only()?.len(),
        1522,
        "length of the frame that still fits"
    );
    bed.a
        .counters()?
        .expect_rx("A", &[("packets", 1), ("oversize", 1)])?;
    finish(bed)
}

case!(ports "adjust::short_frame_is_padded_on_tx", "", short_tx);
fn short_tx(bed: &Bed) -> Result<()> {
    let mut program = attach(bed, "adjust_tail")?;
    let tap = Tap::open(&bed.a)?;
    let frame = Probe::new(1, 0).len(100).frame();
    let mut expected = frame[..40].to_vec();

    expected.resize(ETH_ZLEN, 0);
    configure(&mut program, -60, verdict::TX)?;
    Sender::open(&bed.a)?.send(&frame)?;
    ensure_same("a frame of 40 bytes sent back", &tap.only()?, &expected)?;
    finish(bed)
}

/// Attaches a classifier to the entrance of a port's stack that reads what `write_meta` wrote.
fn attach_reader(program: &mut Program, port: &Port) -> Result<()> {
    port.ns.enter(|| {
        let reader: &mut SchedClassifier = program
            .object()
            .program_mut("read_meta")
            .ok_or_else(|| anyhow!("no read_meta"))?
            .try_into()?;

        reader.load()?;
        reader.attach(&port.name, TcAttachType::Ingress)?;
        Ok(())
    })
}

const META_FRAMES: u32 = 32;

/// Sends probes and compares them, one at a time, as the flows go to different rings, with what
/// `tap` gets.
fn send_and_compare(bed: &Bed, tap: &Tap) -> Result<()> {
    for seq in 0..META_FRAMES {
        let probe = Probe::new(seq % 5, seq).len(60 + 40 * seq as usize);

        send_all(bed, std::slice::from_ref(&probe))?;
        ensure_same("frame with metadata", &tap.any()?, &probe.frame())?;
    }
    tap.silence()
}

case!(ports "adjust::metadata_reaches_the_skb", "", |bed| metadata(bed, verdict::PASS));
case!(ports "adjust::metadata_goes_along_to_a_cpu", "", |bed| metadata(bed, verdict::REDIRECT));
/// Metadata that a program leaves in front of a frame reaches a tc program, whether the port or a
/// cpumap builds the skb.
fn metadata(bed: &Bed, act: u8) -> Result<()> {
    let mut program = attach(bed, "write_meta")?;
    let tap = Tap::open(&bed.b)?;

    CpuMap::try_from(program.map_mut("cpus")?)?.set(0, 1024, None, 0)?;
    configure(&mut program, 0, act)?;
    attach_reader(&mut program, &bed.b)?;
    send_and_compare(bed, &tap)?;
    for seq in 0..META_FRAMES {
        let mut expected = [seq; 8];
        for (i, word) in expected[1..].iter_mut().enumerate() {
            *word = seq * 7 + i as u32;
        }
        ensure_eq!(
            program.read::<[u32; 8]>("metas", seq)?,
            expected,
            "metadata of frame {seq}"
        );
    }
    ensure_eq!(
        program.read::<u64>("bare", 0)?,
        0,
        "frames without metadata"
    );
    finish(bed)
}

/// No frame came to the classifier with metadata.
fn expect_none(program: &Program) -> Result<()> {
    ensure_eq!(
        program.read::<u64>("bare", 0)?,
        u64::from(META_FRAMES),
        "frames without metadata"
    );
    for seq in 0..META_FRAMES {
        ensure_eq!(
            program.read::<[u32; 8]>("metas", seq)?,
            [0; 8],
            "metadata of frame {seq}"
        );
    }
    Ok(())
}

case!(ports "adjust::metadata_ends_with_tx", "", metadata_tx);
/// Metadata does not cross the wire.
fn metadata_tx(bed: &Bed) -> Result<()> {
    let mut program = attach(bed, "write_meta")?;
    let tap = Tap::open(&bed.a)?;

    configure(&mut program, 0, verdict::TX)?;
    attach_reader(&mut program, &bed.a)?;
    send_and_compare(bed, &tap)?;
    expect_none(&program)?;
    finish(bed)
}

case!(ports "adjust::metadata_ends_with_a_redirect_to_a_port", "pairs=2", metadata_device);
fn metadata_device(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let mut program = attach(bed, "write_meta")?;

    chain.up()?;
    let tap = Tap::open(&chain.second.b)?;
    let map = program.map_mut("devs")?;
    let target = &chain.second.a;
    // A devmap takes devices of its writer's namespace.
    target
        .ns
        .enter(|| Ok(DevMap::try_from(map)?.set(0, target.ifindex, None, 0)?))?;
    configure(&mut program, 0, verdict::DEVMAP)?;
    attach_reader(&mut program, &chain.second.b)?;
    send_and_compare(bed, &tap)?;
    expect_none(&program)?;
    chain.settle().map(drop)
}
