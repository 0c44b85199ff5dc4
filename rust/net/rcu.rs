// SPDX-License-Identifier: GPL-2.0

//! RCU: values that softirqs read while they are replaced.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use super::bh;
use crate::bindings;
use core::{
    ffi::c_void,
    marker::PhantomData, //
};
use kernel::{
    alloc::KVBox,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        rcu,
        Arc, //
    },
    types::ForeignOwnable, //
};

/// Reads a pointer that is replaced while others read it (`rcu_dereference`). What it points to was
/// written before the pointer: reads through it depend on it, and [`Atomic::xchg`] and a release
/// store order the writer.
///
/// [`Atomic::load`] would call a C function, and polls and senders come here for each frame.
#[inline]
pub(super) fn dereference<T>(ptr: &Atomic<*mut T>) -> *mut T {
    // SAFETY: The pointer is valid. All others that use it do so with atomic operations, to which a
    // volatile access of a word (`READ_ONCE`) is one, too (kernel::sync::atomic).
    unsafe { ptr.as_ptr().read_volatile() }
}

/// A value that is exchanged as a whole (`rcu_dereference`, `rcu_assign_pointer`): a [`RcuBox`] or
/// a [`RcuArc`].
///
/// # Invariants
///
/// The pointer is that of a `P`, which this type owns, and which is dropped only when every RCU
/// read-side section, such as one with bottom halves off, that began before the pointer was
/// replaced has ended.
pub(crate) struct Rcu<P: ForeignOwnable>(Atomic<*mut c_void>, PhantomData<P>);

/// A value with one owner.
pub(crate) type RcuBox<T> = Rcu<KVBox<T>>;

/// A value that others may have references to.
pub(crate) type RcuArc<T> = Rcu<Arc<T>>;

// SAFETY: It owns a `P`, which may be dropped by any thread.
unsafe impl<P: ForeignOwnable + Send + Sync> Send for Rcu<P> {}
// SAFETY: It lends a `P` to several threads at once, and any may put another there.
unsafe impl<P: ForeignOwnable + Send + Sync> Sync for Rcu<P> {}

impl<P: ForeignOwnable> Rcu<P> {
    /// A new one with this value.
    pub(crate) fn new(value: P) -> Self {
        // INVARIANT: The value is ours.
        Self(Atomic::new(value.into_foreign()), PhantomData)
    }

    /// The current value, for as long as bottom halves stay off.
    #[inline]
    pub(crate) fn read<'a>(&'a self, _bh: &'a bh::Disabled) -> P::Borrowed<'a> {
        // SAFETY: With bottom halves off this is a read-side section, which the result does not
        // outlive.
        unsafe { self.borrow() }
    }

    /// As [`read`](Self::read), in any context.
    pub(crate) fn read_rcu<'a>(&'a self, _rcu: &'a rcu::Guard) -> P::Borrowed<'a> {
        // SAFETY: This is a read-side section, which the result does not outlive.
        unsafe { self.borrow() }
    }

    /// # Safety
    ///
    /// A read-side section must last for the lifetime.
    #[inline]
    unsafe fn borrow<'a>(&'a self) -> P::Borrowed<'a> {
        let value = dereference(&self.0);
        // SAFETY: By the type's invariants it is not dropped before the section ends.
        unsafe { P::borrow(value) }
    }

    /// Replaces the value, waits until nobody reads the old one any more (`synchronize_net`), and
    /// drops that. May sleep; not in a read-side section.
    pub(crate) fn replace(&self, value: P) {
        let old = self.0.xchg(value.into_foreign(), Full);
        // SAFETY: Process context.
        unsafe { bindings::synchronize_net() };
        // SAFETY: The value was ours by the type's invariants, and no reader has it any more.
        drop(unsafe { P::from_foreign(old) });
    }
}

impl<T: 'static> RcuArc<T> {
    /// The current value. Process context.
    pub(crate) fn get(&self) -> Arc<T> {
        self.read_rcu(&rcu::read_lock()).into()
    }
}

impl<P: ForeignOwnable> Drop for Rcu<P> {
    fn drop(&mut self) {
        // SAFETY: The value is ours; readers borrow `self`, so there is none.
        drop(unsafe { P::from_foreign(*self.0.get_mut()) });
    }
}
