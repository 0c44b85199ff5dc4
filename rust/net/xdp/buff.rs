// SPDX-License-Identifier: GPL-2.0

//! Received frames in XDP, and the receive queue that they come from.

use super::{
    frags::{
        self,
        Frags, //
    },
    hints::RxDescriptor,
    prog::{
        ProgRef,
        XdpAction, //
    },
    prog_ctx::{
        HasProgCtx,
        ProgCtx,
        ProgCtxHead,
        ProgCtxPtr, //
    },
    rx_frame::{
        FrameBytes,
        RxFrame, //
    },
};
use crate::{
    bindings,
    dest::Dest,
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
    marker::PhantomData,
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
/// `info` is registered for the device and the queue of `pool`, with `pool` as its memory model.
#[pin_data(PinnedDrop)]
pub(crate) struct RxQueue {
    #[pin]
    info: Opaque<bindings::xdp_rxq_info>,
    pool: PagePool,
}

// SAFETY: Any thread may own the queue and unregister it.
unsafe impl Send for RxQueue {}
// SAFETY: The C object is written only when it is registered and unregistered.
unsafe impl Sync for RxQueue {}

impl RxQueue {
    /// Registers the receive queue of `pool` (`xdp_rxq_info_reg`), with `pool` as its memory model
    /// (`MEM_TYPE_PAGE_POOL`). Fails with `ENOMEM`. May sleep.
    pub(crate) fn new(pool: PagePool) -> Result<Pin<KBox<Self>>> {
        let raw_pool = pool.as_ptr();
        let (dev, index) = pool.queue();
        let raw_dev = dev.as_ptr();
        KBox::try_pin_init(
            try_pin_init!(Self {
                info <- Opaque::try_ffi_init(|slot: *mut bindings::xdp_rxq_info| {
                    // SAFETY: The slot is ours and does not move; device and pool are valid.
                    unsafe {
                        ptr::write_bytes(slot, 0, 1);
                        // The kernel ignores the NAPI id (0) and looks it up itself. The last
                        // argument is the size of a fragment, a page too: it lets a program grow
                        // the end of a multi-buffer frame.
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
        // SAFETY: `new` has registered the queue, and no poll uses it any more.
        unsafe { bindings::xdp_rxq_info_unreg(self.info.get()) };
    }
}

/// A received frame (`struct xdp_buff`) and the buffers that it is in. Dropping it returns the
/// buffers to their pool.
///
/// # Invariants
///
/// The frame, or its first part, is in a page from a page_pool that is ours, with headroom before
/// it and room for `struct skb_shared_info` after it. Its fragments, if any, are listed in this
/// structure and are pages from a page_pool too, also ours.
#[repr(transparent)]
pub(crate) struct XdpBuff(bindings::xdp_buff);

impl XdpBuff {
    /// Length of the frame in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.data().len() + self.frags().map_or(0, Frags::len)
    }

    /// Number of buffers that the frame is in.
    pub(crate) fn buffers(&self) -> usize {
        1 + self.frags().map_or(0, Frags::count)
    }

    /// The bytes in the first buffer.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        let len = (self.0.data_end as usize).wrapping_sub(self.0.data as usize);
        // SAFETY: The range from `data` to `data_end` is in the page, which is ours.
        unsafe { slice::from_raw_parts(self.0.data.cast(), len) }
    }

    /// The metadata in front of the frame.
    #[inline]
    fn metadata(&self) -> &[u8] {
        let start: *const u8 = self.0.data_meta.cast();
        let len = (self.0.data as usize)
            .checked_sub(start as usize)
            .unwrap_or_default();
        // SAFETY: The range from `data_meta` to `data` is in the page, which is ours.
        unsafe { slice::from_raw_parts(start, len) }
    }

    /// Fills `to` with the bytes of the frame from `offset` on, from all its buffers. Fails with
    /// `EINVAL` if there are not enough.
    pub(crate) fn copy_to(&self, offset: usize, to: Dest<'_>) -> Result {
        frags::copy_frame(self.data(), self.frags(), offset, to)
    }

    /// Whether the frame is in more than one buffer.
    #[inline]
    pub(crate) fn has_frags(&self) -> bool {
        // SAFETY: Both arms of the union are integers.
        let flags = unsafe { self.0.__bindgen_anon_1.__bindgen_anon_1.flags };
        flags & bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS != 0
    }

    /// The buffers after the first.
    #[inline]
    fn frags(&self) -> Option<Frags<'_>> {
        if !self.has_frags() {
            return None;
        }
        // SAFETY: The frame is valid and has fragments, so its shared info is valid.
        Some(unsafe { Frags::from_raw(bindings::oxnic_xdp_buff_shared_info(&self.0)) })
    }

    /// See [`Buff::add_frag`].
    fn add_frag(&mut self, pool: &PagePool, buffer: Buffer, len: u32) -> Result<(), Buffer> {
        if !pool.owns(&buffer) {
            return Err(buffer);
        }
        let len = len.min(FRAME_ROOM as u32);
        // SAFETY: The frame is valid, and the bytes are in the page. If the frame has room for
        // another fragment, it owns the page from here on.
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

    /// Returns all pages but the first to their pool, and the first to the caller.
    ///
    /// # Safety
    ///
    /// The value must not be used any more afterwards, nor dropped.
    #[inline]
    unsafe fn release(&mut self, cx: &impl NapiExclusive) -> Buffer {
        if self.has_frags() {
            // SAFETY: The fragments are not used any more. `cx` is the proof that this thread is
            // polling that NAPI, or owns it while it is disabled.
            unsafe { self.put_frags(cx.napi().as_ptr()) };
        }
        // SAFETY: The page is ours and from a page_pool. The frame is not used any more.
        unsafe { Buffer::from_raw(self.0.data_hard_start.cast()) }
    }

    /// Returns the pages of the fragments to their pool: directly to its cache if its NAPI is
    /// `napi`, which is null if this thread is not polling.
    ///
    /// # Safety
    ///
    /// The fragments must not be used any more afterwards. `napi` must be null, or this thread must
    /// have exclusive access to it, as [`NapiExclusive`] requires.
    #[inline(never)]
    unsafe fn put_frags(&mut self, napi: *const bindings::napi_struct) {
        for frag in self.frags().map(Frags::iter).unwrap_or_default() {
            // SAFETY: The page is from a page_pool and ours, and it is not used any more. The rest
            // is the caller's promise.
            unsafe { bindings::oxnic_page_pool_put_frag(frag, napi) };
        }
    }
}

impl Drop for XdpBuff {
    fn drop(&mut self) {
        if self.has_frags() {
            // SAFETY: The fragments are not used any more.
            unsafe { self.put_frags(ptr::null()) };
        }
        // SAFETY: The page is ours, from a page_pool, and not used any more.
        unsafe { bindings::oxnic_page_pool_put(self.0.data_hard_start) };
    }
}

/// A received frame in a single buffer, taken out of XDP: only its bytes are left.
///
/// # Invariants
///
/// The `len` bytes from `offset` on are inside the buffer.
pub(crate) struct LinearBuff {
    buffer: Buffer,
    offset: u32,
    len: u32,
}

impl LinearBuff {
    /// The frame's bytes.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        // SAFETY: The bytes are inside the buffer, by the type's invariants, and the buffer is
        // ours.
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

    /// Like [`XdpBuff::copy_to`].
    pub(crate) fn copy_to(&self, offset: usize, to: Dest<'_>) -> Result {
        frags::copy_frame(self.data(), None, offset, to)
    }

    /// Like [`XdpBuff::has_frags`]: always `false`.
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

/// The `xdp_buff` of a poll, for one frame at a time; programs get a pointer to it. The fields that
/// are the same for every frame are written once per poll (`xdp_init_buff`).
///
/// # Invariants
///
/// A value exists only during a poll of the NAPI of `queue`'s pool.
pub(crate) struct XdpBuffSlot<'q, D> {
    frame: ProgCtx<D>,
    queue: &'q RxQueue,
}

impl<'q, D: RxDescriptor> XdpBuffSlot<'q, D> {
    /// A slot for frames that were received on `queue`, in the poll of its NAPI. `descriptor` is a
    /// placeholder.
    ///
    /// `None` if this is the poll of another NAPI. The target of a redirect may recycle a page
    /// directly (`xdp_return_frame_rx_napi`), as only the poll of the pool's own NAPI may.
    #[inline]
    pub(crate) fn new(queue: &'q RxQueue, cx: &'q Context<'_>, descriptor: D) -> Option<Self> {
        if !queue.pool.is_of(cx) {
            return None;
        }
        // INVARIANT: The value does not outlive the poll, whose NAPI is the pool's. `Self::hints`
        // is for a `ProgCtx<D>`.
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
                    hints: ProgCtx::<D>::HINTS,
                },
                descriptor,
            },
            queue,
        })
    }

    /// Makes a frame, or the first part of one, of the `len` bytes that the NIC has written to
    /// `buffer` (`xdp_prepare_buff`). A length beyond the buffer's room is truncated. A frame that
    /// is shorter than an Ethernet header, on which the stack relies, is padded with zeroes.
    #[inline]
    pub(crate) fn load(&mut self, buffer: Buffer, len: u32, descriptor: D) -> Buff<'_, 'q, D> {
        if (ETH_HLEN..=FRAME_ROOM).contains(&(len as usize)) {
            self.load_checked(buffer, len as usize, descriptor)
        } else {
            self.load_bad_len(buffer, len as usize, descriptor)
        }
    }

    /// [`load`](Self::load) with a length that is larger than the buffer's room or smaller than an
    /// Ethernet header. It makes the frame too: with a call that returned only the length, the fast
    /// path kept more values in registers across it, which cost 4 instructions per frame.
    #[cold]
    #[inline(never)]
    fn load_bad_len(&mut self, mut buffer: Buffer, len: usize, descriptor: D) -> Buff<'_, 'q, D> {
        // Nothing is missing from a frame that is too long.
        let _ = buffer.room().zero(len, ETH_HLEN);
        self.load_checked(buffer, len, descriptor)
    }

    #[inline]
    fn load_checked(&mut self, buffer: Buffer, len: usize, descriptor: D) -> Buff<'_, 'q, D> {
        let len = len.clamp(ETH_HLEN, FRAME_ROOM);
        let start = buffer.into_raw();
        // SAFETY: `HEADROOM` is inside the page.
        let data: *mut c_void = unsafe { start.add(HEADROOM) }.cast();
        let xdp = &mut self.frame.head.xdp;
        xdp.data = data;
        // SAFETY: `HEADROOM + len` is inside the page, since `len` is at most `FRAME_ROOM`.
        xdp.data_end = unsafe { data.byte_add(len) };
        xdp.data_meta = data;
        xdp.data_hard_start = start.cast();
        xdp.__bindgen_anon_1.__bindgen_anon_1.flags = 0;
        self.frame.descriptor = descriptor;
        // INVARIANT: There is headroom before the frame and room for the shared info after it,
        // since `len` is at most `FRAME_ROOM`. The page is ours, from `into_raw`. The frame has no
        // fragments. The other fields are those that `new` has set.
        Buff(self)
    }
}

/// Length of an Ethernet header.
const ETH_HLEN: usize = bindings::ETH_HLEN as usize;

/// A received frame in the slot of a poll, for XDP. Dropping it returns the buffers to their pool.
///
/// # Invariants
///
/// The `xdp_buff` in the slot is a valid [`XdpBuff`] that is ours. Its `rxq` is that of the slot's
/// queue.
pub(crate) struct Buff<'w, 'q, D>(&'w mut XdpBuffSlot<'q, D>);

impl<D> Deref for Buff<'_, '_, D> {
    type Target = XdpBuff;

    #[inline]
    fn deref(&self) -> &XdpBuff {
        // SAFETY: The `xdp_buff` is a valid `XdpBuff`, a transparent type.
        unsafe { &*(&raw const self.0.frame.head.xdp).cast() }
    }
}

impl<D> Buff<'_, '_, D> {
    #[inline]
    fn pages(&mut self) -> *mut XdpBuff {
        (&raw mut self.0.frame.head.xdp).cast()
    }

    /// The frame, for the kernel's functions that are called in the poll of its queue.
    #[inline]
    pub(super) fn as_raw(&mut self) -> *mut bindings::xdp_buff {
        &raw mut self.0.frame.head.xdp
    }

    /// The queue on which the frame was received.
    #[inline]
    pub(super) fn queue(&self) -> &RxQueue {
        self.0.queue
    }
}

impl<D> FrameBytes for Buff<'_, '_, D> {
    #[inline]
    fn size(&self) -> (usize, usize) {
        (self.len(), self.buffers())
    }

    #[inline]
    fn copy_to(&self, offset: usize, to: Dest<'_>) -> Result {
        XdpBuff::copy_to(self, offset, to)
    }
}

// SAFETY: The context is that of the frame in the slot.
unsafe impl<D> HasProgCtx for Buff<'_, '_, D> {
    #[inline]
    fn ctx(&mut self) -> ProgCtxPtr<'_> {
        ProgCtxPtr(ptr::from_mut(&mut self.0.frame).cast(), PhantomData)
    }
}

