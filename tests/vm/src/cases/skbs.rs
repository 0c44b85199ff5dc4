// SPDX-License-Identifier: GPL-2.0

//! skbs of every shape that the stack makes: data in pages of all kinds, clones, shared ones.

use crate::{
    bed::{Bed, Port, NS_A, NS_B, V4},
    bpf::Program,
    harness::case,
    host::{ensure_eq, module, netns::Netns, tracefs::Trace},
    sockopt::{VnetHdr, ZeroCopy},
    stats::check_both,
    support::in_parallel,
    wire::{
        capture::Capture,
        checksum::{pseudo, verify, Kind},
        ensure_same,
        frames::ipv4_header,
        packet::{Sender, Tap},
        probe::Probe,
        stream::{data, ensure_data, read_all, tcp_pair},
        ETH,
    },
};
use anyhow::{bail, ensure, Context, Result};
use etherparse::{ip_number, SlicedPacket, TcpHeader, TransportSlice};
use nix::{
    libc,
    sys::{
        sendfile::sendfile64,
        socket::{send, setsockopt, MsgFlags},
    },
};
use std::{collections::BTreeMap, fs::File, net::TcpStream, os::fd::AsRawFd};

/// A job for [`in_parallel`].
type Job<'a> = Box<dyn FnOnce() -> Result<()> + Send + 'a>;

/// Sends data over TCP by `write` and compares what arrives.
fn one_way(
    bed: &Bed,
    len: usize,
    write: impl FnOnce(&TcpStream, &[u8]) -> Result<()> + Send,
) -> Result<()> {
    bed.up_with_addresses()?;
    let (near, far) = tcp_pair(&bed.a, &bed.b, V4[1])?;
    let payload = data(5, len);
    let jobs: [Job; 2] = [
        Box::new(|| write(&near, &payload)),
        Box::new(|| ensure_data("stream", &read_all(&far, len)?, &payload)),
    ];

    in_parallel(jobs)?;
    let (a, b) = bed.settled()?;
    check_both(&a, &b)
}

case!(ports "skbs::sendfile", "", send_file);
/// Pages of the page cache, at odd offsets.
fn send_file(bed: &Bed) -> Result<()> {
    one_way(bed, 2_000_001, |stream, payload| {
        let path = "/tmp/oxnic-tests-data";
        std::fs::write(path, [b"odd", payload].concat())?;
        let file = File::open(path)?;
        let mut offset = 3;

        while (offset as usize) < payload.len() + 3 {
            let left = payload.len() + 3 - offset as usize;
            sendfile64(stream, &file, Some(&mut offset), left.min(70_001)).context("sendfile")?;
        }
        std::fs::remove_file(path)?;
        Ok(())
    })
}

case!(ports "skbs::zerocopy", "", zero_copy);
/// Pages of the sender itself.
fn zero_copy(bed: &Bed) -> Result<()> {
    one_way(bed, 2_000_001, |stream, payload| {
        setsockopt(stream, ZeroCopy, &true)?;
        let flags = MsgFlags::from_bits_retain(libc::MSG_ZEROCOPY);
        let mut rest = payload;

        while !rest.is_empty() {
            let n = send(stream.as_raw_fd(), &rest[..rest.len().min(33_333)], flags)
                .context("MSG_ZEROCOPY")?;
            rest = &rest[n..];
        }
        Ok(())
    })
}

case!(ports "skbs::segmentation_of_raw_frames", "", raw_segments);
/// One raw frame of 30 kB that the stack has to cut up and sum up (`virtio_net_hdr` with GSO):
/// linear headers, data in pages.
fn raw_segments(bed: &Bed) -> Result<()> {
    const LEN: usize = 30_001;
    const MSS: u16 = 1000;
    let mut capture = Capture::start(&bed.b)?;
    let payload = data(9, LEN);

    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    setsockopt(&sender, VnetHdr, &true)?;

    let ip = ipv4_header(1, ip_number::TCP, TcpHeader::MIN_LEN + LEN);
    let addresses = [ip.source, ip.destination].concat();
    let tcp = TcpHeader {
        acknowledgment_number: 1,
        ack: true,
        // What CHECKSUM_PARTIAL wants to find there.
        checksum: pseudo(&addresses, ip_number::TCP, TcpHeader::MIN_LEN + LEN),
        ..TcpHeader::new(0x1000, 0x2000, 1, 0xffff)
    };
    let packet = [&ip.to_bytes()[..], &tcp.to_bytes()].concat();

    // flags NEEDS_CSUM, gso_type TCPV4, hdr_len, gso_size, csum_start, csum_offset.
    let mut frame = vec![1, 1];
    for word in [54, MSS, 34, 16] {
        frame.extend(word.to_ne_bytes());
    }
    frame.extend(&Probe::new(0, 0).frame()[..ETH]);
    frame.extend(&packet);
    frame.extend(&payload);
    sender.send(&frame)?;

    let frames = capture.wait_for(LEN.div_ceil(MSS.into()), |_| true)?;
    let mut pieces = BTreeMap::new();
    for frame in &frames {
        ensure_eq!(
            verify(frame)?,
            Kind::TcpV4,
            "segment of {} bytes",
            frame.len()
        );
        let packet = SlicedPacket::from_ethernet(frame)?;
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
            bail!("no TCP header: {:02x?}", &frame[..ETH + 40]);
        };
        pieces.insert(tcp.sequence_number(), tcp.payload().to_vec());
    }
    let found: Vec<u8> = pieces.into_values().flatten().collect();
    ensure_data("segments", &found, &payload)
}

