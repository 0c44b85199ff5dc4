// SPDX-License-Identifier: GPL-2.0

//! AF_XDP sockets that send.

use super::{
    socket::{Setup, Socket},
    Desc, XDP_PKT_CONTD,
};
use crate::{bed::Port, host::wait_until};
use anyhow::{bail, ensure, Context, Result};
use nix::{
    errno::Errno,
    poll::{PollFlags, PollTimeout},
};
use std::{collections::BTreeMap, sync::atomic::Ordering};

/// Of a descriptor: there is metadata in front of the frame.
pub const XDP_TX_METADATA: u32 = 1 << 1;

/// Flags of metadata (`XDP_TXMD_FLAGS_*`).
pub const TIMESTAMP: u64 = 1 << 0;
pub const CHECKSUM: u64 = 1 << 1;
pub const LAUNCH_TIME: u64 = 1 << 2;

/// What a frame's metadata asks for: `struct xsk_tx_metadata` until the frame is completed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    pub flags: u64,
    pub csum_start: u16,
    pub csum_offset: u16,
    pub launch_time: u64,
}

impl Request {
    /// The bytes, as many as the socket has room for.
    fn bytes(&self, len: u32) -> Vec<u8> {
        let mut bytes = self.flags.to_ne_bytes().to_vec();

        bytes.extend(self.csum_start.to_ne_bytes());
        bytes.extend(self.csum_offset.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.launch_time.to_ne_bytes());
        bytes.resize(len as usize, 0);
        bytes
    }
}

/// A socket that sends out of one queue of a port.
pub struct XskTx {
    socket: Socket,
    /// Buffers that no one uses.
    free: Vec<u64>,
    /// How often an address was given to the kernel and has not come back, and the buffer that is
    /// free then.
    given: BTreeMap<u64, Vec<Option<u64>>>,
}

impl XskTx {
    pub fn open(port: &Port, queue: u32, setup: Setup) -> Result<Self> {
        let socket = Socket::open(port, queue, setup.sender())?;

        Ok(Self {
            free: (0..setup.buffers).rev().map(|n| socket.buffer(n)).collect(),
            given: BTreeMap::new(),
            socket,
        })
    }

    /// Gives the kernel `count` buffers to receive into: in zero-copy mode its queue has no others.
    pub fn receive_into(&mut self, count: usize) {
        let kept = self.free.len() - count;

        for buffer in self.free.split_off(kept) {
            self.socket.fill.push([buffer]);
        }
        self.socket.call_if_asked();
    }

    /// Bytes of a frame that a buffer has room for.
    pub fn room(&self) -> usize {
        self.socket.setup.chunk - self.socket.setup.metadata as usize
    }

    /// Writes bytes, with metadata if there are any, into a free buffer. The descriptor is not
    /// given to the kernel.
    pub fn write(&mut self, bytes: &[u8], request: Option<Request>) -> Result<Desc> {
        let chunk = self.free.pop().context("no buffer is free")?;
        let addr = chunk + u64::from(self.socket.setup.metadata);
        let mut desc = Desc {
            addr,
            len: bytes.len() as u32,
            options: 0,
        };

        self.socket.frames.write(addr as usize, bytes);
        if let Some(request) = request {
            self.request(addr, &request);
            desc.options |= XDP_TX_METADATA;
        }
        Ok(desc)
    }

    /// Writes the metadata of a buffer.
    pub fn request(&mut self, addr: u64, request: &Request) {
        let len = self.socket.setup.metadata;

        self.socket
            .frames
            .write((addr - u64::from(len)) as usize, &request.bytes(len));
    }

    /// Gives a descriptor to the kernel. One that the test has spoilt names the buffer that it
    /// keeps.
    pub fn give(&mut self, desc: Desc, buffer: Option<u64>) {
        self.given.entry(desc.addr).or_default().push(buffer);
        self.socket.tx().push(desc.into());
    }

    /// Gives a frame to the kernel, which sends it with the next [`XskTx::kick`]. Returns its
    /// address.
    pub fn queue(&mut self, frame: &[u8], request: Option<Request>) -> Result<u64> {
        self.queue_parts(&[frame], request)
    }

    /// As [`XskTx::queue`], with each part of the frame in a buffer of its own.
    pub fn queue_parts(&mut self, parts: &[&[u8]], request: Option<Request>) -> Result<u64> {
        let mut first = None;

        for (n, part) in parts.iter().enumerate() {
            let mut desc = self.write(part, request.filter(|_| n == 0))?;

            if n + 1 < parts.len() {
                desc.options |= XDP_PKT_CONTD;
            }
            first.get_or_insert(desc.addr);
            self.give(desc, Some(self.buffer_of(desc.addr)));
        }
        first.context("a frame without parts")
    }

    /// The buffer of what [`XskTx::write`] has returned.
    pub fn buffer_of(&self, addr: u64) -> u64 {
        addr - u64::from(self.socket.setup.metadata)
    }

    /// Makes the kernel send what it was given, a few dozen frames at most.
    pub fn kick(&self) -> Result<(), Errno> {
        self.socket.wake_tx()
    }

    /// As [`XskTx::kick`], by asking whether there is room for more.
    pub fn kick_by_poll(&self) -> Result<bool> {
        self.socket.poll(PollFlags::POLLOUT, PollTimeout::ZERO)
    }

    /// Descriptors that the kernel has not taken yet.
    pub fn pending(&self) -> u32 {
        self.socket.tx().len()
    }

    pub fn needs_wakeup(&self) -> bool {
        self.socket.tx().needs_wakeup()
    }

    /// Takes the addresses that have come back. Each must have been given, and come back once only.
    pub fn completed(&mut self) -> Result<Vec<u64>> {
        let mut addresses = Vec::new();

        while let Some([addr]) = self.socket.completions.peek() {
            self.socket.completions.release();
            let Some(buffer) = self.given.get_mut(&addr).and_then(Vec::pop) else {
                bail!("completion of {addr:#x}, which the kernel does not have");
            };
            self.free.extend(buffer);
            addresses.push(addr);
        }
        Ok(addresses)
    }

    /// Addresses that have not come back yet.
    pub fn outstanding(&self) -> usize {
        self.given.values().map(Vec::len).sum()
    }

    /// Makes the kernel send all that it was given, and takes all of it back.
    pub fn flush(&mut self) -> Result<Vec<u64>> {
        let mut addresses = Vec::new();

        wait_until("an AF_XDP socket has sent", || {
            match self.kick() {
                Ok(()) | Err(Errno::EAGAIN) => {}
                Err(e) => return Err(e).context("sending by AF_XDP"),
            }
            // Each call takes only so many descriptors, and none behind one that is invalid.
            let all = loop {
                let found = self.completed()?;
                if found.is_empty() {
                    break self.outstanding() == 0;
                }
                addresses.extend(found);
                let _ = self.kick();
            };
            Ok(all)
        })?;
        ensure!(
            self.pending() == 0,
            "descriptors in the ring, all completed"
        );
        Ok(addresses)
    }

    /// When a completed frame was sent, as its metadata says.
    pub fn timestamp(&self, addr: u64) -> u64 {
        let metadata = addr - u64::from(self.socket.setup.metadata);

        self.socket.frames.u64(metadata + 8).load(Ordering::Relaxed)
    }

    /// Descriptors that the kernel found invalid.
    pub fn invalid(&self) -> Result<u64> {
        Ok(self.socket.statistics()?.tx_invalid_descs)
    }
}
