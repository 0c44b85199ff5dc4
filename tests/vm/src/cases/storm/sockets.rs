// SPDX-License-Identifier: GPL-2.0

//! AF_XDP sockets of the storm, in copy mode and in zero-copy mode: they receive what programs
//! redirect to them, and send probes as the other traffic does.

use super::traffic::probe;
use crate::{
    bed::Port,
    random::Random,
    wire::{
        xsk::{
            socket::{Mode, Setup},
            Desc, Xsk, XDP_PKT_CONTD,
        },
        ETH,
    },
};
use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, RawFd};

/// Places of the RX ring: half of the buffers that there are to receive into. As long as nobody
/// reads, frames are lost for want of a place, and there are buffers for what other frames have to
/// wait for.
const RX: u32 = 256;
const RECEIVE: u32 = 2 * RX;
/// Buffers to send, for each of which there is a place in the TX ring and in the completion ring.
const SEND: u32 = 64;
/// Buffers of a frame that is sent.
const PARTS: usize = 4;

/// How a socket is bound.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub mode: Mode,
    pub chunk: usize,
    /// Frames may be in several buffers.
    pub sg: bool,
}

impl How {
    /// Any.
    pub fn any(random: &mut Random, mode: Mode) -> Self {
        Self {
            mode,
            chunk: random.pick(&[2048, 4096]),
            sg: random.flip(),
        }
    }

    fn setup(self) -> Setup {
        Setup {
            mode: self.mode,
            chunk: self.chunk,
            sg: self.sg,
            buffers: RECEIVE + SEND,
            fill: RECEIVE,
            rx: RX,
            tx: SEND,
            completion: SEND,
            ..Setup::default()
        }
    }

    /// Whether the kernel binds it to a port with this MTU, whose frames have up to `segments`
    /// buffers (`xp_assign_dev` in net/xdp/xsk_buff_pool.c).
    pub fn fits(self, mtu: u32, segments: u64) -> bool {
        /// Ethernet header, two VLAN tags and the checksum.
        const ETH_PAD_LEN: u64 = 26;
        let segments = if self.sg { segments } else { 1 };

        self.mode == Mode::Copy
            || u64::from(mtu) + ETH_PAD_LEN <= segments * self.setup().room() as u64
    }
}

/// A socket that is bound to a queue.
pub struct Bound {
    socket: Xsk,
    how: How,
    /// Buffers to send that are free.
    free: Vec<u64>,
    /// Those that the kernel has.
    given: Vec<u64>,
}

impl Bound {
    /// Opens and binds it.
    pub fn open(port: &Port, queue: u32, how: How) -> Result<Self> {
        let socket = Xsk::with_tx(port, queue, how.setup(), SEND)?;
        let free = (RECEIVE..RECEIVE + SEND)
            .map(|n| socket.socket().buffer(n))
            .collect();

        Ok(Self {
            socket,
            how,
            free,
            given: Vec::new(),
        })
    }

    /// All frames that are there; their buffers go back.
    pub fn drain(&self) -> Result<Vec<Vec<u8>>> {
        let frames = self.socket.drain()?;
        let socket = self.socket.socket();

        if socket.fill.needs_wakeup() {
            allow(socket.wake_rx())?;
        }
        Ok(frames)
    }

    /// Sends up to `count` probes, as long as buffers are free.
    pub fn send(&mut self, random: &mut Random, count: u32, mtu: u32) -> Result<()> {
        let parts = if self.how.sg { PARTS } else { 1 };
        let longest = (mtu as usize + ETH).min(parts * self.how.chunk);

        self.reclaim()?;
        for _ in 0..count {
            let frame = probe(random, longest).frame();

            if frame.len().div_ceil(self.how.chunk) > self.free.len() {
                break;
            }
            self.give(&frame);
        }
        self.wake()
    }

    fn give(&mut self, frame: &[u8]) {
        let socket = self.socket.socket();
        let mut parts = frame.chunks(self.how.chunk).peekable();

        while let Some((part, buffer)) = parts.next().zip(self.free.pop()) {
            let options = if parts.peek().is_some() {
                XDP_PKT_CONTD
            } else {
                0
            };
            let desc = Desc {
                addr: buffer,
                len: part.len() as u32,
                options,
            };

            socket.frames.write(buffer as usize, part);
            socket.tx().push(desc.into());
            self.given.push(buffer);
        }
    }

    /// Tells the kernel that there is something to send.
    pub fn wake(&self) -> Result<()> {
        allow(self.socket.socket().wake_tx())
    }

    /// As [`Bound::reclaim`]. In copy mode the kernel sends a few frames in each call, in zero-copy
    /// mode it goes on by itself.
    pub fn finish(&mut self) -> Result<usize> {
        if self.how.mode == Mode::Copy {
            self.wake()?;
        }
        self.reclaim()
    }

    /// Takes back what has been sent; returns how many buffers the kernel still has. In zero-copy
    /// mode they come back in the order in which they were given.
    pub fn reclaim(&mut self) -> Result<usize> {
        let socket = self.socket.socket();

        while let Some([buffer]) = socket.completions.peek() {
            socket.completions.release();
            let Some(at) = self.given.iter().position(|given| *given == buffer) else {
                bail!("completion of {buffer:#x}, which the kernel does not have");
            };
            ensure!(
                at == 0 || self.how.mode == Mode::Copy,
                "completion of {buffer:#x} before that of {:#x}",
                self.given[0]
            );
            self.given.remove(at);
            self.free.push(buffer);
        }
        Ok(self.given.len())
    }
}

impl AsRawFd for Bound {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The port may be down or without a link, or the queue stopped: the kernel goes on later.
fn allow(result: Result<(), Errno>) -> Result<()> {
    match result {
        Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOBUFS | Errno::ENETDOWN) => Ok(()),
        result => result.context("waking the kernel for an AF_XDP socket"),
    }
}
