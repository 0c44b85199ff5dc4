// SPDX-License-Identifier: GPL-2.0

//! The kernel's statistics of each queue (`netdev` netlink family), beside those of the driver and
//! of `ip -s link`.

use crate::{
    bed::Bed,
    harness::case,
    host::ensure_eq,
    support::{
        qstats::{check, check_device, device_stats},
        steer::{Chain, Steer},
        traffic::settle,
        verdict::{exchange_mix, ILLEGAL},
    },
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{ensure, Result};

case!(ports "qstats::all_verdicts", "queues=4", verdicts; allow(&[ILLEGAL]));
/// Frames that XDP consumed count like those that it passed.
fn verdicts(bed: &Bed) -> Result<()> {
    let [(_program_a, a), (_program_b, b)] = exchange_mix(bed)?;

    for (port, snapshot) in [(&bed.a, &a), (&bed.b, &b)] {
        ensure!(
            snapshot.counters.rx("xdp_tx")? > 0 && snapshot.counters.rx("xdp_drop")? > 0,
            "{}: nothing was tested",
            port.name
        );
        check(port)?;
    }
    Ok(())
}

case!(ports "qstats::redirects", "pairs=2 queues=2", redirects);
/// What is redirected counts at the queue that sends it.
fn redirects(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 100;
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;

    steer.device(0, &chain.second.a, None)?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    let sender = Sender::open(&bed.a)?;
    for seq in 0..COUNT {
        sender.send(&Probe::new(seq % 8, seq).len(60 + seq as usize * 9).frame())?;
    }
    let [_, _, ox2, _] = chain.settle()?;
    ox2.counters
        .expect_tx("ox2", &[("xdp_xmit", COUNT.into())])?;
    for port in chain.ports() {
        check(port)?;
    }
    Ok(())
}

case!(ports "qstats::down_and_up", "queues=2", down_and_up; allow(&[ILLEGAL]));
/// A port that goes down and comes up again keeps its sums, and shows its queues while it is up.
fn down_and_up(bed: &Bed) -> Result<()> {
    let _programs = exchange_mix(bed)?;

    for _ in 0..2 {
        let before = [device_stats(&bed.a)?, device_stats(&bed.b)?];

        for (port, before) in [&bed.a, &bed.b].into_iter().zip(&before) {
            check(port)?;
            port.down()?;
            ensure_eq!(
                &device_stats(port)?,
                before,
                "{}: sums after down",
                port.name
            );
            check_device(port, &port.snapshot()?)?;
        }
        bed.up()?;
        for (port, before) in [&bed.a, &bed.b].into_iter().zip(&before) {
            ensure_eq!(&device_stats(port)?, before, "{}: sums after up", port.name);
            check(port)?;
        }
        Sender::open(&bed.a)?.send_flow(&Probe::new(1, 0), 10)?;
        settle(bed)?;
    }
    Ok(())
}
