// SPDX-License-Identifier: GPL-2.0

//! What ends the merging of segments, and what prevents it.

use super::{in_skbs, Bursts, IPV4_LEN, ONE};
use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::ensure_eq,
    nl::link::XDP_FLAGS_SKB_MODE,
    support::large::{Large, TCP},
    wire::{probe::verdict, ETH},
};
use anyhow::{Context, Result};

const MSS: usize = 1000;
/// The segments of a frame, and which of them is changed.
const COUNT: usize = 10;
const CHANGED: usize = 4;

/// All segments become one skb.
const ALL: usize = COUNT - 1;
/// The changed one is not merged with those before it, nor with those after it.
const ALONE: usize = COUNT - 3;
/// The changed one is the last of an skb.
const LAST: usize = COUNT - 2;

/// `struct edit` of `segments.bpf.c`.
#[derive(Clone, Copy)]
struct Edit {
    all: bool,
    offset: usize,
    flip: u8,
    mend: bool,
    act: u8,
    meta: u32,
    other_meta: u32,
    push: u32,
}

const NOTHING: Edit = Edit {
    all: false,
    offset: 0,
    flip: 0,
    mend: false,
    act: verdict::PASS,
    meta: 0,
    other_meta: 0,
    push: 0,
};

impl Edit {
    /// Changes a byte.
    const fn byte(offset: usize, flip: u8) -> Self {
        Self {
            offset,
            flip,
            ..NOTHING
        }
    }

    /// Changes a byte of the IPv4 header, and its checksum.
    const fn mended(offset: usize, flip: u8) -> Self {
        Self {
            mend: true,
            ..Self::byte(ETH + offset, flip)
        }
    }

    const fn of_all(self) -> Self {
        Self { all: true, ..self }
    }

    const fn act(act: u8) -> Self {
        Self { act, ..NOTHING }
    }

    fn words(&self) -> [u32; 9] {
        let changed = 0xffff_f000_u32.wrapping_add((CHANGED * MSS) as u32);

        [
            changed,
            self.all.into(),
            self.offset as u32,
            self.flip.into(),
            self.mend.into(),
            self.act.into(),
            self.meta,
            self.other_meta,
            self.push,
        ]
    }
}

/// Offsets of the TCP header.
const TCP4: usize = ETH + IPV4_LEN;
const TCP6: usize = ETH + 40;

/// What a program does to segments of IPv4, and how many are merged then.
const EDITS: [(&str, Edit, usize); 30] = [
    ("nothing", NOTHING, ALL),
    ("payload", Edit::byte(500, 0xff), ALL),
    (
        "payload of all segments",
        Edit::byte(500, 0xff).of_all(),
        ALL,
    ),
    ("destination", Edit::byte(5, 1), ALONE),
    ("source", Edit::byte(11, 1), ALONE),
    ("CE", Edit::mended(1, 3), ALONE),
    ("id", Edit::mended(5, 0x80), ALONE),
    ("don't fragment", Edit::mended(6, 0x40), ALONE),
    ("more fragments", Edit::mended(6, 0x20), ALONE),
    ("time to live", Edit::mended(8, 1), ALONE),
    (
        "time to live of all segments",
        Edit::mended(8, 1).of_all(),
        ALL,
    ),
    ("IPv4 checksum", Edit::byte(ETH + 10, 1), ALONE),
    (
        "IPv4 checksum of all segments",
        Edit::byte(ETH + 10, 1).of_all(),
        0,
    ),
    ("IPv4 source", Edit::mended(15, 1), ALONE),
    ("port", Edit::byte(TCP4, 1), ALONE),
    ("sequence number", Edit::byte(TCP4 + 4, 1), ALONE),
    ("acknowledgement", Edit::byte(TCP4 + 8, 1), ALONE),
    ("PSH", Edit::byte(TCP4 + 13, 8), LAST),
    ("FIN", Edit::byte(TCP4 + 13, 1), LAST),
    ("URG", Edit::byte(TCP4 + 13, 0x20), ALONE),
    ("CWR", Edit::byte(TCP4 + 13, 0x80), ALONE),
    ("window", Edit::byte(TCP4 + 14, 1), ALONE),
    // The card has found it good, so nobody looks at it.
    ("TCP checksum", Edit::byte(TCP4 + 16, 1), ALL),
    ("XDP_DROP", Edit::act(verdict::DROP), ALONE),
    ("XDP_TX", Edit::act(verdict::TX), ALONE),
    ("XDP_ABORTED", Edit::act(verdict::ABORTED), ALONE),
    ("metadata", Edit { meta: 1, ..NOTHING }, ALONE),
    (
        "metadata of all segments",
        Edit {
            meta: 1,
            ..NOTHING.of_all()
        },
        ALL,
    ),
    (
        "other metadata",
        Edit {
            meta: 1,
            other_meta: 2,
            ..NOTHING
        },
        ALONE,
    ),
    ("a tag", Edit { push: 5, ..NOTHING }, ALONE),
];

