// SPDX-License-Identifier: GPL-2.0

//! Receive buffers from a page_pool: one page each, with headroom for XDP in front of the frame and
//! room for `struct skb_shared_info` after it, so that an skb can be built around the page.
//!
//! C header: [`include/net/page_pool/helpers.h`](srctree/include/net/page_pool/helpers.h)

use super::{
    device::device_ref::DeviceRef,
    napi::{
        self,
        Disabled,
        NapiExclusive,
        NapiRef, //
    },
};
use crate::bindings;
use core::{
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};
use kernel::{
    error::from_err_ptr,
    prelude::*,
    sync::Arc, //
};

/// Size of a buffer in bytes: one page.
pub(crate) const BUFFER_SIZE: usize = bindings::OXNIC_PAGE_SIZE;

/// Bytes in front of a frame: for XDP programs that push headers (`XDP_PACKET_HEADROOM`), all of
/// which they can use, and for `struct xdp_frame`, which the kernel puts there when it
/// sends the frame elsewhere.
pub(crate) const HEADROOM: usize = bindings::XDP_PACKET_HEADROOM as usize
    + size_of::<bindings::xdp_frame>().next_multiple_of(bindings::OXNIC_SMP_CACHE_BYTES);

/// Bytes after a frame that belong to `struct skb_shared_info` (`SKB_DATA_ALIGN`).
const TAILROOM: usize =
    size_of::<bindings::skb_shared_info>().next_multiple_of(bindings::OXNIC_SMP_CACHE_BYTES);

/// Bytes of frame that a buffer holds.
pub(crate) const FRAME_ROOM: usize = BUFFER_SIZE - HEADROOM - TAILROOM;

/// Most buffers that a frame can be in: one, and as many as an skb can have fragments
/// (`MAX_SKB_FRAGS`).
pub(crate) const MAX_BUFFERS: usize = 1 + bindings::OXNIC_MAX_SKB_FRAGS;

/// The pool of one receive ring (`struct page_pool`). Dropping it may sleep.
///
/// Pages that are still out when it is dropped are waited for in the background by the kernel.
///
/// # Invariants
///
/// `ptr` is a pool for receive queue `queue` of `dev`, whose NAPI is `napi`.
pub(crate) struct PagePool {
    ptr: NonNull<bindings::page_pool>,
    dev: DeviceRef,
    queue: u16,
    // The pool has a pointer to it, until it is destroyed.
    napi: Arc<NapiRef>,
}

// SAFETY: Any thread may have the pool; what a NAPI must do alone asks for a `NapiExclusive`.
unsafe impl Send for PagePool {}
// SAFETY: A shared pool gives only its address, and what it belongs to.
unsafe impl Sync for PagePool {}

impl PagePool {
    /// A pool for the receive queue of `napi`, allocated from by its polls, that keeps about `size`
    /// pages at hand.
    ///
    /// Device and queue are those of the NAPI, so that they cannot contradict it: the target of a
    /// redirect may give a page directly back to the pool, on the word of the poll that it came
    /// from (`xdp_return_frame_rx_napi`).
    ///
    /// Fails with `ENOMEM`.
    pub(crate) fn new<T: napi::Poll>(napi: &Disabled<'_, T>, size: u32) -> Result<Self> {
        let (dev, queue) = (DeviceRef::from(&**napi.device()), napi.index());
        // SAFETY: All zeroes is what a C initialiser leaves in the fields that it does not name.
        let mut params: bindings::page_pool_params = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: Both arms of the union are the same fields.
        unsafe {
            let fast = &mut params.__bindgen_anon_1.__bindgen_anon_1;
            fast.pool_size = size;
            fast.nid = -1;
            fast.napi = napi.napi_ref().as_ptr();
            let slow = &mut params.__bindgen_anon_2.__bindgen_anon_1;
            slow.netdev = dev.as_ptr();
            slow.queue_idx = queue.into();
        }
        // SAFETY: The parameters are complete; the NAPI lives as long as the pool, by `napi`.
        let ptr = from_err_ptr(unsafe { bindings::page_pool_create(&params) })?;
        // INVARIANT: Just made so.
        Ok(Self {
            ptr: NonNull::new(ptr).ok_or(ENOMEM)?,
            dev,
            queue,
            napi: napi.napi_ref().clone(),
        })
    }

