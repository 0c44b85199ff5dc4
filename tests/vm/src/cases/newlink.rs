// SPDX-License-Identifier: GPL-2.0

//! Ports that users make, join and delete: `ip link add ... type oxnic`.

use crate::{
    bed::{port_names, Bed, Port, NS_A, NS_B},
    bpf::{wait_freed, Program},
    harness::case,
    host::{ensure_eq, live, module, netns::Netns, wait_until},
    nl::{
        link::{self, LinkAttribute, New},
        Refused,
    },
    support::{
        ports::{check_sizes, exchange, found, make_joined},
        steer::Steer,
        traffic::{wait_flowing, while_sending, Source},
    },
    wire::{
        packet::Sender,
        probe::{verdict, Probe},
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::{errno::Errno, net::if_::if_nametoindex};

/// No link has this number.
const NOBODY: u32 = 0x7fff_0000;

/// What `ip -d -j link` says about a device, a list of `"name":value`.
struct Shown {
    name: String,
    text: String,
}

impl Shown {
    fn of(port: &Port) -> Result<Self> {
        let line = format!("-d -j link show dev {}", port.name);

        Ok(Self {
            name: port.name.clone(),
            text: port.ns.ip(&line)?,
        })
    }

    fn has(&self, what: &str) -> Result<&Self> {
        ensure!(
            self.text.contains(what),
            "{}: no {what} in: {}",
            self.name,
            self.text
        );
        Ok(self)
    }

    fn lacks(&self, what: &str) -> Result<&Self> {
        ensure!(
            !self.text.contains(what),
            "{}: {what} in: {}",
            self.name,
            self.text
        );
        Ok(self)
    }
}

/// Makes a port without a peer, which receives the tests' frames.
fn make(ns: &Netns, name: &str) -> Result<Port> {
    let port = Port::add(ns, name, New::port())?;

    port.receive_probes()?;
    Ok(port)
}

fn exists(ns: &Netns, name: &str) -> bool {
    Port::find(ns, name).is_ok()
}

/// Makes namespaces for a module without ports.
fn empty(params: &str) -> Result<(Netns, Netns)> {
    module::load(&format!("pairs=0 {params}"))?;
    ensure_eq!(port_names()?, Vec::<String>::new(), "ports of no pair");
    Ok((Netns::create(NS_A)?, Netns::create(NS_B)?))
}

case!(bare "newlink::alone", alone);
/// Ports without a peer have the settings of the request, and no carrier.
fn alone() -> Result<()> {
    let (ns, _) = empty("queues=3 ring_size=128")?;

    for what in [
        "type oxnic",
        "name lone address 02:00:00:00:12:34 mtu 3000 txqueuelen 77 type oxnic",
        "numrxqueues 2 numtxqueues 2 type oxnic",
        "numrxqueues 64 type oxnic",
        "numtxqueues 1 index 4711 type oxnic",
    ] {
        ns.ip(&format!("link add {what}"))?;
    }
    for (name, queues) in [("ox0", 3), ("lone", 3), ("ox1", 2), ("ox2", 64), ("ox3", 1)] {
        let port = found(&ns, name)?;

        check_sizes(&port, queues, 128)?;
        port.up()?;
        Shown::of(&port)?
            .has("\"info_kind\":\"oxnic\"")?
            .has("\"UP\"")?
            .has("\"NO-CARRIER\"")?
            .has("\"link\":null")?;
        ensure!(!port.link()?.carrier, "{name}: carrier without a peer");
    }
    let lone = found(&ns, "lone")?;
    ensure_eq!(lone.mac()?, [2, 0, 0, 0, 0x12, 0x34], "address");
    ensure_eq!(lone.link()?.mtu, 3000, "MTU");
    Shown::of(&lone)?.has("\"txqlen\":77,")?;
    ensure_eq!(found(&ns, "ox3")?.ifindex, 4711, "number");

    for name in ["ox0", "lone", "ox1", "ox2", "ox3"] {
        ns.ip(&format!("link del {name}"))?;
        ensure!(!exists(&ns, name), "{name} is there although deleted");
    }
    Ok(())
}

case!(bare "newlink::sends_to_nobody", sends_to_nobody);
/// Without a peer frames are lost, and counted as for a peer that is down.
fn sends_to_nobody() -> Result<()> {
    const COUNT: u32 = 100;
    let (ns, _) = empty("queues=2")?;
    let port = make(&ns, "ox0")?;
    let mut steer = Steer::load()?;

    port.up()?;
    steer.by_ifindex(port.ifindex)?;
    ns.enter(|| live::run(steer.program.fd()?, &Probe::new(1, 7).frame(), COUNT))?;
    Sender::open(&port)?.send_flow(&Probe::new(1, 0), COUNT)?;
    wait_until("all redirected frames are counted", || {
        Ok(port.counters()?.tx("xdp_xmit_errors")? >= COUNT.into())
    })?;
    let seen = port.snapshot()?;
    seen.counters.expect_tx(
        "ox0",
        &[
            ("packets", 0),
            ("xdp_xmit", 0),
            ("xdp_xmit_errors", COUNT.into()),
        ],
    )?;
    seen.check_link_stats_after_down()
}

case!(bare "newlink::joined", joined);
/// A port that is joined with one in another namespace is a wire between both.
fn joined() -> Result<()> {
    const FRAMES: u32 = 300;
    let (ns_a, ns_b) = empty("queues=2 ring_size=512")?;

    let a = make(&ns_a, "ox0")?;
    a.up()?;
    ns_a.ip(&format!(
        "link add ox1 netns {NS_B} link ox0 numrxqueues 4 numtxqueues 4 mtu 3000 type oxnic"
    ))?;
    let b = found(&ns_b, "ox1")?;
    ensure_eq!(b.link()?.mtu, 3000, "MTU");
    for (port, peer) in [(&a, &b), (&b, &a)] {
        Shown::of(port)?
            .has(&format!("\"link_index\":{},", peer.ifindex))?
            .has("\"link_netnsid\":")?;
    }

    let bed = Bed { a, b };
    ensure!(!bed.a.link()?.carrier, "carrier although the peer is down");
    let programs = [
        Program::load("count", "count_pass")?,
        Program::load("count", "count_pass")?,
    ];
    for (port, program) in [&bed.a, &bed.b].into_iter().zip(&programs) {
        port.set_tx_queue_len(1000)?;
        port.attach(program)?;
    }
    bed.up()?;
    exchange(&bed, FRAMES)?;
    for program in &programs {
        ensure_eq!(program.seen()?, u64::from(FRAMES), "frames a program saw");
    }

    // In one namespace the other end is shown by its name.
    bed.a.down()?;
    bed.a.to_ns(&ns_b)?;
    for (name, peer) in [("ox0", "ox1"), ("ox1", "ox0")] {
        Shown::of(&found(&ns_b, name)?)?
            .has(&format!("\"link\":\"{peer}\""))?
            .lacks("link_netnsid")?;
    }
    module::unload()
}

case!(bare "newlink::joined_by_netnsid", joined_by_netnsid);
/// The peer is looked up in the namespace that the user names.
fn joined_by_netnsid() -> Result<()> {
    let (ns_a, ns_b) = empty("queues=2")?;

    let a = make(&ns_a, "ox0")?;
    // So that the number names no port, or another one, in the namespace of the request.
    ns_b.ip(&format!("netns set {NS_A} 7"))?;
    let new = New::peer_of(a.ifindex).with(LinkAttribute::LinkNetNsId(7));
    ns_b.enter(|| new.add("ox1"))?;
    let bed = Bed {
        a,
        b: found(&ns_b, "ox1")?,
    };
    Shown::of(&bed.b)?.has("\"link_netnsid\":7,")?;
    bed.up()?;
    exchange(&bed, 50)
}

case!(ports "newlink::refusals", "pairs=2", refusals);
/// Wrong requests are refused with a reason, and leave nothing behind.
fn refusals(bed: &Bed) -> Result<()> {
    let ns = &bed.a.ns;
    let lo = Port::find(ns, "lo")?.ifindex;
    let queues = |tx, rx| {
        New::port()
            .with(LinkAttribute::NumTxQueues(tx))
            .with(LinkAttribute::NumRxQueues(rx))
    };
    let with_mac = |mac: &[u8]| New::port().with(LinkAttribute::Address(mac.to_vec()));
    let range = "numtxqueues, numrxqueues: must be 1 to 64";
    let address = "address: must be a unicast Ethernet address";
    let data = "this type of link has no such setting";
    let kind = "link: must be a device of type oxnic";
    let no_device = "link: no such device";
    // The attribute that there is, a text, and one that there is not.
    let card = [8, 0, 1, 0, b'e', b'1', b'k', 0].to_vec();
    let other = [8, 0, 2, 0, 1, 0, 0, 0].to_vec();
    let links = ns.ip("-br link")?;

    for (new, errno, reason) in [
        (
            queues(2, 3),
            Errno::EINVAL,
            "numtxqueues, numrxqueues: must be equal",
        ),
        (queues(0, 0), Errno::EINVAL, range),
        (queues(65, 65), Errno::EINVAL, range),
        (
            New::port().with(LinkAttribute::NumRxQueues(65)),
            Errno::EINVAL,
            range,
        ),
        (with_mac(&[1, 0, 0, 0, 0, 1]), Errno::EADDRNOTAVAIL, address),
        (with_mac(&[0; 6]), Errno::EADDRNOTAVAIL, address),
        (with_mac(&[2; 8]), Errno::EADDRNOTAVAIL, address),
        (
            New::port().mtu(67),
            Errno::EINVAL,
            "mtu less than device minimum",
        ),
        (
            New::port().mtu(1 << 20),
            Errno::EINVAL,
            "mtu greater than device maximum",
        ),
        (New::port().with_data(vec![]), Errno::EINVAL, data),
        (New::port().with_data(other), Errno::EINVAL, data),
        (
            New::port().with_data(card),
            Errno::EINVAL,
            "personality: there is none of this name",
        ),
        (New::peer_of(lo), Errno::EINVAL, kind),
        (New::peer_of(NOBODY), Errno::ENODEV, no_device),
        (New::peer_of(0), Errno::ENODEV, no_device),
        (
            New::peer_of(bed.a.ifindex),
            Errno::EBUSY,
            "link: the port already has a peer",
        ),
        // Last, after everything else has been made.
        (
            New::port().with(LinkAttribute::IfName("ox0".to_owned())),
            Errno::EEXIST,
            "",
        ),
    ] {
        let refused = ns
            .enter(|| new.add_any())
            .err()
            .ok_or_else(|| anyhow!("a port was made instead of: {reason}"))?
            .downcast::<Refused>()?;

        ensure_eq!(refused.reason, reason, "reason ({:?})", refused.errno);
        ensure_eq!(refused.errno, errno, "{reason}");
        ensure_eq!(ns.ip("-br link")?, links, "links after: {reason}");
    }

    // Nothing is left behind at the port that was asked for either.
    bed.b.delete()?;
    let refused = ns
        .ip_refusal("link add ox0 link ox0 type oxnic")
        .context("a name that is there")?;
    ensure!(refused.contains("File exists"), "ip says: {refused}");
    let bed = Bed {
        a: bed.a.clone(),
        b: make_joined("ox1", NS_B, &bed.a)?,
    };
    bed.up()?;
    exchange(&bed, 50)
}

case!(ports "newlink::either_end_goes", "queues=2 ring_size=64", either_end_goes);
/// Each end is deleted while frames of all verdicts are in flight, and made again.
fn either_end_goes(bed: &Bed) -> Result<()> {
    const ROUNDS: usize = 6;
    let mut bed = bed.clone();

    for round in 0..ROUNDS {
        let (goes, stays) = match round % 2 {
            0 => (&bed.b, &bed.a),
            _ => (&bed.a, &bed.b),
        };
        let program = Program::load("verdict", "verdict")?;
        let id = program.id;
        goes.attach(&program)?;
        drop(program);
        let acts = [verdict::TX, verdict::PASS, verdict::DROP];
        let mut sources = Source::new(goes).may_fail().times(2);
        sources.extend(acts.map(|act| Source::new(stays).probe(Probe::new(0, 0).verdict(act))));

        bed.up()?;
        while_sending(&sources, |traffic| {
            wait_flowing(&bed, 100)?;
            goes.delete()?;
            ensure!(!exists(&goes.ns, &goes.name), "{} is there", goes.name);
            ensure!(!stays.link()?.carrier, "{}: carrier", stays.name);
            Shown::of(stays)?
                .has("\"UP\"")?
                .has("\"link\":null")?
                .lacks("link_netnsid")?;
            // Sending goes on, without a receiver.
            let before = traffic.taken();
            wait_until("the senders go on", || Ok(traffic.taken() > before + 50))
        })?;
        wait_freed(id)?;
        stays.wait_running(false)?;
        stays.snapshot()?.check_link_stats_after_down()?;

        let ns_name = if round % 2 == 0 { NS_B } else { NS_A };
        let made = make_joined(&goes.name, ns_name, stays)?;
        for name in ["rx_packets", "tx_packets", "tx_errors", "rx_dropped"] {
            ensure_eq!(made.link()?.stat(name)?, 0, "{}: {name}", made.name);
        }
        let stays = stays.clone();
        bed = match round % 2 {
            0 => Bed { a: stays, b: made },
            _ => Bed { a: made, b: stays },
        };
        bed.up()?;
        exchange(&bed, 100)?;
    }
    Ok(())
}

case!(ports "newlink::settings_are_new", "queues=2", settings_are_new);
/// A new port has no settings of its predecessor except those of the wire. The other end keeps its
/// own.
fn settings_are_new(bed: &Bed) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        port.ethtool("-G", "rx 256")?;
        port.ethtool("-A", "rx off tx off")?;
        port.ethtool("-C", "adaptive-rx off rx-usecs 33")?;
        port.ethtool("-s", "speed 25000 duplex full autoneg off")?;
        port.msglvl("drv off")?;
    }
    bed.b.delete()?;
    let made = make_joined("ox1", NS_B, &bed.a)?;
    // Without a link there is no speed.
    for port in [&made, &bed.a] {
        port.up()?;
    }
    for port in [&made, &bed.a] {
        port.wait_running(true)?;
    }
    for (option, theirs, ours) in [
        ("-g", "RX: 512", "RX: 256"),
        ("-a", "RX: on", "RX: off"),
        ("-c", "Adaptive RX: on", "Adaptive RX: off"),
        ("", "(1)", "(0)"),
        ("", "Speed: 25000Mb/s", "Speed: 25000Mb/s"),
    ] {
        for (port, expected) in [(&made, theirs), (&bed.a, ours)] {
            let text = port.ethtool(option, "")?;
            let words: Vec<_> = text.split_whitespace().collect();
            ensure!(
                words.join(" ").contains(expected),
                "{}: ethtool {option}: no \"{expected}\" in {text}",
                port.name
            );
        }
    }
    Ok(())
}

