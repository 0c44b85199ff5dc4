// SPDX-License-Identifier: GPL-2.0

//! Checksums that the stack leaves to the port are right on the wire.

use crate::{
    bed::{Bed, V4, V4_VLAN, V6},
    harness::case,
    host::ensure_eq,
    support::{
        buffers::{BUFFER, JUMBO, MTU_MAX, PAGE},
        probes::set_mtu,
        traffic::settle,
    },
    wire::{
        capture::Capture,
        checksum::{sum, transport, verify, Kind},
        stream::{data, deliver, ensure_data, read_all, receive, tcp_pair, udp},
        ETH,
    },
};
use anyhow::{ensure, Context, Result};
use etherparse::{ip_number, Ipv4Slice, Ipv6FragmentHeader, Ipv6Header, SlicedPacket};
use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags, SockaddrStorage};
use std::{
    collections::BTreeMap,
    io::{IoSlice, Write},
    net::SocketAddr,
    os::fd::AsRawFd,
    thread,
};

/// Brings the link up with addresses and records what port B receives.
fn start(bed: &Bed) -> Result<Capture> {
    start_with(bed, Capture::start(&bed.b)?)
}

fn start_with(bed: &Bed, capture: Capture) -> Result<Capture> {
    bed.up_with_addresses()?;
    let features = bed.a.ethtool("-k", "")?;
    ensure!(
        features.contains("tx-checksum-ip-generic: on"),
        "port A leaves checksums to the stack: nothing would be tested\n{features}"
    );
    Ok(capture)
}

/// How many frames there are of each kind, all with valid checksums.
fn kinds(frames: &[Vec<u8>]) -> Result<BTreeMap<Kind, usize>> {
    let mut kinds = BTreeMap::new();

    for frame in frames {
        let kind =
            verify(frame).with_context(|| format!("{:02x?}", &frame[..frame.len().min(80)]))?;
        *kinds.entry(kind).or_default() += 1;
    }
    Ok(kinds)
}

fn is_udp(frame: &[u8]) -> bool {
    SlicedPacket::from_ethernet(frame).is_ok_and(|packet| {
        let payload = packet.ip_payload();
        payload.is_some_and(|payload| payload.ip_number == ip_number::UDP)
    })
}

case!(ports "checksum::udp", "", udp_datagrams);
fn udp_datagrams(bed: &Bed) -> Result<()> {
    const LENS: [usize; 12] = [0, 1, 2, 3, 17, 18, 19, 100, 999, 1000, 1451, 1452];
    let mut capture = start(bed)?;

    for ([from, to], kind) in [(V4, Kind::UdpV4), (V6, Kind::UdpV6)] {
        let sender = udp(&bed.a, from, 4000)?;
        let receiver = udp(&bed.b, to, 4001)?;

        for len in LENS {
            deliver(&sender, &receiver, &data(len as u32, len))?;
        }
        let frames = capture.wait_for(LENS.len(), is_udp)?;
        ensure_eq!(
            kinds(&frames)?,
            BTreeMap::from([(kind, LENS.len())]),
            "frames on the wire"
        );
    }
    Ok(())
}

case!(ports "checksum::udp_zero_is_written_as_ones", "", udp_zero);
/// A computed checksum of zero would say "no checksum", so UDP sends its complement.
fn udp_zero(bed: &Bed) -> Result<()> {
    let mut capture = start(bed)?;
    let sender = udp(&bed.a, V4[0], 4000)?;
    let receiver = udp(&bed.b, V4[1], 4001)?;
    let payload_len = 10;
    let udp_len = 8 + payload_len;
    let mut bytes = vec![10, 77, 0, 1, 10, 77, 0, 2, 0, 17, 0, udp_len];

    bytes.extend(4000u16.to_be_bytes());
    bytes.extend(4001u16.to_be_bytes());
    bytes.extend([0, udp_len, 0, 0]);
    bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    // The last word makes the sum 0xffff, whose complement is zero.
    let payload = [
        &[1, 2, 3, 4, 5, 6, 7, 8],
        &(!sum(&[&bytes])).to_be_bytes()[..],
    ]
    .concat();

    sender.send_to(&payload, receiver.local_addr()?)?;
    let frames = capture.wait_for(1, is_udp)?;
    ensure_eq!(
        kinds(&frames)?,
        BTreeMap::from([(Kind::UdpV4, 1)]),
        "frames on the wire"
    );
    ensure_eq!(
        &frames[0][ETH + 26..ETH + 28],
        &[0xff, 0xff][..],
        "checksum field"
    );
    receive(&receiver, &payload)
}

