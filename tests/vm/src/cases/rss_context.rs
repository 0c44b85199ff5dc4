// SPDX-License-Identifier: GPL-2.0

//! RSS contexts: flows that a rule says are spread by a key, fields and a table of their own.

use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{ensure_eq, kmsg::Kmsg},
    nl::{
        ethtool::{create_rss, rss_contexts, set_rss, Rss, ETH_RSS_HASH_XOR, RXH_XFRM_SYM_XOR},
        Refused,
    },
    support::{
        ntuple::{add, all_received, places, shown, socket_gets},
        rss::{check_rings, hashed, key, ring_of, set_hashed, spread, Shown, ENTRIES},
        traffic::{check_alive, settle, settle_wire, wait_flowing, while_sending, Source},
    },
    wire::{
        frames::{ethernet, ARP},
        packet::Sender,
        toeplitz::Key,
    },
};
use anyhow::{anyhow, bail, ensure, Context, Result};

/// The probes whose UDP source port is even.
const EVEN: &str = "flow-type udp4 src-port 0 m 0xfffe";

/// Makes a context and returns its number.
fn new(port: &Port, settings: &str) -> Result<u32> {
    let text = port.ethtool("-X", &format!("context new {settings}"))?;

    text.split_whitespace()
        .next_back()
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| anyhow!("ethtool -X context new {settings} names no number: {text}"))
}

fn change(port: &Port, context: u32, settings: &str) -> Result<()> {
    port.ethtool("-X", &format!("context {context} {settings}"))
        .map(drop)
}

fn of(port: &Port, context: u32) -> Result<Shown> {
    Shown::of_context(port, &format!("context {context}"))
}

/// A table of these queues in turn.
fn table(queues: &[u32]) -> Vec<u32> {
    queues.iter().copied().cycle().take(ENTRIES).collect()
}

case!(ports "rss_context::settings", "queues=4", settings);
/// A context keeps its settings, whatever happens to the port and to other contexts.
fn settings(bed: &Bed) -> Result<()> {
    let port = &bed.b;
    let (system, own) = (Key::of_the_system()?.text(), key(1).text());
    let shown = |table, key: &str, transform: &[&str]| Shown {
        table,
        key: key.to_owned(),
        function: vec!["toeplitz:".to_owned()],
        transform: transform.iter().map(|&name| name.to_owned()).collect(),
    };
    let main = shown(table(&[0, 1]), &system, &[]);

    port.ethtool("-X", "equal 2")?;
    ensure_eq!(new(port, "")?, 1, "number of the first context");
    ensure_eq!(
        new(port, &format!("start 2 equal 2 hkey {own}"))?,
        2,
        "number of the second"
    );
    ensure_eq!(of(port, 1)?, shown(spread(4), &system, &[]), "by default");
    ensure_eq!(of(port, 2)?, shown(table(&[2, 3]), &own, &[]), "as wanted");
    change(port, 1, "weight 0 1 1 0")?;
    change(port, 1, "xfrm symmetric-xor")?;
    set_hashed(port, "udp4", "sd context 2")?;
    set_hashed(port, "tcp6", "d context 2")?;
    let check = |when: &str| -> Result<()> {
        let mut halves = vec![1; ENTRIES / 2];
        halves.resize(ENTRIES, 2);
        let first = shown(halves, &system, &["symmetric-xor:"]);
        ensure_eq!(of(port, 1)?, first, "{when}: context 1");
        let second = shown(table(&[2, 3]), &own, &[]);
        ensure_eq!(of(port, 2)?, second, "{when}: context 2");
        ensure_eq!(of(port, 0)?, main, "{when}: the main context");
        for (flow, letters) in [
            ("udp4", "sdfn"),
            ("udp4 context 1", "sdfn"),
            ("udp4 context 2", "sd"),
            ("tcp4 context 2", "sdfn"),
            ("tcp6 context 2", "d"),
        ] {
            ensure_eq!(hashed(port, flow)?, letters, "{when}: fields of {flow}");
        }
        ensure_eq!(rss_contexts(port)?, [0, 1, 2], "{when}: contexts");
        Ok(())
    };
    check("at first")?;
    for (up, when) in [(true, "up"), (false, "down"), (true, "up again")] {
        port.set_up(up)?;
        check(when)?;
    }
    port.ethtool("-G", "rx 128")?;
    check("with other rings")?;
    port.ethtool("-K", "ntuple off")?;
    check("without rules")?;
    port.ethtool("-K", "ntuple on")?;
    change(port, 2, "start 1 equal 2")?;
    port.ethtool("-L", "combined 3")?;
    port.ethtool("-L", "combined 4")?;
    change(port, 2, "start 2 equal 2")?;
    check("after fewer queues")?;

    // There are 31 besides the main one, and each port has its own.
    for number in 3..32 {
        ensure_eq!(new(port, "")?, number, "number of a context");
    }
    port.ethtool_refusal("-X", "context new")
        .context("a context more than there can be")?;
    ensure_eq!(rss_contexts(&bed.a)?, [0], "contexts of the other port");
    for number in 3..32 {
        change(port, number, "delete")?;
    }
    check("after many others")?;
    change(port, 1, "delete")?;
    ensure_eq!(rss_contexts(port)?, [0, 2], "contexts after one is gone");
    // A new context has no settings of the old one.
    ensure_eq!(new(port, "")?, 1, "number of a new context");
    ensure_eq!(of(port, 1)?, shown(spread(4), &system, &[]), "a new one");
    bed.up()?;
    check_alive(bed)
}

