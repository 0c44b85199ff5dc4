// SPDX-License-Identifier: GPL-2.0

//! Who sends and who receives, with every byte compared: the stack, a socket in copy mode, a socket
//! in zero-copy mode.

use super::zero_copy;
use crate::{
    bed::{Bed, Port},
    harness::case,
    host::ensure_eq,
    support::{
        probes::{assorted, lengths, set_mtu},
        steer::Steer,
        traffic::settle,
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        xsk::{
            socket::{Mode, Setup},
            tx::XskTx,
            Xsk,
        },
    },
};
use anyhow::{Context, Result};

/// Who sends, or who receives.
#[derive(Clone, Copy, Debug)]
enum End {
    Stack,
    Socket(Mode),
}

const ENDS: [End; 3] = [
    End::Stack,
    End::Socket(Mode::Copy),
    End::Socket(Mode::ZeroCopy),
];

enum Receiver {
    Stack(Tap),
    Socket(Xsk),
}

impl Receiver {
    fn open(port: &Port, end: End, setup: Setup) -> Result<Self> {
        Ok(match end {
            End::Stack => Self::Stack(Tap::open(port)?),
            End::Socket(mode) => Self::Socket(Xsk::with(port, 0, Setup { mode, ..setup })?),
        })
    }

    fn any(&self) -> Result<Vec<u8>> {
        match self {
            Self::Stack(tap) => tap.any(),
            Self::Socket(socket) => socket.any(),
        }
    }

    fn silence(&self) -> Result<()> {
        match self {
            Self::Stack(tap) => tap.silence(),
            Self::Socket(socket) => socket.silence(),
        }
    }
}

fn send(port: &Port, end: End, setup: Setup, probes: &[Probe]) -> Result<()> {
    let End::Socket(mode) = end else {
        return Sender::open(port)?.send_in_order(probes.iter().cloned());
    };
    let mut socket = XskTx::open(port, 0, Setup { mode, ..setup })?;
    let room = socket.room();

    for probe in probes {
        let frame = probe.frame();
        let parts: Vec<_> = frame.chunks(room).collect();

        socket.queue_parts(&parts, None)?;
        // So that buffers do not run out.
        ensure_eq!(socket.flush()?.len(), parts.len(), "completions");
    }
    Ok(())
}

/// Sends the probes, and compares what arrives.
fn exchange(
    [from, to]: [&Port; 2],
    [sends, receives]: [End; 2],
    setup: Setup,
    probes: &[Probe],
) -> Result<()> {
    let mut steer = if setup.sg {
        Steer::load_frags()?
    } else {
        Steer::load()?
    };
    let receiver = Receiver::open(to, receives, setup)?;

    if let Receiver::Socket(socket) = &receiver {
        steer.by_socket()?;
        steer.socket(0, socket)?;
        to.attach(&steer.program)?;
    }
    send(from, sends, setup, probes)?;
    for probe in probes {
        let frame = receiver
            .any()
            .with_context(|| format!("probe of {} bytes", probe.len))?;

        ensure_eq!(
            Probe::parse(&frame)?,
            Some(probe.clone()),
            "{} bytes",
            probe.len
        );
    }
    receiver.silence()?;
    if let Receiver::Socket(_) = &receiver {
        to.detach()?;
    }
    Ok(())
}

fn every_pairing(bed: &Bed, setup: Setup, probes: &[Probe]) -> Result<()> {
    let before = [bed.a.counters()?, bed.b.counters()?];

    for (from, to) in bed.ways() {
        for sends in ENDS {
            for receives in ENDS {
                exchange([from, to], [sends, receives], setup, probes)
                    .with_context(|| format!("{sends:?} to {receives:?}, {setup:?}"))?;
            }
        }
    }
    let (a, b) = settle(bed)?;
    // Each way one of the ends is in zero-copy mode in three of nine pairings.
    let count = 3 * probes.len() as u64;
    for (port, before) in [a, b].iter().zip(&before) {
        let now = &port.counters;

        ensure_eq!(
            (
                now.tx("xsk_packets")? - before.tx("xsk_packets")?,
                now.rx("xsk_packets")? - before.rx("xsk_packets")?
            ),
            (count, count),
            "{}: frames sent and received in zero-copy mode",
            port.name
        );
        now.expect_tx(&port.name, &[("xsk_errors", 0)])?;
        now.expect_rx(
            &port.name,
            &[
                ("no_buffer", 0),
                ("oversize", 0),
                ("xdp_redirect_errors", 0),
            ],
        )?;
    }
    Ok(())
}

case!(ports "xsk_zc::every_pairing", "queues=1", single);
fn single(bed: &Bed) -> Result<()> {
    bed.up()?;
    for (chunk, headroom) in [(2048, 0), (4096, 0), (2048, 128), (4096, 1000)] {
        let setup = Setup {
            chunk,
            headroom,
            ..zero_copy()
        };

        every_pairing(bed, setup, &assorted(verdict::PASS))?;
    }
    Ok(())
}

case!(ports "xsk_zc::every_pairing_of_unaligned_buffers", "queues=1", unaligned);
/// Buffers that begin anywhere, of any size: it need not be a power of two. (The kernel's own tests
/// have some that cross the boundary of a page.)
fn unaligned(bed: &Bed) -> Result<()> {
    bed.up()?;
    for (chunk, headroom) in [(2048, 0), (2049, 0), (3000, 100), (4095, 0), (4096, 512)] {
        let setup = Setup {
            chunk,
            headroom,
            unaligned: true,
            ..zero_copy()
        };

        every_pairing(bed, setup, &assorted(verdict::PASS))?;
    }
    Ok(())
}

case!(ports "xsk_zc::every_pairing_of_several_buffers", "queues=1", several);
/// The last of these MTUs is the largest for which a socket can be bound: a frame takes as many
/// buffers as the port announces.
fn several(bed: &Bed) -> Result<()> {
    for (mtu, chunk, headroom, unaligned) in [
        (9000, 4096, 0, false),
        (9000, 2048, 64, false),
        (9000, 3000, 0, true),
        (62_182, 4096, 0, false),
    ] {
        let setup = Setup {
            chunk,
            headroom,
            sg: true,
            unaligned,
            ..zero_copy()
        };

        set_mtu(bed, mtu)?;
        bed.up()?;
        every_pairing(bed, setup, &lengths(mtu, verdict::PASS))?;
    }
    Ok(())
}

case!(ports "xsk_zc::every_pairing_of_small_rings", "queues=1 ring_size=64", small);
/// With few buffers, and rings that go round often.
fn small(bed: &Bed) -> Result<()> {
    let probes: Vec<_> = (0..160)
        .map(|seq| Probe::new(1, seq).len(60 + seq as usize % 1455))
        .collect();
    let setup = Setup {
        buffers: 32,
        fill: 64,
        completion: 32,
        rx: 32,
        tx: 32,
        ..zero_copy()
    };

    bed.up()?;
    // The stack alone cannot be slowed down by a socket's rings: it would lose frames there.
    for (from, to) in bed.ways() {
        for group in probes.chunks(32) {
            for sends in ENDS {
                for receives in ENDS {
                    exchange([from, to], [sends, receives], setup, group)
                        .with_context(|| format!("{sends:?} to {receives:?}"))?;
                }
            }
        }
    }
    settle(bed).map(drop)
}
