// SPDX-License-Identifier: GPL-2.0

//! Ports, namespaces and the module go away while frames are in flight.

use crate::{
    bed::{Bed, Port, NS_A, NS_B, V4},
    bpf::{wait_freed, Program},
    harness::case,
    host::{
        cpus::free_deferred_skbs, ensure_eq, module, netns::Netns, repeat_until, wait_until,
        PATIENCE,
    },
    nl::netdev::{page_pools, PagePool},
    support::{
        polls::{poll_in_threads, slow_down},
        ports::{exchange, make_joined},
        traffic::{check_alive, settle_after_down, wait_flowing, while_sending, Source},
    },
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

const QUEUES: &str = "queues=4 ring_size=64";
/// How often programs and MTUs change while ports go down and up.
const CHANGES: usize = 8;

/// Two senders on each port that take errors.
fn both_ways(bed: &Bed) -> Vec<Source<'_>> {
    [&bed.a, &bed.b]
        .into_iter()
        .flat_map(|port| Source::new(port).may_fail().times(2))
        .collect()
}

case!(ports "teardown::down_and_up", QUEUES, down_and_up);
/// Every frame is accounted for whatever happens to the ports.
fn down_and_up(bed: &Bed) -> Result<()> {
    let (first, second) = (
        Program::load("count", "count_pass")?,
        Program::load("count", "count_drop")?,
    );

    for port in [&bed.a, &bed.b] {
        // Thousands of lines would push others out of the log.
        port.msglvl("drv off")?;
    }
    bed.up()?;
    while_sending(&both_ways(bed), |_| {
        let (stop, changes) = (AtomicBool::new(false), AtomicUsize::new(0));

        thread::scope(|scope| {
            let changer = scope.spawn(|| change(bed, [&first, &second], &stop, &changes));
            let toggled = toggle(bed, || {
                changes.load(Ordering::Relaxed) >= CHANGES || changer.is_finished()
            });

            stop.store(true, Ordering::Relaxed);
            changer
                .join()
                .map_err(|_| anyhow!("the changer panicked"))??;
            toggled
        })
    })?;

    bed.up()?;
    let (a, b) = settle_after_down(bed)?;
    for snapshot in [&a, &b] {
        snapshot
            .counters
            .expect_rx(&snapshot.name, &[("no_buffer", 0), ("skb_alloc_fail", 0)])?;
    }
    check_alive(bed)
}

/// Takes both ports down and up again: often enough, and on until `enough` else was done meanwhile
/// and each port has gone down with frames in flight.
fn toggle(bed: &Bed, enough: impl Fn() -> bool) -> Result<()> {
    const TIMES: usize = 20;
    let met_frames = |port: &Port| -> Result<bool> {
        let counters = port.counters()?;
        Ok(counters.rx("down")? + counters.tx("carrier")? > 0)
    };
    let toggle = |n| {
        for port in [&bed.a, &bed.b] {
            port.down()?;
            port.up()?;
        }
        if n % 4 == 0 {
            wait_flowing(bed, 100)?;
        }
        Ok(())
    };

    (0..TIMES).try_for_each(toggle)?;
    repeat_until(
        "enough is done, and each port goes down with frames under way",
        || toggle(0),
        || Ok(enough() && met_frames(&bed.a)? && met_frames(&bed.b)?),
    )
}

