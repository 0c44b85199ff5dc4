// SPDX-License-Identifier: GPL-2.0

//! A port as a network device: link, addresses, features, and what other tools see of it.

use crate::{
    bed::{mac_text, Bed, Port, V4},
    bpf::{wait_freed, Program},
    harness::case,
    host::{ensure_eq, module, netns::Netns, wait_until},
    nl::netdev::{
        self, NETDEV_XDP_ACT_BASIC, NETDEV_XDP_ACT_NDO_XMIT, NETDEV_XDP_ACT_NDO_XMIT_SG,
        NETDEV_XDP_ACT_REDIRECT, NETDEV_XDP_ACT_RX_SG, NETDEV_XDP_ACT_XSK_ZEROCOPY,
        NETDEV_XDP_RX_METADATA_HASH, NETDEV_XDP_RX_METADATA_TIMESTAMP,
        NETDEV_XDP_RX_METADATA_VLAN_TAG, NETDEV_XSK_FLAGS_TX_CHECKSUM,
        NETDEV_XSK_FLAGS_TX_LAUNCH_TIME_FIFO, NETDEV_XSK_FLAGS_TX_TIMESTAMP,
    },
    support::{
        observe::{Observer, Seen},
        probes::send_all,
        traffic::{check_alive, settle},
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        Mac,
    },
};
use anyhow::{anyhow, ensure, Result};
use std::{
    collections::BTreeSet,
    net::{IpAddr, UdpSocket},
};

/// `NET_ADDR_RANDOM` and `NET_ADDR_SET`.
const ADDR_RANDOM: &str = "1";
const ADDR_SET: &str = "3";

/// The driver sets the carrier before `ip link set` returns, at both ends.
fn check_carrier(bed: &Bed, what: &str, a: bool, b: bool) -> Result<()> {
    for (port, expected) in [(&bed.a, a), (&bed.b, b)] {
        let carrier = port.link()?.carrier;

        ensure_eq!(carrier, expected, "{what}: carrier of {}", port.name);
        port.wait_running(expected)?;
    }
    Ok(())
}

fn check_ethtool(bed: &Bed, expected: &str) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        let text = port.ethtool("", "")?;

        ensure_eq!(
            field(&text, "Link detected")?,
            expected,
            "ethtool {}",
            port.name
        );
    }
    Ok(())
}

case!(ports "device::carrier_follows_the_peer", "", carrier);
fn carrier(bed: &Bed) -> Result<()> {
    check_carrier(bed, "both down", false, false)?;
    check_ethtool(bed, "no")?;
    for (first, second) in [(&bed.a, &bed.b), (&bed.b, &bed.a)] {
        first.up()?;
        check_carrier(bed, "one up", false, false)?;
        check_ethtool(bed, "no")?;
        second.up()?;
        check_carrier(bed, "both up", true, true)?;
        check_ethtool(bed, "yes")?;
        first.down()?;
        check_carrier(bed, "the first down", false, false)?;
        first.up()?;
        check_carrier(bed, "the first up again", true, true)?;
        second.down()?;
        check_carrier(bed, "the second down", false, false)?;
        second.up()?;
        check_carrier(bed, "the second up again", true, true)?;
        second.down()?;
        first.down()?;
        check_carrier(bed, "both down again", false, false)?;
    }

    // What is shown is true: a frame passes exactly while there is a link.
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    Sender::open(&bed.a)?.send(&Probe::new(1, 0).frame())?;
    tap.only().map(drop)
}

case!(ports "device::carrier_of_a_moving_peer", "", carrier_moving);
/// A port that moves to another namespace goes down.
fn carrier_moving(bed: &Bed) -> Result<()> {
    bed.up()?;
    let moved = bed.b.move_to(&Netns::initial())?;
    bed.a.wait_running(false)?;
    ensure!(!bed.a.link()?.carrier, "carrier although the peer is down");
    let bed = Bed {
        a: bed.a.clone(),
        b: moved.move_to(&bed.b.ns)?,
    };
    bed.up()?;
    check_carrier(&bed, "moved there and back", true, true)
}

fn field<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.trim() == name)
        .map(|(_, value)| value.trim())
        .ok_or_else(|| anyhow!("no {name} in: {text}"))
}

