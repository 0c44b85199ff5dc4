// SPDX-License-Identifier: GPL-2.0

//! hook_cost: that it drops where it says, as the kernel itself counts it, and what it makes of its
//! measurements. The costs themselves mean nothing here, as the frames are few and the clock is the
//! wall's.

use super::{refused, refused_to_nobody, start};
use crate::{
    bed::Port,
    bpf::Program,
    harness::case,
    host::{cmd, ensure_eq, module, netns::Netns, tracefs::Trace},
    nl::link::XdpAttached,
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::sys::signal::Signal;
use roxmltree::{Document, Node};
use std::{collections::BTreeMap, fs, path::Path};

/// Options for the shortest measurement, and how many frames each place then drops: those of a run
/// with an eighth of them, and of one with that and all.
const SHORT: &str = "--frames 512 --runs 1";
const DROPPED: u64 = 64 + 64 + 512;
/// Frames by which the sample finds out whether the socket gets them.
const PROBES: u64 = 16;

/// What the table and the chart have, in their order.
const PLACES: [&str; 7] = [
    "native XDP",
    "generic XDP",
    "tcx",
    "nftables, netdev ingress",
    "nftables, raw prerouting",
    "nftables, input",
    "filter of a UDP socket",
];

const MARK: &str = "<!-- make hook-cost: ";

/// Two joined ports in the initial namespace, where the sample finds both.
fn ports() -> Result<[Port; 2]> {
    let ns = Netns::initial();

    module::load("pairs=1 queues=1")?;
    for name in ["ox0", "ox1"] {
        // What IPv6 sends by itself would be counted too.
        ns.sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
    }
    Ok([Port::find(&ns, "ox0")?, Port::find(&ns, "ox1")?])
}

/// Nothing of the sample is left.
fn expect_clean(ports: &[Port; 2]) -> Result<()> {
    for port in ports {
        let link = port.link()?;
        let name = &port.name;

        ensure_eq!(link.xdp_mode, XdpAttached::None, "{name}: XDP mode");
        ensure!(!link.running, "{name} is up");
        let addresses = port.ns.ip(&format!("-o address show dev {name}"))?;
        ensure!(addresses.is_empty(), "addresses: {addresses}");
    }
    let hooks = cmd::run("bpftool net")?;
    ensure!(!hooks.contains("ox1"), "bpftool net: {hooks}");
    let rules = cmd::run("nft list ruleset")?;
    ensure!(rules.is_empty(), "nft list ruleset: {rules}");
    ensure!(
        !Path::new("/sys/class/net/hook_cost0").exists(),
        "hook_cost0 is left"
    );
    ensure!(
        !Path::new("/proc/net/pktgen").exists(),
        "pktgen is left in the kernel"
    );
    Ok(())
}

/// What the kernel counts on the way of a frame.
#[derive(Debug, PartialEq, Eq)]
struct Way {
    /// By the driver, as dropped by XDP.
    native: u64,
    /// The reason that the stack gives for dropped sk_buffs.
    reasons: BTreeMap<String, u64>,
    /// At the end of the way.
    ip_received: u64,
    routed: bool,
    ip_delivered: u64,
    udp_received: u64,
}

/// A place's name, and how the way of its frames must look.
type Expected = (&'static str, Way);

/// Where each place stops a frame: the reason, and whether IP has received, routed and delivered it
/// by then.
fn expected() -> Vec<Expected> {
    [
        ("native-xdp", None, false, false, false),
        ("generic-xdp", Some("NOT_SPECIFIED"), false, false, false),
        ("tcx", Some("TC_INGRESS"), false, false, false),
        ("nft-ingress", Some("NETFILTER_DROP"), false, false, false),
        ("nft-prerouting", Some("NETFILTER_DROP"), true, false, false),
        ("nft-input", Some("NETFILTER_DROP"), true, true, false),
        ("socket-filter", Some("SOCKET_FILTER"), true, true, true),
    ]
    .into_iter()
    .map(|(place, reason, received, routed, delivered)| {
        let beyond = |is: bool| PROBES + if is { DROPPED } else { 0 };

        (
            place,
            Way {
                native: if reason.is_none() { DROPPED } else { 0 },
                reasons: reason
                    .map(|reason| (reason.to_owned(), DROPPED))
                    .into_iter()
                    .collect(),
                ip_received: beyond(received),
                routed,
                ip_delivered: beyond(delivered),
                // The socket gets what is sent while no one drops it, and nothing else.
                udp_received: PROBES,
            },
        )
    })
    .collect()
}

/// Counters of `/proc/net/snmp`, such as `Ip` and `InReceives`.
fn snmp(protocol: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/net/snmp")?;
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("{protocol}: ")));
    let (names, values) = lines
        .next()
        .zip(lines.next())
        .ok_or_else(|| anyhow!("no {protocol} in: {text}"))?;
    let (_, value) = names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(found, _)| *found == name)
        .ok_or_else(|| anyhow!("no {protocol} {name} in: {text}"))?;

    Ok(value.parse()?)
}

