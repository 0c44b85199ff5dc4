// SPDX-License-Identifier: GPL-2.0

//! xdp-trafficgen: frames that no program ever received, put on the wire by ndo_xdp_xmit.

use super::{run, start, Pins};
use crate::{
    bed::{mac_text, Bed},
    harness::case,
    host::{ensure_eq, PATIENCE},
    wire::{ensure_same, packet::Tap, ETH},
};
use anyhow::{anyhow, ensure, Result};
use std::{collections::BTreeMap, net::Ipv6Addr};

/// Fewer than the rings have buffers, so that none is lost.
const COUNT: u64 = 1000;
/// With the frame check sequence, which is not in the frames here.
const SIZE: usize = 204;
const LEN: usize = SIZE - 4;
/// Where the UDP header begins.
const UDP: usize = ETH + 40;
const FIRST_PORT: u16 = 5000;
const PORTS: u16 = 16;
const SRC: &str = "fd77::1";
const DST: &str = "fd77::2";

// Its programs take the debug kernel minutes to load.
case!(ports "tools::trafficgen", "ring_size=4096", trafficgen; stock_only());
fn trafficgen(bed: &Bed) -> Result<()> {
    let pins = Pins::watch()?;
    let mac = bed.b.mac()?;

    let said = run(&bed.a, "xdp-trafficgen probe")?;
    ensure!(
        said.contains("supports live packet mode"),
        "xdp-trafficgen probe: {said}"
    );

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let (_, said) = start(
        &bed.a,
        &format!(
            "xdp-trafficgen udp --num-packets {COUNT} --pkt-size {SIZE} --dyn-ports {PORTS} \
             --dst-port {FIRST_PORT} --dst-mac {} --src-addr {SRC} --dst-addr {DST} {}",
            mac_text(&mac),
            bed.a.name
        ),
    )?
    // Its status is 1 even when it has sent all that it was told to.
    .end()?;
    ensure!(
        said.contains(&format!("Transmitting on {}", bed.a.name)) && said.contains("xmit/s"),
        "xdp-trafficgen udp: {said}"
    );

    let mut ports = BTreeMap::new();
    let mut first = None;
    for n in 0..COUNT {
        let mut frame = tap
            .next(PATIENCE)?
            .ok_or_else(|| anyhow!("expected {COUNT} frames, found {n}"))?;

        ensure_eq!(frame.len(), LEN, "length of frame {n}");
        let port = u16::from_be_bytes([frame[UDP + 2], frame[UDP + 3]]);
        *ports.entry(port).or_insert(0) += 1;
        // In frames whose memory had another port number in it before, the tool's checksum is
        // wrong by one or more. All else is the same in all frames.
        frame[UDP + 2..UDP + 4].fill(0);
        frame[UDP + 6..UDP + 8].fill(0);
        let first = first.get_or_insert_with(|| frame.clone());
        ensure_same(&format!("frame {n}"), &frame, first)?;
    }
    tap.silence()?;
    if let Some(frame) = first {
        ensure_eq!(frame[..6], mac, "destination");
        for (at, address) in [(ETH + 8, SRC), (ETH + 24, DST)] {
            ensure_eq!(
                frame[at..at + 16],
                address.parse::<Ipv6Addr>()?.octets(),
                "address {address}"
            );
        }
    }
    ensure_eq!(
        ports.keys().copied().collect::<Vec<_>>(),
        (FIRST_PORT..FIRST_PORT + PORTS).collect::<Vec<_>>(),
        "ports"
    );
    let each = COUNT / u64::from(PORTS);
    ensure!(
        ports.values().all(|n| (each..=each + 1).contains(n)),
        "frames per port: {ports:?}"
    );

    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    let bytes = COUNT * LEN as u64;
    for (what, found, expected) in [
        ("A: xdp_xmit", a.counters.tx("xdp_xmit")?, COUNT),
        ("A: xdp_xmit_bytes", a.counters.tx("xdp_xmit_bytes")?, bytes),
        ("A: xdp_xmit_errors", a.counters.tx("xdp_xmit_errors")?, 0),
        ("A: packets", a.counters.tx("packets")?, 0),
        ("A: tx_packets", a.link.stat("tx_packets")?, COUNT),
        ("A: tx_bytes", a.link.stat("tx_bytes")?, bytes),
        ("B: packets", b.counters.rx("packets")?, COUNT),
        ("B: bytes", b.counters.rx("bytes")?, bytes),
    ] {
        ensure_eq!(found, expected, "{what}");
    }
    pins.ensure_none()
}