case!(ports "device::driver_info", "", driver_info);
fn driver_info(bed: &Bed) -> Result<()> {
    for port in [&bed.a, &bed.b] {
        let text = port.ethtool("-i", "")?;
        let version = field(&text, "version")?;

        ensure_eq!(field(&text, "driver")?, "oxnic", "ethtool -i, driver");
        ensure!(
            version.split('.').count() == 3 && version.split('.').all(|n| n.parse::<u32>().is_ok()),
            "ethtool -i, version: \"{version}\""
        );
        ensure_eq!(
            field(&text, "supports-statistics")?,
            "yes",
            "ethtool -i, supports-statistics"
        );
    }
    Ok(())
}

fn addr_assign_type(port: &Port) -> Result<String> {
    port.read_sysfs("addr_assign_type")
}

case!(bare "device::addresses", addresses);
fn addresses() -> Result<()> {
    const PORTS: usize = 32;
    let initial = Netns::initial();
    let mut all = BTreeSet::new();

    // Twice, as addresses drawn again have to be other ones.
    for _ in 0..2 {
        module::load("pairs=16")?;
        for n in 0..PORTS {
            let port = Port::find(&initial, &format!("ox{n}"))?;
            let mac = port.mac()?;
            let text = mac_text(&mac);

            ensure!(mac[0] & 2 != 0, "{text} is not locally administered");
            ensure!(mac[0] & 1 == 0, "{text} is a group address");
            ensure_eq!(
                addr_assign_type(&port)?,
                ADDR_RANDOM,
                "{}: addr_assign_type",
                port.name
            );
            ensure!(all.insert(mac), "{text} is there twice");
        }
        module::unload()?;
    }
    ensure_eq!(all.len(), 2 * PORTS, "addresses");
    Ok(())
}

case!(ports "device::address_is_settable", "", set_address);
/// The address is changed while the port is up, and is the one that is used from then on.
fn set_address(bed: &Bed) -> Result<()> {
    const NEW: Mac = [0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0x01];
    let old = bed.b.mac()?;

    bed.up()?;
    for (port, address) in [(&bed.a, V4[0]), (&bed.b, V4[1])] {
        port.add_address(&format!("{address}/24"))?;
    }
    let ping = format!("-c 2 -i 0.01 {}", V4[1]);
    bed.a.ns.ping(&ping)?;

    bed.b.set_mac(&NEW)?;
    ensure_eq!(bed.b.mac()?, NEW, "address of B");
    ensure_eq!(addr_assign_type(&bed.b)?, ADDR_SET, "addr_assign_type");
    ensure!(
        bed.b.link()?.carrier,
        "changing the address took the link down"
    );

    let tap = Tap::open(&bed.a)?;
    bed.a.ns.ip("neigh flush all")?;
    bed.a.ns.ping(&ping)?;
    let mut frames = 0;
    for frame in tap.rest()? {
        let source: Mac = frame[6..12].try_into()?;

        ensure!(source != old, "a frame from B's old address");
        ensure_eq!(source, NEW, "source of a frame from B");
        frames += 1;
    }
    // Two echo replies and an answer to ARP.
    ensure!(frames >= 3, "only {frames} frames from B");
    Ok(())
}

case!(ports "device::moves_between_namespaces", "queues=2", moves);
/// Both ports in one namespace, in the initial one, exchanged, and back.
fn moves(bed: &Bed) -> Result<()> {
    let program = Program::load("count", "count_pass")?;
    let initial = Netns::initial();
    let (ns_a, ns_b) = (&bed.a.ns, &bed.b.ns);
    let mac = bed.b.mac()?;

    bed.b.attach(&program)?;
    bed.up()?;
    check_alive(bed)?;
    initial.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    let mut bed = bed.clone();
    for (to_a, to_b) in [
        (ns_a, ns_a),
        (ns_b, ns_a),
        (&initial, &initial),
        (ns_a, ns_b),
    ] {
        bed = Bed {
            a: bed.a.move_to(to_a)?,
            b: bed.b.move_to(to_b)?,
        };
        bed.up()?;
        check_alive(&bed)?;
        ensure_eq!(bed.b.mac()?, mac, "address of B after a move");
        ensure_eq!(
            bed.b.link()?.xdp_driver_id,
            Some(program.id),
            "program of B after a move"
        );
    }
    initial.sysctl("ipv6/conf/default/disable_ipv6", "0")?;

    let (_, b) = settle(&bed)?;
    ensure_eq!(
        program.seen()?,
        b.counters.rx("packets")?,
        "frames the program saw"
    );
    b.check_verdicts()?;
    bed.b.detach()?;
    let id = program.id;
    drop(program);
    wait_freed(id)
}

