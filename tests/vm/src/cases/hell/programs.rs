// SPDX-License-Identifier: GPL-2.0

//! A program that moves heads and tails to the limits and beyond, and returns any verdict.

use super::rounds;
use crate::{
    bed::Bed,
    bpf::Program,
    harness::case,
    host::ensure_eq,
    random::Random,
    support::{buffers::BUFFER, steer::Chain, xsk::head_max},
    wire::{
        ensure_same,
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        ETH, ETH_ZLEN,
    },
};
use anyhow::Result;
use aya::maps::DevMap;
use std::collections::BTreeMap;

/// Probes of a round, at most as many as the program has places for.
const COUNT: u32 = 500;
/// The longest frame in one buffer.
const FRAME_ROOM: i64 = BUFFER as i64;
/// The longest frame that a port with the default MTU takes: two tags more than the kernel allows
/// for.
const LONGEST: usize = 1522;
/// The longest frame that the kernel redirects to it.
const LONGEST_REDIRECT: usize = 1518;
/// Of the program.
const NO_ENTRY: u32 = 0x88;
const DID_HEAD: u32 = 1;
const DID_TAIL: u32 = 2;

/// What the program is to do to a probe: what it hands to the helpers, and its verdict.
#[derive(Clone, Copy)]
struct Step {
    head: i32,
    tail: i32,
    meta: i32,
    act: u32,
}

impl Step {
    /// One for a probe of this length. `head_max` is what the head can move to the front at most.
    fn any(random: &mut Random, len: usize, head_max: i64) -> Self {
        let len = len as i64;

        Self {
            head: delta(random, -head_max, len - ETH as i64),
            tail: delta(random, ETH as i64 - len, FRAME_ROOM - len),
            meta: random.between(-320, 16) as i32,
            act: random.pick(&[
                verdict::ABORTED.into(),
                verdict::DROP.into(),
                verdict::PASS.into(),
                verdict::PASS.into(),
                verdict::TX.into(),
                verdict::TX.into(),
                verdict::DEVMAP.into(),
                verdict::DEVMAP.into(),
                verdict::BAD_REDIRECT.into(),
                NO_ENTRY,
                5,
                verdict::UNKNOWN.into(),
                u32::MAX,
            ]),
        }
    }

    /// The frame after it, as the rules of the helpers have it, and which of the two succeeded.
    fn applied(&self, mut frame: Vec<u8>, head_max: i64) -> (Vec<u8>, u32) {
        let original = frame.len() as i64;
        let (head, tail) = (i64::from(self.head), i64::from(self.tail));
        let mut did = 0;

        if (-head_max..=original - ETH as i64).contains(&head) {
            did |= DID_HEAD;
            if head < 0 {
                frame = [&pattern()[..-head as usize], &frame].concat();
            } else {
                frame.drain(..head as usize);
            }
        }
        let len = frame.len() as i64 + tail;
        if original + tail <= FRAME_ROOM && len >= ETH as i64 {
            did |= DID_TAIL;
            frame.resize(len as usize, 0);
        }
        (frame, did)
    }
}

/// Mostly something that can succeed, at the limits now and then, or any number.
fn delta(random: &mut Random, least: i64, most: i64) -> i32 {
    let delta = match random.below(8) {
        0 => 0,
        1 => random.pick(&[least, least - 1, most, most + 1]),
        2 => random.between(i32::MIN.into(), i32::MAX.into()),
        _ => random.between(least, most),
    };
    delta as i32
}

/// What the program writes in front of a frame whose head has moved there.
fn pattern() -> [u8; 512] {
    let mut bytes = std::array::from_fn(|i| (i * 5 + 2) as u8);

    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(ETH_ZLEN), 0);
    frame
}