case!(ports "newlink::rmmod", "queues=2", rmmod);
/// Unloading the module removes the users' ports, in all namespaces, with their programs.
fn rmmod(bed: &Bed) -> Result<()> {
    let initial = Netns::initial();
    let (ns_a, ns_b) = (&bed.a.ns, &bed.b.ns);
    let program = Program::load("count", "count_pass")?;

    let ox2 = make(ns_a, "ox2")?;
    let ox3 = make_joined("ox3", NS_B, &ox2)?;
    let ox4 = make(ns_b, "ox4")?;
    let ox5 = make(&initial, "ox5")?;
    bed.b.delete()?;
    for port in [&ox2, &ox3, &ox4, &ox5] {
        port.attach(&program)?;
        port.up()?;
    }
    let id = program.id;
    drop(program);
    let sources = Source::new(&ox2).may_fail().times(2);
    while_sending(&sources, |traffic| {
        ox3.wait_received(100)?;
        module::unload()?;
        traffic.wait_all_refused()
    })?;
    ensure!(!module::is_loaded(), "the module is still there");
    wait_freed(id)
}

case!(bare "newlink::many", many);
/// As many pairs as the module's parameter can make at most.
fn many() -> Result<()> {
    empty("queues=2 ring_size=64")?;
    for n in (0..128).step_by(2) {
        New::port().add(&format!("ox{n}"))?;
        let peer = if_nametoindex(format!("ox{n}").as_str())?;
        New::peer_of(peer).add(&format!("ox{}", n + 1))?;
    }
    ensure_eq!(port_names()?.len(), 128, "ports of 64 pairs");
    for name in port_names()? {
        link::delete(if_nametoindex(name.as_str())?)?;
    }
    ensure_eq!(
        port_names()?,
        Vec::<String>::new(),
        "ports that were deleted"
    );
    Ok(())
}

case!(bare "newlink::again_and_again", again_and_again);
/// One end after the other is deleted and made again, while the wire is up.
fn again_and_again() -> Result<()> {
    let (ns, _) = empty("queues=2 ring_size=64")?;

    ns.enter(|| {
        New::port().add("ox0")?;
        New::peer_of(if_nametoindex("ox0")?).add("ox1")?;
        for _ in 0..100 {
            for (stays, goes) in [("ox0", "ox1"), ("ox1", "ox0")] {
                let ifindex = if_nametoindex(stays)?;

                link::set_up(ifindex, true)?;
                link::set_up(if_nametoindex(goes)?, true)?;
                link::delete(if_nametoindex(goes)?)?;
                New::peer_of(ifindex).add(goes)?;
            }
        }
        Ok(())
    })?;
    let bed = Bed {
        a: found(&ns, "ox0")?,
        b: found(&ns, "ox1")?,
    };
    bed.up()?;
    exchange(&bed, 50)
}
