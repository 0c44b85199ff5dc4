// SPDX-License-Identifier: GPL-2.0

//! The context of a program: the frame that it runs on, and how it finds the frame's metadata.

use super::hints::{
    RxDescriptor,
    RxHints, //
};
use crate::bindings;
use core::marker::PhantomData;

/// A frame that programs can run on.
///
/// # Safety
///
/// [`ctx`](Self::ctx) must return the context of a frame that belongs to the value.
pub(crate) unsafe trait HasProgCtx {
    /// The context for a program.
    fn ctx(&mut self) -> ProgCtxPtr<'_>;

    /// Called when a program has run on the frame. Returns whether the frame is still whole; if
    /// not, the verdict is `XDP_ABORTED`.
    #[inline(always)]
    fn check(&mut self) -> bool {
        true
    }
}

/// The context of a program: the frame, followed by the frame's descriptor for the metadata kfuncs.
// The kfuncs get a pointer to the first field, so the order matters.
#[repr(C)]
pub(in crate::net) struct ProgCtx<D> {
    pub(in crate::net) head: ProgCtxHead,
    pub(in crate::net) descriptor: D,
}

/// The start of a program's context, which is the same for all types of descriptors.
///
/// # Invariants
///
/// A value is the start of a [`ProgCtx`] whose type of descriptor is the one that `hints` is for.
#[repr(C)]
pub(in crate::net) struct ProgCtxHead {
    pub(in crate::net) xdp: bindings::xdp_buff,
    pub(in crate::net) hints: unsafe fn(*const ProgCtxHead) -> RxHints,
}

/// A pointer to a [`ProgCtx`], for the program that runs.
pub(crate) struct ProgCtxPtr<'a>(
    pub(in crate::net) *mut bindings::xdp_buff,
    pub(in crate::net) PhantomData<&'a mut ProgCtxHead>,
);

impl<D: RxDescriptor> ProgCtx<D> {
    /// The function that reads the hints of a frame with such a descriptor.
    pub(in crate::net) const HINTS: unsafe fn(*const ProgCtxHead) -> RxHints = Self::hints;

    /// # Safety
    ///
    /// `head` must be that of a whole `ProgCtx<D>`.
    unsafe fn hints(head: *const ProgCtxHead) -> RxHints {
        // SAFETY: The caller's promise. The program that asks cannot write to the descriptor.
        unsafe { (*head.cast::<Self>()).descriptor.hints() }
    }
}

impl ProgCtxHead {
    /// The hardware's metadata of the frame.
    ///
    /// # Safety
    ///
    /// `head` must be a pointer that [`HasProgCtx::ctx`] returned, to a frame that still exists.
    pub(super) unsafe fn hints(head: *const Self) -> RxHints {
        // SAFETY: By the type's invariants the function is for this type of descriptor.
        unsafe { ((*head).hints)(head) }
    }
}
