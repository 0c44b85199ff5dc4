// SPDX-License-Identifier: GPL-2.0

//! AF_XDP sockets that send.

use super::{bind, offsets, raw, set_memory_rings, Desc, BUFFERS, XDP_PKT_CONTD};
use crate::{bed::Port, host::wait_until};
use anyhow::{bail, ensure, Context, Result};
use nix::{
    errno::Errno,
    libc,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::socket::{send, MsgFlags},
};
use raw::{Area, Ring};
use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::Ordering,
};

const XDP_UMEM_TX_SW_CSUM: u32 = 1 << 1;
const XDP_UMEM_TX_METADATA_LEN: u32 = 1 << 2;
/// Of a descriptor: there is metadata in front of the frame.
const XDP_TX_METADATA: u32 = 1 << 1;

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

/// What a socket is made with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub chunk: usize,
    /// Room for metadata in front of each frame; 0: none.
    pub metadata: u32,
    /// The kernel computes checksums itself instead of having the port do it.
    pub software_checksum: bool,
    /// Frames may be in several buffers.
    pub sg: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chunk: 2048,
            metadata: 0,
            software_checksum: false,
            sg: false,
        }
    }
}

/// A socket that sends out of one queue of a port.
pub struct XskTx {
    fd: OwnedFd,
    frames: Area,
    options: Options,
    ring: Ring<2>,
    completions: Ring<1>,
    /// Buffers that no one uses.
    free: Vec<u64>,
    /// How often an address was given to the kernel and has not come back, and the buffer that is
    /// free then.
    given: BTreeMap<u64, Vec<Option<u64>>>,
}

impl XskTx {
    pub fn open(port: &Port, queue: u32, options: Options) -> Result<Self> {
        let frames = Area::anonymous(options.chunk * BUFFERS as usize)?;
        let fd = raw::socket(port)?;
        let mut flags = 0;

        if options.metadata > 0 {
            flags |= XDP_UMEM_TX_METADATA_LEN;
        }
        if options.software_checksum {
            flags |= XDP_UMEM_TX_SW_CSUM;
        }
        raw::register(&fd, &frames, options.chunk, flags, options.metadata)?;
        set_memory_rings(&fd)?;
        raw::set(&fd, libc::XDP_TX_RING, &BUFFERS, "XDP_TX_RING")?;
        let offsets = offsets(&fd)?;
        let socket = Self {
            ring: Ring::map(&fd, offsets.tx, libc::XDP_PGOFF_TX_RING as u64, BUFFERS)?,
            completions: Ring::map(
                &fd,
                offsets.cr,
                libc::XDP_UMEM_PGOFF_COMPLETION_RING,
                BUFFERS,
            )?,
            free: (0..u64::from(BUFFERS))
                .rev()
                .map(|n| n * options.chunk as u64)
                .collect(),
            given: BTreeMap::new(),
            fd,
            frames,
            options,
        };

        bind(&socket.fd, port, queue, options.sg)?;
        Ok(socket)
    }

    /// Bytes of a frame that a buffer has room for.
    pub fn room(&self) -> usize {
        self.options.chunk - self.options.metadata as usize
    }

    /// Writes bytes, with metadata if there are any, into a free buffer. The descriptor is not
    /// given to the kernel.
    pub fn write(&mut self, bytes: &[u8], request: Option<Request>) -> Result<Desc> {
        let chunk = self.free.pop().context("no buffer is free")?;
        let addr = chunk + u64::from(self.options.metadata);
        let mut desc = Desc {
            addr,
            len: bytes.len() as u32,
            options: 0,
        };

        self.frames.write(addr as usize, bytes);
        if let Some(request) = request {
            self.request(addr, &request);
            desc.options |= XDP_TX_METADATA;
        }
        Ok(desc)
    }

    /// Writes the metadata of a buffer.
    pub fn request(&mut self, addr: u64, request: &Request) {
        let len = self.options.metadata;

        self.frames
            .write((addr - u64::from(len)) as usize, &request.bytes(len));
    }

    /// Gives a descriptor to the kernel. One that the test has spoilt names the buffer that it
    /// keeps.
    pub fn give(&mut self, desc: Desc, buffer: Option<u64>) {
        self.given.entry(desc.addr).or_default().push(buffer);
        self.ring.push(desc.into());
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

    /// The buffer that an address is in.
    pub fn buffer_of(&self, addr: u64) -> u64 {
        addr - addr % self.options.chunk as u64
    }

    /// Makes the kernel send what it was given, a few dozen frames at most.
    pub fn kick(&self) -> Result<(), Errno> {
        send(self.fd.as_raw_fd(), &[], MsgFlags::MSG_DONTWAIT).map(drop)
    }

    /// As [`XskTx::kick`], by asking whether there is room for more.
    pub fn kick_by_poll(&self) -> Result<bool> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];

        Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
    }

    /// Descriptors that the kernel has not taken yet.
    pub fn pending(&self) -> u32 {
        self.ring.len()
    }

    pub fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }

    /// Takes the addresses that have come back. Each must have been given, and come back once only.
    pub fn completed(&mut self) -> Result<Vec<u64>> {
        let mut addresses = Vec::new();

        while let Some([addr]) = self.completions.peek() {
            self.completions.release();
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
        let metadata = addr - u64::from(self.options.metadata);

        self.frames.u64(metadata + 8).load(Ordering::Relaxed)
    }

    /// Descriptors that the kernel found invalid.
    pub fn invalid(&self) -> Result<u64> {
        Ok(raw::statistics(&self.fd)?.tx_invalid_descs)
    }
}
