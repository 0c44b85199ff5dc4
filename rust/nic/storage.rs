// SPDX-License-Identifier: GPL-2.0

//! Containers and a marker trait: in the module those of the kernel, on the host those of `std`.
//!
//! This is the only file of the simulated hardware that differs between the two builds.

#[cfg(MODULE)]
use kernel::alloc::KVVec as Vec;
#[cfg(not(MODULE))]
use std::vec::Vec;

#[cfg(MODULE)]
pub(super) use kernel::sync::Arc;
#[cfg(not(MODULE))]
pub(super) use std::sync::Arc;

#[cfg(MODULE)]
pub(super) use kernel::prelude::Zeroable;

/// A type for which all bytes zero are a valid value. The module allocates such values in place.
///
/// # Safety
///
/// All bytes zero must be a valid value of the type.
#[cfg(not(MODULE))]
pub unsafe trait Zeroable {}

/// A container that owns the slots of a ring.
///
/// # Safety
///
/// As long as the container is not borrowed mutably, [`slots`](Self::slots) must return the same
/// slice at the same address, even if the container is moved, and nothing else may access the
/// elements.
pub unsafe trait Store<T> {
    /// All elements.
    fn slots(&self) -> &[T];
}

// SAFETY: A vector owns its elements, which are on the heap, and moves them only with `&mut self`.
unsafe impl<T> Store<T> for Vec<T> {
    fn slots(&self) -> &[T] {
        self
    }
}
