// SPDX-License-Identifier: GPL-2.0

//! The umem of the AF_XDP sockets of a queue, and its rings.

use crate::{
    bindings,
    compat::EOPNOTSUPP,
    dest::Dest,
    net::{
        device::{
            device_ref::DeviceRef,
            netdev::Device, //
        },
        rtnl::Rtnl, //
    },
    netdev_info,
};
use core::{
    cell::Cell,
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};
use kernel::{
    error::to_result,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// Headroom of a received frame in bytes, in addition to that of the umem (`headroom`).
pub(super) const HEADROOM: usize = bindings::XDP_PACKET_HEADROOM as usize;

/// The layout of the frames of a pool.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    /// Number of bytes of a received frame that fit into a buffer.
    pub(crate) frame_room: usize,
    /// Whether a frame may be in several buffers (`XDP_USE_SG`).
    pub(crate) has_sg: bool,
    /// The size up to which a program can grow the last fragment of a frame
    /// (`xsk_pool_get_rx_frag_step`).
    pub(super) frag_step: u32,
}

/// A pool of umem (`struct xsk_buff_pool`) that the kernel has given to the driver
/// (`XDP_SETUP_XSK_POOL`), mapped for DMA. To be [unmapped](Self::unmap), not dropped.
///
/// The owner is the driver's only consumer of the pool's fill and TX rings, and its only producer
/// of the completion ring. When a received frame is redirected to a socket, the kernel uses the
/// pool too: in [`Buff::redirect`](super::Buff), which borrows it. (And for a generic program that
/// redirects to the socket: `xsk_generic_rcv` in net/xdp/xsk.c takes buffers from the fill ring
/// under a lock that drivers do not take. With RPS that may be on another CPU. No driver can
/// prevent it.)
///
/// Unmapping needs RTNL, which `drop` cannot take: it may be held already. So a pool that is
/// dropped stays mapped, and the kernel does not free its memory: the command that takes the pool
/// back, or that the driver refuses, waits ([`Command::SetupXskPool`](crate::net::xdp::Command)).
/// Only a driver with an error drops one: the kernel takes all pools back before a device is freed,
/// to which each of them has a reference (`xp_clear_dev` in net/xdp/xsk_buff_pool.c).
///
/// # Invariants
///
/// - `ptr` is a pool that is mapped for DMA by the parent of `dev`, and that the kernel does not
///   free before it is unmapped.
/// - `out` is the number of [`UmemBuffer`]s and frames of the pool that exist.
/// - The descriptors from `next` up to `end` in the pool's `tx_descs` have been read from the TX
///   rings and not been sent; the `sent` descriptors before them are to be completed.
pub(crate) struct Pool {
    ptr: NonNull<bindings::xsk_buff_pool>,
    dev: DeviceRef,
    layout: Layout,
    uses_need_wakeup: bool,
    out: Cell<u32>,
    pub(super) next: Cell<u32>,
    pub(super) end: Cell<u32>,
    pub(super) sent: Cell<u32>,
}

// SAFETY: Any thread may own the pool.
unsafe impl Send for Pool {}

/// Number of buffers that are taken from the fill ring at a time.
const BATCH: usize = 64;

