// SPDX-License-Identifier: GPL-2.0

//! Rings of another size, or another number of them, where that meets other things. What can be set
//! is in [`super::settings`].

use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{ensure_eq, wait_until},
    nl::netdev,
    support::{buffers::PAGE, rss::check_spread, traffic::check_alive},
    wire::xsk::Xsk,
};
use anyhow::{anyhow, ensure, Context, Result};
use std::collections::BTreeSet;

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

case!(ports "reconfig::napis_of_channels", "queues=4", napis_of_channels);
/// A queue's NAPI has the id, and so the settings, that it had before the number of channels changed.
fn napis_of_channels(bed: &Bed) -> Result<()> {
    let ids = || -> Result<BTreeSet<u64>> {
        let napis = bed.b.ns.enter(|| netdev::napis(bed.b.ifindex))?;
        Ok(napis.into_iter().map(|napi| napi.id).collect())
    };

    bed.up()?;
    let all = ids()?;
    for count in [1, 3, 2, 4, 1, 4] {
        bed.b.ethtool("-L", &format!("combined {count}"))?;
        let now = ids()?;
        ensure_eq!(now.len(), count, "NAPIs with {count} channels");
        ensure!(now.is_subset(&all), "NAPIs {now:?}, before {all:?}");
    }
    check_alive(bed)
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

// The debug kernel's VM has more memory than two ports can take.
case!(ports "reconfig::without_memory", "queues=64 ring_size=64", without_memory; stock_only());
/// Without enough memory everything stays as it is.
fn without_memory(bed: &Bed) -> Result<()> {
    // That of B does not fit beside that of A.
    const LARGE: usize = 4096 * 4096 / PAGE;
    let large = format!("rx {LARGE}");

    bed.up()?;
    bed.a.ethtool("-G", &large)?;
    refused(
        &bed.b,
        "-G",
        &large,
        &format!("rx: no memory for rings of {LARGE} descriptors"),
    )?;
    ensure_eq!(size(&bed.b)?, 64, "the size after a refusal");
    // No refill of a poll has failed.
    bed.b
        .counters()?
        .expect_rx("ox1", &[("buf_alloc_fail", 0)])?;
    check_alive(bed)?;

    bed.b.ethtool("-L", "combined 1")?;
    bed.b.ethtool("-G", &large)?;
    bed.b.ethtool_refusal("-L", "combined 64")?;
    ensure_eq!(count(&bed.b)?, 1, "channels after a refusal");
    bed.b.expect_queues(1).context("after a refusal")?;
    check_alive(bed)?;
    bed.a.ethtool("-G", "rx 64")?;
    bed.b.ethtool("-L", "combined 64")?;
    check_alive(bed)
}
