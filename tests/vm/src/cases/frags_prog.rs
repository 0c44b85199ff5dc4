// SPDX-License-Identifier: GPL-2.0

//! What a program can do with a frame in several buffers, and which programs get such frames.

use crate::{
    bed::{Bed, Port},
    bpf::{wait_freed, Program},
    harness::case,
    host::{ensure_eq, wait_until},
    nl::link::{XdpAttached, XDP_FLAGS_DRV_MODE},
    stats::{check_both, Snapshot},
    support::{
        attach::linked,
        buffers::{BUFFER, JUMBO, LAST_BUFFER, MTU_MAX, SINGLE_MTU},
        held::Held,
        probes::set_mtu,
        traffic::{settle, while_sending, Source},
        xsk::head_max,
    },
    wire::{
        ensure_same,
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        stream::data,
        ETH,
    },
};
use anyhow::{ensure, Context, Result};
use const_format::formatcp;
use nix::errno::Errno;

/// The longest frame at that MTU: two full buffers and a part of a third.
const LEN: usize = JUMBO + ETH;

const REASON: &str =
    formatcp!("the program has no frags support, so the MTU may be at most {SINGLE_MTU}");

/// The verdicts that let a frame out again, and their counters.
const WAYS: [(u8, &str); 2] = [(verdict::PASS, "xdp_pass"), (verdict::TX, "xdp_tx")];

/// The last frame as the program saw it, and what the helpers answered.
struct Outcome {
    len: u64,
    linear: u64,
    load: i64,
    store: i64,
    adjust: i64,
}

/// A program of `frags.bpf.c` at port B, a sender at A and receivers at both.
struct Setup {
    program: Program,
    sender: Sender,
    tap_a: Tap,
    tap_b: Tap,
}

impl Setup {
    fn make(bed: &Bed, name: &str) -> Result<Self> {
        let program = Program::load("frags", name)?;

        set_mtu(bed, JUMBO)?;
        bed.b.attach(&program)?;
        bed.up()?;
        Ok(Self {
            program,
            sender: Sender::open(&bed.a)?,
            tap_a: Tap::open(&bed.a)?,
            tap_b: Tap::open(&bed.b)?,
        })
    }

    fn configure(&mut self, offset: usize, len: usize, delta: i32, act: u8) -> Result<()> {
        self.program.write(
            "config",
            0,
            [offset as u32, len as u32, delta as u32, act.into()],
        )
    }

    /// Sends a frame and waits for what comes out.
    fn through(&self, frame: &[u8], act: u8) -> Result<Vec<u8>> {
        self.sender.send(frame)?;
        if act == verdict::TX {
            self.tap_a.any()
        } else {
            self.tap_b.any()
        }
    }

    fn silence(&self) -> Result<()> {
        self.tap_a.silence()?;
        self.tap_b.silence()
    }

    fn outcome(&self) -> Result<Outcome> {
        let [_, len, linear, load, store, adjust]: [u64; 6] = self.program.read("outcome", 0)?;

        Ok(Outcome {
            len,
            linear,
            load: load as i64,
            store: store as i64,
            adjust: adjust as i64,
        })
    }

    /// Sends frames of these lengths through a program that moves one end of each, with both
    /// verdicts, and compares with what `expect` makes of them.
    fn adjusted(
        &mut self,
        delta: i32,
        lens: &[usize],
        expect: impl Fn(Vec<u8>) -> Vec<u8>,
        from: usize,
    ) -> Result<()> {
        for (act, way) in WAYS {
            self.configure(0, 1, delta, act)?;
            for (len, seq) in lens.iter().zip(0..) {
                let frame = Probe::new(1, seq).len(*len).frame();
                let what = format!("{way}, {len} bytes adjusted by {delta}");
                let found = self.through(&frame, act).with_context(|| what.clone())?;
                let outcome = self.outcome()?;

                ensure_eq!(outcome.adjust, 0, "{what}: the helper's answer");
                ensure_eq!(outcome.len, *len as u64, "{what}: length before");
                ensure_eq!(
                    outcome.linear,
                    (*len).min(BUFFER) as u64,
                    "{what}: bytes in the first buffer"
                );
                let expected = expect(frame);
                ensure_eq!(found.len(), expected.len(), "{what}: length after");
                ensure_same(&what, &found[from..], &expected[from..])?;
            }
        }
        self.silence()
    }

