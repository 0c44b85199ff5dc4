// SPDX-License-Identifier: GPL-2.0

//! An AF_XDP socket with its rings.

use crate::{
    raw::{self, Area, Ring},
    Desc, BUFFERS, HEADROOM,
};
use anyhow::Result;
use nix::{
    errno::Errno,
    libc,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::socket::{recv, send, MsgFlags},
};
use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{
        atomic::{fence, Ordering},
        Arc,
    },
};

const XDP_UMEM_UNALIGNED_CHUNK_FLAG: u32 = 1 << 0;
const XDP_UMEM_TX_SW_CSUM: u32 = 1 << 1;
const XDP_UMEM_TX_METADATA_LEN: u32 = 1 << 2;

const PAGE: usize = 4096;
/// In an address of the kernel's that may be unaligned: the buffer, and how far in it a frame
/// starts (`XSK_UNALIGNED_BUF_ADDR_MASK`, `XSK_UNALIGNED_BUF_OFFSET_SHIFT`).
const UNALIGNED_OFFSET_SHIFT: u32 = 48;
const UNALIGNED_BUFFER: u64 = (1 << UNALIGNED_OFFSET_SHIFT) - 1;

/// Who moves the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    Copy,
    ZeroCopy,
    /// Zero-copy if the driver can.
    Any,
}

impl Mode {
    fn flag(self) -> u16 {
        match self {
            Self::Copy => libc::XDP_COPY,
            Self::ZeroCopy => libc::XDP_ZEROCOPY,
            Self::Any => 0,
        }
    }
}

/// What a socket is made with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub mode: Mode,
    /// The kernel says when it wants to be called; else it wants it each time.
    pub need_wakeup: bool,
    /// Frames may be in several buffers.
    pub sg: bool,
    /// Bytes of a buffer, and how many there are.
    pub chunk: usize,
    pub buffers: u32,
    /// Buffers may begin anywhere: each lies in a page of its own, at offsets of all kinds.
    pub unaligned: bool,
    /// Bytes to keep free in front of a received frame, beside the kernel's own.
    pub headroom: u32,
    /// Room for metadata in front of each frame that is sent; 0: none.
    pub metadata: u32,
    /// The kernel computes checksums itself instead of having the port do it.
    pub software_checksum: bool,
    /// Entries of the rings. A socket without a ring has 0 of that kind.
    pub fill: u32,
    pub completion: u32,
    pub rx: u32,
    pub tx: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            mode: Mode::Copy,
            need_wakeup: true,
            sg: false,
            chunk: 2048,
            buffers: BUFFERS,
            unaligned: false,
            headroom: 0,
            metadata: 0,
            software_checksum: false,
            fill: BUFFERS,
            completion: BUFFERS,
            rx: BUFFERS,
            tx: BUFFERS,
        }
    }
}

impl Setup {
    /// Only receives.
    pub fn receiver(self) -> Self {
        Self { tx: 0, ..self }
    }

    /// Only sends.
    pub fn sender(self) -> Self {
        Self { rx: 0, ..self }
    }

    /// Bytes of a received frame that a buffer takes.
    pub fn room(&self) -> usize {
        /// The kernel's `struct skb_shared_info`, in cache lines: for frames in several buffers.
        const TAIL: usize = 320;
        let room = self.chunk - HEADROOM - self.headroom as usize;
        let tail = if self.sg { TAIL } else { 0 };

        match self.mode {
            Mode::Copy => room,
            // `xsk_pool_get_rx_frame_size` in include/net/xdp_sock_drv.h.
            Mode::ZeroCopy | Mode::Any => (room - tail) & !127,
        }
    }

    fn bind_flags(&self) -> u16 {
        let mut flags = self.mode.flag();

        if self.need_wakeup {
            flags |= libc::XDP_USE_NEED_WAKEUP;
        }
        if self.sg {
            flags |= libc::XDP_USE_SG;
        }
        flags
    }

    /// Bytes of the memory in which the buffers are.
    pub fn umem_len(&self) -> usize {
        let each = if self.unaligned { PAGE } else { self.chunk };

        each * self.buffers as usize
    }

    fn umem_flags(&self) -> u32 {
        let mut flags = 0;

        if self.unaligned {
            flags |= XDP_UMEM_UNALIGNED_CHUNK_FLAG;
        }
        if self.metadata > 0 {
            flags |= XDP_UMEM_TX_METADATA_LEN;
        }
        if self.software_checksum {
            flags |= XDP_UMEM_TX_SW_CSUM;
        }
        flags
    }
}

pub struct Socket {
    fd: OwnedFd,
    pub frames: Arc<Area>,
    pub setup: Setup,
    /// Of the queue: a socket that shares its queue with another one uses the other's.
    pub fill: Arc<Ring<1>>,
    pub completions: Arc<Ring<1>>,
    rx: Option<Ring<2>>,
    tx: Option<Ring<2>>,
}

