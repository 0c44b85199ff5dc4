// SPDX-License-Identifier: GPL-2.0

//! An AF_XDP socket on a queue of a port, with its rings as they are: the test writes what it wants
//! into them.

use super::Desc;
use crate::{
    bed::Port,
    host::{ensure_eq, wait_until},
    wire::probe::Probe,
};
use anyhow::{Context, Result};
use nix::errno::Errno;
use oxnic_xsk::raw;
pub use oxnic_xsk::{Mode, Setup};
use std::{
    ops::Deref,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

pub struct Socket(oxnic_xsk::Socket);

impl Socket {
    /// Opens a socket and binds it.
    pub fn open(port: &Port, queue: u32, setup: Setup) -> Result<Self> {
        let socket = Self::unbound(port, setup)?;

        // One that was closed a moment ago may still have the queue.
        wait_until("an AF_XDP socket gets its queue", || {
            match socket.bind(port, queue) {
                Err(Errno::EBUSY) => Ok(false),
                result => result.map(|()| true).context("binding an AF_XDP socket"),
            }
        })?;
        Ok(socket)
    }

    /// A socket that belongs to no queue yet, with buffers of its own.
    pub fn unbound(port: &Port, setup: Setup) -> Result<Self> {
        let fd = port.ns.enter(raw::socket)?;

        oxnic_xsk::Socket::new(fd, setup).map(Self)
    }

    /// A socket with the buffers of another one, for another queue of any port.
    pub fn share(first: &Self, port: &Port, queue: u32, setup: Setup) -> Result<Self> {
        let fd = port.ns.enter(raw::socket)?;
        let socket = Self(oxnic_xsk::Socket::sharing(first, fd, setup)?);

        socket.bind_shared(first, port, queue)?;
        Ok(socket)
    }

    /// A socket with the buffers of another one, for the same queue of the same port.
    pub fn share_queue(first: &Self, port: &Port, queue: u32, setup: Setup) -> Result<Self> {
        let fd = port.ns.enter(raw::socket)?;
        let socket = Self(oxnic_xsk::Socket::sharing_queue(first, fd, setup)?);

        socket.bind_shared(first, port, queue)?;
        Ok(socket)
    }

    fn bind_shared(&self, first: &Self, port: &Port, queue: u32) -> Result<()> {
        self.0
            .bind_shared(first, port.ifindex, queue)
            .context("binding an AF_XDP socket with the buffers of another one")
    }

    /// Binds it to a queue; the error is the kernel's.
    pub fn bind(&self, port: &Port, queue: u32) -> Result<(), Errno> {
        self.0.bind(port.ifindex, queue)
    }

    /// Takes a frame out of the RX ring, if there is one. It has to be a probe, in one buffer,
    /// which the caller gives back.
    pub fn take_probe(&self) -> Result<Option<(Probe, Desc)>> {
        let Some(desc) = self.take() else {
            return Ok(None);
        };

        ensure_eq!(desc.options, 0, "options of a frame in one buffer");
        let probe = Probe::parse(&self.bytes(&desc))?.context("a frame that no test sent")?;
        Ok(Some((probe, desc)))
    }
}

impl Deref for Socket {
    type Target = oxnic_xsk::Socket;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