impl Pool {
    /// Maps a pool for DMA (`xsk_pool_dma_map`). Fails with `EOPNOTSUPP` if the device has no
    /// parent, or if DMA goes through bounce buffers and the chunks are unaligned; and with
    /// `ENOMEM`. The kernel log says why.
    ///
    /// # Safety
    ///
    /// `ptr` must be a pool that the kernel gives to the driver of `dev`, and that it frees only
    /// when it is no longer [mapped](is_mapped). There must be no other `Pool` of it. RTNL must be
    /// held.
    pub(in crate::net) unsafe fn new(
        ptr: NonNull<bindings::xsk_buff_pool>,
        dev: &Device,
    ) -> Result<Self> {
        let raw = ptr.as_ptr();
        // SAFETY: Both are valid, and the queue is known.
        let (queue, bounces) = unsafe {
            (
                (*raw).queue_id,
                bindings::oxnic_xsk_bounces_unaligned(raw, dev.as_ptr()),
            )
        };
        if bounces {
            netdev_info!(
                dev,
                "AF_XDP, queue {queue}: unaligned chunks do not work with bounce buffers for DMA\n"
            );
            return Err(EOPNOTSUPP);
        }
        // SAFETY: Both are valid; RTNL protects the list of mappings.
        to_result(unsafe { bindings::oxnic_xsk_dma_map(raw, dev.as_ptr()) }).inspect_err(
            |error| {
                netdev_info!(
                    dev,
                    "AF_XDP, queue {queue}: the umem cannot be mapped for DMA: {error:?}\n"
                );
            },
        )?;
        // INVARIANT: Just mapped. There are no buffers, and no descriptor has been read.
        Ok(Self {
            ptr,
            dev: dev.into(),
            // SAFETY: The pool is valid, with its umem. These do not change.
            layout: unsafe {
                Layout {
                    frame_room: bindings::oxnic_xsk_frame_size(raw) as usize,
                    has_sg: bindings::oxnic_xsk_has_sg(raw),
                    frag_step: bindings::oxnic_xsk_frag_step(raw),
                }
            },
            // SAFETY: The pool is valid; this does not change.
            uses_need_wakeup: unsafe { bindings::xsk_uses_need_wakeup(raw) },
            out: Cell::new(0),
            next: Cell::new(0),
            end: Cell::new(0),
            sent: Cell::new(0),
        })
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::xsk_buff_pool {
        self.ptr.as_ptr()
    }

    /// The device that the pool is mapped for.
    pub(super) fn device(&self) -> &Device {
        &self.dev
    }

    /// The layout of its frames.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Size of a chunk of umem, in bytes, and how many there are.
    pub(crate) fn chunks(&self) -> (u32, u32) {
        // SAFETY: The pool is valid, and these do not change.
        unsafe { ((*self.as_ptr()).chunk_size, (*self.as_ptr()).heads_cnt) }
    }

    /// Whether a flag tells user space when it must wake the driver (`XDP_USE_NEED_WAKEUP`). If
    /// not, the driver must go on polling while it has no buffers.
    #[inline]
    pub(crate) fn uses_need_wakeup(&self) -> bool {
        self.uses_need_wakeup
    }

    /// Takes up to `max` empty buffers, those that were freed first and then from the fill ring
    /// (`xsk_buff_alloc_batch`), and passes them to `post`, which must take them all. Returns their
    /// number.
    #[inline]
    pub(crate) fn alloc(&self, max: u32, mut post: impl FnMut(&mut Allocated<'_>)) -> u32 {
        let mut all = 0;
        while all < max {
            let mut batch = [const { MaybeUninit::uninit() }; BATCH];
            let wanted = (max - all).min(BATCH as u32);
            // SAFETY: The pool is ours, and the array has that many places.
            let count = unsafe {
                bindings::oxnic_xsk_alloc(self.as_ptr(), batch.as_mut_ptr().cast(), wanted)
            };
            self.out.set(self.out.get().wrapping_add(count));
            // INVARIANT: The kernel has put a buffer of the pool in each of the first `count`
            // places, and they are counted.
            let buffers = batch.get(..count as usize).unwrap_or_default();
            post(&mut Allocated(buffers.iter()));
            all += count;
            if count < wanted {
                break;
            }
        }
        all
    }

    /// Returns a buffer to the pool, for [`alloc`](Self::alloc) (`xsk_buff_free`). A buffer of
    /// another pool is leaked: that pool waits for it.
    #[inline]
    pub(crate) fn free(&self, buffer: UmemBuffer) {
        if !self.owns(&buffer) {
            return;
        }
        self.count_returned();
        // SAFETY: The buffer is one of this pool, which is ours.
        unsafe { bindings::oxnic_xsk_free(buffer.0.as_ptr()) };
    }

    /// Whether a buffer is one of this pool.
    #[inline]
    pub(super) fn owns(&self, buffer: &UmemBuffer) -> bool {
        // SAFETY: The buffer is valid, and its pool does not change.
        ptr::eq(unsafe { (*buffer.xskb()).pool }, self.as_ptr())
    }

    /// Counts a buffer or a frame that no longer exists.
    #[inline]
    pub(super) fn count_returned(&self) {
        self.out.set(self.out.get().wrapping_sub(1));
    }

    /// Tells user space whether it must wake the driver when it has filled the fill ring
    /// (`xsk_set_rx_need_wakeup`), if it [uses](Self::uses_need_wakeup) that flag.
    #[inline]
    pub(crate) fn set_rx_need_wakeup(&self, needed: bool) {
        if !self.uses_need_wakeup {
            return;
        }
        // SAFETY: The pool is ours.
        unsafe {
            if needed {
                bindings::xsk_set_rx_need_wakeup(self.as_ptr());
            } else {
                bindings::xsk_clear_rx_need_wakeup(self.as_ptr());
            }
        }
    }

    /// Unmaps the pool (`xsk_pool_dma_unmap`), after which the kernel may free it. Completes the
    /// frames that have not been sent. All buffers must have been [freed](Self::free): the card
    /// might write to one that was not, so this waits for it. May sleep.
    pub(crate) fn unmap(self, _rtnl: &Rtnl) {
        self.abort();
        while self.out.get() != 0 {
            pr_err!(
                "{} buffers of an AF_XDP pool were not freed; waiting for them\n",
                self.out.get()
            );
            fsleep(Delta::from_millis(10_000));
        }
        // SAFETY: The pool is ours and mapped, and nothing of it is in use. RTNL protects the list
        // of mappings.
        unsafe { bindings::oxnic_xsk_dma_unmap(self.as_ptr()) };
        let this = ManuallyDrop::new(self);
        // SAFETY: This moves the field out: `this` is not used any more, and not dropped.
        drop(unsafe { ptr::read(&this.dev) });
    }
}

/// Buffers that a pool has given out.
///
/// # Invariants
///
/// Each place holds a [`UmemBuffer`], which is given out once.
pub(crate) struct Allocated<'a>(slice::Iter<'a, MaybeUninit<*mut bindings::xdp_buff>>);

impl Iterator for Allocated<'_> {
    type Item = UmemBuffer;

