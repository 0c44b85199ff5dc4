// SPDX-License-Identifier: GPL-2.0

//! ddos_filter: what is dropped and what passes, while rules and limit change, and under a flood.

use super::{command, refused, refused_to_nobody, start};
use crate::{
    bed::{mac_text, Bed, Port, V4},
    bpf::{wait_freed, Program},
    harness::case,
    host::{ensure_eq, pktgen::Pktgen, process::Running, wait_until, PATIENCE},
    nl::link::XdpAttached,
    wire::{
        frames::{ethernet, ipv4, ipv6, tagged, transport, ARP, CTAG, IPV4, IPV6, STAG, UDP},
        packet::{Sender, Tap},
        stream::{data, ensure_data, read_all, tcp_pair},
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use std::{io::Write, path::Path, thread, time::Instant};

const PINS: &str = "/sys/fs/bpf/ddos_filter";
const READY: &str = "Filtering what ox1 receives";

/// Starts the filter at B, with more arguments, and waits until it is attached.
fn run(bed: &Bed, rest: &str) -> Result<Running> {
    let mut filter = start(&bed.b, &format!("ddos_filter run ox1 {rest}"))?;

    filter.wait_for(READY)?;
    Ok(filter)
}

/// What another of its commands says, which has to succeed.
fn tell(bed: &Bed, line: &str) -> Result<String> {
    start(&bed.b, &format!("ddos_filter {line}"))?.finish()
}

/// Packets and bytes in the row of a table.
fn row(said: &str, from: &str, what: &str) -> Result<(u64, u64)> {
    let rest = said
        .lines()
        .find_map(|line| {
            let rest = line.trim().strip_prefix(from)?.trim_start();

            rest.strip_prefix(what)
        })
        .ok_or_else(|| anyhow!("no row \"{from} {what}\" in: {said}"))?;
    let mut numbers = rest.split_whitespace().map(str::parse);

    match (numbers.next(), numbers.next()) {
        (Some(Ok(packets)), Some(Ok(bytes))) => Ok((packets, bytes)),
        _ => Err(anyhow!("no numbers for \"{from} {what}\" in: {said}")),
    }
}

fn expect_detached(port: &Port) -> Result<()> {
    ensure_eq!(
        port.link()?.xdp_mode,
        XdpAttached::None,
        "XDP mode of {}",
        port.name
    );
    ensure!(!Path::new(PINS).exists(), "{PINS} is still there");
    Ok(())
}

fn v4(source: [u8; 4]) -> Vec<u8> {
    let body = transport(4001, 9, UDP);

    ethernet(IPV4, &ipv4(source, [10, 77, 0, 2], UDP, 0, &body))
}

/// From `a:b:c:d::e`.
fn v6(a: u16, b: u16, c: u16, d: u16, e: u8) -> Vec<u8> {
    let mut source = [0; 16];

    for (at, word) in [a, b, c, d].into_iter().enumerate() {
        source[2 * at..2 * at + 2].copy_from_slice(&word.to_be_bytes());
    }
    source[15] = e;
    let mut to = [0; 16];
    (to[0], to[1], to[15]) = (0xfd, 0x77, 2);

    ethernet(IPV6, &ipv6(source, to, UDP, &transport(4001, 9, UDP)))
}

/// Sends each frame so many times, and waits until all have arrived.
fn send(bed: &Bed, frames: &[(&[u8], u64)]) -> Result<()> {
    let sender = Sender::open(&bed.a)?;
    let before = bed.b.link()?.stat("rx_packets")?;

    for (frame, count) in frames {
        for _ in 0..*count {
            sender.send(frame)?;
        }
    }
    let sent: u64 = frames.iter().map(|(_, count)| count).sum();
    bed.b.wait_received(before + sent)
}

/// How many frames get to the stack, and that no more do.
fn expect_through(tap: &Tap, count: u64) -> Result<()> {
    for n in 0..count {
        tap.next(PATIENCE)?
            .ok_or_else(|| anyhow!("{n} frames got through, not {count}"))?;
    }
    tap.silence()
}

case!(ports "samples::ddos_filter_rules", "", rules);
/// The longest prefix decides, of both versions and behind tags; what it decided is counted; and
/// rules can be changed meanwhile.
fn rules(bed: &Bed) -> Result<()> {
    bed.up()?;
    let mut filter = run(
        bed,
        "--block 10.9.0.0/16 --block 10.10.0.0/16 --block 2001:db8::/32 --allow 10.9.9.0/24",
    )?;
    ensure_eq!(
        tell(bed, "list ox1")?,
        "10.9.0.0/16 blocked\n10.9.9.0/24 allowed\n10.10.0.0/16 blocked\n2001:db8::/32 blocked\n",
        "list"
    );
    let tap = Tap::open(&bed.b)?;
    let blocked = v4([10, 9, 1, 1]);
    let allowed = v4([10, 9, 9, 1]);
    let blocked_v6 = v6(0x2001, 0xdb8, 5, 0, 1);
    // The port takes the outer tag out; the filter has to find its way past the others.
    let blocked_tagged = tagged(&v4([10, 10, 0, 1]), &[(STAG, 5), (CTAG, 6)]);
    let arp = ethernet(ARP, &[0; 46]);
    let frames: [(&[u8], u64); 7] = [
        (&blocked, 3),
        (&allowed, 5),
        (&blocked_v6, 7),
        (&blocked_tagged, 11),
        (&arp, 13),
        (&v4([10, 8, 255, 255]), 17),
        (&v6(0x2001, 0xdb9, 0, 0, 1), 19),
    ];

    send(bed, &frames)?;
    let through = 5 + 13 + 17 + 19;
    expect_through(&tap, through)?;
    let said = tell(bed, "stats ox1")?;
    for (from, what, frame, count) in [
        ("10.9.0.0/16", "blocked", &blocked, 3),
        ("10.9.9.0/24", "allowed", &allowed, 5),
        ("2001:db8::/32", "blocked", &blocked_v6, 7),
    ] {
        ensure_eq!(
            row(&said, from, what)?,
            (count, count * frame.len() as u64),
            "{from} in: {said}"
        );
    }
    ensure_eq!(
        row(&said, "10.10.0.0/16", "blocked")?.0,
        11,
        "tagged: {said}"
    );
    ensure_eq!(row(&said, "all", "blocked")?.0, 3 + 7 + 11, "all: {said}");
    ensure_eq!(row(&said, "all", "passed")?.0, through, "all: {said}");
    ensure_eq!(row(&said, "any other source", "no limit")?.0, 0, "{said}");
    bed.b
        .counters()?
        .expect_rx("B", &[("xdp_drop", 3 + 7 + 11), ("xdp_pass", through)])?;

    // The line of a second in which nothing comes says the same.
    filter.wait_for(&format!(" s: passed {through} ("))?;

    change_rules(bed, &tap, &blocked, &blocked_v6)?;

    let said = filter.interrupt()?;
    ensure!(
        said.contains("ox1 receives everything again"),
        "interrupted: {said}"
    );
    // In the end there is the table, with all that was counted.
    ensure_eq!(row(&said, "all", "blocked")?.0, 21 + 31 + 37 + 2, "{said}");
    expect_detached(&bed.b)?;
    send(bed, &[(&blocked, 3)])?;
    expect_through(&tap, 3)
}

fn change_rules(bed: &Bed, tap: &Tap, blocked: &[u8], blocked_v6: &[u8]) -> Result<()> {
    let said = tell(bed, "remove ox1 10.9.0.0/16 2001:db8::/32")?;
    ensure!(
        said.contains("10.9.0.0/16 was blocked: 3 packets")
            && said.contains("2001:db8::/32 was blocked: 7 packets"),
        "remove: {said}"
    );
    send(bed, &[(blocked, 23), (blocked_v6, 29)])?;
    expect_through(tap, 23 + 29)?;

    // A rule that is new begins to count at nothing, also in the place of an old one.
    tell(bed, "add ox1 2001:db8:5::1 10.9.1.0/24")?;
    send(bed, &[(blocked, 31), (blocked_v6, 37)])?;
    expect_through(tap, 0)?;
    let said = tell(bed, "stats ox1")?;
    ensure_eq!(row(&said, "10.9.1.0/24", "blocked")?.0, 31, "{said}");
    ensure_eq!(row(&said, "2001:db8:5::1/128", "blocked")?.0, 37, "{said}");
    ensure_eq!(row(&said, "all", "blocked")?.0, 21 + 31 + 37, "{said}");

    tell(bed, "add --allow ox1 10.9.1.1")?;
    send(bed, &[(blocked, 41)])?;
    expect_through(tap, 41)?;
    tell(bed, "remove ox1 10.9.1.1")?;
    send(bed, &[(blocked, 2)])?;
    expect_through(tap, 0)
}

case!(ports "samples::ddos_filter_limit", "ring_size=4096", limit);
/// A source may send a burst, and then as many a second as the limit says. Others are not affected.
fn limit(bed: &Bed) -> Result<()> {
    const RATE: u64 = 5;
    const BURST: u64 = 50;
    const COUNT: u64 = 400;

    bed.up()?;
    let begin = Instant::now();
    let filter = run(
        bed,
        &format!("--rate {RATE} --burst {BURST} --allow 10.3.0.0/16"),
    )?;
    send(
        bed,
        &[
            (&v4([10, 1, 0, 1]), COUNT),
            (&v4([10, 1, 0, 2]), BURST),
            // Two addresses of a /64 are one source, that of another is not.
            (&v6(0x2001, 0xdb8, 0, 1, 1), COUNT / 2),
            (&v6(0x2001, 0xdb8, 0, 1, 2), COUNT / 2),
            (&v6(0x2001, 0xdb8, 0, 2, 1), BURST),
            (&v4([10, 3, 0, 1]), COUNT),
        ],
    )?;
    let earned = begin.elapsed().as_secs() * RATE + RATE;
    let said = tell(bed, "stats ox1")?;
    let dropped = |source: &str| -> Result<u64> {
        said.lines()
            .find_map(|line| line.trim().strip_prefix(&format!("{source}: ")))
            .ok_or_else(|| anyhow!("no {source} in: {said}"))?
            .parse()
            .with_context(|| said.clone())
    };
    let mut sum = 0;

    for source in ["10.1.0.1", "2001:db8:0:1::/64"] {
        let dropped = dropped(source)?;
        let passed = COUNT - dropped;

        ensure!(
            (BURST..=BURST + earned).contains(&passed),
            "{source}: {passed} passed, with {earned} earned at most: {said}"
        );
        sum += dropped;
    }
    ensure!(
        !said.contains("10.1.0.2")
            && !said.contains("2001:db8:0:2::")
            && !said.contains("10.3.0.1"),
        "sources that kept to the limit: {said}"
    );
    let over = format!("over {RATE}/s");
    ensure_eq!(row(&said, "any other source", &over)?.0, sum, "{said}");
    ensure_eq!(
        row(&said, "all", "passed")?.0,
        3 * COUNT + 2 * BURST - sum,
        "{said}"
    );
    ensure_eq!(row(&said, "10.3.0.0/16", "allowed")?.0, COUNT, "{said}");
    bed.b.counters()?.expect_rx("B", &[("xdp_drop", sum)])?;

    // Without a limit all pass.
    let said = tell(bed, "limit ox1")?;
    ensure_eq!(said, "ox1 has no limit\n", "limit");
    send(bed, &[(&v4([10, 1, 0, 1]), COUNT)])?;
    bed.b.counters()?.expect_rx("B", &[("xdp_drop", sum)])?;
    // Who is new may send one.
    tell(bed, "limit ox1 --rate 1 --burst 1")?;
    send(bed, &[(&v4([10, 1, 0, 3]), COUNT)])?;
    let dropped = bed.b.counters()?.rx("xdp_drop")? - sum;
    ensure!(
        (COUNT / 2..COUNT).contains(&dropped),
        "{dropped} of {COUNT} were dropped at one a second"
    );
    filter.interrupt()?;
    expect_detached(&bed.b)
}

/// A flood of UDP to B from addresses of 10.9.0.0/16 in no order, of as many frames as can be sent
/// until it is told to stop.
fn prepare(port: &Port, to: &Port) -> Result<Pktgen> {
    let pktgen = Pktgen::load()?;
    let mac = mac_text(&to.mac()?);

    pktgen.add(
        port,
        0,
        &[
            "count 0",
            "pkt_size 60",
            "flag IPSRC_RND",
            "src_min 10.9.0.0",
            "src_max 10.9.255.255",
            &format!("dst {}", V4[1]),
            "udp_dst_min 9",
            "udp_dst_max 9",
            &format!("dst_mac {mac}"),
        ],
    )?;
    Ok(pktgen)
}

case!(ports "samples::ddos_filter_flood", "", flood);
/// While a flood is dropped, TCP goes on, and every byte arrives.
fn flood(bed: &Bed) -> Result<()> {
    bed.up_with_addresses()?;
    let filter = run(bed, "--rate 100000 --burst 1000")?;
    tell(bed, "add ox1 10.9.0.0/16")?;
    let flood = prepare(&bed.a, &bed.b)?;

    thread::scope(|scope| {
        let flooding = scope.spawn(|| flood.send(&bed.a.ns));
        let beside = beside_the_flood(bed);
        // Before anything fails, or it would go on.
        let stopped = flood.stop(&bed.a.ns);

        flooding
            .join()
            .map_err(|_| anyhow!("the flood panicked"))??;
        stopped?;
        beside
    })?;

    let sent = flood.sent(&bed.a)?;
    let (_, b) = bed.settled()?;
    let lost = b.link.stat("rx_missed_errors")?;
    let said = tell(bed, "stats ox1")?;
    let (blocked, bytes) = row(&said, "10.9.0.0/16", "blocked")?;
    ensure!(
        (sent - lost..=sent).contains(&blocked),
        "{blocked} of {sent} were blocked, {lost} did not reach a ring: {said}"
    );
    ensure_eq!(bytes, blocked * 60, "bytes in: {said}");
    ensure_eq!(b.counters.rx("xdp_drop")?, blocked, "B: xdp_drop");
    ensure_eq!(
        row(&said, "any other source", "over 100000/s")?.0,
        0,
        "{said}"
    );
    filter.interrupt()?;
    expect_detached(&bed.b)
}

fn beside_the_flood(bed: &Bed) -> Result<()> {
    const LEN: usize = 300_000;
    let dropped = || bed.b.counters()?.rx("xdp_drop");

    wait_until("the flood is dropped", || Ok(dropped()? > 1000))?;
    let before = dropped()?;
    let sent = data(7, LEN);
    let (mut near, far) = tcp_pair(&bed.a, &bed.b, V4[1])?;
    let found = thread::scope(|scope| {
        let writer = scope.spawn(|| near.write_all(&sent));
        let found = read_all(&far, LEN);

        writer
            .join()
            .map_err(|_| anyhow!("writing to a TCP socket panicked"))??;
        found
    })?;

    ensure_data("TCP beside the flood", &found, &sent)?;
    // It has not ended meanwhile.
    wait_until("the flood goes on", || Ok(dropped()? > before + 1000))
}

case!(ports "samples::ddos_filter_killed", "", killed);
/// One that was killed leaves no program behind, and the next one clears up.
fn killed(bed: &Bed) -> Result<()> {
    bed.up()?;
    let filter = run(bed, "--block 10.9.0.0/16")?;
    let id = bed
        .b
        .link()?
        .xdp_driver_id
        .ok_or_else(|| anyhow!("no program at ox1"))?;
    drop(filter);
    wait_until("the program is detached", || {
        Ok(bed.b.link()?.xdp_mode == XdpAttached::None)
    })?;

    refused(&bed.b, "ddos_filter list ox1", "no ddos_filter runs at ox1")?;
    let filter = run(bed, "")?;
    ensure_eq!(tell(bed, "list ox1")?, "", "rules of the one before");
    filter.interrupt()?;
    expect_detached(&bed.b)?;
    wait_freed(id)
}

/// What a terminal is told to go on at its upper left corner.
const HOME: &str = "\x1b[1;1H";
const CTRL_C: &str = "\x03";

case!(ports "samples::ddos_filter_terminal", "", terminal);
/// On a terminal the table is drawn again in its place, on a screen of its own.
fn terminal(bed: &Bed) -> Result<()> {
    bed.up()?;
    let line = command("ddos_filter run ox1 --block 10.9.0.0/16")?;
    let mut filter = bed.b.ns.enter(|| Running::at_terminal(&line))?;

    filter.wait_until("is drawn anew", |said| said.matches(HOME).count() >= 2)?;
    filter.press(CTRL_C)?;
    let said = filter.finish()?;
    let inside = said
        .split_once("\x1b[?1049h")
        .and_then(|(_, rest)| rest.split_once("\x1b[?1049l"))
        .ok_or_else(|| anyhow!("no screen of its own in: {said:?}"));
    let (screen, after) = inside?;
    let drawn: Vec<_> = screen.split(HOME).skip(1).collect();

    ensure!(drawn.len() >= 2, "it was not drawn anew: {screen:?}");
    for table in drawn {
        ensure!(
            table.starts_with(" ddos_filter at ox1, ")
                && row(&table.replace("\x1b[K", ""), "10.9.0.0/16", "blocked")? == (0, 0),
            "not the table: {table:?}"
        );
    }
    ensure!(
        after.contains("\x1b[?25h") && after.contains("ox1 receives everything again"),
        "after the screen: {after:?}"
    );
    expect_detached(&bed.b)
}

case!(ports "samples::ddos_filter_refusals", "", refusals);
fn refusals(bed: &Bed) -> Result<()> {
    bed.up()?;
    refused(&bed.b, "ddos_filter run ox9", "no interface called ox9")?;
    refused(
        &bed.b,
        "ddos_filter add ox9 10.1.1.1",
        "no interface called ox9",
    )?;
    refused_to_nobody(&bed.b, "ddos_filter run ox1")?;
    for line in [
        "add ox1 10.1.0.0/16",
        "remove ox1 10.1.0.0/16",
        "list ox1",
        "limit ox1 --rate 7",
        "stats ox1",
    ] {
        refused(
            &bed.b,
            &format!("ddos_filter {line}"),
            "no ddos_filter runs at ox1",
        )?;
    }
    for line in [
        "",
        "run",
        "add ox1",
        "add ox1 10.1.0.0/33",
        "add ox1 10.1.0.0/8",
        "add ox1 fd77::/129",
        "run ox1 --block ox0",
        "run ox1 --rate -1",
        "run ox1 --interval 0",
    ] {
        let (status, said) = start(&bed.b, &format!("ddos_filter {line}"))?.end()?;

        ensure_eq!(status.code(), Some(2), "ddos_filter {line}: {said}");
    }
    // Given before it is attached, a rule that is no good keeps it from being.
    refused(
        &bed.b,
        "ddos_filter run ox1 --block 10.1.0.0/16 --allow 10.1.0.0/16",
        "10.1.0.0/16 is blocked already",
    )?;
    expect_detached(&bed.b)?;

    let program = Program::sample("xdp_pass")?;
    bed.b.attach(&program)?;
    refused(
        &bed.b,
        "ddos_filter run ox1",
        "ox1 has an XDP program already",
    )?;
    ensure_eq!(
        bed.b.link()?.xdp_driver_id,
        Some(program.id),
        "program of the port"
    );
    bed.b.detach()?;
    expect_detached(&bed.b)?;

    let filter = run(bed, "--block 10.1.0.0/16")?;
    refused(
        &bed.b,
        "ddos_filter run ox1",
        "a ddos_filter runs at ox1 already",
    )?;
    refused(
        &bed.b,
        "ddos_filter add ox1 10.1.0.0/16",
        "10.1.0.0/16 is blocked already",
    )?;
    refused(
        &bed.b,
        "ddos_filter remove ox1 10.1.1.0/24",
        "there is no rule for 10.1.1.0/24",
    )?;
    refused(
        &bed.b,
        "ddos_filter remove ox1 fd77::/64",
        "there is no rule for fd77::/64",
    )?;
    for line in ["add ox1 10.2.0.0/16", "list ox1", "stats ox1"] {
        refused_to_nobody(&bed.b, &format!("ddos_filter {line}"))?;
    }
    ensure_eq!(
        tell(bed, "list ox1")?,
        "10.1.0.0/16 blocked\n",
        "rules after all that was refused"
    );
    filter.interrupt()?;
    expect_detached(&bed.b)
}
