// SPDX-License-Identifier: GPL-2.0

//! Frames in several buffers: without a program, and with every verdict.

use crate::{
    bed::Bed,
    harness::case,
    host::ensure_eq,
    stats::Snapshot,
    support::{
        buffers::{BUFFER, JUMBO, MTU_MAX},
        in_parallel,
        probes::{lengths, long, send_all, set_mtu, total_len},
        steer::{
            check_redirected, detour, last_cpu, Chain, Steer, BY_CPU, BY_CPU_BEYOND, BY_DEVICE,
        },
        traffic::settle,
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        ETH,
    },
};
use anyhow::Result;

/// The port has received the probes, and nothing else so far.
fn check_received(port: &Snapshot, probes: &[Probe]) -> Result<()> {
    port.counters.expect_rx(
        &port.name,
        &[
            ("packets", probes.len() as u64),
            ("bytes", total_len(probes)),
            ("multi_buffer", long(probes)),
            ("oversize", 0),
            ("no_buffer", 0),
        ],
    )
}

case!(ports "frags::no_program", "", no_program);
fn no_program(bed: &Bed) -> Result<()> {
    let mut all = Vec::new();

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    for mtu in [JUMBO, MTU_MAX] {
        let probes = lengths(mtu, verdict::PASS);

        set_mtu(bed, mtu)?;
        send_all(bed, &probes)?;
        ensure_eq!(tap.probes(probes.len())?, probes, "mtu {mtu}: frames at B");
        all.extend(probes);
    }
    let (_, b) = settle(bed)?;
    b.counters.expect_rx("B", &[("xdp_pass", 0)])?;
    check_received(&b, &all)
}

case!(ports "frags::pass", "", |bed| verdicts(bed, verdict::PASS, "xdp_pass"));
case!(ports "frags::tx", "", |bed| verdicts(bed, verdict::TX, "xdp_tx"));
case!(ports "frags::drop", "", |bed| verdicts(bed, verdict::DROP, "xdp_drop"));
/// Every frame gets the verdict that it asks for, and arrives whole unless that drops it.
fn verdicts(bed: &Bed, verdict: u8, counter: &str) -> Result<()> {
    let mut steer = Steer::load_frags()?;
    let mut all = Vec::new();

    steer.as_probe_says()?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    let (tap_a, tap_b) = (Tap::open(&bed.a)?, Tap::open(&bed.b)?);
    for mtu in [JUMBO, MTU_MAX] {
        let probes = lengths(mtu, verdict);
        let mut passed = Vec::new();
        let mut back = Vec::new();

        set_mtu(bed, mtu)?;
        send_all(bed, &probes)?;
        match verdict {
            verdict::PASS => passed = probes.clone(),
            verdict::TX => back = probes.iter().map(Probe::reflected).collect(),
            _ => {}
        }
        ensure_eq!(
            tap_b.probes(passed.len())?,
            passed,
            "mtu {mtu}: frames at B"
        );
        ensure_eq!(
            tap_a.probes(back.len())?,
            back,
            "mtu {mtu}: frames back at A"
        );
        all.extend(probes);
    }

    let (a, b) = settle(bed)?;
    b.check_verdicts()?;
    b.counters.expect_rx("B", &[(counter, all.len() as u64)])?;
    check_received(&b, &all)?;
    if verdict == verdict::TX {
        b.counters
            .expect_rx("B", &[("xdp_tx_bytes", total_len(&all))])?;
        check_received(&a, &all)?;
    }
    Ok(())
}

