// SPDX-License-Identifier: GPL-2.0

//! The shared part of a NAPI, by which it is scheduled.

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

/// The interrupt that schedules a NAPI, as the end of a poll sees it.
pub(crate) trait Interrupt: Send + Sync {
    /// Arms the interrupt. Returns whether the poll must be scheduled at once, since something came
    /// after it had looked for the last time.
    ///
    /// Another poll may be running already: there is no access to what polls work on.
    fn rearm(&self) -> bool;
}

/// The shared part of a NAPI, which an interrupt or a page_pool refers to. It may outlive the
/// [`Napi`](super::Napi); scheduling it does nothing then. Dropping the last reference waits for an
/// RCU grace period; [`Removed`] waits only once for several.
///
/// # Invariants
///
/// `state` points to what the poll works on while the NAPI is enabled, and is null or not used
/// while it is disabled.
#[pin_data(PinnedDrop)]
pub(crate) struct NapiRef {
    #[pin]
    napi: Opaque<bindings::napi_struct>,
    state: UnsafeCell<*mut c_void>,
    /// Whether polls may run. Who holds the lock of a disabled one keeps it from being enabled.
    #[pin]
    enabled: Mutex<bool>,
    /// Whether a grace period has passed since only one reference was left.
    waited: bool,
    interrupt: Arc<dyn Interrupt>,
}

// SAFETY: Any thread may give up the last reference: the C object has been deleted by then.
unsafe impl Send for NapiRef {}
// SAFETY: The C object locks itself, `enabled` is a lock, and `state` is used only by the poll and
// by who has the NAPI disabled, as the type's invariants say. The other fields do not change.
unsafe impl Sync for NapiRef {}

impl NapiRef {
    pub(super) fn new(interrupt: Arc<dyn Interrupt>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                napi <- Opaque::ffi_init(|slot: *mut bindings::napi_struct| {
                    // SAFETY: The slot is ours; all zeroes is what `netif_napi_add` wants to find.
                    unsafe { ptr::write_bytes(slot, 0, 1) }
                }),
                state: UnsafeCell::new(ptr::null_mut()),
                enabled <- new_mutex!(false, "napi::enabled"),
                waited: false,
                interrupt,
            }),
            GFP_KERNEL,
        )
    }

    /// Schedules the poll (`napi_schedule`): what a receive interrupt does. The poll runs when
    /// bottom halves are on again. Does nothing while the NAPI is disabled.
    pub(crate) fn schedule(&self, _bh: &bh::Disabled) {
        self.schedule_any();
    }

    /// As [`schedule`](Self::schedule), in the interrupt of a timer. The poll runs when that has
    /// ended.
    pub(crate) fn schedule_from_timer(&self, _cx: &timer::Context) {
        self.schedule_any();
    }

    /// As [`schedule`](Self::schedule), in the handler of an interrupt. In another context nothing
    /// goes wrong, but the poll may have to wait for the next softirq of this CPU.
    pub(crate) fn schedule_from_irq(&self) {
        self.schedule_any();
    }

    fn schedule_any(&self) {
        // SAFETY: May be called in any context. Once added, the object stays a valid NAPI; a
        // disabled or deleted one has its SCHED bit set, which makes this do nothing.
        unsafe { bindings::oxnic_napi_schedule(self.as_ptr()) };
    }

    /// The C object, as a pointer from which [`from_raw`](Self::from_raw) finds the whole: made
    /// from a reference to the whole, so that it may be used for all of it.
    pub(in crate::net) fn as_ptr(&self) -> *mut bindings::napi_struct {
        // SAFETY: The field is inside the object that `self` refers to.
        Opaque::cast_into(unsafe { &raw const (*ptr::from_ref(self)).napi })
    }

    /// # Safety
    ///
    /// `napi` must come from [`as_ptr`](Self::as_ptr) of an object that lives during `'a`.
    pub(super) unsafe fn from_raw<'a>(napi: *mut bindings::napi_struct) -> &'a Self {
        // SAFETY: The caller's promise: the pointer is one to the field of a valid object, and may
        // be used for all of it. Only shared references to it exist.
        unsafe { &*container_of!(napi.cast::<Opaque<bindings::napi_struct>>(), Self, napi) }
    }

    /// What the poll works on, or null.
    pub(super) fn state(&self) -> *mut *mut c_void {
        self.state.get()
    }

    /// Runs `change`, which enables or disables the NAPI, while nobody relies on its being
    /// disabled.
    pub(super) fn set_enabled(&self, enabled: bool, change: impl FnOnce()) {
        let mut place = self.enabled.lock();
        change();
        *place = enabled;
    }

    /// Runs `f` if the NAPI is disabled, and keeps it so meanwhile. May sleep.
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

/// Polls may run, and use what is shared with them.
pub(in crate::net) struct IsEnabled;

#[pinned_drop]
impl PinnedDrop for NapiRef {
    fn drop(self: Pin<&mut Self>) {
        // The kernel reads a NAPI by way of the device's list and of its page_pool, under RCU: both
        // have let go of it by now.
        if !self.waited {
            // SAFETY: No preconditions but process context.
            unsafe { bindings::synchronize_net() };
        }
    }
}

/// NAPIs that were [taken off](super::Disabled::remove) their device. Dropping this frees them,
/// after a single RCU grace period for all: with a lock held, one for each of many would be long.
/// May sleep.
pub(crate) struct Removed(KVec<Pin<UniqueArc<NapiRef>>>);

impl Removed {
    /// Room for `count` of them; without memory each is waited for on its own. May sleep.
    pub(crate) fn with_room(count: usize) -> Self {
        Self(KVec::with_capacity(count, GFP_KERNEL).unwrap_or_default())
    }

    /// To be freed with the others, once the last reference is this one.
    pub(super) fn push(&mut self, napi: Arc<NapiRef>) {
        if let Some(napi) = Arc::into_unique_or_drop(napi) {
            // Without room it is freed here.
            let _ = self.0.push_within_capacity(napi);
        }
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        // Each reference is the only one: device, page_pool and interrupt had let go of the NAPIs
        // before.
        // SAFETY: No preconditions but process context.
        unsafe { bindings::synchronize_net() };
        for napi in &mut self.0 {
            *napi.as_mut().project().waited = true;
        }
    }
}
