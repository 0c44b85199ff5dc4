// SPDX-License-Identifier: GPL-2.0

//! The receive filter: which frames a port takes, and what becomes of the others.

use crate::{
    bed::{mac_text, Bed, Port, V4, V6},
    bpf::Program,
    harness::case,
    host::{ensure_eq, kmsg::Kmsg, live, process::Running, wait_until},
    nl::link::New,
    stats::{check_both, Snapshot},
    support::{
        ports::is_promiscuous,
        steer::Steer,
        traffic::{settle, settle_wire, while_sending, Source},
    },
    wire::{
        frames::{tagged, CTAG, STAG},
        packet::{Sender, Tap},
        probe::Probe,
        Mac, NOBODY, SOURCE,
    },
};
use anyhow::{ensure, Result};
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

/// A unicast address that no one receives.
const FOREIGN: Mac = [0x02, 0, 0, 0, 0, 0x77];
/// The same for a multicast address.
const GROUP: Mac = [0x01, 0, 0x5e, 0x77, 0, 0x77];
const BROADCAST: Mac = [0xff; 6];

/// Sends frames from A and checks which of them B takes.
struct Gate<'a> {
    bed: &'a Bed,
    /// Sees every frame that B takes.
    program: Program,
    tap: Tap,
    sender: Sender,
}

impl<'a> Gate<'a> {
    fn make(bed: &'a Bed) -> Result<Self> {
        let program = Program::load("count", "count_pass")?;

        bed.b.attach(&program)?;
        bed.up()?;
        Ok(Self {
            bed,
            program,
            tap: Tap::open(&bed.b)?,
            sender: Sender::open(&bed.a)?,
        })
    }

    /// Sends frames to these addresses. Fails unless B takes exactly the ones that are marked as
    /// taken.
    fn check(&self, what: &str, addresses: &[(Mac, bool)]) -> Result<()> {
        let probes: Vec<_> = addresses
            .iter()
            .zip(0..)
            .map(|((mac, _), seq)| Probe {
                dst: *mac,
                ..Probe::new(1, seq)
            })
            .collect();
        let frames: Vec<_> = probes.iter().map(Probe::frame).collect();
        let taken: Vec<_> = addresses
            .iter()
            .zip(probes)
            .filter_map(|((_, taken), probe)| taken.then_some(probe))
            .collect();

        self.send(what, &frames, taken.len(), "mac_filter")?;
        ensure_eq!(self.tap.probes(taken.len())?, taken, "{what}: frames at B");
        Ok(())
    }

    /// Sends frames. Fails unless B takes `taken` of them, counts all others as dropped by that
    /// filter, and its program has seen exactly the ones that it took.
    fn send(&self, what: &str, frames: &[Vec<u8>], taken: usize, filter: &str) -> Result<()> {
        settle_filter(&self.bed.b)?;
        let before = settle_wire(self.bed)?;
        let seen = self.program.seen()?;
        frames
            .iter()
            .try_for_each(|frame| self.sender.send(frame))?;
        let after = settle_wire(self.bed)?;
        let counts = |(a, b): &(Snapshot, Snapshot)| {
            Ok::<_, anyhow::Error>((
                a.counters.tx("packets")?,
                b.counters.rx("packets")?,
                b.counters.dropped_by(filter)?,
            ))
        };
        let (old, new) = (counts(&before)?, counts(&after)?);

        ensure_eq!(
            (
                new.0 - old.0,
                new.1 - old.1,
                new.2 - old.2,
                self.program.seen()? - seen
            ),
            (
                frames.len() as u64,
                taken as u64,
                (frames.len() - taken) as u64,
                taken as u64
            ),
            "{what}: frames that A sent, that B took, that its {filter} dropped, and that its \
             program saw"
        );
        Ok(())
    }
}

/// The kernel hands a changed list to the port in a work item, at the latest before the next change
/// of the link returns.
fn settle_filter(port: &Port) -> Result<()> {
    port.up()
}

