// SPDX-License-Identifier: GPL-2.0

//! Time stamps of the card for sockets (`SO_TIMESTAMPING`): which frames get one, and when it was.

use crate::{
    bed::{Bed, V4, V4_VLAN, V6},
    bpf::{Bound, Program},
    harness::case,
    host::{
        clock::{tai, TaiOffset},
        ensure_eq,
        hwtstamp::{rx_filter, tx_type, Config},
        kmsg::Kmsg,
    },
    nl::{ethtool::set_tsconfig, link::XDP_FLAGS_DRV_MODE, Refused},
    support::{
        buffers::JUMBO,
        held::Held,
        hwtstamp::{check, ONE_STEP_REFUSED},
        large::{self, Large},
        probes::set_mtu,
        traffic::{settle, settle_wire},
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        stamps::{self, Message},
        stream::{data, ensure_data, udp},
    },
};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use std::net::{SocketAddr, UdpSocket};

const ONE: &str = "queues=1";
const SMALL: &str = "queues=1 ring_size=64";
const NUMBER: u16 = 7777;

/// IPv4 on both ports, with neighbours known: nothing but what the test sends is on the wire.
fn up_with_v4(bed: &Bed) -> Result<()> {
    for (port, address) in [(&bed.a, V4[0]), (&bed.b, V4[1])] {
        port.add_address(&format!("{address}/24"))?;
    }
    bed.up()?;
    bed.a.add_neighbour(V4[1], &bed.b.mac()?)?;
    bed.b.add_neighbour(V4[0], &bed.a.mac()?)
}

/// Sockets at port A and port B.
fn sockets(bed: &Bed) -> Result<(UdpSocket, UdpSocket)> {
    Ok((udp(&bed.a, V4[0], 0)?, udp(&bed.b, V4[1], NUMBER)?))
}

fn to(address: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse()?, NUMBER))
}

/// Sends datagrams with the numbers from `first` on.
fn send_numbers(near: &UdpSocket, address: &str, first: usize, count: usize) -> Result<()> {
    let to = to(address)?;

    (first..first + count).try_for_each(|n| {
        near.send_to(&data(n as u32, 100), to)
            .with_context(|| format!("datagram {n}"))
            .map(drop)
    })
}

/// The stamps are those of the datagrams from number `first` on, in order.
fn expect_numbers(stamps: &[Message], first: usize) -> Result<()> {
    let found: Vec<_> = stamps.iter().map(|stamp| stamp.id).collect();
    let expected: Vec<_> = (first..first + stamps.len())
        .map(|n| Some(n as u32))
        .collect();

    ensure_eq!(found, expected, "numbers of the datagrams with stamps");
    Ok(())
}

case!(ports "hwtstamp::settings_by_ioctl", "", settings; allow(&[ONE_STEP_REFUSED]));
/// Every filter becomes the one for all frames. What is refused changes nothing.
fn settings(bed: &Bed) -> Result<()> {
    let mut last = Config::OFF;
    let filters = rx_filter::NONE..=rx_filter::NTP_ALL;

    ensure_eq!(Config::of(&bed.b)?, last, "B at first");
    for filter in filters.chain([rx_filter::NONE]) {
        for tx_type in [tx_type::ON, tx_type::OFF] {
            let wanted = Config::new(tx_type, filter);
            let found = wanted.set(&bed.b)?;

            last = Config::new(tx_type, filter.min(rx_filter::ALL));
            ensure_eq!(found, last, "answer to {wanted:?}");
            ensure_eq!(Config::of(&bed.b)?, last, "after {wanted:?}");
        }
    }

    last = Config::BOTH.set(&bed.b)?;
    for (tx_type, filter, flags, errno, reason) in [
        (
            tx_type::ONESTEP_SYNC,
            rx_filter::NONE,
            0,
            Errno::ERANGE,
            Some(ONE_STEP_REFUSED),
        ),
        (
            tx_type::ONESTEP_P2P,
            rx_filter::ALL,
            0,
            Errno::ERANGE,
            Some(ONE_STEP_REFUSED),
        ),
        // These do not get as far as the driver.
        (tx_type::UNKNOWN, rx_filter::NONE, 0, Errno::ERANGE, None),
        (tx_type::OFF, rx_filter::UNKNOWN, 0, Errno::ERANGE, None),
        (tx_type::OFF, rx_filter::NONE, 2, Errno::EINVAL, None),
    ] {
        let mut log = Kmsg::from_now()?;
        let wanted = Config {
            flags,
            ..Config::new(tx_type, filter)
        };

        ensure_eq!(wanted.try_set(&bed.b)?, Err(errno), "answer to {wanted:?}");
        ensure_eq!(Config::of(&bed.b)?, last, "after {wanted:?}");
        let said: Vec<_> = log.lines()?.iter().map(|line| line.text.clone()).collect();
        ensure!(
            reason.is_none_or(|reason| said.iter().any(|line| line.ends_with(reason))),
            "{wanted:?}: expected \"{reason:?}\" in the log, found {said:?}"
        );
    }
    ensure_eq!(Config::of(&bed.a)?, Config::OFF, "A");
    Ok(())
}

