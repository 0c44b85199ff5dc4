// SPDX-License-Identifier: GPL-2.0

//! What a program bound to a port is told about each frame: time stamp, hash, VLAN tag.

use crate::{
    bed::{Bed, Port},
    bpf::{self, wait_freed, Bound, Program},
    harness::case,
    host::{
        clock::{tai, TaiOffset},
        ensure_eq, module, wait_until,
    },
    nl::link::XDP_FLAGS_DRV_MODE,
    support::{
        buffers::JUMBO,
        held::Held,
        probes::set_mtu,
        steer::Steer,
        traffic::{settle, settle_wire},
    },
    wire::{
        ensure_same,
        frames::{
            ethernet, ipv4, ipv6, tagged, transport, ARP, CTAG, DESTINATION_OPTIONS, ICMP, IPV4,
            IPV6, STAG, TCP, UDP,
        },
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        toeplitz::Key,
    },
};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use std::collections::BTreeSet;

/// Bits of `enum xdp_rss_hash_type`.
const L3_IPV4: u32 = 1 << 0;
const L3_IPV6: u32 = 1 << 1;
const L4: u32 = 1 << 3;
const L4_TCP: u32 = 1 << 4;
const L4_UDP: u32 = 1 << 5;

const ENODATA: i32 = -(Errno::ENODATA as i32);

/// What the program noted about a frame.
#[derive(Clone, Copy, Debug)]
struct Hint {
    now: u64,
    stamp: u64,
    hash: u32,
    kind: u32,
    stamp_error: i32,
    hash_error: i32,
    vlan_error: i32,
    tci: u16,
    protocol: u16,
    len: u32,
    ethertype: u16,
}

impl Hint {
    fn hash(&self) -> (i32, u32, u32) {
        (self.hash_error, self.hash, self.kind)
    }

    fn vlan(&self) -> (i32, u16, u16) {
        (self.vlan_error, self.protocol, self.tci)
    }
}

/// The program of `hints.bpf.c`, at the port that it is bound to.
struct Observer {
    bound: Bound,
}

impl Observer {
    fn attach(port: &Port) -> Result<Self> {
        let bound = Bound::load(port, "hints")?;

        port.try_attach_fd(Some(bound.fd()), XDP_FLAGS_DRV_MODE, None)?
            .context("attaching a program to the port that it is bound to")?;
        Ok(Self { bound })
    }

    /// How many frames it has seen, and what it noted about the last.
    fn last(&self) -> Result<(u64, Hint)> {
        let [frames, now, stamp, hash, errors, vlan, rest]: [u64; 7] =
            self.bound.array("hint_last")?.get(&0, 0)?;

        Ok((
            frames,
            Hint {
                now,
                stamp,
                hash: hash as u32,
                kind: (hash >> 32) as u32,
                stamp_error: errors as i32,
                hash_error: (errors >> 32) as i32,
                vlan_error: vlan as i32,
                tci: (vlan >> 32) as u16,
                protocol: (vlan >> 48) as u16,
                len: rest as u32,
                ethertype: (rest >> 32) as u16,
            },
        ))
    }

    /// Frames with a time stamp and without.
    fn stamped(&self) -> Result<(u64, u64)> {
        let counts = self.bound.array::<u64>("hint_counts")?;

        Ok((counts.get(&0, 0)?, counts.get(&1, 0)?))
    }

    fn wait(&self, frames: u64) -> Result<Hint> {
        let mut last = self.last()?;

        wait_until(&format!("the bound program sees frame {frames}"), || {
            last = self.last()?;
            Ok(last.0 >= frames)
        })?;
        ensure_eq!(last.0, frames, "frames the bound program saw");
        Ok(last.1)
    }

    /// Sends a frame and returns what the program noted about it.
    fn about(&self, sender: &Sender, frame: &[u8]) -> Result<Hint> {
        let before = self.last()?.0;

        sender.send(frame)?;
        self.wait(before + 1)
    }
}

