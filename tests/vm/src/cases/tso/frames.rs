// SPDX-License-Identifier: GPL-2.0

//! Large frames from a packet socket: what the port makes of them, byte by byte.

use super::{given, segments, EVENT, ONE, SMALL};
use crate::{
    bed::{Bed, V4, V6},
    harness::case,
    host::{ensure_eq, tracefs::Trace},
    sockopt::QdiscBypass,
    stats::Snapshot,
    support::{
        large::{open, Large, ACK, CWR, ECE, FIN, PSH, TCP},
        traffic::{check_alive, settle, settle_after_down},
    },
    wire::{capture::Capture, packet::Tap, stream::ensure_data, ETH, ETH_ZLEN, NOBODY},
};
use anyhow::{ensure, Context, Result};
use nix::sys::socket::setsockopt;

/// The payload of all segments together, whatever their order.
fn joined(frames: &[Vec<u8>], large: &Large) -> Result<Vec<u8>> {
    let from = if large.v6 { V6[0] } else { V4[0] };
    let mut segments = segments(frames, from, 1500)?;

    segments.sort_by_key(|segment| segment.seq.wrapping_sub(0xffff_f000));
    Ok(segments.into_iter().flat_map(|s| s.payload).collect())
}

case!(ports "tso::dropped_by_the_peer", ONE, dropped);
/// The peer drops all segments of a large frame, by a rule or by its filter, and each is counted.
fn dropped(bed: &Bed) -> Result<()> {
    let large = Large::new(30_001, 1000);
    let count = large.count() as u64;

    bed.up()?;
    let sender = open(&bed.a)?;
    for what in ["ntuple", "mac_filter"] {
        if what == "ntuple" {
            bed.b.ethtool("-N", "flow-type tcp4 action -1")?;
        } else {
            bed.b.ethtool("-K", "ntuple off")?;
            bed.b.receive_no_more(&NOBODY)?;
            // The kernel tells the port with the next change of the link at the latest.
            bed.b.up()?;
        }
        let before = bed.settled()?;
        sender.send(&large.frame())?;
        let after = settle(bed)?;
        let counts = |(a, b): &(Snapshot, Snapshot)| {
            Ok::<_, anyhow::Error>([
                a.counters.tx("packets")?,
                a.counters.tx("bytes")?,
                b.counters.dropped_by(what)?,
                b.counters.rx("packets")?,
            ])
        };
        let (old, new) = (counts(&before)?, counts(&after)?);

        ensure_eq!(
            [0, 1, 2, 3].map(|n| new[n] - old[n]),
            [
                count,
                // The last has one byte of payload and is padded.
                large.len as u64 - 1 + (count - 1) * (ETH + 20 + TCP) as u64 + ETH_ZLEN as u64,
                count,
                0
            ],
            "{what}: frames and bytes that A sent, frames that B dropped, and received"
        );
    }
    Ok(())
}

case!(ports "tso::as_the_stack_does_it", ONE, as_the_stack);
/// The port's segments equal the stack's, byte by byte.
fn as_the_stack(bed: &Bed) -> Result<()> {
    let mut capture = Capture::start(&bed.b)?;
    let mut all = Vec::new();

    bed.up()?;
    let sender = open(&bed.a)?;
    for v6 in [false, true] {
        for (len, mss) in [
            (30_001, 1000),
            (30_000, 1000),
            (61_440, 1440),
            (1401, 1400),
            (9, 8),
        ] {
            for flags in [ACK, ACK | PSH | FIN, ACK | ECE | CWR | PSH] {
                all.push(Large {
                    v6,
                    flags,
                    ..Large::new(len, mss)
                });
            }
        }
    }
    for ip_options in [[1; 4].into(), [1; 40].into()] {
        all.push(Large {
            ip_options,
            ..Large::new(20_001, 1001)
        });
    }
    let trace = Trace::start(EVENT)?;
    let mut cut = [Vec::new(), Vec::new()];
    for (tso, cut) in ["on", "off"].into_iter().zip(&mut cut) {
        bed.a.ethtool("-K", &format!("tso {tso}"))?;
        for large in &all {
            sender.send(&large.frame())?;
            let frames = capture.wait_for(large.count(), |_| true)?;

            ensure_eq!(
                frames.len(),
                large.count(),
                "tso {tso}: segments of {} bytes",
                large.len
            );
            cut.push(frames);
        }
        ensure_eq!(
            given(&trace, &bed.a.name)?,
            all.len(),
            "tso {tso}: large frames that the port was given so far"
        );
    }
    let [port, stack] = cut;
    for ((port, stack), large) in port.iter().zip(&stack).zip(&all) {
        let what = format!(
            "{} bytes in segments of {}, IPv{}, flags {:#x}, {} bytes of options",
            large.len,
            large.mss,
            if large.v6 { 6 } else { 4 },
            large.flags,
            large.ip_options.len()
        );

        for (n, (found, expected)) in port.iter().zip(stack).enumerate() {
            crate::wire::ensure_same(&format!("{what}: segment {n}"), found, expected)?;
        }
        if large.ip_options.is_empty() {
            ensure_data(&what, &joined(port, large)?, &large.payload())?;
        }
    }
    settle(bed).map(drop)
}

