// SPDX-License-Identifier: GPL-2.0

//! High-resolution timers that can be restarted at any time, with a slack.
//!
//! The moderation of an interrupt restarts its timer frequently, while it holds a lock, and the
//! callback does something short in interrupt context. `kernel::time::hrtimer` does not serve for
//! this: starting a timer returns a handle, which must be dropped before the next start, and that
//! waits for the callback. It also has no slack (`hrtimer_start_range_ns`).
//!
//! C header: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)

use super::bh;
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
    /// The context in which it is called: [`Context`] or [`bh::Disabled`].
    type Context: Expires;

    /// The timer has expired. Must be short. In interrupt context it must not take a lock that is
    /// taken in other contexts.
    fn expired(&self, cx: &Self::Context);
}

/// A context in which timers expire.
pub(crate) trait Expires {
    /// Whether it is a softirq (`HRTIMER_MODE_SOFT`).
    const SOFT: bool;

    /// The proof of the context.
    ///
    /// # Safety
    ///
    /// Called in the callback of a timer that was made for this context, which uses the proof no
    /// longer than that.
    unsafe fn assume() -> Self;
}

impl Expires for Context {
    const SOFT: bool = false;

    unsafe fn assume() -> Self {
        Self(())
    }
}

impl Expires for bh::Disabled {
    const SOFT: bool = true;

    unsafe fn assume() -> Self {
        // SAFETY: The timer softirq (`hrtimer_run_softirq`): bottom halves are off.
        unsafe { Self::assume() }
    }
}

/// Proof of the interrupt context of a timer: a hard interrupt, or with PREEMPT_RT the timer
/// softirq, in which all timers expire that are not `HRTIMER_MODE_HARD` (`__hrtimer_setup` in
/// kernel/time/hrtimer.c). In both the thread stays on its CPU, and an interrupt can be raised.
pub(crate) struct Context(());

/// A timer (`struct hrtimer`) that can be started in any context. Dropping it cancels it and waits
/// for its callback; process context, since this may sleep with PREEMPT_RT.
///
/// # Invariants
///
/// `timer` is initialised with [`Self::callback`], and does not move.
#[pin_data(PinnedDrop)]
pub(crate) struct Timer<T: TimerCallback> {
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    target: T,
}

// SAFETY: Any thread may cancel the C object, and `T` is `Send`.
unsafe impl<T: TimerCallback> Send for Timer<T> {}
// SAFETY: The C object locks itself, and `T`, which the callback shares, is `Sync`.
unsafe impl<T: TimerCallback> Sync for Timer<T> {}

impl<T: TimerCallback + 'static> Timer<T> {
    /// A timer that is not running. Fails with `ENOMEM`.
    pub(crate) fn new(target: T) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                timer <- Opaque::ffi_init(|slot: *mut bindings::hrtimer| {
                    // SAFETY: The slot is ours and does not move.
                    unsafe {
                        bindings::oxnic_hrtimer_setup(slot, Some(Self::callback), T::Context::SOFT)
                    }
                }),
                target,
            }),
            GFP_KERNEL,
        )
    }

    /// The C object. The pointer is derived from a reference to the whole value, so that `callback`
    /// may access the whole value through it.
    fn as_ptr(&self) -> *mut bindings::hrtimer {
        // SAFETY: The field is inside the object that `self` refers to.
        Opaque::cast_into(unsafe { &raw const (*ptr::from_ref(self)).timer })
    }

    /// The data of the callback.
    pub(crate) fn target(&self) -> &T {
        &self.target
    }

    /// Starts or restarts the timer, to expire in `ns` nanoseconds, or up to `slack` nanoseconds
    /// later if it can then expire together with another timer (`hrtimer_start_range_ns`). Not in
    /// its own [`TimerCallback::expired`].
    #[inline]
    pub(crate) fn start(&self, ns: u64, slack: u64) {
        // SAFETY: The timer is initialised, and `drop` cancels it.
        unsafe { bindings::oxnic_hrtimer_start(self.as_ptr(), ns, slack, T::Context::SOFT) };
    }

    /// The C callback.
    ///
    /// # Safety
    ///
    /// Called by the kernel for a timer inside a `Timer<T>`, in the context that `T::Context`
    /// stands for.
    unsafe extern "C" fn callback(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: The timer is a field of a `Self`, whose `drop` waits for this callback. Only
        // shared references to that exist. The pointer is from `as_ptr`, so it may be used for the
        // whole value.
        let this = unsafe { &*container_of!(Opaque::cast_from(timer), Self, timer) };
        // SAFETY: This is the callback of a timer that was made for this context.
        this.target.expired(&unsafe { T::Context::assume() });
        bindings::hrtimer_restart_HRTIMER_NORESTART
    }
}

#[pinned_drop]
impl<T: TimerCallback> PinnedDrop for Timer<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The timer is initialised. This is not its callback, which only borrows the value.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
    }
}
