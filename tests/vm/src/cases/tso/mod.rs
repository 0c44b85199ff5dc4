// SPDX-License-Identifier: GPL-2.0

//! TCP segmentation: what the port cuts out of large frames of the stack.

mod frames;

use crate::{
    bed::{Bed, Port, V4, V4_VLAN, V6},
    harness::case,
    host::{cmd, ensure_eq, repeat_until, tracefs::Trace},
    nl::link::New,
    sockopt::DestinationOptions,
    support::{
        held::Held,
        in_parallel,
        large::{open, Large},
        polls::{poll_in_threads, slow_down},
        probes::set_mtu,
        steer::Chain,
        traffic::{check_alive, settle, settle_wire},
    },
    wire::{
        capture::Capture,
        checksum::{verify, Kind},
        frames::{ethernet, ipv4_header, tagged, CTAG, STAG},
        packet::Sender,
        probe::Probe,
        stream::{data, ensure_data, read_all, tcp_pair},
        ETH, ETH_ZLEN,
    },
};
use anyhow::{ensure, Context, Result};
use etherparse::{ip_number, Ipv6Header, NetSlice, SlicedPacket, TcpHeader, TransportSlice};
use nix::sys::socket::setsockopt;
use std::{
    io::Write,
    net::{IpAddr, TcpStream},
    thread,
};

const ONE: &str = "queues=1";
const SMALL: &str = "queues=1 ring_size=64";
const EVENT: &str = "net/net_dev_start_xmit";

/// The value of a line `NAME: VALUE` of ethtool's.
fn feature<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.trim() == name)
        .map(|(_, value)| value.trim())
}

case!(ports "tso::features_and_limit", SMALL, |bed| limit(bed, 64));
case!(ports "tso::limit_of_the_default_ring", "", |bed| limit(bed, 512));
/// What the port announces, and that the user can have it otherwise. All segments of a frame have
/// to fit into a ring that is half empty.
fn limit(bed: &Bed, ring_size: u32) -> Result<()> {
    const FEATURES: [&str; 4] = [
        "tcp-segmentation-offload",
        "tx-tcp-segmentation",
        "tx-tcp-ecn-segmentation",
        "tx-tcp6-segmentation",
    ];

    // The headers of such frames are not verified, so the stack has to do that.
    let text = bed.a.ethtool("-k", "")?;
    ensure_eq!(
        feature(&text, "tx-gso-robust"),
        Some("off [fixed]"),
        "ethtool -k, tx-gso-robust"
    );
    for state in ["on", "off", "on"] {
        bed.a.ethtool("-K", &format!("tso {state}"))?;
        let text = bed.a.ethtool("-k", "")?;

        for name in FEATURES {
            ensure_eq!(
                feature(&text, name),
                Some(state),
                "ethtool -k after tso {state}, {name}"
            );
        }
    }
    // A port that does not compute checksums cannot cut either.
    bed.a.ethtool("-K", "tx off")?;
    ensure!(
        feature(&bed.a.ethtool("-k", "")?, FEATURES[0]).is_some_and(|v| v.starts_with("off")),
        "tso stays on without tx"
    );
    bed.a.ethtool("-K", "tx on")?;

    let expected = ring_size / 2 - 4;
    let link = bed.a.link()?;
    ensure_eq!(
        [link.gso_max_segs, link.tso_max_segs],
        [expected; 2],
        "gso_max_segs and tso_max_segs"
    );
    Ok(())
}

/// Sends over TCP from A to B, and compares what arrives.
fn send(mut near: &TcpStream, far: &TcpStream, payload: &[u8]) -> Result<()> {
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_all(far, payload.len()));

        near.write_all(payload).context("writing")?;
        let found = reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        ensure_data("stream", &found, payload)
    })
}

/// How many frames port A was given that are to be cut.
fn given(trace: &Trace, port: &str) -> Result<usize> {
    let dev = format!("dev={port} ");

    Ok(trace
        .lines("net_dev_start_xmit")?
        .iter()
        .filter(|line| line.contains(&dev) && !line.contains(" gso_size=0 "))
        .count())
}

/// A TCP segment as the wire carried it.
struct Segment {
    id: Option<u16>,
    seq: u32,
    payload: Vec<u8>,
}

