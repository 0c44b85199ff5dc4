// SPDX-License-Identifier: GPL-2.0

//! Frames that the stack has put together as a list of skbs (`rx-gro-list`), and forwards to a
//! port.

use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{ensure_eq, wait_until},
    nl::link::New,
    support::{in_parallel, steer::SecondPair, traffic::settle_wire},
    wire::{
        capture::Capture,
        checksum::{verify, Kind},
        ensure_same,
        packet::{Sender, Tap},
        probe::Probe,
        stream::{data, end_at_once, ensure_data, read_all, receive, tcp_pair, udp},
        ETH,
    },
};
use anyhow::{ensure, Context, Result};
use std::{
    io::Write,
    net::{IpAddr, TcpStream},
    time::Duration,
};

/// Of the outer ports.
const ADDRESSES: [&str; 2] = ["10.79.0.1", "10.79.0.2"];

case!(ports "hell::forwarded_lists", "pairs=2 queues=1", forwarded);
/// Two ports in a bridge, each of which makes lists of what it receives and gets to send the
/// other's.
fn forwarded(bed: &Bed) -> Result<()> {
    let second = SecondPair::make(bed)?;
    let pair = Bed {
        a: second.near.clone(),
        b: second.far.clone(),
    };

    bed.up()?;
    second.up()?;
    let bridge = Port::add(&bed.b.ns, "br0", New::bridge())?;
    for port in [&bed.b, &second.near] {
        port.ethtool("-K", "rx-gro-list on")?;
        // So that a poll finds many frames.
        port.ethtool("-C", "adaptive-rx off rx-usecs 10000 rx-frames 0")?;
        port.join(&bridge)?;
    }
    bridge.up()?;
    for (port, address) in [&bed.a, &second.far].into_iter().zip(ADDRESSES) {
        port.add_address(&format!("{address}/24"))?;
    }

    streams(&bed.a, &second.far)?;
    datagrams(&bed.a, &second.far)?;
    for (bed, pair) in [(bed.clone(), pair.clone()), (swapped(&pair), swapped(bed))] {
        for lens in [&[60][..], &[61], &[700], &[1514], &[1514, 1514, 77]] {
            probes(&bed, &pair, lens).with_context(|| format!("frames of {lens:?} bytes"))?;
        }
    }
    for bed in [bed, &pair] {
        let (a, b) = settle_wire(bed)?;
        for port in [&a, &b] {
            port.counters
                .expect_rx(&port.name, &[("no_buffer", 0), ("oversize", 0)])?;
            port.counters.expect_tx(&port.name, &[("dropped", 0)])?;
        }
    }
    Ok(())
}

/// The same in the other direction.
fn swapped(bed: &Bed) -> Bed {
    Bed {
        a: bed.b.clone(),
        b: bed.a.clone(),
    }
}

/// TCP, both ways at a time.
fn streams(near: &Port, far: &Port) -> Result<()> {
    const LEN: usize = 300_001;
    let (near, far) = tcp_pair(near, far, ADDRESSES[1])?;
    // What they say at the end would be counted with the frames of others.
    [&near, &far].into_iter().try_for_each(end_at_once)?;
    let [there, back] = [data(3, LEN), data(4, LEN)];
    let send = |mut stream: &TcpStream, payload: &[u8]| Ok(stream.write_all(payload)?);
    let receive = |stream: &TcpStream, what: &str, payload: &[u8]| {
        ensure_data(what, &read_all(stream, LEN)?, payload)
    };
    let jobs: [Box<dyn FnOnce() -> Result<()> + Send>; 4] = [
        Box::new(|| send(&near, &there)),
        Box::new(|| send(&far, &back)),
        Box::new(|| receive(&far, "there", &there)),
        Box::new(|| receive(&near, "back", &back)),
    ];

    in_parallel(jobs).map(drop)
}

/// UDP in IP fragments, which the sender's stack has as a list.
fn datagrams(near: &Port, far: &Port) -> Result<()> {
    let (near, far) = (udp(near, ADDRESSES[0], 0)?, udp(far, ADDRESSES[1], 0)?);

    near.connect((ADDRESSES[1].parse::<IpAddr>()?, far.local_addr()?.port()))?;
    for len in [1473, 20_000, 65_507] {
        let payload = data(len as u32, len);

        near.send(&payload)?;
        receive(&far, &payload)?;
    }
    Ok(())
}

/// Splitting a list renumbers UDP packets: a frame with the identification, and so the checksum, of
/// another IPv4 header.
fn with_id_of(mut frame: Vec<u8>, other: &[u8]) -> Vec<u8> {
    for field in [ETH + 4..ETH + 6, ETH + 10..ETH + 12] {
        frame[field.clone()].copy_from_slice(&other[field]);
    }
    frame
}

/// One flow of frames from `ox0` or `ox3`, of these lengths in turn. It gets to the bridge in
/// lists, and to the far end of the other wire as it was sent.
fn probes(bed: &Bed, pair: &Bed, lens: &[usize]) -> Result<()> {
    const COUNT: usize = 120;
    let mut capture = Capture::start(&pair.b)?;
    let tap = Tap::open(&bed.b)?;
    let sender = Sender::open(&bed.a)?;
    let sent: Vec<_> = lens
        .iter()
        .cycle()
        .zip(0..COUNT as u32)
        .map(|(len, seq)| Probe::new(7, seq).len(*len).frame())
        .collect();
    let before = pair.a.counters()?.tx("packets")?;
    let mut rounds = 0;

    wait_until("several frames become a list", || {
        rounds += 1;
        sent.iter().try_for_each(|frame| sender.send(frame))?;
        let found = capture.wait_for(COUNT, |_| true)?;
        ensure_eq!(found.len(), COUNT, "frames at the far end");
        for (n, (found, sent)) in found.into_iter().zip(&sent).enumerate() {
            ensure_eq!(verify(&found)?, Kind::UdpV4, "frame {n}");
            ensure_same(&format!("frame {n}"), &with_id_of(found, sent), sent)?;
        }
        let mut skbs = 0;
        while tap.next(Duration::ZERO)?.is_some() {
            skbs += 1;
        }
        ensure!(
            (1..=COUNT).contains(&skbs),
            "{COUNT} frames came to the bridge in {skbs} pieces"
        );
        Ok(skbs < COUNT)
    })?;
    ensure_eq!(
        pair.a.counters()?.tx("packets")?,
        before + rounds * COUNT as u64,
        "frames that the port in the bridge has sent"
    );
    pair.b.detach()
}
