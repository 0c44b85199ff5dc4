// SPDX-License-Identifier: GPL-2.0

//! Received frames in umem, and the receive queue that they come from.

use super::{
    frame::{
        UmemBytes,
        UmemFrame, //
    },
    pool::{
        Layout,
        Pool,
        UmemBuffer,
        HEADROOM, //
    },
    tx::PoolTx, //
};
use crate::{
    bindings,
    dest::Dest,
    net::{
        device::{
            device_ref::DeviceRef,
            netdev::Device, //
        },
        napi::{
            self,
            Context,
            Disabled,
            NapiExclusive, //
        },
        skbuff::SkBuff,
        xdp::{
            hints::RxDescriptor,
            prog::ProgRef,
            prog_ctx::{
                HasProgCtx,
                ProgCtx,
                ProgCtxPtr, //
            },
            rx_frame::{
                FrameBytes,
                RxFrame, //
            },
        },
    },
};
use core::{
    marker::PhantomData,
    mem::{
        offset_of,
        ManuallyDrop, //
    },
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A receive queue as XDP sees it (`struct xdp_rxq_info`), whose frames are in umem. It has its
/// pool while it is polled.
///
/// # Invariants
///
/// `info` is registered for queue `index` of `dev`, with `MEM_TYPE_XSK_BUFF_POOL` as its memory
/// model; the buffers of `pool` refer to it.
#[pin_data(PinnedDrop)]
pub(crate) struct RxQueue {
    #[pin]
    info: Opaque<bindings::xdp_rxq_info>,
    dev: DeviceRef,
    index: u16,
    pool: Option<Pool>,
}

// SAFETY: Any thread may own the queue and unregister it.
unsafe impl Send for RxQueue {}

impl RxQueue {
    /// Registers the receive queue of `napi` (`xdp_rxq_info_reg`), for a pool with this layout.
    /// Fails with `ENOMEM`. May sleep.
    pub(crate) fn new<T: napi::Poll>(
        napi: &Disabled<'_, T>,
        layout: Layout,
    ) -> Result<Pin<KBox<Self>>> {
        let (dev, index) = (DeviceRef::from(&**napi.device()), napi.index());
        let raw_dev = dev.as_ptr();
        KBox::try_pin_init(
            try_pin_init!(Self {
                info <- Opaque::try_ffi_init(|slot: *mut bindings::xdp_rxq_info| {
                    // SAFETY: The slot is ours and does not move; the device is valid.
                    unsafe {
                        ptr::write_bytes(slot, 0, 1);
                        to_result(bindings::oxnic_xsk_rxq_reg(
                            slot,
                            raw_dev,
                            index.into(),
                            layout.frag_step,
                        ))
                    }
                }),
                dev,
                index,
                pool: None,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The device.
    #[inline]
    pub(crate) fn device(&self) -> &Device {
        &self.dev
    }

    /// The pool, if the queue has it.
    #[inline]
    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.pool.as_ref()
    }

    /// The sending side of the pool, if the queue has it.
    #[inline]
    pub(crate) fn tx(self: Pin<&mut Self>) -> Option<PoolTx<'_>> {
        self.project().pool.as_mut().map(Pool::tx)
    }

    /// Gives the queue its pool. Returns the pool if the queue already has one, or if it is a pool
    /// of another device.
    pub(crate) fn give(self: Pin<&mut Self>, pool: Pool) -> Result<(), Pool> {
        if self.pool.is_some() || !ptr::eq(pool.device().as_ptr(), self.dev.as_ptr()) {
            return Err(pool);
        }
        // INVARIANT: From here on the buffers refer to `info`.
        // SAFETY: The pool is ours, and no poll runs that would use it. `info` does not move, and
        // exists as long as the queue owns the pool.
        unsafe { bindings::oxnic_xsk_set_rxq(pool.as_ptr(), self.info.get()) };
        *self.project().pool = Some(pool);
        Ok(())
    }

    /// Takes the pool out.
    pub(crate) fn take(self: Pin<&mut Self>) -> Option<Pool> {
        self.project().pool.take()
    }
}

#[pinned_drop]
impl PinnedDrop for RxQueue {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `new` has registered the queue, and no poll uses it any more. The buffers of a
        // pool that was taken out refer to another queue before they are used again: see `give`.
        unsafe { bindings::xdp_rxq_info_unreg(self.info.get()) };
    }
}

/// Length of an Ethernet header.
const ETH_HLEN: usize = bindings::ETH_HLEN as usize;

/// Makes the frames of a poll, one at a time: the pool has one list for the fragments of a frame.
pub(crate) struct FrameSlot<'q, D> {
    queue: &'q RxQueue,
    pool: &'q Pool,
    _descriptor: PhantomData<D>,
}

impl<'q, D: RxDescriptor> FrameSlot<'q, D> {
    /// The rest of a program's context follows the `xdp_buff`, in the room that the kernel has
    /// there for data of the driver (`xdp_buff_xsk.cb`).
    const FITS: () = assert!(
        offset_of!(bindings::xdp_buff_xsk, xdp) == 0
            && offset_of!(bindings::xdp_buff_xsk, cb) == size_of::<bindings::xdp_buff>()
            && size_of::<ProgCtx<D>>() <= offset_of!(bindings::xdp_buff_xsk, dma)
            && align_of::<ProgCtx<D>>() <= align_of::<bindings::xdp_buff_xsk>()
    );

    /// For frames that were received on `queue`, in its poll. [`None`] if the queue has no pool.
    #[inline]
    pub(crate) fn new(queue: &'q RxQueue, _cx: &'q Context<'_>) -> Option<Self> {
        let () = Self::FITS;
        Some(Self {
            queue,
            pool: queue.pool.as_ref()?,
            _descriptor: PhantomData,
        })
    }

    /// Makes a frame, or the first part of one, of the `len` bytes that the NIC has written to
    /// `buffer`. A length beyond the buffer's room is truncated. A frame that is shorter than an
    /// Ethernet header, on which the stack relies, is padded with zeroes. [`None`] if the buffer is
    /// from another pool than the queue's.
    #[inline]
    pub(crate) fn load(
        &mut self,
        mut buffer: UmemBuffer,
        len: u32,
        descriptor: D,
    ) -> Option<Buff<'_, 'q, D>> {
        if !self.pool.owns(&buffer) {
            return None;
        }
        let room = self.pool.layout().frame_room;
        let len = if (ETH_HLEN..=room).contains(&(len as usize)) {
            len as usize
        } else {
            fit(&mut buffer, len as usize, room)
        };
        let ctx = buffer.0.cast::<ProgCtx<D>>();
        set_data(&buffer, len);
        // SAFETY: The buffer is ours, and there is room for the context, by `FITS`.
        unsafe {
            (&raw mut (*ctx.as_ptr()).head.hints).write(ProgCtx::<D>::HINTS);
            (&raw mut (*ctx.as_ptr()).descriptor).write(descriptor);
        }
        // INVARIANT: The context is complete. The frame has no fragments, and the list is empty: it
        // is whenever a frame ends.
        Some(Buff {
            ctx,
            slot: self,
            had_frags: false,
            is_whole: true,
        })
    }
}

/// Pads or truncates a frame of `len` bytes in `buffer`. Returns its new length.
#[cold]
#[inline(never)]
fn fit(buffer: &mut UmemBuffer, len: usize, room: usize) -> usize {
    // Nothing is missing from a frame that is too long.
    let _ = buffer.room().zero(len, ETH_HLEN);
    len.clamp(ETH_HLEN, room.max(ETH_HLEN))
}

/// Sets where the bytes of a frame are in a buffer: `len` bytes after the headroom
/// (`xsk_buff_set_size`).
#[inline]
fn set_data(buffer: &UmemBuffer, len: usize) {
    let xdp = buffer.0.as_ptr();
    // SAFETY: The buffer is ours, and this is the poll that has the pool, so nothing else uses
    // these fields. The pointers stay in the buffer, whose room is at least `len` bytes.
    unsafe {
        let data = (*xdp).data_hard_start.byte_add(HEADROOM);
        (*xdp).data = data;
        (*xdp).data_meta = data;
        (*xdp).data_end = data.byte_add(len);
        (*xdp).__bindgen_anon_1.__bindgen_anon_1.flags = 0;
    }
}

/// A received frame in umem. Dropping it frees its buffers.
///
/// The kernel keeps the list of the frame's fragments (`struct skb_shared_info`) in umem, where
/// user space can change it. So that list is written, but not read: the pool has another. But the
/// helpers that change the length of a frame with fragments read it, and write what they compute
/// from it to the `xdp_buff`s of the frame. So these are [checked](HasProgCtx::check) when a
/// program has run on such a frame. Without fragments the helpers use only the `xdp_buff`.
///
/// # Invariants
///
/// - `ctx` is the `xdp_buff` of a buffer of the slot's pool, which is ours, followed by the rest of
///   the context.
/// - While no program runs, the bytes from `data_meta` to `data_end` are in the buffer, and those
///   of each fragment from `data` to `data_end` are in its buffer. The fragments are on the list of
///   the pool, which is empty if and only if the frame has no fragments by its flags.
/// - `had_frags` is set if the frame has had fragments.
pub(crate) struct Buff<'w, 'q, D> {
    ctx: NonNull<ProgCtx<D>>,
    slot: &'w mut FrameSlot<'q, D>,
    had_frags: bool,
    is_whole: bool,
}

impl<D> Buff<'_, '_, D> {
    #[inline]
    fn as_raw(&self) -> *mut bindings::xdp_buff {
        self.ctx.as_ptr().cast()
    }

    /// Whether the frame is in more than one buffer.
    #[inline]
    fn has_frags(&self) -> bool {
        // SAFETY: The frame is ours. Both arms of the union are plain integers.
        let flags = unsafe { (*self.as_raw()).__bindgen_anon_1.__bindgen_anon_1.flags };
        flags & bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS != 0
    }

    /// Drops the value but not the frame, which has another owner now.
    #[inline]
    fn leave(self) {
        self.slot.pool.count_returned();
        core::mem::forget(self);
    }
}

impl<D> FrameBytes for Buff<'_, '_, D> {
    fn size(&self) -> (usize, usize) {
        let mut buffers = 0;
        // SAFETY: The frame is ours.
        let len = unsafe { bindings::oxnic_xsk_len(self.as_raw(), &mut buffers) };
        (len as usize, buffers as usize)
    }

    fn copy_to(&self, offset: usize, mut to: Dest<'_>) -> Result {
        let (offset, len) = (u32::try_from(offset)?, u32::try_from(to.len())?);
        // SAFETY: The frame is ours, and `to` has the given length.
        to_result(unsafe {
            bindings::oxnic_xsk_copy(self.as_raw(), offset, to.as_mut_ptr().cast(), len)
        })
    }
}

impl<D> UmemFrame for Buff<'_, '_, D> {}

// SAFETY: The context is that of the frame.
unsafe impl<D> HasProgCtx for Buff<'_, '_, D> {
    #[inline]
    fn ctx(&mut self) -> ProgCtxPtr<'_> {
        ProgCtxPtr(self.as_raw(), PhantomData)
    }

    #[inline]
    fn check(&mut self) -> bool {
        !self.had_frags || self.check_frags()
    }
}

