// SPDX-License-Identifier: GPL-2.0

//! What the metadata of a frame asks for: its checksum, and the time at which it was sent.

use super::METADATA;
use crate::{
    bed::Bed,
    harness::case,
    host::{
        clock::{tai, TaiOffset},
        ensure_eq, wait_until, FOR_EVER,
    },
    random::{seed, Random},
    support::{
        probes::set_mtu,
        traffic::{settle, settle_after_down, settle_wire},
        xsk::{any_frame, cut, expect_frame},
    },
    wire::{
        checksum,
        packet::Tap,
        probe::Probe,
        xsk::{
            socket::{Mode, Setup},
            tx::{Request, XskTx, CHECKSUM, LAUNCH_TIME, TIMESTAMP},
        },
        ETH,
    },
};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

/// The frame with the checksum that its metadata asks for: that of all that is behind `start`, the
/// field included, at `offset` from there.
fn with_checksum(mut frame: Vec<u8>, start: usize, offset: usize) -> Vec<u8> {
    let sum = checksum::field(&[&frame[start..]]);

    frame[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
    frame
}

case!(ports "xsk_tx::checksum", "queues=1", |bed| checksums(bed, Mode::Copy));
case!(ports "xsk_zc::checksum", "queues=1", |bed| checksums(bed, Mode::ZeroCopy));
/// The port computes the checksum that metadata asks for, wherever it is; as the kernel itself
/// does.
fn checksums(bed: &Bed, mode: Mode) -> Result<()> {
    const ROUNDS: usize = 60;
    const MTU: usize = 9000;
    const LONGEST: usize = MTU + ETH;
    let seed = seed()?;

    set_mtu(bed, MTU)?;
    bed.up()?;
    for (from, to) in bed.ways() {
        let tap = Tap::open(to)?;

        // In zero-copy mode the kernel has no part in it.
        let ways: &[bool] = match mode {
            Mode::Copy => &[false, true],
            _ => &[false],
        };
        for &software_checksum in ways {
            let mut random = Random::new(seed);
            let options = Setup {
                chunk: 4096,
                metadata: METADATA,
                software_checksum,
                sg: true,
                mode,
                ..Setup::default()
            };
            let mut socket = XskTx::open(from, 0, options)?;
            let room = socket.room();

            for round in 0..ROUNDS {
                // The kernel itself computes it before it has seen the second buffer.
                let parts = if software_checksum { 1 } else { 1 + round % 3 };
                let len = random.between(60, (parts * room).min(LONGEST) as i64) as usize;
                let frame = any_frame(&mut random, len);
                let parts = cut(&mut random, &frame, parts, room);
                // Behind the addresses, as these say who gets the frame.
                let first = parts[0].len() as i64;
                if first < 20 {
                    continue;
                }
                let start = random.between(ETH as i64, first - 2);
                let offset = random.between(0, first - 2 - start);
                let what = format!(
                    "{} of {len} bytes, the first part of {first}, start {start}, offset {offset}, \
                     by the kernel: {software_checksum}, seed {seed}",
                    parts.len()
                );

                socket.queue_parts(
                    &parts,
                    Some(Request {
                        flags: CHECKSUM,
                        csum_start: start as u16,
                        csum_offset: offset as u16,
                        ..Request::default()
                    }),
                )?;
                socket.flush().with_context(|| what.clone())?;
                let expected = with_checksum(frame, start as usize, offset as usize);
                expect_frame(&tap, &what, &expected)?;
            }
            // A sum of zero is written as all ones.
            let zero = [&any_frame(&mut random, 14)[..], &[0xff; 46]].concat();
            let request = Request {
                flags: CHECKSUM,
                csum_start: 14,
                csum_offset: 6,
                ..Request::default()
            };
            socket.queue(&zero, Some(request))?;
            socket.flush()?;
            expect_frame(&tap, "a checksum of zero", &zero)?;

            // What has metadata that asks for nothing is as it was.
            let frame = any_frame(&mut random, 100);
            socket.queue(&frame, Some(Request::default()))?;
            socket.flush()?;
            expect_frame(&tap, "nothing asked for", &frame)?;
        }
        tap.silence()?;
    }
    settle_wire(bed).map(drop)
}

case!(ports "xsk_tx::timestamp", "queues=1", |bed| timestamps(bed, Mode::Copy));
case!(ports "xsk_zc::timestamp", "queues=1", |bed| timestamps(bed, Mode::ZeroCopy));
/// Completed frames say when they were sent, in TAI; the others keep what was there.
fn timestamps(bed: &Bed, mode: Mode) -> Result<()> {
    const FRAMES: u32 = 100;
    /// Readers that take no lock may see the clock so much apart from those that do.
    const SLACK: u64 = 1_000_000;
    let _apart = TaiOffset::set(37)?;
    let options = Setup {
        metadata: METADATA,
        mode,
        ..Setup::default()
    };

    bed.up()?;
    for (from, to) in bed.ways() {
        let tap = Tap::open(to)?;
        let mut socket = XskTx::open(from, 0, options)?;
        let mut last = tai()?;

        for seq in 0..FRAMES {
            let probe = Probe::new(1, seq);
            let asks = seq % 3 != 0;
            let request = Request {
                flags: LAUNCH_TIME | if asks { TIMESTAMP } else { 0 },
                csum_start: 0x55,
                launch_time: 1,
                ..Request::default()
            };
            let addr = socket.queue(&probe.frame(), Some(request))?;
            let before = socket.timestamp(addr);

            socket.flush()?;
            let (stamp, now) = (socket.timestamp(addr), tai()?);
            if asks {
                ensure!(
                    (last.saturating_sub(SLACK)..=now + SLACK).contains(&stamp),
                    "frame {seq}: sent at {stamp}, expected {last} to {now}"
                );
                last = stamp;
            } else {
                ensure_eq!(stamp, before, "frame {seq}: metadata without a request");
            }
            expect_frame(&tap, &format!("frame {seq}"), &probe.frame())?;
        }
        tap.silence()?;
    }
    settle(bed).map(drop)
}

case!(ports "xsk_zc::launch_time", "queues=1", launch);
/// A frame is not sent before its time, and those behind it wait for it.
fn launch(bed: &Bed) -> Result<()> {
    const MILLISECOND: u64 = 1_000_000;
    /// Readers that take no lock may see the clock so much apart from those that do.
    const SLACK: u64 = MILLISECOND;
    let options = Setup {
        metadata: METADATA,
        mode: Mode::ZeroCopy,
        ..Setup::default()
    };

    bed.up()?;
    for (from, to) in bed.ways() {
        let tap = Tap::open(to)?;
        let mut socket = XskTx::open(from, 0, options)?;

        for (seq, wait) in (0..).zip([0, 1, 5, 50, 200]) {
            let at = tai()? + wait * MILLISECOND;
            let stamped = Request {
                flags: TIMESTAMP,
                ..Request::default()
            };
            let later = Request {
                flags: LAUNCH_TIME | TIMESTAMP,
                launch_time: at,
                ..Request::default()
            };
            let probes = [0, 1, 2].map(|n| Probe::new(n, seq));
            let requests = [stamped, later, stamped];
            let addresses = probes
                .iter()
                .zip(requests)
                .map(|(probe, request)| socket.queue(&probe.frame(), Some(request)))
                .collect::<Result<Vec<_>>>()?;

            ensure_eq!(socket.flush()?, addresses, "completions");
            let stamps: Vec<_> = addresses.iter().map(|a| socket.timestamp(*a)).collect();
            ensure!(
                stamps[1] + SLACK >= at && stamps.is_sorted(),
                "sent at {stamps:?}, the second one not before {at}"
            );
            for probe in probes {
                expect_frame(&tap, &format!("frame {seq}"), &probe.frame())?;
            }
        }
        tap.silence()?;
    }
    settle(bed).map(drop)
}

case!(ports "xsk_zc::launch_time_far_away", "queues=1", far_away);
/// What waits for its time is told when the port goes down before, like all that waits; and the
/// next frame is sent at once.
fn far_away(bed: &Bed) -> Result<()> {
    let options = Setup {
        metadata: METADATA,
        mode: Mode::ZeroCopy,
        ..Setup::default()
    };

    bed.up()?;
    let mut socket = XskTx::open(&bed.a, 0, options)?;
    for round in 0..3 {
        let tap = Tap::open(&bed.b)?;
        let later = Request {
            flags: LAUNCH_TIME,
            launch_time: tai()? + FOR_EVER,
            ..Request::default()
        };
        let addresses = [
            socket.queue(&Probe::new(1, round).frame(), Some(later))?,
            socket.queue(&Probe::new(2, round).frame(), None)?,
        ];

        socket.kick()?;
        wait_until("the kernel has taken both", || Ok(socket.pending() == 0))?;
        // A new ring has to remember the time.
        bed.a
            .ethtool("-G", if round % 2 == 0 { "rx 64" } else { "rx 512" })?;
        tap.silence()?;
        ensure_eq!(socket.completed()?, [], "completions before the time");
        bed.a.down()?;
        ensure_eq!(
            socket.completed()?,
            addresses,
            "completions of a port that is down"
        );
        ensure_eq!(
            bed.a.counters()?.tx("xsk_errors")?,
            2 * u64::from(round + 1),
            "frames that were not sent"
        );
        bed.up()?;
        let probe = Probe::new(3, round);
        socket.queue(&probe.frame(), None)?;
        socket.flush()?;
        ensure_eq!(tap.probes(1)?, [probe], "the next frame");
    }
    settle_after_down(bed).map(drop)
}

case!(ports "xsk_zc::wrong_metadata", "queues=1", wrong_ignored);
/// In zero-copy mode the kernel has no way to refuse wrong metadata: the frame is sent as it is, or
/// lost and counted, and is completed once. The next one is as it should be.
fn wrong_ignored(bed: &Bed) -> Result<()> {
    const ROUNDS: u32 = 500;
    let seed = seed()?;
    let mut random = Random::new(seed);

    bed.up()?;
    for (from, to) in bed.ways() {
        for metadata in [16, METADATA, 248] {
            let options = Setup {
                metadata,
                mode: Mode::ZeroCopy,
                ..Setup::default()
            };
            let tap = Tap::open(to)?;
            let mut socket = XskTx::open(from, 0, options)?;

            for _ in 0..ROUNDS {
                let request = Request {
                    flags: match random.below(3) {
                        0 => random.next(),
                        // No time that is far away: the frame would wait for it.
                        _ => CHECKSUM | u64::from(random.below(2)),
                    } & !LAUNCH_TIME,
                    csum_start: random.next() as u16,
                    csum_offset: random.next() as u16,
                    launch_time: random.next(),
                };
                let addr = socket.queue(&any_frame(&mut random, 100), Some(request))?;

                ensure_eq!(socket.flush()?, [addr], "{request:?}, seed {seed}");
            }
            tap.rest()?;
            let frame = any_frame(&mut random, 100);
            socket.queue(&frame, None)?;
            socket.flush()?;
            expect_frame(&tap, "a frame without metadata", &frame)?;
        }
    }
    settle_wire(bed).map(drop)
}

case!(ports "xsk_tx::wrong_metadata", "queues=1", wrong_metadata);
/// The kernel refuses wrong metadata, and keeps the descriptor until it is corrected.
fn wrong_metadata(bed: &Bed) -> Result<()> {
    let checksum = |csum_start, csum_offset| Request {
        flags: CHECKSUM,
        csum_start,
        csum_offset,
        ..Request::default()
    };
    let flags = |flags| Request {
        flags,
        ..Request::default()
    };
    let frame = Probe::new(1, 0).len(100).frame();

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    for (metadata, wrong) in [
        (METADATA, flags(1 << 3)),
        (METADATA, flags(u64::MAX)),
        (METADATA, checksum(99, 0)),
        (METADATA, checksum(20, 79)),
        (METADATA, checksum(u16::MAX, u16::MAX)),
        // There is no room for it.
        (16, flags(LAUNCH_TIME)),
    ] {
        let options = Setup {
            metadata,
            ..Setup::default()
        };
        let mut socket = XskTx::open(&bed.a, 0, options)?;
        let addr = socket.queue(&frame, Some(wrong))?;

        for _ in 0..3 {
            ensure_eq!(socket.kick(), Err(Errno::EINVAL), "{wrong:?}");
            ensure_eq!(socket.completed()?, [], "completions of {wrong:?}");
        }
        tap.silence()?;
        socket.request(addr, &checksum(98, 0));
        ensure_eq!(socket.flush()?, [addr], "completions");
        expect_frame(&tap, "mended", &with_checksum(frame.clone(), 98, 0))?;
        ensure_eq!(socket.invalid()?, 0, "invalid descriptors");
    }
    settle(bed).map(drop)
}
