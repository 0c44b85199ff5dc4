// SPDX-License-Identifier: GPL-2.0

//! Which frames can be redirected to a port.

use super::{off, on};
use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{cpus, ensure_eq, kmsg::Kmsg, wait_until},
    nl::netdev::{self, NETDEV_XDP_ACT_NDO_XMIT, NETDEV_XDP_ACT_NDO_XMIT_SG},
    support::{
        buffers::{BUFFER, JUMBO},
        polls::set_affinity,
        probes::{assorted, flood, send_all, total_len},
        steer::{Chain, Steer},
        traffic::{settle_after_down, while_sending, Source},
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
    },
};
use anyhow::{ensure, Context, Result};

/// ox1 redirects to ox2, which is on the same wire as ox3.
fn chain(bed: &Bed) -> Result<(Chain, Steer)> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load_frags()?;

    steer.device(0, &chain.second.a, None)?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    Ok((chain, steer))
}

/// What has been redirected so far.
#[derive(Default)]
struct Counts {
    sent: u64,
    bytes: u64,
    refused: u64,
}

impl Counts {
    /// Sends probes of all sizes to ox1. They all have to be at ox3, or none.
    fn send(&mut self, chain: &Chain, arrive: bool, what: &str) -> Result<()> {
        let probes = assorted(verdict::PASS);
        let tap = Tap::open(&chain.second.b)?;

        send_all(&chain.first, &probes)?;
        if arrive {
            ensure_eq!(tap.probes(probes.len())?, probes, "{what}: frames at ox3");
            self.sent += probes.len() as u64;
            self.bytes += total_len(&probes);
        } else {
            self.refused += probes.len() as u64;
            chain.first.b.wait_received(self.sent + self.refused)?;
            tap.silence()?;
        }
        self.check(chain)
    }

    fn check(&self, chain: &Chain) -> Result<()> {
        let [_, ox1, ox2, ox3] = chain.settle()?;

        ox1.counters.expect_rx(
            "ox1",
            &[
                ("xdp_redirect", self.sent),
                ("xdp_redirect_errors", self.refused),
            ],
        )?;
        ox2.counters.expect_tx(
            "ox2",
            &[
                ("xdp_xmit", self.sent),
                ("xdp_xmit_bytes", self.bytes),
                ("xdp_xmit_errors", 0),
            ],
        )?;
        ox3.counters
            .expect_rx("ox3", &[("packets", self.sent), ("bytes", self.bytes)])
    }
}

/// Whether frames, and multi-buffer frames, can be redirected to the port, as netlink says.
fn is_target(port: &Port) -> Result<(bool, bool)> {
    let features = port.ns.enter(|| netdev::xdp_features(port.ifindex))?;

    Ok((
        features & NETDEV_XDP_ACT_NDO_XMIT != 0,
        features & NETDEV_XDP_ACT_NDO_XMIT_SG != 0,
    ))
}

case!(ports "switches::xmit_needs_prog", "pairs=2", needs_prog);
/// Frames can be redirected to the port only while it has a program. The kernel refuses the others
/// when they are redirected, and the port that redirects counts them.
fn needs_prog(bed: &Bed) -> Result<()> {
    let (chain, _steer) = chain(bed)?;
    let target = &chain.second.a;
    let own = [
        Program::load("count", "count_drop")?,
        Program::load("count", "count_pass")?,
    ];
    let mut counts = Counts::default();
    let mut log = Kmsg::from_now()?;

    counts.send(&chain, true, "without the switch")?;
    on(target, "xdp-xmit-needs-prog")?;
    ensure_eq!(is_target(target)?, (false, false), "a target");
    counts.send(&chain, false, "without a program")?;
    for program in &own {
        target.attach(program)?;
        ensure_eq!(is_target(target)?, (true, true), "a target");
        counts.send(&chain, true, "with a program")?;
    }
    target.detach()?;
    counts.send(&chain, false, "without a program again")?;
    target.attach(&own[0])?;
    off(target, "xdp-xmit-needs-prog")?;
    target.detach()?;
    ensure_eq!(is_target(target)?, (true, true), "a target");
    counts.send(&chain, true, "without the switch again")?;

    let told = log.starting_with("oxnic ox2: ndo_xdp_xmit: ")?;
    let told: Vec<_> = told
        .iter()
        .map(|line| line.contains("no frames are accepted without a program"))
        .collect();
    ensure_eq!(told, [true, false, true, false], "what the log tells");
    Ok(())
}