impl Socket {
    /// Makes the rings of a [new socket](raw::socket), and buffers of its own. It belongs to no
    /// queue yet.
    pub fn new(fd: OwnedFd, setup: Setup) -> Result<Self> {
        let frames = Arc::new(Area::anonymous(setup.umem_len())?);

        raw::register(
            &fd,
            &frames,
            setup.chunk,
            setup.headroom,
            setup.umem_flags(),
            setup.metadata,
        )?;
        let queue = queue_rings(&fd, &setup)?;
        Self::with_rings(fd, frames, setup, queue)
    }

    /// As [`Socket::new`], with the buffers of another one, for another queue of any port.
    pub fn sharing(first: &Self, fd: OwnedFd, setup: Setup) -> Result<Self> {
        let rings = queue_rings(&fd, &setup)?;

        Self::with_rings(fd, Arc::clone(&first.frames), setup, rings)
    }

    /// As [`Socket::new`], with the buffers of another one, for the same queue of the same port.
    pub fn sharing_queue(first: &Self, fd: OwnedFd, setup: Setup) -> Result<Self> {
        let rings = (Arc::clone(&first.fill), Arc::clone(&first.completions));

        Self::with_rings(fd, Arc::clone(&first.frames), setup, rings)
    }

    fn with_rings(
        fd: OwnedFd,
        frames: Arc<Area>,
        setup: Setup,
        (fill, completions): QueueRings,
    ) -> Result<Self> {
        if setup.rx > 0 {
            raw::set(&fd, libc::XDP_RX_RING, &setup.rx, "XDP_RX_RING")?;
        }
        if setup.tx > 0 {
            raw::set(&fd, libc::XDP_TX_RING, &setup.tx, "XDP_TX_RING")?;
        }
        let offsets = offsets(&fd)?;
        let descriptors = |offsets, at: libc::off_t, entries| {
            (entries > 0)
                .then(|| Ring::map(&fd, offsets, at as u64, entries))
                .transpose()
        };

        Ok(Self {
            rx: descriptors(offsets.rx, libc::XDP_PGOFF_RX_RING, setup.rx)?,
            tx: descriptors(offsets.tx, libc::XDP_PGOFF_TX_RING, setup.tx)?,
            fill,
            completions,
            fd,
            frames,
            setup,
        })
    }

    /// Binds it to a queue of an interface; the error is the kernel's.
    pub fn bind(&self, ifindex: u32, queue: u32) -> Result<(), Errno> {
        raw::bind(&self.fd, ifindex, queue, self.setup.bind_flags(), None)
    }

    /// Binds it to a queue, with the buffers of another one. The mode is the first one's.
    pub fn bind_shared(&self, first: &Self, ifindex: u32, queue: u32) -> Result<(), Errno> {
        raw::bind(
            &self.fd,
            ifindex,
            queue,
            libc::XDP_SHARED_UMEM,
            Some(&first.fd),
        )
    }