/// The segments that came from an address, each of them checked.
fn segments(frames: &[Vec<u8>], from: &str, mtu: usize) -> Result<Vec<Segment>> {
    let from: IpAddr = from.parse()?;
    let mut segments = Vec::new();

    for frame in frames {
        let kind = verify(frame)
            .with_context(|| format!("{} bytes: {:02x?}", frame.len(), &frame[..ETH + 40]))?;
        if !matches!(kind, Kind::TcpV4 | Kind::TcpV6) {
            continue;
        }
        let packet = SlicedPacket::from_ethernet(frame)?;
        let (source, len, id) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => (
                IpAddr::from(ip.header().source()),
                ip.header().total_len().into(),
                Some(ip.header().identification()),
            ),
            Some(NetSlice::Ipv6(ip)) => (
                IpAddr::from(ip.header().source()),
                Ipv6Header::LEN + usize::from(ip.header().payload_length()),
                None,
            ),
            _ => continue,
        };
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            continue;
        };
        if source != from {
            continue;
        }
        ensure!(
            frame.len() <= mtu + ETH,
            "a frame of {} bytes, with an MTU of {mtu}",
            frame.len()
        );
        ensure_eq!(
            frame.len(),
            (ETH + len).max(ETH_ZLEN),
            "length of the frame, against its IP header's"
        );
        segments.push(Segment {
            id,
            seq: tcp.sequence_number(),
            payload: tcp.payload().to_vec(),
        });
    }
    Ok(segments)
}

/// The wire carried all of the stream, in order, with a number for each packet.
fn check_stream(frames: &[Vec<u8>], from: &str, mtu: usize, payload: &[u8]) -> Result<()> {
    let segments = segments(frames, from, mtu)?;
    let mut next = None;
    let mut stream = Vec::new();
    let mut id = None;

    for segment in segments.iter().filter(|s| !s.payload.is_empty()) {
        let expected = *next.get_or_insert(segment.seq);
        // A slow machine may make TCP repeat what was not lost.
        let ahead = segment.seq.wrapping_sub(expected) as i32;

        ensure!(
            ahead <= 0,
            "{ahead} bytes are missing after {} bytes",
            stream.len()
        );
        let known = ahead.unsigned_abs() as usize;
        if let Some(new) = segment.payload.get(known..) {
            stream.extend(new);
            next = Some(expected.wrapping_add(new.len() as u32));
        }
        if let (Some(old), Some(new)) = (id, segment.id) {
            ensure!(
                (1..100).contains(&u16::wrapping_sub(new, old)),
                "IP id {new} follows {old}"
            );
        }
        id = segment.id;
    }
    ensure_data("what the wire carried", &stream, payload)
}

case!(ports "tso::streams", ONE,
    |bed| streams(bed, &[(1500, 300_000), (9000, 300_000), (600, 100_000)]));
case!(ports "tso::streams_and_a_short_ring", SMALL,
    |bed| streams(bed, &[(1500, 300_000), (9000, 300_000), (600, 100_000)]));
/// TCP with and without TSO over both IP versions. The data is the same, and the wire carries only
/// ordinary packets.
fn streams(bed: &Bed, sizes: &[(usize, usize)]) -> Result<()> {
    bed.up_with_addresses()?;
    for (mtu, len) in sizes {
        set_mtu(bed, *mtu)?;
        // Below its smallest MTU IPv6 is off, and its addresses are gone for good.
        let versions = if *mtu < 1280 {
            &[V4][..]
        } else {
            &[V4, V6][..]
        };
        let mut capture = if *mtu > 3000 {
            Capture::start_frags(&bed.b)?
        } else {
            Capture::start(&bed.b)?
        };

        for tso in ["on", "off"] {
            bed.a.ethtool("-K", &format!("tso {tso}"))?;
            for [from, to] in versions {
                let what = format!("mtu {mtu}, tso {tso}, to {to}");
                let payload = data(*mtu as u32, *len);
                let trace = Trace::start(EVENT)?;
                let (near, far) = tcp_pair(&bed.a, &bed.b, to)?;

                send(&near, &far, &payload).with_context(|| what.clone())?;
                check_stream(&capture.frames()?, from, *mtu, &payload)
                    .with_context(|| what.clone())?;
                ensure_eq!(
                    given(&trace, &bed.a.name)? > 0,
                    tso == "on",
                    "{what}: whether the port was given large frames"
                );
            }
        }
        drop(capture);
        bed.b.detach()?;
    }
    let (_, b) = bed.settled()?;
    b.counters
        .expect_rx("B", &[("no_buffer", 0), ("oversize", 0)])?;
    settle(bed).map(drop)
}