case!(ports "checksum::udp_fragments", "", udp_fragments);
/// The checksum of a datagram in several IP fragments covers all of them.
fn udp_fragments(bed: &Bed) -> Result<()> {
    const LEN: usize = 8001;
    let mut capture = start(bed)?;

    for [from, to] in [V4, V6] {
        let sender = udp(&bed.a, from, 4000)?;
        let receiver = udp(&bed.b, to, 4001)?;

        deliver(&sender, &receiver, &data(7, LEN))?;
        let frames = capture.wait_for(6, |frame| matches!(verify(frame), Ok(Kind::Fragment)))?;
        ensure_eq!(frames.len(), 6, "fragments of {LEN} bytes");
        let (addresses, body) = reassemble(&frames)?;
        ensure_eq!(body.len(), LEN + 8, "bytes in all fragments");
        transport(ip_number::UDP, &addresses, &body)?;
    }
    Ok(())
}

/// The addresses, and the bodies of all fragments put together by their offsets.
fn reassemble(frames: &[Vec<u8>]) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut pieces = BTreeMap::new();
    let mut addresses = Vec::new();

    for frame in frames {
        let packet = &frame[ETH..];

        if packet[0] >> 4 == 4 {
            let ip = Ipv4Slice::from_slice(packet)?;
            let header = ip.header();

            addresses = [header.source(), header.destination()].concat();
            pieces.insert(
                header.fragments_offset().byte_offset(),
                ip.payload().payload.to_vec(),
            );
        } else {
            let (header, rest) = Ipv6Header::from_slice(packet)?;
            let (fragment, _) = Ipv6FragmentHeader::from_slice(rest)?;
            let body = &rest[..header.payload_length.into()][Ipv6FragmentHeader::LEN..];

            addresses = [header.source, header.destination].concat();
            pieces.insert(fragment.fragment_offset.byte_offset(), body.to_vec());
        }
    }
    Ok((addresses, pieces.into_values().flatten().collect()))
}

case!(ports "checksum::udp_segments", "", udp_segments);
/// One send that the stack cuts into datagrams just above the port (UDP_SEGMENT).
fn udp_segments(bed: &Bed) -> Result<()> {
    const SIZE: u16 = 1001;
    const COUNT: usize = 20;
    let mut capture = start(bed)?;

    for ([from, to], kind) in [(V4, Kind::UdpV4), (V6, Kind::UdpV6)] {
        let sender = udp(&bed.a, from, 4000)?;
        let receiver = udp(&bed.b, to, 4001)?;
        let payload = data(3, usize::from(SIZE) * COUNT);
        let address = SockaddrStorage::from(receiver.local_addr()? as SocketAddr);

        sendmsg(
            sender.as_raw_fd(),
            &[IoSlice::new(&payload)],
            &[ControlMessage::UdpGsoSegments(&SIZE)],
            MsgFlags::empty(),
            Some(&address),
        )
        .context("UDP_SEGMENT")?;
        let mut found = Vec::new();
        for _ in 0..COUNT {
            let mut part = [0; 2000];
            let n = receiver.recv(&mut part)?;
            ensure_eq!(n, usize::from(SIZE), "size of a datagram");
            found.extend(&part[..n]);
        }
        ensure_data("datagrams", &found, &payload)?;
        let frames = capture.wait_for(COUNT, is_udp)?;
        ensure_eq!(
            kinds(&frames)?,
            BTreeMap::from([(kind, COUNT)]),
            "frames on the wire"
        );
    }
    Ok(())
}

case!(ports "checksum::tcp", "", tcp);
/// Long writes become segments that the stack cuts just above the port.
fn tcp(bed: &Bed) -> Result<()> {
    const LEN: usize = 400_000;
    let mut capture = start(bed)?;

    for (to, kind) in [(V4[1], Kind::TcpV4), (V6[1], Kind::TcpV6)] {
        let (mut near, far) = tcp_pair(&bed.a, &bed.b, to)?;
        let payload = data(11, LEN);
        let found = thread::scope(|scope| {
            let reader = scope.spawn(|| read_all(&far, LEN));
            near.write_all(&payload).context("writing")?;
            reader
                .join()
                .map_err(|_| anyhow::anyhow!("the reader panicked"))?
        })?;

        ensure_data("stream", &found, &payload)?;
        let frames = capture.frames()?;
        let kinds = kinds(&frames)?;
        let count = kinds.get(&kind).copied().unwrap_or(0);
        ensure!(
            count > LEN / 1448,
            "too few TCP frames on the wire: {kinds:?}"
        );
        ensure!(
            frames.iter().any(|frame| frame.len() == 1514),
            "no full segment on the wire"
        );
    }
    Ok(())
}