fn counted() -> Result<[u64; 3]> {
    Ok([
        snmp("Ip", "InReceives")?,
        snmp("Ip", "InDelivers")?,
        snmp("Udp", "InDatagrams")?,
    ])
}

/// Measures one place, and returns the way that the kernel says its frames went.
fn way(b: &Port, place: &str) -> Result<Way> {
    let trace = Trace::start_all(&["skb/kfree_skb", "fib/fib_table_lookup"])?;
    let dropped = || b.counters()?.rx("xdp_drop");
    let received = || b.link()?.stat("rx_packets");
    let native = dropped()?;
    let arrived = received()?;
    let before = counted()?;

    let said = start(b, &format!("hook_cost ox0 ox1 {SHORT} --place {place}"))?.finish()?;
    ensure!(
        said.contains(&format!(
            "without it the socket gets {PROBES} of {PROBES} frames, with it 0 of {DROPPED}"
        )),
        "{said}"
    );
    ensure_eq!(received()? - arrived, PROBES + DROPPED, "frames at ox1");
    let after = counted()?;
    let mut reasons = BTreeMap::new();
    // Netlink frees some too, but they are no IPv4.
    let lines = trace.lines("kfree_skb")?;
    for line in lines.iter().filter(|line| line.contains("protocol=2048 ")) {
        if let Some((_, reason)) = line.split_once("reason: ") {
            *reasons.entry(reason.trim().to_owned()).or_insert(0) += 1;
        }
    }
    let lookups = trace
        .lines("fib_table_lookup")?
        .iter()
        .filter(|line| line.contains("10.9.0.2"))
        .count() as u64;

    Ok(Way {
        native: dropped()? - native,
        reasons,
        ip_received: after[0] - before[0],
        routed: lookups >= DROPPED,
        ip_delivered: after[1] - before[1],
        udp_received: after[2] - before[2],
    })
}

/// A rule for no one's addresses. With a rule of its own the stack looks the route of each frame
/// up, not only that of the first of several to the same address, so lookups can be counted.
struct Rule;

impl Rule {
    const WHAT: &'static str = "from 203.0.113.0/24 lookup main";

    fn add() -> Result<Self> {
        cmd::run(&format!("ip rule add {}", Self::WHAT))?;
        Ok(Self)
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        cmd::try_run(&format!("ip rule del {}", Self::WHAT));
    }
}

case!(bare "samples::hook_cost_drops_where_it_says", drops);
fn drops() -> Result<()> {
    let ports = ports()?;
    let _rule = Rule::add()?;

    for (place, expected) in expected() {
        let way = way(&ports[1], place).with_context(|| place)?;

        ensure_eq!(way, expected, "{place}");
        expect_clean(&ports).with_context(|| place)?;
    }
    Ok(())
}

/// The cells of the table's rows.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

// It would take the debug kernel minutes.
case!(bare "samples::hook_cost_table_and_chart", results; stock_only());
/// The table, the chart and the texts have the same numbers.
fn results() -> Result<()> {
    let ports = ports()?;
    let (svg, text) = ("/tmp/hook_cost.svg", "/tmp/hook_cost.md");

    fs::write(svg, "what was there before\n".repeat(1000))?;
    fs::write(
        text,
        format!(
            "head\n{MARK}table -->\nold\n<!-- end -->\nmiddle\n\
             {MARK}output -->\n<!-- end -->\nfoot\n"
        ),
    )?;
    let said = start(
        &ports[1],
        &format!("hook_cost ox0 ox1 --frames 512 --runs 2 --svg {svg} --into {text}"),
    )?
    .finish()?;
    expect_clean(&ports)?;
    ensure!(
        said.contains("costs are nanoseconds, as the clock of this machine counts no")
            && said.contains("| nanoseconds per frame |"),
        "the unit in: {said}"
    );
    ensure!(
        said.contains("[ 16/16] filter of a UDP socket: "),
        "steps in: {said}"
    );

    let (steps, table) = said
        .split_once("\n\n")
        .ok_or_else(|| anyhow!("no table in: {said}"))?;
    let rows = rows(table);
    let titles: Vec<_> = rows.iter().map(|row| row[0]).collect();
    ensure_eq!(titles, PLACES, "places in: {table}");
    let costs = rows
        .iter()
        .map(|row| Ok(row[1].parse()?))
        .collect::<Result<Vec<f64>>>()
        .with_context(|| format!("costs in: {table}"))?;
    ensure_eq!(rows[0][2], "1.0", "native XDP, times native XDP");

    let steps = steps.replace('\n', "\n    ");
    ensure_eq!(
        fs::read_to_string(text)?,
        format!(
            "head\n{MARK}table -->\n\n{}\n\n<!-- end -->\nmiddle\n{MARK}output -->\n\n    # \
             hook_cost ox0 ox1\n    {steps}\n\n<!-- end -->\nfoot\n",
            table.trim()
        ),
        "{text}"
    );
    check_chart(&fs::read_to_string(svg)?, &costs)
}

