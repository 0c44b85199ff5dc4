// SPDX-License-Identifier: GPL-2.0

//! xdp-loader: several programs on one port, by way of libxdp's dispatcher.

use super::{load, run, unload_all, Pins, Status};
use crate::{
    bed::Bed,
    bpf,
    harness::case,
    host::ensure_eq,
    stats::check_both,
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
    },
};
use anyhow::{anyhow, ensure, Result};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Frames per question.
const COUNT: u32 = 10;

const ONE: (u32, &str) = (10, "chain_one");
const TWO: (u32, &str) = (20, "chain_two");
const THREE: (u32, &str) = (30, "chain_three");

/// What the programs of `chain.bpf.c` leave in a frame that passes them in this order.
fn mark(chain: &[(u32, &str)]) -> u8 {
    chain.iter().fold(0, |mark, program| {
        let digit = match program.1 {
            "chain_one" => 1,
            "chain_two" => 2,
            _ => 3,
        };
        (mark << 2) | digit
    })
}

case!(ports "tools::loader_dispatcher", "", dispatcher);
fn dispatcher(bed: &Bed) -> Result<()> {
    let pins = Pins::watch()?;
    let port = &bed.b;

    bed.up()?;
    let tap = Tap::open(port)?;
    let features = run(port, &format!("xdp-loader features {}", port.name))?;
    for (feature, answer) in [
        ("NETDEV_XDP_ACT_BASIC", "yes"),
        ("NETDEV_XDP_ACT_REDIRECT", "yes"),
        ("NETDEV_XDP_ACT_XSK_ZEROCOPY", "yes"),
        ("NETDEV_XDP_ACT_HW_OFFLOAD", "no"),
    ] {
        ensure!(
            features
                .lines()
                .any(|line| line.split_whitespace().eq([&format!("{feature}:"), answer])),
            "xdp-loader features: expected {feature}: {answer} in: {features}"
        );
    }
    expect(bed, &tap, &[])?;

    // Not loaded in the order in which they run.
    load(port, "chain", TWO.1, TWO.0)?;
    expect(bed, &tap, &[TWO])?;
    load(port, "chain", ONE.1, ONE.0)?;
    expect(bed, &tap, &[ONE, TWO])?;
    load(port, "chain", THREE.1, THREE.0)?;
    expect(bed, &tap, &[ONE, TWO, THREE])?;

    let id = Status::of(port)?.id_of(ONE.1)?;
    run(port, &format!("xdp-loader unload {} --id {id}", port.name))?;
    bpf::wait_freed(id)?;
    expect(bed, &tap, &[TWO, THREE])?;
    unload_all(port)?;
    expect(bed, &tap, &[])?;
    pins.ensure_none()?;

    while_frames_come(bed, &tap)?;
    pins.ensure_none()?;
    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    b.counters.expect_rx("B", &[("no_buffer", 0)])?;
    check_both(&a, &b)
}

/// Port B has these programs: its status says so, the frames do, and the port counts verdicts
/// accordingly.
fn expect(bed: &Bed, tap: &Tap, chain: &[(u32, &str)]) -> Result<()> {
    let link = bed.b.link()?;
    let status = Status::of(&bed.b)?;
    let found: Vec<_> = status
        .chain
        .iter()
        .map(|program| (program.priority, program.name.as_str()))
        .collect();

    ensure_eq!(found, chain, "xdp-loader status: programs");
    ensure_eq!(link.xdp_generic_id, None, "program in generic mode");
    ensure_eq!(link.xdp_driver_id, status.id, "program in driver mode");
    ensure_eq!(status.id.is_some(), !chain.is_empty(), "a dispatcher");
    if status.id.is_some() {
        ensure_eq!(status.mode, "native", "xdp-loader status: mode");
    }

    let before = bed.b.counters()?;
    let drops = chain.contains(&THREE);
    let sender = Sender::open(&bed.a)?;
    let mut passed = Vec::new();

    for seq in 0..COUNT {
        let wanted = if seq % 2 == 0 {
            verdict::PASS
        } else {
            verdict::DROP
        };
        let probe = Probe::new(1, seq).verdict(wanted);

        sender.send(&probe.frame())?;
        if !(drops && wanted == verdict::DROP) {
            passed.push(Probe {
                mark: mark(chain),
                ..probe
            });
        }
    }
    ensure_eq!(tap.probes(passed.len())?, passed, "frames behind {chain:?}");

    let after = bed.b.counters()?;
    let seen = if chain.is_empty() { 0 } else { COUNT };
    let dropped = if drops { COUNT / 2 } else { 0 };
    for (what, count) in [
        ("packets", COUNT),
        ("xdp_pass", seen - dropped),
        ("xdp_drop", dropped),
    ] {
        ensure_eq!(
            after.rx(what)? - before.rx(what)?,
            u64::from(count),
            "rx_queue_*_{what} behind {chain:?}"
        );
    }
    Ok(())
}

/// Every load and unload puts another dispatcher in place of the one before. No frame is lost by
/// that, and none meets half of a chain.
fn while_frames_come(bed: &Bed, tap: &Tap) -> Result<()> {
    let chains: [&[_]; 3] = [&[], &[TWO], &[ONE, TWO]];
    let done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<u32> {
            let sender = Sender::open(&bed.a)?;
            let mut seq = 0;

            while !done.load(Ordering::Relaxed) {
                sender.send(&Probe::new(2, seq).frame())?;
                seq += 1;
                thread::sleep(Duration::from_millis(1));
            }
            Ok(seq)
        });
        let loaded = load(&bed.b, "chain", TWO.1, TWO.0)
            .and_then(|()| load(&bed.b, "chain", ONE.1, ONE.0))
            .and_then(|()| unload_all(&bed.b));

        done.store(true, Ordering::Relaxed);
        let sent = sender
            .join()
            .map_err(|_| anyhow!("the sender panicked"))??;
        loaded.map(|()| sent)
    })?;

    let probes = tap.probes(sent as usize)?;
    for chain in chains {
        let mark = mark(chain);
        ensure!(
            probes.iter().any(|probe| probe.mark == mark),
            "of {sent} frames none met {chain:?}"
        );
    }
    ensure!(
        probes
            .iter()
            .all(|probe| chains.iter().any(|chain| probe.mark == mark(chain))),
        "a frame met half of a chain"
    );
    let mut seqs: Vec<_> = probes.iter().map(|probe| probe.seq).collect();
    seqs.sort_unstable();
    ensure_eq!(seqs, (0..sent).collect::<Vec<_>>(), "frames that arrived");
    Ok(())
}
