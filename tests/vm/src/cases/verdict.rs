// SPDX-License-Identifier: GPL-2.0

//! Every verdict, with the bytes of every frame compared.

use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{
        ensure_eq,
        kmsg::Kmsg,
        repeat_until,
        tracefs::{clear_warn_once, Trace},
        wait_until,
    },
    stats::check_both,
    support::{
        polls::poll_in_threads,
        probes::{assorted, flood, send_all, total_len},
        steer::veth,
        verdict::{attach_verdict, set_cpumap, ILLEGAL},
    },
    wire::{
        ensure_same,
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        ETH_ZLEN,
    },
};
use anyhow::{anyhow, ensure, Result};
use aya::maps::DevMap;

const EXCEPTION: &str = "xdp/xdp_exception";

case!(ports "verdict::no_program", "", no_program);
fn no_program(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::PASS);

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    send_all(bed, &probes)?;
    ensure_eq!(tap.probes(probes.len())?, probes, "frames at B");

    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    let count = probes.len() as u64;
    b.counters.expect_rx(
        "B",
        &[
            ("packets", count),
            ("bytes", total_len(&probes)),
            ("xdp_pass", 0),
            ("xdp_drop", 0),
        ],
    )?;
    ensure_eq!(a.counters.tx("packets")?, count, "A: tx_queue_*_packets");
    ensure_eq!(
        a.counters.tx("bytes")?,
        total_len(&probes),
        "A: tx_queue_*_bytes"
    );
    check_both(&a, &b)
}

case!(ports "verdict::short_frames_are_padded", "queues=1", padding);
/// A frame shorter than Ethernet allows gets zeros, and nothing but zeros, at its end.
fn padding(bed: &Bed) -> Result<()> {
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let tap = Tap::open(&bed.b)?;

    // What the receive buffers held before must not show up in the padding. New pages are all
    // zero, so the ring's have to be used ones: they come back when the tap has read its frames.
    for round in 0..20 {
        for seq in 0..100 {
            sender.send(&Probe::new(1, round * 100 + seq).len(1514).frame())?;
        }
        (0..100).try_for_each(|_| tap.any().map(std::mem::drop))?;
    }

    for len in [15, 20, 33, 58, 59] {
        let mut frame = Probe::new(1, 0).frame();
        // Not IPv4 any more, as the length in its header would be wrong.
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        frame.truncate(len);
        sender.send(&frame)?;
        frame.resize(ETH_ZLEN, 0);
        ensure_same(&format!("frame of {len} bytes"), &tap.only()?, &frame)?;
    }

    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    ensure_eq!(
        b.counters.rx("bytes")?,
        2000 * 1514 + 5 * 60,
        "B: rx_queue_*_bytes"
    );
    check_both(&a, &b)
}

case!(ports "verdict::pass", "", pass);
fn pass(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::PASS);
    let program = attach_verdict(bed)?;
    let tap = Tap::open(&bed.b)?;

    send_all(bed, &probes)?;
    ensure_eq!(tap.probes(probes.len())?, probes, "frames at B");
    ensure_eq!(
        program.read::<u64>("counts", verdict::PASS.into())?,
        probes.len() as u64,
        "frames the program saw"
    );
    settled(bed, "xdp_pass", &probes)
}

case!(ports "verdict::drop", "", drop);
fn drop(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::DROP);
    let program = attach_verdict(bed)?;
    let (tap_a, tap_b) = (Tap::open(&bed.a)?, Tap::open(&bed.b)?);

    send_all(bed, &probes)?;
    bed.b.wait_received(probes.len() as u64)?;
    tap_b.silence()?;
    tap_a.silence()?;
    ensure_eq!(
        program.read::<u64>("counts", verdict::DROP.into())?,
        probes.len() as u64,
        "frames the program saw"
    );
    settled(bed, "xdp_drop", &probes)
}

case!(ports "verdict::tx", "", tx);
fn tx(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::TX);
    let expected: Vec<_> = probes.iter().map(Probe::reflected).collect();
    let _program = attach_verdict(bed)?;
    let (tap_a, tap_b) = (Tap::open(&bed.a)?, Tap::open(&bed.b)?);

    send_all(bed, &probes)?;
    ensure_eq!(tap_a.probes(probes.len())?, expected, "frames back at A");
    tap_b.silence()?;

    let a = bed.a.snapshot()?;
    a.counters.expect_rx(
        "A",
        &[
            ("packets", probes.len() as u64),
            ("bytes", total_len(&probes)),
            ("xdp_pass", 0),
        ],
    )?;
    settled(bed, "xdp_tx", &probes)
}

