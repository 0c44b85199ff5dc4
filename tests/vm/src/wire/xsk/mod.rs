// SPDX-License-Identifier: GPL-2.0

//! AF_XDP sockets in copy mode: [`Xsk`] receives, [`tx::XskTx`] sends.

mod raw;
pub mod tx;

use super::rest::Rest;
use crate::{
    bed::Port,
    host::{wait_until, PATIENCE},
};
use anyhow::{bail, ensure, Context, Result};
use nix::{
    errno::Errno,
    libc,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::socket::{recv, MsgFlags},
};
use raw::{Area, Ring};
use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::Duration,
};

/// Buffers of a socket, and entries of its rings.
const BUFFERS: u32 = 512;
/// What the kernel keeps in front of each frame (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
const XDP_PKT_CONTD: u32 = 1;

/// The two words of a descriptor: `struct xdp_desc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Desc {
    pub addr: u64,
    pub len: u32,
    pub options: u32,
}

impl From<[u64; 2]> for Desc {
    fn from([addr, rest]: [u64; 2]) -> Self {
        Self {
            addr,
            len: rest as u32,
            options: (rest >> 32) as u32,
        }
    }
}

impl From<Desc> for [u64; 2] {
    fn from(desc: Desc) -> Self {
        [
            desc.addr,
            u64::from(desc.len) | (u64::from(desc.options) << 32),
        ]
    }
}

/// Gives a socket the rings that go with its memory. The kernel wants both.
fn set_memory_rings(fd: &OwnedFd) -> Result<()> {
    raw::set(fd, libc::XDP_UMEM_FILL_RING, &BUFFERS, "XDP_UMEM_FILL_RING")?;
    raw::set(
        fd,
        libc::XDP_UMEM_COMPLETION_RING,
        &BUFFERS,
        "XDP_UMEM_COMPLETION_RING",
    )
}

fn offsets(fd: &OwnedFd) -> Result<libc::xdp_mmap_offsets> {
    raw::get(fd, libc::XDP_MMAP_OFFSETS, "XDP_MMAP_OFFSETS")
}

/// Binds a socket. One that was closed a moment ago may still have the queue.
fn bind(fd: &OwnedFd, port: &Port, queue: u32, sg: bool) -> Result<()> {
    let flags = libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP | if sg { libc::XDP_USE_SG } else { 0 };

    wait_until("an AF_XDP socket gets its queue", || {
        match raw::bind(fd, port.ifindex, queue, flags) {
            Err(Errno::EBUSY) => Ok(false),
            result => result.map(|()| true).context("binding an AF_XDP socket"),
        }
    })
}

/// A socket for the frames of one queue of a port.
pub struct Xsk {
    fd: OwnedFd,
    frames: Area,
    chunk: usize,
    fill: Ring<1>,
    rx: Ring<2>,
    rest: Rest,
}

impl Xsk {
    /// Opens and binds a socket whose buffers have `chunk` bytes. With `sg` it takes frames that
    /// need several of them.
    pub fn open(port: &Port, queue: u32, chunk: usize, sg: bool) -> Result<Self> {
        let frames = Area::anonymous(chunk * BUFFERS as usize)?;
        let fd = raw::socket(port)?;

        raw::register(&fd, &frames, chunk, 0, 0)?;
        set_memory_rings(&fd)?;
        raw::set(&fd, libc::XDP_RX_RING, &BUFFERS, "XDP_RX_RING")?;
        let offsets = offsets(&fd)?;
        let socket = Self {
            fill: Ring::map(&fd, offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING, BUFFERS)?,
            rx: Ring::map(&fd, offsets.rx, libc::XDP_PGOFF_RX_RING as u64, BUFFERS)?,
            fd,
            frames,
            chunk,
            rest: Rest::now()?,
        };

        (0..u64::from(BUFFERS)).for_each(|n| socket.fill.push([n * chunk as u64]));
        bind(&socket.fd, port, queue, sg)?;
        Ok(socket)
    }

    /// Takes the next part of a frame: its bytes, and whether more of the frame follows.
    fn part(&self) -> Option<(Vec<u8>, bool)> {
        let Desc { addr, len, options } = self.rx.peek()?.into();
        let bytes = self.frames.bytes(addr as usize, len as usize);

        self.rx.release();
        self.fill.push([addr - addr % self.chunk as u64]);
        Some((bytes, options & XDP_PKT_CONTD != 0))
    }

    /// The next frame, or `None` if none comes for `patience`. It has to be in as few buffers as
    /// possible.
    fn next(&self, patience: Duration) -> Result<Option<Vec<u8>>> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let room = self.chunk - HEADROOM;
        let mut frame = Vec::new();

        if poll(&mut fds, timeout)? == 0 {
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
        recv(self.fd.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT)
            .context("receiving from an AF_XDP socket")
            .map(drop)
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
        Ok(raw::statistics(&self.fd)?.rx_dropped)
    }
}

impl AsFd for Xsk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Xsk {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