case!(ports "checksum::vlan", "", vlan);
/// A VLAN device on the port: the port computes the checksum behind the tag, at full length too,
/// whether the port or the stack inserts the tag.
fn vlan(bed: &Bed) -> Result<()> {
    let mut capture = start(bed)?;

    // The program must see the tag.
    bed.b.ethtool("-K", "rxvlan off")?;

    bed.add_vlans()?;
    let sender = udp(&bed.a, V4_VLAN[0], 4000)?;
    let receiver = udp(&bed.b, V4_VLAN[1], 4001)?;

    for (insert, len) in ["on", "off"]
        .into_iter()
        .flat_map(|insert| [1, 1000, 1472].map(|len| (insert, len)))
    {
        bed.a.ethtool("-K", &format!("txvlan {insert}"))?;
        deliver(&sender, &receiver, &data(len as u32, len))
            .with_context(|| format!("txvlan {insert}"))?;
        let frames = capture.wait_for(1, |frame| {
            frame[12..18] == [0x81, 0, 0, 5, 8, 0] && frame[ETH + 4 + 9] == 17
        })?;
        let untagged = [&frames[0][..12], &frames[0][16..]].concat();
        ensure_eq!(verify(&untagged)?, Kind::UdpV4, "frame behind the tag");
        ensure_eq!(
            frames[0].len(),
            (ETH + 4 + 28 + len).max(60),
            "length of the tagged frame"
        );
    }
    Ok(())
}

case!(ports "checksum::frames_in_several_buffers", "", several_buffers);
/// The checksum covers all buffers, of which only the last has an odd number of bytes.
fn several_buffers(bed: &Bed) -> Result<()> {
    // So much that the receiver's window grows beyond a few buffers.
    const LEN: usize = 75 * PAGE;
    let mut capture = start_with(bed, Capture::start_frags(&bed.b)?)?;

    for mtu in [JUMBO, MTU_MAX] {
        set_mtu(bed, mtu)?;
        for ([from, to], headers, kinds_of) in [
            (V4, 28, [Kind::UdpV4, Kind::TcpV4]),
            (V6, 48, [Kind::UdpV6, Kind::TcpV6]),
        ] {
            let sender = udp(&bed.a, from, 4000)?;
            let receiver = udp(&bed.b, to, 4001)?;
            let whole = BUFFER - ETH - headers;
            let lens = [
                whole,
                whole + 1,
                whole + 2,
                mtu / 2 + 1,
                mtu - headers - 1,
                mtu - headers,
            ];

            capture.frames()?;
            for len in lens {
                deliver(&sender, &receiver, &data(len as u32, len))
                    .with_context(|| format!("mtu {mtu}"))?;
            }
            let frames = capture.wait_for(lens.len(), is_udp)?;
            ensure_eq!(
                kinds(&frames)?,
                BTreeMap::from([(kinds_of[0], lens.len())]),
                "mtu {mtu}: frames on the wire"
            );

            let (mut near, far) = tcp_pair(&bed.a, &bed.b, to)?;
            let payload = data(13, LEN);
            let found = thread::scope(|scope| {
                let reader = scope.spawn(|| read_all(&far, LEN));
                near.write_all(&payload).context("writing")?;
                reader
                    .join()
                    .map_err(|_| anyhow::anyhow!("the reader panicked"))?
            })?;
            ensure_data("stream", &found, &payload)?;
            let frames = capture.frames()?;
            kinds(&frames)?;
            // How long a segment gets depends on the receiver's window too.
            ensure!(
                frames.iter().any(|frame| {
                    frame.len() > 2 * BUFFER && verify(frame).ok() == Some(kinds_of[1])
                }),
                "mtu {mtu}: no TCP segment in several buffers"
            );
        }
    }
    settle(bed).map(drop)
}