    /// Whether the driver uses the buffers themselves (`XDP_OPTIONS`).
    pub fn is_zero_copy(&self) -> Result<bool> {
        let options: libc::xdp_options = raw::get(&self.fd, libc::XDP_OPTIONS, "XDP_OPTIONS")?;

        Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    /// The ring of received descriptors, which it must have.
    pub fn rx(&self) -> &Ring<2> {
        self.rx.as_ref().expect("a socket that receives")
    }

    /// The ring of descriptors to send, which it must have.
    pub fn tx(&self) -> &Ring<2> {
        self.tx.as_ref().expect("a socket that sends")
    }

    /// The address of a buffer.
    #[inline]
    pub fn buffer(&self, number: u32) -> u64 {
        let Setup {
            chunk,
            unaligned,
            mode,
            ..
        } = self.setup;

        if unaligned {
            // A prime number: each offset has its turn.
            let offset = number as usize * 37 % (PAGE - chunk + 1);
            let address = (number as usize * PAGE + offset) as u64;

            // In copy mode an odd address of a frame that is sent comes back even: the kernel has
            // a flag of its own in that bit (`xsk_skb_destructor_set_addr` in net/xdp/xsk.c).
            match mode {
                Mode::Copy => address & !1,
                Mode::ZeroCopy | Mode::Any => address,
            }
        } else {
            u64::from(number) * chunk as u64
        }
    }

    /// Gives the kernel all buffers to receive into.
    pub fn fill_all(&self) {
        self.fill_first(self.setup.buffers);
    }

    /// Gives the kernel the first `count` buffers to receive into, and calls it if it asks for
    /// that.
    pub fn fill_first(&self, count: u32) {
        (0..count).for_each(|n| self.fill.push([self.buffer(n)]));
        self.call_if_asked();
    }

    /// Calls the kernel if it asks for that: its poll may have looked for buffers before they were
    /// there.
    pub fn call_if_asked(&self) {
        // The kernel sets the flag and then looks for buffers once more.
        fence(Ordering::SeqCst);
        if self.fill.needs_wakeup() {
            // Fails while the port is down; its first poll will look for buffers.
            let _ = self.wake_rx();
        }
    }

    /// Takes a descriptor out of the RX ring, if there is one.
    pub fn take(&self) -> Option<Desc> {
        let desc = self.rx().peek()?;

        self.rx().release();
        Some(desc.into())
    }

    /// What is in memory where a descriptor says.
    pub fn bytes(&self, desc: &Desc) -> Vec<u8> {
        self.frames.bytes(self.start(desc), desc.len as usize)
    }

    /// Where in memory a descriptor says that a frame starts.
    pub fn start(&self, desc: &Desc) -> usize {
        let (buffer, offset) = (
            desc.addr & UNALIGNED_BUFFER,
            desc.addr >> UNALIGNED_OFFSET_SHIFT,
        );

        if self.setup.unaligned {
            (buffer + offset) as usize
        } else {
            desc.addr as usize
        }
    }

    /// The buffer of a received descriptor.
    pub fn buffer_of(&self, desc: &Desc) -> u64 {
        if self.setup.unaligned {
            desc.addr & UNALIGNED_BUFFER
        } else {
            desc.addr - desc.addr % self.setup.chunk as u64
        }
    }

    /// Gives the kernel the buffer of a received descriptor again.
    pub fn give_back(&self, desc: &Desc) {
        self.fill.push([self.buffer_of(desc)]);
    }

    /// Writes a frame into a buffer, and puts it into the TX ring.
    pub fn put(&self, buffer: u32, frame: &[u8]) {
        self.put_part(buffer, frame, 0);
    }

    /// As [`Socket::put`], with the options of a descriptor: a frame of which more follows,
    /// perhaps.
    pub fn put_part(&self, buffer: u32, bytes: &[u8], options: u32) {
        let addr = self.buffer(buffer);

        self.frames.write(addr as usize, bytes);
        self.tx().push(
            Desc {
                addr,
                len: bytes.len() as u32,
                options,
            }
            .into(),
        );
    }

    /// Takes all addresses out of the completion ring.
    pub fn completed(&self) -> Vec<u64> {
        let mut addresses = Vec::new();

        while let Some([addr]) = self.completions.peek() {
            self.completions.release();
            addresses.push(addr);
        }
        addresses
    }

    /// Calls the kernel to send what is in the ring, a few dozen frames at most in copy mode.
    pub fn wake_tx(&self) -> Result<(), Errno> {
        send(self.fd.as_raw_fd(), &[], MsgFlags::MSG_DONTWAIT).map(drop)
    }

    /// Calls the kernel to look into the fill ring, and to poll the queue in this thread if the
    /// socket is set to do so.
    pub fn wake_rx(&self) -> Result<(), Errno> {
        recv(self.fd.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT).map(drop)
    }

    /// Which of these events are there, after `timeout` at the latest.
    pub fn poll(&self, events: PollFlags, timeout: PollTimeout) -> Result<bool> {
        Ok(poll(&mut [PollFd::new(self.fd.as_fd(), events)], timeout)? > 0)
    }

    pub fn statistics(&self) -> Result<libc::xdp_statistics> {
        raw::get(&self.fd, libc::XDP_STATISTICS, "XDP_STATISTICS")
    }
}

/// Fill ring and completion ring.
type QueueRings = (Arc<Ring<1>>, Arc<Ring<1>>);

fn offsets(fd: &OwnedFd) -> Result<libc::xdp_mmap_offsets> {
    raw::get(fd, libc::XDP_MMAP_OFFSETS, "XDP_MMAP_OFFSETS")
}

/// Makes the rings that a queue has.
fn queue_rings(fd: &OwnedFd, setup: &Setup) -> Result<QueueRings> {
    raw::set(
        fd,
        libc::XDP_UMEM_FILL_RING,
        &setup.fill,
        "XDP_UMEM_FILL_RING",
    )?;
    raw::set(
        fd,
        libc::XDP_UMEM_COMPLETION_RING,
        &setup.completion,
        "XDP_UMEM_COMPLETION_RING",
    )?;
    let offsets = offsets(fd)?;
    let fill = Ring::map(fd, offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING, setup.fill)?;
    let completions = Ring::map(
        fd,
        offsets.cr,
        libc::XDP_UMEM_PGOFF_COMPLETION_RING,
        setup.completion,
    )?;

    Ok((Arc::new(fill), Arc::new(completions)))
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
