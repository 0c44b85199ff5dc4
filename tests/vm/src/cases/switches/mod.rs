// SPDX-License-Identifier: GPL-2.0

//! The switches of a port, which make it do as other cards do, and the personalities, which are
//! sets of switches: each with it and without it.

mod attach;
mod limits;
mod redirect;
mod rx;

use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{ensure_eq, ethtool, kmsg::Kmsg},
    nl::{
        link::New,
        netdev::{self, NETDEV_XDP_ACT_NDO_XMIT},
    },
    support::traffic::{settle, wait_flowing, while_sending, Source},
};
use anyhow::{ensure, Context, Result};
use std::collections::BTreeMap;

/// All switches.
const SWITCHES: [&str; 21] = [
    "xdp-xmit-needs-prog",
    "xdp-xmit-queue-per-cpu",
    "xdp-attach-needs-queues",
    "xdp-attach-loses-frames",
    "xdp-attach-link-down",
    "xdp-replace-as-attach",
    "xdp-headroom-192",
    "xdp-headroom-256",
    "xdp-mtu-1500",
    "xdp-mtu-2034",
    "xdp-mtu-3046",
    "xdp-no-frags",
    "xdp-xmit-no-frags",
    "xdp-no-hint-timestamp",
    "xdp-no-hint-hash",
    "xdp-no-hint-vlan",
    "rx-csum-before-xdp",
    "rx-vlan-strip-fixed",
    "xsk-no-zerocopy",
    "xsk-no-frags",
    "xsk-no-tx-metadata",
];

/// All personalities.
const PERSONALITIES: [&str; 10] = [
    "i40e",
    "ice",
    "ixgbe",
    "igb",
    "igc",
    "mlx5",
    "virtio_net",
    "ena",
    "gve",
    "bnxt",
];

/// `ethtool --set-priv-flags`.
fn set(port: &Port, flags: &str) -> Result<()> {
    port.ethtool("--set-priv-flags", flags).map(drop)
}

fn on(port: &Port, flag: &str) -> Result<()> {
    set(port, &format!("{flag} on"))
}

fn off(port: &Port, flag: &str) -> Result<()> {
    set(port, &format!("{flag} off"))
}

/// What `ethtool --show-priv-flags` shows.
fn shown(port: &Port) -> Result<BTreeMap<String, bool>> {
    port.ethtool("--show-priv-flags", "")?
        .lines()
        .skip(1)
        .map(|line| {
            let (name, state) = line.split_once(':').context("a line without a flag")?;
            let state = match state.trim() {
                "on" => true,
                "off" => false,
                other => anyhow::bail!("{name}: {other}"),
            };
            Ok((name.trim().to_owned(), state))
        })
        .collect()
}

/// The flags that are on.
fn all_on(port: &Port) -> Result<Vec<String>> {
    Ok(shown(port)?
        .into_iter()
        .filter_map(|(name, on)| on.then_some(name))
        .collect())
}

case!(ports "switches::flags", "", flags);
/// Each flag is off at first and shows what was set; the log tells each change.
fn flags(bed: &Bed) -> Result<()> {
    let names = shown(&bed.a)?.into_keys().collect::<Vec<_>>();
    let mut expected: Vec<_> = SWITCHES.iter().map(|name| (*name).to_owned()).collect();

    expected.extend(
        PERSONALITIES
            .iter()
            .map(|card| format!("personality-{card}")),
    );
    expected.sort();
    ensure_eq!(names, expected, "names of the flags");
    ensure!(all_on(&bed.a)?.is_empty(), "a flag is on at first");
    for name in SWITCHES {
        let mut log = Kmsg::from_now()?;

        on(&bed.a, name)?;
        ensure_eq!(all_on(&bed.a)?, [name], "flags that are on");
        ensure!(all_on(&bed.b)?.is_empty(), "{name}: also at the peer");
        let told = |log: &mut Kmsg, state| -> Result<()> {
            let line = format!("oxnic ox0: {name}: {state}");
            let lines = log.starting_with(&line)?;
            ensure_eq!(lines.len(), 1, "lines \"{line}\"");
            Ok(())
        };
        told(&mut log, "on")?;
        off(&bed.a, name)?;
        ensure!(all_on(&bed.a)?.is_empty(), "{name} is still on");
        told(&mut log, "off")?;
    }
    // By number, as old tools set them. There are no more.
    let ethtool = ethtool::Ethtool::open(&bed.a)?;
    let mut words = [0; 512];
    for (number, expected) in [(1, &SWITCHES[..1]), (0x8000_0000, &SWITCHES[..0])] {
        words[..2].copy_from_slice(&[ethtool::SPFLAGS, number]);
        ethtool.call(&mut words)??;
        ensure_eq!(all_on(&bed.a)?, expected, "flags {number:#x}");
    }
    // One of a group switches off the others.
    on(&bed.a, "xdp-headroom-192")?;
    on(&bed.a, "xdp-headroom-256")?;
    ensure_eq!(all_on(&bed.a)?, ["xdp-headroom-256"], "flags that are on");
    let mut log = Kmsg::from_now()?;
    bed.a
        .ethtool_refusal("--set-priv-flags", "xdp-mtu-1500 on xdp-mtu-3046 on")?;
    let line = "oxnic ox0: private flags: only one headroom and one MTU at a time";
    ensure_eq!(log.starting_with(line)?.len(), 1, "lines \"{line}\"");
    ensure_eq!(all_on(&bed.a)?, ["xdp-headroom-256"], "flags that are on");
    Ok(())
}

