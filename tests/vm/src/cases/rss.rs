// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling as the user sets it: which ring a frame goes to.

use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::ensure_eq,
    nl::{
        ethtool::{
            set_rss, Rss, ETHTOOL_A_FLOW_SCTP4, ETHTOOL_A_FLOW_TCP4, ETH_RSS_HASH_XOR, RXH_IP_SRC,
            RXH_VLAN, RXH_XFRM_SYM_OR_XOR,
        },
        Refused,
    },
    support::{
        rss::{
            check_rings, hashed, key, ring_of, set_hashed, spread, tuple, Shown, ENTRIES, FLOWS,
        },
        traffic::{check_alive, settle_wire},
    },
    wire::{packet::Sender, probe::Probe, toeplitz::Key},
};
use anyhow::{anyhow, bail, ensure, Result};
use std::sync::atomic::{AtomicU32, Ordering};

case!(ports "rss::refusals", "queues=2", refusals);
/// By netlink a refusal says why. It changes nothing.
fn refusals(bed: &Bed) -> Result<()> {
    bed.up()?;
    let before = Shown::of(&bed.a)?;
    for (rss, reason) in [
        (
            Rss {
                function: Some(ETH_RSS_HASH_XOR),
                ..Rss::default()
            },
            "hfunc: only toeplitz is supported",
        ),
        (
            Rss {
                fields: Some((ETHTOOL_A_FLOW_SCTP4, RXH_IP_SRC)),
                ..Rss::default()
            },
            "flow type has no fields of its own: hashed as ip4 or ip6",
        ),
        (
            Rss {
                fields: Some((ETHTOOL_A_FLOW_TCP4, RXH_VLAN)),
                ..Rss::default()
            },
            "only addresses (s, d), and ports (f, n) of TCP and UDP, can be hashed",
        ),
    ] {
        let Err(refused) = set_rss(&bed.a, &rss) else {
            bail!("set, although {reason}");
        };
        ensure_eq!(refused.downcast::<Refused>()?.reason, reason, "reason");
        ensure_eq!(Shown::of(&bed.a)?, before, "after the refusal: {reason}");
    }
    check_alive(bed)
}

/// Sets key and table in one step.
fn set_both(port: &Port, key: &Key, table: &[u32]) -> Result<()> {
    set_rss(
        port,
        &Rss {
            table: Some(table),
            key: Some(key.bytes()),
            ..Rss::default()
        },
    )
}

case!(ports "rss::rings_follow_key_and_table", "queues=4", follow);
/// Each frame goes to the ring that the specification of RSS gives.
fn follow(bed: &Bed) -> Result<()> {
    bed.up()?;
    let system = Key::of_the_system()?;
    let at = |key: &Key, tuple: &[u8]| key.hash(tuple) as usize % ENTRIES;

    check_rings(bed, "by default", |tuple| {
        Some(spread(4)[at(&system, tuple)])
    })?;
    for seed in 1..5 {
        let key = key(seed);
        bed.b
            .ethtool("-X", &format!("hkey {} equal 3", key.text()))?;
        check_rings(bed, "another key", |tuple| Some(spread(3)[at(&key, tuple)]))?;
        let table: Vec<_> = (0..ENTRIES as u32).map(|n| (n * n + 3) / 5 % 4).collect();
        set_both(&bed.b, &key, &table)?;
        check_rings(bed, "any table", |tuple| Some(table[at(&key, tuple)]))?;
    }
    bed.b.ethtool("-X", "equal 1 start 2")?;
    check_rings(bed, "one of the rings", |_| Some(2))
}

case!(ports "rss::fields", "queues=4", fields);
/// Only what is chosen is hashed.
fn fields(bed: &Bed) -> Result<()> {
    let system = Key::of_the_system()?;

    for kind in ["tcp4", "udp4", "tcp6", "udp6"] {
        ensure_eq!(hashed(&bed.b, kind)?, "sdfn", "{kind}: by default");
    }
    for kind in ["sctp4", "ah4", "esp4", "sctp6", "ah6", "esp6"] {
        ensure_eq!(hashed(&bed.b, kind)?, "sd", "{kind}: always");
    }
    bed.up()?;
    for (letters, kept) in [
        ("sd", 0..8),
        ("f", 8..10),
        ("n", 10..12),
        ("s", 0..4),
        ("sdfn", 0..12),
    ] {
        set_hashed(&bed.b, "udp4", letters)?;
        ensure_eq!(hashed(&bed.b, "udp4")?, letters, "udp4");
        ensure_eq!(hashed(&bed.b, "tcp4")?, "sdfn", "tcp4");
        ensure_eq!(hashed(&bed.a, "udp4")?, "sdfn", "the other port's");
        check_rings(bed, letters, |tuple| {
            let mut input = [0; 12];
            input[kept.clone()].copy_from_slice(&tuple[kept.clone()]);
            Some(spread(4)[system.hash(&input) as usize % ENTRIES])
        })?;
    }
    // The fields of other flows make no difference.
    set_hashed(&bed.b, "tcp4", "s")?;
    set_hashed(&bed.b, "udp6", "d")?;
    check_rings(bed, "udp4 as before", |tuple| {
        Some(spread(4)[system.hash(tuple) as usize % ENTRIES])
    })
}

