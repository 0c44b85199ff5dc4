// SPDX-License-Identifier: GPL-2.0

//! What the card does to a received frame before a program sees it: checksums and VLAN tags.

use super::{off, on};
use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::{ensure_eq, wait_until},
    support::{
        observe::{Observer, Seen},
        traffic::settle_wire,
    },
    wire::{
        frames::{tagged, CTAG},
        packet::Sender,
        probe::{verdict, Probe},
    },
};
use anyhow::{ensure, Result};

/// Sends a frame from A, and returns how it reaches the stack of B.
fn seen(bed: &Bed, observer: &Observer, frame: &[u8]) -> Result<Seen> {
    let before = observer.last()?.frames;
    let mut last = observer.last()?;

    Sender::open(&bed.a)?.send(frame)?;
    wait_until("the frame reaches the stack", || {
        last = observer.last()?;
        Ok(last.frames == before + 1)
    })?;
    Ok(last)
}

case!(ports "switches::csum_before_xdp", "", csum);
/// The card verifies every frame, whoever sent it, before the program changes it: so the stack
/// takes a checksum for good that the program has made bad.
fn csum(bed: &Bed) -> Result<()> {
    let pass = Program::load("verdict", "verdict")?;
    let good = Probe::new(1, 0).frame();
    let mut bad = good.clone();

    // Of the payload, which the checksum covers.
    bad[60] ^= 1;
    bed.up()?;

    // GRO looks at checksums itself, and marks the frames that are good.
    bed.b.ethtool("-K", "gro off")?;
    let observer = Observer::attach(&bed.b)?;
    let is_good =
        |frame: &[u8]| Ok::<_, anyhow::Error>(seen(bed, &observer, frame)?.csum_level >= 0);

    for (switch, with_program) in [(false, false), (false, true), (true, false), (true, true)] {
        if switch {
            on(&bed.b, "rx-csum-before-xdp")?;
        } else {
            off(&bed.b, "rx-csum-before-xdp")?;
        }
        if with_program {
            bed.b.attach(&pass)?;
        } else if bed.b.link()?.xdp_driver_id.is_some() {
            bed.b.detach()?;
        }
        let what = format!("switch {switch}, program {with_program}");
        ensure_eq!(is_good(&good)?, switch, "{what}: a good checksum");
        ensure_eq!(is_good(&bad)?, false, "{what}: a bad checksum");
    }

    // A program that changes the payload: the trap.
    let mut adjust = Program::load("adjust", "adjust_tail")?;
    adjust.write("config", 0, [-4_i32, i32::from(verdict::PASS)])?;
    bed.b.attach(&adjust)?;
    ensure_eq!(is_good(&good)?, true, "a frame that the program has cut");
    // The user can have the stack verify them.
    bed.b.ethtool("-K", "rx off")?;
    ensure_eq!(is_good(&good)?, false, "without RXCSUM");
    bed.b.ethtool("-K", "rx on")?;
    off(&bed.b, "rx-csum-before-xdp")?;
    ensure_eq!(is_good(&good)?, false, "without the switch");
    settle_wire(bed).map(drop)
}

case!(ports "switches::vlan_strip_fixed", "", vlan);
/// Tags are stripped, and the user cannot switch that off.
fn vlan(bed: &Bed) -> Result<()> {
    let frame = tagged(&Probe::new(1, 0).frame(), &[(CTAG, 5)]);
    let strips = || {
        let text = bed.b.ethtool("-k", "")?;
        let line = text.lines().find(|line| line.contains("rx-vlan-offload"));
        Ok::<_, anyhow::Error>(line.unwrap_or_default().trim().to_owned())
    };

    bed.up()?;
    let observer = Observer::attach(&bed.b)?;
    bed.b.ethtool("-K", "rxvlan off")?;
    ensure_eq!(strips()?, "rx-vlan-offload: off", "without the switch");
    on(&bed.b, "rx-vlan-strip-fixed")?;
    ensure_eq!(strips()?, "rx-vlan-offload: on [fixed]", "with the switch");
    bed.b.ethtool_refusal("-K", "rxvlan off")?;
    ensure!(
        seen(bed, &observer, &frame)?.vlan != 0,
        "the tag was not stripped"
    );
    off(&bed.b, "rx-vlan-strip-fixed")?;
    ensure_eq!(strips()?, "rx-vlan-offload: on", "without the switch again");
    bed.b.ethtool("-K", "rxvlan off")?;
    ensure_eq!(
        strips()?,
        "rx-vlan-offload: off",
        "without the switch again"
    );
    settle_wire(bed).map(drop)
}
