// SPDX-License-Identifier: GPL-2.0

//! skbs that the stack makes of tunnels, of UDP in segments and of the packet generator's clones.

use crate::{
    bed::{Bed, Port, V4, V6},
    harness::case,
    host::{cmd, ensure_eq, pktgen::Pktgen},
    sockopt::ZeroCopy,
    stats::check_wire,
    support::{in_parallel, traffic::settle},
    wire::{
        capture::Capture,
        checksum::{verify, Kind},
        ensure_same,
        packet::Tap,
        stream::{data, end_at_once, ensure_data, read_all, tcp_pair, udp},
    },
};
use anyhow::{ensure, Context, Result};
use nix::{
    libc,
    sys::socket::{send, setsockopt, sockopt::UdpGsoSegment, MsgFlags},
};
use std::{fs, io::Write, net::IpAddr, os::fd::AsRawFd};

case!(ports "hell::udp_in_segments", "queues=1", udp_segments);
/// The stack itself segments large UDP packets, with data from its own pages and from the sender's.
fn udp_segments(bed: &Bed) -> Result<()> {
    const TIMES: usize = 4;
    let mut capture = Capture::start(&bed.b)?;

    bed.up_with_addresses()?;
    let addresses = [(V4, Kind::UdpV4), (V6, Kind::UdpV6)];
    for (([from, to], kind), size) in addresses.into_iter().flat_map(|a| [(a, 1000), (a, 1201)]) {
        for flags in [0, libc::MSG_ZEROCOPY] {
            let what = format!("{to}, {size} bytes, flags {flags:#x}");
            let near = udp(&bed.a, from, 0)?;
            let far = udp(&bed.b, to, 0)?;
            let payload = data(size as u32, 23 * size + 7);

            near.connect((to.parse::<IpAddr>()?, far.local_addr()?.port()))?;
            setsockopt(&near, UdpGsoSegment, &(size as i32))?;
            setsockopt(&near, ZeroCopy, &true)?;
            for _ in 0..TIMES {
                let flags = MsgFlags::from_bits_retain(flags);
                ensure_eq!(
                    send(near.as_raw_fd(), &payload, flags)?,
                    payload.len(),
                    "{what}: bytes sent"
                );
                let mut received = Vec::new();
                while received.len() < payload.len() {
                    let mut datagram = vec![0; 2000];
                    let n = far.recv(&mut datagram).with_context(|| what.clone())?;

                    ensure!(
                        n == size || received.len() + n == payload.len(),
                        "{what}: a datagram of {n} bytes"
                    );
                    received.extend(&datagram[..n]);
                }
                ensure_data(&what, &received, &payload)?;
            }
            let mut count = 0;
            for frame in &capture.frames()? {
                count += usize::from(verify(frame).with_context(|| what.clone())? == kind);
            }
            ensure_eq!(count, 24 * TIMES, "{what}: datagrams on the wire");
        }
    }
    settle(bed).map(drop)
}

case!(ports "hell::tcp_in_tunnels", "queues=1", tunnels);
/// The port cannot cut what is in a tunnel, so the stack does.
fn tunnels(bed: &Bed) -> Result<()> {
    let passed = in_tunnels(bed);

    // With them go the tunnels that they make by themselves in each namespace. In the debug kernel
    // they are no modules.
    let modules = fs::read_to_string("/proc/modules")?;
    for name in ["vxlan", "ip_gre", "ipip"] {
        if modules
            .lines()
            .any(|line| line.split(' ').next() == Some(name))
        {
            cmd::run(&format!("modprobe -r {name}"))?;
        }
    }
    passed
}

