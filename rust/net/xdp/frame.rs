// SPDX-License-Identifier: GPL-2.0

//! Frames that were redirected to this device.

use super::frags::{
    self,
    Frags, //
};
use crate::{
    bindings,
    net::bh, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull,
    slice, //
};
use kernel::prelude::*;

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
    pub(crate) fn copy_to(&self, offset: usize, to: &mut [u8]) -> Result {
        frags::copy_frame(self.data(), self.frags(), offset, to)
    }

    /// Whether the frame is in more than one buffer.
    #[inline]
    pub(crate) fn has_frags(&self) -> bool {
        self.0.flags & bindings::xdp_buff_flags_XDP_FLAGS_HAS_FRAGS != 0
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

/// The frames of a call of `ndo_xdp_xmit`, in order. The device owns those that it takes; the
/// caller keeps the rest.
///
/// # Invariants
///
/// `next` points to an array of `left` pointers to valid frames. A frame is the caller's until it
/// is taken.
pub(crate) struct Frames<'a> {
    next: *mut *mut bindings::xdp_frame,
    left: usize,
    _lifetime: PhantomData<&'a Frame>,
}

impl Frames<'_> {
    /// # Safety
    ///
    /// `frames` must be an array of pointers to `count` frames that are valid during `'a`. The
    /// first `count -` [`left`](Self::left) of them must be regarded as taken afterwards.
    pub(in crate::net) unsafe fn from_raw(
        frames: *mut *mut bindings::xdp_frame,
        count: usize,
    ) -> Self {
        // INVARIANT: The caller's promise.
        Self {
            next: frames,
            left: count,
            _lifetime: PhantomData,
        }
    }

    /// Number of frames that have not been taken.
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
        // The frame cannot be taken while it is borrowed.
        Some(unsafe { &*(*self.next).cast::<Frame>() })
    }

    /// Takes the next frame.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<OwnedFrame<'_>> {
        if self.left == 0 {
            return None;
        }
        // SAFETY: There is a next frame, and its pointer is not null.
        let frame = unsafe { NonNull::new_unchecked(*self.next) };
        // SAFETY: The pointer stays in the array, or is at its end after the last frame.
        self.next = unsafe { self.next.add(1) };
        self.left -= 1;
        // INVARIANT: The frame is ours now.
        Some(OwnedFrame(frame, PhantomData))
    }
}

/// A frame that a device has taken. Dropping it returns its memory to where that came from.
///
/// # Invariants
///
/// Points to a valid frame, which is ours.
pub(crate) struct OwnedFrame<'a>(NonNull<bindings::xdp_frame>, PhantomData<&'a bh::Disabled>);

impl Drop for OwnedFrame<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The frame is ours and not used any more. It borrows `Frames`, so this is still
        // the call of `ndo_xdp_xmit` in which it was taken. The callers of that are either in the
        // NAPI poll that the frames came from, or have forbidden direct recycling
        // (`xdp_set_return_frame_no_direct`).
        unsafe { bindings::xdp_return_frame_rx_napi(self.0.as_ptr()) };
    }
}
