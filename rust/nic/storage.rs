// SPDX-License-Identifier: GPL-2.0

//! Where rings and their slots are kept: in the kernel's containers, or in std's on the host.
//!
//! The one file of the simulated hardware that differs between the two builds.

use super::ring::{Ring, Slot};

#[cfg(MODULE)]
use kernel::{alloc::KVVec, sync::Arc};
#[cfg(not(MODULE))]
use std::{sync::Arc, vec::Vec};

/// A container that owns the slots of a ring.
///
/// # Safety
///
/// As long as the container is not borrowed mutably, [`slots`](Store::slots) returns the same
/// slice at the same address, also after the container was moved; and nobody else has access to
/// the elements.
pub unsafe trait Store<T> {
    /// All elements.
    fn slots(&self) -> &[T];
}

#[cfg(not(MODULE))]
// SAFETY: A vector owns its elements, on the heap, and moves them only through `&mut self`.
unsafe impl<T> Store<T> for Vec<T> {
    fn slots(&self) -> &[T] {
        self
    }
}

#[cfg(MODULE)]
// SAFETY: A vector owns its elements, on the heap, and moves them only through `&mut self`.
unsafe impl<T> Store<T> for KVVec<T> {
    fn slots(&self) -> &[T] {
        self
    }
}

/// A handle by which both sides of a ring keep it alive: a reference, or a counted one.
///
/// # Safety
///
/// [`ring`](Handle::ring) of a handle and of all its clones returns the same ring at the same
/// address, and nobody gets a `&mut` to the ring as long as one of them exists.
pub unsafe trait Handle: Clone {
    /// What the ring hands over.
    type Buffer;
    /// What the ring keeps its slots in.
    type Slots: Store<Slot<Self::Buffer>>;

    /// The ring.
    fn ring(&self) -> &Ring<Self::Buffer, Self::Slots>;
}

// SAFETY: A shared reference points to one ring, and excludes a `&mut` to it.
unsafe impl<B, S: Store<Slot<B>>> Handle for &Ring<B, S> {
    type Buffer = B;
    type Slots = S;

    #[inline]
    fn ring(&self) -> &Ring<B, S> {
        self
    }
}

// SAFETY: All clones of an `Arc` point to one object, and exclude a `&mut` to it.
unsafe impl<B, S: Store<Slot<B>>> Handle for Arc<Ring<B, S>> {
    type Buffer = B;
    type Slots = S;

    #[inline]
    fn ring(&self) -> &Ring<B, S> {
        self
    }
}

#[cfg(MODULE)]
// SAFETY: The registers consist of integers and of enums, and of each of these one value is zero.
unsafe impl kernel::prelude::Zeroable for super::steering::Steering {}

#[cfg(MODULE)]
// SAFETY: A filter consists of integers and truth values.
unsafe impl kernel::prelude::Zeroable for super::filter::Filter {}