impl<D: RxDescriptor> RxFrame for Buff<'_, '_, D> {
    type Descriptor = D;
    type Buffer = UmemBuffer;
    type Linear = LinearBuff;

    #[inline]
    fn descriptor(&self) -> &D {
        // SAFETY: The context is complete, and a program cannot write to this part of it.
        unsafe { &(*self.ctx.as_ptr()).descriptor }
    }

    #[inline]
    fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Like `xsk_buff_add_frag`.
    fn add_frag(&mut self, buffer: UmemBuffer, len: u32) -> Result<(), UmemBuffer> {
        let pool = self.slot.pool;
        if !pool.owns(&buffer) {
            return Err(buffer);
        }
        let len = (len as usize).min(pool.layout().frame_room) as u32;
        // SAFETY: Both are ours, and from the same pool. The buffer's room is at least `len` bytes.
        if !unsafe { bindings::oxnic_xsk_add_frag(self.as_raw(), buffer.0.as_ptr(), len) } {
            return Err(buffer);
        }
        // It is a part of the frame now.
        self.had_frags = true;
        pool.count_returned();
        Ok(())
    }

    #[inline]
    fn into_linear(self) -> Result<LinearBuff, Self> {
        if self.has_frags() {
            return Err(self);
        }
        let xdp = self.as_raw();
        // INVARIANT: The range from `data` to `data_end` is in the buffer, by the type's
        // invariants.
        // SAFETY: The frame is ours.
        let (data, len) = unsafe {
            let (data, end) = ((*xdp).data, (*xdp).data_end);
            (data, (end as usize).wrapping_sub(data as usize))
        };
        let buffer = self.into_head();
        Ok(LinearBuff {
            buffer,
            data: data.cast(),
            len,
        })
    }