case!(ports "switches::xmit_needs_prog_under_traffic", "pairs=2 queues=2", needs_prog_traffic);
/// A program comes and goes at the target while frames are redirected to it. Each frame is sent, or
/// counted where it was refused.
fn needs_prog_traffic(bed: &Bed) -> Result<()> {
    let (chain, _steer) = chain(bed)?;
    let target = &chain.second.a;
    let own = Program::load("count", "count_drop")?;
    let sources = Source::new(&bed.a).times(2);

    for port in chain.ports() {
        port.msglvl("drv off")?;
    }
    on(target, "xdp-xmit-needs-prog")?;
    while_sending(&sources, |_| {
        for _ in 0..12 {
            let sent = || target.counters()?.tx("xdp_xmit");
            let refused = || bed.b.counters()?.rx("xdp_redirect_errors");
            target.attach(&own)?;
            let before = sent()?;
            wait_until("frames are redirected", || Ok(sent()? > before + 30))?;
            target.detach()?;
            let before = refused()?;
            wait_until("frames are refused", || Ok(refused()? > before + 30))?;
        }
        Ok(())
    })?;
    let [_, ox1, ox2, _] = chain.settle()?;
    let count = |name| ox1.counters.rx(name);
    let (taken, errors) = (
        ox2.counters.tx("xdp_xmit")?,
        ox2.counters.tx("xdp_xmit_errors")?,
    );
    ensure_eq!(
        taken + errors,
        count("xdp_redirect")?,
        "frames that ox2 sent and refused, against those redirected"
    );
    ensure_eq!(
        count("xdp_redirect")? + count("xdp_redirect_errors")?,
        count("packets")?,
        "frames redirected and refused, against those received"
    );
    Ok(())
}

case!(ports "switches::xmit_queue_per_cpu", "pairs=2 queues=2", queue_per_cpu; two_cpus());
/// A CPU without a queue of its own cannot send what is redirected: `ndo_xdp_xmit` refuses it.
fn queue_per_cpu(bed: &Bed) -> Result<()> {
    const FRAMES: u32 = 20;
    let (chain, _steer) = chain(bed)?;
    let target = &chain.second.a;
    let (mut sent, mut refused) = (0, 0);

    ensure!(cpus::all()?.starts_with(&[0, 1]), "CPUs 0 and 1");
    let mut now = 2;
    for (switch, queues) in [(false, 1), (true, 2), (true, 1), (false, 1)] {
        if queues != now {
            target.ethtool("-L", &format!("combined {queues}"))?;
            now = queues;
        }
        if switch {
            on(target, "xdp-xmit-queue-per-cpu")?;
        } else {
            off(target, "xdp-xmit-queue-per-cpu")?;
        }
        for cpu in [0, 1] {
            // Where the poll of ox1 runs, its frames are redirected.
            for napi in bed.b.ns.enter(|| netdev::napis(bed.b.ifindex))? {
                set_affinity(napi.irq.context("no interrupt")?, &cpu.to_string())?;
            }
            let sender = Sender::open(&bed.a)?;
            for seq in 0..FRAMES {
                sender.send(&Probe::new(seq, seq).frame())?;
            }
            if switch && cpu >= queues {
                refused += u64::from(FRAMES);
            } else {
                sent += u64::from(FRAMES);
            }
            bed.b.wait_received(sent + refused)?;
            let [_, ox1, ox2, ox3] = chain.settle()?;
            ox1.counters.expect_rx(
                "ox1",
                &[("xdp_redirect", sent + refused), ("xdp_redirect_errors", 0)],
            )?;
            ox2.counters
                .expect_tx("ox2", &[("xdp_xmit", sent), ("xdp_xmit_errors", refused)])?;
            ox3.counters.expect_rx("ox3", &[("packets", sent)])?;
        }
    }
    Ok(())
}