case!(ports "switches::personalities", "", personalities);
/// A personality is a set: it replaces the one before, and is none any more if a switch is changed.
fn personalities(bed: &Bed) -> Result<()> {
    let mut sets = BTreeMap::new();

    for card in PERSONALITIES {
        let name = format!("personality-{card}");
        on(&bed.a, &name)?;
        let set = all_on(&bed.a)?;
        ensure!(set.contains(&name), "{card} is not shown");
        ensure_eq!(
            set.iter().filter(|flag| flag.starts_with("pers")).count(),
            1,
            "{card}: personalities"
        );
        ensure!(
            set.contains(&"xdp-xmit-needs-prog".to_owned()),
            "{card} without what all cards have"
        );
        sets.insert(card, set);
    }
    for card in PERSONALITIES {
        on(&bed.a, &format!("personality-{card}"))?;
        ensure_eq!(all_on(&bed.a)?, sets[card], "{card} for the second time");
    }
    off(&bed.a, "xdp-xmit-needs-prog")?;
    let changed = all_on(&bed.a)?;
    ensure!(
        !changed.iter().any(|flag| flag.starts_with("pers")),
        "a changed personality is still shown"
    );
    on(&bed.a, "personality-ice")?;
    off(&bed.a, "personality-ice")?;
    ensure!(all_on(&bed.a)?.is_empty(), "without a personality");

    let mut log = Kmsg::from_now()?;
    bed.a
        .ethtool_refusal("--set-priv-flags", "personality-ice on personality-igc on")?;
    let line = "oxnic ox0: private flags: only one personality at a time";
    ensure_eq!(log.starting_with(line)?.len(), 1, "lines \"{line}\"");
    ensure!(all_on(&bed.a)?.is_empty(), "after a refusal");
    Ok(())
}

case!(ports "switches::personality_of_the_module", "personality=ice", of_the_module);
/// New ports have the personality that the module was loaded with, or one that the message names,
/// from the first moment on.
fn of_the_module(bed: &Bed) -> Result<()> {
    let is = |port: &Port, card: &str| -> Result<()> {
        let name = format!("personality-{card}");
        ensure!(all_on(port)?.contains(&name), "{}: not {card}", port.name);
        let features = port.ns.enter(|| netdev::xdp_features(port.ifindex))?;
        ensure_eq!(
            features & NETDEV_XDP_ACT_NDO_XMIT,
            0,
            "{}: NDO_XMIT",
            port.name
        );
        Ok(())
    };

    is(&bed.a, "ice")?;
    is(&bed.b, "ice")?;
    // An attribute of type 1 with a text.
    let data = [8, 0, 1, 0, b'i', b'g', b'c', 0].to_vec();
    let port = Port::add(&bed.a.ns, "oxp", New::port().with_data(data))?;
    is(&port, "igc")?;
    port.delete()
}

case!(ports "switches::changed_under_traffic", "queues=2", under_traffic);
/// The flags, and some personalities, are switched while frames are passed and dropped, with a
/// program at both ports. Not a frame is lost: those that lose some do so only when a program is
/// attached.
fn under_traffic(bed: &Bed) -> Result<()> {
    const CARDS: [&str; 3] = ["personality-i40e", "personality-igc", "personality-ena"];
    let programs = [
        Program::load("count", "count_pass_frags")?,
        Program::load("count", "count_drop_frags")?,
    ];
    let sources = [Source::new(&bed.a), Source::new(&bed.b)];

    bed.b.attach(&programs[0])?;
    bed.a.attach(&programs[1])?;
    bed.up()?;
    for port in [&bed.a, &bed.b] {
        port.msglvl("drv off")?;
    }
    while_sending(&sources, |_| {
        for (n, flag) in SWITCHES.into_iter().chain(CARDS).enumerate() {
            let port = [&bed.a, &bed.b][n % 2];
            on(port, flag)?;
            wait_flowing(bed, 20)?;
            off(port, flag)?;
        }
        Ok(())
    })?;
    let (a, b) = settle(bed)?;
    for (snapshot, program) in [(&b, &programs[0]), (&a, &programs[1])] {
        snapshot.counters.expect_rx(
            &snapshot.name,
            &[
                ("down", 0),
                ("no_buffer", 0),
                ("oversize", 0),
                ("xdp_no_frags", 0),
            ],
        )?;
        ensure_eq!(
            program.seen()?,
            snapshot.counters.rx("packets")?,
            "{}: frames that the program saw",
            snapshot.name
        );
    }
    Ok(())
}