case!(ports "filter::addresses_and_modes", "", modes);
fn modes(bed: &Bed) -> Result<()> {
    let gate = Gate::make(bed)?;
    let own = bed.b.mac()?;
    let check = |what: &str, foreign: bool, group: bool| {
        gate.check(
            what,
            &[
                (own, true),
                (FOREIGN, foreign),
                (BROADCAST, true),
                (GROUP, group),
                // A listed one.
                (NOBODY, true),
                // One bit off the port's own address.
                (
                    [own[0], own[1], own[2], own[3], own[4], own[5] ^ 1],
                    foreign,
                ),
                (bed.a.mac()?, foreign),
            ],
        )
    };

    check("by default", false, false)?;
    bed.b.set_promisc(true)?;
    check("promiscuous", true, true)?;
    bed.b.set_promisc(false)?;
    check("no longer promiscuous", false, false)?;
    bed.b.set_allmulticast(true)?;
    check("all multicast", false, true)?;
    bed.b.set_allmulticast(false)?;
    check("no longer all multicast", false, false)?;

    let ip = |what: &str| {
        let (ns, name) = (&bed.b.ns, &bed.b.name);

        ns.ip(&format!("maddr {what} {} dev {name}", mac_text(&GROUP)))
    };
    ip("add")?;
    check("ip maddr add", false, true)?;
    // What is set stays while the port is down.
    bed.b.down()?;
    bed.up()?;
    check("down and up again", false, true)?;
    ip("del")?;
    check("ip maddr del", false, false)?;
    bed.b.receive(&FOREIGN)?;
    gate.check("a listed address", &[(FOREIGN, true), (GROUP, false)])?;
    bed.b.receive_no_more(&FOREIGN)?;
    check("as at first", false, false)?;

    // Filtering is the card's normal work: neither an error nor a loss for the user.
    let link = bed.b.link()?;
    for name in ["rx_errors", "rx_dropped", "rx_missed_errors"] {
        ensure_eq!(link.stat(name)?, 0, "{name}");
    }
    Ok(())
}

case!(ports "filter::groups_that_sockets_join", "", groups);
/// Groups of IPv4 and IPv6, as long as someone is in them.
fn groups(bed: &Bed) -> Result<()> {
    const V4_GROUP: Ipv4Addr = Ipv4Addr::new(239, 7, 8, 9);
    const V4_MAC: Mac = [0x01, 0, 0x5e, 7, 8, 9];
    const V6_GROUP: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0x1234, 0x5678);
    const V6_MAC: Mac = [0x33, 0x33, 0x12, 0x34, 0x56, 0x78];
    let gate = Gate::make(bed)?;
    let check = |what: &str, v4: bool, v6: bool| {
        gate.check(what, &[(V4_MAC, v4), (V6_MAC, v6), (GROUP, false)])
    };

    bed.b
        .ns
        .sysctl(&format!("ipv6/conf/{}/disable_ipv6", bed.b.name), "0")?;
    bed.b.add_address(&format!("{}/24", V4[1]))?;
    check("nobody is in a group", false, false)?;
    let v4 = bed.b.ns.enter(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
    v4.join_multicast_v4(&V4_GROUP, &V4[1].parse()?)?;
    check("a socket is in the group of IPv4", true, false)?;
    let v6 = bed.b.ns.enter(|| Ok(UdpSocket::bind("[::]:0")?))?;
    v6.join_multicast_v6(&V6_GROUP, bed.b.ifindex)?;
    check("sockets are in both groups", true, true)?;
    drop(v4);
    check("a socket is in the group of IPv6", false, true)?;
    v6.leave_multicast_v6(&V6_GROUP, bed.b.ifindex)?;
    check("all have left", false, false)
}

case!(ports "filter::address_changes", "queues=2", address_changes);
/// Up and down, and what is refused changes nothing.
fn address_changes(bed: &Bed) -> Result<()> {
    let gate = Gate::make(bed)?;
    let old = bed.b.mac()?;
    let check = |what: &str, is_old: bool| gate.check(what, &[(old, is_old), (FOREIGN, !is_old)]);

    check("at first", true)?;
    bed.b.set_mac(&FOREIGN)?;
    check("changed while up", false)?;
    for address in [BROADCAST, GROUP, [0; 6]] {
        bed.b
            .ip_link_set_refusal(&format!("address {}", mac_text(&address)))?;
    }
    check("others were refused", false)?;
    bed.b.down()?;
    bed.b.set_mac(&old)?;
    bed.up()?;
    check("changed while down", true)
}

