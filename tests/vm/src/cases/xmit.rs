// SPDX-License-Identifier: GPL-2.0

//! `ndo_xdp_xmit` from its caller's side: batches, queues, and what is refused.

use super::{
    flood,
    pause::{poll_in_threads, slow_down},
    send_all,
    steer::{check_redirected, Chain, Steer, BY_DEVICE},
    traffic::settle,
};
use crate::{
    bed::Bed,
    harness::Case,
    host::{cpus, ensure_eq, live, tracefs::Trace, wait_until},
    nl::netdev::{self, NapiSettings},
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::errno::Errno;

const EVENT: &str = "xdp/xdp_devmap_xmit";
/// `DEV_MAP_BULK_SIZE`: frames that the kernel hands over at a time, at most.
const BULK: i64 = 16;
const FLOWS: u32 = 8;

pub fn cases() -> Vec<Case> {
    vec![
        Case::ports(
            "xmit::batches_over_several_rings",
            "pairs=2 queues=4 ring_size=2048",
            batches,
        ),
        Case::ports(
            "xmit::frames_that_wait_for_a_flush",
            "pairs=2 queues=1",
            unflushed,
        ),
        Case::ports(
            "xmit::the_processor_chooses_the_queue",
            "pairs=2 queues=2",
            queues,
        ),
        Case::ports("xmit::live_frames", "queues=2 ring_size=1024", live_frames),
        Case::ports("xmit::peer_is_down", "pairs=2", peer_down),
        Case::ports("xmit::target_is_down", "pairs=2", target_down),
        Case::ports(
            "xmit::peer_is_slow",
            "pairs=2 queues=1 ring_size=64",
            peer_slow,
        ),
    ]
}

/// A number in a line of a tracepoint.
fn number(line: &str, name: &str) -> Result<i64> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| anyhow!("no {name} in: {line}"))
}

/// The kernel's own account of what it handed to a port: frames taken, frames it had to drop, the
/// largest batch, the errors.
#[derive(Debug, Default)]
struct Handed {
    sent: i64,
    drops: i64,
    largest: i64,
    errors: Vec<i64>,
}

impl Handed {
    fn read(trace: &Trace, from: u32, to: u32) -> Result<Self> {
        let mut sum = Self::default();

        for line in trace.lines("xdp_devmap_xmit")? {
            ensure_eq!(
                number(&line, "from_ifindex")?,
                i64::from(from),
                "xdp_devmap_xmit: {line}"
            );
            ensure_eq!(
                number(&line, "to_ifindex")?,
                i64::from(to),
                "xdp_devmap_xmit: {line}"
            );
            let (sent, drops) = (number(&line, "sent")?, number(&line, "drops")?);

            sum.sent += sent;
            sum.drops += drops;
            sum.largest = sum.largest.max(sent + drops);
            match number(&line, "err")? {
                0 => {}
                error => sum.errors.push(error),
            }
        }
        Ok(sum)
    }
}

/// The way from ox1 to ox2 by devmap, open.
fn way(bed: &Bed) -> Result<(Chain, Steer)> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;

    steer.device(0, &chain.second.a, None)?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    Ok((chain, steer))
}

/// What has gathered in the rings goes out in batches as large as the kernel makes them,
/// several in one poll, on all rings at once. Not a frame is lost, and each flow stays in order.
fn batches(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 150;
    let total = u64::from(FLOWS * COUNT);
    let trace = Trace::start(EVENT)?;
    let (chain, _steer) = way(bed)?;
    // After its first poll a ring is left alone for a second, in which frames gather.
    let gather = NapiSettings {
        threaded: true,
        defer_hard_irqs: 1,
        gro_flush_timeout: 1_000_000_000,
        ..NapiSettings::default()
    };

    bed.b.ns.enter(|| {
        netdev::napis(bed.b.ifindex)?
            .iter()
            .try_for_each(|napi| netdev::set_napi(napi.id, &gather))
    })?;
    let tap = Tap::open(&chain.second.b)?;
    flood(&bed.a, FLOWS, COUNT, |flow| Probe::new(flow, 0).len(700))?;

    let mut next = vec![0; FLOWS as usize];
    for probe in tap.probes(total as usize)? {
        let seq = &mut next[probe.flow as usize];

        ensure_eq!(probe.seq, *seq, "flow {}: order at ox3", probe.flow);
        *seq += 1;
    }
    let [_, ox1, ox2, ox3] = chain.settle()?;
    check_redirected(&ox1, &ox2, total)?;
    ox2.counters.expect_tx("ox2", &[("xdp_xmit_errors", 0)])?;
    ox3.counters
        .expect_rx("ox3", &[("packets", total), ("no_buffer", 0)])?;
    ensure!(
        ox1.counters
            .rx_each("packets")?
            .iter()
            .filter(|n| **n > 0)
            .count()
            > 1,
        "only one ring had traffic"
    );

    let handed = Handed::read(&trace, bed.b.ifindex, chain.second.a.ifindex)?;
    ensure_eq!(handed.sent, total as i64, "frames in xdp_devmap_xmit");
    ensure_eq!(handed.drops, 0, "drops in xdp_devmap_xmit");
    ensure_eq!(
        handed.largest,
        BULK,
        "largest batch (if smaller, nothing was tested)"
    );
    Ok(())
}