impl<D: RxDescriptor> RxFrame for Buff<'_, '_, D> {
    type Descriptor = D;
    type Buffer = Buffer;
    type Linear = LinearBuff;

    #[inline]
    fn descriptor(&self) -> &D {
        &self.0.frame.descriptor
    }

    fn run_with_headroom(&mut self, bytes: u32, prog: ProgRef<'_>, cx: &Context<'_>) -> XdpAction {
        let xdp = &mut self.0.frame.head.xdp;
        let start = xdp.data_hard_start;
        // Not beyond the start of the frame or of its metadata, where a program may have moved it.
        let used = xdp.data.min(xdp.data_meta) as usize;
        let less = HEADROOM
            .saturating_sub(bytes as usize)
            .min(used.saturating_sub(start as usize));
        // SAFETY: `less` is at most `HEADROOM`, which is inside the page.
        xdp.data_hard_start = unsafe { start.byte_add(less) };
        // Shorter than the page, so it fits.
        let less = less as u32;
        // SAFETY: Both arms of the union are integers. The end of the room stays where it is.
        unsafe { xdp.__bindgen_anon_1.__bindgen_anon_1.frame_sz -= less };
        let action = prog.bpf_prog_run_xdp(self, cx);
        let xdp = &mut self.0.frame.head.xdp;
        xdp.data_hard_start = start;
        // SAFETY: As above.
        unsafe { xdp.__bindgen_anon_1.__bindgen_anon_1.frame_sz += less };
        action
    }