    #[inline]
    fn into_buffer(self, _cx: &Context<'_>) -> UmemBuffer {
        if self.has_frags() {
            return self.into_first();
        }
        self.into_head()
    }

    /// A copy of the frame.
    fn into_skb(self, cx: &Context<'_>) -> Option<SkBuff> {
        // SAFETY: The frame is ours, and this is a poll of the NAPI.
        let skb = unsafe { bindings::oxnic_xsk_build_skb(cx.napi().as_ptr(), self.as_raw()) };
        drop(self);
        if skb.is_null() {
            return None;
        }
        // SAFETY: A new skb, which is ours.
        Some(unsafe { SkBuff::from_raw(skb) })
    }

    /// On failure the frame is consumed, too.
    fn redirect(self, prog: ProgRef<'_>, cx: &Context<'_>) -> Result<(), (Option<Self>, Error)> {
        let dev = self.slot.queue.dev.as_ptr();
        // SAFETY: All are valid. This is a poll of the frame's queue, in which the program ran on
        // this frame. The frame borrows the pool, so nothing else uses it meanwhile.
        let result = unsafe { bindings::oxnic_xsk_do_redirect(dev, self.as_raw(), prog.as_ptr()) };
        // Also after a failure: an earlier frame may wait in the bulk queue of the same map.
        cx.set_redirected();
        if result == 0 {
            self.leave();
            return Ok(());
        }
        // The kernel may have freed the frame, but its buffers are not used before the next refill.
        // Freeing them again does nothing.
        drop(self);
        Err((None, Error::from_errno(result)))
    }
}

