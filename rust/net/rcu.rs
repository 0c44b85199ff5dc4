// SPDX-License-Identifier: GPL-2.0

//! RCU: values that softirqs read without a lock while the control path replaces them.
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

/// Reads a pointer that may be replaced at the same time (`rcu_dereference`). Reads through the
/// pointer see what was written before it was published: they depend on the pointer, and writers
/// publish with [`Atomic::xchg`] or a release store.
///
/// [`Atomic::load`] is a call of a C function (rust/helpers/atomic_ext.c), unless
/// `CONFIG_RUST_INLINE_HELPERS` is set. That is too slow for polls and senders, which do this for
/// each frame.
#[inline]
pub(super) fn dereference<T>(ptr: &Atomic<*mut T>) -> *mut T {
    // SAFETY: The pointer is valid. It is only accessed by atomic operations, and a volatile read
    // of a word (`READ_ONCE`) is an atomic operation too (kernel::sync::atomic).
    unsafe { ptr.as_ptr().read_volatile() }
}

/// A value that is replaced as a whole (`rcu_dereference`, `rcu_assign_pointer`): a [`RcuBox`] or a
/// [`RcuArc`].
///
/// # Invariants
///
/// The pointer is that of a `P`, which this type owns. The `P` is dropped only when every RCU
/// read-side section that began before the pointer was replaced has ended. Code with bottom halves
/// off is such a section.
pub(crate) struct Rcu<P: ForeignOwnable>(Atomic<*mut c_void>, PhantomData<P>);

/// A value with one owner.
pub(crate) type RcuBox<T> = Rcu<KVBox<T>>;

/// A value that others may have references to.
pub(crate) type RcuArc<T> = Rcu<Arc<T>>;

// SAFETY: It owns a `P`, which may be dropped by any thread.
unsafe impl<P: ForeignOwnable + Send + Sync> Send for Rcu<P> {}
// SAFETY: Several threads may borrow the `P` at the same time, and any may replace it.
unsafe impl<P: ForeignOwnable + Send + Sync> Sync for Rcu<P> {}

impl<P: ForeignOwnable> Rcu<P> {
    /// A new one with this value.
    pub(crate) fn new(value: P) -> Self {
        // INVARIANT: The value is ours.
        Self(Atomic::new(value.into_foreign()), PhantomData)
    }

    /// The current value; valid while bottom halves are off.
    #[inline]
    pub(crate) fn read<'a>(&'a self, _bh: &'a bh::Disabled) -> P::Borrowed<'a> {
        // SAFETY: Bottom halves are off during `'a`, which is a read-side section.
        unsafe { self.borrow() }
    }

    /// Like [`read`](Self::read), in any context.
    pub(crate) fn read_rcu<'a>(&'a self, _rcu: &'a rcu::Guard) -> P::Borrowed<'a> {
        // SAFETY: The guard keeps a read-side section open during `'a`.
        unsafe { self.borrow() }
    }

    /// # Safety
    ///
    /// A read-side section must last for `'a`.
    #[inline]
    unsafe fn borrow<'a>(&'a self) -> P::Borrowed<'a> {
        let value = dereference(&self.0);
        // SAFETY: By the type's invariants the value is not dropped before the section ends.
        unsafe { P::borrow(value) }
    }

    /// Replaces the value, waits until no reader uses the old one any more (`synchronize_net`), and
    /// drops it. May sleep; not in a read-side section.
    pub(crate) fn replace(&self, value: P) {
        let old = self.0.xchg(value.into_foreign(), Full);
        // SAFETY: This is process context, and not a read-side section.
        unsafe { bindings::synchronize_net() };
        // SAFETY: The value was ours, by the type's invariants, and no reader uses it any more.
        drop(unsafe { P::from_foreign(old) });
    }
}

impl<T: 'static> RcuArc<T> {
    /// A reference to the current value. Process context.
    pub(crate) fn get(&self) -> Arc<T> {
        self.read_rcu(&rcu::read_lock()).into()
    }
}

impl<P: ForeignOwnable> Drop for Rcu<P> {
    fn drop(&mut self) {
        // SAFETY: The value is ours. Readers borrow `self`, so there are none.
        drop(unsafe { P::from_foreign(*self.0.get_mut()) });
    }
}
