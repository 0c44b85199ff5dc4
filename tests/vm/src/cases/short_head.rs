// SPDX-License-Identifier: GPL-2.0

//! XDP frames with hardly more than the Ethernet header in their first buffer: whoever receives
//! them finds the other headers all the same.

use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::{ensure_eq, wait_until},
    support::{
        buffers::{BUFFER, JUMBO},
        probes::set_mtu,
        traffic::settle_wire,
    },
    wire::{
        capture::Capture,
        ensure_same,
        frames::{tagged, CTAG},
        packet::Sender,
        probe::{verdict, Probe},
        ETH,
    },
};
use anyhow::{ensure, Context, Result};

const FLOWS: u32 = 16;
/// What the program takes off the front: all of the first buffer but an Ethernet header.
const CUT: usize = BUFFER - ETH;
/// The verdicts that send a frame back to A. The program redirects to its own port.
const WAYS: [(u8, &str); 2] = [(verdict::TX, "XDP_TX"), (verdict::REDIRECT, "redirect")];

/// A program at B that cuts frames from A so, and sends what is left back.
struct Cutter {
    program: Program,
    sender: Sender,
}

impl Cutter {
    fn start(bed: &Bed) -> Result<Self> {
        let program = Program::load("frags", "adjust_head")?;

        set_mtu(bed, JUMBO)?;
        bed.b.attach(&program)?;
        bed.up()?;
        Ok(Self {
            program,
            sender: Sender::open(&bed.a)?,
        })
    }

    fn set_verdict(&mut self, act: u8) -> Result<()> {
        self.program
            .write("config", 0, [0, 1, CUT as u32, act.into()])
    }

    /// Has B send this frame, with its headers behind the first buffer.
    fn send(&self, frame: &[u8]) -> Result<()> {
        let front = Probe::new(0, 0).len(CUT).frame();

        self.sender.send(&[&front, frame].concat())
    }
}

case!(ports "short_head::rss", "queues=4", rss);
/// Each flow is received by the ring that gets it when the stack sends it.
fn rss(bed: &Bed) -> Result<()> {
    let mut cutter = Cutter::start(bed)?;
    let frames: Vec<_> = (0..FLOWS).map(|flow| Probe::new(flow, 0).frame()).collect();
    let mut received = 0;
    let mut before = bed.a.counters()?.rx_each("packets")?;
    let mut rings = || -> Result<Vec<u64>> {
        received += u64::from(FLOWS);
        bed.a.wait_received(received)?;
        let now = bed.a.counters()?.rx_each("packets")?;
        let grown = now.iter().zip(&before).map(|(new, old)| new - old);
        let grown = grown.collect();
        before = now;
        Ok(grown)
    };

    let sender = Sender::open(&bed.b)?;
    frames.iter().try_for_each(|frame| sender.send(frame))?;
    let expected = rings()?;
    ensure!(
        expected.iter().filter(|&&frames| frames != 0).count() > 1,
        "all flows go to one ring: {expected:?}"
    );
    for (act, way) in WAYS {
        cutter.set_verdict(act)?;
        frames.iter().try_for_each(|frame| cutter.send(frame))?;
        let found = rings().with_context(|| way.to_owned())?;
        ensure_eq!(found, expected, "{way}: frames by ring of A");
    }
    settle_wire(bed).map(drop)
}

/// Sends the frame both ways, and waits until A has dropped it for that reason.
fn dropped(bed: &Bed, frame: &[u8], why: &str) -> Result<()> {
    let mut cutter = Cutter::start(bed)?;

    for ((act, way), count) in WAYS.into_iter().zip(1..) {
        cutter.set_verdict(act)?;
        cutter.send(frame)?;
        wait_until(&format!("{way}: dropped by {why}"), || {
            let counters = bed.a.counters()?;
            ensure_eq!(counters.rx("packets")?, 0, "{way}: frames that A received");
            Ok(counters.dropped_by(why)? == count)
        })?;
    }
    settle_wire(bed).map(drop)
}

case!(ports "short_head::rule", "queues=4", rule);
fn rule(bed: &Bed) -> Result<()> {
    bed.a.ethtool("-N", "flow-type udp4 dst-port 9 action -1")?;
    dropped(bed, &Probe::new(1, 0).frame(), "ntuple")
}

case!(ports "short_head::vlan_filter", "queues=4", vlan_filter);
fn vlan_filter(bed: &Bed) -> Result<()> {
    bed.a.ethtool("-K", "rx-vlan-filter on")?;
    let frame = tagged(&Probe::new(1, 0).frame(), &[(CTAG, 5)]);
    dropped(bed, &frame, "vlan_filter")
}

case!(ports "short_head::tag_is_taken_out", "queues=4", taken_out);
/// Of the tag itself only the protocol is in the first buffer.
fn taken_out(bed: &Bed) -> Result<()> {
    let mut cutter = Cutter::start(bed)?;
    let mut capture = Capture::start_frags(&bed.a)?;
    let plain = Probe::new(1, 0).frame();

    for (act, way) in WAYS {
        cutter.set_verdict(act)?;
        cutter.send(&tagged(&plain, &[(CTAG, 5)]))?;
        ensure_same(way, &capture.wait_for(1, |_| true)?[0], &plain)?;
    }
    settle_wire(bed).map(drop)
}
