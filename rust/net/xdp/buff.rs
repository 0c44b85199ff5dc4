// SPDX-License-Identifier: GPL-2.0

//! Received frames that XDP works on, and the queue they came from.

use super::{
    frags::{
        self,
        Frags, //
    },
    hints::RxHints, //
};
use crate::{
    bindings,
    net::{
        device::netdev::Device,
        napi::{
            Context,
            NapiExclusive, //
        },
        page_pool::{
            Allocator,
            Buffer,
            PagePool,
            BUFFER_SIZE,
            FRAME_ROOM,
            HEADROOM, //
        },
        skbuff::SkBuff, //
    },
};
use core::{
    mem::ManuallyDrop,
    ops::Deref,
    ptr,
    slice, //
};
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A receive queue as XDP sees it (`struct xdp_rxq_info`), with the page_pool its frames come from.
///
/// # Invariants
///
/// `info` is registered for the device and the queue of `pool`, with that as its memory model.
#[pin_data(PinnedDrop)]
pub(crate) struct RxQueue {
    #[pin]
    info: Opaque<bindings::xdp_rxq_info>,
    pool: PagePool,
}

// SAFETY: Any thread may have the queue and unregister it.
unsafe impl Send for RxQueue {}
// SAFETY: The C object is written only when it is registered and unregistered.
unsafe impl Sync for RxQueue {}

impl RxQueue {
    /// Registers the receive queue that `pool` is for (`xdp_rxq_info_reg`), with that as its memory
    /// model (`MEM_TYPE_PAGE_POOL`). Fails with `ENOMEM`. May sleep.
    pub(crate) fn new(pool: PagePool) -> Result<Pin<KBox<Self>>> {
        let raw_pool = pool.as_ptr();
        let (dev, index) = pool.queue();
        let raw_dev = dev.as_ptr();
        KBox::try_pin_init(
            try_pin_init!(Self {
                info <- Opaque::try_ffi_init(|slot: *mut bindings::xdp_rxq_info| {
                    // SAFETY: The slot is ours and stays where it is; device and pool are valid.
                    unsafe {
                        ptr::write_bytes(slot, 0, 1);
                        // The kernel looks the NAPI's id up itself, whatever is given here. A
                        // buffer behind the first is a page too, so that a program can make the
                        // end of the frame grow in it.
                        to_result(bindings::__xdp_rxq_info_reg(
                            slot,
                            raw_dev,
                            index.into(),
                            0,
                            BUFFER_SIZE as u32,
                        ))?;
                        to_result(bindings::xdp_rxq_info_reg_mem_model(
                            slot,
                            bindings::xdp_mem_type_MEM_TYPE_PAGE_POOL,
                            raw_pool.cast(),
                        ))
                        .inspect_err(|_| bindings::xdp_rxq_info_unreg(slot))
                    }
                }),
                pool,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The device.
    #[inline]
    pub(crate) fn device(&self) -> &Device {
        self.pool.queue().0
    }

    /// The page_pool.
    #[inline]
    pub(super) fn pool(&self) -> &PagePool {
        &self.pool
    }

    /// Access to the ring's page_pool; see [`PagePool::allocator`].
    #[inline]
    pub(crate) fn allocator<'a>(
        self: Pin<&'a mut Self>,
        cx: &'a impl NapiExclusive,
    ) -> Option<Allocator<'a>> {
        self.project().pool.allocator(cx)
    }
}

#[pinned_drop]
impl PinnedDrop for RxQueue {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by `new`; no poll uses it any more.
        unsafe { bindings::xdp_rxq_info_unreg(self.info.get()) };
    }
}

/// A received frame (`struct xdp_buff`), in buffers of its own. Dropping it gives the buffers back
/// to their pool.
///
/// # Invariants
///
/// The structure describes a part of a page from a page_pool that is ours, which is whole
/// otherwise: head room in front, room for `struct skb_shared_info` behind. If it has fragments,
/// they are pages from a page_pool, ours too, and listed there.
#[repr(transparent)]
pub(crate) struct XdpBuff(bindings::xdp_buff);

impl XdpBuff {
    /// Length of the frame in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.data().len() + self.frags().map_or(0, Frags::len)
    }

    /// In how many buffers the frame is.
    pub(crate) fn buffers(&self) -> usize {
        1 + self.frags().map_or(0, Frags::count)
    }