    /// Access to the pool's allocation side, for the poll of its own NAPI. `None` if `cx` is
    /// another's.
    #[inline]
    pub(crate) fn allocator<'a, O: NapiExclusive>(
        &'a mut self,
        cx: &'a O,
    ) -> Option<Allocator<'a>> {
        // INVARIANT: The context is the pool's own NAPI.
        self.is_of(cx).then_some(Allocator {
            pool: self,
            may_sleep: O::MAY_SLEEP,
        })
    }

    /// Whether this is the NAPI of the pool.
    #[inline]
    pub(super) fn is_of(&self, cx: &impl NapiExclusive) -> bool {
        ptr::eq(cx.napi(), &*self.napi)
    }

    /// The device and the receive queue that the pool is for.
    pub(super) fn queue(&self) -> (&DeviceRef, u16) {
        (&self.dev, self.queue)
    }

    /// Whether a buffer comes from this pool.
    pub(super) fn owns(&self, buffer: &Buffer) -> bool {
        // SAFETY: The buffer is a page from a page_pool.
        unsafe { bindings::oxnic_page_pool_owns(self.as_ptr(), buffer.start().cast()) }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::page_pool {
        self.ptr.as_ptr()
    }
}

/// The allocation side of a pool.
///
/// # Invariants
///
/// As long as this exists nobody else is on that side of the pool: it is borrowed from the pool and
/// from a context of its NAPI.
pub(crate) struct Allocator<'a> {
    pool: &'a mut PagePool,
    may_sleep: bool,
}

impl Allocator<'_> {
    /// A buffer from the pool; `None` if there is no memory.
    ///
    /// Its page is never one of the memory reserves (`page_is_pfmemalloc`), of which an skb would
    /// be made that most sockets drop: with `__GFP_NOMEMALLOC` the kernel does without
    /// `ALLOC_NO_WATERMARKS` (`__gfp_pfmemalloc_flags` in mm/page_alloc.c), and only pages
    /// allocated with that are marked so (`prep_new_page`).
    #[inline]
    pub(crate) fn alloc(&mut self) -> Option<Buffer> {
        // SAFETY: By the type's invariants.
        let va = unsafe { bindings::oxnic_page_pool_alloc(self.pool.as_ptr(), self.may_sleep) };
        // INVARIANT: The page is ours.
        NonNull::new(va.cast()).map(Buffer)
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        let destroyed = self.napi.while_disabled(|| {
            // SAFETY: The pool is ours, and no poll uses it or begins to; pages that are out keep
            // it in existence.
            unsafe { bindings::page_pool_destroy(self.ptr.as_ptr()) };
        });
        if destroyed.is_err() {
            // Its polls may be using the pool, and softirqs that give pages back on their CPU.
            pr_err!("a page_pool was dropped while its NAPI is enabled; it is leaked\n");
            core::mem::forget(self.napi.clone());
        }
    }
}

/// A buffer with one owner: a ring, an XDP buff or a function. Dropping it gives the page back to
/// its pool; not in hard interrupts.
///
/// # Invariants
///
/// Points to a page from a page_pool, to which nobody else refers.
pub(crate) struct Buffer(NonNull<u8>);

// SAFETY: The page belongs to the owner of the value, whatever the thread.
unsafe impl Send for Buffer {}

impl Buffer {
    /// The room for a frame: [`FRAME_ROOM`] bytes after the headroom, with what was last in the
    /// page.
    #[inline]
    pub(crate) fn room(&mut self) -> &mut [u8] {
        // SAFETY: The page is ours alone, and the range is inside it. Its bytes come from the page
        // allocator: they have a value, if not one that matters.
        unsafe { slice::from_raw_parts_mut(self.0.as_ptr().add(HEADROOM), FRAME_ROOM) }
    }

    /// # Safety
    ///
    /// `start` must be that of a page from a page_pool, which goes over to the new value.
    #[inline]
    pub(super) unsafe fn from_raw(start: *mut u8) -> Self {
        // INVARIANT: The caller's promise.
        // SAFETY: A page is not at null.
        Self(unsafe { NonNull::new_unchecked(start) })
    }

    /// The start of the page, owned by the caller from here on.
    #[inline]
    pub(super) fn into_raw(self) -> *mut u8 {
        let start = self.start();
        core::mem::forget(self);
        start
    }

    /// The start of the page.
    #[inline]
    pub(super) fn start(&self) -> *mut u8 {
        self.0.as_ptr()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: The page is ours and not used any more.
        unsafe { bindings::oxnic_page_pool_put(self.0.as_ptr().cast()) };
    }
}
