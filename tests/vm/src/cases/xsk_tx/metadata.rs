// SPDX-License-Identifier: GPL-2.0

//! What the metadata of a frame asks for: its checksum, and the time at which it was sent.

use super::{any_frame, cut, expect_frame, ways, METADATA};
use crate::{
    bed::Bed,
    harness::case,
    host::{
        clock::{tai, TaiOffset},
        ensure_eq,
    },
    random::{seed, Random},
    support::{
        probes::set_mtu,
        traffic::{settle, settle_wire},
    },
    wire::{
        checksum,
        packet::Tap,
        probe::Probe,
        xsk::tx::{Options, Request, XskTx, CHECKSUM, LAUNCH_TIME, TIMESTAMP},
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

case!(ports "xsk_tx::checksum", "queues=1", checksums);
/// The port computes the checksum that metadata asks for, wherever it is; as the kernel itself
/// does.
fn checksums(bed: &Bed) -> Result<()> {
    const ROUNDS: usize = 60;
    const MTU: usize = 9000;
    const LONGEST: usize = MTU + ETH;
    let seed = seed()?;

    set_mtu(bed, MTU)?;
    bed.up()?;
    for (from, to) in ways(bed) {
        let tap = Tap::open(to)?;

        for software_checksum in [false, true] {
            let mut random = Random::new(seed);
            let options = Options {
                chunk: 4096,
                metadata: METADATA,
                software_checksum,
                sg: true,
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

case!(ports "xsk_tx::timestamp", "queues=1", timestamps);
/// Completed frames say when they were sent, in TAI; the others keep what was there.
fn timestamps(bed: &Bed) -> Result<()> {
    const FRAMES: u32 = 100;
    /// Readers that take no lock may see the clock so much apart from those that do.
    const SLACK: u64 = 1_000_000;
    let _apart = TaiOffset::set(37)?;
    let options = Options {
        metadata: METADATA,
        ..Options::default()
    };

    bed.up()?;
    for (from, to) in ways(bed) {
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
        let options = Options {
            metadata,
            ..Options::default()
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