case!(ports "device::counters_survive", "queues=2", counters);
/// Every counter is what it was, and goes on from there.
fn counters(bed: &Bed) -> Result<()> {
    const LINK_COUNTERS: [&str; 12] = [
        "rx_packets",
        "tx_packets",
        "rx_bytes",
        "tx_bytes",
        "rx_errors",
        "tx_errors",
        "rx_dropped",
        "tx_dropped",
        "rx_length_errors",
        "rx_missed_errors",
        "tx_carrier_errors",
        "rx_otherhost_dropped",
    ];
    let program = Program::load("verdict", "verdict")?;
    let frames: Vec<_> = verdict::EACH
        .into_iter()
        .zip(0..)
        .map(|(act, seq)| Probe::new(seq, seq).verdict(act))
        .collect();
    let count = frames.len() as u64;
    let shown = |port: &Port| -> Result<(String, Vec<u64>)> {
        let link = port.link()?;

        Ok((
            port.ethtool("-S", "")?,
            LINK_COUNTERS
                .into_iter()
                .map(|name| link.stat(name))
                .collect::<Result<_>>()?,
        ))
    };

    bed.b.attach(&program)?;
    for round in 1..=2 {
        bed.up()?;
        send_all(bed, &frames)?;
        bed.b.wait_received(round * count)?;
        let (_, b) = settle(bed)?;
        b.counters.expect_rx(
            "B",
            &[
                ("packets", round * count),
                ("xdp_drop", round),
                ("xdp_tx", round),
                ("xdp_aborted", round),
                ("xdp_redirect_errors", round),
            ],
        )?;

        let before = [shown(&bed.a)?, shown(&bed.b)?];
        for port in [&bed.b, &bed.a] {
            port.down()?;
        }
        for (n, port) in [&bed.a, &bed.b].into_iter().enumerate() {
            ensure_eq!(
                shown(port)?,
                before[n],
                "{}: counters after down",
                port.name
            );
        }
        bed.up()?;
        for (n, port) in [&bed.a, &bed.b].into_iter().enumerate() {
            ensure_eq!(shown(port)?, before[n], "{}: counters after up", port.name);
        }
    }
    Ok(())
}

case!(ports "device::xdp_features", "", xdp_features);
/// The same with any program and without. Only what works is announced.
fn xdp_features(bed: &Bed) -> Result<()> {
    let program = Program::sample("xdp_pass")?;

    for (port, up) in [(&bed.a, false), (&bed.b, false), (&bed.a, true)] {
        if up {
            bed.up()?;
            port.attach(&program)?;
        }
        port.ns.enter(|| {
            ensure_eq!(
                netdev::xdp_features(port.ifindex)?,
                NETDEV_XDP_ACT_BASIC
                    | NETDEV_XDP_ACT_REDIRECT
                    | NETDEV_XDP_ACT_NDO_XMIT
                    | NETDEV_XDP_ACT_XSK_ZEROCOPY
                    | NETDEV_XDP_ACT_RX_SG
                    | NETDEV_XDP_ACT_NDO_XMIT_SG,
                "{}: xdp-features",
                port.name
            );
            ensure_eq!(
                netdev::xdp_extras(port.ifindex)?,
                (
                    NETDEV_XDP_RX_METADATA_TIMESTAMP
                        | NETDEV_XDP_RX_METADATA_HASH
                        | NETDEV_XDP_RX_METADATA_VLAN_TAG,
                    NETDEV_XSK_FLAGS_TX_TIMESTAMP
                        | NETDEV_XSK_FLAGS_TX_CHECKSUM
                        | NETDEV_XSK_FLAGS_TX_LAUNCH_TIME_FIFO
                ),
                "{}: xdp-rx-metadata-features and xsk-features",
                port.name
            );
            Ok(())
        })?;
    }
    Ok(())
}