case!(ports "filter::address_changes_under_traffic", "", under_traffic);
/// Frames to the old and to the new address all the time. Each is received or counted, and after
/// the change only frames to the new address are received.
fn under_traffic(bed: &Bed) -> Result<()> {
    const ROUNDS: usize = 20;
    let gate = Gate::make(bed)?;
    let macs = [bed.b.mac()?, FOREIGN];
    let sources = macs.map(|dst| {
        Source::new(&bed.a).probe(Probe {
            dst,
            ..Probe::new(0, 0)
        })
    });

    let counts = || -> Result<[u64; 2]> {
        let counters = bed.b.counters()?;
        Ok([counters.rx("packets")?, counters.dropped_by("mac_filter")?])
    };
    while_sending(&sources, |_| {
        for round in 0..ROUNDS {
            let before = counts()?;

            wait_until("frames are received, and others dropped", || {
                Ok(counts()?.iter().zip(before).all(|(now, old)| *now > old))
            })?;
            bed.b.set_mac(&macs[(round + 1) % 2])?;
        }
        Ok(())
    })?;
    let (a, b) = settle(bed)?;
    let (received, dropped) = (
        b.counters.rx("packets")?,
        b.counters.dropped_by("mac_filter")?,
    );
    ensure_eq!(
        received + dropped,
        a.counters.tx("packets")?,
        "received {received}, dropped {dropped}, against sent"
    );
    gate.tap.rest()?;
    gate.check("after all", &[(macs[0], true), (macs[1], false)])
}

case!(ports "filter::more_addresses_than_room", "queues=1", tables);
/// The filter has room for a number of addresses. With one more all frames of the kind are let in,
/// and the log says so; the port does not become promiscuous.
fn tables(bed: &Bed) -> Result<()> {
    const UNICAST: usize = 64;
    const MULTICAST: usize = 128;
    let gate = Gate::make(bed)?;
    // The groups that the stack itself has joined are on the list too.
    let joined = bed
        .b
        .ns
        .ip(&format!("maddr show dev {}", bed.b.name))?
        .lines()
        .filter(|line| line.trim_start().starts_with("link"))
        .count();

    for (kind, first, room, there) in [
        ("unicast", 0x02, UNICAST, [NOBODY, SOURCE].len()),
        ("multicast", 0x03, MULTICAST, joined),
    ] {
        let address = |n: usize| [first, 0x10, 0, 0, 0, n as u8];
        let added: Vec<_> = (there..room).map(address).collect();
        let last = address(room);
        let is_unicast = kind == "unicast";
        let mut log = Kmsg::from_now()?;
        let mut expect_log = |text: &str| -> Result<()> {
            let lines: Vec<_> = log
                .lines()?
                .iter()
                .filter(|line| line.text.contains("receive filter"))
                .map(|line| line.text.clone())
                .collect();

            ensure_eq!(
                lines.last().map(String::as_str),
                Some(text),
                "the last of {lines:?}"
            );
            Ok(())
        };
        let check = |what: &str, all: bool| {
            let addresses: Vec<_> = added
                .iter()
                .map(|mac| (*mac, true))
                .chain([(FOREIGN, all && is_unicast), (GROUP, all && !is_unicast)])
                .collect();

            gate.check(&format!("{what} {kind} addresses"), &addresses)
        };

        added.iter().try_for_each(|mac| bed.b.receive(mac))?;
        check("as many as there is room for", false)?;
        bed.b.receive(&last)?;
        check("more", true)?;
        expect_log(&format!(
            "oxnic ox1: receive filter: more than {room} {kind} addresses: all {kind} frames \
             are accepted"
        ))?;
        ensure!(!is_promiscuous(&bed.b)?, "B is called promiscuous");
        bed.b.receive_no_more(&last)?;
        check("no more than there is room for", false)?;
        expect_log(&format!(
            "oxnic ox1: receive filter: at most {room} {kind} addresses: {kind} frames are \
             filtered again"
        ))?;
        added
            .iter()
            .try_for_each(|mac| bed.b.receive_no_more(mac))?;
        gate.check(
            "none",
            &[(added[0], false), (added[room - there - 1], false)],
        )?;
    }
    Ok(())
}