case!(ports "rss_context::refusals", "queues=4", refusals);
/// A refusal says why, and changes nothing.
fn refusals(bed: &Bed) -> Result<()> {
    let port = &bed.b;
    let mut log = Kmsg::from_now()?;
    let state = || -> Result<_> {
        Ok((
            of(port, 0)?,
            of(port, 1)?,
            rss_contexts(port)?,
            places(port)?,
            hashed(port, "udp4 context 1")?,
        ))
    };

    bed.up()?;
    port.ethtool("-X", "equal 2")?;
    ensure_eq!(new(port, "equal 2")?, 1, "number of a context");
    add(port, &format!("{EVEN} context 1 action 2"))?;
    add(port, "flow-type tcp4 context 0 action 2")?;
    let before = state()?;
    for (option, what, reason) in [
        ("-X", "context 1 delete", "busy"),
        ("-X", "context 7 delete", "no such file"),
        ("-X", "context 7 equal 1", "no such file"),
        ("-X", "context 1 hfunc xor", "not supported"),
        ("-X", "context new equal 5", "invalid argument"),
        ("-N", "rx-flow-hash udp4 sd context 7", "no such file"),
        ("-N", "rx-flow-hash sctp4 sd context 1", "not supported"),
        ("-N", "flow-type ip4 context 7", "invalid argument"),
    ] {
        let text = port.ethtool_refusal(option, what)?;
        ensure!(
            text.to_lowercase().contains(reason),
            "ethtool {option} {what}: expected \"{reason}\", found \"{text}\""
        );
        ensure_eq!(state()?, before, "after the refusal of {what}");
    }
    for (option, what, why) in [
        (
            "-N",
            "flow-type ip4 context 1 action 3",
            "ntuple: queue 4 out of range (4 queues)",
        ),
        (
            "-N",
            "flow-type ip4 context 1 action -1",
            "ntuple: unsupported flow type or action",
        ),
        (
            "-L",
            "combined 3",
            "channels: 3 are too few: an ntuple rule with an RSS context needs 4",
        ),
    ] {
        log.forget()?;
        port.ethtool_refusal(option, what)?;
        let line = format!("oxnic {}: {why}", port.name);
        ensure!(
            !log.starting_with(&line)?.is_empty(),
            "ethtool {option} {what}: the log has no \"{line}\""
        );
        ensure_eq!(state()?, before, "after the refusal of {what}");
    }
    const PAST: &str = "with an ntuple rule's offset: queue 4 out of range (4 queues)";
    const SYMMETRIC: &str = "symmetric hash: both addresses or none, and both ports or none";
    let tables = [[1, 2], [0, 2]];
    let rss = Rss {
        context: 1,
        ..Rss::default()
    };
    for (rss, reason) in [
        (
            Rss {
                table: Some(&tables[0]),
                ..rss
            },
            PAST,
        ),
        (
            Rss {
                table: Some(&tables[1]),
                ..Rss::default()
            },
            PAST,
        ),
        (
            Rss {
                function: Some(ETH_RSS_HASH_XOR),
                ..rss
            },
            "hfunc: only toeplitz is supported",
        ),
    ] {
        refused(set_rss(port, &rss).map(|()| 0), reason)?;
        ensure_eq!(state()?, before, "after the refusal: {reason}");
    }
    // A new context would have the main one's fields.
    set_hashed(port, "udp4", "s")?;
    let symmetric = Rss {
        transform: Some(RXH_XFRM_SYM_XOR),
        ..Rss::default()
    };
    refused(create_rss(port, &symmetric), SYMMETRIC)?;
    set_hashed(port, "udp4", "sdfn")?;
    ensure_eq!(create_rss(port, &symmetric)?, 2, "number of a context");
    port.ethtool_refusal("-N", "rx-flow-hash udp4 s context 2")
        .context("fields that are not symmetric")?;
    ensure_eq!(hashed(port, "udp4 context 2")?, "sdfn", "fields");
    check_alive(bed)
}

