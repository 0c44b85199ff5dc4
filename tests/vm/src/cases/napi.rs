// SPDX-License-Identifier: GPL-2.0

//! The users' settings for a port's NAPIs, and who polls them: softirqs, NAPI threads, or threads
//! that wait for frames.

use crate::{
    bed::{Bed, Port, V4},
    bpf::Program,
    harness::case,
    host::{ensure_eq, epoll::BusyEpoll, live, wait_until, FOR_EVER},
    nl::netdev::{self, Napi, NapiSettings},
    sockopt::{BusyPoll, IncomingNapiId, PreferBusyPoll},
    support::{
        buffers::MTU_MAX,
        polls::{napi, poll_in_threads},
        probes::{send_all, set_mtu},
        steer::Steer,
        traffic::check_alive,
    },
    wire::{packet::Sender, probe::Probe, stream, xsk::Xsk},
};
use anyhow::{ensure, Context, Result};
use aya::maps::XskMap;
use nix::{
    sys::socket::{getsockopt, setsockopt},
    unistd::gettid,
};
use std::{fs, net::UdpSocket, os::fd::AsRawFd, path::Path, thread, time::Duration};

/// Frames in a row.
const FRAMES: u32 = 50;
/// How long a receiver polls before it sleeps: until the frame is there.
const POLLING_USECS: u32 = 5_000_000;
/// Where the datagrams go.
const UDP_PORT: u16 = 7777;

fn napis(port: &Port) -> Result<Vec<Napi>> {
    port.ns.enter(|| netdev::napis(port.ifindex))
}

fn set(port: &Port, id: u64, settings: &NapiSettings) -> Result<()> {
    port.ns.enter(|| netdev::set_napi(id, settings))
}

case!(ports "napi::settings_stay", "queues=3", settings_stay);
/// What a user has set for a NAPI is that of its queue: rings that are restarted, go and come have
/// it.
fn settings_stay(bed: &Bed) -> Result<()> {
    let settings = |queue: u32| NapiSettings {
        threaded: queue == 1,
        defer_hard_irqs: 5 + queue,
        gro_flush_timeout: 20_000 + u64::from(queue),
        irq_suspend_timeout: 30_000_000 + u64::from(queue),
    };

    bed.up()?;
    for queue in 0..3 {
        set(&bed.b, napi(&bed.b, queue.into())?.id, &settings(queue))?;
    }
    let check = |queues: u32, when: &str| {
        ensure_eq!(napis(&bed.b)?.len(), queues as usize, "{when}: NAPIs");
        for queue in 0..queues {
            let napi = napi(&bed.b, queue.into())?;

            ensure_eq!(
                napi.settings,
                settings(queue),
                "{when}: settings of queue {queue}"
            );
            ensure_eq!(
                napi.pid.is_some(),
                settings(queue).threaded,
                "{when}: a thread for queue {queue}"
            );
        }
        check_alive(bed).with_context(|| when.to_owned())
    };
    check(3, "when they are set")?;
    bed.b.ethtool("-G", "rx 128")?;
    check(3, "after -G")?;
    bed.b.ethtool("-L", "combined 1")?;
    check(1, "with one queue")?;
    bed.b.ethtool("-L", "combined 3")?;
    check(3, "after -L")?;
    bed.b.down()?;
    bed.up()?;
    check(3, "after down and up")?;
    for napi in napis(&bed.a)? {
        ensure_eq!(napi.settings, NapiSettings::default(), "the other port");
    }
    Ok(())
}

/// Sends frames to a queue of port B, and returns how many of them the thread `pid` has polled.
fn polled_by(bed: &Bed, program: &mut Program, pid: u64, queue: u64) -> Result<u64> {
    let rule = format!("flow-type udp4 action {queue} loc 0");

    bed.b.ethtool("-N", &rule)?;
    program.write("thread", 0, pid as u32)?;
    let (before, received) = (polled(program)?, bed.b.link()?.stat("rx_packets")?);
    Sender::open(&bed.a)?.send_flow(&Probe::new(1, 0), FRAMES)?;
    bed.b.wait_received(received + u64::from(FRAMES))?;
    Ok(polled(program)? - before)
}

fn thread_name(pid: u64) -> Result<String> {
    let path = format!("/proc/{pid}/comm");
    let name = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;

    Ok(name.trim().to_owned())
}

