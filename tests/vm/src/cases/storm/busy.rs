// SPDX-License-Identifier: GPL-2.0

//! Traffic to sockets that poll the queues themselves (busy polling), and large TCP frames at full
//! speed.

use super::{
    gate::{Gate, Kind},
    traffic::{address, at_home, connect, RETRY, SOCKET_TIMEOUT, STREAM_PAUSE},
};
use crate::{
    bed::Port,
    host::cpus,
    sockopt::{BusyPoll, PreferBusyPoll},
    wire::stream::{data, ensure_data},
};
use anyhow::{anyhow, ensure, Result};
use nix::sys::socket::setsockopt;
use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, UdpSocket},
    thread,
};

/// How long a receiver polls, in microseconds.
const POLLING_USECS: u32 = 2000;
/// Datagrams of a round, and of a burst.
const DATAGRAMS: u32 = 64;
const BURST: u32 = 8;

/// Datagrams from one CPU to a socket that is polled on another, while interrupts may go to a
/// third.
pub struct Busy {
    near: usize,
    round: u32,
}

impl Busy {
    /// Between ports `near` and `near` + 1.
    pub fn new(near: usize) -> Self {
        Self { near, round: 0 }
    }

    pub fn exchange(&mut self, gate: &Gate) -> Result<()> {
        let ends = [self.near, self.near + 1];
        let Some((near, far)) = at_home(gate, ends[0], ends[1]) else {
            return Ok(());
        };
        self.round += 1;
        // Each port is polled in every other round.
        let (from, to) = if self.round % 2 == 0 { (0, 1) } else { (1, 0) };
        let ports = [&near.port, &far.port];
        let (Ok(sender), Ok(receiver)) = (bind(ends[from], ports[from]), bind(ends[to], ports[to]))
        else {
            thread::sleep(RETRY);
            return Ok(());
        };
        setsockopt(&receiver, PreferBusyPoll, &true)?;
        setsockopt(&receiver, BusyPoll, &POLLING_USECS)?;
        let address = receiver.local_addr()?;
        let all = cpus::all()?;
        let cpu = |n: usize| all[(self.round as usize + n) % all.len()];
        let round = self.round;

        thread::scope(|scope| {
            let sending = scope.spawn(move || {
                cpus::run_on(cpu(0), || {
                    send(gate, &sender, address, round);
                    Ok(())
                })
            });
            let received = cpus::run_on(cpu(1), || receive(gate, &receiver, round));

            sending
                .join()
                .map_err(|_| anyhow!("the sender panicked"))??;
            received
        })
    }
}

fn bind(n: usize, port: &Port) -> Result<UdpSocket> {
    let address = SocketAddr::new(address(n).parse::<IpAddr>()?, 0);
    let socket = port.ns.enter(|| Ok(UdpSocket::bind(address)?))?;

    socket.set_read_timeout(Some(SOCKET_TIMEOUT))?;
    socket.set_write_timeout(Some(SOCKET_TIMEOUT))?;
    Ok(socket)
}

fn payload(round: u32, seq: u32) -> Vec<u8> {
    let len = 8 + (seq as usize * 37) % 1000;
    let mut bytes = data(round ^ seq, len);

    bytes[..4].copy_from_slice(&seq.to_ne_bytes());
    bytes
}

/// Sends the datagrams of a round. Ends early if the port is down, or is being deleted.
fn send(gate: &Gate, sender: &UdpSocket, to: SocketAddr, round: u32) {
    for seq in 0..DATAGRAMS {
        if !gate.is_open(Kind::Stack) || sender.send_to(&payload(round, seq), to).is_err() {
            return;
        }
        if seq % BURST == 0 {
            thread::sleep(STREAM_PAUSE);
        }
    }
}

/// Receives datagrams, in any order, until none comes any more.
fn receive(gate: &Gate, receiver: &UdpSocket, round: u32) -> Result<()> {
    let mut found = vec![0; 4096];

    while gate.is_open(Kind::Stack) {
        let Ok(len) = receiver.recv(&mut found) else {
            break;
        };
        ensure!(len >= 8, "a datagram of {len} bytes");
        let seq = u32::from_ne_bytes([found[0], found[1], found[2], found[3]]);
        // Else it is a datagram of another round, whose socket had the same port number.
        if seq < DATAGRAMS && len == payload(round, seq).len() {
            ensure_data("datagram", &found[..len], &payload(round, seq))?;
            gate.count(len as u64);
        }
        if seq + 1 == DATAGRAMS {
            break;
        }
    }
    Ok(())
}

/// Bytes of a write: the stack makes frames of them that are as large as the port accepts.
const CHUNK: usize = 256 << 10;

/// A TCP connection over the second pair, the traffic that is stopped last.
#[derive(Default)]
pub struct Bulk {
    seed: u32,
}

impl Bulk {
    pub fn stream(&mut self, gate: &Gate) -> Result<()> {
        let Some((near, far)) = at_home(gate, 2, 3) else {
            return Ok(());
        };
        let Ok((mut near, mut far)) = connect(&near.port, &far.port, 3) else {
            thread::sleep(RETRY);
            return Ok(());
        };
        self.seed += 1;
        let sent = data(self.seed, CHUNK);
        let mut found = vec![0; CHUNK];
        let (mut written, mut read, mut idle) = (0, 0, 0);

        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        while gate.is_open(Kind::Bulk) && written < 64 * CHUNK && idle < 50 {
            let more = step(near.write(&sent[written % CHUNK..]));
            let got = step(far.read(&mut found));
            let (Some(more), Some(got)) = (more, got) else {
                break;
            };
            written += more;
            let at = read % CHUNK;
            let first = got.min(CHUNK - at);
            ensure_data("stream", &found[..first], &sent[at..at + first])?;
            ensure_data("stream", &found[first..got], &sent[..got - first])?;
            read += got;
            gate.count(got as u64);
            idle = if more + got == 0 { idle + 1 } else { 0 };
            thread::sleep(STREAM_PAUSE);
        }
        Ok(())
    }
}

/// How many bytes were transferred; `None` if the connection has ended.
fn step(moved: std::io::Result<usize>) -> Option<usize> {
    match moved {
        Ok(0) => None,
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
        Err(_) => None,
    }
}