/// A bar and its number for each place, the bar as long as it should be.
fn check_chart(svg: &str, costs: &[f64]) -> Result<()> {
    let chart = Document::parse(svg).with_context(|| format!("the chart: {svg}"))?;
    let root = chart.root_element();
    let with = |tag: &'static str, class: &'static str| {
        root.descendants()
            .filter(move |node| node.has_tag_name(("http://www.w3.org/2000/svg", tag)))
            .filter(move |node| node.attribute("class").unwrap_or_default() == class)
    };
    let texts = |class| {
        with("text", class)
            .filter_map(|node| node.text())
            .collect::<Vec<_>>()
    };
    let number = |node: Node<'_, '_>, name: &str| -> Result<f64> {
        Ok(node
            .attribute(name)
            .ok_or_else(|| anyhow!("no {name} in: {svg}"))?
            .parse()?)
    };

    ensure_eq!(
        texts("head"),
        ["Nanoseconds per dropped frame: less is better"],
        "head"
    );
    ensure_eq!(texts(""), PLACES, "places");
    let shown: Vec<_> = costs.iter().map(|cost| format!("{cost:.0}")).collect();
    ensure_eq!(texts("value"), shown, "numbers");
    let bars: Vec<_> = with("rect", "cost").collect();
    ensure_eq!(bars.len(), costs.len(), "bars");
    let largest = costs.iter().copied().fold(f64::MIN, f64::max);
    let widths = bars
        .iter()
        .map(|bar| number(*bar, "width"))
        .collect::<Result<Vec<_>>>()?;
    let widest = widths.iter().copied().fold(f64::MIN, f64::max);
    for (bar, (width, cost)) in bars.iter().zip(widths.iter().zip(costs)) {
        // The numbers are rounded, and what is below nothing has no bar.
        let expected = (cost / largest * widest).max(0.0);
        ensure!(
            (width - expected).abs() < 1.0,
            "width of a bar for {cost}: expected {expected}, found {width}"
        );
        ensure!(
            number(*bar, "x")? + width < number(root, "width")?
                && number(*bar, "y")? + number(*bar, "height")? < number(root, "height")?,
            "a bar outside of the chart: {svg}"
        );
    }
    Ok(())
}

case!(bare "samples::hook_cost_stops", stops);
/// Stopped while a place drops, it lets frames pass again.
fn stops() -> Result<()> {
    let ports = ports()?;

    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut sample = start(&ports[1], "hook_cost ox0 ox1 --frames 5000 --runs 100")?;

        sample.wait_for("generic XDP: ")?;
        sample.signal(signal)?;
        let (status, said) = sample.end()?;
        ensure_eq!(status.code(), Some(1), "{signal}: status");
        ensure!(
            said.contains("stopped before everything was measured")
                && !said.contains("cleaning up"),
            "{signal}: {said}"
        );
        expect_clean(&ports).with_context(|| signal.to_string())?;
    }
    Ok(())
}

case!(bare "samples::hook_cost_refusals", refusals);
fn refusals() -> Result<()> {
    let ports = ports()?;
    let b = &ports[1];
    let text = "/tmp/hook_cost-no-place.md";

    for (line, reason) in [
        ("ox9 ox1", "no interface called ox9"),
        ("ox0 ox9", "no interface called ox9"),
        ("ox0 ox0", "another interface than ox0"),
        (
            "ox0 ox1 --svg /oxnic/chart.svg",
            "writing /oxnic/chart.svg: Read-only file system",
        ),
        (
            "ox0 ox1 --svg /none/chart.svg",
            "writing /none/chart.svg: No such file or directory",
        ),
        ("ox0 ox1 --into /none.md", "writing /none.md: No such file"),
        ("ox0 ox1 --obj /none.bpf.o", "loading /none.bpf.o: "),
    ] {
        let said = refused(b, &format!("hook_cost {line} {SHORT}"), reason)?;
        ensure_eq!(said.trim().lines().count(), 1, "lines of: {said}");
        expect_clean(&ports).with_context(|| line)?;
    }
    fs::write(text, "nothing\n")?;
    refused(
        b,
        &format!("hook_cost ox0 ox1 {SHORT} --into {text}"),
        "has no line",
    )?;
    refused_to_nobody(b, "hook_cost ox0 ox1")?;

    // Frames that come in elsewhere, or nowhere.
    let line = format!("hook_cost ox0 lo {SHORT}");
    refused(b, &line, "ox0 has no carrier")?;
    b.up()?;
    refused(
        b,
        &line,
        "0 of 16 frames that left by ox0 have come in by lo",
    )?;
    b.down()?;
    expect_clean(&ports)?;
    let program = Program::sample("xdp_pass")?;
    b.attach(&program)?;
    refused(
        b,
        &format!("hook_cost ox0 ox1 {SHORT}"),
        "ox1 has an XDP program already",
    )?;
    ensure_eq!(
        b.link()?.xdp_driver_id,
        Some(program.id),
        "the program that was there"
    );
    b.detach()?;
    expect_clean(&ports)?;

    for line in ["ox0 ox1 --frames 1", "ox0 ox1 --place nowhere", "ox0"] {
        let (status, said) = start(b, &format!("hook_cost {line}"))?.end()?;
        ensure_eq!(
            status.code(),
            Some(2),
            "status of `hook_cost {line}`: {said}"
        );
    }
    Ok(())
}
