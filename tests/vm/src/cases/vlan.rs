// SPDX-License-Identifier: GPL-2.0

//! VLAN tags: inserted and stripped by the ports, by the stack, or not at all.

use crate::{
    bed::{Bed, Port, V4_VLAN},
    harness::case,
    host::{ensure_eq, wait_until},
    nl::link::New,
    support::{
        buffers::{BUFFER, JUMBO},
        observe::{Observer, Seen},
        probes::set_mtu,
        steer::Steer,
        traffic::{settle, settle_wire},
    },
    wire::{
        capture::Capture,
        ensure_same,
        frames::{tagged, CTAG, STAG},
        packet::{Sender, Tap},
        probe::Probe,
    },
};
use anyhow::{Context, Result};

/// Control information that a VLAN device sends: priority 3, VLAN id 5.
const TCI: u16 = (3 << 13) | 5;

fn word(on: bool) -> &'static str {
    if on {
        "on"
    } else {
        "off"
    }
}

fn switch(port: &Port, feature: &str, on: bool) -> Result<()> {
    port.ethtool("-K", &format!("{feature} {}", word(on)))
        .map(drop)
}

/// The tag that the stack is told about beside frame number `frames`.
fn tag(observer: &Observer, frames: u64) -> Result<Option<(u16, u16)>> {
    let mut last = Seen::default();

    wait_until(&format!("the stack sees frame {frames}"), || {
        last = observer.last()?;
        Ok(last.frames >= frames)
    })?;
    ensure_eq!(last.frames, frames, "frames that the stack saw");
    Ok((last.vlan != 0).then_some(((last.vlan >> 16) as u16, last.vlan as u16)))
}

/// A VLAN device above a port.
fn device(port: &Port, protocol: u16) -> Result<Port> {
    let new = New::vlan(port.ifindex, protocol, 5).priority(3);
    let vlan = Port::add(&port.ns, "v5", new)?;

    vlan.up()?;
    Ok(vlan)
}

/// Sends probes on one VLAN device that arrive at the other, with every combination of insertion by
/// the sender and stripping by the receiver. The bytes on the wire are always the same.
fn through_devices(bed: &Bed, protocol: u16, [insert, strip]: [&str; 2]) -> Result<()> {
    let mut capture = Capture::start(&bed.b)?;
    let observer = Observer::attach(&bed.b)?;
    let mac = bed.b.mac()?;

    bed.up()?;
    let (near, far) = (device(&bed.a, protocol)?, device(&bed.b, protocol)?);
    near.wait_running(true)?;
    far.wait_running(true)?;
    let tap = Tap::open(&far)?;
    let sender = Sender::open(&near)?;
    let mut frames = 0;
    let mut bytes = 0;
    for (inserts, strips) in [(true, true), (true, false), (false, true), (false, false)] {
        switch(&bed.a, insert, inserts)?;
        switch(&bed.b, strip, strips)?;
        for (len, seq) in [60, 61, 128, 1514].into_iter().zip(0..) {
            let what = format!(
                "{insert} {}, {strip} {}, {len} bytes",
                word(inserts),
                word(strips)
            );
            let frame = Probe {
                // A VLAN device is not promiscuous.
                dst: mac,
                ..Probe::new(1, seq).len(len)
            }
            .frame();
            let wire = tagged(&frame, &[(protocol, TCI)]);

            sender.send(&frame)?;
            frames += 1;
            bytes += wire.len() as u64;
            ensure_same(&what, &tap.any().with_context(|| what.clone())?, &frame)?;
            let seen = capture.wait_for(1, |_| true)?;
            ensure_same(
                &format!("{what}: what XDP sees"),
                &seen[0],
                if strips { &frame } else { &wire },
            )?;
            ensure_eq!(
                tag(&observer, frames)?,
                Some((protocol, TCI)),
                "{what}: tag that the stack sees"
            );
        }
        tap.silence()?;
    }

    let (a, b) = settle(bed)?;
    a.counters
        .expect_tx("A", &[("packets", frames), ("bytes", bytes)])?;
    b.counters
        .expect_rx("B", &[("packets", frames), ("bytes", bytes)])
}

case!(ports "vlan::devices_with_all_settings", "queues=1", devices);
fn devices(bed: &Bed) -> Result<()> {
    through_devices(bed, CTAG, ["txvlan", "rxvlan"])
}

case!(ports "vlan::tags_of_both_kinds", "queues=1", kinds);
fn kinds(bed: &Bed) -> Result<()> {
    through_devices(
        bed,
        STAG,
        ["tx-vlan-stag-hw-insert", "rx-vlan-stag-hw-parse"],
    )
}

