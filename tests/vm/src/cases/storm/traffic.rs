// SPDX-License-Identifier: GPL-2.0

//! Traffic of every kind, each from a thread of its own that copes with all changes to the ports.
//!
//! What arrives is compared byte by byte. A frame that does not arrive is no error here: the
//! accounting shows what became of it.

use super::{
    busy::{Bulk, Busy},
    gate::{Gate, Kind, Location, PORTS},
    program::StormProgram,
};
use crate::{
    bed::Port,
    host::{cpus, live, netns::Netns, pktgen::Pktgen},
    nl::netdev,
    random::Random,
    support::steer,
    wire::{
        packet::{Sender, Tap},
        probe::{verdict, Probe},
        stream::{data, end_at_once, ensure_data},
        ETH,
    },
};
use anyhow::{ensure, Context, Result};
use nix::{
    errno::Errno,
    sys::{
        socket::{setsockopt, sockopt},
        time::{TimeVal, TimeValLike},
    },
};
use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::Ordering,
    thread::{self, Scope},
    time::Duration,
};

/// Verdict of a probe: redirect to the AF_XDP socket of the queue.
const SOCKET: u8 = 0x88;
/// The verdicts of probes, as often as they occur in this list.
const VERDICTS: [u8; 10] = [
    verdict::PASS,
    verdict::PASS,
    verdict::DROP,
    verdict::DROP,
    verdict::ABORTED,
    verdict::TX,
    verdict::DEVMAP,
    verdict::REDIRECT,
    SOCKET,
    SOCKET,
];
/// A probe that bounces between ports, or circulates, makes fewer hops than this.
const MAX_HOPS: u8 = 50;
/// The first flow: those before it belong to the check that all queues are alive.
pub const FIRST_FLOW: u32 = 64;
pub const FLOWS: u32 = 64;

/// Frames of a burst, and the pause after it.
const BURST: u32 = 12;
const PAUSE: Duration = Duration::from_millis(15);
/// The pause after each chunk of TCP and each datagram.
pub const STREAM_PAUSE: Duration = Duration::from_millis(5);
/// How long a thread waits before it tries again, if it cannot send now.
pub const RETRY: Duration = Duration::from_millis(30);
/// Timeout of the sockets: short, so that the gate can be closed at any time.
pub const SOCKET_TIMEOUT: Duration = Duration::from_millis(250);

/// The IP address of a port.
pub fn address(n: usize) -> String {
    format!("10.{}.0.{}", 77 + n / 2, 1 + n % 2)
}

/// Starts the threads; they begin to send when the gate is opened.
pub fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    gate: &'scope Gate,
    seed: u64,
    ns: [&Netns; 2],
) -> Result<()> {
    let random = |n: u64| Random::new(seed ^ (n << 32));

    for n in 0..PORTS {
        let mut raw = RawSender::new(n, random(n as u64));
        scope.spawn(move || gate.work(Kind::Stack, &format!("sender of ox{n}"), || raw.send(gate)));
        let mut taps = Receiver { n, open: None };
        scope.spawn(move || {
            gate.work(Kind::Bulk, &format!("receiver of ox{n}"), || {
                taps.receive(gate)
            })
        });
    }
    let mut seed = 0;
    scope.spawn(move || {
        gate.work(Kind::Stack, "TCP", || {
            seed += 1;
            tcp(gate, seed)
        })
    });
    let mut round = 0;
    scope.spawn(move || {
        gate.work(Kind::Stack, "UDP", || {
            round += 1;
            udp(gate, round)
        })
    });
    let mut floods = PktgenSender {
        pktgen: Pktgen::load()?,
        ns: ns[0].clone(),
    };
    scope.spawn(move || gate.work(Kind::Stack, "pktgen", || floods.send(gate)));
    let mut live = LiveFrames {
        program: StormProgram::load("storm_frags")?,
        random: random(10),
    };
    scope.spawn(move || gate.work(Kind::Redirect, "live frames", || live.send(gate)));
    let mut veth = Veth::make(ns[1], random(11))?;
    scope.spawn(move || gate.work(Kind::Redirect, "veth", || veth.send(gate)));
    scope.spawn(move || gate.work(Kind::Bulk, "reader", || read(gate)));
    let mut bulk = Bulk::default();
    scope.spawn(move || gate.work(Kind::Bulk, "bulk", || bulk.stream(gate)));
    for pair in 0..PORTS / 2 {
        let mut busy = Busy::new(2 * pair);
        scope.spawn(move || gate.work(Kind::Stack, "busy", || busy.exchange(gate)));
    }
    Ok(())
}

