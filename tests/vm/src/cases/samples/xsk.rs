// SPDX-License-Identifier: GPL-2.0

//! xsk: frames by AF_XDP sockets.

use super::{expect_program, ours, refused, refused_to_nobody, row, start};
use crate::{
    bed::{mac_text, Bed},
    bpf::{self, wait_freed, Program},
    harness::case,
    host::{cmd, ensure_eq, process::Running},
    support::{
        probes::{assorted, send_all, total_len},
        steer::Chain,
        traffic::settle,
        xsk::wait_free,
    },
    wire::{
        checksum, ensure_same,
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        ETH, NOBODY,
    },
};
use anyhow::{ensure, Context, Result};
use etherparse::{ip_number, EtherType, Ethernet2Header, Ipv4Header, UdpHeader};

/// How a socket can be bound: the options, and what the sample says about it.
const MODES: [(&str, &str); 6] = [
    ("--copy", "copy mode, XDP_USE_NEED_WAKEUP"),
    ("--copy --no-need-wakeup", "copy mode\n"),
    (
        "--copy --frame-size 2048 --batch 1",
        "copy mode, XDP_USE_NEED_WAKEUP",
    ),
    ("", "zero-copy, XDP_USE_NEED_WAKEUP"),
    ("--zero-copy --no-need-wakeup", "zero-copy\n"),
    (
        "--zero-copy --frame-size 2048 --batch 1",
        "zero-copy, XDP_USE_NEED_WAKEUP",
    ),
];

/// Starts the sample on B, and waits until its table begins. It does not wait long itself for a
/// queue that the one before has had.
fn running(bed: &Bed, line: &str) -> Result<Running> {
    for queue in [0, 1] {
        wait_free(&bed.b, queue)?;
    }
    let mut sample = start(&bed.b, line)?;

    sample.wait_for("second")?;
    Ok(sample)
}

/// The rows of the table, but for the last, which has the sums: the second, and what there was in
/// it. Seconds are missing if the machine is slow.
fn seconds(said: &str) -> Vec<(u64, Vec<u64>)> {
    (1..1000)
        .filter_map(|second| Some((second, row(said, &second.to_string()).ok()?)))
        .collect()
}

/// It ended after so many seconds, with the first row that shows that they are over.
fn check_end(said: &str, end: u64) -> Result<()> {
    let over = seconds(said).iter().filter(|(n, _)| *n >= end).count();

    ensure_eq!(over, 1, "rows after {end} seconds in: {said}");
    Ok(())
}

/// The seconds add up to the sums, in every column that counts frames.
fn check_sums(said: &str, columns: &[usize]) -> Result<()> {
    let (all, seconds) = (row(said, "all")?, seconds(said));

    for column in columns {
        let sum: u64 = seconds.iter().map(|(_, row)| row[*column]).sum();

        // The last second is not complete.
        ensure!(sum <= all[*column], "seconds against the sum in: {said}");
    }
    Ok(())
}

case!(ports "samples::xsk_receive", "queues=1", receives);
/// What arrives goes to the socket, and not to the stack; afterwards the stack has it again.
fn receives(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::PASS);
    let count = probes.len() as u64;
    let mut arrived = 0;

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    for (options, mode) in MODES {
        let mut sample = running(bed, &format!("xsk receive ox1 {options} --headroom 64"))?;
        let id = ours(&mut sample, "program id ")?;
        expect_program(&bed.b, Some(id))?;

        send_all(bed, &probes)?;
        send_all(bed, &probes)?;
        arrived += 2 * count;
        bed.b.wait_received(arrived)?;
        tap.silence()?;
        let said = sample.interrupt()?;

        ensure!(said.contains(mode), "\"{mode}\" in: {said}");
        ensure_eq!(row(&said, "all")?[0], 2 * count, "frames in: {said}");
        check_sums(&said, &[0])?;
        ensure!(
            said.contains("rx_dropped 0, rx_ring_full 0,"),
            "XDP_STATISTICS in: {said}"
        );
        expect_program(&bed.b, None)?;
        wait_freed(id)?;
    }
    bed.b
        .counters()?
        .expect_rx("B", &[("xdp_redirect", arrived), ("packets", arrived)])?;
    send_all(bed, &probes)?;
    ensure_eq!(tap.probes(probes.len())?, probes, "frames in the stack");
    settle(bed).map(drop)
}

