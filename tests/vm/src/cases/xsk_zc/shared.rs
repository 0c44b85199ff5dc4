// SPDX-License-Identifier: GPL-2.0

//! One umem for several sockets: of two ports, of two queues, of one queue.

use super::{wake_tx, zero_copy};
use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{ensure_eq, wait_until},
    support::{
        probes::{assorted, check_flows},
        steer::{Chain, Steer},
        traffic::settle,
        xsk::steer_to,
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        xsk::socket::{Setup, Socket},
    },
};
use anyhow::{ensure, Context, Result};

/// Hands the frames of one socket to another one, which has the same buffers, until there were
/// `count`. What is sent goes back to the first one's fill ring.
fn forward(from: &Socket, to: &Socket, count: usize) -> Result<()> {
    let chunk = from.setup.chunk as u64;
    let (mut taken, mut sent) = (0, 0);

    wait_until("all frames are forwarded", || {
        while let Some(desc) = from.take() {
            to.tx().push(desc.into());
            taken += 1;
        }
        wake_tx(to)?;
        for addr in to.completed() {
            from.fill.push([addr - addr % chunk]);
            sent += 1;
        }
        Ok(sent == count)
    })?;
    ensure_eq!(taken, count, "frames received, against frames sent");
    Ok(())
}

case!(ports "xsk_zc::umem_of_two_ports", "queues=1 pairs=2", two_ports);
/// Frames are forwarded from port to port of two pairs, and stay where they are in memory.
fn two_ports(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let probes = assorted(verdict::PASS);
    let first = Socket::open(&chain.first.b, 0, zero_copy())?;
    let second = Socket::share(&first, &chain.second.a, 0, zero_copy())?;
    let sockets = [&first, &second];
    let ports = [&chain.first.b, &chain.second.a];
    let outer = [&chain.first.a, &chain.second.b];

    ensure!(second.is_zero_copy()?, "the second socket");
    let _steers = [
        steer_to(ports[0], 0, sockets[0])?,
        steer_to(ports[1], 0, sockets[1])?,
    ];
    chain.up()?;
    // Half of the buffers each.
    for n in 0..first.setup.buffers {
        sockets[n as usize % 2].fill.push([first.buffer(n)]);
    }
    for socket in sockets {
        socket.wake_rx()?;
    }

    for _ in 0..20 {
        for way in 0..2 {
            let tap = Tap::open(outer[1 - way])?;

            Sender::open(outer[way])?.send_in_order(probes.iter().cloned())?;
            forward(sockets[way], sockets[1 - way], probes.len())?;
            ensure_eq!(tap.probes(probes.len())?, probes, "forwarded frames");
        }
    }
    // One of them goes; the other one keeps the memory, and goes on.
    drop(first);
    let tap = Tap::open(&chain.second.b)?;
    for probe in &probes {
        second.put(1, &probe.frame());
        wait_until("it is sent", || {
            wake_tx(&second)?;
            Ok(second.completed().len() == 1)
        })?;
    }
    ensure_eq!(tap.probes(probes.len())?, probes, "frames of the second");
    for bed in [&chain.first, &chain.second] {
        settle(bed)?;
    }
    Ok(())
}

case!(ports "xsk_zc::umem_of_two_queues", "queues=2", two_queues);
/// Two queues of a port with one umem, each with rings of its own.
fn two_queues(bed: &Bed) -> Result<()> {
    const FLOWS: u32 = 32;
    let first = Socket::open(&bed.b, 0, zero_copy())?;
    let second = Socket::share(&first, &bed.b, 1, zero_copy())?;
    let mut steer = Steer::load()?;

    for (socket, queue) in [(&first, 0), (&second, 1)] {
        steer.socket(queue, socket)?;
    }
    steer.by_socket()?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    for n in 0..first.setup.buffers {
        [&first, &second][n as usize % 2]
            .fill
            .push([first.buffer(n)]);
    }
    for socket in [&first, &second] {
        socket.wake_rx()?;
    }
    for flow in 0..FLOWS {
        Sender::open(&bed.a)?.send(&Probe::new(flow, flow).frame())?;
    }

    let mut flows = Vec::new();
    let mut each = [0; 2];
    wait_until("a frame of each flow arrives", || {
        for (socket, count) in [&first, &second].into_iter().zip(&mut each) {
            while let Some((probe, _)) = socket.take_probe()? {
                flows.push((probe.flow, probe.seq));
                *count += 1;
            }
        }
        Ok(flows.len() >= FLOWS as usize)
    })?;
    ensure!(
        each.iter().all(|count| *count > 0),
        "frames of each queue: {each:?}"
    );
    flows.sort_unstable();
    ensure_eq!(
        flows,
        (0..FLOWS).map(|n| (n, n)).collect::<Vec<_>>(),
        "flows in both sockets"
    );
    settle(bed).map(drop)
}