/// The same for IPv6.
const EDITS_V6: [(&str, Edit, usize); 7] = [
    ("nothing", NOTHING, ALL),
    ("traffic class", Edit::byte(ETH + 1, 0x30), ALONE),
    ("flow label", Edit::byte(ETH + 3, 1), ALONE),
    ("hop limit", Edit::byte(ETH + 7, 1), ALONE),
    ("address", Edit::byte(ETH + 39, 1), ALONE),
    ("window", Edit::byte(TCP6 + 14, 1), ALONE),
    (
        "a tag in all segments",
        Edit {
            push: 5,
            ..NOTHING.of_all()
        },
        ALL,
    ),
];

case!(ports "gro::program_changes_ipv4", ONE, |bed| program(bed, false, &EDITS));
case!(ports "gro::program_changes_ipv6", ONE, |bed| program(bed, true, &EDITS_V6));
/// A program changes a segment, all of them, or what becomes of one: it is merged with those before
/// it only if the stack cannot tell the difference.
fn program(bed: &Bed, v6: bool, edits: &[(&str, Edit, usize)]) -> Result<()> {
    let large = Large {
        v6,
        ..Large::new(COUNT * MSS, MSS as u16)
    };
    let mut program = Program::load("segments", "edit")?;

    bed.up()?;
    bed.b.attach(&program)?;
    let mut bursts = Bursts::new(bed)?;
    for (what, edit, merged) in edits {
        program.write("config", 0, edit.words())?;
        let found = bursts
            .send(std::slice::from_ref(&large))
            .with_context(|| (*what).to_owned())?;
        let passed = COUNT - usize::from(edit.act != verdict::PASS);

        ensure_eq!(
            (found.merged as usize, found.skbs.len()),
            (*merged, passed - merged),
            "{what}: segments merged, and skbs: {:#?}",
            found.skbs
        );
    }
    Ok(())
}

case!(ports "gro::other_frames", ONE, other_frames);
/// Segments of another frame are not added, although they follow in the same ring: here they repeat
/// the same numbers.
fn other_frames(bed: &Bed) -> Result<()> {
    let large = Large::new(COUNT * MSS, MSS as u16);
    let short = Large::new(COUNT * MSS + 1, MSS as u16);

    bed.up()?;
    let mut bursts = Bursts::new(bed)?;
    let found = bursts.send(&[large.clone(), large, short])?;
    // The last segment, of one byte, is padded.
    let expected = [COUNT, COUNT, COUNT, 1];
    let segments: Vec<_> = found
        .skbs
        .iter()
        .map(|skb| skb.segments(IPV4_LEN + TCP))
        .collect();

    ensure_eq!(segments, expected, "segments in each skb");
    Ok(())
}

case!(ports "gro::settings", ONE, settings);
/// Where GRO must not merge segments, nor does the driver; and no packet is longer than GRO's may
/// be.
fn settings(bed: &Bed) -> Result<()> {
    let large = Large::new(COUNT * MSS, MSS as u16);
    let program = Program::load("count", "count_pass")?;

    bed.up()?;
    let mut bursts = Bursts::new(bed)?;
    let mut expect = |what: &str, merged: usize| {
        let found = bursts.send(std::slice::from_ref(&large))?;

        ensure_eq!(
            (found.merged as usize, found.skbs.len()),
            (merged, COUNT - merged),
            "{what}: segments merged, and skbs"
        );
        anyhow::Ok(())
    };
    expect("at first", ALL)?;
    for [off, on] in [
        ["gro off", "gro on"],
        ["rx-gro-list on", "rx-gro-list off"],
        ["rx off", "rx on"],
    ] {
        bed.b.ethtool("-K", off)?;
        expect(off, 0)?;
        bed.b.ethtool("-K", on)?;
        expect(on, ALL)?;
    }
    // The kernel has no GRO with a program in generic mode.
    bed.b
        .try_attach(Some(&program), XDP_FLAGS_SKB_MODE, None)??;
    expect("generic XDP", 0)?;
    bed.b.try_attach(None, XDP_FLAGS_SKB_MODE, None)??;
    expect("without generic XDP", ALL)?;

    // Three segments have 3040 bytes with their headers.
    for size in [4040, 3041] {
        bed.b
            .ip_link_set(&format!("gro_max_size 65536 gro_ipv4_max_size {size}"))?;
        expect(
            &format!("gro_ipv4_max_size {size}"),
            COUNT - COUNT.div_ceil(3),
        )?;
    }
    bed.b
        .ip_link_set("gro_max_size 65536 gro_ipv4_max_size 65536")?;
    expect("gro_ipv4_max_size 65536", COUNT - in_skbs(COUNT).len())
}
