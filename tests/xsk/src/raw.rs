// SPDX-License-Identifier: GPL-2.0

//! What AF_XDP sockets share with the kernel, memory and rings, and their options. This needs
//! unsafe code.

#![allow(unsafe_code)]

use anyhow::{ensure, Context, Result};
use nix::{
    errno::Errno,
    libc,
    sys::mman::{mmap, mmap_anonymous, munmap, MapFlags, ProtFlags},
};
use std::{
    mem::{size_of, MaybeUninit},
    num::NonZeroUsize,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

const XDP_RING_NEED_WAKEUP: u32 = 1 << 0;

/// Memory that the kernel reads and writes at the same time.
///
/// # Invariants
///
/// `start` is that of a mapping of `len` bytes that lives as long as this.
pub struct Area {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: The mapping belongs to the process, not to a thread.
unsafe impl Send for Area {}
// SAFETY: It hands out references to atomics only, and copies of bytes.
unsafe impl Sync for Area {}

impl Area {
    /// Memory of our own, for frames.
    pub fn anonymous(len: usize) -> Result<Self> {
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

    #[inline]
    fn at<T>(&self, offset: usize) -> &T {
        assert!(offset + size_of::<T>() <= self.len && offset % align_of::<T>() == 0);
        // SAFETY: Inside the mapping and aligned. It is only asked for atomics, which may change.
        unsafe { self.start.add(offset).cast().as_ref() }
    }

    #[inline]
    fn u32(&self, offset: u64) -> &AtomicU32 {
        self.at(offset as usize)
    }

    #[inline]
    pub fn u64(&self, offset: u64) -> &AtomicU64 {
        self.at(offset as usize)
    }

    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
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

    /// Writes into a buffer that nobody else has at the moment, or only the kernel to read.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.len);
        // SAFETY: Inside the mapping, which `bytes` is no part of and no reference points to, but
        // for those to atomics.
        unsafe {
            self.start
                .add(offset)
                .as_ptr()
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: The mapping is ours and used no more.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}

/// A ring of entries of so many 64-bit words each: one is the address of a buffer, two are a
/// descriptor.
pub struct Ring<const WORDS: usize> {
    area: Area,
    offsets: libc::xdp_ring_offset,
    entries: u32,
}

impl<const WORDS: usize> Ring<WORDS> {
    /// Maps a ring of a socket, whose memory is at `at` of the socket's file.
    pub fn map(
        fd: &OwnedFd,
        offsets: libc::xdp_ring_offset,
        at: u64,
        entries: u32,
    ) -> Result<Self> {
        let len = offsets.desc as usize + entries as usize * WORDS * size_of::<u64>();

        Ok(Self {
            area: Area::ring(fd, len, at)?,
            offsets,
            entries,
        })
    }

    #[inline]
    fn slot(&self, index: u32) -> u64 {
        let entry = u64::from(index & (self.entries - 1));

        self.offsets.desc + entry * (WORDS * size_of::<u64>()) as u64
    }

    #[inline]
    fn write(&self, index: u32, entry: [u64; WORDS]) {
        for (word, n) in entry.into_iter().zip(0..) {
            self.area
                .u64(self.slot(index) + 8 * n)
                .store(word, Ordering::Relaxed);
        }
    }

    #[inline]
    fn read(&self, index: u32) -> [u64; WORDS] {
        let mut entry = [0; WORDS];

        for (word, n) in entry.iter_mut().zip(0..) {
            *word = self
                .area
                .u64(self.slot(index) + 8 * n)
                .load(Ordering::Relaxed);
        }
        entry
    }

    /// Gives an entry to the kernel. There are never more than the ring has places for.
    pub fn push(&self, entry: [u64; WORDS]) {
        self.push_all([entry].into_iter());
    }

    /// Gives entries to the kernel, which sees all of them at once.
    #[inline]
    pub fn push_all(&self, entries: impl ExactSizeIterator<Item = [u64; WORDS]>) {
        let producer = self.area.u32(self.offsets.producer);
        let mut at = producer.load(Ordering::Relaxed);

        assert!(entries.len() <= self.room() as usize, "a ring is full");
        for entry in entries {
            self.write(at, entry);
            at = at.wrapping_add(1);
        }
        producer.store(at, Ordering::Release);
    }

    /// Shows up to `max` entries of the kernel's, and gives their places back to it. Returns how
    /// many they were.
    #[inline]
    pub fn take(&self, max: u32, mut each: impl FnMut([u64; WORDS])) -> u32 {
        let producer = self.area.u32(self.offsets.producer);
        let consumer = self.area.u32(self.offsets.consumer);
        let at = consumer.load(Ordering::Relaxed);
        let count = producer.load(Ordering::Acquire).wrapping_sub(at).min(max);

        for n in 0..count {
            each(self.read(at.wrapping_add(n)));
        }
        consumer.store(at.wrapping_add(count), Ordering::Release);
        count
    }

    /// The next entry of the kernel's, still in the ring.
    pub fn peek(&self) -> Option<[u64; WORDS]> {
        let producer = self.area.u32(self.offsets.producer);
        let at = self.area.u32(self.offsets.consumer).load(Ordering::Relaxed);

        if producer.load(Ordering::Acquire) == at {
            return None;
        }
        Some(self.read(at))
    }

    /// Gives the place of what [`Ring::peek`] has returned back to the kernel.
    pub fn release(&self) {
        let consumer = self.area.u32(self.offsets.consumer);
        let at = consumer.load(Ordering::Relaxed);

        consumer.store(at.wrapping_add(1), Ordering::Release);
    }

    /// Sets the index of what is written next, as a program may that is broken.
    pub fn jump(&self, index: u32) {
        self.area
            .u32(self.offsets.producer)
            .store(index, Ordering::Release);
    }

    /// Entries that are in the ring.
    pub fn len(&self) -> u32 {
        let index = |offset| self.area.u32(offset).load(Ordering::Acquire);

        index(self.offsets.producer).wrapping_sub(index(self.offsets.consumer))
    }

    /// Entries that the ring has places for.
    pub fn room(&self) -> u32 {
        // More than it has, after a `jump`.
        self.entries.saturating_sub(self.len())
    }

    /// Whether the kernel wants to be told of new entries.
    pub fn needs_wakeup(&self) -> bool {
        self.area.u32(self.offsets.flags).load(Ordering::Relaxed) & XDP_RING_NEED_WAKEUP != 0
    }
}

fn checked(result: libc::c_int, what: &str) -> Result<libc::c_int> {
    Errno::result(result).with_context(|| what.to_owned())
}

/// A new socket, in the network namespace that the thread is in.
pub fn socket() -> Result<OwnedFd> {
    // SAFETY: Makes a descriptor, nothing else.
    let fd = checked(
        unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) },
        "opening an AF_XDP socket",
    )?;

    // SAFETY: It is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes an area the one that the socket's buffers of `chunk` bytes are in.
pub fn register(
    fd: &OwnedFd,
    frames: &Area,
    chunk: usize,
    headroom: u32,
    flags: u32,
    tx_metadata_len: u32,
) -> Result<()> {
    let area = libc::xdp_umem_reg {
        addr: frames.start.as_ptr() as u64,
        len: frames.len as u64,
        chunk_size: chunk as u32,
        headroom,
        flags,
        tx_metadata_len,
    };

    set(fd, libc::XDP_UMEM_REG, &area, "XDP_UMEM_REG")
}

pub fn set<T>(fd: &OwnedFd, option: libc::c_int, value: &T, what: &str) -> Result<()> {
    // SAFETY: The kernel reads `value`, which has the length that is given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };

    checked(result, what).map(drop)
}

/// Reads an option of plain integers.
pub fn get<T: Copy>(fd: &OwnedFd, option: libc::c_int, what: &str) -> Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: The kernel writes at most `len` bytes to `value`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            option,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    };

    checked(result, what)?;
    ensure!(
        len as usize == size_of::<T>(),
        "{what}: {len} bytes instead of {}",
        size_of::<T>()
    );
    // SAFETY: The kernel has written all of it, and it consists of integers.
    Ok(unsafe { value.assume_init() })
}

/// Binds a socket to a queue of a port. With `shared` it uses the buffers of that socket.
pub fn bind(
    fd: &OwnedFd,
    ifindex: u32,
    queue: u32,
    flags: u16,
    shared: Option<&OwnedFd>,
) -> Result<(), Errno> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    // SAFETY: The kernel reads the address, which has the length that is given.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
        )
    };

    Errno::result(result).map(drop)
}
