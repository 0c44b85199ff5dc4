// SPDX-License-Identifier: GPL-2.0

//! Frames of other devices that were redirected to this one.

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

/// A frame that is on its way out of a device (`struct xdp_frame`), from whatever memory: a
/// page_pool of another device, pages of a test run, copies of an AF_XDP socket's.
///
/// # Invariants
///
/// An instance is a valid frame that nobody writes to.
#[repr(transparent)]
pub(crate) struct Frame(bindings::xdp_frame);

impl Frame {
    /// Length of the frame in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.data().len() + self.frags().map_or(0, Frags::len)
    }

    /// The frame's bytes, as far as they are in the first buffer.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        // SAFETY: The frame's data is valid as long as the frame.
        unsafe { slice::from_raw_parts(self.0.data.cast(), self.0.len as usize) }
    }

    /// Copies bytes of the frame, from `offset` on, from whatever buffers they are in. Fails with
    /// `EINVAL` if there are fewer than `to` is long.
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
        // SAFETY: The frame is valid and has fragments, which are listed behind its first part.
        Some(unsafe { Frags::from_raw(bindings::oxnic_xdp_frame_shared_info(&self.0)) })
    }
}

/// The frames that a device is asked to send (`ndo_xdp_xmit`), in their order. Those that it takes
/// are its own; those that are left when it returns stay the caller's.
///
/// # Invariants
///
/// From `next` on `left` pointers to valid frames, which are the caller's until one is taken.
pub(crate) struct Frames<'a> {
    next: *mut *mut bindings::xdp_frame,
    left: usize,
    _lifetime: PhantomData<&'a Frame>,
}

impl Frames<'_> {
    /// # Safety
    ///
    /// `frames` must be an array of `count` valid frames, for `'a`. Whoever calls this for a
    /// callback must regard as many of the first ones as gone as [`left`](Self::left) has become
    /// less.
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

    /// How many frames have not been taken.
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
        // SAFETY: There is a further frame, valid by the type's invariants and lent as long as it
        // is not taken; `Frame` is transparent.
        Some(unsafe { &*(*self.next).cast::<Frame>() })
    }

    /// Takes the next frame.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<OwnedFrame<'_>> {
        if self.left == 0 {
            return None;
        }
        // SAFETY: There is a further frame.
        let frame = unsafe { NonNull::new_unchecked(*self.next) };
        // SAFETY: The pointer stays inside the array, or at its end after the last frame.
        self.next = unsafe { self.next.add(1) };
        self.left -= 1;
        // INVARIANT: The frame is ours now.
        Some(OwnedFrame(frame, PhantomData))
    }
}

/// A frame that a device has taken. Dropping it gives its memory back, wherever that came from.
///
/// # Invariants
///
/// Points to a valid frame, which is ours.
pub(crate) struct OwnedFrame<'a>(NonNull<bindings::xdp_frame>, PhantomData<&'a bh::Disabled>);

impl Drop for OwnedFrame<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The frame is ours and not used any more. It was taken inside `ndo_xdp_xmit`, and
        // its borrow of `Frames` keeps it there: the callers of that callback are in the NAPI poll
        // that the frames came from, or have said that nothing may be recycled directly
        // (`xdp_set_return_frame_no_direct`).
        unsafe { bindings::xdp_return_frame_rx_napi(self.0.as_ptr()) };
    }
}
