// SPDX-License-Identifier: GPL-2.0

//! AF_XDP sockets: [`Xsk`] receives, [`tx::XskTx`] sends, and [`socket::Socket`] leaves everything
//! to the test.

pub mod socket;
pub mod tx;

use super::rest::Rest;
use crate::{
    bed::{Bed, Port},
    host::PATIENCE,
};
use anyhow::{bail, ensure, Context, Result};
use nix::{
    poll::{PollFlags, PollTimeout},
    unistd::{sysconf, SysconfVar},
};
pub use oxnic_xsk::Desc;
use socket::{Mode, Setup, Socket};
use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    time::Duration,
};

pub const XDP_PKT_CONTD: u32 = 1;

/// A zero-copy socket on every queue of both ports, with many buffers, for frames of any length.
/// Nobody reads what it receives. A frame has as much room behind it as in a page of the port's
/// own.
pub fn on_every_queue(bed: &Bed) -> Result<Vec<Socket>> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("the size of a page")?;
    let setup = Setup {
        mode: Mode::ZeroCopy,
        chunk: page as usize,
        headroom: 64,
        sg: true,
        buffers: 4096,
        fill: 4096,
        ..Setup::default()
    };
    let mut sockets = Vec::new();

    for port in [&bed.a, &bed.b] {
        for queue in 0..port.counters()?.rx_each("packets")?.len() as u32 {
            let socket = Socket::open(port, queue, setup)?;

            socket.fill_all();
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// Fails unless the port has received into the memory of these sockets.
pub fn ensure_used(bed: &Bed) -> Result<()> {
    let used = bed.a.counters()?.rx("xsk_packets")? + bed.b.counters()?.rx("xsk_packets")?;

    ensure!(used > 0, "no frame was received into a socket's memory");
    Ok(())
}

/// A socket for the frames of one queue of a port.
pub struct Xsk {
    socket: Socket,
    rest: Rest,
}

impl Xsk {
    /// Opens and binds a socket whose buffers have `chunk` bytes. With `sg` it takes frames that
    /// need several of them.
    pub fn open(port: &Port, queue: u32, chunk: usize, sg: bool) -> Result<Self> {
        Self::with(
            port,
            queue,
            Setup {
                chunk,
                sg,
                ..Setup::default()
            },
        )
    }

    /// Opens and binds a socket, all of whose buffers the kernel has.
    pub fn with(port: &Port, queue: u32, setup: Setup) -> Result<Self> {
        let socket = Socket::open(port, queue, setup.receiver())?;

        socket.fill_all();
        Ok(Self {
            socket,
            rest: Rest::now()?,
        })
    }

    /// As [`Xsk::with`], with a TX ring. The last `kept` buffers are left to the caller, to be
    /// sent.
    pub fn with_tx(port: &Port, queue: u32, setup: Setup, kept: u32) -> Result<Self> {
        let socket = Socket::open(port, queue, setup)?;

        socket.fill_first(setup.buffers - kept);
        Ok(Self {
            socket,
            rest: Rest::now()?,
        })
    }

    /// The socket with its rings.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Takes the next part of a frame: its bytes, and whether more of the frame follows.
    fn part(&self) -> Option<(Vec<u8>, bool)> {
        let desc = self.socket.take()?;
        let bytes = self.socket.bytes(&desc);

        self.socket.give_back(&desc);
        Some((bytes, desc.options & XDP_PKT_CONTD != 0))
    }

    /// The next frame, or `None` if none comes for `patience`. It has to be in as few buffers as
    /// possible.
    fn next(&self, patience: Duration) -> Result<Option<Vec<u8>>> {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let room = self.socket.setup.room();
        let mut frame = Vec::new();

        if !self.socket.poll(PollFlags::POLLIN, timeout)? {
            return Ok(None);
        }
        loop {
            let Some((bytes, more)) = self.part() else {
                bail!("a frame without an end after {} bytes", frame.len());
            };

            ensure!(
                bytes.len() == room || !more,
                "{} bytes in a buffer of {room} that is not the frame's last",
                bytes.len()
            );
            frame.extend(bytes);
            if !more {
                return Ok(Some(frame));
            }
        }
    }

    /// Makes the kernel poll the socket's queue in this thread, if the socket is set to do so.
    pub fn busy_poll(&self) -> Result<()> {
        self.socket
            .wake_rx()
            .context("receiving from an AF_XDP socket")
    }

    pub fn any(&self) -> Result<Vec<u8>> {
        self.next(PATIENCE)?
            .context("expected a frame in an AF_XDP socket, found none")
    }

    /// Fails if a frame has arrived or is in flight.
    pub fn silence(&self) -> Result<()> {
        self.rest.wait()?;
        match self.next(Duration::ZERO)? {
            None => Ok(()),
            Some(frame) => bail!("a frame of {} bytes too many", frame.len()),
        }
    }

    /// All frames that are there.
    pub fn drain(&self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();

        while let Some(frame) = self.next(Duration::ZERO)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Frames that the socket could not take (`rx_dropped`).
    pub fn dropped(&self) -> Result<u64> {
        Ok(self.socket.statistics()?.rx_dropped)
    }
}

impl AsFd for Xsk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Xsk {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