case!(ports "rss::symmetric", "queues=4", symmetric);
/// Both directions of a flow go to the same ring, and not all flows to one.
fn symmetric(bed: &Bed) -> Result<()> {
    bed.up()?;
    for transform in ["symmetric-xor", "symmetric-or-xor"] {
        if transform == "symmetric-xor" {
            bed.b.ethtool("-X", "xfrm symmetric-xor")?;
        } else {
            // The command does not know it yet.
            let rss = Rss {
                transform: Some(RXH_XFRM_SYM_OR_XOR),
                ..Rss::default()
            };
            set_rss(&bed.b, &rss)?;
        }
        let sender = Sender::open(&bed.a)?;
        let mut used = 0;
        for flow in 0..FLOWS {
            let there = Probe::new(flow, 0).frame();
            let mut back = there.clone();
            // Neither checksum notices.
            back[26..30].copy_from_slice(&there[30..34]);
            back[30..34].copy_from_slice(&there[26..30]);
            back[34..36].copy_from_slice(&there[36..38]);
            back[36..38].copy_from_slice(&there[34..36]);
            let rings = [&there, &back].map(|frame| ring_of(bed, &sender, frame));
            let [Ok(there), Ok(back)] = rings else {
                bail!("{transform}: flow {flow}: {rings:?}");
            };
            ensure_eq!(there, back, "{transform}: rings of flow {flow}");
            used |= 1 << there;
        }
        ensure_eq!(used, 0b1111, "{transform}: rings that were used");
    }
    Ok(())
}

case!(ports "rss::one_ring", "queues=1", one_ring);
/// With one ring all frames go to it, and everything can still be set.
fn one_ring(bed: &Bed) -> Result<()> {
    bed.up()?;
    set_hashed(&bed.b, "udp4", "s")?;
    check_rings(bed, "one field", |_| Some(0))?;
    bed.b
        .ethtool("-X", &format!("hkey {} equal 1", key(3).text()))?;
    check_rings(bed, "another key", |_| Some(0))?;
    check_alive(bed)
}

case!(ports "rss::a_change_is_whole", "queues=2", whole);
/// Key and table change together: with the old key and the new table frames would go to the wrong
/// ring.
fn whole(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 40_000;
    const COUNT_MAX: u32 = 100 * COUNT;
    const CHANGES: u32 = 12;
    let frame = Probe::new(7, 0).frame();
    let at = |key: &Key| key.hash(tuple(&frame)) as usize % ENTRIES;
    let keys = [key(1), key(2)];
    let entries = [at(&keys[0]), at(&keys[1])];
    let table = |n: usize| {
        let mut table = vec![0; ENTRIES];
        table[entries[n]] = 1;
        table
    };

    ensure!(entries[0] != entries[1], "both keys lead to the same entry");
    bed.up()?;
    bed.b.attach(&Program::load("count", "count_drop")?)?;
    set_both(&bed.b, &keys[0], &table(0))?;
    let (sent, changes) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        // Goes on until frames and changes were enough.
        let sender = scope.spawn(|| -> Result<()> {
            let sender = Sender::open(&bed.a)?;
            for _ in 0..COUNT_MAX {
                sender.send(&frame)?;
                let sent = sent.fetch_add(1, Ordering::Relaxed) + 1;
                if sent >= COUNT && changes.load(Ordering::Relaxed) >= CHANGES {
                    return Ok(());
                }
            }
            bail!("not {CHANGES} changes during {COUNT_MAX} frames");
        });
        while !sender.is_finished() {
            for n in [1, 0] {
                set_both(&bed.b, &keys[n], &table(n))?;
                changes.fetch_add(1, Ordering::Relaxed);
            }
        }
        sender.join().map_err(|_| anyhow!("the sender panicked"))?
    })?;
    let (sent, changes) = (sent.into_inner(), changes.into_inner());
    bed.b.wait_received(sent.into())?;
    ensure_eq!(
        bed.b.counters()?.rx_each("packets")?,
        [0, sent.into()],
        "rx_queue_*_packets after {changes} changes"
    );
    settle_wire(bed).map(drop)
}