fn refused(result: Result<u32>, reason: &str) -> Result<()> {
    let Err(error) = result else {
        bail!("done, although {reason}");
    };

    ensure_eq!(error.downcast::<Refused>()?.reason, reason, "reason");
    Ok(())
}

/// The queue of a probe, if all go by one context.
fn queue(key: &Key, input: &[u8], table: &[u32]) -> Option<u32> {
    Some(table[key.hash(input) as usize % ENTRIES])
}

fn is_even(tuple: &[u8]) -> bool {
    tuple[9] % 2 == 0
}

case!(ports "rss_context::rings", "queues=4", rings);
/// A rule's frames follow the context's key, fields and table, all others the main context's.
fn rings(bed: &Bed) -> Result<()> {
    let port = &bed.b;
    let (system, own) = (Key::of_the_system()?, key(5));
    let main = |tuple: &[u8]| queue(&system, tuple, &table(&[0, 1]));
    let check = |what: &str, context: &dyn Fn(&[u8]) -> Option<u32>| {
        check_rings(bed, what, |tuple| match is_even(tuple) {
            true => context(tuple),
            false => main(tuple),
        })
    };

    bed.up()?;
    port.ethtool("-X", "equal 2")?;
    let context = new(port, "start 2 equal 2")?;
    check("a context without a rule", &main)?;
    let place = add(port, &format!("{EVEN} context {context}"))?;
    let text = shown(port, place)?;
    ensure!(
        text.iter()
            .any(|line| line == "Action: Direct to RSS Context 1"),
        "rule of the context: {text:#?}"
    );
    check("a table of its own", &|tuple| {
        queue(&system, tuple, &table(&[2, 3]))
    })?;
    change(port, context, &format!("hkey {}", own.text()))?;
    check("a key of its own", &|tuple| {
        queue(&own, tuple, &table(&[2, 3]))
    })?;
    change(port, context, "equal 4")?;
    check("another table", &|tuple| queue(&own, tuple, &spread(4)))?;
    set_hashed(port, "udp4", &format!("f context {context}"))?;
    check("fields of its own", &|tuple| {
        let mut input = [0; 12];
        input[8..10].copy_from_slice(&tuple[8..10]);
        queue(&own, &input, &spread(4))
    })?;
    set_hashed(port, "udp4", &format!("sdfn context {context}"))?;
    change(port, context, "xfrm symmetric-xor")?;
    check("symmetric", &|tuple| {
        let mut input = [0; 12];
        for (n, byte) in input.iter_mut().enumerate() {
            let other = if n < 8 { n ^ 4 } else { n ^ 2 };
            *byte = tuple[n] ^ tuple[other];
        }
        queue(&own, &input, &spread(4))
    })?;
    change(port, context, "xfrm none start 2 equal 2")?;
    for _ in 0..2 {
        port.down()?;
        port.up()?;
        port.wait_running(true)?;
        port.ethtool("-G", "rx 256")?;
    }
    check("after down and up", &|tuple| {
        queue(&own, tuple, &table(&[2, 3]))
    })?;
    // Changes of the main context do not change this one.
    port.ethtool("-X", &format!("hkey {} equal 1", key(2).text()))?;
    check_rings(bed, "with another main context", |tuple| {
        match is_even(tuple) {
            true => queue(&own, tuple, &table(&[2, 3])),
            false => Some(0),
        }
    })?;
    let text = port.ethtool_refusal("-X", &format!("context {context} delete"))?;
    ensure!(text.contains("busy"), "context in use: {text}");
    port.ethtool("-N", &format!("delete {place}"))?;
    change(port, context, "delete")?;
    check_rings(bed, "without the context", |_| Some(0))?;
    // A frame without a hash stays among the context's queues.
    new(port, "equal 1 start 3")?;
    add(port, "flow-type ether proto 0x806 context 1")?;
    let arp = ethernet(ARP, &[0; 46]);
    let sender = Sender::open(&bed.a)?;
    ensure_eq!(ring_of(bed, &sender, &arp)?, 3, "ring of an ARP frame");
    settle_wire(bed).map(drop)
}

