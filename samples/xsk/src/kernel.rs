// SPDX-License-Identifier: GPL-2.0

//! What the crate `xdp` leaves out: how a socket was bound, and whether the kernel has to be told
//! of new entries of a ring.

#![allow(unsafe_code)]

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    libc,
    sys::mman::{mmap, munmap, MapFlags, ProtFlags},
};
use std::{
    ffi::c_void,
    mem::{size_of, MaybeUninit},
    num::NonZeroUsize,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

const XDP_RING_NEED_WAKEUP: u32 = 1 << 0;

/// Whether a bound socket uses zero-copy (`XDP_OPTIONS`).
pub fn is_zero_copy(socket: BorrowedFd<'_>) -> Result<bool> {
    let options: libc::xdp_options = get(socket, libc::XDP_OPTIONS).context("XDP_OPTIONS")?;

    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// The word in which the kernel says whether it wants to be told of new entries of a ring.
///
/// # Invariants
///
/// `map` is a mapping of `len` bytes, a multiple of 4, and the last 4 of them are that word. It is
/// there as long as this.
pub struct WakeupFlag {
    map: NonNull<c_void>,
    len: usize,
}

impl WakeupFlag {
    pub fn of_fill_ring(socket: BorrowedFd<'_>) -> Result<Self> {
        let flags = offsets(socket)?.fr.flags;

        Self::map(socket, libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t, flags)
    }

    pub fn of_tx_ring(socket: BorrowedFd<'_>) -> Result<Self> {
        let flags = offsets(socket)?.tx.flags;

        Self::map(socket, libc::XDP_PGOFF_TX_RING, flags)
    }

    /// Maps the beginning of a ring, up to its flags.
    fn map(socket: BorrowedFd<'_>, ring: libc::off_t, flags: u64) -> Result<Self> {
        let len = flags as usize + size_of::<AtomicU32>();
        let size = NonZeroUsize::new(len).context("a ring without flags")?;
        // SAFETY: A new mapping, at an address that the kernel chooses.
        let map = unsafe {
            mmap(
                None,
                size,
                ProtFlags::PROT_READ,
                MapFlags::MAP_SHARED,
                socket,
                ring,
            )
        }
        .context("mapping the flags of a ring")?;

        // INVARIANT: The kernel says where the flags are: at a multiple of 4.
        Ok(Self { map, len })
    }

    pub fn is_set(&self) -> bool {
        // SAFETY: By the invariant this is inside the mapping and aligned. The kernel may write to
        // it at any time, hence the atomic.
        let flags = unsafe {
            self.map
                .cast::<u8>()
                .add(self.len - size_of::<AtomicU32>())
                .cast::<AtomicU32>()
                .as_ref()
        };

        flags.load(Ordering::Relaxed) & XDP_RING_NEED_WAKEUP != 0
    }
}

impl Drop for WakeupFlag {
    fn drop(&mut self) {
        // SAFETY: By the invariant it is a mapping, and it is used no more.
        let _ = unsafe { munmap(self.map, self.len) };
    }
}

/// Where the parts of the rings are, in the mappings of a socket.
fn offsets(socket: BorrowedFd<'_>) -> Result<libc::xdp_mmap_offsets> {
    get(socket, libc::XDP_MMAP_OFFSETS).context("XDP_MMAP_OFFSETS")
}

/// Reads an option of the socket that consists of integers.
fn get<T: Copy>(socket: BorrowedFd<'_>, option: libc::c_int) -> Result<T, Errno> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: The kernel writes at most `len` bytes to `value`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            option,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    };

    Errno::result(result)?;
    // SAFETY: It was zero before, and what the kernel has written are integers.
    Ok(unsafe { value.assume_init() })
}
