// SPDX-License-Identifier: GPL-2.0

//! What can be seen of zero-copy from outside: the parent of the ports, the driver's messages, and
//! the counters.

use super::zero_copy;
use crate::{
    bed::Bed,
    harness::case,
    host::{ensure_eq, kmsg::Kmsg, module, netns::Netns, wait_until},
    nl::link::New,
    support::{
        qstats,
        traffic::settle,
        xsk::{steer_to, wait_free},
    },
    wire::{
        packet::Sender,
        probe::Probe,
        xsk::{
            socket::{Setup, Socket},
            tx::XskTx,
        },
    },
};
use anyhow::{ensure, Result};
use std::path::Path;

const PARENT: &str = "/sys/devices/faux/oxnic";

case!(ports "xsk_zc::parent_device", "queues=1", parent);
/// The ports have a parent for which the kernel can map memory for DMA, wherever and however they
/// were made. It goes with the module.
fn parent(bed: &Bed) -> Result<()> {
    let check = |ns: &Netns, name: &str| -> Result<()> {
        let path = ns.exec_with_sysfs(&format!("readlink -f /sys/class/net/{name}/device"))?;

        ensure_eq!(path.trim(), PARENT, "parent of {name}");
        Ok(())
    };

    check(&bed.a.ns, "ox0")?;
    check(&bed.b.ns, "ox1")?;
    bed.b.ns.enter(|| New::port().add("ox7"))?;
    check(&bed.b.ns, "ox7")?;
    let moved = bed.b.move_to(&bed.a.ns)?;
    check(&bed.a.ns, "ox1")?;
    moved.delete()?;
    module::unload()?;
    ensure!(!Path::new(PARENT).exists(), "{PARENT} is left");
    Ok(())
}

/// Waits for the lines of port B about pools, compares them, and forgets them.
fn expect_lines(log: &mut Kmsg, expected: &[&str]) -> Result<()> {
    let prefix = "oxnic ox1: ";
    let mut found = Vec::new();

    // A timeout is no error here: the comparison below says more.
    let _ = wait_until("the messages about a pool", || {
        found = log
            .starting_with(prefix)?
            .iter()
            .filter_map(|line| line.strip_prefix(prefix))
            .filter(|line| line.contains("XSK_POOL") || line.contains("buffers from"))
            .map(str::to_owned)
            .collect();
        Ok(found.len() >= expected.len())
    });
    ensure_eq!(found, expected, "messages about pools");
    log.forget()
}

case!(ports "xsk_zc::messages", "queues=2", messages);
/// The log says when a queue gets a pool and when it loses it, and which frames go to a socket.
fn messages(bed: &Bed) -> Result<()> {
    let mut log = Kmsg::from_now()?;
    let small = Setup {
        chunk: 4096,
        buffers: 256,
        ..zero_copy()
    };

    for up in [false, true] {
        if up {
            bed.up()?;
        }
        for (queue, setup, chunks) in [
            (0, zero_copy(), "512 chunks of 2048 bytes"),
            (1, small, "256 chunks of 4096 bytes"),
        ] {
            let socket = Socket::open(&bed.b, queue, setup)?;

            expect_lines(
                &mut log,
                &[
                    &format!("ndo_bpf: XDP_SETUP_XSK_POOL, queue {queue}, {chunks}"),
                    &format!("rx_ring[{queue}]: zero-copy, buffers from the fill ring"),
                ],
            )?;
            drop(socket);
            expect_lines(
                &mut log,
                &[
                    &format!("ndo_bpf: XDP_SETUP_XSK_POOL, queue {queue}, no pool"),
                    &format!("rx_ring[{queue}]: buffers from the page_pool"),
                ],
            )?;
        }
    }

    // In copy mode the driver hears nothing of it.
    drop(Socket::open(&bed.b, 0, Setup::default())?);
    wait_free(&bed.b, 0)?;
    expect_lines(&mut log, &[])?;

    let socket = Socket::open(&bed.b, 0, zero_copy())?;
    let steer = steer_to(&bed.b, 0, &socket)?;
    let map = steer.program.map_id("sockets")?;
    bed.b.ethtool("-X", "equal 1")?;
    socket.fill_all();
    socket.wake_rx()?;
    bed.b.msglvl("rx_status on")?;
    Sender::open(&bed.a)?.send(&Probe::new(1, 0).frame())?;
    let target = format!("xdp_do_redirect: xskmap id {map}, key 0");
    wait_until("the log says where the frame goes", || {
        Ok(log
            .starting_with("oxnic ox1: ")?
            .iter()
            .any(|line| line.ends_with(&target)))
    })?;
    wait_until("it arrives", || Ok(socket.rx().len() > 0))?;
    bed.b.msglvl("rx_status off drv off")?;
    bed.b.detach()?;
    log.forget()?;
    drop(socket);
    wait_free(&bed.b, 0)?;
    expect_lines(&mut log, &[])
}

case!(ports "xsk_zc::counters", "queues=2", counters);
/// Each queue counts what sockets send and receive, in frames and bytes; the statistics of the link
/// and of the queues have them too.
fn counters(bed: &Bed) -> Result<()> {
    const FRAMES: [u32; 2] = [30, 50];

    bed.b.ethtool("-X", "equal 1")?;
    bed.up()?;
    let receiver = Socket::open(&bed.b, 0, zero_copy())?;
    let _steer = steer_to(&bed.b, 0, &receiver)?;
    receiver.fill_all();
    receiver.wake_rx()?;
    for (queue, count) in (0..).zip(FRAMES) {
        let mut sender = XskTx::open(&bed.a, queue, zero_copy())?;

        for seq in 0..count {
            sender.queue(&Probe::new(queue, seq).len(200).frame(), None)?;
        }
        sender.flush()?;
        // Too short to be a frame.
        sender.queue(&[0; 10], None)?;
        sender.flush()?;
    }
    let total: u32 = FRAMES.iter().sum();
    bed.b.wait_received(total.into())?;
    let (a, b) = settle(bed)?;
    ensure_eq!(
        (
            a.counters.tx_each("xsk_packets")?,
            a.counters.tx_each("xsk_bytes")?,
            a.counters.tx_each("xsk_errors")?
        ),
        (
            FRAMES.map(u64::from).to_vec(),
            FRAMES.map(|n| 200 * u64::from(n)).to_vec(),
            vec![1, 1]
        ),
        "A: frames, bytes and errors of each queue"
    );
    ensure_eq!(
        b.counters.rx_each("xsk_packets")?,
        [u64::from(total), 0],
        "B: frames received into a socket's buffers"
    );
    ensure_eq!(
        b.counters.rx_each("xdp_redirect")?,
        [u64::from(total), 0],
        "B: frames given to a socket"
    );
    [&bed.a, &bed.b].into_iter().try_for_each(qstats::check)
}