    /// Sends a frame that the helper refuses to adjust so.
    fn refused(&mut self, bed: &Bed, delta: i32, len: usize) -> Result<()> {
        let received = bed.b.link()?.stat("rx_packets")?;

        self.configure(0, 1, delta, verdict::PASS)?;
        self.sender.send(&Probe::new(1, 0).len(len).frame())?;
        bed.b.wait_received(received + 1)?;
        ensure_eq!(
            self.outcome()?.adjust,
            -i64::from(Errno::EINVAL as i32),
            "{len} bytes adjusted by {delta}: the helper's answer"
        );
        self.silence()
    }
}

fn finish(bed: &Bed) -> Result<()> {
    let (a, b) = settle(bed)?;

    b.check_verdicts()?;
    check_both(&a, &b)
}

case!(ports "frags_prog::load_and_store_bytes", "", exchange);
/// Pieces in one buffer, across one or two boundaries, and partly outside of the frame.
fn exchange(bed: &Bed) -> Result<()> {
    const PIECES: [(usize, usize); 12] = [
        (14, 1),
        (BUFFER - 20, 20),
        (BUFFER - 1, 1),
        (BUFFER - 1, 2),
        (BUFFER, 1),
        (BUFFER - 300, 512),
        (BUFFER + 100, 512),
        (2 * BUFFER - 511, 512),
        (2 * BUFFER - 1, 2),
        (2 * BUFFER, 512),
        (LEN - 512, 512),
        (LEN - 1, 1),
    ];
    let mut setup = Setup::make(bed, "exchange")?;

    for (act, way) in WAYS {
        for ((offset, len), seq) in PIECES.into_iter().zip(0..) {
            let what = format!("{way}, {len} bytes at {offset}");
            let frame = Probe::new(1, seq).len(LEN).frame();
            let mut fresh = [0; 512];

            fresh.copy_from_slice(&data(seq + 7, 512));
            setup.program.write("chunks", 0, [0u8; 512])?;
            setup.program.write("chunks", 1, fresh)?;
            setup.configure(offset, len, 0, act)?;
            let found = setup.through(&frame, act).with_context(|| what.clone())?;
            let outcome = setup.outcome()?;
            let loaded: [u8; 512] = setup.program.read("chunks", 0)?;

            ensure_eq!((outcome.load, outcome.store), (0, 0), "{what}: answers");
            ensure_eq!(outcome.len, LEN as u64, "{what}: length");
            ensure_eq!(outcome.linear, BUFFER as u64, "{what}: first buffer");
            ensure_same(&what, &loaded[..len], &frame[offset..offset + len])?;
            let mut expected = frame;
            expected[offset..offset + len].copy_from_slice(&fresh[..len]);
            ensure_same(&what, &found, &expected)?;
        }
    }

    for (offset, len) in [(LEN - 1, 2), (LEN, 1), (LEN - 511, 512)] {
        let frame = Probe::new(1, 99).len(LEN).frame();

        setup.configure(offset, len, 0, verdict::PASS)?;
        let found = setup.through(&frame, verdict::PASS)?;
        let outcome = setup.outcome()?;
        ensure!(
            outcome.load < 0 && outcome.store < 0,
            "{len} bytes at {offset}: answers {} and {}",
            outcome.load,
            outcome.store
        );
        ensure_same("frame that nothing was written to", &found, &frame)?;
    }
    setup.silence()?;
    finish(bed)
}

case!(ports "frags_prog::adjust_head", "", adjust_head);
/// The head is in the first buffer: it moves into the headroom, or up to an Ethernet header's
/// length before that buffer's end.
fn adjust_head(bed: &Bed) -> Result<()> {
    let mut setup = Setup::make(bed, "adjust_head")?;
    let lens = [BUFFER, BUFFER + 1, 2 * BUFFER + 1, LEN];
    let most = head_max(&bed.b)?;

    set_mtu(bed, JUMBO + 1000)?;
    // The frame that comes back is not addressed to a port.
    bed.a.set_promisc(true)?;
    for n in [1, 14, 1000, (BUFFER - ETH) as i32] {
        setup.adjusted(n, &lens[2..], |frame| frame[n as usize..].to_vec(), 0)?;
    }
    for n in [1, 14, 100, most] {
        // The content of the new bytes is up to the program, which does not write them.
        setup.adjusted(
            -n,
            &lens,
            |frame| [&vec![0; n as usize], &frame[..]].concat(),
            n as usize,
        )?;
    }
    setup.refused(bed, -most - 1, LEN)?;
    setup.refused(bed, (BUFFER - ETH) as i32 + 1, LEN)?;
    finish(bed)
}