case!(ports "filter::vlans", "", vlans);
/// The VLAN filter: off, on, with VLAN devices that come and go, and with tags in the frame or in
/// the metadata.
fn vlans(bed: &Bed) -> Result<()> {
    let gate = Gate::make(bed)?;
    let frame = Probe {
        dst: bed.b.mac()?,
        ..Probe::new(1, 0)
    }
    .frame();
    let tags: [&[(u16, u16)]; 8] = [
        &[],
        &[(CTAG, 0xa000)],
        &[(CTAG, 5)],
        &[(CTAG, 0x6005)],
        &[(CTAG, 6)],
        &[(CTAG, 6), (CTAG, 5)],
        &[(STAG, 6)],
        &[(CTAG, 4095)],
    ];
    let frames = tags.map(|tags| tagged(&frame, tags));
    let check = |what: &str, five: bool, six: bool, rest: bool| {
        let taken = [true, true, five, five, six, six, true, rest];
        let taken = taken.iter().filter(|taken| **taken).count();

        gate.send(what, &frames, taken, "vlan_filter")
    };
    let vlan = |port: &Port, what: &str, id: u16| {
        let name = format!("v{id}");
        match what {
            "add" => Port::add(&port.ns, &name, New::vlan(port.ifindex, CTAG, id)).map(drop),
            _ => Port::find(&port.ns, &name)?.delete(),
        }
    };
    let filter = |on: &str| bed.b.ethtool("-K", &format!("rx-vlan-filter {on}"));

    check("filter off", true, true, true)?;
    vlan(&bed.b, "add", 5)?;
    for strip in ["on", "off"] {
        bed.b.ethtool("-K", &format!("rxvlan {strip}"))?;
        filter("on")?;
        check("filter on", true, false, false)?;
        vlan(&bed.b, "add", 6)?;
        check("a further VLAN", true, true, false)?;
        vlan(&bed.b, "del", 5)?;
        check("a VLAN less", false, true, false)?;
        bed.b.set_promisc(true)?;
        check("promiscuous", true, true, true)?;
        bed.b.set_promisc(false)?;
        check("no longer promiscuous", false, true, false)?;
        filter("off")?;
        check("filter off again", true, true, true)?;
        vlan(&bed.b, "add", 5)?;
        vlan(&bed.b, "del", 6)?;
    }

    // A tag that A inserts: the filter finds it in the metadata, not in the frame.
    filter("on")?;
    for (id, taken) in [(5, true), (6, false)] {
        vlan(&bed.a, "add", id)?;
        let near = Port::find(&bed.a.ns, &format!("v{id}"))?;
        near.up()?;
        near.wait_running(true)?;
        let before = bed.b.counters()?;
        Sender::open(&near)?.send(&frame)?;
        let (_, b) = settle_wire(bed)?;
        let b = b.counters;
        ensure_eq!(
            (
                b.rx("packets")? - before.rx("packets")?,
                b.dropped_by("vlan_filter")? - before.dropped_by("vlan_filter")?
            ),
            (u64::from(taken), u64::from(!taken)),
            "received and dropped from a device of VLAN {id}"
        );
    }
    Ok(())
}

