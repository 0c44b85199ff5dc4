// SPDX-License-Identifier: GPL-2.0

//! AF_XDP sockets that receive in copy mode. They share memory with the kernel, which needs unsafe
//! code.

#![allow(unsafe_code)]

use crate::{
    bed::Port,
    host::{ensure_eq, wait_until, PATIENCE},
};
use anyhow::{bail, ensure, Context, Result};
use nix::{
    errno::Errno,
    libc,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::{
        mman::{mmap, mmap_anonymous, munmap, MapFlags, ProtFlags},
        socket::{recv, MsgFlags},
    },
};
use std::{
    mem::{size_of, MaybeUninit},
    num::NonZeroUsize,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// Buffers of a socket, and entries of its rings.
const BUFFERS: u32 = 512;
/// What the kernel keeps in front of each frame (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
const XDP_PKT_CONTD: u32 = 1;

/// Memory that the kernel reads and writes at the same time.
///
/// # Invariants
///
/// `start` is that of a mapping of `len` bytes that lives as long as this.
struct Area {
    start: NonNull<u8>,
    len: usize,
}

impl Area {
    /// Memory of our own, for frames.
    fn anonymous(len: usize) -> Result<Self> {
        let size = NonZeroUsize::new(len).context("an empty mapping")?;
        // SAFETY: A new mapping at an address that the kernel chooses.
        let start = unsafe {
            mmap_anonymous(
                None,
                size,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE,
            )
        }?
        .cast();

        Ok(Self { start, len })
    }

    /// A ring of a socket.
    fn ring(fd: &OwnedFd, len: usize, offset: u64) -> Result<Self> {
        let size = NonZeroUsize::new(len).context("an empty mapping")?;
        // SAFETY: A new mapping at an address that the kernel chooses.
        let start = unsafe {
            mmap(
                None,
                size,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE,
                fd,
                offset as libc::off_t,
            )
        }
        .context("mapping a ring")?
        .cast();

        Ok(Self { start, len })
    }

    fn at<T>(&self, offset: usize) -> &T {
        assert!(offset + size_of::<T>() <= self.len && offset % align_of::<T>() == 0);
        // SAFETY: Inside the mapping and aligned. It is only asked for atomics, which may change.
        unsafe { self.start.add(offset).cast().as_ref() }
    }

    fn u32(&self, offset: u64) -> &AtomicU32 {
        self.at(offset as usize)
    }

    fn u64(&self, offset: u64) -> &AtomicU64 {
        self.at(offset as usize)
    }

    fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];

        assert!(offset + len <= self.len);
        // SAFETY: Inside the mapping; the kernel writes no buffer that it has handed out.
        unsafe {
            self.start
                .add(offset)
                .as_ptr()
                .copy_to_nonoverlapping(bytes.as_mut_ptr(), len);
        }
        bytes
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: The mapping is ours and used no more.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}

fn checked(result: libc::c_int, what: &str) -> Result<libc::c_int> {
    Errno::result(result).with_context(|| what.to_owned())
}

fn set<T>(fd: RawFd, option: libc::c_int, value: &T, what: &str) -> Result<()> {
    // SAFETY: The kernel reads `value`, which has the length that is given.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_XDP,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };

    checked(result, what).map(drop)
}

/// Reads an option of plain integers.
fn get<T: Copy>(fd: RawFd, option: libc::c_int, what: &str) -> Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: The kernel writes at most `len` bytes to `value`.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_XDP,
            option,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    };

    checked(result, what)?;
    ensure_eq!(len as usize, size_of::<T>(), "{what}: bytes");
    // SAFETY: The kernel has written all of it, and it consists of integers.
    Ok(unsafe { value.assume_init() })
}

/// A socket for the frames of one queue of a port.
pub struct Xsk {
    fd: OwnedFd,
    frames: Area,
    chunk: usize,
    fill: Area,
    fill_offsets: libc::xdp_ring_offset,
    rx: Area,
    rx_offsets: libc::xdp_ring_offset,
}

