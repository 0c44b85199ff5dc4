// SPDX-License-Identifier: GPL-2.0

//! Bottom halves: the proof that they are off, and a lock for data that softirqs use.
//!
//! C headers: [`include/linux/bottom_half.h`](srctree/include/linux/bottom_half.h)

use crate::bindings;
use core::ops::Deref;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        lock,
        lock::spinlock::SpinLockBackend,
        SpinLock, //
    },
    types::NotThreadSafe, //
};

/// Proof that bottom halves are off on this CPU: softirq context, or process context between
/// `local_bh_disable` and `local_bh_enable`. This is also an RCU read-side section.
///
/// # Invariants
///
/// While a reference to this type exists, bottom halves are off for the thread that has the
/// reference.
pub(crate) struct Disabled(NotThreadSafe);

impl Disabled {
    /// Creates the proof for a callback that the kernel calls with bottom halves off.
    ///
    /// # Safety
    ///
    /// Bottom halves must stay off for as long as the caller uses the returned value.
    pub(super) unsafe fn assume() -> Self {
        // INVARIANT: The caller's promise.
        Self(NotThreadSafe)
    }

    /// The number of this CPU, on which the thread stays meanwhile (`smp_processor_id`).
    #[inline]
    pub(crate) fn cpu(&self) -> u32 {
        // SAFETY: Bottom halves are off, so the thread does not migrate.
        unsafe { bindings::oxnic_smp_processor_id() }
    }
}

/// Keeps bottom halves off until it is dropped.
pub(crate) struct Guard(Disabled);

/// Switches bottom halves off (`local_bh_disable`). Process context.
pub(crate) fn disable() -> Guard {
    // SAFETY: No preconditions; calls nest.
    unsafe { bindings::oxnic_local_bh_disable() };
    // INVARIANT: They are off from here on, until the guard is dropped.
    Guard(Disabled(NotThreadSafe))
}

impl Deref for Guard {
    type Target = Disabled;

    fn deref(&self) -> &Disabled {
        &self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: Pairs with `disable` in the same thread: the guard cannot be sent to another.
        unsafe { bindings::oxnic_local_bh_enable() };
    }
}

/// Access to the data of a [`Lock`]; unlocks when dropped.
pub(crate) type LockGuard<'a, T> = lock::Guard<'a, T, SpinLockBackend>;

/// A spin lock for data that softirqs use (`spin_lock_bh` in C).
///
/// A softirq that interrupts the holder and takes the lock on the same CPU would deadlock. So
/// locking needs the proof that bottom halves are off.
#[pin_data]
pub(crate) struct Lock<T> {
    #[pin]
    inner: SpinLock<T>,
}

impl<T> Lock<T> {
    /// A new unlocked lock around `data`.
    pub(crate) fn new(data: T) -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- new_spinlock!(data, "bh::Lock"),
        })
    }

    /// Takes the lock; spins while another CPU holds it.
    #[inline]
    pub(crate) fn lock<'a>(&'a self, _bh: &'a Disabled) -> LockGuard<'a, T> {
        self.inner.lock()
    }
}
