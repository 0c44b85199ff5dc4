// SPDX-License-Identifier: GPL-2.0

//! The program of `verdict.bpf.c`, which returns the verdict that each probe asks for.

use super::in_parallel;
use crate::{
    bed::{Bed, Port},
    bpf::Program,
    stats::Snapshot,
    wire::{
        packet::Sender,
        probe::{verdict, Probe},
    },
};
use anyhow::{anyhow, Result};
use aya::maps::CpuMap;

/// What the kernel logs about an unknown verdict.
pub const ILLEGAL: &str = "Illegal XDP return value 42 on prog verdict";

/// Attaches `verdict.bpf.c` to port B and brings the link up.
pub fn attach_verdict(bed: &Bed) -> Result<Program> {
    let program = Program::load("verdict", "verdict")?;

    bed.b.attach(&program)?;
    bed.up()?;
    Ok(program)
}

/// Makes the verdict "redirect" send frames to the stack through the first CPU.
pub fn set_cpumap(program: &mut Program) -> Result<()> {
    let map = program
        .object()
        .map_mut("cpus")
        .ok_or_else(|| anyhow!("no map cpus"))?;

    Ok(CpuMap::try_from(map)?.set(0, 8192, None, 0)?)
}

/// So many that hardly all of them hash to one ring, whatever the key.
pub const FLOWS: u32 = 8;
pub const PER_FLOW: u32 = 784;
/// The verdicts, used in turn, and the counter of each.
pub const MIX: [(u8, &[&str]); 7] = [
    (verdict::PASS, &["xdp_pass"]),
    (verdict::TX, &["xdp_tx", "xdp_tx_errors"]),
    (verdict::DROP, &["xdp_drop"]),
    (verdict::REDIRECT, &["xdp_redirect"]),
    (verdict::ABORTED, &["xdp_aborted"]),
    (verdict::UNKNOWN, &["xdp_unknown"]),
    (verdict::BAD_REDIRECT, &["xdp_redirect_errors"]),
];

/// The probe with sequence number `seq` of a flow: verdict and length repeat.
pub fn probe(flow: u32, seq: u32) -> Probe {
    let (verdict, _) = MIX[(seq + flow) as usize % MIX.len()];

    Probe::new(flow, seq)
        .verdict(verdict)
        .len(60 + (seq as usize * 37) % 1455)
}

pub fn send(port: &Port, flow: u32) -> Result<()> {
    let sender = Sender::open(port)?;

    (0..PER_FLOW).try_for_each(|seq| sender.send(&probe(flow, seq).frame()))
}

/// Sends the mix from both ports at once, with a program on each.
pub fn exchange_mix(bed: &Bed) -> Result<[(Program, Snapshot); 2]> {
    let mut programs = Vec::new();

    for port in [&bed.a, &bed.b] {
        let mut program = Program::load("verdict", "verdict")?;

        set_cpumap(&mut program)?;
        port.attach(&program)?;
        programs.push(program);
    }
    bed.up()?;
    let jobs = [&bed.a, &bed.b]
        .into_iter()
        .flat_map(|port| (0..FLOWS).map(move |n| (port, n)));
    in_parallel(jobs.map(|(port, flow)| move || send(port, flow)))?;

    // Frames bounce between A and B, so both sums must be final at the same time.
    let total = |port: &Port| -> Result<u64> { port.link()?.stat("tx_packets") };
    let mut sums = (0, 0);
    loop {
        let now = (total(&bed.a)?, total(&bed.b)?);
        bed.a.wait_accounted(now.1)?;
        bed.b.wait_accounted(now.0)?;
        if now == sums {
            break;
        }
        sums = now;
    }
    let (b, a) = (programs.pop(), programs.pop());
    match (a, b) {
        (Some(a), Some(b)) => Ok([(a, bed.a.snapshot()?), (b, bed.b.snapshot()?)]),
        _ => unreachable!("two programs were pushed"),
    }
}

/// Every kind of verdict, with its name in a trace; `unknown` is that of the last one.
pub fn with_names(unknown: &str) -> [(u8, &str); 6] {
    [
        (verdict::PASS, "XDP_PASS"),
        (verdict::DROP, "XDP_DROP"),
        (verdict::TX, "XDP_TX"),
        (verdict::ABORTED, "XDP_ABORTED"),
        (verdict::REDIRECT, "XDP_REDIRECT"),
        (verdict::UNKNOWN, unknown),
    ]
}

/// A probe for each of these verdicts. No two are of the same length.
pub fn probe_each(verdicts: &[(u8, &str)]) -> Vec<Probe> {
    verdicts
        .iter()
        .zip(0..)
        .map(|((act, _), seq)| Probe::new(1, seq).verdict(*act).len(100 + seq as usize))
        .collect()
}