    /// The frame's bytes, as far as they are in the first buffer.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        let len = (self.0.data_end as usize).wrapping_sub(self.0.data as usize);
        // SAFETY: From `data` to `data_end` is a part of the page, which is ours.
        unsafe { slice::from_raw_parts(self.0.data.cast(), len) }
    }

    /// Copies bytes of the frame, from `offset` on, from whatever buffers they are in. Fails with
    /// `EINVAL` if there are fewer than `to` is long.
    pub(crate) fn copy_to(&self, offset: usize, to: &mut [u8]) -> Result {
        frags::copy_frame(self.data(), self.frags(), offset, to)
    }

    /// Whether the frame is in more than one buffer.
    #[inline]
    pub(crate) fn has_frags(&self) -> bool {
        // SAFETY: Both arms of the union are plain integers.
        let flags = unsafe { self.0.__bindgen_anon_1.__bindgen_anon_1.flags };
        flags & bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS != 0
    }

    /// The buffers after the first.
    #[inline]
    fn frags(&self) -> Option<Frags<'_>> {
        if !self.has_frags() {
            return None;
        }
        // SAFETY: The frame is valid and has fragments, which are listed behind its first part.
        Some(unsafe { Frags::from_raw(bindings::oxnic_xdp_buff_shared_info(&self.0)) })
    }

    /// See [`Buff::add_frag`].
    fn add_frag(&mut self, pool: &PagePool, buffer: Buffer, len: u32) -> Result<(), Buffer> {
        if !pool.owns(&buffer) {
            return Err(buffer);
        }
        let len = len.min(FRAME_ROOM as u32);
        // SAFETY: The frame is valid, and the bytes are inside the page, which is the frame's from
        // here on if there was a place for it.
        let added = unsafe {
            bindings::oxnic_xdp_buff_add_frag(
                &mut self.0,
                buffer.start().cast(),
                HEADROOM as u32,
                len,
            )
        };
        if added {
            buffer.into_raw();
            Ok(())
        } else {
            Err(buffer)
        }
    }

    /// Gives up all pages but the first.
    ///
    /// # Safety
    ///
    /// The value is not used any more afterwards, nor dropped.
    #[inline]
    unsafe fn release(&mut self, cx: &impl NapiExclusive) -> Buffer {
        if self.has_frags() {
            // SAFETY: The pages are ours and are given up; the context is the NAPI that is being
            // polled.
            unsafe { bindings::oxnic_xdp_buff_put_frags(cx.napi().as_ptr(), &mut self.0) };
        }
        // SAFETY: The page is ours, from a page_pool, and the frame is gone.
        unsafe { Buffer::from_raw(self.0.data_hard_start.cast()) }
    }
}

impl Drop for XdpBuff {
    fn drop(&mut self) {
        // SAFETY: The pages are ours and not used any more.
        unsafe {
            if self.has_frags() {
                bindings::oxnic_xdp_buff_put_frags(ptr::null(), &mut self.0);
            }
            bindings::oxnic_page_pool_put(self.0.data_hard_start);
        }
    }
}

/// A received frame in one buffer, of which only the bytes are needed any more.
///
/// # Invariants
///
/// The `len` bytes from `offset` on are in the buffer.
pub(crate) struct LinearBuff {
    buffer: Buffer,
    offset: u32,
    len: u32,
}

impl LinearBuff {
    /// The frame's bytes.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        // SAFETY: By the type's invariants; the buffer is ours.
        unsafe {
            let data = self.buffer.start().add(self.offset as usize);
            slice::from_raw_parts(data, self.len as usize)
        }
    }

    /// Length of the frame in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// As [`XdpBuff::copy_to`].
    pub(crate) fn copy_to(&self, offset: usize, to: &mut [u8]) -> Result {
        frags::copy_frame(self.data(), None, offset, to)
    }

    /// As [`XdpBuff::has_frags`]: no.
    #[inline]
    pub(crate) fn has_frags(&self) -> bool {
        false
    }

    /// The buffer, for another frame.
    #[inline]
    pub(crate) fn into_buffer(self) -> Buffer {
        self.buffer
    }
}

/// Where a poll keeps the frame that it works on; programs get a pointer into it. The fields that
/// are the same for every frame are written once per poll (`xdp_init_buff`).
///
/// # Invariants
///
/// It exists only during a poll of the NAPI that `queue`'s pool is of.
pub(crate) struct XdpBuffSlot<'q, D> {
    frame: ProgCtx<D>,
    queue: &'q RxQueue,
}

/// The context of a program: the frame, followed by the frame's descriptor for the metadata kfuncs.
// A program asks for hints by way of a pointer to the first field, so the order matters.
#[repr(C)]
struct ProgCtx<D> {
    head: ProgCtxHead,
    descriptor: D,
}

