// SPDX-License-Identifier: GPL-2.0

//! Raw frames: of every length, of nested and broken headers, of random bytes.

use super::rounds;
use crate::{
    bed::Bed,
    harness::case,
    host::ensure_eq,
    random::Random,
    support::traffic::settle_wire,
    wire::{
        capture::Capture,
        ensure_same,
        frames::{
            ethernet, ipv4, ipv6, tagged, transport, ARP, CTAG, DESTINATION_OPTIONS, ICMP, IPV4,
            IPV6, STAG, TCP, UDP,
        },
        packet::Sender,
        ETH, ETH_ZLEN, NOBODY, SOURCE,
    },
};
use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;

/// Frames of a round, as many as the recording program has room for.
const COUNT: usize = 500;
const MTU: usize = 1500;

/// A frame as it should be: any packet in any number of tags.
fn good(random: &mut Random) -> Vec<u8> {
    let protocol = random.pick(&[ICMP, TCP, UDP, 44, 47, DESTINATION_OPTIONS, 132]);
    let ports = [random.next() as u16, random.next() as u16];
    let mut body = transport(ports[0], ports[1], protocol);
    body.resize(random.below(1400) as usize, 0xa5);
    let (ethertype, packet) = match random.below(5) {
        0 | 1 => {
            let fragment = random.pick(&[0, 0x4000, 0x2000, 0x00b9, 0x8000]);
            let packet = ipv4([10, 77, 0, 1], [10, 77, 0, 2], protocol, fragment, &body);
            (IPV4, packet)
        }
        2 | 3 => {
            let mut address = || std::array::from_fn(|_| random.next() as u8);
            (IPV6, ipv6(address(), address(), protocol, &body))
        }
        _ => (ARP, body),
    };
    let tags: Vec<_> = (0..random.below(5))
        .map(|_| (random.pick(&[CTAG, STAG]), random.next() as u16))
        .collect();

    tagged(&ethernet(ethertype, &packet), &tags)
}

/// Any frame that the port can be told to send.
fn any(random: &mut Random) -> Vec<u8> {
    let mut frame = match random.below(8) {
        0 => {
            let len = ETH + random.below(60) as usize;
            random.bytes(len)
        }
        1 => {
            let len = ETH + random.below(MTU as u32) as usize;
            random.bytes(len)
        }
        2 => {
            let len = random.pick(&[MTU - 1, MTU, 3 * ETH]);
            ethernet(random.next() as u16, &random.bytes(len))
        }
        _ => good(random),
    };
    for _ in 0..random.below(3) {
        let at = random.below(frame.len() as u32) as usize;
        frame[at] = random.next() as u8;
    }
    if random.below(3) == 0 {
        frame.truncate(random.between(ETH as i64, frame.len() as i64) as usize);
    }
    // Packet sockets allow for one tag.
    let tag = if frame[12..14] == [0x81, 0] { 4 } else { 0 };
    frame.truncate(ETH + MTU + tag);
    frame
}

/// Sends any frames. Those that are let in come out as they were, filled up with zeroes to the
/// length of the shortest; returns how many these are.
fn send(
    bed: &Bed,
    random: &mut Random,
    capture: &mut Capture,
    is_let_in: impl Fn(&[u8]) -> bool,
    in_order: bool,
) -> Result<usize> {
    let sender = Sender::open(&bed.a)?;
    let mut expected = Vec::new();

    for _ in 0..COUNT {
        let mut frame = any(random);

        sender
            .send(&frame)
            .with_context(|| format!("{} bytes: {frame:02x?}", frame.len()))?;
        if is_let_in(&frame) {
            frame.resize(frame.len().max(ETH_ZLEN), 0);
            expected.push(frame);
        }
    }
    let mut found = capture.wait_for(expected.len(), |_| true)?;
    if !in_order {
        expected.sort();
        found.sort();
    }
    ensure_eq!(found.len(), expected.len(), "frames received");
    for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
        ensure_same(&format!("frame {n}"), found, expected)?;
    }
    Ok(found.len())
}

case!(ports "hell::any_frames", "queues=1", to_one_queue);
fn to_one_queue(bed: &Bed) -> Result<()> {
    let mut sent = 0;

    // Their tags would be beside them.
    bed.b.ethtool("-K", "rxvlan off")?;
    bed.b.set_promisc(true)?;
    let mut capture = Capture::start(&bed.b)?;
    bed.up()?;
    rounds("hell::any_frames", |random| {
        sent += send(bed, random, &mut capture, |_| true, true)?;
        Ok(())
    })?;
    let (_, b) = settle_wire(bed)?;
    ensure_eq!(b.counters.rx("packets")?, sent as u64, "B: frames received");
    b.check_verdicts()
}

case!(ports "hell::any_frames_through_filter_and_rules", "queues=4", through_filter_and_rules);
/// Someone looks at every header there is, and at the destination.
fn through_filter_and_rules(bed: &Bed) -> Result<()> {
    let (mut sent, mut received) = (0, 0);

    bed.b.ethtool("-K", "rxvlan off")?;
    let mut capture = Capture::start(&bed.b)?;
    bed.up()?;
    for (rule, queue) in [
        ("ether proto 0x8100 m 0xff00", 0),
        ("udp4 dst-port 77 m 0xff00", 1),
        ("tcp6 src-port 1 m 0xfff0", 2),
        ("ip4 l4proto 47", 3),
    ] {
        bed.b
            .ethtool("-N", &format!("flow-type {rule} action {queue}"))?;
    }
    let own = bed.b.mac()?;
    let ours = |frame: &[u8]| {
        [own, NOBODY, SOURCE, [0xff; 6]]
            .iter()
            .any(|mac| frame.starts_with(mac))
    };
    rounds("hell::any_frames_through_filter_and_rules", |random| {
        sent += COUNT;
        received += send(bed, random, &mut capture, ours, false)?;
        Ok(())
    })?;
    let (_, b) = settle_wire(bed)?;
    ensure_eq!(
        b.counters.rx("packets")?,
        received as u64,
        "B: frames received"
    );
    ensure_eq!(
        b.counters.dropped_by("mac_filter")?,
        (sent - received) as u64,
        "B: frames for others"
    );
    ensure!(
        received < sent && b.counters.rx_each("packets")?.iter().all(|n| *n > 0),
        "no frame for others, or a ring that had no traffic"
    );
    b.check_verdicts()
}

case!(ports "hell::no_frames", "", none);
/// What is no frame for the kernel does not reach the port.
fn none(bed: &Bed) -> Result<()> {
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let (shorter, longer) = (1..ETH, [ETH + MTU + 1, ETH + MTU + 5, 20_000]);
    for len in shorter.chain(longer) {
        match sender.try_send(&vec![0xaa; len]) {
            Err(Errno::EINVAL | Errno::EMSGSIZE) => {}
            result => bail!("{len} bytes: {result:?}"),
        }
    }
    let (a, b) = settle_wire(bed)?;
    ensure_eq!(a.counters.tx("packets")?, 0, "A: frames put on the wire");
    ensure_eq!(b.counters.rx("packets")?, 0, "B: frames received");
    Ok(())
}