case!(ports "filter::frames_of_xdp", "", xdp_frames);
/// The receiver filters: frames of XDP_TX and ndo_xdp_xmit count as sent, and being filtered at the
/// other end is no error.
fn xdp_frames(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 100;
    let mut steer = Steer::load()?;
    let watcher = Program::load("count", "count_pass")?;
    let own = bed.a.mac()?;
    let mut expected = 0;

    bed.a.attach(&watcher)?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    for (to, taken) in [(own, true), (FOREIGN, false)] {
        // The program exchanges the addresses.
        let probe = Probe {
            src: to,
            ..Probe::new(1, 0)
        };

        steer.back()?;
        Sender::open(&bed.a)?.send_flow(&probe, COUNT)?;
        let (a, b) = settle(bed)?;
        expected += if taken { COUNT } else { 0 };
        ensure_eq!(watcher.seen()?, u64::from(expected), "frames of XDP_TX");
        b.counters.expect_rx("B", &[("xdp_tx_errors", 0)])?;

        steer.by_ifindex(bed.b.ifindex)?;
        let frame = Probe {
            dst: to,
            ..Probe::new(1, 0)
        }
        .frame();
        bed.b
            .ns
            .enter(|| live::run(steer.program.fd()?, &frame, COUNT))?;
        let dropped = a.counters.dropped_by("mac_filter")?;
        let (a, b) = settle(bed)?;
        expected += if taken { COUNT } else { 0 };
        ensure_eq!(
            watcher.seen()?,
            u64::from(expected),
            "frames of ndo_xdp_xmit"
        );
        b.counters.expect_tx("B", &[("xdp_xmit_errors", 0)])?;
        ensure_eq!(
            (dropped, a.counters.dropped_by("mac_filter")?),
            if taken {
                (0, 0)
            } else {
                (COUNT.into(), 2 * u64::from(COUNT))
            },
            "frames that A dropped"
        );
    }
    tap.probes(expected as usize)?;
    let (_, b) = settle(bed)?;
    b.counters
        .expect_rx("B", &[("xdp_tx", 2 * u64::from(COUNT))])?;
    b.counters
        .expect_tx("B", &[("xdp_xmit", 2 * u64::from(COUNT))])
}

case!(ports "filter::tcpdump", "", tcpdump);
/// While a socket wants all frames, the port takes all of them.
fn tcpdump(bed: &Bed) -> Result<()> {
    let gate = Gate::make(bed)?;
    let check = |what: &str, taken: bool| gate.check(what, &[(FOREIGN, taken), (GROUP, taken)]);

    check("before", false)?;
    let mut running = bed.b.ns.enter(|| {
        Running::start(&format!(
            "tcpdump -Z root -i {} -l -n -e -p ether host {}",
            bed.b.name,
            mac_text(&FOREIGN)
        ))
    })?;
    running.wait_for("listening on")?;
    check("tcpdump -p", false)?;
    running.interrupt()?;

    let mut running = bed.b.ns.enter(|| {
        Running::start(&format!(
            "tcpdump -Z root -i {} -l -n -e ether host {}",
            bed.b.name,
            mac_text(&FOREIGN)
        ))
    })?;
    running.wait_for("listening on")?;
    ensure!(
        is_promiscuous(&bed.b)?,
        "tcpdump has not made B promiscuous"
    );
    check("tcpdump", true)?;
    running.wait_for(&format!("> {}", mac_text(&FOREIGN)))?;
    running.interrupt()?;
    check("after", false)
}

case!(ports "filter::neighbour_discovery", "", neighbours);
/// Two stacks without known neighbours find and reach each other, since each receives the multicast
/// groups that it needs.
fn neighbours(bed: &Bed) -> Result<()> {
    for (port, v4, v6) in [(&bed.a, V4[0], V6[0]), (&bed.b, V4[1], V6[1])] {
        let name = &port.name;

        port.ns
            .sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "0")?;
        port.ns.ip(&format!("addr add {v4}/24 dev {name}"))?;
        port.ns.ip(&format!("addr add {v6}/64 dev {name}"))?;
    }
    bed.up()?;
    for port in [&bed.a, &bed.b] {
        wait_until("the addresses are found to be nobody else's", || {
            let text = port.ns.ip(&format!("addr show dev {}", port.name))?;

            Ok(!text.contains("tentative"))
        })?;
    }
    for address in [V6[1], V4[1]] {
        bed.a.ns.ping(&format!("-c 3 -i 0.01 {address}"))?;
    }
    let (a, b) = bed.settled()?;
    check_both(&a, &b)?;
    ensure!(
        !is_promiscuous(&bed.a)? && !is_promiscuous(&bed.b)?,
        "a port is promiscuous"
    );
    Ok(())
}