/// The start of a program's context, which does not depend on the driver's type of descriptor.
///
/// # Invariants
///
/// It is the start of a [`ProgCtx`] with the type of descriptor that `hints` is for.
#[repr(C)]
pub(super) struct ProgCtxHead {
    xdp: bindings::xdp_buff,
    hints: unsafe fn(*const ProgCtxHead) -> RxHints,
}

impl ProgCtxHead {
    /// The hardware's metadata of the frame.
    ///
    /// # Safety
    ///
    /// `head` must be that of a [`Buff`], as [`Buff::as_ctx`] gave it.
    pub(super) unsafe fn hints(head: *const Self) -> RxHints {
        // SAFETY: By the type's invariants the function is for this type of frame.
        unsafe { ((*head).hints)(head) }
    }
}

/// The metadata that a descriptor has about its frame.
pub(crate) trait RxDescriptor: Copy {
    /// The metadata in the terms of XDP, for programs that ask.
    fn hints(&self) -> RxHints;
}

impl<'q, D: RxDescriptor> XdpBuffSlot<'q, D> {
    /// For frames that came in by `queue`, in the poll of its NAPI; `descriptor` is of none of
    /// them. `None` if this is the poll of another NAPI: the target of a redirect may give a page
    /// back to its pool as if it were that poll (`xdp_return_frame_rx_napi`), so only the pool's
    /// own may redirect.
    #[inline]
    pub(crate) fn new(queue: &'q RxQueue, cx: &'q Context<'_>, descriptor: D) -> Option<Self> {
        if !queue.pool.is_of(cx) {
            return None;
        }
        // INVARIANT: The poll lasts longer than the value. The function is for this type.
        Some(Self {
            frame: ProgCtx {
                head: ProgCtxHead {
                    xdp: bindings::xdp_buff {
                        data: ptr::null_mut(),
                        data_end: ptr::null_mut(),
                        data_meta: ptr::null_mut(),
                        data_hard_start: ptr::null_mut(),
                        rxq: queue.info.get(),
                        txq: ptr::null_mut(),
                        __bindgen_anon_1: bindings::xdp_buff__bindgen_ty_1 {
                            __bindgen_anon_1: bindings::xdp_buff__bindgen_ty_1__bindgen_ty_1 {
                                frame_sz: BUFFER_SIZE as u32,
                                flags: 0,
                            },
                        },
                    },
                    hints: Self::hints,
                },
                descriptor,
            },
            queue,
        })
    }

    /// # Safety
    ///
    /// `head` must be that of a whole `ProgCtx<D>`.
    unsafe fn hints(head: *const ProgCtxHead) -> RxHints {
        // SAFETY: The caller's promise; the program that asks can only reach the frame.
        unsafe { (*head.cast::<ProgCtx<D>>()).descriptor.hints() }
    }

    /// The frame of `len` bytes, or its start, that the NIC has written to `buffer`
    /// (`xdp_prepare_buff`), with its descriptor. More than the buffer's room is cut off. What is
    /// shorter than an Ethernet header, which the stack relies on, is filled up with zeroes.
    #[inline]
    pub(crate) fn load(&mut self, mut buffer: Buffer, len: u32, descriptor: D) -> Buff<'_, 'q, D> {
        let len = if (ETH_HLEN..=FRAME_ROOM).contains(&(len as usize)) {
            len as usize
        } else {
            bad_len(buffer.room(), len as usize)
        };
        let start = buffer.into_raw();
        // SAFETY: Inside the page.
        let data: *mut c_void = unsafe { start.add(HEADROOM) }.cast();
        let xdp = &mut self.frame.head.xdp;
        xdp.data = data;
        // SAFETY: Inside the page.
        xdp.data_end = unsafe { data.byte_add(len) };
        xdp.data_meta = data;
        xdp.data_hard_start = start.cast();
        xdp.__bindgen_anon_1.__bindgen_anon_1.flags = 0;
        self.frame.descriptor = descriptor;
        // INVARIANT: Head and tail room are what they should be, since `len` is within the room.
        // The page is ours, from `into_raw`. The other fields are those of `new`.
        Buff(self)
    }
}

/// Length of an Ethernet header.
const ETH_HLEN: usize = bindings::ETH_HLEN as usize;

/// How long a frame is that the NIC says is longer than its buffer, or shorter than a frame can be.
#[cold]
fn bad_len(room: &mut [u8], len: usize) -> usize {
    if let Some(missing) = room.get_mut(len..ETH_HLEN) {
        missing.fill(0);
    }
    len.clamp(ETH_HLEN, FRAME_ROOM)
}

