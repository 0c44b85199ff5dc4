// SPDX-License-Identifier: GPL-2.0

//! The two sockets, and how a filter gets to them.

use anyhow::{anyhow, Context, Result};
use aya::programs::ProgramFd;
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    libc, setsockopt_impl, sockopt_impl,
    sys::socket::{
        bind, recv, setsockopt, socket,
        sockopt::{BindToDevice, Ipv6V6Only},
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6,
    },
};
use oxnic_samples::interface::Interface;
use std::{
    ffi::OsString,
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

sockopt_impl!(
    /// The filter of a socket: the descriptor of a program of type `BPF_PROG_TYPE_SOCKET_FILTER`.
    AttachBpf,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_ATTACH_BPF,
    RawFd
);

/// A socket with a filter. When it is closed, the filter goes with it.
pub struct Filtered {
    fd: OwnedFd,
}

impl Filtered {
    /// A packet socket: it sees all frames of the interface, with their Ethernet headers.
    pub fn packet(interface: &Interface, filter: &ProgramFd) -> Result<Self> {
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            Some(SockProtocol::EthAll),
        )
        .context("opening a packet socket")?;
        let address = getifaddrs()
            .context("asking for the interfaces' addresses")?
            .filter(|address| address.interface_name == interface.name)
            .find_map(|address| address.address?.as_link_addr().copied())
            .ok_or_else(|| anyhow!("{interface} has no link-layer address"))?;
        let filtered = Self::attach(fd, filter)?;

        bind(filtered.number(), &address)
            .with_context(|| format!("binding a packet socket to {interface}"))?;
        // It was open for a moment without the filter, and has seen what all interfaces receive.
        filtered.drain()?;
        Ok(filtered)
    }

    /// A UDP socket: it gets what the interface receives for a port, by IPv4 or IPv6.
    pub fn udp(interface: &Interface, port: u16, filter: &ProgramFd) -> Result<Self> {
        let fd = socket(
            AddressFamily::Inet6,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .context("opening a UDP socket")?;
        let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);

        setsockopt(&fd, Ipv6V6Only, &false).context("asking for IPv4 as well")?;
        setsockopt(&fd, BindToDevice, &OsString::from(&interface.name))
            .with_context(|| format!("binding a UDP socket to {interface}"))?;
        let filtered = Self::attach(fd, filter)?;
        bind(filtered.number(), &SockaddrIn6::from(address))
            .with_context(|| format!("binding a socket to UDP port {port}"))?;
        Ok(filtered)
    }

    /// Attaching needs no privilege. It was loading the program that needed one.
    fn attach(fd: OwnedFd, filter: &ProgramFd) -> Result<Self> {
        setsockopt(&fd, AttachBpf, &filter.as_fd().as_raw_fd()).context("SO_ATTACH_BPF")?;
        Ok(Self { fd })
    }

    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Reads what has got through the filter, and returns how much that was.
    pub fn drain(&self) -> Result<u64> {
        let mut byte = [0; 1];
        let mut count = 0;

        loop {
            // Of each, one byte; the rest is thrown away.
            match recv(self.number(), &mut byte, MsgFlags::MSG_DONTWAIT) {
                Ok(_) => count += 1,
                Err(Errno::EAGAIN) => return Ok(count),
                // The interface has gone down or away: the socket says so once, and lives on.
                Err(Errno::ENETDOWN | Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("reading from a socket"),
            }
        }
    }
}