/// A random probe.
pub fn probe(random: &mut Random, longest: usize) -> Probe {
    let asked = random.pick(&VERDICTS);
    let hops = random.below(MAX_HOPS.into()) as u8;
    let len = match random.below(4) {
        0 => longest,
        1 => 60,
        _ => 60 + random.below(longest as u32) as usize,
    };
    let probe = Probe::new(FIRST_FLOW + random.below(FLOWS), random.next() as u32);

    Probe {
        mark: match asked {
            verdict::TX | verdict::DEVMAP => u8::MAX - hops,
            _ => 0,
        },
        ..probe.verdict(asked).len(len.min(longest))
    }
}

/// Whether the kernel may refuse a frame with this error: the port is down, deleted or in another
/// namespace, or its MTU has just become smaller.
fn is_expected(error: Errno) -> bool {
    matches!(
        error,
        Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV | Errno::EMSGSIZE | Errno::ENOBUFS
    )
}

/// Sends raw frames from a packet socket.
struct RawSender {
    n: usize,
    random: Random,
    open: Option<(u64, Sender)>,
}

impl RawSender {
    fn new(n: usize, random: Random) -> Self {
        Self {
            n,
            random,
            open: None,
        }
    }

    fn send(&mut self, gate: &Gate) -> Result<()> {
        let location = gate.location(self.n);
        let Some(sender) = opened(&mut self.open, location.as_ref(), Sender::open) else {
            return Ok(());
        };
        let longest = location.map_or(60, |location| location.mtu as usize + ETH);

        for _ in 0..self.random.below(BURST) {
            match sender.try_send(&probe(&mut self.random, longest).frame()) {
                Ok(()) => {}
                Err(error) if is_expected(error) => {
                    thread::sleep(RETRY);
                    break;
                }
                Err(error) => return Err(error).context("sending a frame"),
            }
        }
        thread::sleep(PAUSE);
        Ok(())
    }
}

/// A socket on a port, opened again if the port is a new device or in another namespace. There is
/// none while the port does not exist or is being moved.
fn opened<'a, T>(
    open: &'a mut Option<(u64, T)>,
    location: Option<&Location>,
    how: impl FnOnce(&Port) -> Result<T>,
) -> Option<&'a T> {
    let location = location?;

    if open
        .as_ref()
        .is_none_or(|(generation, _)| *generation != location.generation)
    {
        *open = how(&location.port)
            .ok()
            .map(|socket| (location.generation, socket));
    }
    if open.is_none() {
        thread::sleep(RETRY);
    }
    open.as_ref().map(|(_, socket)| socket)
}

/// Receives what a port hands to its stack.
struct Receiver {
    n: usize,
    open: Option<(u64, Tap)>,
}

impl Receiver {
    fn receive(&mut self, gate: &Gate) -> Result<()> {
        let location = gate.location(self.n);
        let Some(tap) = opened(&mut self.open, location.as_ref(), Tap::open) else {
            thread::sleep(RETRY);
            return Ok(());
        };

        for _ in 0..200 {
            let Some(frame) = tap.next(RETRY)? else { break };

            if Probe::parse(&frame)?.is_some() {
                gate.count(frame.len() as u64);
            }
        }
        Ok(())
    }
}