/// A full batch goes out without XDP_XMIT_FLUSH, as more is to come; but if a program on the entry
/// drops all of the rest, the kernel never asks for the flush. The frames are not forgotten.
fn unflushed(bed: &Bed) -> Result<()> {
    const DROPPED: u32 = 4;
    let (chain, mut steer) = way(bed)?;
    let mark = steer.entry_program("device_mark")?;
    let passed = BULK as u32;
    let tap = Tap::open(&chain.second.b)?;
    let probe = |seq| {
        Probe::new(1, seq).verdict(if seq < passed || seq == passed + DROPPED {
            verdict::PASS
        } else {
            verdict::DROP
        })
    };

    steer.device(0, &chain.second.a, Some(&mark))?;
    // So slow that all frames are there before the first poll ends.
    steer.slow(500_000);
    steer.by_device(0)?;
    poll_in_threads(&bed.b)?;
    let sender = Sender::open(&bed.a)?;
    for seq in 0..passed + DROPPED {
        sender.send(&probe(seq).frame())?;
    }
    wait_until("the entry's program has seen all frames", || {
        Ok(steer.seen()? == u64::from(passed + DROPPED))
    })?;
    // At the latest with the next frame, they are all there.
    sender.send(&probe(passed + DROPPED).frame())?;
    for found in tap.probes(passed as usize + 1)? {
        ensure_eq!(found, probe(found.seq).marked(BY_DEVICE), "frame at ox3");
    }
    let [_, ox1, ox2, _] = chain.settle()?;
    ox1.counters
        .expect_rx("ox1", &[("xdp_redirect", u64::from(passed + DROPPED) + 1)])?;
    ox2.counters.expect_tx(
        "ox2",
        &[("xdp_xmit", u64::from(passed) + 1), ("xdp_xmit_errors", 0)],
    )
}

/// The poll runs where the frame was sent, so the sender's processor is the one that transmits.
fn queues(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 20;
    let (chain, _steer) = way(bed)?;
    let mut expected = vec![0; 2];

    for cpu in cpus::all()? {
        cpus::run_on(cpu, || {
            let sender = Sender::open(&bed.a)?;

            for seq in 0..COUNT {
                let received = chain.second.b.link()?.stat("rx_packets")?;

                sender.send(&Probe::new(seq, seq).frame())?;
                chain.second.b.wait_received(received + 1)?;
            }
            Ok(())
        })?;
        expected[cpu % 2] += u64::from(COUNT);
        ensure_eq!(
            chain.second.a.counters()?.tx_each("xdp_xmit")?,
            expected,
            "ox2: tx_queue_*_xdp_xmit after frames sent on processor {cpu}"
        );
    }
    let [_, ox1, ox2, _] = chain.settle()?;
    check_redirected(&ox1, &ox2, expected.iter().sum())
}

/// Frames that come from no device at all, in pages of the kernel's own.
fn live_frames(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 300;
    let mut steer = Steer::load()?;
    let probe = Probe::new(1, 7).len(1000);

    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    steer.device(0, &bed.b, None)?;
    for by_map in [true, false] {
        if by_map {
            steer.by_device(0)?;
        } else {
            steer.by_ifindex(bed.b.ifindex)?;
        }
        bed.b
            .ns
            .enter(|| live::run(steer.program.fd()?, &probe.frame(), COUNT))?;
        for found in tap.probes(COUNT as usize)? {
            ensure_eq!(found, probe, "frame at ox0");
        }
    }
    let (_, b) = settle(bed)?;
    b.counters.expect_tx(
        "ox1",
        &[("xdp_xmit", 2 * u64::from(COUNT)), ("xdp_xmit_errors", 0)],
    )
}