    /// `xdp_buff_add_frag`; at most [`MAX_BUFFERS`](crate::net::page_pool::MAX_BUFFERS).
    fn add_frag(&mut self, buffer: Buffer, len: u32) -> Result<(), Buffer> {
        // SAFETY: The frame is valid and ours, and borrowed mutably.
        unsafe { (*self.pages()).add_frag(&self.0.queue.pool, buffer, len) }
    }

    /// Takes the frame out of the slot, if it is in a single buffer.
    #[inline]
    fn into_linear(self) -> Result<LinearBuff, Self> {
        if self.has_frags() {
            return Err(self);
        }
        let xdp = &self.0.frame.head.xdp;
        let start = xdp.data_hard_start.cast();
        let linear = LinearBuff {
            // SAFETY: The page is ours and from a page_pool. The frame gives it up below.
            buffer: unsafe { Buffer::from_raw(start) },
            offset: (xdp.data as usize).wrapping_sub(start as usize) as u32,
            len: (xdp.data_end as usize).wrapping_sub(xdp.data as usize) as u32,
        };
        // INVARIANT: The range from `data` to `data_end` is in the page.
        core::mem::forget(self);
        Ok(linear)
    }

    /// Ends the frame in the poll: returns its first buffer for reuse, and the others to the pool.
    /// This is cheaper than dropping the frame.
    #[inline]
    fn into_buffer(self, cx: &Context<'_>) -> Buffer {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: The frame is valid and ours. Neither it nor this value is used any more, or
        // dropped.
        unsafe { (*this.pages()).release(cx) }
    }

