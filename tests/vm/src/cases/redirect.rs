// SPDX-License-Identifier: GPL-2.0

//! Frames redirected from a port: to other ports by every kind of map, to veth, to CPUs.

use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::ensure_eq,
    support::{
        probes::{assorted, send_all, total_len},
        steer::{
            check_redirected, detour, last_cpu, marked, pair, veth, Chain, Steer, BROADCAST,
            BY_CPU, BY_CPU_BEYOND, BY_DEVICE, EXCLUDE_INGRESS,
        },
        traffic::settle,
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
    },
};
use anyhow::{ensure, Result};

/// Sends probes of all sizes to ox1, whose program sends them to ox2; they have to be at ox3 with
/// `mark`. All counters say so.
fn forwarded(chain: &Chain, mark: u8) -> Result<()> {
    let probes = assorted(verdict::PASS);
    let tap = Tap::open(&chain.second.b)?;
    let silent = [Tap::open(&chain.first.b)?, Tap::open(&chain.second.a)?];

    send_all(&chain.first, &probes)?;
    ensure_eq!(
        tap.probes(probes.len())?,
        marked(&probes, mark),
        "frames at ox3"
    );
    for tap in silent {
        tap.silence()?;
    }

    let count = probes.len() as u64;
    let [_, ox1, ox2, ox3] = chain.settle()?;
    check_redirected(&ox1, &ox2, count)?;
    ox2.counters.expect_tx(
        "ox2",
        &[
            ("packets", 0),
            ("xdp_xmit", count),
            ("xdp_xmit_bytes", total_len(&probes)),
            ("xdp_xmit_errors", 0),
        ],
    )?;
    ox3.counters.expect_rx(
        "ox3",
        &[
            ("packets", count),
            ("bytes", total_len(&probes)),
            ("multi_buffer", 0),
        ],
    )
}

case!(ports "redirect::by_ifindex", "pairs=2", by_ifindex);
fn by_ifindex(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;

    steer.by_ifindex(chain.second.a.ifindex)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    forwarded(&chain, 0)
}

case!(ports "redirect::by_devmap", "pairs=2", by_devmap);
fn by_devmap(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;

    steer.device(5, &chain.second.a, None)?;
    steer.by_device(5)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    forwarded(&chain, 0)
}

case!(ports "redirect::devmap_program", "pairs=2", devmap_program);
/// The entry's program changes a byte of what it passes, and drops some.
fn devmap_program(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;
    let mark = steer.entry_program("device_mark")?;

    steer.device(0, &chain.second.a, Some(&mark))?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    forwarded(&chain, BY_DEVICE)?;

    let before = steer.seen()?;
    let tap = Tap::open(&chain.second.b)?;
    let dropped = assorted(verdict::DROP);
    send_all(&chain.first, &dropped)?;
    bed.b.wait_received(before + dropped.len() as u64)?;
    tap.silence()?;
    ensure_eq!(
        steer.seen()?,
        before + dropped.len() as u64,
        "frames the entry's program saw"
    );
    // These never reached the port.
    let [_, ox1, ox2, _] = chain.settle()?;
    ox1.counters
        .expect_rx("ox1", &[("xdp_redirect", before + dropped.len() as u64)])?;
    ox2.counters
        .expect_tx("ox2", &[("xdp_xmit", before), ("xdp_xmit_errors", 0)])
}

case!(ports "redirect::target_has_a_program", "pairs=2 queues=2", target_program);
/// A program on the target does not see redirected frames; one on its peer does.
fn target_program(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;
    let at_target = Program::load("count", "count_drop")?;
    let at_peer = Program::load("count", "count_pass")?;

    steer.device(0, &chain.second.a, None)?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    chain.second.a.attach(&at_target)?;
    chain.second.b.attach(&at_peer)?;
    chain.up()?;
    forwarded(&chain, 0)?;
    ensure_eq!(at_target.seen()?, 0, "frames the target's program saw");
    ensure_eq!(
        at_peer.seen()?,
        assorted(0).len() as u64,
        "frames the peer's program saw"
    );
    Ok(())
}