case!(ports "hints::timestamp", "queues=1", timestamp);
/// The time stamp lies between sending and the run of the program, whether the stack, XDP_TX or a
/// redirect sends the frame.
fn timestamp(bed: &Bed) -> Result<()> {
    let _apart = TaiOffset::set(37)?;
    let observer = Observer::attach(&bed.b)?;
    let back = Observer::attach(&bed.a)?;
    let mut steer = Steer::load()?;
    let probe = Probe::new(1, 0);

    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let mut last = 0;
    for n in 0..20 {
        let from = tai()?;
        let hint = observer.about(&sender, &probe.frame())?;
        let to = tai()?;

        ensure_eq!(hint.stamp_error, 0, "frame {n}: the kernel's answer");
        ensure!(
            from <= hint.stamp && hint.stamp <= hint.now && hint.now <= to,
            "frame {n}: sent after {from}, stamped {}, seen {}, done {to}",
            hint.stamp,
            hint.now
        );
        ensure!(hint.stamp > last, "frame {n}: stamped as the one before");
        last = hint.stamp;
    }

    bed.b.detach()?;
    bed.b.attach(&steer.program)?;
    for way in ["XDP_TX", "ndo_xdp_xmit"] {
        if way == "XDP_TX" {
            steer.back()?;
        } else {
            steer.by_ifindex(bed.b.ifindex)?;
        }
        let from = tai()?;
        let hint = back.about(&sender, &probe.frame())?;

        ensure_eq!(hint.stamp_error, 0, "{way}: the kernel's answer");
        ensure!(
            from <= hint.stamp && hint.stamp <= hint.now,
            "{way}: sent after {from}, stamped {}, seen {}",
            hint.stamp,
            hint.now
        );
        ensure_eq!(hint.len, probe.len as u32, "{way}: length");
    }
    settle(bed).map(drop)
}

case!(ports "hints::timestamp_is_the_senders", "queues=1", waiting);
/// A frame that waits in the ring has the time of its arrival there.
fn waiting(bed: &Bed) -> Result<()> {
    let observer = Observer::attach(&bed.b)?;
    let probe = Probe::new(1, 0).frame();

    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let held = Held::new(&bed.b, 0, || sender.send(&probe))?;
    let from = tai()?;
    sender.send(&probe)?;
    let sent = tai()?;
    held.release(256)?;
    let hint = observer.wait(2)?;
    ensure!(
        from < hint.stamp && hint.stamp < sent && sent < hint.now,
        "stamped {}, seen {}, although sent between {from} and {sent} and released later",
        hint.stamp,
        hint.now
    );
    settle(bed).map(drop)
}

case!(ports "hints::timestamp_of_frames_before_the_program", "queues=1", before);
/// A time stamp costs time, so frames get one only while a program could read it.
fn before(bed: &Bed) -> Result<()> {
    const EARLY: u32 = 150;
    const LATE: u32 = 5;
    let probe = Probe::new(1, 0);

    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let bound = Bound::load(&bed.b, "hints")?;
    let held = Held::new(&bed.b, 0, || sender.send(&probe.frame()))?;
    sender.send_flow(&probe, EARLY)?;
    bed.b
        .try_attach_fd(Some(bound.fd()), XDP_FLAGS_DRV_MODE, None)??;
    let observer = Observer { bound };
    held.release(256)?;
    let hint = observer.wait(EARLY.into())?;
    ensure_eq!(
        observer.stamped()?,
        (0, EARLY.into()),
        "early frames with and without a stamp"
    );
    ensure_eq!(
        hint.stamp_error,
        ENODATA,
        "early frame: the kernel's answer"
    );

    sender.send_flow(&probe, LATE)?;
    observer.wait((EARLY + LATE).into())?;
    ensure_eq!(
        observer.stamped()?,
        (LATE.into(), EARLY.into()),
        "frames with and without a stamp"
    );
    settle(bed).map(drop)
}