impl Xsk {
    /// Opens and binds a socket whose buffers have `chunk` bytes. With `sg` it takes frames that
    /// need several of them.
    pub fn open(port: &Port, queue: u32, chunk: usize, sg: bool) -> Result<Self> {
        let frames = Area::anonymous(chunk * BUFFERS as usize)?;
        let fd = port.ns.enter(|| {
            // SAFETY: Makes a descriptor, nothing else.
            let fd = checked(
                unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) },
                "opening an AF_XDP socket",
            )?;
            // SAFETY: It is new and ours.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        })?;
        let raw = fd.as_raw_fd();
        let area = libc::xdp_umem_reg {
            addr: frames.start.as_ptr() as u64,
            len: frames.len as u64,
            chunk_size: chunk as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };

        set(raw, libc::XDP_UMEM_REG, &area, "XDP_UMEM_REG")?;
        set(
            raw,
            libc::XDP_UMEM_FILL_RING,
            &BUFFERS,
            "XDP_UMEM_FILL_RING",
        )?;
        // Nothing is sent, but the kernel wants the ring.
        set(
            raw,
            libc::XDP_UMEM_COMPLETION_RING,
            &BUFFERS,
            "XDP_UMEM_COMPLETION_RING",
        )?;
        set(raw, libc::XDP_RX_RING, &BUFFERS, "XDP_RX_RING")?;
        let offsets: libc::xdp_mmap_offsets = get(raw, libc::XDP_MMAP_OFFSETS, "XDP_MMAP_OFFSETS")?;
        let size =
            |ring: &libc::xdp_ring_offset, entry| ring.desc as usize + BUFFERS as usize * entry;
        let socket = Self {
            fill: Area::ring(
                &fd,
                size(&offsets.fr, size_of::<u64>()),
                libc::XDP_UMEM_PGOFF_FILL_RING,
            )?,
            fill_offsets: offsets.fr,
            rx: Area::ring(
                &fd,
                size(&offsets.rx, size_of::<libc::xdp_desc>()),
                libc::XDP_PGOFF_RX_RING as u64,
            )?,
            rx_offsets: offsets.rx,
            fd,
            frames,
            chunk,
        };

        (0..u64::from(BUFFERS)).for_each(|n| socket.give(n * chunk as u64));
        // One that was closed a moment ago may still have the queue.
        wait_until("an AF_XDP socket gets its queue", || {
            match socket.bind(port.ifindex, queue, sg) {
                Err(Errno::EBUSY) => Ok(false),
                result => result.map(|()| true).context("binding an AF_XDP socket"),
            }
        })?;
        Ok(socket)
    }

    fn bind(&self, ifindex: u32, queue: u32, sg: bool) -> Result<(), Errno> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: libc::XDP_COPY | if sg { libc::XDP_USE_SG } else { 0 },
            sxdp_ifindex: ifindex,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        // SAFETY: The kernel reads the address, which has the length that is given.
        let result = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
            )
        };

        Errno::result(result).map(drop)
    }

    /// Gives a buffer to the kernel. There are never more than the ring has places for.
    fn give(&self, address: u64) {
        let producer = self.fill.u32(self.fill_offsets.producer);
        let at = producer.load(Ordering::Relaxed);
        let slot = u64::from(at & (BUFFERS - 1)) * size_of::<u64>() as u64;

        self.fill
            .u64(self.fill_offsets.desc + slot)
            .store(address, Ordering::Relaxed);
        producer.store(at.wrapping_add(1), Ordering::Release);
    }

    /// Takes the next part of a frame: its bytes, and whether more of the frame follows.
    fn part(&self) -> Option<(Vec<u8>, bool)> {
        let producer = self.rx.u32(self.rx_offsets.producer);
        let consumer = self.rx.u32(self.rx_offsets.consumer);
        let at = consumer.load(Ordering::Relaxed);

        if producer.load(Ordering::Acquire) == at {
            return None;
        }
        let slot = u64::from(at & (BUFFERS - 1)) * size_of::<libc::xdp_desc>() as u64;
        let desc = self.rx_offsets.desc + slot;
        let address = self.rx.u64(desc).load(Ordering::Relaxed);
        let len = self.rx.u32(desc + 8).load(Ordering::Relaxed) as usize;
        let options = self.rx.u32(desc + 12).load(Ordering::Relaxed);
        let bytes = self.frames.bytes(address as usize, len);

        consumer.store(at.wrapping_add(1), Ordering::Release);
        self.give(address - address % self.chunk as u64);
        Some((bytes, options & XDP_PKT_CONTD != 0))
    }

    /// The next frame, or `None` if none comes for `patience`. It has to be in as few buffers as
    /// it can be.
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

    /// Has the kernel poll the socket's queue in this thread, if the socket is set to do so.
    pub fn busy_poll(&self) -> Result<()> {
        recv(self.fd.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT)
            .context("receiving from an AF_XDP socket")
            .map(drop)
    }

    pub fn any(&self) -> Result<Vec<u8>> {
        self.next(PATIENCE)?
            .context("expected a frame in an AF_XDP socket, found none")
    }

    pub fn silence(&self) -> Result<()> {
        match self.next(Duration::from_millis(200))? {
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
        let statistics: libc::xdp_statistics =
            get(self.fd.as_raw_fd(), libc::XDP_STATISTICS, "XDP_STATISTICS")?;

        Ok(statistics.rx_dropped)
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
