// SPDX-License-Identifier: GPL-2.0

//! Flow steering rules: frames go to the queue of the user's choice, or nowhere.

use crate::{
    bed::{mac_text, Bed, Port},
    bpf::Program,
    harness::case,
    host::{ensure_eq, kmsg::Kmsg},
    support::{
        ntuple::{add, all_received, places, shown, socket_gets},
        probes::send_all,
        rss::ring_of,
        steer::Steer,
        traffic::{check_alive, settle, settle_wire, wait_flowing, while_sending, Source},
    },
    wire::{
        frames::{ethernet, ipv4, ipv6, tagged, transport, ARP, CTAG, ICMP, IPV4, IPV6, TCP, UDP},
        packet::Sender,
        probe::{verdict, Probe},
        NOBODY,
    },
};
use anyhow::{ensure, Result};

case!(ports "ntuple::rules", "queues=4", rules);
/// Rules are shown as they were set, stay when the port goes down, and go when the feature is
/// switched off.
fn rules(bed: &Bed) -> Result<()> {
    const RULES: [(&str, &[&str]); 7] = [
        (
            "flow-type udp4 src-ip 10.77.0.1 dst-port 9 action 3",
            &[
                "Rule Type: UDP over IPv4",
                "Src IP addr: 10.77.0.1 mask: 0.0.0.0",
                "Dest IP addr: 0.0.0.0 mask: 255.255.255.255",
                "Src port: 0 mask: 0xffff",
                "Dest port: 9 mask: 0x0",
                "Action: Direct to queue 3",
            ],
        ),
        (
            "flow-type tcp6 dst-ip fd77::2 src-port 80 action -1",
            &[
                "Rule Type: TCP over IPv6",
                "Dest IP addr: fd77::2 mask: ::",
                "Src port: 80 mask: 0x0",
                "Action: Drop",
            ],
        ),
        (
            "flow-type ether dst 02:00:00:00:00:07 proto 0x806 action 1",
            &[
                "Flow Type: Raw Ethernet",
                "Dest MAC addr: 02:00:00:00:00:07 mask: 00:00:00:00:00:00",
                "Ethertype: 0x806 mask: 0x0",
                "Action: Direct to queue 1",
            ],
        ),
        (
            "flow-type ip4 l4proto 1 tos 8 m 0xf0 action 2",
            &[
                "Rule Type: Raw IPv4",
                "Protocol: 1 mask: 0x0",
                "Action: Direct to queue 2",
            ],
        ),
        (
            "flow-type ip6 src-ip fd77::1 action 2",
            &["Rule Type: Raw IPv6", "Src IP addr: fd77::1 mask: ::"],
        ),
        (
            "flow-type udp6 dst-port 53 vlan 5 m 0xf000 action 0",
            &["Rule Type: UDP over IPv6", "VLAN: 0x5 mask: 0xf000"],
        ),
        (
            "flow-type tcp4 dst-mac 02:00:00:00:00:09 action 1 loc 63",
            &[
                "Rule Type: TCP over IPv4",
                // ethtool shows this mask, and no other, as the kernel has it.
                "Dest MAC addr: 02:00:00:00:00:09 mask: FF:FF:FF:FF:FF:FF",
            ],
        ),
    ];
    let mut log = Kmsg::from_now()?;
    const EXPECTED: [u32; 7] = [0, 1, 2, 3, 4, 5, 63];

    for ((rule, _), place) in RULES.iter().zip(EXPECTED) {
        if rule.ends_with("loc 63") {
            bed.b.ethtool("-N", rule)?;
        } else {
            ensure_eq!(add(&bed.b, rule)?, place, "place of {rule}");
        }
    }
    for up in [false, true, false] {
        bed.b.set_up(up)?;
        ensure_eq!(places(&bed.b)?, EXPECTED, "places");
        for ((rule, lines), place) in RULES.iter().zip(EXPECTED) {
            let text = shown(&bed.b, place)?;
            for line in *lines {
                ensure!(
                    text.iter().any(|l| l == line),
                    "{rule}: shown without \"{line}\": {text:#?}"
                );
            }
        }
    }
    ensure!(places(&bed.a)?.is_empty(), "rules at the other port");
    bed.b.ethtool("-N", "delete 2")?;
    bed.b.ethtool("-N", "delete 63")?;
    ensure_eq!(
        places(&bed.b)?,
        [0, 1, 3, 4, 5],
        "places after deleting two"
    );
    ensure_eq!(
        add(&bed.b, "flow-type ether action 0")?,
        2,
        "the first free place"
    );
    // A rule about the same frames takes the place of the old one.
    ensure_eq!(
        add(&bed.b, "flow-type ether action 3")?,
        2,
        "the place of the rule before"
    );
    ensure!(
        shown(&bed.b, 2)?.contains(&"Action: Direct to queue 3".to_owned()),
        "the old rule is still there"
    );
    // The settings of RSS and the number of queues leave the rules alone.
    bed.b.ethtool("-X", "equal 2")?;
    set_hashed(&bed.b, "sd")?;
    ensure_eq!(places(&bed.b)?, [0, 1, 2, 3, 4, 5], "places after -X");
    bed.b.ethtool("-K", "ntuple off")?;
    ensure!(places(&bed.b)?.is_empty(), "rules with ntuple off");
    refused(
        bed,
        &mut log,
        "flow-type ether action 0",
        "ntuple-filters are off",
    )?;
    bed.b.ethtool("-K", "ntuple on")?;
    for n in 0..64 {
        let rule = format!("flow-type udp4 dst-port {} action 1", 1000 + n);
        ensure_eq!(add(&bed.b, &rule)?, n, "place of a rule");
    }
    refused(
        bed,
        &mut log,
        "flow-type udp4 dst-port 7 action 1",
        "rule table full (64 rules)",
    )?;
    bed.up()?;
    check_alive(bed)
}

