// SPDX-License-Identifier: GPL-2.0

//! What the simulated hardware takes from its surroundings: containers, and a marker trait. In the
//! module they are the kernel's, on the host those of `std`.
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

/// A type of which all bytes zero is a valid value; in the module such a value can be allocated in
/// place.
///
/// # Safety
///
/// All bytes zero must be a valid value.
#[cfg(not(MODULE))]
pub unsafe trait Zeroable {}

/// A container that owns the slots of a ring.
///
/// # Safety
///
/// As long as the container is not borrowed mutably, [`slots`](Self::slots) must return the same
/// slice at the same address, also after the container was moved, and nothing else may have access
/// to the elements.
pub unsafe trait Store<T> {
    /// All elements.
    fn slots(&self) -> &[T];
}

// SAFETY: A vector owns its elements, on the heap, and moves them only through `&mut self`.
unsafe impl<T> Store<T> for Vec<T> {
    fn slots(&self) -> &[T] {
        self
    }
}