case!(ports "rss_context::main_context", "queues=4", main_context);
/// A rule that leads to the main context keeps others from taking its frames.
fn main_context(bed: &Bed) -> Result<()> {
    let port = &bed.b;
    let system = Key::of_the_system()?;

    bed.up()?;
    port.ethtool("-X", "equal 2")?;
    let context = new(port, "start 2 equal 2")?;
    port.ethtool("-N", &format!("flow-type udp4 context {context} loc 1"))?;
    port.ethtool("-N", &format!("{EVEN} context 0 loc 0"))?;
    let text = shown(port, 0)?;
    ensure!(
        text.iter()
            .any(|line| line == "Action: Direct to RSS Context 0"),
        "rule of the main context: {text:#?}"
    );
    check_rings(bed, "even to the main context", |tuple| {
        let queues = if is_even(tuple) { [0, 1] } else { [2, 3] };
        queue(&system, tuple, &table(&queues))
    })?;
    port.ethtool_refusal("-L", "combined 3")
        .context("fewer channels than the context needs")?;
    settle_wire(bed).map(drop)
}

case!(ports "rss_context::offset", "queues=4", offset);
/// What a rule adds to the queues of its context.
fn offset(bed: &Bed) -> Result<()> {
    let port = &bed.b;
    let (system, own) = (Key::of_the_system()?, key(3));

    bed.up()?;
    port.ethtool("-X", "equal 1")?;
    let context = new(port, &format!("equal 2 hkey {}", own.text()))?;
    let place = add(port, &format!("{EVEN} context {context} action 2"))?;
    let text = shown(port, place)?;
    ensure!(
        text.iter()
            .any(|line| line == "Action: Direct to RSS Context 1 (queue base offset: 2)"),
        "rule with an offset: {text:#?}"
    );
    check_rings(bed, "two on", |tuple| match is_even(tuple) {
        true => queue(&own, tuple, &table(&[2, 3])),
        false => Some(0),
    })?;
    let rule = format!("{EVEN} context {context} action 1 loc {place}");
    port.ethtool("-N", &rule)?;
    change(port, context, "weight 1 0 1 0")?;
    check_rings(bed, "one on", |tuple| match is_even(tuple) {
        true => {
            let mut halves = vec![1; ENTRIES / 2];
            halves.resize(ENTRIES, 3);
            queue(&own, tuple, &halves)
        }
        false => Some(0),
    })?;
    port.ethtool("-X", "equal 2")?;
    port.ethtool("-N", &format!("{EVEN} context 0 action 2 loc {place}"))?;
    check_rings(bed, "two on from the main context", |tuple| {
        let queues = if is_even(tuple) { [2, 3] } else { [0, 1] };
        queue(&system, tuple, &table(&queues))
    })?;
    settle_wire(bed).map(drop)
}