/// A port whose program tells who polls.
fn watched(bed: &Bed) -> Result<Program> {
    let program = Program::load("where", "where")?;

    bed.up()?;
    bed.b.attach(&program)?;
    Ok(program)
}

case!(ports "napi::thread_of_one", "queues=2", thread_of_one);
/// One NAPI has a thread, which polls its queue and no other, as long as the user wants.
fn thread_of_one(bed: &Bed) -> Result<()> {
    let mut program = watched(bed)?;
    let id = napi(&bed.b, 1)?.id;
    let with_thread = NapiSettings {
        threaded: true,
        ..NapiSettings::default()
    };

    set(&bed.b, id, &with_thread)?;
    let pid = napi(&bed.b, 1)?.pid.context("the NAPI has no thread")?;
    ensure_eq!(thread_name(pid)?, format!("napi/ox1-{id}"), "the thread");
    ensure_eq!(napi(&bed.b, 0)?.pid, None, "thread of the other queue");
    for (queue, frames) in [(1, FRAMES), (0, 0), (1, FRAMES)] {
        ensure_eq!(
            polled_by(bed, &mut program, pid, queue)?,
            u64::from(frames),
            "frames of queue {queue} polled by the thread"
        );
    }
    set(&bed.b, id, &NapiSettings::default())?;
    ensure_eq!(napi(&bed.b, 1)?.pid, None, "the thread is no longer needed");
    ensure_eq!(
        polled_by(bed, &mut program, pid, 1)?,
        0,
        "frames polled by a thread that is no longer needed"
    );
    Ok(())
}

case!(ports "napi::threads_of_all", "queues=2", threads_of_all);
/// The device's switch gives each NAPI a thread; they go with the device.
fn threads_of_all(bed: &Bed) -> Result<()> {
    let mut program = watched(bed)?;

    poll_in_threads(&bed.b)?;
    let pids = [0, 1].map(|queue| napi(&bed.b, queue).map(|napi| napi.pid));
    for (pid, queue) in pids.into_iter().zip(0..) {
        let pid = pid?.with_context(|| format!("queue {queue} has no thread"))?;

        for sent_to in [0, 1] {
            ensure_eq!(
                polled_by(bed, &mut program, pid, sent_to)?,
                if sent_to == queue { FRAMES.into() } else { 0 },
                "frames of queue {sent_to} polled by the thread of queue {queue}"
            );
        }
    }
    let pid = napi(&bed.b, 0)?.pid.context("no thread")?;
    bed.b.down()?;
    wait_until("the thread goes when the port is down", || {
        Ok(!Path::new(&format!("/proc/{pid}")).exists())
    })
}

/// A socket of port B to which A sends, each datagram with its number.
struct Pair {
    from: UdpSocket,
    to: UdpSocket,
    sent: u32,
}

impl Pair {
    fn new(bed: &Bed) -> Result<Self> {
        let from = stream::udp(&bed.a, V4[0], 0)?;
        let to = stream::udp(&bed.b, V4[1], UDP_PORT)?;

        from.connect(to.local_addr()?)?;
        Ok(Self { from, to, sent: 0 })
    }

    fn send(&mut self) -> Result<()> {
        self.from.send(&self.sent.to_ne_bytes())?;
        self.sent += 1;
        Ok(())
    }

    /// Takes the datagram that was sent last.
    fn receive(&self) -> Result<()> {
        let mut bytes = [0; 4];
        let len = self.to.recv(&mut bytes).context("receiving a datagram")?;

        ensure_eq!(len, bytes.len(), "length of a datagram");
        ensure_eq!(u32::from_ne_bytes(bytes), self.sent - 1, "datagram");
        Ok(())
    }

    /// Sends while this thread waits, again and again until it is this thread that polls the frame:
    /// if the frame comes too early a softirq does.
    fn until_polled(&mut self, program: &Program, wait: impl Fn() -> Result<()>) -> Result<()> {
        wait_until("a receiver polls its frame", || {
            let before = polled(program)?;
            let number = self.sent;

            self.sent += 1;
            thread::scope(|scope| {
                let sender = scope.spawn(|| {
                    thread::sleep(Duration::from_millis(50));
                    self.from.send(&number.to_ne_bytes())
                });

                wait()?;
                self.receive()?;
                ensure!(sender.join().is_ok_and(|sent| sent.is_ok()), "not sent");
                Ok(())
            })?;
            Ok(polled(program)? > before)
        })
    }
}

