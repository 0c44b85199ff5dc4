// SPDX-License-Identifier: GPL-2.0

//! High-resolution timers, as the moderation of an interrupt needs them: started again and again,
//! each time with a slack, by who holds a lock, and doing one short thing in an interrupt.
//!
//! Not `kernel::time::hrtimer`: starting one of those consumes the pointer to it until its handle
//! is dropped, which waits for the callback, and they have no slack (`hrtimer_start_range_ns`).
//!
//! C header: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)

use crate::bindings;
use core::{
    pin::Pin,
    ptr, //
};
use kernel::{
    container_of,
    prelude::*,
    types::Opaque, //
};

/// The callback of a timer.
pub(crate) trait TimerCallback: Send + Sync {
    /// Interrupt context (see [`Context`]): short, and no lock that is taken elsewhere.
    fn expired(&self, cx: &Context);
}

/// Proof that this is the interrupt of a timer: a hard interrupt, or with PREEMPT_RT the timer
/// softirq. There all timers run that are not started with `HRTIMER_MODE_HARD` (`__hrtimer_setup`
/// in kernel/time/hrtimer.c), so that their callbacks may take locks that sleep. In both the thread
/// does not leave its CPU, and an interrupt can be raised.
pub(crate) struct Context(());

/// A timer (`struct hrtimer`) that can be started from anywhere. Dropping it waits until it does
/// not run and keeps it from running again; process context, since with PREEMPT_RT that may sleep.
///
/// # Invariants
///
/// `timer` is initialised, with [`Self::callback`], and always inside the same `Timer<T>`.
#[pin_data(PinnedDrop)]
pub(crate) struct Timer<T: TimerCallback> {
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    target: T,
}

// SAFETY: The C object may be cancelled by any thread, and `T` is `Send`.
unsafe impl<T: TimerCallback> Send for Timer<T> {}
// SAFETY: The C object locks itself; `T` is shared with the callback, and is `Sync`.
unsafe impl<T: TimerCallback> Sync for Timer<T> {}

impl<T: TimerCallback + 'static> Timer<T> {
    /// A timer that is not running. Fails with `ENOMEM`.
    pub(crate) fn new(target: T) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                timer <- Opaque::ffi_init(|slot: *mut bindings::hrtimer| {
                    // SAFETY: The slot is ours and stays where it is.
                    unsafe { bindings::oxnic_hrtimer_setup(slot, Some(Self::callback)) }
                }),
                target,
            }),
            GFP_KERNEL,
        )
    }

    /// The C object, as a pointer from which `callback` finds the whole: made from a reference to
    /// the whole, so that it may be used for all of it.
    fn as_ptr(&self) -> *mut bindings::hrtimer {
        // SAFETY: The field is inside the object that `self` refers to.
        Opaque::cast_into(unsafe { &raw const (*ptr::from_ref(self)).timer })
    }

    /// The data of the callback.
    pub(crate) fn target(&self) -> &T {
        &self.target
    }

    /// Makes the timer expire in `ns` nanoseconds, or up to `slack` later if it can then expire
    /// together with another (`hrtimer_start_range_ns`), and not when it would have otherwise. Not
    /// in its own [`TimerCallback::expired`].
    #[inline]
    pub(crate) fn start(&self, ns: u64, slack: u64) {
        // SAFETY: The timer is initialised and is cancelled before it goes.
        unsafe { bindings::oxnic_hrtimer_start(self.as_ptr(), ns, slack) };
    }

    /// The C callback.
    ///
    /// # Safety
    ///
    /// Called by the kernel for a timer inside a `Timer<T>`, in the interrupt that [`Context`]
    /// stands for.
    unsafe extern "C" fn callback(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: The timer is a field of a `Self`, which waits for this callback before it goes;
        // only shared references to it exist. `as_ptr` gave the kernel a pointer that is good for
        // the whole.
        let this = unsafe { &*container_of!(Opaque::cast_from(timer), Self, timer) };
        this.target.expired(&Context(()));
        bindings::hrtimer_restart_HRTIMER_NORESTART
    }
}

#[pinned_drop]
impl<T: TimerCallback> PinnedDrop for Timer<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The timer is initialised. Who drops it is not its callback, which only borrows
        // it.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
    }
}