    #[inline]
    fn next(&mut self) -> Option<UmemBuffer> {
        // SAFETY: By the type's invariants.
        let buffer = unsafe { NonNull::new_unchecked(self.0.next()?.assume_init()) };
        Some(UmemBuffer(buffer))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Unmapping it needs RTNL.
        pr_err!("an AF_XDP pool was dropped without RTNL; it stays mapped\n");
    }
}

/// Whether a pool is mapped.
///
/// # Safety
///
/// `pool` must be valid.
pub(in crate::net) unsafe fn is_mapped(pool: *const bindings::xsk_buff_pool) -> bool {
    // SAFETY: The caller's promise.
    !unsafe { (&raw const (*pool).dma_pages).read_volatile() }.is_null()
}

/// An empty buffer: a frame of umem (`struct xdp_buff_xsk`). It must be [freed](Pool::free), or
/// become a [`Buff`](super::Buff): otherwise its pool cannot be unmapped.
///
/// # Invariants
///
/// Points to the `xdp` of a valid `xdp_buff_xsk`. Its pool counts the buffer, and so is not freed.
/// If user space has put the frame into the fill ring twice, there are two buffers of the same
/// frame.
pub(crate) struct UmemBuffer(pub(super) NonNull<bindings::xdp_buff>);

// SAFETY: Any thread may own the buffer. If there are two buffers of the same frame, their other
// fields are only used by the poll that has the pool, and `room` reads only those that are
// constant.
unsafe impl Send for UmemBuffer {}

impl UmemBuffer {
    #[inline]
    pub(super) fn xskb(&self) -> *mut bindings::xdp_buff_xsk {
        // `xdp` is its first field.
        self.0.as_ptr().cast()
    }

    /// The room for a frame, after the headroom. It may be larger than [`Layout::frame_room`]: the
    /// rest is for the list of fragments.
    #[inline]
    pub(crate) fn room(&mut self) -> Dest<'_> {
        let xdp = self.0.as_ptr();
        // SAFETY: The buffer is valid. Both fields are constant while it exists: they are written
        // when the pool is made, or when the buffer is taken from the fill ring. The `frame_sz`
        // bytes from the start on are umem (`xp_check_aligned`, `xp_check_unaligned`), which exists
        // as long as the pool. They are more than the headroom: the kernel makes no umem with
        // smaller frames (`xdp_umem_reg`). There is never a reference to bytes of umem. All that
        // others do with them is to copy bytes: user space, the wire of another ring, and polls.
        unsafe {
            let start = (&raw const (*xdp).data_hard_start).read().cast::<u8>();
            let size = (*xdp).__bindgen_anon_1.__bindgen_anon_1.frame_sz as usize;
            Dest::from_raw_parts(
                NonNull::new_unchecked(start.add(HEADROOM)),
                size.unchecked_sub(HEADROOM),
            )
        }
    }
}