case!(ports "redirect::back_into_the_same_port", "", same_port);
/// The buffer that arrived is sent from the port that it arrived at, by way of `ndo_xdp_xmit`.
fn same_port(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::PASS);
    let count = probes.len() as u64;
    let mut steer = Steer::load()?;

    steer.by_ifindex(bed.b.ifindex)?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    send_all(bed, &probes)?;
    ensure_eq!(tap.probes(probes.len())?, probes, "frames back at ox0");

    let (_, b) = settle(bed)?;
    check_redirected(&b, &b, count)?;
    b.counters
        .expect_tx("ox1", &[("xdp_xmit", count), ("packets", 0)])?;
    b.counters
        .expect_rx("ox1", &[("xdp_tx", 0), ("packets", count)])
}

case!(ports "redirect::broadcast", "pairs=3 queues=2", broadcast);
/// One frame is sent by several ports. The kernel makes the copies in its own pages.
fn broadcast(bed: &Bed) -> Result<()> {
    let beds = [bed.clone(), pair(bed, 1)?, pair(bed, 2)?];
    let mut steer = Steer::load()?;
    let mark = steer.entry_program("device_mark")?;

    // One entry of three has a program, so one frame of three is changed.
    steer.device(1, &bed.b, None)?;
    steer.device(3, &beds[1].a, None)?;
    steer.device(4, &beds[2].a, Some(&mark))?;
    bed.b.attach(&steer.program)?;
    beds.iter().try_for_each(Bed::up)?;

    let taps = [
        Tap::open(&bed.a)?,
        Tap::open(&beds[1].b)?,
        Tap::open(&beds[2].b)?,
    ];
    let probes = assorted(verdict::PASS);
    let count = probes.len() as u64;
    for (round, flags) in [BROADCAST | EXCLUDE_INGRESS, BROADCAST]
        .into_iter()
        .enumerate()
    {
        let back = if flags & EXCLUDE_INGRESS == 0 {
            probes.as_slice()
        } else {
            &[]
        };

        steer.by_all(flags)?;
        send_all(bed, &probes)?;
        ensure_eq!(taps[1].probes(probes.len())?, probes, "frames at ox3");
        ensure_eq!(
            taps[2].probes(probes.len())?,
            marked(&probes, BY_DEVICE),
            "frames at ox5"
        );
        ensure_eq!(taps[0].probes(back.len())?, back, "frames back at ox0");

        let rounds = round as u64 + 1;
        let (_, ox1) = settle(bed)?;
        let (ox2, _) = settle(&beds[1])?;
        let (ox4, _) = settle(&beds[2])?;
        ox1.check_verdicts()?;
        ox1.counters.expect_rx(
            "ox1",
            &[("xdp_redirect", rounds * count), ("xdp_redirect_errors", 0)],
        )?;
        for (port, expected) in [
            (&ox1, back.len() as u64),
            (&ox2, rounds * count),
            (&ox4, rounds * count),
        ] {
            port.counters.expect_tx(
                &port.name,
                &[("xdp_xmit", expected), ("xdp_xmit_errors", 0)],
            )?;
        }
    }
    Ok(())
}

case!(ports "redirect::from_veth", "", from_veth);
/// What comes out of a veth device goes out of a port.
fn from_veth(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::PASS);
    let count = probes.len() as u64;
    let (near, far) = veth(&bed.b.ns, 1500)?;
    let mut steer = Steer::load()?;

    steer.device(0, &bed.b, None)?;
    steer.by_device(0)?;
    near.attach(&steer.program)?;
    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    let sender = Sender::open(&far)?;
    probes
        .iter()
        .try_for_each(|probe| sender.send(&probe.frame()))?;
    ensure_eq!(tap.probes(probes.len())?, probes, "frames at ox0");

    let (_, b) = settle(bed)?;
    b.counters.expect_tx(
        "ox1",
        &[
            ("xdp_xmit", count),
            ("xdp_xmit_bytes", total_len(&probes)),
            ("xdp_xmit_errors", 0),
        ],
    )
}

