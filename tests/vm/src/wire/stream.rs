// SPDX-License-Identifier: GPL-2.0

//! Sockets of the stack between the two namespaces, and data whose every byte is known.

use crate::{bed::Port, host::PATIENCE};
use anyhow::{bail, Context, Result};
use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};
use std::{
    io::Read,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
};

/// `len` bytes that follow from `seed` (a linear congruential generator's upper bits).
pub fn data(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;

    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Fails at the first byte of `found` that is not as in `expected`.
pub fn ensure_data(what: &str, found: &[u8], expected: &[u8]) -> Result<()> {
    if found.len() != expected.len() {
        bail!(
            "{what}: expected {} bytes, found {}",
            expected.len(),
            found.len()
        );
    }
    match found.iter().zip(expected).position(|(f, e)| f != e) {
        None => Ok(()),
        Some(at) => bail!(
            "{what}: byte {at}: expected {}, found {}",
            expected[at],
            found[at]
        ),
    }
}

/// Joined TCP sockets: the first in the namespace of `client`, the second in that of `server`.
pub fn tcp_pair(client: &Port, server: &Port, address: &str) -> Result<(TcpStream, TcpStream)> {
    let address = SocketAddr::new(address.parse::<IpAddr>()?, 0);
    let listener = server.ns.enter(|| Ok(TcpListener::bind(address)?))?;
    let address = listener.local_addr()?;
    let near = client
        .ns
        .enter(|| TcpStream::connect_timeout(&address, PATIENCE).context("connecting"))?;
    let (far, _) = listener.accept()?;

    for stream in [&near, &far] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((near, far))
}

/// Makes a socket drop everything and send nothing more when it is closed.
pub fn end_at_once(stream: &TcpStream) -> Result<()> {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };

    Ok(setsockopt(stream, sockopt::Linger, &at_once)?)
}

/// A UDP socket of a namespace that gives up waiting after a while.
pub fn udp(port: &Port, address: &str, number: u16) -> Result<UdpSocket> {
    let address = SocketAddr::new(address.parse::<IpAddr>()?, number);
    let socket = port.ns.enter(|| Ok(UdpSocket::bind(address)?))?;

    socket.set_read_timeout(Some(PATIENCE))?;
    // With large pages few datagrams would fit, for each of them takes a page.
    setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20))?;
    Ok(socket)
}

/// Sends one datagram, which has to arrive as it was.
pub fn deliver(from: &UdpSocket, to: &UdpSocket, payload: &[u8]) -> Result<()> {
    let what = || format!("a datagram of {} bytes", payload.len());
    from.send_to(payload, to.local_addr()?)
        .with_context(|| format!("sending {}", what()))?;
    receive(to, payload).with_context(what)
}

/// The next datagram has to be this one.
pub fn receive(socket: &UdpSocket, payload: &[u8]) -> Result<()> {
    let mut found = vec![0; 65536];
    let n = socket.recv(&mut found)?;

    ensure_data("datagram", &found[..n], payload)
}

/// Reads exactly `len` bytes.
pub fn read_all(mut stream: &TcpStream, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];

    stream
        .read_exact(&mut bytes)
        .context("reading from a TCP socket")?;
    Ok(bytes)
}