case!(ports "hwtstamp::settings_by_netlink", "", by_netlink; allow(&[ONE_STEP_REFUSED]));
/// Without a PTP clock, the kernel sets what it is told to, and then finds that it cannot say so.
fn by_netlink(bed: &Bed) -> Result<()> {
    const PTP_V2_EVENT: i32 = 12;
    let refusal = |tx_type: Option<i32>, filter: Option<i32>| -> Result<Refused> {
        let number = |value: Option<i32>| value.map(u32::try_from).transpose();
        let result = set_tsconfig(&bed.b, number(tx_type)?, number(filter)?);

        result
            .err()
            .context("the kernel has an answer")?
            .downcast::<Refused>()
    };

    for (tx_type, filter, expected) in [
        (Some(tx_type::ON), Some(rx_filter::ALL), Config::BOTH),
        (None, Some(rx_filter::NONE), Config::TX),
        (None, Some(PTP_V2_EVENT), Config::BOTH),
        (Some(tx_type::OFF), None, Config::RX),
    ] {
        let what = format!("tx_type {tx_type:?}, rx_filter {filter:?}");
        let refused = refusal(tx_type, filter)?;

        ensure_eq!(refused.errno, Errno::ENODEV, "{what}");
        ensure_eq!(
            refused.reason,
            "error while reading the new configuration set",
            "{what}"
        );
        ensure_eq!(Config::of(&bed.b)?, expected, "after {what}");
    }
    let said = bed.b.ethtool_refusal("--get-hwtimestamp-cfg", "")?;
    ensure!(
        said.contains("No such device"),
        "--get-hwtimestamp-cfg: {said}"
    );

    for (tx_type, filter) in [
        (tx_type::ONESTEP_SYNC, None),
        (tx_type::ONESTEP_P2P, Some(rx_filter::NONE)),
    ] {
        let what = format!("tx_type {tx_type}, rx_filter {filter:?}");
        let refused = refusal(Some(tx_type), filter)?;

        ensure_eq!(refused.errno, Errno::ERANGE, "{what}");
        ensure_eq!(refused.reason, ONE_STEP_REFUSED, "{what}");
        ensure_eq!(Config::of(&bed.b)?, Config::RX, "after {what}");
    }
    Ok(())
}

case!(ports "hwtstamp::settings_stay", "queues=2", stay);
/// A port keeps them whatever else happens to it.
fn stay(bed: &Bed) -> Result<()> {
    Config::BOTH.set(&bed.b)?;
    bed.up()?;
    bed.b.down()?;
    bed.b.up()?;
    bed.b.ethtool("-G", "rx 256")?;
    bed.b.ethtool("-L", "combined 1")?;
    bed.b.ethtool("-K", "rxhash off")?;
    bed.b.set_mtu(4000)?;
    bed.up()?;
    check(bed, "1 1")?;

    let moved = Bed {
        a: bed.a.clone(),
        b: bed.b.move_to(&bed.a.ns)?,
    };
    ensure_eq!(Config::of(&moved.b)?, Config::BOTH, "in another namespace");
    moved.up()?;
    check(&moved, "1 1")
}

