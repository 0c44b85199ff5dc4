// SPDX-License-Identifier: GPL-2.0

//! Atomics, fences and cells of the simulated hardware.
//!
//! They are those of `core`, here and in `card` and `driver`. The operations of
//! `kernel::sync::atomic` are calls of C functions (rust/helpers/atomic.c), unless
//! `CONFIG_RUST_INLINE_HELPERS` is set, which would cost too much per frame. Nor are they available
//! on the host.
//!
//! On the host under `cfg(loom)` they are those of the loom model checker, which runs every
//! interleaving and every outcome that the memory model allows.

#[cfg(not(loom))]
pub(super) use core::{
    cell::UnsafeCell,
    sync::atomic::{
        fence,
        AtomicBool,
        AtomicU32,
        AtomicU64,
        Ordering, //
    },
};

pub(super) use super::cache::CacheAligned;

#[cfg(loom)]
pub(super) use self::model::UnsafeCell;
#[cfg(loom)]
pub(super) use loom::sync::atomic::{
    fence,
    AtomicBool,
    AtomicU32,
    AtomicU64,
    Ordering, //
};

#[cfg(loom)]
mod model {
    /// The part of `core::cell::UnsafeCell` that `nic` uses. Loom checks each access for data
    /// races.
    pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::cell::UnsafeCell::new(value))
        }

        /// Loom regards this call as a write, and does not see later uses of the pointer. That is
        /// enough to find a race, since both sides of a ring call this for each access to a slot.
        pub(crate) fn get(&self) -> *mut T {
            self.0.with_mut(|pointer| pointer)
        }
    }
}