impl<D> Buff<'_, '_, D> {
    /// The first buffer; the frame has no others.
    #[inline]
    fn into_head(self) -> UmemBuffer {
        let this = ManuallyDrop::new(self);
        // INVARIANT: The pool still counts the buffer.
        // SAFETY: The pointer is not null.
        UmemBuffer(unsafe { NonNull::new_unchecked(this.as_raw()) })
    }

    /// Checks a frame that had fragments after a program has run on it. One that is not whole loses
    /// them.
    #[cold]
    fn check_frags(&mut self) -> bool {
        // INVARIANT: The bytes are in the buffers, and list and flag agree, afterwards.
        // SAFETY: The frame is ours, and no program runs on it.
        self.is_whole &= unsafe { bindings::oxnic_xsk_check_frags(self.as_raw()) };
        self.is_whole
    }

    /// The first buffer; the others are freed.
    #[cold]
    fn into_first(self) -> UmemBuffer {
        // SAFETY: The frame is ours, and its fragments, which are not used any more.
        unsafe { bindings::oxnic_xsk_free_frags(self.as_raw()) };
        self.into_head()
    }
}

impl<D> Drop for Buff<'_, '_, D> {
    fn drop(&mut self) {
        self.slot.pool.count_returned();
        // SAFETY: The frame is ours and not used any more.
        unsafe { bindings::oxnic_xsk_free(self.as_raw()) };
    }
}

/// A received frame in a single buffer, taken out of XDP: only its bytes are left.
///
/// # Invariants
///
/// The `len` bytes from `data` on are in the buffer.
pub(crate) struct LinearBuff {
    buffer: UmemBuffer,
    data: *const u8,
    len: usize,
}

impl LinearBuff {
    /// The buffer, for another frame.
    #[inline]
    pub(crate) fn into_buffer(self) -> UmemBuffer {
        self.buffer
    }

    #[inline]
    fn bytes(&self) -> UmemBytes<'_> {
        // SAFETY: The bytes are in the buffer, which exists as long as its pool counts it.
        unsafe { UmemBytes::new(self.data, self.len) }
    }
}

impl UmemFrame for LinearBuff {
    #[inline]
    fn whole(&self) -> Option<UmemBytes<'_>> {
        Some(self.bytes())
    }
}

impl FrameBytes for LinearBuff {
    #[inline]
    fn size(&self) -> (usize, usize) {
        (self.len, 1)
    }

    #[inline]
    fn copy_to(&self, offset: usize, to: Dest<'_>) -> Result {
        self.bytes().copy_to(offset, to)
    }
}