case!(ports "tso::many_streams", "queues=4", many_streams);
/// Streams both ways at once over several queues.
fn many_streams(bed: &Bed) -> Result<()> {
    const LEN: usize = 500_000;

    bed.up_with_addresses()?;
    let trace = Trace::start(EVENT)?;
    in_parallel((0..6).map(|n| {
        move || {
            let (from, to, at) = if n % 2 == 0 {
                (&bed.a, &bed.b, 1)
            } else {
                (&bed.b, &bed.a, 0)
            };
            let (near, far) = tcp_pair(from, to, if n < 2 { V4[at] } else { V6[at] })?;

            send(&near, &far, &data(n, LEN)).with_context(|| format!("stream {n}"))
        }
    }))?;
    for port in [&bed.a, &bed.b] {
        ensure!(
            given(&trace, &port.name)? > 0,
            "{} was given no large frames",
            port.name
        );
    }
    let (a, b) = bed.settled()?;
    for snapshot in [&a, &b] {
        snapshot.counters.expect_rx(
            &snapshot.name,
            &[("no_buffer", 0), ("oversize", 0), ("down", 0)],
        )?;
    }
    settle(bed).map(drop)
}

/// Puts VLAN devices on top of each port, of which the uppermost has an address of [`V4_VLAN`]: one
/// for each tag that their frames have, the outermost first.
fn add_vlans(bed: &Bed, tags: &[(u16, u16)]) -> Result<()> {
    for (port, address) in [(&bed.a, V4_VLAN[0]), (&bed.b, V4_VLAN[1])] {
        let mut below = port.clone();

        for (protocol, id) in tags {
            let new = New::vlan(below.ifindex, *protocol, *id);
            below = Port::add(&port.ns, &format!("vl{id}"), new)?;
            below.up()?;
        }
        below.add_address(&format!("{address}/24"))?;
    }
    Ok(())
}

case!(ports "tso::vlan_device", ONE, |bed| vlan(bed, &[(CTAG, 5)], "txvlan"));
case!(ports "tso::vlan_device_on_vlan_device", ONE,
    |bed| vlan(bed, &[(STAG, 7), (CTAG, 5)], "tx-vlan-stag-hw-insert"));
/// VLAN devices above the port, which puts the outermost tag in, or has it put in by the stack,
/// before it cuts the frame.
fn vlan(bed: &Bed, tags: &[(u16, u16)], insert: &str) -> Result<()> {
    const LEN: usize = 200_000;
    let tag = tagged(&[0; 12], tags)[12..].to_vec();
    let at = 12 + tag.len();

    bed.up_with_addresses()?;
    bed.b.ethtool("-K", "rxvlan off")?;
    add_vlans(bed, tags)?;
    let mut capture = Capture::start(&bed.b)?;
    for state in ["on", "off"] {
        bed.a.ethtool("-K", &format!("{insert} {state}"))?;
        let payload = data(5, LEN);
        let (near, far) = tcp_pair(&bed.a, &bed.b, V4_VLAN[1])?;
        let trace = Trace::start(EVENT)?;

        send(&near, &far, &payload).with_context(|| format!("{insert} {state}"))?;
        ensure!(
            given(&trace, &bed.a.name)? > 0,
            "{insert} {state}: the port was given no large frames"
        );
        let untagged: Vec<_> = capture
            .frames()?
            .iter()
            .filter(|frame| frame[12..at] == tag && frame[at..at + 2] == [8, 0])
            .map(|frame| {
                let mut untagged = [&frame[..12], &frame[at..]].concat();
                let len = ETH + usize::from(u16::from_be_bytes([untagged[16], untagged[17]]));

                // Padding was for the frame with its tags.
                untagged.resize(len.max(ETH_ZLEN), 0);
                untagged
            })
            .collect();
        check_stream(&untagged, V4_VLAN[0], 1500, &payload)
            .with_context(|| format!("{insert} {state}"))?;
    }
    ensure_eq!(bed.a.counters()?.tx("dropped")?, 0, "skbs that A refused");
    bed.settled().map(drop)?;
    settle(bed).map(drop)
}