case!(ports "frags_prog::tail_shrinks", "", tail_shrinks);
/// From one byte less to hardly anything left. Buffers that are no longer needed return to their
/// pool.
fn tail_shrinks(bed: &Bed) -> Result<()> {
    const LAST: usize = LEN - 2 * BUFFER;
    let mut setup = Setup::make(bed, "adjust_tail")?;

    for n in [
        1,
        LAST - 1,
        LAST,
        LAST + 1,
        LAST + BUFFER - 1,
        LAST + BUFFER,
        LAST + BUFFER + 1,
        LEN - 60,
    ] {
        setup.adjusted(-(n as i32), &[LEN], |frame| frame[..LEN - n].to_vec(), 0)?;
    }
    setup.adjusted(
        -1,
        &[BUFFER, BUFFER + 1, 2 * BUFFER + 1],
        |mut frame| {
            frame.pop();
            frame
        },
        0,
    )?;
    setup.refused(bed, -((LEN - ETH + 1) as i32), LEN)?;
    finish(bed)
}

case!(ports "frags_prog::tail_grows", "", tail_grows);
/// The new bytes are zero, and in the last buffer.
fn tail_grows(bed: &Bed) -> Result<()> {
    let mut setup = Setup::make(bed, "adjust_tail")?;

    // A frame that grew has to fit into the port that it goes back to.
    bed.a.set_mtu(MTU_MAX.min(2 * JUMBO))?;
    for len in [BUFFER + 1, BUFFER + 1000, 2 * BUFFER, 2 * BUFFER + 1, LEN] {
        let last = (len - 1) % BUFFER + 1;
        let room = LAST_BUFFER - last;

        for n in [1, room.min(100), room] {
            setup.adjusted(
                n as i32,
                &[len],
                |mut frame| {
                    frame.resize(len + n, 0);
                    frame
                },
                0,
            )?;
        }
        setup.refused(bed, room as i32 + 1, len)?;
    }
    // Only the first buffer needs room for `struct skb_shared_info`.
    setup.refused(bed, 1, BUFFER)?;
    finish(bed)
}

fn expect_max_mtu(port: &Port, expected: usize, what: &str) -> Result<()> {
    let link = port.link()?;

    ensure_eq!(link.max_mtu as usize, expected, "{what}: greatest MTU");
    let text = port.ns.ip(&format!("-d link show dev {}", port.name))?;
    ensure!(
        text.contains(&format!(" maxmtu {expected} ")),
        "{what}: ip -d link: {text}"
    );
    Ok(())
}

case!(ports "frags_prog::mtu_excludes_a_program", "", mtu_first);
/// With an MTU that needs several buffers only a program that supports frags can be attached.
fn mtu_first(bed: &Bed) -> Result<()> {
    let plain = Program::load("count", "count_pass")?;
    let frags = Program::load("frags", "frags_pass")?;
    let refuse = |what: &str| {
        bed.b
            .attach_refused(
                Some(&plain),
                XDP_FLAGS_DRV_MODE,
                None,
                Errno::EOPNOTSUPP,
                REASON,
            )
            .with_context(|| what.to_owned())
    };

    bed.b.set_mtu(SINGLE_MTU + 1)?;
    refuse("while down")?;
    bed.up()?;
    for mtu in [SINGLE_MTU + 1, JUMBO, MTU_MAX] {
        bed.b.set_mtu(mtu)?;
        refuse(&format!("mtu {mtu}"))?;
        ensure_eq!(
            bed.b.link()?.xdp_mode,
            XdpAttached::None,
            "mtu {mtu}: IFLA_XDP_ATTACHED"
        );
        expect_max_mtu(&bed.b, MTU_MAX, "after a refusal")?;
    }

    // A program that supports frags stays if one that does not is refused.
    bed.b.attach(&frags)?;
    refuse("in place of a program with frags")?;
    ensure_eq!(
        bed.b.link()?.xdp_driver_id,
        Some(frags.id),
        "program that is attached"
    );
    bed.a.set_mtu(JUMBO)?;
    let tap = Tap::open(&bed.b)?;
    let probe = Probe::new(1, 0).len(LEN);
    Sender::open(&bed.a)?.send(&probe.frame())?;
    ensure_eq!(tap.probes(1)?, [probe], "frame at B");
    let seen: [u64; 6] = frags.read("outcome", 0)?;
    ensure_eq!(seen[0], 1, "frames the program saw");

    bed.b.set_mtu(SINGLE_MTU)?;
    bed.b.attach(&plain)?;
    let id = frags.id;
    drop(frags);
    wait_freed(id)?;
    finish(bed)
}

