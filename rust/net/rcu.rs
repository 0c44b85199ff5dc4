// SPDX-License-Identifier: GPL-2.0

//! RCU: values that softirqs read while they are replaced.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use super::{bh, rtnl::Rtnl};
use crate::bindings;
use core::{
    marker::PhantomData,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::alloc::KVBox;

/// A value that is exchanged as a whole (`rcu_dereference`, `rcu_assign_pointer`).
///
/// # Invariants
///
/// The pointer is that of a `KVBox<T>`, which this type owns, and which is freed only when every
/// section with bottom halves off that began before the pointer was replaced has ended.
pub(crate) struct RcuBox<T>(AtomicPtr<T>, PhantomData<T>);

// SAFETY: It owns the value, and lends it out to any thread.
unsafe impl<T: Send + Sync> Send for RcuBox<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for RcuBox<T> {}

impl<T> RcuBox<T> {
    /// Begins with this value.
    pub(crate) fn new(value: KVBox<T>) -> Self {
        // INVARIANT: The box is ours.
        Self(AtomicPtr::new(KVBox::into_raw(value)), PhantomData)
    }

    /// The value of this moment, for as long as bottom halves stay off.
    #[inline]
    pub(crate) fn read<'a>(&'a self, _bh: &'a bh::Disabled) -> &'a T {
        // Acquire: the value was written before the pointer.
        let value = self.0.load(Ordering::Acquire);
        // SAFETY: By the type's invariants it is not freed before bottom halves are on again, which
        // the result does not outlive.
        unsafe { &*value }
    }

    /// Replaces the value, waits until nobody reads the old one any more (`synchronize_net`), and frees
    /// that. May sleep; not with bottom halves off.
    pub(crate) fn replace(&self, value: KVBox<T>, _rtnl: &Rtnl) {
        let old = self.0.swap(KVBox::into_raw(value), Ordering::AcqRel);
        // SAFETY: Process context.
        unsafe { bindings::synchronize_net() };
        // SAFETY: The box was ours by the type's invariants, and no reader has it any more.
        drop(unsafe { KVBox::from_raw(old) });
    }
}

impl<T> Drop for RcuBox<T> {
    fn drop(&mut self) {
        // SAFETY: The box is ours; readers borrow `self`, so there is none.
        drop(unsafe { KVBox::from_raw(*self.0.get_mut()) });
    }
}