case!(ports "redirect::veth_and_back", "", veth_and_back);
/// From the wire into a veth pair, turned round there, and back onto the wire: buffers of a port's
/// own pool come to its `ndo_xdp_xmit`.
fn veth_and_back(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::PASS);
    let count = probes.len() as u64;
    let (_steers, _) = detour(bed, false, 1500)?;

    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    send_all(bed, &probes)?;
    let expected: Vec<_> = probes.iter().map(Probe::reflected).collect();
    ensure_eq!(tap.probes(probes.len())?, expected, "frames back at ox0");

    let (_, b) = settle(bed)?;
    b.check_verdicts()?;
    check_redirected(&b, &b, count)?;
    b.counters.expect_tx(
        "ox1",
        &[
            ("xdp_xmit", count),
            ("xdp_xmit_bytes", total_len(&probes)),
            ("packets", 0),
        ],
    )
}

case!(ports "redirect::cpumap_program", "queues=2", cpumap_program);
/// A program on the cpumap's entry sees each frame and changes it on its way to the stack.
fn cpumap_program(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::PASS);
    let count = probes.len() as u64;
    let mut steer = Steer::load()?;
    let mark = steer.entry_program("cpu_mark")?;

    bed.b.attach(&steer.program)?;
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    for (cpu, program, bits) in [(last_cpu()?, Some(&mark), BY_CPU), (0, None, 0)] {
        steer.cpu(cpu, program)?;
        steer.by_cpu(cpu)?;
        send_all(bed, &probes)?;
        ensure_eq!(
            tap.probes(probes.len())?,
            marked(&probes, bits),
            "frames by way of processor {cpu}"
        );
    }
    ensure_eq!(steer.seen()?, count, "frames the entry's program saw");
    let (_, b) = settle(bed)?;
    b.check_verdicts()?;
    b.counters.expect_rx("ox1", &[("xdp_redirect", 2 * count)])
}

case!(ports "redirect::cpumap_program_redirects", "pairs=2 queues=2", cpumap_redirects);
/// The entry's program redirects again, so the cpumap's thread calls `ndo_xdp_xmit`.
fn cpumap_redirects(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;
    let beyond = steer.entry_program("cpu_beyond")?;

    steer.beyond(&chain.second.a)?;
    let cpu = last_cpu()?;
    steer.cpu(cpu, Some(&beyond))?;
    steer.by_cpu(cpu)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    forwarded(&chain, BY_CPU_BEYOND)?;
    // The CPU's number chooses the queue.
    let mut expected = [0; 2];
    expected[cpu as usize % 2] = assorted(0).len() as u64;
    ensure_eq!(
        chain.second.a.counters()?.tx_each("xdp_xmit")?,
        expected,
        "ox2: tx_queue_*_xdp_xmit"
    );
    Ok(())
}

case!(ports "redirect::too_long_for_the_target", "pairs=2", too_long);
/// The kernel does not ask a port to take a frame that is longer than its MTU and a tag; a longer
/// one than the target's peer takes is lost there.
fn too_long(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;

    steer.device(0, &chain.second.a, None)?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    chain.first.a.set_mtu(2000)?;
    chain.first.b.set_mtu(2000)?;
    chain.second.b.set_mtu(1000)?;
    chain.up()?;
    let tap = Tap::open(&chain.second.b)?;
    let probes: Vec<_> = [1022, 1023, 1518, 1519, 2014]
        .into_iter()
        .zip(0..)
        .map(|(len, seq)| Probe::new(1, seq).len(len))
        .collect();

    send_all(bed, &probes)?;
    bed.b.wait_received(probes.len() as u64)?;
    ensure_eq!(tap.probes(1)?, probes[..1], "frames at ox3");
    let [_, ox1, ox2, ox3] = chain.settle()?;
    ox1.counters
        .expect_rx("ox1", &[("xdp_redirect", 3), ("xdp_redirect_errors", 2)])?;
    ox2.counters
        .expect_tx("ox2", &[("xdp_xmit", 3), ("xdp_xmit_errors", 0)])?;
    ox3.counters
        .expect_rx("ox3", &[("packets", 1), ("oversize", 2)])?;
    ensure!(
        ox2.link.stat("tx_errors")? == 0,
        "ox2 counts what its peer did not take"
    );
    Ok(())
}