case!(ports "samples::xsk_receive_ends", "queues=1", ends);
/// It ends by itself, after so many frames or so much time.
fn ends(bed: &Bed) -> Result<()> {
    // Fewer than the socket has buffers: none is lost, however slow the sample is.
    const COUNT: u64 = 1500;
    bed.up()?;
    let sample = running(bed, &format!("xsk receive ox1 --copy --count {COUNT}"))?;
    let sender = Sender::open(&bed.a)?;
    sender.send_flow(&Probe::new(1, 0), COUNT as u32)?;
    let said = sample.finish()?;
    ensure_eq!(row(&said, "all")?[0], COUNT, "frames in: {said}");
    expect_program(&bed.b, None)?;

    let said = running(bed, "xsk receive ox1 --copy --seconds 2")?.finish()?;
    check_end(&said, 2)?;
    ensure_eq!(row(&said, "all")?[0], 0, "frames in: {said}");

    // What comes afterwards is the stack's.
    let tap = Tap::open(&bed.b)?;
    send_all(bed, &[Probe::new(1, 0)])?;
    ensure_eq!(tap.probes(1)?, [Probe::new(1, 0)], "frames in the stack");
    settle(bed).map(drop)
}

case!(ports "samples::xsk_forward", "queues=1 pairs=2", forwards);
/// What arrives at ox1 leaves ox2 as it was, and the other way round.
fn forwards(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let probes = assorted(verdict::PASS);
    let (count, bytes) = (probes.len() as u64, total_len(&probes));

    chain.up()?;
    let taps = [Tap::open(&chain.first.a)?, Tap::open(&chain.second.b)?];
    let silent = [Tap::open(&chain.first.b)?, Tap::open(&chain.second.a)?];
    for (options, mode) in MODES {
        wait_free(&chain.second.a, 0)?;
        let mut sample = running(bed, &format!("xsk forward ox1 ox2 {options}"))?;
        sample.wait_for(mode)?;

        for (sender, tap) in [(&chain.first.a, &taps[1]), (&chain.second.b, &taps[0])] {
            for _ in 0..3 {
                Sender::open(sender)?.send_in_order(probes.iter().cloned())?;
                ensure_eq!(tap.probes(probes.len())?, probes, "forwarded frames");
            }
        }
        for tap in &silent {
            tap.silence()?;
        }
        let said = sample.interrupt()?;
        let all = row(&said, "all")?;
        ensure_eq!([all[0], all[2]], [3 * count; 2], "frames in: {said}");
        check_sums(&said, &[0, 2])?;
        for port in [&chain.first.b, &chain.second.a] {
            expect_program(port, None)?;
        }
    }
    for bed in [&chain.first, &chain.second] {
        settle(bed)?;
    }
    let sent = 3 * MODES.len() as u64;
    for port in [&chain.first.b, &chain.second.a] {
        let counters = port.counters()?;

        counters.expect_rx(&port.name, &[("xdp_redirect", sent * count)])?;
        ensure_eq!(
            port.link()?.stat("tx_bytes")?,
            sent * bytes,
            "{}: bytes sent",
            port.name
        );
    }
    Ok(())
}

/// A datagram as the sample makes it.
fn datagram(len: usize) -> Result<Vec<u8>> {
    let ethernet = Ethernet2Header {
        source: [0x02, 0, 0, 0, 0, 0x58],
        destination: NOBODY,
        ether_type: EtherType::IPV4,
    };
    let mut ip = Ipv4Header::new(
        (len - ETH - Ipv4Header::MIN_LEN) as u16,
        64,
        ip_number::UDP,
        [10, 1, 0, 7],
        [10, 2, 0, 8],
    )?;
    ip.dont_fragment = false;
    ip.header_checksum = ip.calc_header_checksum();
    let payload = vec![0; len - ETH - Ipv4Header::MIN_LEN - UdpHeader::LEN];
    let udp = UdpHeader::with_ipv4_checksum(4000, 53, &ip, &payload)?;

    Ok([
        &ethernet.to_bytes()[..],
        &ip.to_bytes(),
        &udp.to_bytes(),
        &payload,
    ]
    .concat())
}

case!(ports "samples::xsk_generate", "queues=1", generates);
/// The frames that it sends, whoever computes the checksum, and when they were sent.
fn generates(bed: &Bed) -> Result<()> {
    const COUNT: u64 = 3000;
    let mac = mac_text(&NOBODY);
    let mut sent = 0;

    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    for (mode, (options, size)) in [
        ("", 60),
        ("", 1514),
        ("--checksum", 61),
        ("--timestamp", 100),
        ("--checksum --timestamp", 1513),
        ("--checksum --timestamp --frame-size 2048 --batch 7", 1000),
        ("--no-need-wakeup --batch 1024", 60),
    ]
    .into_iter()
    .flat_map(|options| [("--copy", options), ("--zero-copy", options)])
    {
        let expected = datagram(size)?;
        let said = running(
            bed,
            &format!(
                "xsk generate ox1 {mode} {options} --size {size} --mac {mac} --from 10.1.0.7:4000 \
                 --to 10.2.0.8:53 --count {COUNT}"
            ),
        )?
        .finish()?;

        checksum::verify(&expected)?;
        for n in 0..COUNT {
            let what = format!("`{mode} {options}`, {size} bytes, frame {n}");
            ensure_same(&what, &tap.any().with_context(|| what.clone())?, &expected)?;
        }
        tap.silence()?;
        let all = row(&said, "all")?;
        ensure_eq!(all[0], COUNT, "frames in: {said}");
        check_sums(&said, &[0])?;
        ensure_eq!(
            all.len(),
            if options.contains("--timestamp") {
                3
            } else {
                2
            },
            "columns in: {said}"
        );
        ensure!(said.contains("tx_invalid_descs 0,"), "{said}");
        sent += COUNT;
    }
    let (_, b) = settle(bed)?;
    b.counters
        .expect_tx("B", &[("packets", sent / 2), ("xsk_packets", sent / 2)])
}