/// The locations of a pair, if both ports are in the namespaces in which they have addresses.
pub fn at_home(gate: &Gate, near: usize, far: usize) -> Option<(Location, Location)> {
    let locations = gate.location(near).zip(gate.location(far));

    if !matches!(&locations, Some((near, far)) if near.home && far.home) {
        thread::sleep(RETRY);
        return None;
    }
    locations
}

/// Data over a TCP connection over the first pair, which is closed when nothing arrives for a
/// while.
fn tcp(gate: &Gate, seed: u32) -> Result<()> {
    const CHUNK: usize = 16 << 10;
    const CHUNKS: usize = 64;
    let Some((near, far)) = at_home(gate, 0, 1) else {
        return Ok(());
    };
    let Ok((mut near, mut far)) = connect(&near.port, &far.port, 1) else {
        thread::sleep(RETRY);
        return Ok(());
    };
    let sent = data(seed, CHUNK);
    let mut found = vec![0; CHUNK];

    for _ in 0..CHUNKS {
        if !gate.is_open(Kind::Stack)
            || near.write_all(&sent).is_err()
            || far.read_exact(&mut found).is_err()
        {
            break;
        }
        ensure_data("bytes of a stream", &found, &sent)?;
        gate.count(CHUNK as u64);
        thread::sleep(STREAM_PAUSE);
    }
    Ok(())
}

/// Connected sockets that send nothing after they are closed. The server is port `n`.
pub fn connect(client: &Port, server: &Port, n: usize) -> Result<(TcpStream, TcpStream)> {
    let address = SocketAddr::new(address(n).parse::<IpAddr>()?, 0);
    let listener = server.ns.enter(|| Ok(TcpListener::bind(address)?))?;
    // The last segment of the handshake may be lost with a port: then the client is connected, and
    // this end waits for ever.
    setsockopt(
        &listener,
        sockopt::ReceiveTimeout,
        &TimeVal::milliseconds(SOCKET_TIMEOUT.as_millis() as i64),
    )?;
    let address = listener.local_addr()?;
    let near = client
        .ns
        .enter(|| Ok(TcpStream::connect_timeout(&address, SOCKET_TIMEOUT)?))?;
    let (far, _) = listener.accept()?;

    for stream in [&near, &far] {
        end_at_once(stream)?;
        stream.set_read_timeout(Some(SOCKET_TIMEOUT))?;
        stream.set_write_timeout(Some(SOCKET_TIMEOUT))?;
    }
    Ok((near, far))
}

/// Datagrams over the second pair.
fn udp(gate: &Gate, round: u32) -> Result<()> {
    let Some((near, far)) = at_home(gate, 2, 3) else {
        return Ok(());
    };
    let bind = |n: usize, port: &Port| -> Result<UdpSocket> {
        let address = SocketAddr::new(address(n).parse::<IpAddr>()?, 0);
        let socket = port.ns.enter(|| Ok(UdpSocket::bind(address)?))?;

        socket.set_read_timeout(Some(SOCKET_TIMEOUT))?;
        socket.set_write_timeout(Some(SOCKET_TIMEOUT))?;
        Ok(socket)
    };
    let (Ok(near), Ok(far)) = (bind(2, &near.port), bind(3, &far.port)) else {
        thread::sleep(RETRY);
        return Ok(());
    };
    let to = far.local_addr()?;
    let mut found = vec![0; 4096];

    for seq in 0..64 {
        let sent = data(round * 64 + seq, 4 + (seq as usize * 37) % 2000);

        if !gate.is_open(Kind::Stack) || near.send_to(&sent, to).is_err() {
            break;
        }
        // A late datagram is not the one that was sent last.
        if let Ok(len) = far.recv(&mut found) {
            ensure!(len >= 4, "a datagram of {len} bytes");
            if len == sent.len() {
                ensure_data("datagram", &found[..len], &sent)?;
                gate.count(len as u64);
            }
        }
        thread::sleep(STREAM_PAUSE);
    }
    Ok(())
}

/// pktgen, at the ports of the first namespace.
struct PktgenSender {
    pktgen: Pktgen,
    ns: Netns,
}