    /// Builds an skb around the frame, with the metadata that a program has put in front of it
    /// (`xdp_build_skb_from_buff`). The skb is ready for the stack. `None` if there is no memory;
    /// the frame is then lost.
    #[inline]
    fn into_skb(self, _cx: &Context<'_>) -> Option<SkBuff> {
        // SAFETY: The frame is valid, in pages from a page_pool, with room for the shared info.
        let skb = unsafe { bindings::xdp_build_skb_from_buff(&self.0.frame.head.xdp) };
        if skb.is_null() {
            return None;
        }
        // The skb owns the pages now.
        core::mem::forget(self);
        // SAFETY: The skb is new, and its reference is ours.
        Some(unsafe { SkBuff::from_raw(skb) })
    }

    #[inline]
    fn linear(&self) -> &[u8] {
        self.data()
    }

    #[inline]
    fn metadata(&self) -> &[u8] {
        XdpBuff::metadata(self)
    }

    #[inline]
    fn append_to(self, skb: &mut SkBuff, skip: usize) -> Result<(), Self> {
        // SAFETY: The frame is valid, in pages from a page_pool, which are ours.
        if !unsafe { skb.append_xdp(&self.0.frame.head.xdp, skip) } {
            return Err(self);
        }
        // The skb owns the pages now.
        core::mem::forget(self);
        Ok(())
    }