/// A received frame that XDP works on, in the slot of a poll. Dropping it gives the buffers back
/// to their pool.
///
/// # Invariants
///
/// The `xdp_buff` in the slot is a valid [`XdpBuff`], which is ours; its `rxq` is that of the
/// slot's queue.
pub(crate) struct Buff<'w, 'q, D>(&'w mut XdpBuffSlot<'q, D>);

impl<D> Deref for Buff<'_, '_, D> {
    type Target = XdpBuff;

    #[inline]
    fn deref(&self) -> &XdpBuff {
        // SAFETY: By the type's invariants; `XdpBuff` is transparent.
        unsafe { &*(&raw const self.0.frame.head.xdp).cast() }
    }
}

impl<D> Buff<'_, '_, D> {
    #[inline]
    fn pages(&mut self) -> *mut XdpBuff {
        (&raw mut self.0.frame.head.xdp).cast()
    }

    /// The context for a program: a pointer to the frame, and with it to the descriptor.
    #[inline]
    pub(super) fn as_ctx(&mut self) -> *mut bindings::xdp_buff {
        ptr::from_mut(&mut self.0.frame).cast()
    }

    /// The frame as the kernel's functions get it, in the poll of the queue that it came in by.
    #[inline]
    pub(super) fn as_raw(&mut self) -> *mut bindings::xdp_buff {
        &raw mut self.0.frame.head.xdp
    }

    /// The queue that the frame came in by.
    #[inline]
    pub(super) fn queue(&self) -> &RxQueue {
        self.0.queue
    }

    /// The frame's descriptor.
    #[inline]
    pub(crate) fn descriptor(&self) -> &D {
        &self.0.frame.descriptor
    }

    /// Adds the next `len` bytes of the frame, which the NIC has written to `buffer`
    /// (`xdp_buff_add_frag`). More than the buffer's room is cut off. Gives the buffer back if the
    /// frame has as many as it can have ([`MAX_BUFFERS`](crate::net::page_pool::MAX_BUFFERS)), or
    /// if it is from another pool than the queue's.
    pub(crate) fn add_frag(&mut self, buffer: Buffer, len: u32) -> Result<(), Buffer> {
        // SAFETY: The frame is ours.
        unsafe { (*self.pages()).add_frag(&self.0.queue.pool, buffer, len) }
    }

    /// Takes the frame out of the slot, if it is in one buffer.
    #[inline]
    pub(crate) fn into_linear(self) -> Result<LinearBuff, Self> {
        if self.has_frags() {
            return Err(self);
        }
        let xdp = &self.0.frame.head.xdp;
        let start = xdp.data_hard_start.cast();
        let linear = LinearBuff {
            // SAFETY: The page is ours, from a page_pool, and given up by the frame below.
            buffer: unsafe { Buffer::from_raw(start) },
            offset: (xdp.data as usize).wrapping_sub(start as usize) as u32,
            len: (xdp.data_end as usize).wrapping_sub(xdp.data as usize) as u32,
        };
        // INVARIANT: From `data` to `data_end` is a part of the page.
        core::mem::forget(self);
        Ok(linear)
    }

    /// Ends the frame inside the poll, which is cheaper than dropping it: returns its first buffer,
    /// for another frame; the others go back to the pool.
    #[inline]
    pub(crate) fn into_buffer(self, cx: &impl NapiExclusive) -> Buffer {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: The frame is ours, and neither it nor this value is used any more.
        unsafe { (*this.pages()).release(cx) }
    }

    /// An skb around the frame, with the metadata that a program put in front of it, ready for the
    /// stack (`xdp_build_skb_from_buff`). `None` if there is no memory; the frame is lost then.
    #[inline]
    pub(crate) fn into_skb(self, _cx: &Context<'_>) -> Option<SkBuff> {
        // SAFETY: The frame is in pages of a page_pool, with the room that an skb needs.
        let skb = unsafe { bindings::xdp_build_skb_from_buff(&self.0.frame.head.xdp) };
        if skb.is_null() {
            return None;
        }
        // The pages belong to the skb now.
        core::mem::forget(self);
        // SAFETY: A new skb, which is ours.
        Some(unsafe { SkBuff::from_raw(skb) })
    }
}

impl<D> Drop for Buff<'_, '_, D> {
    fn drop(&mut self) {
        // SAFETY: The frame is ours, and not used any more.
        unsafe { ptr::drop_in_place(self.pages()) };
    }
}

// What `XdpBuffSlot::load` leaves in front of a frame is what XDP programs may count on.
const _: () = assert!(HEADROOM >= 256 + size_of::<bindings::xdp_frame>());