case!(ports "hints::hash_and_its_type", "queues=2", hashes);
/// Every kind of frame that is hashed, and frames that are not.
fn hashes(bed: &Bed) -> Result<()> {
    let key = Key::of_the_system()?;
    let observer = Observer::attach(&bed.b)?;
    let (a4, b4) = ([10, 77, 0, 1], [192, 168, 200, 254]);
    let (mut a6, mut b6) = ([0x3f; 16], [0; 16]);
    let addresses4 = [a4, b4].concat();

    a6[15] = 1;
    b6[0] = 0xfd;
    b6[15] = 9;
    let addresses6 = [a6, b6].concat();
    let ports = |protocol| transport(40001, 443, protocol);
    let with_ports = |addresses: &[u8]| [addresses, &ports(UDP)[..4]].concat();
    let in_v4 =
        |protocol, fragment| ethernet(IPV4, &ipv4(a4, b4, protocol, fragment, &ports(protocol)));
    let in_v6 = |next, body: &[u8]| ethernet(IPV6, &ipv6(a6, b6, next, body));
    let options = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &ports(UDP)].concat();
    let cases = [
        (
            "UDP, IPv4",
            in_v4(UDP, 0),
            with_ports(&addresses4),
            L3_IPV4 | L4 | L4_UDP,
        ),
        (
            "TCP, IPv4",
            in_v4(TCP, 0x4000),
            with_ports(&addresses4),
            L3_IPV4 | L4 | L4_TCP,
        ),
        ("ICMP, IPv4", in_v4(ICMP, 0), addresses4.clone(), L3_IPV4),
        (
            "first fragment",
            in_v4(UDP, 0x2000),
            addresses4.clone(),
            L3_IPV4,
        ),
        (
            "later fragment",
            in_v4(UDP, 0x0010),
            addresses4.clone(),
            L3_IPV4,
        ),
        (
            "UDP, IPv6",
            in_v6(UDP, &ports(UDP)),
            with_ports(&addresses6),
            L3_IPV6 | L4 | L4_UDP,
        ),
        (
            "TCP, IPv6",
            in_v6(TCP, &ports(TCP)),
            with_ports(&addresses6),
            L3_IPV6 | L4 | L4_TCP,
        ),
        (
            "ICMPv6",
            in_v6(58, &ports(ICMP)),
            addresses6.clone(),
            L3_IPV6,
        ),
        (
            "options, IPv6",
            in_v6(DESTINATION_OPTIONS, &options),
            addresses6.clone(),
            L3_IPV6,
        ),
    ];

    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let mut seen = BTreeSet::new();
    for (what, frame, input, kind) in &cases {
        let hash = key.hash(input);

        for tags in [&[][..], &[(CTAG, 5)], &[(STAG, 6), (CTAG, 7)]] {
            let hint = observer
                .about(&sender, &tagged(frame, tags))
                .context(*what)?;

            ensure_eq!(hint.hash(), (0, hash, *kind), "{what} behind {tags:x?}");
        }
        seen.insert(hash);
    }
    // Different inputs have different hashes, with ports and without.
    ensure_eq!(seen.len(), 4, "different hashes");

    let arp = ethernet(ARP, &[0x11; 46]);
    let experimental = ethernet(0x88b5, &[0x22; 46]);
    for (what, frame) in [("ARP", arp), ("an EtherType of nobody's", experimental)] {
        let hint = observer.about(&sender, &frame)?;

        ensure_eq!(hint.hash_error, ENODATA, "{what}: the kernel's answer");
    }
    settle_wire(bed).map(drop)
}