case!(ports "verdict::tx_into_full_ring", "queues=1 ring_size=64", tx_full);
/// XDP_TX does not wait for buffers: a frame that finds the far ring full counts as sent, and is
/// lost and counted there.
fn tx_full(bed: &Bed) -> Result<()> {
    const FLOWS: u32 = 4;
    const COUNT: u32 = 1500;
    let mut sent = 0;
    let trace = Trace::start(EXCEPTION)?;
    let _program = attach_verdict(bed)?;
    let mut slow = Program::load("count", "count_slow")?;

    slow.write("rounds", 0, 20_000u32)?;
    bed.a.attach(&slow)?;
    // At the same time as B's poll, not in turns with it: otherwise A's ring would be empty
    // whenever B's poll runs.
    poll_in_threads(&bed.a)?;
    let mut lost = 0;
    repeat_until(
        "a frame meets a full ring",
        || {
            sent += u64::from(FLOWS * COUNT);
            flood(&bed.a, FLOWS, COUNT, |flow| {
                Probe::new(flow, 0).verdict(verdict::TX)
            })?;
            bed.b.wait_received(sent)
        },
        || {
            lost = bed.a.counters()?.rx("no_buffer")?;
            Ok(lost > 0)
        },
    )?;
    bed.a.wait_received(sent - lost)?;
    ensure_eq!(slow.seen()?, sent - lost, "frames that came back to A");
    let lines = trace.lines("xdp_exception")?;
    ensure!(lines.is_empty(), "xdp_exception: {lines:?}");

    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    b.counters
        .expect_rx("B", &[("xdp_tx", sent), ("xdp_tx_errors", 0)])?;
    b.check_verdicts()?;
    check_both(&a, &b)
}

case!(ports "verdict::aborted", "", aborted);
fn aborted(bed: &Bed) -> Result<()> {
    exceptional(bed, verdict::ABORTED, "xdp_aborted", "ABORTED").map(std::mem::drop)
}

case!(ports "verdict::unknown", "", unknown; allow(&[ILLEGAL]));
fn unknown(bed: &Bed) -> Result<()> {
    clear_warn_once()?;
    let mut log = Kmsg::from_now()?;
    let program = exceptional(bed, verdict::UNKNOWN, "xdp_unknown", "0x2a")?;
    let expected = format!(
        "{ILLEGAL} (id {}) dev {}, expect packet loss!",
        program, bed.b.name
    );

    ensure_eq!(
        log.starting_with("Illegal XDP")?,
        [expected],
        "the kernel's warning"
    );
    Ok(())
}

case!(ports "verdict::redirect_fails", "", redirect_fails);
fn redirect_fails(bed: &Bed) -> Result<()> {
    exceptional(
        bed,
        verdict::BAD_REDIRECT,
        "xdp_redirect_errors",
        "REDIRECT",
    )
    .map(std::mem::drop)
}

/// Frames with a verdict that drops them and fires the exception tracepoint, once each. Returns
/// the program's id.
fn exceptional(bed: &Bed, verdict: u8, counter: &str, action: &str) -> Result<u32> {
    let probes = assorted(verdict);
    let trace = Trace::start(EXCEPTION)?;
    let program = attach_verdict(bed)?;
    let (tap_a, tap_b) = (Tap::open(&bed.a)?, Tap::open(&bed.b)?);

    send_all(bed, &probes)?;
    bed.b.wait_received(probes.len() as u64)?;
    tap_b.silence()?;
    tap_a.silence()?;

    let expected = vec![exception(&program, action, &bed.b); probes.len()];
    let mut lines = Vec::new();
    wait_until("all xdp_exception events are there", || {
        lines = trace.lines("xdp_exception")?;
        Ok(lines.len() >= expected.len())
    })?;
    ensure_eq!(lines, expected, "xdp_exception events");
    settled(bed, counter, &probes)?;
    Ok(program.id)
}

fn exception(program: &Program, action: &str, port: &Port) -> String {
    format!(
        "prog_id={} action={action} ifindex={}",
        program.id, port.ifindex
    )
}

case!(ports "verdict::redirect_to_cpu", "", redirect_cpu);
fn redirect_cpu(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::REDIRECT);
    let mut program = attach_verdict(bed)?;
    let tap = Tap::open(&bed.b)?;

    set_cpumap(&mut program)?;
    send_all(bed, &probes)?;
    ensure_eq!(tap.probes(probes.len())?, probes, "frames at B");
    settled(bed, "xdp_redirect", &probes)
}

case!(ports "verdict::redirect_to_device", "", redirect_device);
/// The far end of the veth pair has to run a NAPI for frames to be redirected into the pair.
fn redirect_device(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::DEVMAP);
    let mut program = attach_verdict(bed)?;
    let ns = &bed.b.ns;
    let (near, far) = veth(ns, 1500)?;

    let map = program
        .object()
        .map_mut("devs")
        .ok_or_else(|| anyhow!("no map devs"))?;
    // A devmap takes devices of its writer's namespace.
    ns.enter(|| Ok(DevMap::try_from(map)?.set(0, near.ifindex, None, 0)?))?;

    let (tap_b, tap_far) = (Tap::open(&bed.b)?, Tap::open(&far)?);
    send_all(bed, &probes)?;
    ensure_eq!(
        tap_far.probes(probes.len())?,
        probes,
        "frames beyond the veth pair"
    );
    tap_b.silence()?;
    settled(bed, "xdp_redirect", &probes)
}

/// Port B's program had one verdict on all of the probes, and all counters say so.
fn settled(bed: &Bed, counter: &str, probes: &[Probe]) -> Result<()> {
    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    let count = probes.len() as u64;

    b.counters.expect_rx(
        "B",
        &[
            ("packets", count),
            ("bytes", total_len(probes)),
            (counter, count),
        ],
    )?;
    b.check_verdicts()?;
    check_both(&a, &b)
}
