// SPDX-License-Identifier: GPL-2.0

//! `ndo_xdp_xmit` from its caller's side: batches, queues, and what is refused.

use crate::{
    bed::Bed,
    harness::case,
    host::{cpus, ensure_eq, live, repeat_until, tracefs::Trace, wait_until},
    nl::netdev::{self, NapiSettings},
    support::{
        held::Held,
        large::{self, Large},
        ntuple,
        polls::{poll_in_threads, slow_down},
        probes::{flood, send_all},
        steer::{check_redirected, Chain, Steer},
        traffic::{settle, settle_after_down},
    },
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::errno::Errno;

const EVENT: &str = "xdp/xdp_devmap_xmit";
/// `DEV_MAP_BULK_SIZE`: frames that the kernel hands over at a time, at most.
const BULK: i64 = 16;
const FLOWS: u32 = 8;

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

/// ox1 redirects to ox2 by devmap.
fn way(bed: &Bed) -> Result<(Chain, Steer)> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;

    steer.device(0, &chain.second.a, None)?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    Ok((chain, steer))
}

case!(ports "xmit::batches_over_several_rings", "pairs=2 queues=4 ring_size=2048", batches);
/// Frames that have gathered in the rings are sent in full batches, several in one poll, on all
/// rings at once. No frame is lost, and each flow stays in order.
fn batches(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 150;
    let trace = Trace::start(EVENT)?;
    let (chain, _steer) = way(bed)?;
    let handed = || Handed::read(&trace, bed.b.ifindex, chain.second.a.ifindex);
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
    let mut total = 0;
    repeat_until(
        "as many frames gather as the kernel hands over at a time",
        || {
            total += u64::from(FLOWS * COUNT);
            flood(&bed.a, FLOWS, COUNT, |flow| Probe::new(flow, 0).len(700))?;
            let mut next = vec![0; FLOWS as usize];
            for probe in tap.probes((FLOWS * COUNT) as usize)? {
                let seq = &mut next[probe.flow as usize];

                ensure_eq!(probe.seq, *seq, "flow {}: order at ox3", probe.flow);
                *seq += 1;
            }
            Ok(())
        },
        || Ok(handed()?.largest >= BULK),
    )?;
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

    let handed = handed()?;
    ensure_eq!(handed.sent, total as i64, "frames in xdp_devmap_xmit");
    ensure_eq!(handed.drops, 0, "drops in xdp_devmap_xmit");
    ensure_eq!(handed.largest, BULK, "largest batch");
    Ok(())
}

/// Makes the kernel send 48 frames from port B, in batches without XDP_XMIT_FLUSH, as more are to
/// come; but a program drops all of those, and the kernel never asks for the flush.
struct Unflushed {
    steer: Steer,
    probe: Probe,
}

impl Unflushed {
    const FRAMES: u32 = 48;

    fn prepare(bed: &Bed) -> Result<Self> {
        let mut steer = Steer::load()?;
        let entry = steer.entry_program("device_48_of_64")?;

        steer.device(0, &bed.b, Some(&entry))?;
        steer.by_device(0)?;
        Ok(Self {
            steer,
            probe: Probe::new(9, 0).len(1000),
        })
    }

    fn send(&self, bed: &Bed) -> Result<()> {
        let frame = self.probe.frame();

        bed.b
            .ns
            .enter(|| live::run(self.steer.program.fd()?, &frame, 64))
    }
}

case!(ports "xmit::frames_without_a_flush", "queues=1 ring_size=64", unflushed);
/// Frames without a flush arrive, even if no other frame follows.
fn unflushed(bed: &Bed) -> Result<()> {
    let unflushed = Unflushed::prepare(bed)?;
    let count = u64::from(Unflushed::FRAMES);

    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    unflushed.send(bed)?;
    for found in tap.probes(count as usize)? {
        ensure_eq!(found, unflushed.probe, "frame at ox0");
    }
    tap.silence()?;
    let (_, b) = settle(bed)?;
    ensure_eq!(
        unflushed.steer.seen()?,
        64,
        "frames the entry's program saw"
    );
    b.counters
        .expect_tx("ox1", &[("xdp_xmit", count), ("xdp_xmit_errors", 0)])
}

case!(ports "xmit::frames_without_a_flush_before_the_stack", "queues=1 ring_size=64",
    unflushed_before_the_stack);
/// What the stack sends finds a ring that is full of frames without a flush: it waits, and goes on.
fn unflushed_before_the_stack(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 100;
    let unflushed = Unflushed::prepare(bed)?;

    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    let sender = Sender::open(&bed.b)?;
    for round in 0..4 {
        // More than there are descriptors.
        unflushed.send(bed)?;
        unflushed.send(bed)?;
        sender.send_flow(&Probe::new(round, 0), COUNT)?;
        let mut next = 0;
        while next < COUNT {
            let probe = Probe::parse(&tap.any()?)?.context("a frame that no test sent")?;

            if probe.flow == round {
                ensure_eq!(probe.seq, next, "round {round}: next frame of the stack");
                next += 1;
            }
        }
    }
    settle(bed).map(drop)
}

case!(ports "xmit::frames_without_a_flush_before_tso", "queues=1 ring_size=64",
    unflushed_before_tso);
