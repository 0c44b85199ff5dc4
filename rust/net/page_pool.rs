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
use crate::{
    bindings,
    dest::Dest, //
};
use core::{
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::from_err_ptr,
    prelude::*,
    sync::Arc, //
};

/// Size of a buffer in bytes: one page.
pub(crate) const BUFFER_SIZE: usize = bindings::OXNIC_PAGE_SIZE;

/// Bytes before a frame: `XDP_PACKET_HEADROOM` bytes for XDP programs that push headers, and
/// room for `struct xdp_frame`, which the kernel writes to the start when a frame is redirected.
pub(crate) const HEADROOM: usize = bindings::XDP_PACKET_HEADROOM as usize
    + size_of::<bindings::xdp_frame>().next_multiple_of(bindings::OXNIC_SMP_CACHE_BYTES);

/// Bytes after a frame, for `struct skb_shared_info` (`SKB_DATA_ALIGN`).
const TAILROOM: usize =
    size_of::<bindings::skb_shared_info>().next_multiple_of(bindings::OXNIC_SMP_CACHE_BYTES);

/// Bytes of a frame that fit into a buffer.
pub(crate) const FRAME_ROOM: usize = BUFFER_SIZE - HEADROOM - TAILROOM;

/// Largest number of buffers of a frame: one, and as many as an skb can have fragments
/// (`MAX_SKB_FRAGS`).
pub(crate) const MAX_BUFFERS: usize = 1 + bindings::OXNIC_MAX_SKB_FRAGS;

/// The pool of one receive ring (`struct page_pool`). Dropping it may sleep.
///
/// The kernel keeps a dropped pool until the last page has been returned.
///
/// # Invariants
///
/// `ptr` is a pool for receive queue `queue` of `dev`, and `napi` is its NAPI.
pub(crate) struct PagePool {
    ptr: NonNull<bindings::page_pool>,
    dev: DeviceRef,
    queue: u16,
    // The pool refers to it until it is destroyed.
    napi: Arc<NapiRef>,
}

// SAFETY: Any thread may own the pool; allocation needs a `NapiExclusive`.
unsafe impl Send for PagePool {}
// SAFETY: A shared pool only gives its address, its device and its queue.
unsafe impl Sync for PagePool {}

impl PagePool {
    /// A pool for the receive queue of `napi`, whose polls allocate from it. It caches about `size`
    /// pages.
    ///
    /// Device and queue are taken from the NAPI, so that they match it: the target of a redirect
    /// may recycle a page directly into the pool because it runs in the poll that the page came
    /// from (`xdp_return_frame_rx_napi`).
    ///
    /// Fails with `ENOMEM`.
    pub(crate) fn new<T: napi::Poll>(napi: &Disabled<'_, T>, size: u32) -> Result<Self> {
        let (dev, queue) = (DeviceRef::from(&**napi.device()), napi.index());
        // SAFETY: All fields may be zero, as in a C initialiser that does not name them.
        let mut params: bindings::page_pool_params = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: Both arms of each union have the same fields.
        unsafe {
            let fast = &mut params.__bindgen_anon_1.__bindgen_anon_1;
            fast.pool_size = size;
            fast.nid = -1;
            fast.napi = napi.napi_ref().as_ptr();
            let slow = &mut params.__bindgen_anon_2.__bindgen_anon_1;
            slow.netdev = dev.as_ptr();
            slow.queue_idx = queue.into();
        }
        // SAFETY: The parameters are complete. The reference in `napi` keeps the NAPI alive.
        let ptr = from_err_ptr(unsafe { bindings::page_pool_create(&params) })?;
        // INVARIANT: Just created for these.
        Ok(Self {
            ptr: NonNull::new(ptr).ok_or(ENOMEM)?,
            dev,
            queue,
            napi: napi.napi_ref().clone(),
        })
    }

    /// Access to the pool's allocation side, for the poll of its NAPI. `None` if `cx` is of another
    /// NAPI.
    #[inline]
    pub(crate) fn allocator<'a, O: NapiExclusive>(
        &'a mut self,
        cx: &'a O,
    ) -> Option<Allocator<'a>> {
        // INVARIANT: The pool is borrowed mutably, and `cx` is of its NAPI.
        self.is_of(cx).then_some(Allocator {
            pool: self,
            may_sleep: O::MAY_SLEEP,
        })
    }

    /// Whether `cx` is of the pool's NAPI.
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
        // SAFETY: The pool is valid, and the buffer is a page from a page_pool.
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
/// As long as a value exists, nothing else allocates from the pool: the value borrows the pool
/// mutably, and a proof of exclusive access to its NAPI.
pub(crate) struct Allocator<'a> {
    pool: &'a mut PagePool,
    may_sleep: bool,
}