case!(ports "rss_context::one_ring", "queues=1", one_ring);
/// With one ring all frames go to it, and everything can still be set.
fn one_ring(bed: &Bed) -> Result<()> {
    bed.up()?;
    let context = new(&bed.b, &format!("hkey {}", key(1).text()))?;
    add(&bed.b, &format!("{EVEN} context {context}"))?;
    check_rings(bed, "one ring", |_| Some(0))?;
    check_alive(bed)
}

case!(ports "rss_context::channels", "queues=4", channels);
/// A queue that a context needs is not removed.
fn channels(bed: &Bed) -> Result<()> {
    let port = &bed.b;

    bed.up()?;
    let context = new(port, "start 1 equal 2")?;
    add(port, &format!("{EVEN} context {context}"))?;
    for count in [1, 2] {
        let text = port.ethtool_refusal("-L", &format!("combined {count}"))?;
        ensure!(
            text.contains("too low for existing indirection table (2)"),
            "ethtool -L combined {count}: {text}"
        );
    }
    let (system, before) = (Key::of_the_system()?, of(port, context)?);
    for count in [3, 4, 3] {
        port.ethtool("-L", &format!("combined {count}"))?;
        ensure_eq!(of(port, context)?, before, "context with {count} channels");
        check_rings(bed, &format!("{count} channels"), |tuple| {
            match is_even(tuple) {
                true => queue(&system, tuple, &table(&[1, 2])),
                false => queue(&system, tuple, &spread(count)),
            }
        })?;
    }
    change(port, context, "equal 1")?;
    port.ethtool("-L", "combined 1")?;
    check_rings(bed, "one channel", |_| Some(0))?;
    settle(bed).map(drop)
}

case!(ports "rss_context::socket", "queues=4", socket);
/// A socket gets the flows that a context sends to its queue.
fn socket(bed: &Bed) -> Result<()> {
    socket_gets(bed, || {
        let context = new(&bed.b, "start 2 equal 1")?;
        add(
            &bed.b,
            &format!("flow-type udp4 dst-port 9 context {context}"),
        )
    })
}

case!(ports "rss_context::under_traffic", "queues=4", under_traffic);
/// Contexts are created, changed and deleted under traffic without loss. In the end the port is
/// removed with a context and its rule.
fn under_traffic(bed: &Bed) -> Result<()> {
    let port = &bed.b;

    bed.up()?;
    port.attach(&Program::load("count", "count_drop")?)?;
    let sources = [Source::new(&bed.a), Source::new(port)];
    while_sending(&sources, |_| {
        for seed in 1..4 {
            let context = new(port, "start 2 equal 2")?;
            let rule = add(port, &format!("flow-type udp4 context {context}"))?;
            wait_flowing(bed, 100)?;
            for what in [
                &format!("hkey {}", key(seed).text()),
                "xfrm symmetric-xor",
                "equal 3",
            ] {
                change(port, context, what)?;
                wait_flowing(bed, 100).with_context(|| what.to_owned())?;
            }
            for count in [3, 4] {
                port.ethtool("-L", &format!("combined {count}"))?;
                wait_flowing(bed, 100)?;
            }
            port.ethtool("-N", &format!("delete {rule}"))?;
            change(port, context, "delete")?;
            wait_flowing(bed, 100)?;
        }
        let context = new(port, "start 2 equal 2")?;
        add(port, &format!("flow-type udp4 context {context}"))?;
        wait_flowing(bed, 100)
    })?;
    all_received(bed)
}
