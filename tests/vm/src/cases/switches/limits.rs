// SPDX-License-Identifier: GPL-2.0

//! What a program and a socket can have: headroom, MTU, multi-buffer frames, hints, zero-copy.

use super::{off, on};
use crate::{
    bed::{Bed, Port},
    bpf::{Bound, Program},
    harness::case,
    host::{clock::tai, ensure_eq, wait_until, FOR_EVER},
    nl::{
        link::XDP_FLAGS_DRV_MODE,
        netdev::{
            self, NETDEV_XDP_ACT_RX_SG, NETDEV_XDP_ACT_XSK_ZEROCOPY, NETDEV_XDP_RX_METADATA_HASH,
            NETDEV_XDP_RX_METADATA_TIMESTAMP, NETDEV_XDP_RX_METADATA_VLAN_TAG,
        },
    },
    support::{
        buffers::{JUMBO, MTU_MAX, SINGLE_MTU},
        probes::send_all,
        traffic::settle,
        xsk::{expect_frame, wait_free},
    },
    wire::{
        checksum, ensure_same,
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        xsk::{
            socket::{Mode, Setup, Socket},
            tx::{Request, XskTx, CHECKSUM, LAUNCH_TIME, TIMESTAMP},
        },
        ETH,
    },
};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

/// How much of the headroom the kernel keeps for itself: a `struct xdp_frame`.
const KEPT: i32 = 40;

case!(ports "switches::headroom", "", headroom);
/// A program can put as much in front of a frame as the switch says, less what the kernel keeps,
/// whatever becomes of the frame.
fn headroom(bed: &Bed) -> Result<()> {
    let mut program = Program::load("adjust", "adjust_head")?;
    let mut pattern = [0x5a; 256];
    let mut refused = 0;

    pattern[12..14].copy_from_slice(&[0x88, 0xb5]);
    program.write("pattern", 0, pattern)?;
    bed.b.attach(&program)?;
    bed.up()?;
    bed.a.set_promisc(true)?;
    for (flags, headroom) in [
        ("", 320),
        ("xdp-headroom-192", 192),
        ("xdp-headroom-256", 256),
        ("", 320),
    ] {
        if flags.is_empty() {
            off(&bed.b, "xdp-headroom-256")?;
        } else {
            on(&bed.b, flags)?;
        }
        let most = headroom - KEPT;
        for (act, port) in [(verdict::PASS, &bed.b), (verdict::TX, &bed.a)] {
            // The program's pattern is no longer than this.
            for more in [14, 150, most.min(256)] {
                let frame = Probe::new(1, 0).len(300).frame();
                let tap = Tap::open(port)?;
                program.write("config", 0, [-more, act.into()])?;
                Sender::open(&bed.a)?.send(&frame)?;
                let found = tap
                    .any()
                    .with_context(|| format!("{flags}: {more} bytes"))?;
                let expected = [&pattern[..more as usize], &frame].concat();
                ensure_same(&format!("{flags}: {more} bytes"), &found, &expected)?;
            }
            program.write("config", 0, [-(most + 1), act.into()])?;
            send_all(bed, &[Probe::new(1, 0)])?;
            refused += 1;
            wait_until(&format!("{flags}: {} bytes are refused", most + 1), || {
                Ok(program.read::<u64>("refused", 0)? == refused)
            })?;
        }
    }
    let (_, b) = settle(bed)?;
    b.check_verdicts()
}

/// Attaching with an MTU above `most` is refused, and with it the MTU cannot be raised beyond.
fn expect_mtu(
    port: &Port,
    program: &Program,
    most: usize,
    reason: &str,
    errno: Errno,
) -> Result<()> {
    if most < MTU_MAX {
        port.set_mtu(most + 1)?;
        port.attach_refused(
            Some(program),
            XDP_FLAGS_DRV_MODE,
            None,
            errno,
            &format!("{reason}, so the MTU may be at most {most}"),
        )?;
    }
    port.set_mtu(most)?;
    port.attach(program)?;
    let text = port.ip_link_set_refusal(&format!("mtu {}", most + 1))?;
    ensure!(
        text.contains("mtu greater than device maximum"),
        "mtu {}: refused with \"{text}\"",
        most + 1
    );
    port.detach()
}