case!(ports "tso::vlan_device_few_frames", ONE, vlan_few);
/// Much data reaches the port in few frames, with a VLAN device or without.
fn vlan_few(bed: &Bed) -> Result<()> {
    const LEN: usize = 3 << 20;
    /// Into how many frames the stack would cut it: TCP has 12 bytes of options.
    const SINGLE: usize = LEN.div_ceil(1500 - 20 - 20 - 12);
    let payload = data(6, LEN);

    bed.up_with_addresses()?;
    add_vlans(bed, &[(CTAG, 5)])?;
    for to in [V4[1], V4_VLAN[1]] {
        let (near, far) = tcp_pair(&bed.a, &bed.b, to)?;
        let trace = Trace::start(EVENT)?;

        send(&near, &far, &payload).with_context(|| to.to_owned())?;
        let dev = format!("dev={} ", bed.a.name);
        let frames = trace
            .lines("net_dev_start_xmit")?
            .iter()
            .filter(|line| line.contains(&dev))
            .count();
        // How many TCP puts together depends on how fast the machine is, but it is never one alone.
        ensure!(
            frames * 4 < SINGLE * 3,
            "to {to}: {frames} frames were given to the port for {SINGLE} on the wire"
        );
    }
    bed.settled().map(drop)
}

case!(ports "tso::more_tags", ONE, more_tags);
/// A frame with any number of tags is segmented: by the port, or by the stack if the port cannot.
fn more_tags(bed: &Bed) -> Result<()> {
    const PUSH: [&str; 5] = ["action vlan push id 9"; 5];
    let large = Large::new(10_000, 1000);
    let mut received = 0;

    bed.up()?;
    let sender = open(&bed.a)?;
    for insert in ["on", "off"] {
        bed.a.ethtool("-K", &format!("txvlan {insert}"))?;
        for tags in 1..=PUSH.len() {
            let push = PUSH[..tags].join(" pipe ");

            bed.a.ns.exec("tc qdisc add dev ox0 clsact")?;
            bed.a
                .ns
                .exec(&format!("tc filter add dev ox0 egress matchall {push}"))?;
            sender.send(&large.frame())?;
            received += large.count() as u64;
            let (a, b) = bed.settled()?;
            ensure_eq!(
                (a.counters.tx("dropped")?, b.counters.rx("packets")?),
                (0, received),
                "txvlan {insert}, {tags} tags: skbs that A refused, and frames that B received"
            );
            bed.a.ns.exec("tc qdisc del dev ox0 clsact")?;
        }
    }
    Ok(())
}

case!(ports "tso::without_flow_control", SMALL, lossy);
/// Without flow control a full ring loses whole frames of the stack: every segment of them counts,
/// and TCP sends them again.
fn lossy(bed: &Bed) -> Result<()> {
    const LEN: usize = 700_000;
    let _slow = slow_down(&bed.b)?;

    bed.b.ethtool("-A", "tx off rx off")?;
    bed.up_with_addresses()?;
    poll_in_threads(&bed.b)?;
    let trace = Trace::start(EVENT)?;
    repeat_until(
        "a frame is lost",
        || {
            for to in [V4[1], V6[1]] {
                let (near, far) = tcp_pair(&bed.a, &bed.b, to)?;

                send(&near, &far, &data(3, LEN)).with_context(|| to.to_owned())?;
            }
            Ok(())
        },
        || Ok(bed.b.counters()?.rx("no_buffer")? > 0),
    )?;
    ensure!(
        given(&trace, &bed.a.name)? > 0,
        "the port was given no large frames"
    );
    bed.settled()?;
    let (a, _) = settle(bed)?;
    ensure_eq!(a.counters.tx("stopped")?, 0, "A: queues stopped");
    bed.b.ethtool("-A", "tx on rx on")?;
    check_alive(bed)
}