/// Probes, and what is to be done to each.
fn choose(random: &mut Random, head_max: i64) -> Vec<(Probe, Step)> {
    let choice = |seq| loop {
        let len = random.pick(&[60, 61, 128, 700, 1513, 1514]);
        let probe = Probe::new(1, seq).len(len);
        let step = Step::any(random, len, head_max);
        let (frame, _) = step.applied(probe.frame(), head_max);

        // What looks like a tag would be taken out.
        if !matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8]) {
            return (probe, step);
        }
    };
    (0..COUNT).map(choice).collect()
}

case!(ports "hell::programs_do_anything", "pairs=2 queues=1", anything;
    allow(&["Illegal XDP return value"]));
fn anything(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let target = &chain.second.a;
    let mut program = Program::load("hell", "hell")?;
    let mut counts = BTreeMap::<_, u64>::new();
    let mut oversize = 0;

    program.write("pattern", 0, pattern())?;
    let map = program.map_mut("devices")?;
    // A devmap takes devices of its writer's namespace.
    target
        .ns
        .enter(|| Ok(DevMap::try_from(map)?.set(0, target.ifindex, None, 0)?))?;
    bed.b.attach(&program)?;
    // A frame that a program has changed may have any address.
    bed.a.set_promisc(true)?;
    chain.second.b.set_promisc(true)?;
    chain.up()?;
    let head_max = head_max(&bed.b)?.into();
    let back = Tap::open(&bed.a)?;
    let passed = Tap::open(&bed.b)?;
    let beyond = Tap::open(&chain.second.b)?;
    let sender = Sender::open(&bed.a)?;
    rounds("hell::programs_do_anything", |random| {
        let probes = choose(random, head_max);

        for (probe, step) in &probes {
            let Step {
                head,
                tail,
                meta,
                act,
            } = *step;
            program.write("steps", probe.seq, [head, tail, meta, act as i32])?;
        }
        for (probe, step) in &probes {
            let (frame, did) = step.applied(probe.frame(), head_max);
            let len = frame.len();
            let what = format!(
                "probe of {} bytes, head {}, tail {}, meta {}, verdict {:#x}",
                probe.len, step.head, step.tail, step.meta, step.act
            );
            let (counter, arrives) = match u8::try_from(step.act) {
                Ok(verdict::PASS) => ("xdp_pass", Some((&passed, frame))),
                Ok(verdict::TX) if len > LONGEST => ("xdp_tx", None),
                Ok(verdict::TX) => ("xdp_tx", Some((&back, padded(frame)))),
                Ok(verdict::DEVMAP) if len <= LONGEST_REDIRECT => {
                    ("xdp_redirect", Some((&beyond, padded(frame))))
                }
                Ok(verdict::DEVMAP | verdict::BAD_REDIRECT) => ("xdp_redirect_errors", None),
                Ok(verdict::DROP) => ("xdp_drop", None),
                // For an entry that is not there the helper itself says XDP_ABORTED.
                Ok(verdict::ABORTED) => ("xdp_aborted", None),
                _ if step.act == NO_ENTRY => ("xdp_aborted", None),
                _ => ("xdp_unknown", None),
            };

            *counts.entry(counter).or_default() += 1;
            oversize += u64::from(counter == "xdp_tx" && arrives.is_none());
            sender.send(&probe.frame())?;
            if let Some((tap, frame)) = arrives {
                ensure_same(&what, &tap.any()?, &frame)?;
            }
            bed.b.wait_received(counts.values().sum())?;
            let [found_did, found_len] = program.read::<[u32; 2]>("outcomes", probe.seq)?;
            ensure_eq!(
                (found_did & (DID_HEAD | DID_TAIL), found_len as usize),
                (did, len),
                "{what}: helpers that succeeded, and length"
            );
        }
        Ok(())
    })?;
    for tap in [back, passed, beyond] {
        tap.silence()?;
    }
    let [ox0, ox1, _, _] = chain.settle()?;
    for (counter, count) in counts {
        ox1.counters.expect_rx("ox1", &[(counter, count)])?;
    }
    ox0.counters.expect_rx("ox0", &[("oversize", oversize)])
}