/// The same for one large frame, which needs more buffers than there are behind those frames.
fn unflushed_before_tso(bed: &Bed) -> Result<()> {
    const MSS: usize = 1000;
    const SEGMENTS: usize = 28;
    let unflushed = Unflushed::prepare(bed)?;

    bed.up()?;
    let sender = large::open(&bed.b)?;
    for _round in 0..4 {
        unflushed.send(bed)?;
        let sent = bed.b.counters()?.tx("packets")?;
        sender.send(&Large::new(SEGMENTS * MSS, MSS as u16).frame())?;
        wait_until("the large frame is sent", || {
            Ok(bed.b.counters()?.tx("packets")? == sent + SEGMENTS as u64)
        })?;
    }
    settle(bed).map(drop)
}

case!(ports "xmit::the_processor_chooses_the_queue", "pairs=2 queues=2", queues);
/// The poll runs where the frame was sent, so the sender's CPU is the one that transmits.
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

case!(ports "xmit::live_frames", "queues=2 ring_size=1024", live_frames);
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

case!(ports "xmit::peer_is_down", "pairs=2", peer_down);
/// Every frame is refused with ENETDOWN, counted, and returned to its owner. When the peer comes up
/// everything works again.
fn peer_down(bed: &Bed) -> Result<()> {
    let trace = Trace::start(EVENT)?;
    let (chain, _steer) = way(bed)?;
    let probes: Vec<_> = (0..40).map(|seq| Probe::new(seq % 4, seq)).collect();
    let count = probes.len() as u64;
    let tap = Tap::open(&chain.second.b)?;

    chain.second.b.down()?;
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

case!(ports "xmit::target_is_down", "pairs=2", target_down);
/// The kernel does not redirect to a device that is down: the redirect itself fails.
fn target_down(bed: &Bed) -> Result<()> {
    let (chain, _steer) = way(bed)?;
    let probes: Vec<_> = (0..8).map(|seq| Probe::new(seq, seq)).collect();
    let count = probes.len() as u64;

    chain.second.a.down()?;
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

case!(ports "xmit::peer_is_slow", "pairs=2 queues=1 ring_size=64", peer_slow);
/// A peer that is too slow loses frames for lack of buffers. Nothing is refused and nothing waits,
/// whatever the flow control setting.
fn peer_slow(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 300;
    let trace = Trace::start(EVENT)?;
    let (chain, _steer) = way(bed)?;
    let slow = slow_down(&chain.second.b)?;

    poll_in_threads(&chain.second.b)?;
    let mut total = 0;
    repeat_until(
        "frames are lost, and others are not",
        || {
            total += u64::from(FLOWS * COUNT);
            flood(&bed.a, FLOWS, COUNT, |flow| Probe::new(flow, 0))?;
            bed.b.wait_received(total)?;
            chain
                .settle()
                .context("after a flood to a port that is slow")
                .map(drop)
        },
        || {
            let counters = chain.second.b.counters()?;
            Ok(counters.rx("no_buffer")? > 0 && counters.rx("packets")? > 64)
        },
    )?;
    let [_, ox1, ox2, ox3] = chain.settle()?;
    check_redirected(&ox1, &ox2, total)?;
    let lost = ox3.counters.rx("no_buffer")?;
    ensure_eq!(slow.seen()?, total - lost, "frames that came to ox3");
    ensure_eq!(ox3.link.stat("rx_missed_errors")?, lost, "ox3: missed");
    ox2.counters
        .expect_tx("ox2", &[("stopped", 0), ("xdp_xmit_errors", 0)])?;
    let handed = Handed::read(&trace, bed.b.ifindex, chain.second.a.ifindex)?;
    ensure_eq!(
        (handed.sent, handed.drops),
        (total as i64, 0),
        "frames sent and dropped in xdp_devmap_xmit"
    );
    Ok(())
}

case!(ports "xmit::one_ring_is_full", "queues=2 ring_size=64", one_ring_full);
/// Batches for two rings, one of which no one polls: what that has no buffers for is lost there,
/// and what is for the other arrives.
fn one_ring_full(bed: &Bed) -> Result<()> {
    const FRAMES: u64 = 64;
    let mut steer = Steer::load()?;
    let entry = steer.entry_program("device_two_ports")?;
    let frame = Probe::new(1, 0).frame();

    steer.device(0, &bed.b, Some(&entry))?;
    steer.by_device(0)?;
    bed.up()?;
    for ring in 0..2 {
        let rule = format!("flow-type udp4 dst-port {} action {ring}", 9 + ring);

        ntuple::add(&bed.a, &rule)?;
    }
    let first = Sender::open(&bed.b)?;
    let _held = Held::new(&bed.a, 0, || first.send(&frame))?;

    let mut sent = 0;
    while bed.a.counters()?.rx_each("no_buffer")?[0] < FRAMES {
        bed.b
            .ns
            .enter(|| live::run(steer.program.fd()?, &frame, FRAMES as u32))?;
        sent += FRAMES;
        wait_until("every other frame arrives", || {
            Ok(bed.a.counters()?.rx_each("packets")?[1] == sent / 2)
        })?;
    }
    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    let lost = a.counters.rx("no_buffer")?;
    ensure_eq!(a.counters.rx_each("no_buffer")?, [lost, 0], "lost frames");
    ensure_eq!(a.link.stat("rx_missed_errors")?, lost, "A: missed");
    b.counters
        .expect_tx("B", &[("xdp_xmit", sent), ("xdp_xmit_errors", 0)])?;
    bed.a.down()?;
    settle_after_down(bed).map(drop)
}