case!(ports "frags::redirect_to_port", "pairs=2", to_port);
/// By devmap with a program on the entry, then by the device's number.
fn to_port(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load_frags()?;
    let mark = steer.entry_program("device_mark")?;
    let mut all = Vec::new();

    steer.device(0, &chain.second.a, Some(&mark))?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    let tap = Tap::open(&chain.second.b)?;
    for (mtu, by_map) in [(JUMBO, true), (MTU_MAX, true), (MTU_MAX, false)] {
        let probes = lengths(mtu, verdict::PASS);
        let bits = if by_map { BY_DEVICE } else { 0 };
        let expected: Vec<_> = probes.iter().map(|probe| probe.marked(bits)).collect();

        chain.mtu(mtu)?;
        if by_map {
            steer.by_device(0)?;
        } else {
            steer.by_ifindex(chain.second.a.ifindex)?;
        }
        send_all(bed, &probes)?;
        ensure_eq!(
            tap.probes(probes.len())?,
            expected,
            "mtu {mtu}: frames at ox3"
        );
        all.extend(probes);
    }

    let [_, ox1, ox2, ox3] = chain.settle()?;
    check_redirected(&ox1, &ox2, all.len() as u64)?;
    check_received(&ox1, &all)?;
    check_received(&ox3, &all)?;
    ox2.counters.expect_tx(
        "ox2",
        &[
            ("xdp_xmit", all.len() as u64),
            ("xdp_xmit_bytes", total_len(&all)),
        ],
    )
}

case!(ports "frags::redirect_to_cpu", "pairs=2 queues=2", to_cpu);
/// To the stack without and with a program on the cpumap's entry, and on to another port.
fn to_cpu(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load_frags()?;
    let mark = steer.entry_program("cpu_mark")?;
    let beyond = steer.entry_program("cpu_beyond")?;
    let mut all = Vec::new();

    steer.beyond(&chain.second.a)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    let (here, there) = (Tap::open(&bed.b)?, Tap::open(&chain.second.b)?);
    for mtu in [JUMBO, MTU_MAX] {
        chain.mtu(mtu)?;
        for (cpu, program, bits, tap) in [
            (0, None, 0, &here),
            (last_cpu()?, Some(&mark), BY_CPU, &here),
            (last_cpu()?, Some(&beyond), BY_CPU_BEYOND, &there),
        ] {
            let probes = lengths(mtu, verdict::PASS);
            let expected: Vec<_> = probes.iter().map(|probe| probe.marked(bits)).collect();

            steer.cpu(cpu, program)?;
            steer.by_cpu(cpu)?;
            send_all(bed, &probes)?;
            ensure_eq!(
                tap.probes(probes.len())?,
                expected,
                "mtu {mtu}: frames by way of processor {cpu}, mark {bits:#x}"
            );
            all.extend(probes);
        }
    }
    let [_, ox1, _, ox3] = chain.settle()?;
    ox1.counters
        .expect_rx("ox1", &[("xdp_redirect", all.len() as u64)])?;
    check_received(&ox1, &all)?;
    ox3.counters
        .expect_rx("ox3", &[("packets", all.len() as u64 / 3)])
}

case!(ports "frags::veth_and_back", "", veth_and_back);
fn veth_and_back(bed: &Bed) -> Result<()> {
    let (_steers, near) = detour(bed, true, MTU_MAX)?;
    let mut all = Vec::new();

    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    for mtu in [JUMBO, MTU_MAX] {
        let probes = lengths(mtu, verdict::PASS);
        let expected: Vec<_> = probes.iter().map(Probe::reflected).collect();

        set_mtu(bed, mtu)?;
        send_all(bed, &probes)?;
        ensure_eq!(
            tap.probes(probes.len())?,
            expected,
            "mtu {mtu}: frames back at A by way of {}",
            near.name
        );
        all.extend(probes);
    }
    let (a, b) = settle(bed)?;
    b.check_verdicts()?;
    check_redirected(&b, &b, all.len() as u64)?;
    check_received(&a, &all)?;
    check_received(&b, &all)
}

/// What the flows from either end ask for, in turn.
const MIX: [u8; 4] = [
    verdict::TX,
    verdict::DEVMAP,
    verdict::DEVMAP_SECOND,
    verdict::PASS,
];