/// How many frames were polled by the thread that is asked for.
fn polled(program: &Program) -> Result<u64> {
    program.read("in_thread", 0)
}

case!(ports "napi::busy_poll", "queues=1", busy_poll);
/// A thread that waits for a datagram polls the queue itself, once its socket knows the queue.
fn busy_poll(bed: &Bed) -> Result<()> {
    bed.up_with_addresses()?;
    let mut program = watched(bed)?;
    let mut pair = Pair::new(bed)?;

    setsockopt(&pair.to, PreferBusyPoll, &true)?;
    setsockopt(&pair.to, BusyPoll, &POLLING_USECS)?;
    pair.send()?;
    pair.receive()?;
    ensure_eq!(
        u64::from(getsockopt(&pair.to, IncomingNapiId)?),
        napi(&bed.b, 0)?.id,
        "the NAPI that the socket knows"
    );
    program.write("thread", 0, gettid().as_raw() as u32)?;
    pair.until_polled(&program, || Ok(()))
}

case!(ports "napi::epoll_and_suspended_interrupts", "queues=1", epoll);
/// While a program handles what it got by polling, interrupts are suspended: frames wait until it
/// polls again.
fn epoll(bed: &Bed) -> Result<()> {
    bed.up_with_addresses()?;
    let mut program = watched(bed)?;
    let mut pair = Pair::new(bed)?;
    let id = napi(&bed.b, 0)?.id;

    set(
        &bed.b,
        id,
        &NapiSettings {
            threaded: false,
            defer_hard_irqs: 100,
            gro_flush_timeout: FOR_EVER,
            irq_suspend_timeout: FOR_EVER,
        },
    )?;
    pair.send()?;
    pair.receive()?;
    let epoll = BusyEpoll::new(&pair.to, POLLING_USECS)?;
    program.write("thread", 0, gettid().as_raw() as u32)?;
    pair.until_polled(&program, || epoll.wait())?;
    for _ in 0..FRAMES {
        let before = (polled(&program)?, bed.b.counters()?.rx("packets")?);

        pair.send()?;
        ensure_eq!(
            (polled(&program)?, bed.b.counters()?.rx("packets")?),
            before,
            "frames polled before the program looked"
        );
        epoll.wait()?;
        pair.receive()?;
        ensure_eq!(polled(&program)?, before.0 + 1, "frames that it polled");
    }
    // Once it stops polling, interrupts come again.
    drop(epoll);
    set(&bed.b, id, &NapiSettings::default())?;
    bed.b.ethtool("-G", "rx 256")?;
    check_alive(bed)
}

/// A program and a socket for port B's only queue, which is polled only when the socket is asked
/// for frames.
fn polled_socket(bed: &Bed) -> Result<(Program, Xsk)> {
    let mut program = watched(bed)?;
    let socket = polling_socket(bed)?;

    XskMap::try_from(program.map_mut("sockets")?)?.set(0, socket.as_raw_fd(), 0)?;
    // The last interrupt: the poll that it leads to leaves the next one off.
    send_all(bed, &[Probe::new(1, 0)])?;
    ensure_eq!(
        Probe::parse(&socket.any()?)?,
        Some(Probe::new(1, 0)),
        "first frame"
    );
    program.write("thread", 0, gettid().as_raw() as u32)?;
    Ok((program, socket))
}

/// A socket on port B's only queue. After the next interrupt only the socket polls the queue.
fn polling_socket(bed: &Bed) -> Result<Xsk> {
    // Not earlier: the kernel tells a socket which NAPI to poll when it is bound, and only a port
    // that is up has one (`xsk_bind` in net/xdp/xsk.c).
    let socket = Xsk::open(&bed.b, 0, 4096, false)?;
    let never = NapiSettings {
        defer_hard_irqs: 100,
        gro_flush_timeout: FOR_EVER,
        ..NapiSettings::default()
    };

    setsockopt(&socket, PreferBusyPoll, &true)?;
    setsockopt(&socket, BusyPoll, &POLLING_USECS)?;
    set(&bed.b, napi(&bed.b, 0)?.id, &never)?;
    Ok(socket)
}

/// Interrupts come again, and frames go to the stack.
fn end_polling(bed: &Bed, socket: Xsk) -> Result<()> {
    drop(socket);
    set(&bed.b, napi(&bed.b, 0)?.id, &NapiSettings::default())?;
    bed.b.ethtool("-G", "rx 256")?;
    check_alive(bed)
}