case!(ports "samples::xsk_generate_ends", "queues=1", generate_ends);
/// However it is ended, what is in the rings is sent, or told.
fn generate_ends(bed: &Bed) -> Result<()> {
    let mac = mac_text(&NOBODY);
    let line = format!("xsk generate ox1 --copy --mac {mac}");

    bed.up()?;
    let mut sample = running(bed, &line)?;
    sample.wait_until("has printed two rows", |said| seconds(said).len() >= 2)?;
    let said = sample.interrupt()?;
    let frames = row(&said, "all")?[0];
    ensure!(frames > 0, "{said}");
    check_sums(&said, &[0])?;
    let (_, b) = settle(bed)?;
    b.counters.expect_tx("B", &[("packets", frames)])?;

    let said = running(bed, &format!("{line} --seconds 1"))?.finish()?;
    check_end(&said, 1)?;

    // A port that is down sends nothing.
    wait_free(&bed.b, 0)?;
    bed.b.down()?;
    let said = running(bed, &format!("{line} --count 100"))?.finish()?;
    ensure!(said.contains("100 frames were not sent"), "{said}");
    ensure_eq!(row(&said, "all")?[0], 0, "frames in: {said}");
    Ok(())
}

case!(ports "samples::xsk_refusals", "queues=2", refusals);
fn refusals(bed: &Bed) -> Result<()> {
    bed.up()?;
    for line in ["xsk receive ox9", "xsk generate ox9", "xsk forward ox1 ox9"] {
        refused(&bed.b, line, "no interface called ox9")?;
    }
    refused_to_nobody(&bed.b, "xsk receive ox1")?;
    refused(&bed.b, "xsk forward ox1 ox1", "ox1 is given twice")?;
    for queue in ["2", "4000000000"] {
        refused(
            &bed.b,
            &format!("xsk receive ox1 --copy --queue {queue}"),
            "there is no such queue",
        )?;
    }
    refused(
        &bed.b,
        "xsk receive lo --zero-copy",
        "binding to queue 0 of lo: the driver has no zero-copy",
    )?;
    refused(
        &bed.b,
        "xsk generate ox1 --size 2000 --frame-size 2048",
        "a frame of the umem has room for 1776",
    )?;
    refused(&bed.b, "xsk receive ox1 --headroom 4000", "head_room")?;
    let other = bpf::path("xdp_drop")?;
    refused(
        &bed.b,
        &format!("xsk receive ox1 --copy --obj {}", other.display()),
        "no map sockets",
    )?;

    let sample = running(bed, "xsk receive ox1 --copy --queue 1")?;
    refused(
        &bed.b,
        "xsk receive ox1 --copy --queue 1",
        "binding to queue 1 of ox1: another AF_XDP socket has it",
    )?;
    refused(
        &bed.b,
        "xsk receive ox1 --copy",
        "ox1 has an XDP program already",
    )?;
    sample.interrupt()?;

    let drop = Program::sample("xdp_drop")?;
    bed.b.attach(&drop)?;
    refused(
        &bed.b,
        "xsk receive ox1 --copy",
        "ox1 has an XDP program already",
    )?;
    expect_program(&bed.b, Some(drop.id))?;
    bed.b.detach()?;

    for wrong in [
        "xsk receive ox1 --copy --zero-copy",
        "xsk receive ox1 --frame-size 3000",
        "xsk receive ox1 --batch 0",
        "xsk generate ox1 --size 59",
        "xsk generate ox1 --mac 02:00:00:00:00",
        "xsk forward ox1",
        "xsk",
    ] {
        let (status, said) = start(&bed.b, wrong)?.end()?;
        ensure_eq!(status.code(), Some(2), "status of `{wrong}`: {said}");
    }
    let help = cmd::run(&super::command("xsk generate --help")?)?;
    for option in [
        "--copy",
        "--zero-copy",
        "--checksum",
        "--timestamp",
        "--queue <N>",
    ] {
        ensure!(help.contains(option), "no {option} in: {help}");
    }
    Ok(())
}