case!(ports "frags_prog::program_excludes_an_mtu", "", program_first);
/// A program without support for frags limits the MTU while it is attached.
fn program_first(bed: &Bed) -> Result<()> {
    let plain = Program::load("count", "count_pass")?;
    let frags = Program::load("frags", "frags_pass")?;
    let refuse = |mtu: usize| -> Result<()> {
        let text = bed.b.ip_link_set_refusal(&format!("mtu {mtu}"))?;

        ensure!(
            text.contains("mtu greater than device maximum"),
            "mtu {mtu}: refused with \"{text}\""
        );
        Ok(())
    };

    for up in [false, true] {
        if up {
            bed.up()?;
        }
        expect_max_mtu(&bed.b, MTU_MAX, "without a program")?;
        bed.b.attach(&plain)?;
        expect_max_mtu(&bed.b, SINGLE_MTU, "with a program without frags")?;
        expect_max_mtu(&bed.a, MTU_MAX, "at the other port")?;
        for mtu in [SINGLE_MTU + 1, JUMBO, MTU_MAX] {
            refuse(mtu)?;
        }
        bed.b.set_mtu(SINGLE_MTU)?;

        bed.b.attach(&frags)?;
        expect_max_mtu(&bed.b, MTU_MAX, "with a program with frags")?;
        bed.b.attach(&plain)?;
        expect_max_mtu(&bed.b, SINGLE_MTU, "with the first program again")?;
        refuse(SINGLE_MTU + 1)?;
        bed.b.detach()?;
        expect_max_mtu(&bed.b, MTU_MAX, "after the program is gone")?;
        bed.b.set_mtu(MTU_MAX)?;
        bed.b.set_mtu(1500)?;
    }
    Ok(())
}

case!(ports "frags_prog::swap_at_the_usual_mtu", "queues=4", swap);
/// At the default MTU programs with and without support for frags replace each other under traffic,
/// and no frame is lost.
fn swap(bed: &Bed) -> Result<()> {
    let plain = Program::load("count", "count_pass")?;
    let frags = Program::load("frags", "frags_drop")?;
    let sources = Source::new(&bed.a).times(3);

    bed.b.msglvl("drv off")?;
    bed.b.attach(&plain)?;
    bed.up()?;
    let seen = |n| -> Result<u64> {
        if n % 2 == 0 {
            Ok(frags.read::<[u64; 6]>("outcome", 0)?[0])
        } else {
            plain.seen()
        }
    };
    while_sending(&sources, |_| {
        for n in 0..60 {
            let before = seen(n)?;

            bed.b.attach(if n % 2 == 0 { &frags } else { &plain })?;
            if n % 6 < 2 {
                wait_until("the program sees frames", || Ok(seen(n)? > before + 20))?;
            }
        }
        Ok(())
    })?;
    let (_, b) = settle(bed)?;
    b.counters.expect_rx(
        "B",
        &[
            ("packets", seen(0)? + plain.seen()?),
            ("xdp_drop", seen(0)?),
            ("xdp_pass", plain.seen()?),
            ("multi_buffer", 0),
        ],
    )?;
    finish(bed)
}

/// Frames that are in the ring of B when its MTU is lowered, of those lengths.
const HELD: [usize; 5] = [LEN, 60, BUFFER + 1, BUFFER, LEN];