/// The port does not add the rule, and the log says why.
fn refused(bed: &Bed, log: &mut Kmsg, rule: &str, why: &str) -> Result<()> {
    log.forget()?;
    bed.b.ethtool_refusal("-N", rule)?;
    let line = format!("oxnic ox1: ntuple: {why}");
    let lines = log.starting_with("oxnic ox1: ntuple:")?;
    ensure!(
        lines.contains(&line),
        "ethtool -N {rule}: no \"{line}\" in the log: {lines:?}"
    );
    Ok(())
}

fn set_hashed(port: &Port, letters: &str) -> Result<()> {
    port.ethtool("-N", &format!("rx-flow-hash udp4 {letters}"))
        .map(drop)
}

const A4: [u8; 4] = [10, 77, 0, 1];
const B4: [u8; 4] = [10, 77, 0, 2];
const A6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const B6: [u8; 16] = [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

case!(ports "ntuple::queue", "queues=4", queue);
/// Frames that match a rule go to its queue, all others to queue 0.
fn queue(bed: &Bed) -> Result<()> {
    let udp4 = ethernet(IPV4, &ipv4(A4, B4, UDP, 0, &transport(4000, 9, UDP)));
    let tcp4 = ethernet(IPV4, &ipv4(A4, B4, TCP, 0, &transport(4000, 80, TCP)));
    let icmp = ethernet(IPV4, &ipv4(A4, B4, ICMP, 0, &[0; 20]));
    let udp6 = ethernet(IPV6, &ipv6(A6, B6, UDP, &transport(4000, 9, UDP)));
    let tcp6 = ethernet(IPV6, &ipv6(A6, B6, TCP, &transport(4000, 80, TCP)));
    let arp = ethernet(ARP, &[0; 46]);
    let vlan = tagged(&udp4, &[(CTAG, 0x6005)]);
    let frames = [&udp4, &tcp4, &icmp, &udp6, &tcp6, &arp, &vlan];

    bed.up()?;
    bed.b.ethtool("-X", "equal 1")?;
    let sender = Sender::open(&bed.a)?;
    for (rule, expected) in [
        ("flow-type udp4", [1, 0, 0, 0, 0, 0, 1]),
        (
            "flow-type udp4 dst-port 9 src-ip 10.77.0.1",
            [1, 0, 0, 0, 0, 0, 1],
        ),
        ("flow-type udp4 dst-port 10", [0; 7]),
        (
            "flow-type tcp4 src-port 4000 dst-ip 10.77.0.2",
            [0, 1, 0, 0, 0, 0, 0],
        ),
        ("flow-type ip4 l4proto 1", [0, 0, 1, 0, 0, 0, 0]),
        ("flow-type ip4 dst-ip 10.77.0.2", [1, 1, 1, 0, 0, 0, 1]),
        (
            "flow-type ip4 dst-ip 10.77.0.3 m 0.0.0.255",
            [1, 1, 1, 0, 0, 0, 1],
        ),
        ("flow-type udp6 src-ip fd77::1", [0, 0, 0, 1, 0, 0, 0]),
        ("flow-type tcp6 dst-port 80", [0, 0, 0, 0, 1, 0, 0]),
        ("flow-type ip6", [0, 0, 0, 1, 1, 0, 0]),
        ("flow-type ether proto 0x806", [0, 0, 0, 0, 0, 1, 0]),
        ("flow-type ether vlan 5 m 0xf000", [0, 0, 0, 0, 0, 0, 1]),
        ("flow-type udp4 vlan 5 m 0xf000", [0, 0, 0, 0, 0, 0, 1]),
        ("flow-type ether", [1; 7]),
    ] {
        let place = add(&bed.b, &format!("{rule} action 3"))?;
        for strip in ["on", "off"] {
            bed.b.ethtool("-K", &format!("rxvlan {strip}"))?;
            for (n, frame) in frames.iter().enumerate() {
                ensure_eq!(
                    ring_of(bed, &sender, frame)?,
                    3 * expected[n],
                    "{rule}: ring of frame {n}"
                );
            }
        }
        bed.b.ethtool("-N", &format!("delete {place}"))?;
    }
    for (mac, expected) in [(mac_text(&NOBODY), 1), ("02:00:00:00:00:77".to_owned(), 0)] {
        let place = add(&bed.b, &format!("flow-type udp4 dst-mac {mac} action 1"))?;
        ensure_eq!(ring_of(bed, &sender, &udp4)?, expected, "dst-mac {mac}");
        bed.b.ethtool("-N", &format!("delete {place}"))?;
    }
    // The first rule that matches a frame decides.
    bed.b.ethtool("-N", "flow-type ip4 action 2 loc 9")?;
    bed.b.ethtool("-N", "flow-type udp4 action 1 loc 5")?;
    ensure_eq!(ring_of(bed, &sender, &udp4)?, 1, "ring of a UDP frame");
    ensure_eq!(ring_of(bed, &sender, &tcp4)?, 2, "ring of a TCP frame");
    bed.b.ethtool("-N", "flow-type ip4 action 3 loc 4")?;
    ensure_eq!(
        ring_of(bed, &sender, &udp4)?,
        3,
        "ring with a rule before it"
    );
    settle_wire(bed).map(drop)
}

case!(ports "ntuple::drop", "queues=2", dropped);
case!(ports "ntuple::drop_with_one_queue", "queues=1", dropped);
/// What a rule drops is counted there, whoever sends it, and everything else arrives.
fn dropped(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 100;
    let mut steer = Steer::load()?;
    let probes: Vec<_> = (0..COUNT).map(|seq| Probe::new(seq % 16, seq)).collect();
    let back: Vec<_> = probes
        .iter()
        .map(|probe| probe.clone().verdict(verdict::TX))
        .collect();

    bed.up()?;
    let place = add(&bed.b, "flow-type udp4 dst-port 9 action -1")?;
    send_all(bed, &probes)?;
    let arp = ethernet(ARP, &[0; 46]);
    Sender::open(&bed.a)?.send(&arp)?;
    bed.b.wait_received(1)?;
    let (a, b) = settle(bed)?;
    ensure_eq!(
        b.counters.dropped_by("ntuple")?,
        u64::from(COUNT),
        "dropped"
    );
    ensure_eq!(b.counters.rx("packets")?, 1, "received");
    ensure_eq!(a.counters.tx("packets")?, u64::from(COUNT) + 1, "sent");
    bed.b.ethtool("-N", &format!("delete {place}"))?;

    // XDP_TX, and ndo_xdp_xmit of the same port.
    add(&bed.a, "flow-type udp4 src-ip 10.77.0.1 action -1")?;
    for way in ["XDP_TX", "ndo_xdp_xmit"] {
        if way == "XDP_TX" {
            steer.back()?;
        } else {
            steer.by_ifindex(bed.b.ifindex)?;
        }
        let before = bed.a.counters()?.dropped_by("ntuple")?;
        bed.b.attach(&steer.program)?;
        send_all(bed, &back)?;
        let (a, b) = settle(bed)?;
        ensure_eq!(
            a.counters.dropped_by("ntuple")? - before,
            u64::from(COUNT),
            "{way}: dropped"
        );
        ensure_eq!(b.counters.rx("xdp_tx_errors")?, 0, "{way}: xdp_tx_errors");
        ensure_eq!(b.counters.tx("xdp_xmit_errors")?, 0, "{way}: errors");
        bed.b.detach()?;
    }

    // While the port is down no frame reaches its rules.
    bed.a.down()?;
    bed.a.up()?;
    bed.a.wait_running(true)?;
    bed.a.ethtool("-K", "ntuple off")?;
    check_alive(bed)
}

case!(ports "ntuple::channels", "queues=4", channels);
/// A queue that a rule sends to is not removed, and rules stay when others are.
fn channels(bed: &Bed) -> Result<()> {
    bed.up()?;
    add(&bed.b, "flow-type udp4 dst-port 9 action 2")?;
    add(&bed.b, "flow-type tcp4 action -1")?;
    for count in [1, 2] {
        let text = bed.b.ethtool_refusal("-L", &format!("combined {count}"))?;
        ensure!(
            text.contains("too low for existing ntuple filter settings"),
            "ethtool -L combined {count}: {text}"
        );
    }
    let sender = Sender::open(&bed.a)?;
    let frame = Probe::new(1, 0).frame();
    for count in [3, 4, 3] {
        bed.b.ethtool("-L", &format!("combined {count}"))?;
        ensure_eq!(places(&bed.b)?, [0, 1], "rules with {count} channels");
        ensure_eq!(
            ring_of(bed, &sender, &frame)?,
            2,
            "ring with {count} channels"
        );
    }
    bed.b.ethtool("-N", "delete 0")?;
    bed.b.ethtool("-L", "combined 1")?;
    ensure_eq!(ring_of(bed, &sender, &frame)?, 0, "ring with one channel");
    settle(bed).map(drop)
}

case!(ports "ntuple::queue_of_a_socket", "queues=4", socket);
/// A socket gets the flow that a rule sends to its queue.
fn socket(bed: &Bed) -> Result<()> {
    socket_gets(bed, || add(&bed.b, "flow-type udp4 dst-port 9 action 2"))
}

case!(ports "ntuple::changed_under_traffic", "queues=4", under_traffic);
/// Rules are added and deleted under traffic: each frame follows the old rules or the new ones.
fn under_traffic(bed: &Bed) -> Result<()> {
    let program = Program::load("count", "count_drop")?;

    bed.up()?;
    bed.b.attach(&program)?;
    let sources = [Source::new(&bed.a), Source::new(&bed.b)];
    while_sending(&sources, |_| {
        for n in 0..6 {
            let rules = [
                add(
                    &bed.b,
                    &format!("flow-type udp4 dst-port 9 action {}", n % 3),
                )?,
                add(&bed.b, "flow-type tcp4 action -1")?,
            ];
            wait_flowing(bed, 100)?;
            for count in [3, 4] {
                bed.b.ethtool("-L", &format!("combined {count}"))?;
                wait_flowing(bed, 100)?;
            }
            for place in rules {
                bed.b.ethtool("-N", &format!("delete {place}"))?;
            }
            wait_flowing(bed, 100)?;
        }
        Ok(())
    })?;
    all_received(bed)
}