case!(ports "switches::mtu", "", mtu);
/// The largest MTU with a program, and the frames that get through with it.
fn mtu(bed: &Bed) -> Result<()> {
    let plain = Program::load("count", "count_pass")?;
    let frags = Program::load("count", "count_pass_frags")?;
    let (no_support, no_frags) = (
        "the program has no frags support",
        "there is no multi-buffer XDP",
    );

    bed.a.set_mtu(JUMBO)?;
    bed.up()?;
    for (flag, limit) in [
        ("", SINGLE_MTU),
        ("xdp-mtu-1500", 1500),
        ("xdp-mtu-2034", 2034),
        ("xdp-mtu-3046", SINGLE_MTU.min(3046)),
        ("", SINGLE_MTU),
    ] {
        if flag.is_empty() {
            off(&bed.b, "xdp-mtu-3046")?;
        } else {
            on(&bed.b, flag)?;
        }
        expect_mtu(&bed.b, &plain, limit, no_support, Errno::EOPNOTSUPP)?;
        expect_mtu(&bed.b, &frags, MTU_MAX, "", Errno::EOPNOTSUPP)?;
        on(&bed.b, "xdp-no-frags")?;
        let features = bed.b.ns.enter(|| netdev::xdp_features(bed.b.ifindex))?;
        ensure_eq!(features & NETDEV_XDP_ACT_RX_SG, 0, "{flag}: RX_SG");
        expect_mtu(&bed.b, &plain, limit, no_support, Errno::EOPNOTSUPP)?;
        expect_mtu(&bed.b, &frags, limit, no_frags, Errno::EOPNOTSUPP)?;

        // The longest frame gets through, with both programs and without.
        bed.b.set_mtu(limit)?;
        for program in [Some(&frags), Some(&plain), None] {
            let tap = Tap::open(&bed.b)?;
            let probe = Probe::new(1, 0).len(limit + ETH);
            match program {
                Some(program) => bed.b.attach(program)?,
                None => bed.b.detach()?,
            }
            send_all(bed, std::slice::from_ref(&probe))?;
            ensure_same(flag, &tap.only()?, &probe.frame())?;
        }
        off(&bed.b, "xdp-no-frags")?;
    }
    // As the driver of that card says it.
    on(&bed.b, "personality-i40e")?;
    expect_mtu(
        &bed.b,
        &plain,
        SINGLE_MTU.min(3046),
        no_support,
        Errno::EINVAL,
    )?;
    settle(bed).map(drop)
}

case!(ports "switches::no_frags_of_a_program_that_is_there", "", no_frags_later);
/// The switch may come when a program with frags support is attached already and the MTU is large:
/// the program stays, and sees no multi-buffer frames from then on.
fn no_frags_later(bed: &Bed) -> Result<()> {
    let program = Program::load("count", "count_pass_frags")?;
    let large = Probe::new(1, 0).len(JUMBO);
    let small = Probe::new(1, 1);

    for port in [&bed.a, &bed.b] {
        port.set_mtu(JUMBO)?;
    }
    bed.b.attach(&program)?;
    bed.up()?;
    send_all(bed, &[large.clone(), small.clone()])?;
    bed.b.wait_received(2)?;
    ensure_eq!(program.seen()?, 2, "frames that the program saw");
    on(&bed.b, "xdp-no-frags")?;
    send_all(bed, &[large.clone(), small.clone()])?;
    bed.b.wait_received(4)?;
    off(&bed.b, "xdp-no-frags")?;
    send_all(bed, &[large, small])?;
    bed.b.wait_received(6)?;
    ensure_eq!(program.seen()?, 5, "frames that the program saw");
    let (_, b) = settle(bed)?;
    b.counters
        .expect_rx("B", &[("xdp_pass", 5), ("xdp_no_frags", 1)])
}

case!(ports "switches::hints", "", hints);
/// Which metadata netlink says that there is, and what the kernel answers a program that was loaded
/// with the switch on.
fn hints(bed: &Bed) -> Result<()> {
    const NONE: i32 = -(Errno::EOPNOTSUPP as i32);
    let kinds = [
        ("xdp-no-hint-timestamp", NETDEV_XDP_RX_METADATA_TIMESTAMP),
        ("xdp-no-hint-hash", NETDEV_XDP_RX_METADATA_HASH),
        ("xdp-no-hint-vlan", NETDEV_XDP_RX_METADATA_VLAN_TAG),
    ];
    let all = kinds.iter().fold(0, |all, (_, bit)| all | bit);

    bed.up()?;
    for without in 0..8 {
        let mut expected = all;
        for (n, (flag, bit)) in kinds.into_iter().enumerate() {
            if (without >> n) & 1 != 0 {
                on(&bed.b, flag)?;
                expected &= !bit;
            } else {
                off(&bed.b, flag)?;
            }
        }
        let (found, _) = bed.b.ns.enter(|| netdev::xdp_extras(bed.b.ifindex))?;
        ensure_eq!(found, expected, "metadata of the port");

        let bound = Bound::load(&bed.b, "hints")?;
        bed.b
            .try_attach_fd(Some(bound.fd()), XDP_FLAGS_DRV_MODE, None)?
            .context("attaching a program to the port that it is bound to")?;
        let received = bed.b.link()?.stat("rx_packets")?;
        send_all(bed, &[Probe::new(1, 0)])?;
        bed.b.wait_received(received + 1)?;
        let [_, _, _, _, errors, vlan, _]: [u64; 7] = bound.array("hint_last")?.get(&0, 0)?;
        let answers = [errors as i32, (errors >> 32) as i32, vlan as i32];
        for (n, answer) in answers.into_iter().enumerate() {
            // The frame has no tag, which is another answer.
            ensure_eq!(
                answer == NONE,
                (without >> n) & 1 != 0,
                "{}: answer {answer}",
                kinds[n].0
            );
        }
        bed.b.detach()?;
    }
    settle(bed).map(drop)
}