case!(ports "hints::vlan_tag", "queues=1", vlan);
/// With stripping on, the tag is in the metadata. With stripping off it is in the frame, and there
/// is no hint.
fn vlan(bed: &Bed) -> Result<()> {
    let observer = Observer::attach(&bed.b)?;
    let plain = Probe::new(1, 0).len(200).frame();
    let inner = (CTAG, 0x2009);
    let outer = (STAG, 0xf123);

    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    for (ctag, stag) in [(true, false), (false, false), (false, true), (true, true)] {
        let word = |on| if on { "on" } else { "off" };

        bed.b.ethtool(
            "-K",
            &format!("rxvlan {} rx-vlan-stag-hw-parse {}", word(ctag), word(stag)),
        )?;
        for tags in [
            &[][..],
            &[inner],
            &[(CTAG, 0)],
            &[(CTAG, 0x1fff)],
            &[outer],
            &[outer, inner],
            &[inner, inner],
        ] {
            let what = format!("rxvlan {ctag}, stag {stag}, tags {tags:x?}");
            let hint = observer.about(&sender, &tagged(&plain, tags))?;
            let taken = match tags.first() {
                Some(tag @ (CTAG, _)) if ctag => Some(tag),
                Some(tag @ (STAG, _)) if stag => Some(tag),
                _ => None,
            };
            let left = &tags[usize::from(taken.is_some())..];

            match taken {
                Some((protocol, tci)) => {
                    ensure_eq!(hint.vlan(), (0, *protocol, *tci), "{what}: hint");
                }
                None => ensure_eq!(hint.vlan_error, ENODATA, "{what}: the kernel's answer"),
            }
            ensure_eq!(
                hint.ethertype,
                left.first().map_or(IPV4, |tag| tag.0),
                "{what}: EtherType that the program sees"
            );
            ensure_eq!(
                hint.len as usize,
                plain.len() + 4 * left.len(),
                "{what}: length that the program sees"
            );
        }
    }
    settle_wire(bed).map(drop)
}

case!(ports "hints::frame_in_several_buffers", "", frags);
/// The hints do not depend on the number of buffers.
fn frags(bed: &Bed) -> Result<()> {
    let key = Key::of_the_system()?;
    let observer = Observer::attach(&bed.b)?;
    let plain = Probe::new(3, 0).len(JUMBO).frame();

    set_mtu(bed, JUMBO)?;
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let from = tai()?;
    let hint = observer.about(&Sender::open(&bed.a)?, &tagged(&plain, &[(CTAG, 77)]))?;
    ensure_eq!(hint.vlan(), (0, CTAG, 77), "VLAN tag");
    ensure_eq!(
        hint.hash(),
        (0, key.hash(&plain[26..38]), L3_IPV4 | L4 | L4_UDP),
        "hash"
    );
    ensure_eq!(hint.stamp_error, 0, "time stamp: the kernel's answer");
    ensure!(from <= hint.stamp && hint.stamp <= hint.now, "time stamp");
    ensure_eq!(hint.len, JUMBO as u32, "length");
    ensure_same("frame at the stack", &tap.only()?, &plain)?;
    bed.b.counters()?.expect_rx("B", &[("multi_buffer", 1)])
}

case!(ports "hints::program_of_another_port", "", other_port);
fn other_port(bed: &Bed) -> Result<()> {
    let bound = Bound::load(&bed.b, "hints")?;
    let plain = Program::load("count", "count_pass")?;

    match bed
        .a
        .try_attach_fd(Some(bound.fd()), XDP_FLAGS_DRV_MODE, None)?
    {
        Err(refused) => {
            ensure_eq!(refused.errno, Errno::EINVAL, "refusal");
            ensure!(
                refused.reason.contains("bound to different device"),
                "reason: {}",
                refused.reason
            );
        }
        Ok(()) => anyhow::bail!("a program bound to another port was attached"),
    }
    // A bound program replaces one that is not bound, and the other way round.
    bed.b.attach(&plain)?;
    bed.b
        .try_attach_fd(Some(bound.fd()), XDP_FLAGS_DRV_MODE, None)??;
    ensure_eq!(bed.b.link()?.xdp_driver_id, Some(bound.id), "program of B");
    bed.b.attach(&plain)?;
    let id = bound.id;
    drop(bound);
    wait_freed(id)
}

case!(ports "hints::rmmod_with_a_bound_program", "", rmmod);
/// The port goes while the program that is bound to it is attached and held.
fn rmmod(bed: &Bed) -> Result<()> {
    let observer = Observer::attach(&bed.b)?;
    let id = observer.bound.id;

    bed.up()?;
    observer.about(
        &Sender::open(&bed.a)?,
        &Probe::new(1, 0).verdict(verdict::PASS).frame(),
    )?;
    module::unload()?;
    ensure!(
        bpf::program_ids()?.contains(&id),
        "the program is gone although it is held"
    );
    drop(observer);
    wait_freed(id)
}