case!(ports "skbs::taps_on_both_ports", "", taps);
/// While packet sockets look on, every skb is shared with them.
fn taps(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 500;
    let watch_a = Tap::both_ways(&bed.a)?;
    let program = Program::load("count", "count_pass")?;

    bed.b.attach(&program)?;
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let sender = Sender::open(&bed.a)?;
    sender.send_flow(&Probe::new(1, 0).len(777), COUNT)?;

    for (what, socket) in [("leaving A", &watch_a), ("arriving at B", &tap)] {
        for (probe, seq) in socket.probes(COUNT as usize)?.iter().zip(0..) {
            ensure_eq!(probe.seq, seq, "frame {what}");
        }
    }
    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    check_both(&a, &b)
}

case!(bare "skbs::mirrored_to_two_ports", mirrored);
/// One skb goes out of two ports (tc's mirred clones it); each wire carries all of it.
fn mirrored() -> Result<()> {
    module::load("pairs=2")?;
    let (ns_a, ns_b) = (Netns::create(NS_A)?, Netns::create(NS_B)?);
    let bed = |near: &str, far: &str| -> Result<Bed> {
        let bed = Bed {
            a: Port::moved(near, &ns_a)?,
            b: Port::moved(far, &ns_b)?,
        };
        bed.up()?;
        Ok(bed)
    };
    let (first, second) = (bed("ox0", "ox1")?, bed("ox2", "ox3")?);

    ns_a.exec("tc qdisc add dev ox0 clsact")?;
    ns_a.exec("tc filter add dev ox0 egress matchall action mirred egress mirror dev ox2")?;
    let taps = [Tap::open(&first.b)?, Tap::open(&second.b)?];
    let sender = Sender::open(&first.a)?;
    for (len, seq) in [60, 61, 333, 1024, 1514]
        .into_iter()
        .cycle()
        .take(100)
        .zip(0..)
    {
        let frame = Probe::new(1, seq).len(len).frame();

        sender.send(&frame)?;
        for tap in &taps {
            let found = tap.any().context("a mirrored frame")?;
            ensure_same("mirrored frame", &found, &frame)?;
        }
    }
    for bed in [&first, &second] {
        let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
        ensure_eq!(
            b.counters.rx("packets")?,
            100,
            "{}: rx_queue_*_packets",
            b.name
        );
        check_both(&a, &b)?;
    }
    Ok(())
}

case!(ports "skbs::freed_without_the_wire_lock", "queues=1", freed);
/// What an skb costs to free is no one's business who waits for the same ring: the driver frees an
/// skb with as many spin locks held as it was given it with.
fn freed(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 20;

    bed.up()?;
    let trace = Trace::start_all(&["net/net_dev_start_xmit", "skb/consume_skb"])?;
    Sender::open(&bed.a)?.send_flow(&Probe::new(1, 0), COUNT)?;
    bed.b.wait_received(COUNT.into())?;

    let field = |line: &str, name: &str| -> Option<String> {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(name).map(str::to_owned))
    };
    let given: BTreeMap<_, _> = trace
        .lines_with_lock_depth("net_dev_start_xmit")?
        .into_iter()
        .filter(|(_, line)| line.contains(&format!("dev={} ", bed.a.name)))
        .filter_map(|(depth, line)| Some((field(&line, "skbaddr=")?, depth)))
        .collect();
    // Those of the port's own, and not the receiver's of the same memory.
    let freed: Vec<_> = trace
        .lines_with_lock_depth("consume_skb")?
        .into_iter()
        .filter(|(_, line)| line.contains("[oxnic]"))
        .filter_map(|(depth, line)| Some((field(&line, "skbaddr=")?, depth)))
        .collect();

    ensure!(
        given.values().all(|depth| *depth > 0),
        "no lock of the stack's is held in ndo_start_xmit: {given:?}"
    );
    ensure!(
        freed.len() >= COUNT as usize,
        "only {} skbs were freed by the driver",
        freed.len()
    );
    for (skb, depth) in freed {
        let before = given.get(&skb).context("an skb that was not sent")?;
        ensure_eq!(
            depth,
            *before,
            "spin locks that are held when the skb is freed"
        );
    }
    Ok(())
}
