// SPDX-License-Identifier: GPL-2.0

//! The tests, by topic.

mod adjust;
mod attach;
mod beat;
mod bulk;
mod checksum;
mod coalesce;
mod conserve;
mod device;
mod drain;
mod fair;
mod fault;
mod filter;
mod frags;
mod frags_prog;
mod held;
mod hell;
mod hints;
mod inflight;
mod irq;
mod limits;
mod link;
mod lost;
mod mtu;
mod napi;
mod netdevsim;
mod newlink;
mod ntuple;
mod observe;
mod params;
mod pause;
mod qstats;
mod reconfig;
mod redirect;
mod reload;
mod restart;
mod rings;
mod rss;
mod rss_context;
mod sample;
mod samples;
mod short_head;
mod skbs;
mod stacked;
mod steer;
mod storm;
mod swap;
mod teardown;
mod tools;
mod trace;
mod traffic;
mod tso;
mod verdict;
mod vlan;
mod xmit;
mod xps;
mod xsk;
mod xsk_tx;

use crate::{
    bed::{Bed, Port},
    host::cpus,
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{anyhow, Result};
use std::thread;

/// Runs every closure in a thread of its own and returns the first error.
fn in_parallel<T: Send>(
    jobs: impl IntoIterator<Item = impl FnOnce() -> Result<T> + Send>,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = jobs.into_iter().map(|job| scope.spawn(job)).collect();

        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow!("a thread of the test panicked"))?
            })
            .collect()
    })
}

/// Sends `count` probes on each of `flows` flows, each flow from a socket and thread of its own. The
/// threads take turns at the processors, so that all of these send.
fn flood(port: &Port, flows: u32, count: u32, make: impl Fn(u32) -> Probe + Sync) -> Result<()> {
    let make = &make;
    let cpus = cpus::all()?;

    in_parallel((0..flows).zip(cpus.into_iter().cycle()).map(|(flow, cpu)| {
        move || {
            cpus::keep_on(0, cpu)?;
            Sender::open(port)?.send_flow(&make(flow), count)
        }
    }))
    .map(drop)
}

/// Sends one frame after the other from port A.
fn send_all(bed: &Bed, probes: &[Probe]) -> Result<()> {
    Sender::open(&bed.a)?.send_in_order(probes.iter().cloned())
}

/// Probes of one flow in all sizes that the usual MTU allows.
fn assorted(verdict: u8) -> Vec<Probe> {
    [
        60, 61, 63, 64, 65, 127, 128, 129, 255, 256, 1000, 1024, 1499, 1513, 1514,
    ]
    .into_iter()
    .zip(0..)
    .map(|(len, seq)| Probe::new(1, seq).verdict(verdict).len(len))
    .collect()
}

fn total_len(probes: &[Probe]) -> u64 {
    probes.iter().map(|probe| probe.len as u64).sum()
}