case!(ports "frags::mixed", "pairs=2 queues=4 ring_size=2048", mixed);
/// Frames in several buffers and others, all at once: ox0 sends and gets them back by XDP_TX or by way
/// of a veth pair, or they go on to ox3, or to the stack; ox3 sends likewise, without a veth pair.
fn mixed(bed: &Bed) -> Result<()> {
    const FLOWS: u32 = 4;
    const COUNT: u32 = 48;
    let chain = Chain::make(bed)?;
    let (mut steers, near) = detour(bed, true, JUMBO)?;
    let mut at_ox2 = Steer::load_frags()?;
    let probe = |flow: u32, seq: u32| {
        let len = [JUMBO + ETH, 2 * BUFFER + 1, JUMBO + ETH, 700][(seq / 4) as usize % 4];

        Probe::new(flow, seq)
            .verdict(MIX[(seq % 4) as usize])
            .len(len)
    };

    steers[0].device(0, &chain.second.a, None)?;
    steers[0].device(1, &near, None)?;
    steers[0].as_probe_says()?;
    at_ox2.device(0, &bed.b, None)?;
    at_ox2.device(1, &bed.b, None)?;
    at_ox2.as_probe_says()?;
    chain.second.a.attach(&at_ox2.program)?;
    chain.mtu(JUMBO)?;
    chain.up()?;

    let taps = chain
        .ports()
        .into_iter()
        .map(Tap::open)
        .collect::<Result<Vec<_>>>()?;
    let ends = [(&bed.a, 0), (&chain.second.b, 100)];
    in_parallel(ends.map(|(port, first)| {
        move || {
            let sender = |flow| {
                let probes: Vec<_> = (0..COUNT).map(|seq| probe(first + flow, seq)).collect();
                let sender = Sender::open(port)?;

                probes
                    .iter()
                    .try_for_each(|probe| sender.send(&probe.frame()))
            };
            in_parallel((0..FLOWS).map(|flow| move || sender(flow))).map(drop)
        }
    }))?;

    // Where each frame comes out, and how.
    let mut expected = vec![Vec::new(); 4];
    for (near, far, first) in [(0, 3, 0), (3, 0, 100)] {
        for (flow, seq) in (0..FLOWS).flat_map(|flow| (0..COUNT).map(move |seq| (flow, seq))) {
            let probe = probe(first + flow, seq);
            let (port, probe) = match probe.verdict {
                verdict::TX => (near, probe.reflected()),
                verdict::DEVMAP => (far, probe),
                verdict::DEVMAP_SECOND if near == 0 => (0, probe.reflected()),
                verdict::DEVMAP_SECOND => (far, probe),
                _ => (if near == 0 { 1 } else { 2 }, probe),
            };
            expected[port].push(probe);
        }
    }
    for (n, (tap, expected)) in taps.iter().zip(&mut expected).enumerate() {
        expected.sort_by_key(|probe| (probe.flow, probe.seq));
        let found = tap.probes_sorted(expected.len())?;

        anyhow::ensure!(found == *expected, "frames at ox{n} are not those expected");
    }

    let [ox0, ox1, ox2, ox3] = chain.settle()?;
    ox2.check_verdicts()?;
    let each = u64::from(FLOWS * COUNT) / 4;
    for port in [&ox1, &ox2] {
        port.counters.expect_rx(
            &port.name,
            &[
                ("packets", 4 * each),
                ("xdp_tx", each),
                ("xdp_redirect", 2 * each),
                ("xdp_pass", each),
            ],
        )?;
        port.counters
            .expect_tx(&port.name, &[("xdp_xmit_errors", 0)])?;
    }
    // To ox1 came those of the veth pair and all of ox2's redirects.
    ox1.counters.expect_tx("ox1", &[("xdp_xmit", 3 * each)])?;
    ox2.counters.expect_tx("ox2", &[("xdp_xmit", each)])?;
    for (port, n) in [(&ox0, 0), (&ox3, 3)] {
        check_received(port, &expected[n])?;
    }
    Ok(())
}