case!(ports "tso::more_segments_than_the_limit", SMALL, |bed| many_segments(bed, false));
case!(ports "tso::more_segments_than_there_are_buffers", SMALL, |bed| many_segments(bed, true));
/// More segments than the port takes at a time, or than there are buffers: the stack segments the
/// frame. If the queueing discipline is bypassed, the port does not wait for buffers that will
/// never exist.
fn many_segments(bed: &Bed, bypass: bool) -> Result<()> {
    const SENT: usize = 3;
    let large = Large::new(30_000, 100);
    let mut capture = Capture::start(&bed.b)?;
    let trace = Trace::start(EVENT)?;

    bed.up()?;
    let sender = open(&bed.a)?;
    if bypass {
        setsockopt(&sender, QdiscBypass, &true)?;
    }
    for _ in 0..SENT {
        match sender.try_send(&large.frame()) {
            // The stack may log that it dropped the frame.
            Err(nix::errno::Errno::ENOBUFS) if bypass => {}
            result => result.context("sending a large frame")?,
        }
        if !bypass {
            let frames = capture.wait_for(large.count(), |_| true)?;
            ensure_data("segments", &joined(&frames, &large)?, &large.payload())?;
        }
    }
    if !bypass {
        ensure_eq!(
            given(&trace, &bed.a.name)?,
            0,
            "large frames that the port was given"
        );
    }
    settle_after_down(bed)?;
    check_alive(bed)
}

case!(ports "tso::headers_that_lie", ONE, lies);
/// Frames that contradict their metadata are dropped and do no harm.
fn lies(bed: &Bed) -> Result<()> {
    let good = Large::new(30_000, 1000);
    let v6 = Large {
        v6: true,
        ..good.clone()
    };
    let with = |large: &Large, at: usize, value: u8| Large {
        lies: vec![(at, value)],
        ..large.clone()
    };
    let tcp = ETH + 20;
    let cases = [
        ("an IPv4 header of 16 bytes", with(&good, ETH, 0x44)),
        ("version 5", with(&good, ETH, 0x55)),
        ("UDP", with(&good, ETH + 9, 17)),
        ("a protocol that does not exist", with(&good, ETH + 9, 253)),
        ("a TCP header of 16 bytes", with(&good, tcp + 12, 0x40)),
        ("IPv6 with UDP", with(&v6, ETH + 6, 17)),
        ("IPv6 without anything behind", with(&v6, ETH + 6, 59)),
        (
            "a TCP header longer than all there is",
            Large {
                len: 30,
                mss: 8,
                ..with(&good, tcp + 12, 0xf0)
            },
        ),
        (
            "a checksum behind the end",
            Large {
                csum_start: Some(40_000),
                ..good.clone()
            },
        ),
    ];

    bed.up()?;
    // GRO would merge the segments again.
    bed.b.ethtool("-K", "gro off")?;
    let tap = Tap::open(&bed.b)?;
    let sender = open(&bed.a)?;
    let dropped = || bed.a.link()?.stat("tx_dropped");
    for (what, large) in cases {
        let before = dropped()?;
        let taken = sender.try_send(&large.frame()).is_ok();

        tap.silence().with_context(|| what.to_owned())?;
        ensure!(
            !taken || dropped()? == before + 1,
            "{what}: sent, but not counted as dropped"
        );
    }
    let (a, b) = settle_after_down(bed)?;
    ensure_eq!(a.counters.tx("packets")?, 0, "A: frames put on the wire");
    ensure_eq!(b.counters.rx("packets")?, 0, "B: frames received");
    sender.send(&good.frame())?;
    for n in 0..good.count() {
        tap.any().with_context(|| format!("segment {n}"))?;
    }
    check_alive(bed)
}