/// Lets frames wait in B's ring, lowers the MTU there, calls `change`, and lets the poll go on.
fn hold_and_release(bed: &Bed, change: impl FnOnce() -> Result<()>) -> Result<Snapshot> {
    let sender = Sender::open(&bed.a)?;
    let before = bed.b.counters()?.rx("packets")?;

    bed.b.detach()?;
    bed.b.set_mtu(JUMBO)?;
    let held = Held::new(&bed.b, 0, || sender.send(&Probe::new(1, 0).frame()))?;
    for (len, seq) in HELD.into_iter().zip(1..) {
        sender.send(&Probe::new(1, seq).len(len).frame())?;
    }
    bed.b.set_mtu(1500)?;
    change()?;
    ensure_eq!(
        bed.b.counters()?.rx("packets")?,
        before + 1,
        "frames polled too early"
    );
    held.release(256)?;
    bed.b.ethtool("-G", "rx 512")?;
    bed.b.wait_received(before + 1 + HELD.len() as u64)?;
    bed.b.snapshot()
}

case!(ports "frags_prog::frames_of_a_larger_mtu", "queues=1", in_the_ring);
/// Frames in several buffers that came before the MTU was lowered do not reach a program without
/// support for frags, and are counted. All others in the ring are received.
fn in_the_ring(bed: &Bed) -> Result<()> {
    let single = HELD.iter().filter(|len| **len <= BUFFER).count();
    let several = (HELD.len() - single) as u64;
    let mut lost = 0;

    bed.a.set_mtu(JUMBO)?;
    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let expect = |lens: &[usize], what: &str| -> Result<()> {
        let found: Vec<_> = tap.probes(lens.len())?.iter().map(|p| p.len).collect();
        ensure_eq!(found, lens, "{what}: frames that the stack got");
        tap.silence()
    };
    let first = Probe::new(1, 0).len;
    let all = [&[first], &HELD[..]].concat();
    let kept: Vec<_> = all.iter().copied().filter(|len| *len <= BUFFER).collect();

    for (msglvl, what) in [
        ("rx_status off", "a program"),
        ("rx_status on", "with the trace"),
    ] {
        bed.b.msglvl(msglvl)?;
        let plain = Program::load("count", "count_pass")?;
        let b = hold_and_release(bed, || bed.b.attach(&plain))?;
        lost += several;
        ensure_eq!(
            plain.seen()?,
            single as u64,
            "{what}: frames that the program saw"
        );
        b.counters
            .expect_rx("ox1", &[("xdp_no_frags", lost), ("skb_alloc_fail", 0)])?;
        ensure_eq!(b.link.stat("rx_dropped")?, lost, "{what}: rx_dropped");
        expect(&kept, what)?;
    }

    // By a link, in place of a program that supports frags.
    let frags = Program::load("count", "count_pass_frags")?;
    let mut plain = Program::load("count", "count_drop")?;
    let mut link = None;
    let verdicts = bed.b.snapshot()?.verdicts()?;
    let b = hold_and_release(bed, || {
        bed.b.attach(&frags)?;
        bed.b.detach()?;
        link = Some(linked(&bed.b, &mut plain)?);
        Ok(())
    })?;
    lost += several;
    ensure_eq!(plain.seen()?, single as u64, "frames of the link's program");
    ensure_eq!(b.verdicts()?, verdicts + single as u64, "verdicts");
    b.counters.expect_rx("ox1", &[("xdp_no_frags", lost)])?;
    drop(link);
    expect(&[first], "a link")?;

    // A program that supports frags gets all of them, and so does the stack.
    let b = hold_and_release(bed, || bed.b.attach(&frags))?;
    ensure_eq!(
        frags.seen()?,
        HELD.len() as u64,
        "frames with frags support"
    );
    b.counters.expect_rx("ox1", &[("xdp_no_frags", lost)])?;
    expect(&all, "with frags support")?;
    let b = hold_and_release(bed, || Ok(()))?;
    b.counters.expect_rx("ox1", &[("xdp_no_frags", lost)])?;
    expect(&all, "without a program")?;
    let (a, b) = settle(bed)?;
    check_both(&a, &b)
}