/// Every frame is refused with ENETDOWN, counted, and given back to its owner. Then the peer comes
/// up and everything is as it was.
fn peer_down(bed: &Bed) -> Result<()> {
    let trace = Trace::start(EVENT)?;
    let (chain, _steer) = way(bed)?;
    let probes: Vec<_> = (0..40).map(|seq| Probe::new(seq % 4, seq)).collect();
    let count = probes.len() as u64;
    let tap = Tap::open(&chain.second.b)?;

    chain.second.b.set("down")?;
    send_all(bed, &probes)?;
    bed.b.wait_received(count)?;
    wait_until("all frames are refused", || {
        Ok(chain.second.a.counters()?.tx("xdp_xmit_errors")? >= count)
    })?;
    let ox2 = chain.second.a.snapshot()?;
    ox2.counters.expect_tx(
        "ox2",
        &[
            ("xdp_xmit", 0),
            ("xdp_xmit_bytes", 0),
            ("xdp_xmit_errors", count),
        ],
    )?;
    ensure_eq!(ox2.link.stat("tx_packets")?, 0, "ox2: tx_packets");
    let handed = Handed::read(&trace, bed.b.ifindex, chain.second.a.ifindex)?;
    ensure_eq!(
        (handed.sent, handed.drops),
        (0, count as i64),
        "frames sent and dropped in xdp_devmap_xmit"
    );
    ensure!(
        !handed.errors.is_empty()
            && handed
                .errors
                .iter()
                .all(|error| *error == -i64::from(Errno::ENETDOWN as i32)),
        "errors in xdp_devmap_xmit: {:?}",
        handed.errors
    );

    chain.second.up()?;
    tap.silence()?;
    send_all(bed, &probes)?;
    let mut expected = probes.clone();
    expected.sort_by_key(|probe| (probe.flow, probe.seq));
    ensure_eq!(
        tap.probes_sorted(probes.len())?,
        expected,
        "frames at ox3 once it is up"
    );
    let [_, ox1, ox2, _] = chain.settle()?;
    check_redirected(&ox1, &ox2, 2 * count)?;
    ox2.counters
        .expect_tx("ox2", &[("xdp_xmit", count), ("xdp_xmit_errors", count)])
}

/// The kernel does not redirect to a device that is down: the redirect itself fails.
fn target_down(bed: &Bed) -> Result<()> {
    let (chain, _steer) = way(bed)?;
    let probes: Vec<_> = (0..8).map(|seq| Probe::new(seq, seq)).collect();
    let count = probes.len() as u64;

    chain.second.a.set("down")?;
    send_all(bed, &probes)?;
    bed.b.wait_received(count)?;
    let ox1 = bed.b.snapshot()?;
    ox1.check_verdicts()?;
    ox1.counters.expect_rx(
        "ox1",
        &[("xdp_redirect", 0), ("xdp_redirect_errors", count)],
    )?;
    chain
        .second
        .a
        .counters()?
        .expect_tx("ox2", &[("xdp_xmit", 0), ("xdp_xmit_errors", 0)])?;

    chain.second.up()?;
    let tap = Tap::open(&chain.second.b)?;
    send_all(bed, &probes)?;
    ensure_eq!(
        tap.probes_sorted(probes.len())?,
        probes,
        "frames at ox3 once ox2 is up"
    );
    let [_, _, ox2, _] = chain.settle()?;
    ox2.counters.expect_tx("ox2", &[("xdp_xmit", count)])
}

/// A peer that does not keep up takes what it has buffers for; the rest is refused, never waited
/// for, whatever flow control says.
fn peer_slow(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 300;
    let total = u64::from(FLOWS * COUNT);
    let trace = Trace::start(EVENT)?;
    let (chain, _steer) = way(bed)?;
    let slow = slow_down(&chain.second.b)?;

    poll_in_threads(&chain.second.b)?;
    flood(&bed.a, FLOWS, COUNT, |flow| Probe::new(flow, 0))?;
    bed.b.wait_received(total)?;
    let [_, ox1, ox2, ox3] = chain
        .settle()
        .context("after a flood to a port that is slow")?;
    check_redirected(&ox1, &ox2, total)?;
    let (taken, refused) = (
        ox2.counters.tx("xdp_xmit")?,
        ox2.counters.tx("xdp_xmit_errors")?,
    );
    ensure!(
        taken > 64 && refused > 0,
        "{taken} frames taken, {refused} refused: nothing was tested"
    );
    ensure_eq!(slow.seen()?, taken, "frames that came to ox3");
    ox3.counters.expect_rx("ox3", &[("no_buffer", 0)])?;
    ox2.counters.expect_tx("ox2", &[("stopped", 0)])?;
    let handed = Handed::read(&trace, bed.b.ifindex, chain.second.a.ifindex)?;
    ensure_eq!(
        (handed.sent, handed.drops),
        (taken as i64, refused as i64),
        "frames sent and dropped in xdp_devmap_xmit"
    );
    Ok(())
}
