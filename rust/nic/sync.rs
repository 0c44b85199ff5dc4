// SPDX-License-Identifier: GPL-2.0

//! The primitives that [`super::ring`], [`super::irq`] and [`super::pause`] share memory with.
//!
//! They are `core`'s, except under `cfg(loom)` on the host: there they are those of the loom
//! model checker, which runs every interleaving and every outcome that the memory model allows.

#[cfg(not(loom))]
pub(super) use core::{
    cell::UnsafeCell,
    sync::atomic::{fence, AtomicBool, AtomicU32, AtomicU64, Ordering},
};

pub(super) use super::cache::CacheAligned as Line;

#[cfg(loom)]
pub(super) use self::model::UnsafeCell;
#[cfg(loom)]
pub(super) use loom::sync::atomic::{fence, AtomicBool, AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
mod model {
    /// `core::cell::UnsafeCell` as far as it is used here, with every access checked for a race.
    pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::cell::UnsafeCell::new(value))
        }

        /// Counts as a write at this very moment; later uses of the pointer are not seen. This is
        /// enough to find a race, since both sides ask for the pointer anew for every slot.
        pub(crate) fn get(&self) -> *mut T {
            self.0.with_mut(|pointer| pointer)
        }
    }
}