impl PktgenSender {
    fn send(&mut self, gate: &Gate) -> Result<()> {
        let cpus = cpus::all()?;

        for (n, cpu) in [(0, cpus[0]), (3, cpus[cpus.len() - 1])] {
            let Some(location) = gate.location(n).filter(|location| location.home) else {
                continue;
            };
            if self.pktgen.has(&location.port)? {
                continue;
            }
            // The port may be deleted at any time.
            let _ = self.pktgen.add(
                &location.port,
                cpu,
                &[
                    "count 100",
                    "min_pkt_size 60",
                    "max_pkt_size 1000",
                    "burst 4",
                    "dst_mac 02:00:00:00:00:fe",
                    "udp_src_min 1000",
                    "udp_src_max 1063",
                    "udp_dst_min 4242",
                    "udp_dst_max 4242",
                ],
            );
        }
        let _ = self.pktgen.send(&self.ns);
        thread::sleep(2 * RETRY);
        Ok(())
    }
}

/// Live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) to any port.
struct LiveFrames {
    program: StormProgram,
    random: Random,
}

impl LiveFrames {
    /// The kernel runs the program on up to 64 at a time, and redirects them in batches of 16.
    fn send(&mut self, gate: &Gate) -> Result<()> {
        self.program
            .drop_redirected(gate.drops.load(Ordering::Relaxed))?;
        if let Some(location) = gate.location(self.random.below(PORTS as u32) as usize) {
            let probe = Probe {
                mark: u8::MAX - MAX_HOPS,
                ..probe(&mut self.random, 1000).verdict(verdict::DEVMAP)
            };

            // The port may be deleted at any time.
            let _ = self.program.redirect_to(&location.port);
            let fd = self.program.fd()?;
            let count = self.random.pick(&[16, 32, 64, 128]);
            location
                .port
                .ns
                .enter(|| live::run(fd, &probe.frame(), count))?;
        }
        thread::sleep(RETRY);
        Ok(())
    }
}

/// Frames from a veth pair to the near port of the second pair.
struct Veth {
    near: Port,
    program: StormProgram,
    sender: Sender,
    random: Random,
}

impl Veth {
    fn make(ns: &Netns, random: Random) -> Result<Self> {
        let (near, far) = steer::veth(ns, 1500)?;
        let program = StormProgram::load("storm")?;

        near.attach(program.program())?;
        Ok(Self {
            near,
            program,
            sender: Sender::open(&far)?,
            random,
        })
    }

    fn send(&mut self, gate: &Gate) -> Result<()> {
        self.program
            .drop_redirected(gate.drops.load(Ordering::Relaxed))?;
        if let Some(location) = gate.location(2) {
            let _ = self.program.redirect_to(&location.port);
        }
        for _ in 0..self.random.below(2 * BURST) {
            let probe = Probe {
                mark: u8::MAX - MAX_HOPS,
                ..probe(&mut self.random, 1514).verdict(verdict::DEVMAP)
            };
            match self.sender.try_send(&probe.frame()) {
                Ok(()) => {}
                // The other end's ring is full.
                Err(error) if is_expected(error) => break,
                Err(error) => return Err(error).context("sending a frame into veth"),
            }
        }
        thread::sleep(2 * PAUSE);
        Ok(())
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        // It would be deleted with its namespace, but its program must be freed earlier.
        let _ = self.near.delete();
    }
}

/// Reads counters and queues all the time.
fn read(gate: &Gate) -> Result<()> {
    for n in 0..PORTS {
        let Some(location) = gate.location(n) else {
            continue;
        };
        let (ns, ifindex) = (&location.port.ns, location.port.ifindex);

        // The port may be deleted at any time.
        let _ = location.port.link();
        let _ = ns.enter(|| netdev::queue_stats(ifindex));
        let _ = ns.enter(|| netdev::queues(ifindex));
        let _ = ns.enter(netdev::page_pools);
        thread::sleep(2 * RETRY);
    }
    Ok(())
}