case!(ports "xsk_zc::sockets_of_one_queue", "queues=1 ring_size=64", one_queue);
/// Several sockets send out of one queue, at once and with frames of others in between: each gets
/// through, in the order of each one's own, and all completions come to the one completion ring.
fn one_queue(bed: &Bed) -> Result<()> {
    const SOCKETS: usize = 4;
    const FRAMES: u32 = 300;

    bed.up()?;
    for sg in [false, true] {
        let setup = Setup {
            buffers: 2048,
            completion: 2048,
            sg,
            chunk: 4096,
            ..zero_copy()
        };
        let first = Socket::open(&bed.a, 0, setup)?;
        let others = (1..SOCKETS)
            .map(|_| Socket::share_queue(&first, &bed.a, 0, setup))
            .collect::<Result<Vec<_>>>()?;
        let sockets: Vec<_> = [&first].into_iter().chain(&others).collect();
        let tap = Tap::open(&bed.b)?;

        for seq in 0..FRAMES {
            for (flow, socket) in (0..).zip(&sockets) {
                socket.put(flow * FRAMES + seq, &Probe::new(flow, seq).frame());
            }
        }
        let total = SOCKETS * FRAMES as usize;
        let mut addresses = Vec::new();
        wait_until("everything is sent", || {
            for socket in &sockets {
                wake_tx(socket)?;
            }
            addresses.extend(first.completed());
            Ok(addresses.len() >= total)
        })?;
        addresses.sort_unstable();
        ensure_eq!(
            addresses,
            (0..total as u32)
                .map(|n| first.buffer(n))
                .collect::<Vec<_>>(),
            "completions"
        );
        let probes = tap.probes(total)?;
        check_flows(&probes, 0..SOCKETS as u32, FRAMES)?;
    }
    settle(bed).map(drop)
}

case!(ports "xsk_zc::socket_of_another_queue", "queues=2", another_queue);
/// A socket can only take frames of its own queue. Those of another one are lost and counted, and
/// their buffers are used again.
fn another_queue(bed: &Bed) -> Result<()> {
    let [own, other] = [0, 1].map(|queue| Socket::open(&bed.b, queue, zero_copy()));
    let (own, other) = (own?, other?);
    // More than there are buffers.
    let frames = 3 * own.setup.buffers;
    let mut steer = steer_to(&bed.b, 0, &other)?;

    bed.b.ethtool("-X", "equal 1")?;
    bed.up()?;
    for socket in [&own, &other] {
        socket.fill_all();
        socket.wake_rx()?;
    }
    Sender::open(&bed.a)?.send_flow(&Probe::new(1, 0), frames)?;
    bed.b.wait_received(frames.into())?;
    bed.b.counters()?.expect_rx(
        "B",
        &[("xdp_redirect", 0), ("xdp_redirect_errors", frames.into())],
    )?;
    ensure_eq!(own.rx().len() + other.rx().len(), 0, "frames in sockets");

    steer.socket(0, &own)?;
    let probes = assorted(verdict::PASS);
    Sender::open(&bed.a)?.send_in_order(probes.iter().cloned())?;
    for probe in &probes {
        wait_until("a frame arrives", || Ok(own.rx().len() > 0))?;
        let (found, desc) = own.take_probe()?.context("no descriptor")?;

        ensure_eq!(found, *probe, "frame");
        own.give_back(&desc);
    }
    settle(bed).map(drop)
}

case!(ports "xsk_zc::two_sockets_receive", "queues=1", two_receive);
/// Two sockets of one queue: the program says which of them gets a frame; the one that the map
/// does not have gets nothing, and closing it takes nothing from the other.
fn two_receive(bed: &Bed) -> Result<()> {
    let probes = assorted(verdict::PASS);
    let first = Socket::open(&bed.b, 0, zero_copy())?;
    let second = Socket::share_queue(&first, &bed.b, 0, zero_copy())?;
    let mut steer = Steer::load()?;

    steer.by_socket()?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    first.fill_all();
    first.wake_rx()?;
    let arrive = |port: &Port, socket: &Socket, steer: &mut Steer| -> Result<()> {
        steer.socket(0, socket)?;
        Sender::open(port)?.send_in_order(probes.iter().cloned())?;
        for probe in &probes {
            wait_until("a frame arrives", || Ok(socket.rx().len() > 0))?;
            let (found, desc) = socket.take_probe()?.context("no descriptor")?;

            ensure_eq!(found, *probe, "frame");
            socket.give_back(&desc);
        }
        Ok(())
    };
    for _ in 0..5 {
        arrive(&bed.a, &first, &mut steer)?;
        ensure_eq!(second.rx().len(), 0, "frames in the other socket");
        arrive(&bed.a, &second, &mut steer)?;
        ensure_eq!(first.rx().len(), 0, "frames in the other socket");
    }
    drop(second);
    arrive(&bed.a, &first, &mut steer)?;
    settle(bed).map(drop)
}