    /// The length includes the metadata that a program has put in front of the frame, which is
    /// copied too.
    #[inline]
    fn copy_skb(self, max: u32, cx: &Context<'_>) -> Result<(SkBuff, Buffer), Self> {
        let xdp = &raw const self.0.frame.head.xdp;
        // SAFETY: The frame is valid.
        let len = unsafe { ((*xdp).data_end as usize).wrapping_sub((*xdp).data_meta as usize) };
        if len > max as usize || self.has_frags() {
            return Err(self);
        }
        // SAFETY: The frame is valid and in a single buffer, and this is a poll of the NAPI.
        let skb = unsafe { bindings::oxnic_xdp_copy_skb(cx.napi().as_ptr(), xdp) };
        if skb.is_null() {
            return Err(self);
        }
        // SAFETY: The skb is new, and its reference is ours.
        Ok((unsafe { SkBuff::from_raw(skb) }, self.into_buffer(cx)))
    }

    /// A frame from another pool than the queue's is never redirected (`EINVAL`): the target may
    /// recycle it directly, which only the poll of the pool's own NAPI permits.
    #[inline]
    fn redirect(
        mut self,
        prog: ProgRef<'_>,
        cx: &Context<'_>,
    ) -> Result<(), (Option<Self>, Error)> {
        let dev = self.queue().device().as_ptr();
        let pool = self.queue().pool().as_ptr();
        let xdp = self.as_raw();
        // SAFETY: All pointers are valid. This is the poll of the queue's NAPI, in which the
        // program ran on this frame: the frame's slot exists only in that poll.
        let result = unsafe { bindings::oxnic_xdp_do_redirect(dev, xdp, prog.as_ptr(), pool) };
        // Also after a failure: an earlier frame may wait in the bulk queue of the same map.
        cx.set_redirected();
        if result == 0 {
            // The target owns the pages now.
            core::mem::forget(self);
            return Ok(());
        }
        Err((Some(self), Error::from_errno(result)))
    }
}

impl<D> Drop for Buff<'_, '_, D> {
    fn drop(&mut self) {
        // SAFETY: The frame is valid and ours, and not used any more.
        unsafe { ptr::drop_in_place(self.pages()) };
    }
}

// XDP programs rely on 256 bytes of headroom (`XDP_PACKET_HEADROOM`).
const _: () = assert!(HEADROOM >= 256 + size_of::<bindings::xdp_frame>());
