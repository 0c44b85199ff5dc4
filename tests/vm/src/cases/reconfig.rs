// SPDX-License-Identifier: GPL-2.0

//! Rings of another size, or another number of them, while frames come in.

use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{ensure_eq, wait_until},
    nl::netdev,
    support::{
        changes::under_traffic, polls::poll_in_threads, qstats::check_first, traffic::check_alive,
    },
    wire::{packet::Sender, probe::Probe, xsk::Xsk},
};
use anyhow::{anyhow, ensure, Context, Result};
use std::collections::BTreeSet;

const SIZE_REFUSED: &str = "rx: must be a power of two from 64 to 4096";

/// What `ethtool -g` or `-l` shows under that name: the most that there can be, and what there is.
fn shown(port: &Port, option: &str, name: &str) -> Result<(u32, u32)> {
    let text = port.ethtool(option, "")?;
    let values: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(n, _)| n.trim() == name)
        .filter_map(|(_, value)| value.trim().parse().ok())
        .collect();

    match values[..] {
        [most, now] => Ok((most, now)),
        _ => Err(anyhow!("ethtool {option} shows no {name}: {text}")),
    }
}

fn size(port: &Port) -> Result<u32> {
    let (most, now) = shown(port, "-g", "RX")?;

    ensure_eq!(most, 4096, "{}: largest ring", port.name);
    Ok(now)
}

fn count(port: &Port) -> Result<u32> {
    Ok(shown(port, "-l", "Combined")?.1)
}

fn refused(port: &Port, option: &str, what: &str, reason: &str) -> Result<()> {
    let text = port.ethtool_refusal(option, what)?;

    ensure!(
        text.contains(reason),
        "ethtool {option} {what}: expected \"{reason}\", found \"{text}\""
    );
    Ok(())
}

case!(ports "reconfig::ring_size", "queues=2", ring_size);
/// What is set is kept, each port's for itself; a refusal changes nothing.
fn ring_size(bed: &Bed) -> Result<()> {
    ensure_eq!(size(&bed.b)?, 512, "by default");
    for (n, new) in [64, 4096, 128, 1024].into_iter().enumerate() {
        bed.b.ethtool("-G", &format!("rx {new}"))?;
        ensure_eq!(size(&bed.b)?, new, "after -G rx {new}");
        bed.up()?;
        ensure_eq!(size(&bed.b)?, new, "up: after -G rx {new}");
        check_capacity(bed, new)?;
        if n % 2 == 1 {
            bed.b.down()?;
            ensure_eq!(size(&bed.b)?, new, "down: after -G rx {new}");
        }
    }
    bed.up()?;
    bed.b.ethtool("-G", "rx 256")?;
    check_capacity(bed, 256)?;
    for (what, reason) in [
        ("rx 32", SIZE_REFUSED),
        ("rx 0", SIZE_REFUSED),
        ("rx 100", SIZE_REFUSED),
        ("rx 4095", SIZE_REFUSED),
        ("rx 8192", "exceeds maximum"),
        ("tx 64", "exceeds maximum"),
    ] {
        refused(&bed.b, "-G", what, reason)?;
        ensure_eq!(size(&bed.b)?, 256, "after the refusal of {what}");
    }
    ensure_eq!(size(&bed.a)?, 512, "the other port");
    bed.b.ethtool("-C", "rx-frames 256")?;
    refused(
        &bed.b,
        "-C",
        "rx-frames 257",
        "rx-frames: at most 256, the size of the ring",
    )?;
    check_alive(bed)
}

/// A ring has exactly this many buffers.
fn check_capacity(bed: &Bed, size: u32) -> Result<()> {
    let pools = bed.b.ns.enter(netdev::page_pools)?;
    let out: u64 = pools
        .iter()
        .filter(|pool| pool.ifindex == Some(bed.b.ifindex.into()) && !pool.detached)
        .map(|pool| pool.inflight.unwrap_or(0))
        .sum();

    // Two rings, each full but for what is being refilled.
    let full = u64::from(2 * size);
    ensure!(
        (full - 64..=full).contains(&out),
        "{out} buffers are posted to 2 rings of {size}"
    );
    Ok(())
}

