// SPDX-License-Identifier: GPL-2.0

//! Frames that were redirected to this device.

use super::frags::{
    self,
    Frags, //
};
use crate::{
    bindings,
    dest::Dest,
    net::page_pool::Returned, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull,
    slice, //
};
use kernel::prelude::*;

const _: () = {
    use bindings::xdp_frame;
    use core::mem::offset_of;
    assert!(offset_of!(xdp_frame, dev_rx) - offset_of!(xdp_frame, _bitfield_1) == size_of::<u32>());
};

const MEM_TYPE_PAGE_POOL: u32 = bindings::xdp_mem_type_MEM_TYPE_PAGE_POOL;

/// A frame that was redirected to a device (`struct xdp_frame`). Its memory may be of any kind:
/// from a page_pool of another device, pages of `bpf_prog_test_run`, a copy of an AF_XDP buffer.
///
/// # Invariants
///
/// An instance is a valid frame that is not written to.
#[repr(transparent)]
pub(crate) struct Frame(bindings::xdp_frame);

impl Frame {
    /// Length of the frame in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.data().len() + self.frags().map_or(0, Frags::len)
    }

    /// The bytes in the first buffer.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        // SAFETY: The frame's data is valid, and not written to, as long as the frame exists.
        unsafe { slice::from_raw_parts(self.0.data.cast(), self.0.len as usize) }
    }

    /// Fills `to` with the bytes of the frame from `offset` on, from all its buffers. Fails with
    /// `EINVAL` if there are not enough.
    pub(crate) fn copy_to(&self, offset: usize, to: Dest<'_>) -> Result {
        frags::copy_frame(self.data(), self.frags(), offset, to)
    }

    /// Whether the frame is in more than one buffer.
    #[inline]
    pub(crate) fn has_frags(&self) -> bool {
        self.0.flags & bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS != 0
    }

    /// Whether its memory is from page_pools.
    #[inline]
    fn is_in_pool(&self) -> bool {
        // The method that bindgen makes of a bit field takes 300 instructions: it reads each bit.
        let mem_type = &raw const self.0._bitfield_1;
        // SAFETY: The field is one integer of 32 bits (`struct xdp_frame` in include/net/xdp.h), as
        // the assertion above says.
        unsafe { mem_type.cast::<u32>().read_unaligned() == MEM_TYPE_PAGE_POOL }
    }

    /// The buffers after the first.
    #[inline]
    fn frags(&self) -> Option<Frags<'_>> {
        if !self.has_frags() {
            return None;
        }
        // SAFETY: The frame is valid and has fragments, so it has a shared info.
        Some(unsafe { Frags::from_raw(bindings::oxnic_xdp_frame_shared_info(&self.0)) })
    }
}

/// The frames of a call of `ndo_xdp_xmit`, in order. The device owns those that it has finished;
/// the caller keeps the rest.
///
/// # Invariants
///
/// `next` points to an array of `left` pointers to valid frames. A frame is the caller's until it
/// is finished.
pub(crate) struct Frames<'a> {
    next: *mut *mut bindings::xdp_frame,
    left: usize,
    /// The pages of frames that are finished.
    returned: Returned,
    _lifetime: PhantomData<&'a Frame>,
}

impl Frames<'_> {
    /// # Safety
    ///
    /// `frames` must be an array of pointers to `count` frames that are valid during `'a`. The
    /// first `count -` [`left`](Self::left) of them must be regarded as finished afterwards: they
    /// are not valid any more.
    pub(in crate::net) unsafe fn from_raw(
        frames: *mut *mut bindings::xdp_frame,
        count: usize,
    ) -> Self {
        // INVARIANT: The caller's promise.
        Self {
            next: frames,
            left: count,
            returned: Returned::new(),
            _lifetime: PhantomData,
        }
    }

    /// Number of frames that are not finished.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// The next frame, which stays the caller's.
    #[inline]
    pub(crate) fn peek(&self) -> Option<&Frame> {
        if self.left == 0 {
            return None;
        }
        // SAFETY: There is a next frame, valid by the type's invariants. `Frame` is transparent.
        // The frame cannot be finished while it is borrowed.
        Some(unsafe { NonNull::new_unchecked(*self.next).cast::<Frame>().as_ref() })
    }

    /// Finishes the next frame: its memory goes back to where that came from. A page goes back to
    /// its pool together with others, at the latest when `self` is dropped.
    #[inline]
    pub(crate) fn finish(&mut self) {
        let Some(frame) = self.peek() else { return };
        let page = frame.0.data.cast::<u8>();
        if frame.is_in_pool() && !frame.has_frags() {
            // SAFETY: The frame is in a page from a page_pool, ours from here on, and not used any
            // more.
            unsafe { self.returned.push(page) };
        } else {
            self.return_any();
        }
        // SAFETY: The pointer stays in the array, or is at its end after the last frame.
        self.next = unsafe { self.next.add(1) };
        self.left -= 1;
    }

    /// Returns the next frame, whatever memory it is in.
    #[cold]
    fn return_any(&mut self) {
        // SAFETY: There is a next frame. The caller, `finish`, makes it ours, and it is not used
        // any more.
        unsafe { bindings::xdp_return_frame(*self.next) };
    }
}