case!(ports "device::queues_and_napis", "queues=3", queues);
/// Each receive queue has a NAPI of its own while the port is up. It keeps its id, and with it the
/// user's settings.
fn queues(bed: &Bed) -> Result<()> {
    let ask = || {
        bed.b.ns.enter(|| {
            Ok((
                netdev::queues(bed.b.ifindex)?,
                netdev::napis(bed.b.ifindex)?
                    .into_iter()
                    .map(|napi| napi.id)
                    .collect::<Vec<_>>(),
            ))
        })
    };
    let mut ids: Option<Vec<_>> = None;

    for _ in 0..2 {
        let (list, napis) = ask()?;
        ensure!(
            list.is_empty() && napis.is_empty(),
            "a port that is down has {list:?} and NAPIs {napis:?}"
        );

        bed.b.up()?;
        let (list, napis) = ask()?;
        let rx: Vec<_> = list.iter().filter(|queue| queue.receives).collect();
        let of_queues: Vec<_> = rx.iter().filter_map(|queue| queue.napi).collect();

        ensure_eq!(
            rx.iter().map(|queue| queue.id).collect::<Vec<_>>(),
            [0, 1, 2],
            "receive queues"
        );
        ensure_eq!(list.len(), 6, "queues, those that transmit included");
        ensure_eq!(napis.len(), 3, "NAPIs");
        ensure_eq!(
            of_queues.iter().collect::<BTreeSet<_>>(),
            napis.iter().collect::<BTreeSet<_>>(),
            "NAPIs of the receive queues"
        );
        ensure_eq!(
            of_queues.iter().collect::<BTreeSet<_>>().len(),
            3,
            "NAPIs that are not shared"
        );
        if let Some(old) = ids.replace(of_queues.clone()) {
            ensure_eq!(of_queues, old, "ids after down and up");
        }
        bed.b.down()?;
    }
    Ok(())
}

case!(ports "device::receive_offloads", "queues=1", offloads);
/// What the port reports of a frame: hash and checksum, and neither once the feature is off.
fn offloads(bed: &Bed) -> Result<()> {
    let observer = Observer::attach(&bed.b)?;
    let to: IpAddr = V4[1].parse()?;
    let mut frames = 0;

    bed.up()?;
    // Without IPv6 and neighbour discovery all frames are those of the test.
    for (port, peer, at) in [(&bed.a, &bed.b, 0), (&bed.b, &bed.a, 1)] {
        port.add_address(&format!("{}/24", V4[at]))?;
        port.add_neighbour(V4[1 - at], &peer.mac()?)?;
    }
    // GRO would look at the checksum itself.
    bed.b.ethtool("-K", "gro off")?;
    let socket = bed.a.ns.enter(|| {
        let socket = UdpSocket::bind((V4[0].parse::<IpAddr>()?, 5000))?;
        socket.connect((to, 5001))?;
        Ok(socket)
    })?;
    let receiver = bed.b.ns.enter(|| Ok(UdpSocket::bind((to, 5001))?))?;
    receiver.set_read_timeout(Some(crate::host::PATIENCE))?;
    let mut seen = |what: &str| -> Result<(u32, i32)> {
        let before = observer.last()?.frames;
        let mut now = Seen::default();

        frames += 1;
        socket.send(b"a datagram")?;
        wait_until(&format!("{what}: frame {frames} is seen"), || {
            now = observer.last()?;
            Ok(now.frames > before)
        })?;
        ensure_eq!(now.frames, before + 1, "{what}: frames seen");
        receiver.recv(&mut [0; 64])?;
        Ok((now.hash, now.csum_level))
    };

    let (hash, csum) = seen("by default")?;
    ensure!(hash != 0, "the stack got no hash");
    ensure!(csum >= 0, "the stack was not told of a good checksum");
    ensure_eq!(seen("once more")?, (hash, csum), "hash and checksum level");

    bed.b.ethtool("-K", "rxhash off")?;
    ensure_eq!(seen("rxhash off")?, (0, csum), "hash and checksum level");
    bed.b.ethtool("-K", "rxhash on rx off")?;
    let (same, csum) = seen("rx off")?;
    ensure_eq!(same, hash, "hash with checksumming off");
    ensure!(
        csum < 0,
        "a checksum is said to be good although that is off"
    );
    bed.b.ethtool("-K", "rx on")?;
    let (same, csum) = seen("on again")?;
    ensure_eq!(same, hash, "hash in the end");
    ensure!(csum >= 0, "no word of a good checksum in the end");

    // The checksum of this one was never computed nor checked.
    let before = observer.last()?.frames;
    Sender::open(&bed.a)?.send(&Probe::new(1, 0).frame())?;
    wait_until("the raw frame is seen", || {
        Ok(observer.last()?.frames > before)
    })?;
    let last = observer.last()?;
    let (other, csum) = (last.hash, last.csum_level);
    ensure!(
        other != 0 && other != hash,
        "hash {other:#x} of another flow"
    );
    ensure!(csum < 0, "a checksum that nobody knows is said to be good");
    settle(bed).map(drop)
}