case!(ports "reconfig::channels", "queues=4", channels);
/// The kernel sees as many queues as there are channels, and frames reach all of them.
fn channels(bed: &Bed) -> Result<()> {
    ensure_eq!(shown(&bed.b, "-l", "Combined")?, (4, 4), "by default");
    bed.up()?;
    let napis = || bed.b.ns.enter(|| netdev::napis(bed.b.ifindex));
    let ids: BTreeSet<_> = napis()?.into_iter().map(|napi| napi.id).collect();
    bed.b.down()?;
    for up in [false, true] {
        for new in [1, 3, 2, 4, 1, 4] {
            bed.b.ethtool("-L", &format!("combined {new}"))?;
            ensure_eq!(shown(&bed.b, "-l", "Combined")?, (4, new), "channels");
            bed.b
                .expect_queues(new as usize)
                .with_context(|| format!("with {new} channels"))?;
            if up {
                let now: BTreeSet<_> = napis()?.into_iter().map(|napi| napi.id).collect();
                ensure_eq!(now.len(), new as usize, "NAPIs with {new} channels");
                // A queue's NAPI has the id, and so the settings, that it had before.
                ensure!(now.is_subset(&ids), "NAPIs {now:?}, before {ids:?}");
                check_spread(bed, new as usize)?;
                check_first(&bed.b, new as usize)?;
            }
        }
        bed.up()?;
    }
    for what in ["combined 5", "combined 0", "rx 1", "combined 2 tx 1"] {
        bed.b.ethtool_refusal("-L", what)?;
        ensure_eq!(count(&bed.b)?, 4, "after the refusal of {what}");
    }
    bed.b.ethtool("-L", "combined 2")?;
    bed.b.down()?;
    bed.up()?;
    ensure_eq!(count(&bed.b)?, 2, "after down and up");
    ensure_eq!(count(&bed.a)?, 4, "the other port");
    check_alive(bed)
}

/// Frames of many flows go to the first `n` rings, to all of these and to no others.
fn check_spread(bed: &Bed, n: usize) -> Result<()> {
    const FLOWS: u32 = 64;
    let before = bed.b.counters()?.rx_each("packets")?;
    let sender = Sender::open(&bed.a)?;

    (0..FLOWS).try_for_each(|flow| sender.send(&Probe::new(flow, 0).frame()))?;
    bed.b
        .wait_received(before.iter().sum::<u64>() + u64::from(FLOWS))?;
    let after = bed.b.counters()?.rx_each("packets")?;
    let used: Vec<_> = (0..after.len())
        .filter(|ring| after[*ring] > before[*ring])
        .collect();
    ensure_eq!(used, (0..n).collect::<Vec<_>>(), "rings with {n} channels");
    Ok(())
}

case!(ports "reconfig::channels_in_use", "queues=4", in_use);
/// Channels that are in use cannot be removed.
fn in_use(bed: &Bed) -> Result<()> {
    bed.up()?;
    bed.b.ethtool("-X", "weight 1 1 1 0")?;
    for what in ["combined 2", "combined 1"] {
        refused(&bed.b, "-L", what, "too low for existing indirection table")?;
        ensure_eq!(count(&bed.b)?, 4, "after the refusal of {what}");
    }
    bed.b.ethtool("-L", "combined 3")?;
    check_spread(bed, 3)?;
    bed.b.ethtool("-L", "combined 4")?;
    check_spread(bed, 3).context("the user's table stays")?;
    bed.b.ethtool("-X", "default")?;
    check_spread(bed, 4)?;

    let bound = || -> Result<BTreeSet<u64>> {
        let queues = bed.b.ns.enter(|| netdev::queues(bed.b.ifindex))?;
        Ok(queues.iter().filter(|q| q.xsk).map(|q| q.id).collect())
    };
    let socket = Xsk::open(&bed.b, 2, 2048, false)?;
    ensure_eq!(bound()?, BTreeSet::from([2]), "queues with a socket");
    for what in ["combined 2", "combined 1"] {
        refused(&bed.b, "-L", what, "in use by AF_XDP")?;
        ensure_eq!(count(&bed.b)?, 4, "after the refusal of {what}");
    }
    bed.b.ethtool("-L", "combined 3")?;
    bed.b.ethtool("-G", "rx 128")?;
    check_spread(bed, 3)?;
    drop(socket);
    // A worker of the kernel takes it from its queue.
    wait_until("the socket leaves its queue", || Ok(bound()?.is_empty()))?;
    bed.b.ethtool("-L", "combined 1")?;
    check_spread(bed, 1)?;
    check_alive(bed)
}