impl Allocator<'_> {
    /// A buffer from the pool; `None` if there is no memory.
    ///
    /// The page is never from the memory reserves (`page_is_pfmemalloc`): most sockets drop skbs
    /// with such pages. With `__GFP_NOMEMALLOC` the kernel does not allocate with
    /// `ALLOC_NO_WATERMARKS` (`__gfp_pfmemalloc_flags` in mm/page_alloc.c), and only that marks a
    /// page (`prep_new_page`).
    #[inline]
    pub(crate) fn alloc(&mut self) -> Option<Buffer> {
        // SAFETY: The pool is valid, and nothing else allocates from it, by the type's invariants.
        // If `may_sleep`, this is process context, by the contract of `NapiExclusive`.
        let va = unsafe {
            if self.may_sleep {
                bindings::oxnic_page_pool_alloc_may_sleep(self.pool.as_ptr())
            } else {
                bindings::oxnic_page_pool_alloc(self.pool.as_ptr())
            }
        };
        // INVARIANT: The page was just allocated for us.
        NonNull::new(va.cast()).map(Buffer)
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        let destroyed = self.napi.while_disabled(|| {
            // SAFETY: The pool is ours, and its NAPI is disabled, so no poll uses it. Pages that
            // are not returned yet keep the C object alive.
            unsafe { bindings::page_pool_destroy(self.ptr.as_ptr()) };
        });
        if destroyed.is_err() {
            // Polls may use the pool, and so may softirqs on their CPU that return pages to it.
            pr_err!("a page_pool was dropped while its NAPI is enabled; it is leaked\n");
            core::mem::forget(self.napi.clone());
        }
    }
}

/// Pages that go back to their pools together, which costs less than one by one
/// (`page_pool_put_netmem_bulk`): when the list is full, and when it is dropped; not in a hard
/// interrupt. They may be from any page_pools.
///
/// Unlike with `xdp_return_frame_rx_napi`, they go directly to the cache of their pool only if the
/// kernel finds that right (`page_pool_napi_local` in net/core/page_pool.c). With `PREEMPT_RT` it
/// never is: the batch may hold frames from the poll of a task that this one has preempted on the
/// same CPU (`bq_enqueue` in kernel/bpf/devmap.c), and that poll may be using the cache.
///
/// # Invariants
///
/// The first `len` elements are addresses in pages from page_pools, references to which are the
/// list's.
pub(crate) struct Returned {
    pages: [MaybeUninit<usize>; Self::MAX],
    len: usize,
}

impl Returned {
    /// As many as the kernel returns at a time (`XDP_BULK_QUEUE_SIZE`).
    const MAX: usize = bindings::XDP_BULK_QUEUE_SIZE as usize;

    /// An empty list.
    #[inline]
    pub(super) const fn new() -> Self {
        // INVARIANT: There are none.
        Self {
            pages: [MaybeUninit::uninit(); Self::MAX],
            len: 0,
        }
    }

    /// Adds the page that `address` is in.
    ///
    /// # Safety
    ///
    /// The page must be from a page_pool, and a reference to it must be the caller's, who gives it
    /// up. What the caller owned of the page must not be used any more.
    #[inline]
    pub(super) unsafe fn push(&mut self, address: *const u8) {
        if self.len == Self::MAX {
            self.flush();
        }
        if let Some(place) = self.pages.get_mut(self.len) {
            place.write(address.addr());
            // INVARIANT: The caller's promise.
            self.len += 1;
        }
    }

    #[inline(never)]
    fn flush(&mut self) {
        // INVARIANT: The references are given up.
        let len = core::mem::take(&mut self.len);
        // SAFETY: By the type's invariants, all of these are addresses in pages from page_pools,
        // and the references to them are ours. Whether a page may go directly to its pool's cache,
        // `page_pool_put_netmem_bulk` in net/core/page_pool.c finds out itself
        // (`page_pool_napi_local`).
        unsafe { bindings::oxnic_page_pool_put_bulk(self.pages.as_mut_ptr().cast(), len as u32) };
    }
}

impl Drop for Returned {
    #[inline]
    fn drop(&mut self) {
        if self.len != 0 {
            self.flush();
        }
    }
}

/// A buffer with one owner: a ring, an XDP buff or a function. Dropping it returns the page to its
/// pool; not in a hard interrupt.
///
/// # Invariants
///
/// Points to a page from a page_pool, to which there is no other reference.
pub(crate) struct Buffer(NonNull<u8>);

// SAFETY: The page belongs to the owner of the value, whatever the thread.
unsafe impl Send for Buffer {}

impl Buffer {
    /// The room for a frame: [`FRAME_ROOM`] bytes after the headroom, with the previous content of
    /// the page.
    #[inline]
    pub(crate) fn room(&mut self) -> Dest<'_> {
        // SAFETY: The page is ours alone, and the range is inside it.
        unsafe { Dest::from_raw_parts(self.0.add(HEADROOM), FRAME_ROOM) }
    }

    /// The buffer at `start`.
    ///
    /// # Safety
    ///
    /// `start` must be the start of a page from a page_pool, whose only reference moves to the new
    /// value.
    #[inline]
    pub(super) unsafe fn from_raw(start: *mut u8) -> Self {
        // INVARIANT: The caller's promise.
        // SAFETY: The address of a page is not null.
        Self(unsafe { NonNull::new_unchecked(start) })
    }

    /// The start of the page, which the caller owns from here on.
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