case!(ports "napi::af_xdp_busy_poll", "queues=1", af_xdp);
/// An AF_XDP socket needs no interrupts: its queue is polled when the socket asks for frames, and
/// only then.
fn af_xdp(bed: &Bed) -> Result<()> {
    let (program, socket) = polled_socket(bed)?;
    let probe = |seq| Probe::new(1, seq);

    for seq in 1..=FRAMES {
        send_all(bed, &[probe(seq)])?;
        ensure!(socket.drain()?.is_empty(), "frame {seq} came by itself");
        socket.busy_poll()?;
        ensure_eq!(
            Probe::parse(&socket.any()?)?,
            Some(probe(seq)),
            "frame {seq}"
        );
        ensure_eq!(polled(&program)?, u64::from(seq), "frames polled here");
    }
    end_polling(bed, socket)
}

case!(ports "napi::af_xdp_busy_poll_of_a_full_ring", "queues=1 ring_size=64", af_xdp_full);
/// A ring that is full is polled as any other, and the sender whose queue has stopped goes on as
/// buffers are posted.
fn af_xdp_full(bed: &Bed) -> Result<()> {
    // More than the ring takes.
    const COUNT: u32 = 200;
    // So many frames are polled at a time (`BUSY_POLL_BUDGET` in include/net/busy_poll.h).
    const BUDGET: u32 = 8;
    let (program, socket) = polled_socket(bed)?;
    let mut seq = 0;

    Sender::open(&bed.a)?.send_flow(&Probe::new(2, 0), COUNT)?;
    wait_until("the queue stops", || {
        Ok(bed.a.counters()?.tx("stopped")? == 1)
    })?;
    ensure!(socket.drain()?.is_empty(), "a frame came by itself");
    // Each of the first polls finds as many frames as it may take.
    for poll in 1..=64 / BUDGET {
        socket.busy_poll()?;
        ensure!(
            polled(&program)? >= u64::from(poll * BUDGET),
            "frames after {poll} polls"
        );
    }
    wait_until("all frames come", || {
        socket.busy_poll()?;
        for frame in socket.drain()? {
            ensure_eq!(Probe::parse(&frame)?, Some(Probe::new(2, seq)), "frame");
            seq += 1;
        }
        Ok(seq == COUNT)
    })?;
    ensure_eq!(polled(&program)?, u64::from(COUNT), "frames polled here");
    let a = bed.a.counters()?;
    ensure!(a.tx("woken")? > 0, "nobody woke the queue");
    ensure_eq!(a.tx("timeout")?, 0, "times it was stopped for too long");
    end_polling(bed, socket)
}

case!(ports "napi::af_xdp_busy_poll_of_a_ring_kept_full", "queues=1 ring_size=64", kept_full);
/// Redirected frames do not wait, and take each buffer of a ring that is polled for a few frames at a
/// time. The stack's queue is woken all the same, even if the longest frames need more buffers than are
/// posted at a time.
fn kept_full(bed: &Bed) -> Result<()> {
    // More than the ring takes.
    const COUNT: u32 = 200;
    // The queue's turn comes after some of them.
    const POLLS: u32 = 100;
    let mut steer = Steer::load()?;
    let frame = Probe::new(3, 0).frame();

    steer.device(0, &bed.a, None)?;
    steer.by_device(0)?;
    bed.up()?;
    set_mtu(bed, MTU_MAX)?;
    let socket = polling_socket(bed)?;
    // The last interrupt.
    send_all(bed, &[Probe::new(1, 0)])?;
    bed.b.wait_received(1)?;
    Sender::open(&bed.a)?.send_flow(&Probe::new(2, 0), COUNT)?;
    wait_until("the queue stops", || {
        Ok(bed.a.counters()?.tx("stopped")? == 1)
    })?;
    let before = bed.a.counters()?;
    for _ in 0..POLLS {
        bed.a
            .ns
            .enter(|| live::run(steer.program.fd()?, &frame, 64))?;
        socket.busy_poll()?;
    }
    let after = bed.a.counters()?;
    for name in ["woken", "packets"] {
        ensure!(
            after.tx(name)? > before.tx(name)?,
            "no {name} in {POLLS} polls"
        );
    }
    end_polling(bed, socket)
}
