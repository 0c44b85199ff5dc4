// SPDX-License-Identifier: GPL-2.0

//! Traffic of every kind, each from a thread of its own that copes with whatever happens to the ports.
//!
//! What arrives is compared byte by byte. That something does not arrive is no fault here: what became
//! of it is found out when the frames are counted.

use super::{
    busy::{Bulk, Busy},
    gate::{Gate, Kind, Place, PORTS},
    program::Swirl,
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

/// Verdict of a probe for the AF_XDP socket of its queue.
const SOCKET: u8 = 0x88;
/// What probes ask for, the more often the more times it is here.
const MIX: [u8; 10] = [
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
/// A probe that goes to and fro or round and round does so less often than that.
const FAR: u8 = 50;
/// Flows begin here: those before belong to the check that all queues are alive.
pub const FIRST_FLOW: u32 = 64;
pub const FLOWS: u32 = 64;

/// Frames of a burst, and the pause after it.
const BURST: u32 = 12;
const PAUSE: Duration = Duration::from_millis(15);
/// The pause after what TCP or UDP has carried.
pub const BREATH: Duration = Duration::from_millis(5);
/// When there is nothing to be done: how long to wait before looking again.
pub const IDLE: Duration = Duration::from_millis(30);
/// How long the stack's sockets wait: short, so that the gate can be closed at any time.
pub const SHORT: Duration = Duration::from_millis(250);

/// The address of a port.
pub fn address(n: usize) -> String {
    format!("10.{}.0.{}", 77 + n / 2, 1 + n % 2)
}

/// Starts all of it; it begins when the gate is opened.
pub fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    gate: &'scope Gate,
    seed: u64,
    ns: [&Netns; 2],
) -> Result<()> {
    let random = |n: u64| Random::new(seed ^ (n << 32));

    for n in 0..PORTS {
        let mut raw = Raw::new(n, random(n as u64));
        scope.spawn(move || gate.work(Kind::Stack, &format!("sender of ox{n}"), || raw.send(gate)));
        let mut taps = Taps { n, open: None };
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
    let mut floods = Floods {
        pktgen: Pktgen::load()?,
        ns: ns[0].clone(),
    };
    scope.spawn(move || gate.work(Kind::Stack, "pktgen", || floods.send(gate)));
    let mut live = Live {
        program: Swirl::load("storm_frags")?,
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

/// A probe as they come in the storm.
fn probe(random: &mut Random, longest: usize) -> Probe {
    let asked = random.pick(&MIX);
    let hops = random.below(FAR.into()) as u8;
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

/// Whether the kernel may refuse a frame for this reason: the port is down, gone or elsewhere, or its
/// MTU has just become smaller.
fn may_be(error: Errno) -> bool {
    matches!(
        error,
        Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV | Errno::EMSGSIZE | Errno::ENOBUFS
    )
}

/// Raw frames out of a packet socket.
struct Raw {
    n: usize,
    random: Random,
    open: Option<(u64, Sender)>,
}

impl Raw {
    fn new(n: usize, random: Random) -> Self {
        Self {
            n,
            random,
            open: None,
        }
    }

    fn send(&mut self, gate: &Gate) -> Result<()> {
        let place = gate.place(self.n);
        let Some(sender) = opened(&mut self.open, place.as_ref(), Sender::open) else {
            return Ok(());
        };
        let longest = place.map_or(60, |place| place.mtu as usize + ETH);

        for _ in 0..self.random.below(BURST) {
            match sender.try_send(&probe(&mut self.random, longest).frame()) {
                Ok(()) => {}
                Err(error) if may_be(error) => {
                    thread::sleep(IDLE);
                    break;
                }
                Err(error) => return Err(error).context("sending a frame"),
            }
        }
        thread::sleep(PAUSE);
        Ok(())
    }
}

/// A socket on a port, opened anew if the port is not where it was. There is none while the port is
/// gone or on its way.
fn opened<'a, T>(
    open: &'a mut Option<(u64, T)>,
    place: Option<&Place>,
    how: impl FnOnce(&Port) -> Result<T>,
) -> Option<&'a T> {
    let place = place?;

    if open
        .as_ref()
        .is_none_or(|(generation, _)| *generation != place.generation)
    {
        *open = how(&place.port)
            .ok()
            .map(|socket| (place.generation, socket));
    }
    if open.is_none() {
        thread::sleep(IDLE);
    }
    open.as_ref().map(|(_, socket)| socket)
}

/// What a port hands to its stack.
struct Taps {
    n: usize,
    open: Option<(u64, Tap)>,
}

impl Taps {
    fn receive(&mut self, gate: &Gate) -> Result<()> {
        let place = gate.place(self.n);
        let Some(tap) = opened(&mut self.open, place.as_ref(), Tap::open) else {
            thread::sleep(IDLE);
            return Ok(());
        };

        for _ in 0..200 {
            let Some(frame) = tap.next(IDLE)? else { break };

            if Probe::parse(&frame)?.is_some() {
                gate.count(frame.len() as u64);
            }
        }
        Ok(())
    }
}

/// The places of a pair, if both are at home.
pub fn at_home(gate: &Gate, near: usize, far: usize) -> Option<(Place, Place)> {
    let places = gate.place(near).zip(gate.place(far));

    if !matches!(&places, Some((near, far)) if near.home && far.home) {
        thread::sleep(IDLE);
        return None;
    }
    places
}

/// Data over a connection between the first pair, which is given up when something does not arrive for
/// a while.
fn tcp(gate: &Gate, seed: u32) -> Result<()> {
    const CHUNK: usize = 16 << 10;
    const CHUNKS: usize = 64;
    let Some((near, far)) = at_home(gate, 0, 1) else {
        return Ok(());
    };
    let Ok((mut near, mut far)) = connect(&near.port, &far.port, 1) else {
        thread::sleep(IDLE);
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
        thread::sleep(BREATH);
    }
    Ok(())
}

/// Joined sockets that send nothing any more once they are closed. The server is port `n`.
pub fn connect(client: &Port, server: &Port, n: usize) -> Result<(TcpStream, TcpStream)> {
    let address = SocketAddr::new(address(n).parse::<IpAddr>()?, 0);
    let listener = server.ns.enter(|| Ok(TcpListener::bind(address)?))?;
    // The last segment of the handshake may have gone with a port: the client takes itself for connected, and
    // this end never hears of it.
    setsockopt(
        &listener,
        sockopt::ReceiveTimeout,
        &TimeVal::milliseconds(SHORT.as_millis() as i64),
    )?;
    let address = listener.local_addr()?;
    let near = client
        .ns
        .enter(|| Ok(TcpStream::connect_timeout(&address, SHORT)?))?;
    let (far, _) = listener.accept()?;

    for stream in [&near, &far] {
        end_at_once(stream)?;
        stream.set_read_timeout(Some(SHORT))?;
        stream.set_write_timeout(Some(SHORT))?;
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

        socket.set_read_timeout(Some(SHORT))?;
        socket.set_write_timeout(Some(SHORT))?;
        Ok(socket)
    };
    let (Ok(near), Ok(far)) = (bind(2, &near.port), bind(3, &far.port)) else {
        thread::sleep(IDLE);
        return Ok(());
    };
    let to = far.local_addr()?;
    let mut found = vec![0; 4096];

    for seq in 0..64 {
        let sent = data(round * 64 + seq, 4 + (seq as usize * 37) % 2000);

        if !gate.is_open(Kind::Stack) || near.send_to(&sent, to).is_err() {
            break;
        }
        // One that comes late is not the one that was sent last.
        if let Ok(len) = far.recv(&mut found) {
            ensure!(len >= 4, "a datagram of {len} bytes");
            if len == sent.len() {
                ensure_data("datagram", &found[..len], &sent)?;
                gate.count(len as u64);
            }
        }
        thread::sleep(BREATH);
    }
    Ok(())
}

/// pktgen, out of the ports of the first namespace.
struct Floods {
    pktgen: Pktgen,
    ns: Netns,
}

impl Floods {
    fn send(&mut self, gate: &Gate) -> Result<()> {
        let cpus = cpus::all()?;

        for (n, cpu) in [(0, cpus[0]), (3, cpus[cpus.len() - 1])] {
            let Some(place) = gate.place(n).filter(|place| place.home) else {
                continue;
            };
            if self.pktgen.has(&place.port)? {
                continue;
            }
            // The port may be going.
            let _ = self.pktgen.add(
                &place.port,
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
        thread::sleep(2 * IDLE);
        Ok(())
    }
}

/// Frames that the kernel makes itself, to one port or another.
struct Live {
    program: Swirl,
    random: Random,
}

impl Live {
    /// Up to 64 are handed over at once, 16 at a time.
    fn send(&mut self, gate: &Gate) -> Result<()> {
        self.program
            .drop_redirected(gate.drops.load(Ordering::Relaxed))?;
        if let Some(place) = gate.place(self.random.below(PORTS as u32) as usize) {
            let probe = Probe {
                mark: u8::MAX - FAR,
                ..probe(&mut self.random, 1000).verdict(verdict::DEVMAP)
            };

            // The port may be going.
            let _ = self.program.redirect_to(&place.port);
            let fd = self.program.fd()?;
            let count = self.random.pick(&[16, 32, 64, 128]);
            place
                .port
                .ns
                .enter(|| live::run(fd, &probe.frame(), count))?;
        }
        thread::sleep(IDLE);
        Ok(())
    }
}

/// Frames from a veth pair to the near port of the second pair.
struct Veth {
    near: Port,
    program: Swirl,
    sender: Sender,
    random: Random,
}

impl Veth {
    fn make(ns: &Netns, random: Random) -> Result<Self> {
        let (near, far) = steer::veth(ns, 1500)?;
        let program = Swirl::load("storm")?;

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
        if let Some(place) = gate.place(2) {
            let _ = self.program.redirect_to(&place.port);
        }
        for _ in 0..self.random.below(2 * BURST) {
            let probe = Probe {
                mark: u8::MAX - FAR,
                ..probe(&mut self.random, 1514).verdict(verdict::DEVMAP)
            };
            match self.sender.try_send(&probe.frame()) {
                Ok(()) => {}
                // The other end's ring is full.
                Err(error) if may_be(error) => break,
                Err(error) => return Err(error).context("sending a frame into veth"),
            }
        }
        thread::sleep(2 * PAUSE);
        Ok(())
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        // It goes with its namespace too, but the program is to be gone earlier.
        let _ = self.near.delete();
    }
}

/// Somebody who looks at counters and queues all the time.
fn read(gate: &Gate) -> Result<()> {
    for n in 0..PORTS {
        let Some(place) = gate.place(n) else { continue };
        let (ns, ifindex) = (&place.port.ns, place.port.ifindex);

        // The port may be going.
        let _ = place.port.link();
        let _ = ns.enter(|| netdev::queue_stats(ifindex));
        let _ = ns.enter(|| netdev::queues(ifindex));
        let _ = ns.enter(netdev::page_pools);
        thread::sleep(2 * IDLE);
    }
    Ok(())
}