case!(ports "reconfig::what_is_hashed_with_one", "queues=2", with_one);
/// With one channel the hash is computed only if someone can read it; with several it always is.
fn with_one(bed: &Bed) -> Result<()> {
    bed.up()?;
    for new in [1, 2, 1, 2] {
        bed.b.ethtool("-L", &format!("combined {new}"))?;
        check_spread(bed, new)?;
        bed.b
            .ethtool("-N", "rx-flow-hash udp4 s")
            .and_then(|_| check_alive(bed))?;
        bed.b.ethtool("-N", "rx-flow-hash udp4 sdfn")?;
    }
    Ok(())
}

case!(ports "reconfig::segments", "", segments);
/// How many segments a port cuts a frame into depends on the rings of its peer.
fn segments(bed: &Bed) -> Result<()> {
    let limits = |port: &Port| -> Result<[u32; 2]> {
        let link = port.link()?;
        Ok([link.tso_max_segs, link.gso_max_segs])
    };

    for (size, most) in [(64, 28), (4096, 2044), (512, 252)] {
        bed.b.ethtool("-G", &format!("rx {size}"))?;
        ensure_eq!(
            limits(&bed.a)?,
            [most, most],
            "ox0, with rings of {size} at ox1"
        );
        ensure_eq!(limits(&bed.b)?, [252, 252], "ox1");
        bed.up()?;
    }
    // A lower limit of the user's stays, unless the new one is lower still.
    bed.a.set_gso_max_segs(100)?;
    bed.b.ethtool("-G", "rx 1024")?;
    ensure_eq!(limits(&bed.a)?, [508, 100], "the user's limit");
    bed.b.ethtool("-G", "rx 64")?;
    ensure_eq!(limits(&bed.a)?, [28, 28], "less than the user's limit");
    check_alive(bed)
}

case!(ports "reconfig::ring_size_under_traffic", "queues=2", size_under_traffic);
fn size_under_traffic(bed: &Bed) -> Result<()> {
    const STEPS: [&str; 7] = [
        "rx 64", "rx 1024", "rx 128", "rx 64", "rx 4096", "rx 256", "rx 512",
    ];

    under_traffic(bed, |step, port| port.ethtool("-G", step).map(drop), &STEPS)?;
    for port in [&bed.a, &bed.b] {
        check_first(port, 2)?;
    }
    Ok(())
}

case!(ports "reconfig::with_threaded_napi", "queues=2", with_threaded_napi);
fn with_threaded_napi(bed: &Bed) -> Result<()> {
    bed.up()?;
    poll_in_threads(&bed.a)?;
    poll_in_threads(&bed.b)?;
    size_under_traffic(bed)
}

case!(ports "reconfig::channels_under_traffic", "queues=4", channels_under_traffic);
fn channels_under_traffic(bed: &Bed) -> Result<()> {
    const STEPS: [&str; 8] = ["1", "4", "2", "1", "3", "4", "3", "1"];

    under_traffic(
        bed,
        |step, port| {
            port.ethtool("-L", &format!("combined {step}"))?;
            ensure_eq!(count(port)?, step.parse()?, "channels");
            port.ethtool("-G", "rx 256")?;
            port.ethtool("-G", "rx 512").map(drop)
        },
        &STEPS,
    )?;
    // The sums contain the queues that are gone.
    for port in [&bed.a, &bed.b] {
        check_first(port, 1)?;
    }
    Ok(())
}

// The debug kernel's VM has more memory than two ports can take.
case!(ports "reconfig::without_memory", "queues=64 ring_size=64", without_memory; stock_only());
/// Without enough memory everything stays as it is.
fn without_memory(bed: &Bed) -> Result<()> {
    bed.up()?;
    bed.a.ethtool("-G", "rx 4096")?;
    refused(
        &bed.b,
        "-G",
        "rx 4096",
        "rx: no memory for rings of 4096 descriptors",
    )?;
    ensure_eq!(size(&bed.b)?, 64, "the size after a refusal");
    // No refill of a poll has failed.
    bed.b
        .counters()?
        .expect_rx("ox1", &[("buf_alloc_fail", 0)])?;
    check_alive(bed)?;

    bed.b.ethtool("-L", "combined 1")?;
    bed.b.ethtool("-G", "rx 4096")?;
    bed.b.ethtool_refusal("-L", "combined 64")?;
    ensure_eq!(count(&bed.b)?, 1, "channels after a refusal");
    bed.b.expect_queues(1).context("after a refusal")?;
    check_alive(bed)?;
    bed.a.ethtool("-G", "rx 64")?;
    bed.b.ethtool("-L", "combined 64")?;
    check_alive(bed)
}