case!(ports "vlan::frames_with_several_tags", "queues=1", raw);
/// Tags in the frame itself. The outermost is stripped if the port is set to strip its kind; the
/// others stay.
fn raw(bed: &Bed) -> Result<()> {
    let mut capture = Capture::start(&bed.b)?;
    let observer = Observer::attach(&bed.b)?;
    let stacks: [&[(u16, u16)]; 9] = [
        &[],
        &[(CTAG, 5)],
        &[(CTAG, 0)],
        &[(CTAG, 0xffff)],
        &[(STAG, 0x2007)],
        &[(STAG, 7), (CTAG, 5)],
        &[(CTAG, 5), (CTAG, 6)],
        &[(CTAG, 5), (STAG, 6)],
        &[(STAG, 5), (STAG, 6)],
    ];
    let mut frames = 0;
    let mut bytes = 0;

    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    for (ctag, stag) in [(true, false), (false, false), (true, true), (false, true)] {
        switch(&bed.b, "rxvlan", ctag)?;
        switch(&bed.b, "rx-vlan-stag-hw-parse", stag)?;
        for tags in stacks {
            let what = format!("rxvlan {}, stag {}, {tags:x?}", word(ctag), word(stag));
            let plain = Probe::new(1, 0).len(60).frame();
            let wire = tagged(&plain, tags);
            let taken = tags
                .first()
                .is_some_and(|(kind, _)| if *kind == CTAG { ctag } else { stag });

            sender.send(&wire)?;
            frames += 1;
            bytes += wire.len() as u64;
            let seen = capture.wait_for(1, |_| true)?;
            ensure_same(
                &what,
                &seen[0],
                &tagged(&plain, &tags[usize::from(taken)..]),
            )?;
            ensure_eq!(
                tag(&observer, frames)?,
                tags.first().copied(),
                "{what}: tag that the stack sees"
            );
        }
    }
    let (a, b) = settle_wire(bed)?;
    a.counters.expect_tx("A", &[("bytes", bytes)])?;
    b.counters
        .expect_rx("B", &[("packets", frames), ("bytes", bytes)])
}

case!(ports "vlan::frames_in_several_buffers", "queues=1", long);
/// A stripped tag does not move the data between buffers; a tag that stays needs room.
fn long(bed: &Bed) -> Result<()> {
    let mut capture = Capture::start_frags(&bed.b)?;
    let mac = bed.b.mac()?;
    let mut bytes = 0;
    let mut frames = 0;
    let mut several = 0;

    set_mtu(bed, JUMBO)?;
    bed.up()?;
    // They take over the MTU.
    let (near, far) = (device(&bed.a, CTAG)?, device(&bed.b, CTAG)?);
    near.wait_running(true)?;
    far.wait_running(true)?;
    let tap = Tap::open(&far)?;
    let sender = Sender::open(&near)?;
    for (inserts, strips) in [(true, true), (true, false), (false, true), (false, false)] {
        switch(&bed.a, "txvlan", inserts)?;
        switch(&bed.b, "rxvlan", strips)?;
        let around = |n: usize| n * BUFFER - 5..=n * BUFFER + 1;
        for (len, seq) in around(1).chain(around(2)).chain([JUMBO + 14]).zip(0..) {
            let what = format!(
                "txvlan {}, rxvlan {}, {len} bytes",
                word(inserts),
                word(strips)
            );
            let frame = Probe {
                dst: mac,
                ..Probe::new(1, seq).len(len)
            }
            .frame();
            let wire = tagged(&frame, &[(CTAG, TCI)]);
            let seen_len = if strips { len } else { len + 4 };

            sender.send(&frame)?;
            frames += 1;
            several += u64::from(seen_len > BUFFER);
            bytes += wire.len() as u64;
            ensure_same(&what, &tap.any().with_context(|| what.clone())?, &frame)?;
            let seen = capture.wait_for(1, |_| true)?;
            ensure_same(&what, &seen[0], if strips { &frame } else { &wire })?;
        }
    }
    tap.silence()?;
    let (a, b) = settle(bed)?;
    a.counters
        .expect_tx("A", &[("packets", frames), ("bytes", bytes)])?;
    b.counters.expect_rx(
        "B",
        &[
            ("packets", frames),
            ("bytes", bytes),
            ("multi_buffer", several),
        ],
    )
}

case!(ports "vlan::ping", "queues=1", ping);
/// The stack itself, in both directions, with checksums that the ports compute behind the tag.
fn ping(bed: &Bed) -> Result<()> {
    bed.up()?;
    for (port, address) in [(&bed.a, V4_VLAN[0]), (&bed.b, V4_VLAN[1])] {
        let vlan = device(port, CTAG)?;

        vlan.wait_running(true)?;
        vlan.add_address(&format!("{address}/24"))?;
    }
    for tx in [true, false] {
        for rx in [true, false] {
            for port in [&bed.a, &bed.b] {
                switch(port, "txvlan", tx)?;
                switch(port, "rxvlan", rx)?;
            }
            bed.a
                .ns
                .ping(&format!("-c 3 -i 0.01 -s 1400 {}", V4_VLAN[1]))
                .with_context(|| format!("txvlan {}, rxvlan {}", word(tx), word(rx)))?;
        }
    }
    settle(bed).map(drop)
}

case!(ports "vlan::sent_back_without_the_tag", "queues=1", sent_back);
/// The program saw no tag, so it sends none. The counters of both ends agree all the same.
fn sent_back(bed: &Bed) -> Result<()> {
    let mut steer = Steer::load()?;
    let probe = Probe::new(1, 0).len(300);
    let mut received = 0;
    let mut sent = 0;

    bed.b.attach(&steer.program)?;
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let tap = Tap::open(&bed.a)?;
    for way in ["XDP_TX", "redirect"] {
        let expected = if way == "XDP_TX" {
            steer.back()?;
            probe.reflected()
        } else {
            steer.by_ifindex(bed.b.ifindex)?;
            probe.clone()
        };

        sender.send(&tagged(&probe.frame(), &[(CTAG, 5)]))?;
        received += 304;
        sent += 300;
        ensure_same(way, &tap.only()?, &expected.frame())?;
    }
    let (a, b) = settle(bed)?;
    b.counters
        .expect_rx("B", &[("bytes", received), ("xdp_tx_bytes", sent / 2)])?;
    b.counters.expect_tx("B", &[("xdp_xmit_bytes", sent / 2)])?;
    a.counters.expect_rx("A", &[("bytes", sent)])?;
    b.check_verdicts()
}