case!(ports "tso::ipv6_extension_headers", ONE, extension_headers);
/// TCP need not come right behind the IPv6 header.
fn extension_headers(bed: &Bed) -> Result<()> {
    const LEN: usize = 300_000;
    // Nothing but padding.
    const OPTIONS: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];

    bed.up_with_addresses()?;
    let (near, far) = tcp_pair(&bed.a, &bed.b, V6[1])?;
    setsockopt(&near, DestinationOptions, &OPTIONS)?;
    send(&near, &far, &data(4, LEN))?;
    let (a, _) = bed.settled()?;
    a.counters.expect_tx("A", &[("dropped", 0)])?;
    settle(bed).map(drop)
}

/// A PPPoE session's EtherType.
const PPPOE: u16 = 0x8864;
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// The TCP segment with number `n` of a stream, in PPPoE.
fn in_pppoe(v6: bool, n: u16) -> Result<Vec<u8>> {
    const LEN: usize = 1000;
    let payload = data(n.into(), LEN);
    let mut tcp = TcpHeader {
        acknowledgment_number: 1,
        ack: true,
        ..TcpHeader::new(0x1000, 0x2000, u32::from(n) * LEN as u32, 0xffff)
    };
    let (protocol, ip) = if v6 {
        let header = Ipv6Header {
            payload_length: (TcpHeader::MIN_LEN + LEN) as u16,
            next_header: ip_number::TCP,
            hop_limit: 64,
            source: [1; 16],
            destination: [2; 16],
            ..Ipv6Header::default()
        };
        tcp.checksum = tcp.calc_checksum_ipv6(&header, &payload)?;
        (PPP_IPV6, header.to_bytes().to_vec())
    } else {
        let header = ipv4_header(n, ip_number::TCP, TcpHeader::MIN_LEN + LEN);
        tcp.checksum = tcp.calc_checksum_ipv4(&header, &payload)?;
        (PPP_IPV4, header.to_bytes().to_vec())
    };
    let packet = [
        &protocol.to_be_bytes()[..],
        &ip[..],
        &tcp.to_bytes(),
        &payload,
    ]
    .concat();
    // Version and type, code, session, length.
    let header = [&[0x11, 0, 0, 1][..], &(packet.len() as u16).to_be_bytes()].concat();

    Ok(ethernet(PPPOE, &[header, packet].concat()))
}

// The debug kernel has no PPPoE.
case!(ports "tso::pppoe", "pairs=2 queues=1", pppoe; stock_only());
/// A bridge forwards TCP frames in PPPoE, which GRO has merged: the stack has to segment them, for
/// the port's segmentation does not look into PPPoE.
fn pppoe(bed: &Bed) -> Result<()> {
    const COUNT: u16 = 20;

    cmd::run("modprobe pppoe")?;
    let Chain { first, second } = Chain::make(bed)?;
    let bridge = Port::add(&first.b.ns, "br0", New::bridge())?;
    for port in [&first.b, &second.a] {
        port.join(&bridge)?;
    }
    bridge.up()?;
    first.up()?;
    second.up()?;
    let mut capture = Capture::start(&second.b)?;
    let sender = Sender::open(&first.a)?;

    for (v6, ring_size) in [(false, 256), (true, 128)] {
        let frames = (0..COUNT)
            .map(|n| in_pppoe(v6, n))
            .collect::<Result<Vec<_>>>()?;
        let trace = Trace::start("net/net_dev_queue")?;
        // GRO merges frames of one poll.
        let held = Held::new(&first.b, 0, || sender.send(&Probe::new(1, 0).frame()))?;
        frames.iter().try_for_each(|frame| sender.send(frame))?;
        held.release(ring_size)?;
        let found = capture.wait_for(frames.len(), |frame| frame[12..14] == PPPOE.to_be_bytes());
        let dev = format!("dev={} ", second.a.name);
        let queued: Vec<_> = trace
            .lines("net_dev_queue")?
            .into_iter()
            .filter(|line| line.contains(&dev))
            .collect();
        let merged = queued
            .iter()
            .flat_map(|line| line.split_whitespace())
            .filter_map(|word| word.strip_prefix("len=")?.parse::<usize>().ok())
            .any(|len| len > frames[0].len());
        ensure!(merged, "GRO has merged nothing: {queued:#?}");
        ensure!(found? == frames, "the frames are not those that were sent");
    }
    let (a, _) = settle_wire(&second)?;
    a.counters.expect_tx(
        &a.name,
        &[("dropped", 0), ("packets", 2 * (u64::from(COUNT) + 1))],
    )
}