fn in_tunnels(bed: &Bed) -> Result<()> {
    const LEN: usize = 100_001;
    /// Inside.
    const ADDRESSES: [&str; 2] = ["10.79.0.1", "10.79.0.2"];

    bed.up_with_addresses()?;
    for kind in ["vxlan", "vxlan over IPv6", "gre", "gretap", "ipip"] {
        for (n, port) in [&bed.a, &bed.b].into_iter().enumerate() {
            let ends = |of: [&str; 2]| format!("local {} remote {}", of[n], of[1 - n]);
            let tunnel = match kind {
                "vxlan" => format!("vxlan id 7 {} dstport 4789 dev {}", ends(V4), port.name),
                "vxlan over IPv6" => {
                    format!("vxlan id 8 {} dstport 4790 dev {}", ends(V6), port.name)
                }
                kind => format!("{kind} {}", ends(V4)),
            };

            port.ns.ip(&format!("link add tunnel type {tunnel}"))?;
            let tunnel = Port::find(&port.ns, "tunnel")?;
            tunnel.add_address(&format!("{}/24", ADDRESSES[n]))?;
            tunnel.up()?;
        }
        let payload = data(LEN as u32, LEN);
        let (mut near, far) = tcp_pair(&bed.a, &bed.b, ADDRESSES[1]).context(kind)?;
        // What they say at the end would find the tunnel gone, and be kept.
        [&near, &far].into_iter().try_for_each(end_at_once)?;
        let jobs: [Box<dyn FnOnce() -> Result<()> + Send>; 2] = [
            Box::new(|| Ok(near.write_all(&payload)?)),
            Box::new(|| ensure_data(kind, &read_all(&far, LEN)?, &payload)),
        ];
        in_parallel(jobs).context(kind)?;
        drop((near, far));
        for port in [&bed.a, &bed.b] {
            Port::find(&port.ns, "tunnel")?.delete()?;
        }
    }
    let (a, b) = bed.settled()?;
    for port in [&a, &b] {
        port.counters
            .expect_rx(&port.name, &[("no_buffer", 0), ("oversize", 0)])?;
        port.counters.expect_tx(&port.name, &[("dropped", 0)])?;
    }
    // The stack counts what it drops itself with the port's losses.
    check_wire(&a, &b)?;
    check_wire(&b, &a)
}

case!(ports "hell::clones_of_the_packet_generator", "queues=1", clones);
/// The packet generator sends one skb many times, alone and in bursts, from one piece of memory and
/// from several, with a checksum that is left to the port and without. None may be changed by being
/// sent.
fn clones(bed: &Bed) -> Result<()> {
    /// Less than a ring, so that no burst is cut short for lack of buffers.
    const COUNT: usize = 400;
    /// Where the packet generator has its own header, behind that of UDP: a number, the frame's
    /// number, and the time.
    const HEADER: usize = 42;
    const DATA: usize = HEADER + 16;
    const MAGIC: [u8; 4] = 0xbe9b_e955_u32.to_be_bytes();

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    for (size, frags, clone, burst, sums) in [
        (60, 0, 0, 1, false),
        (60, 0, 0, 8, true),
        (60, 0, 100, 1, true),
        (1000, 4, 100, 1, true),
        (1514, 8, 50, 1, false),
        (1514, 16, 10, 4, true),
        (700, 3, 10, 8, false),
    ] {
        let what = format!(
            "{size} bytes, frags {frags}, clone_skb {clone}, burst {burst}, checksum: {sums}"
        );
        let mut settings = vec![
            format!("count {COUNT}"),
            format!("pkt_size {size}"),
            format!("frags {frags}"),
            format!("clone_skb {clone}"),
            format!("burst {burst}"),
            "dst 10.77.0.2".to_owned(),
            "src_min 10.77.0.1".to_owned(),
            "dst_mac 02:00:00:00:00:fe".to_owned(),
        ];
        if sums {
            settings.push("flag UDPCSUM".to_owned());
        }
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        // So often is an skb sent.
        let times = clone.max(1) * burst;
        let mut first = Vec::new();

        let pktgen = Pktgen::load()?;
        pktgen.add(&bed.a, 0, &settings)?;
        pktgen.send(&bed.a.ns)?;
        ensure_eq!(pktgen.sent(&bed.a)?, COUNT as u64, "{what}: frames sent");
        for n in 0..COUNT {
            let what = format!("{what}: frame {n}");
            let frame = tap.any().context(what.clone())?;

            if n % times != 0 {
                ensure_same(&what, &frame, &first)?;
                continue;
            }
            ensure_eq!(frame.len(), size, "{what}: length");
            ensure_eq!(
                (&frame[HEADER..HEADER + 4], &frame[HEADER + 4..HEADER + 8]),
                (&MAGIC[..], &(n as u32 + 1).to_be_bytes()[..]),
                "{what}: the packet generator's numbers"
            );
            ensure!(
                frame[DATA..].iter().all(|byte| *byte == 0),
                "{what}: data that is not zero"
            );
            if sums {
                ensure_eq!(verify(&frame).context(what.clone())?, Kind::UdpV4, "{what}");
            }
            first = frame;
        }
        tap.silence().context(what)?;
    }
    settle(bed).map(drop)
}