case!(ports "hwtstamp::receive", "", receive);
/// Frames in one buffer and in several, with a tag that is stripped, with a program and without:
/// all that go to the stack are stamped, and none if the port is not told to.
fn receive(bed: &Bed) -> Result<()> {
    let _apart = TaiOffset::set(37)?;

    set_mtu(bed, JUMBO)?;
    bed.up_with_addresses()?;
    bed.add_vlans()?;
    let pairs = [V4, V6, V4_VLAN]
        .iter()
        .map(|[near, far]| {
            let far_socket = udp(&bed.b, far, NUMBER)?;

            stamps::request(&far_socket, stamps::RX.union(stamps::RX_SOFTWARE))?;
            Ok((udp(&bed.a, near, 0)?, far_socket, to(far)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let check = |when: &str, stamped: bool| {
        for (near, far, address) in &pairs {
            for len in [1, 1000, JUMBO - 100] {
                let what = format!("{when}: {len} bytes to {address}");
                let payload = data(len as u32, len);
                let from = tai()?;
                near.send_to(&payload, address)?;
                let message = stamps::received(far).context(what.clone())?;

                ensure_data(&what, &message.data, &payload)?;
                ensure!(message.software != 0, "{what}: none of the kernel's clock");
                if stamped {
                    message.expect_between(&what, from, tai()?)?;
                } else {
                    ensure_eq!(message.hardware, 0, "{what}");
                }
            }
        }
        Ok::<_, anyhow::Error>(())
    };

    check("at first", false)?;
    Config::RX.set(&bed.b)?;
    check("on", true)?;
    Config::OFF.set(&bed.b)?;
    check("off", false)?;

    bed.b.attach(&Program::load("count", "count_pass_frags")?)?;
    check("off, with a program", false)?;
    Config::RX.set(&bed.b)?;
    check("on, with a program", true)?;
    Config::TX.set(&bed.b)?;
    check("off again", false)?;
    // What the sender does is its own affair.
    Config::BOTH.set(&bed.a)?;
    check("on at the other end", false)
}

case!(ports "hwtstamp::same_as_that_of_a_program", ONE, same);
/// The stamp of a frame is the hint that a program gets, to the nanosecond. A hint alone is not for
/// sockets.
fn same(bed: &Bed) -> Result<()> {
    up_with_v4(bed)?;
    let (near, far) = sockets(bed)?;
    stamps::request(&far, stamps::RX)?;
    let bound = Bound::load(&bed.b, "hints")?;
    bed.b
        .try_attach_fd(Some(bound.fd()), XDP_FLAGS_DRV_MODE, None)??;
    let hints = bound.array::<[u64; 7]>("hint_last")?;
    let about = |n: usize| -> Result<(u64, u64)> {
        send_numbers(&near, V4[1], n, 1)?;
        let stamp = stamps::received(&far)?.hardware;
        let [frames, _, hint, ..] = hints.get(&0, 0)?;

        ensure_eq!(frames, n as u64 + 1, "frames that the program saw");
        Ok((hint, stamp))
    };
    let mut n = 0;

    for on in [false, true, false] {
        if on { Config::RX } else { Config::OFF }.set(&bed.b)?;
        for _ in 0..3 {
            let (hint, stamp) = about(n)?;

            n += 1;
            ensure!(hint != 0, "frame {n}: no hint");
            ensure_eq!(stamp, if on { hint } else { 0 }, "frame {n}: stamp");
        }
    }
    // Without the program, the socket's stamps go on.
    Config::RX.set(&bed.b)?;
    bed.b.detach()?;
    let from = tai()?;
    send_numbers(&near, V4[1], n, 1)?;
    stamps::received(&far)?.expect_between("without the program", from, tai()?)
}

case!(ports "hwtstamp::transmit", "", transmit);
/// The sender gets one stamp of each frame, and the frame with it. It was sent before it arrived.
fn transmit(bed: &Bed) -> Result<()> {
    let _apart = TaiOffset::set(37)?;
    let both = stamps::TX.union(stamps::TX_SOFTWARE);
    let mut n = 0;

    set_mtu(bed, JUMBO)?;
    up_with_v4(bed)?;
    let (near, far) = sockets(bed)?;
    stamps::request(&far, stamps::RX)?;
    stamps::request(&near, both.union(stamps::OPT_ID))?;
    Config::RX.set(&bed.b)?;
    for on in [false, true, false] {
        if on { Config::TX } else { Config::OFF }.set(&bed.a)?;
        for len in [1, 1000, JUMBO - 100, 3] {
            let what = format!("on: {on}, {len} bytes");
            let payload = data(n, len);
            let from = tai()?;
            near.send_to(&payload, to(V4[1])?)?;
            let stamp = stamps::only_sent(&near).context(what.clone())?;
            let arrived = stamps::received(&far).context(what.clone())?;

            ensure_data(&what, &arrived.data, &payload)?;
            ensure!(
                stamp.data.ends_with(&payload) && stamp.data.len() == payload.len() + 42,
                "{what}: it comes with {} bytes: {:02x?}",
                stamp.data.len(),
                &stamp.data[..stamp.data.len().min(64)]
            );
            ensure_eq!(stamp.id, Some(n), "{what}: number of the datagram");
            if on {
                stamp.expect_between(&what, from, arrived.hardware)?;
                ensure_eq!(stamp.software, 0, "{what}: by the kernel's clock");
            } else {
                ensure_eq!(stamp.hardware, 0, "{what}: by the card's clock");
                ensure!(stamp.software != 0, "{what}: none of the kernel's clock");
            }
            n += 1;
        }
    }

    Config::TX.set(&bed.a)?;
    stamps::request(&near, both.union(stamps::OPT_TX_SWHW))?;
    near.send_to(b"x", to(V4[1])?)?;
    let two = stamps::sent(&near, 2)?;
    for kind in [
        |stamp: &Message| stamp.software != 0 && stamp.hardware == 0,
        |stamp: &Message| stamp.software == 0 && stamp.hardware != 0,
    ] {
        ensure!(
            two.iter().filter(|stamp| kind(stamp)).count() == 1,
            "one of each clock was asked for: {two:?}"
        );
    }
    stamps::request(&near, stamps::TX_SOFTWARE)?;
    near.send_to(b"x", to(V4[1])?)?;
    let stamp = stamps::only_sent(&near)?;
    ensure!(
        stamp.software != 0 && stamp.hardware == 0,
        "one of the kernel's clock was asked for: {stamp:?}"
    );
    stamps::request(&near, stamps::Flags::empty())?;
    near.send_to(b"x", to(V4[1])?)?;
    settle(bed)?;
    ensure!(
        stamps::sent_by_now(&near)?.is_empty(),
        "a stamp that no one has asked for"
    );
    Ok(())
}

/// Checks that the stamps of these frames are of before this moment, or of after it.
fn expect_order(stamps: &[Message], at: u64, before: bool) -> Result<()> {
    for stamp in stamps {
        ensure!(
            stamp.hardware != 0 && (stamp.hardware < at) == before,
            "datagram {:?} is stamped {}; before {at}: expected {before}",
            stamp.id,
            stamp.hardware
        );
    }
    Ok(())
}

case!(ports "hwtstamp::frames_that_wait", SMALL, waiting);
/// A frame that waits for a buffer of the peer has the time when it got one.
fn waiting(bed: &Bed) -> Result<()> {
    const COUNT: usize = 100;

    up_with_v4(bed)?;
    Config::TX.set(&bed.a)?;
    let (near, _far) = sockets(bed)?;
    stamps::request(
        &near,
        stamps::TX.union(stamps::OPT_ID).union(stamps::OPT_TSONLY),
    )?;
    // Not to hang if the socket does not take them all.
    near.set_nonblocking(true)?;
    let held = Held::new(&bed.b, 0, || send_numbers(&near, V4[1], 0, 1))?;
    send_numbers(&near, V4[1], 1, COUNT - 1)?;

    let early = stamps::sent_by_now(&near)?;
    let counters = bed.a.counters()?;
    ensure!(counters.tx("stopped")? > 0, "no frame had to wait");
    ensure_eq!(
        early.len() as u64,
        counters.tx("packets")?,
        "stamps, against frames sent"
    );
    let released = tai()?;
    held.release(256)?;
    let late = stamps::sent(&near, COUNT - early.len())?;
    ensure!(!early.is_empty() && !late.is_empty(), "one kind only");
    expect_numbers(&early, 0)?;
    expect_numbers(&late, early.len())?;
    expect_order(&early, released, true)?;
    expect_order(&late, released, false)?;
    settle(bed).map(drop)
}

case!(ports "hwtstamp::large_frames", SMALL, large);
/// A frame that the port cuts has one stamp, that of its last segment.
fn large(bed: &Bed) -> Result<()> {
    const SEGMENTS: usize = 20;
    const FILL: u32 = 50;
    let frame = Large::new(SEGMENTS * 1000, 1000);

    Config::TX.set(&bed.a)?;
    bed.up()?;
    let sender = large::open(&bed.a)?;
    stamps::request(&sender, stamps::TX)?;
    let sent = || bed.a.counters()?.tx("packets");
    let from = tai()?;
    sender.send(&frame.frame())?;
    stamps::only_sent(&sender)?.expect_between("a large frame", from, tai()?)?;
    ensure_eq!(sent()?, SEGMENTS as u64, "frames sent");
    settle_wire(bed)?;

    let fill = Sender::open(&bed.a)?;
    let held = Held::new(&bed.b, 0, || fill.send(&Probe::new(1, 0).frame()))?;
    fill.send_flow(&Probe::new(1, 0), FILL)?;
    sender.send(&frame.frame())?;
    let before = SEGMENTS as u64 + 1 + u64::from(FILL);
    let now = sent()?;
    ensure!(
        before < now && now < before + SEGMENTS as u64,
        "{} of {SEGMENTS} segments were sent, and not a part of them",
        now - before
    );
    ensure!(
        stamps::sent_by_now(&sender)?.is_empty(),
        "a large frame has a stamp before its last segment was sent"
    );
    let released = tai()?;
    held.release(256)?;
    stamps::only_sent(&sender)?.expect_between("a large frame that waited", released, tai()?)?;
    settle_wire(bed)?;
    ensure_eq!(sent()?, before + SEGMENTS as u64, "frames sent in the end");
    ensure!(
        stamps::sent_by_now(&sender)?.is_empty(),
        "a large frame has a second stamp"
    );
    Ok(())
}

case!(ports "hwtstamp::lost_frames", SMALL, lost);
/// Frames that the peer loses were sent all the same.
fn lost(bed: &Bed) -> Result<()> {
    const COUNT: usize = 100;
    const STRANGER: &str = "10.77.0.9";

    up_with_v4(bed)?;
    bed.a.set_mtu(3000)?;
    bed.a.add_neighbour(STRANGER, &[2, 0, 0, 0, 0, 9])?;
    bed.a.ethtool("-A", "rx off tx off")?;
    Config::TX.set(&bed.a)?;
    let (near, _far) = sockets(bed)?;
    stamps::request(&near, stamps::TX.union(stamps::OPT_ID))?;
    near.set_nonblocking(true)?;
    let check = |what: &str, first: usize, count: usize, from: u64| {
        let stamps = stamps::sent(&near, count).context(what.to_owned())?;
        let to = tai()?;

        expect_numbers(&stamps, first)?;
        stamps
            .iter()
            .try_for_each(|stamp| stamp.expect_between(what, from, to))
    };

    let from = tai()?;
    let held = Held::new(&bed.b, 0, || send_numbers(&near, V4[1], 0, 1))?;
    send_numbers(&near, V4[1], 1, COUNT - 1)?;
    check("without a buffer", 0, COUNT, from)?;
    ensure!(
        bed.b.counters()?.rx("no_buffer")? > 0,
        "every frame found a buffer"
    );
    held.release(256)?;

    let from = tai()?;
    near.send_to(&data(1, 2500), to(V4[1])?)?;
    check("too long for the peer", COUNT, 1, from)?;
    ensure_eq!(bed.b.counters()?.rx("oversize")?, 1, "frames too long");

    let from = tai()?;
    send_numbers(&near, STRANGER, 0, 1)?;
    check("not for the peer", COUNT + 1, 1, from)?;
    ensure_eq!(
        bed.b.counters()?.dropped_by("mac_filter")?,
        1,
        "frames not for the peer"
    );
    settle_wire(bed).map(drop)
}

case!(ports "hwtstamp::frames_of_programs", ONE, of_programs);
/// Frames that programs send have no sender who would want a stamp; at the other end they are
/// received like any other.
fn of_programs(bed: &Bed) -> Result<()> {
    Config::BOTH.set(&bed.a)?;
    Config::BOTH.set(&bed.b)?;
    bed.b.attach(&Program::load("verdict", "verdict")?)?;
    bed.up()?;
    let tap = Tap::open(&bed.a)?;
    let sender = Sender::open(&bed.a)?;
    stamps::request(&tap, stamps::RX)?;
    stamps::request(&sender, stamps::TX)?;
    let probe = Probe::new(1, 0).verdict(verdict::TX);
    let from = tai()?;
    sender.send(&probe.frame())?;
    let back = stamps::received(&tap)?;
    ensure_eq!(
        Probe::parse(&back.data)?,
        Some(probe.reflected()),
        "the frame that comes back"
    );
    let there = stamps::only_sent(&sender)?;
    there.expect_between("on the way there", from, back.hardware)?;
    back.expect_between("on the way back", there.hardware, tai()?)?;
    settle(bed).map(drop)
}

case!(ports "hwtstamp::switched_again_and_again", "queues=2", switched);
/// A setting holds for the next frame.
fn switched(bed: &Bed) -> Result<()> {
    const ROUNDS: usize = 200;

    up_with_v4(bed)?;
    let (near, far) = sockets(bed)?;
    stamps::request(&near, stamps::TX.union(stamps::TX_SOFTWARE))?;
    stamps::request(&far, stamps::RX)?;
    for n in 0..ROUNDS {
        let (sends, receives) = (n % 2 == 0, n % 3 == 0);
        if sends { Config::TX } else { Config::OFF }.set(&bed.a)?;
        if receives { Config::RX } else { Config::OFF }.set(&bed.b)?;
        send_numbers(&near, V4[1], n, 1)?;
        let stamp = stamps::only_sent(&near)?;
        let arrived = stamps::received(&far)?;

        ensure_eq!(stamp.hardware != 0, sends, "round {n}: sent");
        ensure_eq!(arrived.hardware != 0, receives, "round {n}: received");
    }
    settle(bed).map(drop)
}