case!(ports "switches::xsk", "queues=2", xsk);
/// AF_XDP sockets are refused zero-copy, or multi-buffer frames with it; those that are bound stay.
fn xsk(bed: &Bed) -> Result<()> {
    let bind = |queue, mode, sg| -> Result<Result<Socket, Errno>> {
        let setup = Setup {
            mode,
            sg,
            ..Setup::default()
        };
        let socket = Socket::unbound(&bed.b, setup)?;
        Ok(socket.bind(&bed.b, queue).map(|()| socket))
    };

    bed.up()?;
    let first = bind(0, Mode::ZeroCopy, true)??;
    on(&bed.b, "xsk-no-frags")?;
    let segments = bed.b.ns.enter(|| netdev::zc_max_segments(bed.b.ifindex))?;
    ensure_eq!(segments, 1, "buffers of a frame of a socket");
    ensure_eq!(
        bind(1, Mode::ZeroCopy, true)?.err(),
        Some(Errno::EOPNOTSUPP),
        "zero-copy with frags"
    );
    drop(bind(1, Mode::ZeroCopy, false)??);
    on(&bed.b, "xsk-no-zerocopy")?;
    let features = bed.b.ns.enter(|| netdev::xdp_features(bed.b.ifindex))?;
    ensure_eq!(features & NETDEV_XDP_ACT_XSK_ZEROCOPY, 0, "XSK_ZEROCOPY");
    wait_free(&bed.b, 1)?;
    ensure_eq!(
        bind(1, Mode::ZeroCopy, false)?.err(),
        Some(Errno::EOPNOTSUPP),
        "zero-copy"
    );
    drop(bind(1, Mode::Copy, true)??);
    drop(first);
    for flag in ["xsk-no-zerocopy", "xsk-no-frags"] {
        off(&bed.b, flag)?;
    }
    wait_free(&bed.b, 1)?;
    drop(bind(1, Mode::ZeroCopy, true)??);
    Ok(())
}

case!(ports "switches::xsk_tx_metadata", "queues=1", tx_metadata);
/// What a socket requests for a frame is done or ignored, also if the switch changes while it is
/// bound.
fn tx_metadata(bed: &Bed) -> Result<()> {
    const START: usize = 34;
    const OFFSET: usize = 6;
    let setup = Setup {
        metadata: 24,
        mode: Mode::ZeroCopy,
        ..Setup::default()
    };
    let request = |flags, launch_time| Request {
        flags,
        csum_start: START as u16,
        csum_offset: OFFSET as u16,
        launch_time,
    };
    let features =
        || Ok::<_, anyhow::Error>(bed.a.ns.enter(|| netdev::xdp_extras(bed.a.ifindex))?.1);

    bed.up()?;
    let all = features()?;
    ensure!(all != 0, "nothing can be requested");
    let tap = Tap::open(&bed.b)?;
    let mut socket = XskTx::open(&bed.a, 0, setup)?;
    for (seq, switch) in (0..).zip([false, true, false, true]) {
        let what = format!("step {seq}, switch {switch}");
        let frame = Probe::new(1, seq).frame();
        let mut expected = frame.clone();

        if switch {
            on(&bed.a, "xsk-no-tx-metadata")?;
            ensure_eq!(features()?, 0, "{what}: features");
        } else {
            off(&bed.a, "xsk-no-tx-metadata")?;
            ensure_eq!(features()?, all, "{what}: features");
            let sum = checksum::field(&[&frame[START..]]);
            expected[START + OFFSET..][..2].copy_from_slice(&sum.to_be_bytes());
        }
        let addr = socket.queue(&frame, Some(request(CHECKSUM | TIMESTAMP, 0)))?;
        let before = socket.timestamp(addr);
        socket.flush()?;
        ensure_eq!(
            socket.timestamp(addr) == before,
            switch,
            "{what}: the time of sending is not there"
        );
        expect_frame(&tap, &what, &expected)?;
        if switch {
            let frame = Probe::new(2, seq).frame();
            socket.queue(&frame, Some(request(LAUNCH_TIME, tai()? + FOR_EVER)))?;
            socket.flush()?;
            expect_frame(&tap, &format!("{what}: a launch time"), &frame)?;
        }
    }
    tap.silence()?;
    settle(bed).map(drop)
}
