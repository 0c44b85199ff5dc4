// SPDX-License-Identifier: GPL-2.0

//! The bytes of frames that are lost at the receiver: the sender counts them all the same, with
//! tags and padding.

use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{ensure_eq, wait_until},
    nl::link::New,
    support::{
        held::Held,
        large::{open, Large},
        traffic::settle,
    },
    wire::{frames::CTAG, packet::Sender, probe::Probe, ETH, ETH_ZLEN},
};
use anyhow::{ensure, Result};

const SMALL: &str = "queues=1 ring_size=64";
const VLAN: &str = "vl5";
const TAG: usize = 4;
/// Of a large frame's segments.
const HEADERS: usize = ETH + 20 + 20;

/// What is sent, and where from: the port itself, or a VLAN device on it that has the tag put in.
#[derive(Clone, Copy)]
enum Kind {
    /// A frame of this length.
    Plain(usize),
    /// A large frame, with its payload and the payload of a segment.
    Large(usize, u16),
}

const KINDS: [Kind; 6] = [
    Kind::Plain(20),
    Kind::Plain(57),
    Kind::Plain(60),
    Kind::Plain(1514),
    Kind::Large(30_001, 1000),
    Kind::Large(20_000, 1000),
];

impl Kind {
    /// The lengths of its frames, without tags and padding.
    fn lens(self) -> Vec<usize> {
        match self {
            Self::Plain(len) => vec![len],
            Self::Large(len, mss) => (0..len)
                .step_by(mss.into())
                .map(|at| HEADERS + (len - at).min(mss.into()))
                .collect(),
        }
    }

    /// Sends it with or without a tag, and returns its frames and bytes on the wire.
    fn send(self, bed: &Bed, tagged: bool) -> Result<(u64, u64)> {
        let (port, tag) = if tagged {
            (Port::find(&bed.a.ns, VLAN)?, TAG)
        } else {
            (bed.a.clone(), 0)
        };
        let lens = self.lens();

        match self {
            Self::Plain(len) => {
                let mut frame = Probe::new(1, 0).len(len).frame();
                frame.truncate(len);
                Sender::open(&port)?.send(&frame)?;
            }
            Self::Large(len, mss) => open(&port)?.send(&Large::new(len, mss).frame())?,
        }
        let bytes = lens.iter().map(|len| (len + tag).max(ETH_ZLEN) as u64);
        Ok((lens.len() as u64, bytes.sum()))
    }
}

/// Brings the ports up, with a VLAN device on A.
fn up(bed: &Bed) -> Result<()> {
    bed.up()?;
    let vlan = Port::add(&bed.a.ns, VLAN, New::vlan(bed.a.ifindex, CTAG, 5))?;
    vlan.up()?;
    vlan.wait_running(true)
}

/// Frames and bytes that A has put on the wire.
fn sent(bed: &Bed) -> Result<(u64, u64)> {
    let counters = bed.a.counters()?;

    Ok((counters.tx("packets")?, counters.tx("bytes")?))
}

/// Sends one of each kind, with and without a tag. Of their frames the ones longer than `kept` are
/// lost, and counted as `lost` says.
fn all(bed: &Bed, kinds: &[Kind], lost: impl Fn() -> Result<u64>, kept: usize) -> Result<()> {
    for (kind, tagged) in kinds.iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let lens = kind.lens();
        let what = format!("{lens:?} bytes, tagged: {tagged}");
        let (frames_before, bytes_before) = sent(bed)?;
        let lost_before = lost()?;
        let (frames, bytes) = kind.send(bed, tagged)?;

        wait_until("the frames are sent", || {
            Ok(sent(bed)?.0 >= frames_before + frames)
        })?;
        ensure_eq!(
            sent(bed)?,
            (frames_before + frames, bytes_before + bytes),
            "{what}: frames and bytes on the wire"
        );
        ensure_eq!(
            lost()?,
            lost_before + lens.iter().filter(|len| **len > kept).count() as u64,
            "{what}: frames lost"
        );
    }
    Ok(())
}

case!(ports "lost::bytes_without_a_buffer", SMALL, no_buffer);
/// No one polls the ring, which is full.
fn no_buffer(bed: &Bed) -> Result<()> {
    let lost = || bed.b.counters()?.rx("no_buffer");

    bed.b.ethtool("-A", "tx off rx off")?;
    up(bed)?;
    let sender = Sender::open(&bed.a)?;
    let _held = Held::new(&bed.b, 0, || sender.send(&Probe::new(1, 0).frame()))?;
    for seq in 0.. {
        if lost()? > 0 {
            break;
        }
        sender.send(&Probe::new(1, seq).frame())?;
    }
    all(bed, &KINDS, lost, 0)?;
    bed.b.down()?;
    settle(bed).map(drop)
}

case!(ports "lost::bytes_dropped_by_a_rule", SMALL, by_rule);
fn by_rule(bed: &Bed) -> Result<()> {
    up(bed)?;
    bed.b
        .ethtool("-N", "flow-type ether src 02:00:00:00:00:01 action -1")?;
    all(bed, &KINDS, || bed.b.counters()?.dropped_by("ntuple"), 0)?;
    settle(bed).map(drop)
}

case!(ports "lost::bytes_of_frames_that_are_too_long", SMALL, too_long);
/// The last segment of a large frame may be short enough.
fn too_long(bed: &Bed) -> Result<()> {
    const LONGEST: usize = 1522;
    let kinds = [
        Kind::Plain(1523),
        Kind::Plain(3014),
        Kind::Large(30_001, 2000),
    ];

    bed.a.set_mtu(3000)?;
    up(bed)?;
    all(bed, &kinds, || bed.b.counters()?.rx("oversize"), LONGEST)?;
    let (_, b) = settle(bed)?;
    ensure!(b.counters.rx("packets")? > 0, "no segment was kept");
    Ok(())
}