/// Attaches, replaces and detaches programs and changes the MTU, and counts how often.
fn change(
    bed: &Bed,
    programs: [&Program; 2],
    stop: &AtomicBool,
    changes: &AtomicUsize,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        for port in [&bed.a, &bed.b] {
            port.attach(programs[0])?;
            port.set_mtu(1400)?;
            port.attach(programs[1])?;
            port.set_mtu(3000)?;
            port.detach()?;
            changes.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

case!(ports "teardown::down_with_frames_in_the_ring", "queues=1 ring_size=512", down_full);
/// Frames in the ring of a port that goes down are lost and counted.
fn down_full(bed: &Bed) -> Result<()> {
    let slow = slow_down(&bed.b)?;
    let mut lost = 0;

    for _ in 0..3 {
        bed.up()?;
        poll_in_threads(&bed.b)?;
        let stopped = bed.a.counters()?.tx("stopped")?;
        let sources = Source::new(&bed.a).may_fail().times(3);
        while_sending(&sources, |_| {
            wait_until("the ring is full", || {
                Ok(bed.a.counters()?.tx("stopped")? > stopped)
            })?;
            bed.b.down()
        })?;

        let (_, b) = settle_after_down(bed)?;
        let now = b.counters.rx("down")?;
        ensure!(now > lost, "no frame was in the ring: nothing was tested");
        ensure_eq!(b.link.stat("rx_dropped")?, now, "B: rx_dropped");
        ensure_eq!(
            slow.seen()?,
            b.counters.rx("packets")?,
            "frames the program saw"
        );
        b.check_verdicts()?;
        lost = now;
    }
    bed.up()?;
    check_alive(bed)
}

fn attach_and_forget(port: &Port) -> Result<u32> {
    let program = Program::load("verdict", "verdict")?;

    port.attach(&program)?;
    Ok(program.id)
}

case!(ports "teardown::rmmod", QUEUES, rmmod);
/// The module goes while frames of all verdicts are in flight; senders get an error and none hangs.
fn rmmod(bed: &Bed) -> Result<()> {
    const TIMES: usize = 5;

    for n in 0..TIMES {
        if n > 0 {
            module::load(QUEUES)?;
        }
        let bed = if n > 0 {
            Bed {
                a: Port::moved("ox0", &bed.a.ns)?,
                b: Port::moved("ox1", &bed.b.ns)?,
            }
        } else {
            bed.clone()
        };
        let id = attach_and_forget(&bed.b)?;
        let tx = Probe::new(0, 0).verdict(verdict::TX);
        let sources: Vec<_> = both_ways(&bed)
            .into_iter()
            .chain(Source::new(&bed.a).probe(tx).may_fail().times(1))
            .collect();

        bed.up()?;
        while_sending(&sources, |traffic| {
            wait_flowing(&bed, 200)?;
            module::unload()?;
            ensure!(!module::is_loaded(), "the module is still there");
            traffic.wait_all_refused()
        })?;
        wait_freed(id)?;
    }
    Ok(())
}

case!(ports "teardown::namespace", QUEUES, namespace);
/// The ports are deleted with their namespace. The program sends frames back, so there is traffic
/// both ways without a socket in the namespace, which would keep it alive.
fn namespace(bed: &Bed) -> Result<()> {
    let id = attach_and_forget(&bed.b)?;
    let sources: Vec<_> = [verdict::TX, verdict::PASS, verdict::DROP]
        .into_iter()
        .map(|act| Source::new(&bed.a).probe(Probe::new(0, 0).verdict(act)))
        .collect();
    let mut bed = bed.clone();

    bed.up()?;
    // The sender's port stays up, so nothing is refused.
    while_sending(&sources, |traffic| {
        wait_flowing(&bed, 200)?;
        let b = bed.b.counters()?;
        ensure!(
            b.rx("xdp_tx")? > 0 && b.rx("xdp_pass")? > 0,
            "the program had not both kinds of traffic"
        );
        bed.b.ns.delete()?;
        wait_freed(id)?;
        // Sending goes on, without a receiver.
        let before = traffic.taken();
        wait_until("the senders go on", || Ok(traffic.taken() > before + 50))
    })?;
    bed.a.wait_running(false)?;

    Netns::create(NS_B)?;
    bed.b = make_joined(&bed.b.name, NS_B, &bed.a)?;
    bed.up()?;
    exchange(&bed, 100)
}

case!(ports "teardown::both_namespaces", QUEUES, both_namespaces);
/// Both ends leave their namespaces while frames are sent, then lose those that they are in at
/// once.
fn both_namespaces(bed: &Bed) -> Result<()> {
    let ids = [attach_and_forget(&bed.a)?, attach_and_forget(&bed.b)?];

    bed.up()?;
    while_sending(&both_ways(bed), |traffic| {
        wait_flowing(bed, 200)?;
        // The senders' sockets keep the namespaces; their ports are removed by hand.
        for port in [&bed.a, &bed.b] {
            port.to_ns(&Netns::initial())?;
        }
        traffic.wait_all_refused()
    })?;
    for port in [&bed.a, &bed.b] {
        port.ns.delete()?;
    }
    let initial = Netns::initial();
    for (name, id) in [("ox0", ids[0]), ("ox1", ids[1])] {
        let port = Port::find(&initial, name)?;
        ensure_eq!(port.link()?.xdp_driver_id, Some(id), "{name}");
    }
    let home = Bed {
        a: Port::moved("ox0", &Netns::create(NS_A)?)?,
        b: Port::moved("ox1", &Netns::create(NS_B)?)?,
    };
    home.up()?;
    check_alive(&home)?;

    for port in [&home.a, &home.b] {
        port.ns.delete()?;
    }
    ids.into_iter().try_for_each(wait_freed)
}

/// The pools that `port`'s namespace knows and that were not in `before`.
fn new_pools(port: &Port, before: &[PagePool]) -> Result<Vec<PagePool>> {
    free_deferred_skbs()?;
    let mut pools = port.ns.enter(page_pools)?;

    pools.retain(|pool| !before.iter().any(|old| old.id == pool.id));
    Ok(pools)
}

fn list(pools: &[PagePool]) -> String {
    pools
        .iter()
        .map(PagePool::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Pages of these pools that someone still has, and how many of the pools have been given up by the
/// driver.
fn inflight(pools: &[PagePool]) -> (u64, usize) {
    (
        pools.iter().filter_map(|pool| pool.inflight).sum(),
        pools.iter().filter(|pool| pool.detached).count(),
    )
}

case!(ports "teardown::skbs_outlive_the_ring", "", skbs);
/// A socket holds frames whose buffers belong to a ring, then to none, then to a module that is
/// gone. They keep their bytes, and their pages return to their pool when they are read.
fn skbs(bed: &Bed) -> Result<()> {
    const FRAMES: u32 = 300;
    let before = bed.b.ns.enter(page_pools)?;

    bed.up()?;
    let tap = Tap::open(&bed.b)?;
    let probe = Probe::new(1, 0).len(1000);
    Sender::open(&bed.a)?.send_flow(&probe, FRAMES)?;
    bed.b.wait_received(FRAMES.into())?;

    let running = new_pools(&bed.b, &before)?;
    let rings = bed.b.counters()?.rx_each("packets")?.len();
    ensure_eq!(running.len(), rings, "page pools of a port that is up");
    ensure_eq!(inflight(&running).1, 0, "pools given up while up");

    bed.b.down()?;
    let mut left = Vec::new();
    // Pools whose pages are all back go at once, or with the kernel's next look at them.
    wait_until("only the socket's pages are left", || {
        left = new_pools(&bed.b, &before)?;
        Ok(left.len() == 1 && inflight(&left) == (FRAMES.into(), 1))
    })
    .with_context(|| format!("pools: {}", list(&left)))?;

    bed.up()?;
    let pools = new_pools(&bed.b, &before)?;
    ensure_eq!(pools.len(), rings + 1, "page pools, the old one included");
    module::unload()?;
    ensure!(!module::is_loaded(), "the module is still there");
    wait_until("only the socket's pages are left after rmmod", || {
        left = new_pools(&bed.b, &before)?;
        Ok(left.len() == 1 && inflight(&left) == (FRAMES.into(), 1))
    })
    .with_context(|| format!("pools: {}", list(&left)))?;

    // Half of the frames are read, which checks every byte; half are thrown away with the socket.
    for seq in 0..FRAMES / 2 {
        let frame = tap
            .next(PATIENCE)?
            .ok_or_else(|| anyhow!("frame {seq} is not there"))?;
        let found = Probe::parse(&frame)?;
        ensure_eq!(
            found,
            Some(Probe {
                seq,
                ..probe.clone()
            }),
            "frame read after rmmod"
        );
    }
    wait_until("the pages of what was read are back", || {
        left = new_pools(&bed.b, &before)?;
        Ok(inflight(&left).0 == u64::from(FRAMES - FRAMES / 2))
    })
    .with_context(|| format!("pools: {}", list(&left)))?;
    drop(tap);
    wait_until("the pool is gone", || {
        Ok(new_pools(&bed.b, &before)?.is_empty())
    })
}

case!(ports "teardown::tcp_outlives_the_module", "", tcp);
/// Data that a TCP connection had received, but no one had read, when the module went.
fn tcp(bed: &Bed) -> Result<()> {
    const LEN: usize = 200_000;
    let before = bed.b.ns.enter(page_pools)?;
    let address: IpAddr = V4[1].parse()?;
    let data: Vec<_> = (0..LEN).map(|i| (i * 7 + (i >> 8) * 3) as u8).collect();

    bed.up_with_addresses()?;
    let listener = bed.b.ns.enter(|| Ok(TcpListener::bind((address, 0))?))?;
    setsockopt(&listener, sockopt::RcvBufForce, &(4 << 20))?;
    let port = listener.local_addr()?.port();
    let mut client = bed
        .a
        .ns
        .enter(|| Ok(TcpStream::connect((address, port))?))?;
    let (mut server, _) = listener.accept()?;
    client.set_write_timeout(Some(PATIENCE))?;
    client.write_all(&data)?;

    let mut peeked = vec![0; LEN];
    wait_until("all of the data is there", || {
        Ok(server.peek(&mut peeked)? == LEN)
    })?;
    ensure!(
        inflight(&new_pools(&bed.b, &before)?).0 > 0,
        "the data is not in pages of the port"
    );
    module::unload()?;
    ensure!(!module::is_loaded(), "the module is still there");

    let mut found = vec![0; LEN];
    server.set_read_timeout(Some(PATIENCE))?;
    server.read_exact(&mut found)?;
    ensure!(found == data, "the data has changed");
    drop((client, server, listener));
    wait_until("the pools are gone", || {
        Ok(new_pools(&bed.b, &before)?.is_empty())
    })?;

    Ok(())
}