case!(ports "switches::xmit_no_frags", "pairs=2", no_frags);
/// Multi-buffer frames cannot be redirected to the port; all others can.
fn no_frags(bed: &Bed) -> Result<()> {
    let (chain, _steer) = chain(bed)?;
    let target = &chain.second.a;
    let (mut sent, mut refused) = (0, 0);

    chain.mtu(JUMBO)?;
    for switch in [false, true, false] {
        if switch {
            on(target, "xdp-xmit-no-frags")?;
        } else {
            off(target, "xdp-xmit-no-frags")?;
        }
        ensure_eq!(is_target(target)?, (true, !switch), "a target");
        let tap = Tap::open(&chain.second.b)?;
        let probes: Vec<_> = [60, BUFFER, BUFFER + 1, 1514, JUMBO]
            .into_iter()
            .zip(0..)
            .map(|(len, seq)| Probe::new(1, seq).len(len))
            .collect();
        let (large, small): (Vec<_>, Vec<_>) =
            probes.iter().cloned().partition(|probe| probe.len > BUFFER);
        send_all(&chain.first, &probes)?;
        let expected = if switch { &small } else { &probes };
        ensure_eq!(tap.probes(expected.len())?, *expected, "frames at ox3");
        sent += expected.len() as u64;
        if switch {
            refused += large.len() as u64;
        }
        let [_, ox1, ox2, _] = chain.settle()?;
        ox1.counters.expect_rx(
            "ox1",
            &[("xdp_redirect", sent), ("xdp_redirect_errors", refused)],
        )?;
        ox2.counters
            .expect_tx("ox2", &[("xdp_xmit", sent), ("xdp_xmit_errors", 0)])?;
    }
    Ok(())
}

case!(ports "switches::xmit_gate_and_the_interface", "pairs=2", gate);
/// With all switches about redirects, the target goes down and up: a frame gets across exactly
/// while it is up.
fn gate(bed: &Bed) -> Result<()> {
    let (chain, _steer) = chain(bed)?;
    let target = &chain.second.a;
    let own = Program::load("count", "count_drop")?;
    let at_ox3 = || chain.second.b.link()?.stat("rx_packets");

    target.attach(&own)?;
    for flags in ["", "xdp-xmit-needs-prog", "xdp-xmit-queue-per-cpu"] {
        if !flags.is_empty() {
            on(target, flags)?;
        }
        for _ in 0..2 {
            let before = at_ox3()?;
            flood(&bed.a, 1, 5, |_| Probe::new(1, 0))?;
            wait_until("frames are at ox3", || Ok(at_ox3()? == before + 5))?;
            target.down()?;
            let received = bed.b.link()?.stat("rx_packets")?;
            flood(&bed.a, 1, 5, |_| Probe::new(1, 0))?;
            bed.b.wait_received(received + 5)?;
            target.up()?;
            target.wait_running(true)?;
        }
    }
    let (_, ox1) = settle_after_down(&chain.first)?;
    let (ox2, _) = settle_after_down(&chain.second)?;
    ensure_eq!(
        ox2.counters.tx("xdp_xmit")?
            + ox2.counters.tx("xdp_xmit_errors")?
            + ox1.counters.rx("xdp_redirect_errors")?,
        60,
        "frames redirected, sent or not"
    );
    ox2.counters.expect_tx("ox2", &[("xdp_xmit", 30)])
}
