// SPDX-License-Identifier: GPL-2.0

//! The shared part of a NAPI, by which interrupts schedule it.

use crate::{
    bindings,
    net::{
        bh,
        timer, //
    },
};
use core::{
    cell::UnsafeCell,
    ptr, //
};
use kernel::{
    container_of,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        UniqueArc, //
    },
    types::Opaque, //
};

/// How the end of a poll arms the interrupt that schedules the NAPI.
pub(crate) trait Interrupt: Send + Sync {
    /// Arms the interrupt. Returns whether the poll must be scheduled at once, since a frame has
    /// arrived after the poll had found the ring empty.
    ///
    /// Another poll may be running already, so there is no access to the state of polls.
    fn rearm(&self) -> bool;
}

/// The shared part of a NAPI, to which interrupts and page_pools refer. It may outlive the
/// [`Napi`](super::Napi); scheduling it then does nothing. Dropping the last reference waits for an
/// RCU grace period; [`Removed`] waits only once for several NAPIs.
///
/// # Invariants
///
/// `state` points to the state of the poll while the NAPI is enabled. While it is disabled, `state`
/// is null or not used.
#[pin_data(PinnedDrop)]
pub(crate) struct NapiRef {
    #[pin]
    napi: Opaque<bindings::napi_struct>,
    state: UnsafeCell<*mut c_void>,
    /// Whether the NAPI is enabled. Holding the mutex keeps a disabled NAPI disabled.
    #[pin]
    enabled: Mutex<bool>,
    /// Whether a grace period has passed since only the last reference was left.
    waited: bool,
    interrupt: Arc<dyn Interrupt>,
}

// SAFETY: Any thread may drop the last reference: the C object has been deleted by then.
unsafe impl Send for NapiRef {}
// SAFETY: The C object locks itself, and `enabled` is a mutex. `state` is used by the poll while
// the NAPI is enabled, and by its exclusive owner while it is disabled. The other fields do not
// change while the value is shared.
unsafe impl Sync for NapiRef {}

impl NapiRef {
    pub(super) fn new(interrupt: Arc<dyn Interrupt>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                napi <- Opaque::ffi_init(|slot: *mut bindings::napi_struct| {
                    // SAFETY: The slot is ours.
                    unsafe { bindings::oxnic_napi_init(slot) }
                }),
                state: UnsafeCell::new(ptr::null_mut()),
                enabled <- new_mutex!(false, "napi::enabled"),
                waited: false,
                interrupt,
            }),
            GFP_KERNEL,
        )
    }

    /// Schedules the poll (`napi_schedule`), as a receive interrupt does. The poll runs when bottom
    /// halves are on again. Does nothing while the NAPI is disabled.
    pub(crate) fn schedule(&self, _bh: &bh::Disabled) {
        self.schedule_any();
    }

    /// Like [`schedule`](Self::schedule), in the interrupt of a timer. The poll runs when that
    /// interrupt has ended.
    pub(crate) fn schedule_from_timer(&self, _cx: &timer::Context) {
        self.schedule_any();
    }

    /// Like [`schedule`](Self::schedule), in an interrupt handler. In another context it is safe
    /// too, but the poll may have to wait for the next softirq on this CPU.
    pub(crate) fn schedule_from_irq(&self) {
        self.schedule_any();
    }

    fn schedule_any(&self) {
        // SAFETY: May be called in any context. One that has not been added yet, or is disabled or
        // deleted, has `NAPI_STATE_SCHED` set, and then this does nothing.
        unsafe { bindings::oxnic_napi_schedule(self.as_ptr()) };
    }

    /// The C object. The pointer is derived from a reference to the whole value, so that
    /// [`from_raw`](Self::from_raw) may access the whole value through it.
    pub(in crate::net) fn as_ptr(&self) -> *mut bindings::napi_struct {
        // SAFETY: The field is inside the object that `self` refers to.
        Opaque::cast_into(unsafe { &raw const (*ptr::from_ref(self)).napi })
    }

    /// # Safety
    ///
    /// `napi` must come from [`as_ptr`](Self::as_ptr) of an object that lives during `'a`.
    pub(super) unsafe fn from_raw<'a>(napi: *mut bindings::napi_struct) -> &'a Self {
        // SAFETY: By the caller's promise the pointer comes from `as_ptr`. So it points to the
        // field of a valid object, and may be used for the whole of it. Only shared references to
        // that exist.
        unsafe { &*container_of!(napi.cast::<Opaque<bindings::napi_struct>>(), Self, napi) }
    }

    /// The pointer to the state of the poll; it may be null.
    pub(super) fn state(&self) -> *mut *mut c_void {
        self.state.get()
    }

    /// Runs `change`, which enables or disables the NAPI, and excludes
    /// [`while_disabled`](Self::while_disabled) meanwhile.
    pub(super) fn set_enabled(&self, enabled: bool, change: impl FnOnce()) {
        let mut place = self.enabled.lock();
        change();
        *place = enabled;
    }

    /// Runs `f` if the NAPI is disabled, and keeps it disabled meanwhile. May sleep.
    pub(in crate::net) fn while_disabled(&self, f: impl FnOnce()) -> Result<(), IsEnabled> {
        let enabled = self.enabled.lock();
        if *enabled {
            return Err(IsEnabled);
        }
        f();
        Ok(())
    }

    /// Arms the interrupt; see [`Interrupt::rearm`].
    pub(super) fn rearm(&self) -> bool {
        self.interrupt.rearm()
    }
}

/// The NAPI is enabled: polls may run.
pub(in crate::net) struct IsEnabled;

#[pinned_drop]
impl PinnedDrop for NapiRef {
    fn drop(self: Pin<&mut Self>) {
        // The device's list and the page_pool do not refer to the NAPI any more. But RCU readers
        // may have found it there before.
        if !self.waited {
            // SAFETY: This is process context.
            unsafe { bindings::synchronize_net() };
        }
    }
}

/// NAPIs that were [removed](super::Disabled::remove) from their device. Dropping this frees them
/// after a single RCU grace period, since a grace period for each would keep a lock for long. May
/// sleep.
pub(crate) struct Removed(KVec<Pin<UniqueArc<NapiRef>>>);

impl Removed {
    /// Room for `count` NAPIs. Without memory for it there is a grace period for each. May sleep.
    pub(crate) fn with_room(count: usize) -> Self {
        Self(KVec::with_capacity(count, GFP_KERNEL).unwrap_or_default())
    }

    /// Adds a NAPI, if this is the last reference to it.
    pub(super) fn push(&mut self, napi: Arc<NapiRef>) {
        if let Some(napi) = Arc::into_unique_or_drop(napi) {
            // Without room the NAPI is freed here.
            let _ = self.0.push_within_capacity(napi);
        }
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        // Each reference is the only one, so device, page_pool and interrupt do not refer to the
        // NAPIs any more.
        // SAFETY: This is process context.
        unsafe { bindings::synchronize_net() };
        for napi in &mut self.0 {
            *napi.as_mut().project().waited = true;
        }
    }
}
