// SPDX-License-Identifier: GPL-2.0

//! The interrupt handler that schedules a NAPI.
//!
//! C header: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h)

use super::napi_ref::NapiRef;
use crate::bindings;
use core::ptr;
use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        rcu,
        Arc, //
    },
};

/// An interrupt that can be requested, of a card on a bus or a simulated one.
///
/// # Safety
///
/// As long as the value exists, [`number`](Self::number) must return the same allocated interrupt
/// number. All handlers of that interrupt must share it (`IRQF_SHARED`).
pub(crate) unsafe trait IrqSource: Send + Sync + 'static {
    /// The number of the interrupt.
    fn number(&self) -> u32;
}

/// A registered interrupt handler, which schedules a NAPI. Dropping it frees the handler; process
/// context.
///
/// `kernel::irq::Registration` does not serve here: it is for the interrupts of a device on a bus,
/// and is revoked when the driver of that device is unbound.
///
/// # Invariants
///
/// [`Handler::handle`] is registered for the number of `source`, with the address of the pointer in
/// `target` as its data and `_name` as its name. `target` points to `napi`.
pub(super) struct Handler {
    source: Arc<dyn IrqSource>,
    napi: Arc<NapiRef>,
    target: KBox<Atomic<*mut NapiRef>>,
    // Read by the kernel.
    _name: CString,
}

/// The pointer by which the handler finds its NAPI.
fn target_of(napi: &Arc<NapiRef>) -> *mut NapiRef {
    Arc::as_ptr(napi).cast_mut()
}

impl Handler {
    /// Registers a handler that schedules `napi` (`request_irq`), in addition to other handlers of
    /// the interrupt. `/proc/interrupts` shows `name`. Fails with `ENOMEM`. May sleep.
    pub(super) fn new(
        source: Arc<dyn IrqSource>,
        napi: Arc<NapiRef>,
        name: fmt::Arguments<'_>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        let target = KBox::new(Atomic::new(target_of(&napi)), GFP_KERNEL)?;
        // SAFETY: The number is allocated, and its handlers share it. Name and target live until
        // the handler is freed.
        to_result(unsafe {
            bindings::request_threaded_irq(
                source.number(),
                Some(Self::handle),
                None,
                bindings::IRQF_SHARED as c_ulong,
                name.as_char_ptr(),
                ptr::from_ref(&*target).cast_mut().cast(),
            )
        })?;
        // INVARIANT: Just registered.
        Ok(Self {
            source,
            napi,
            target,
            _name: name,
        })
    }

    /// The number of the interrupt.
    pub(super) fn irq(&self) -> u32 {
        self.source.number()
    }

    /// Makes the handler schedule `napi`, instead of the NAPI that it has scheduled so far.
    pub(super) fn set_napi(&mut self, napi: Arc<NapiRef>) {
        // Release: publishes the new NAPI. Pairs with the Acquire in `handle`.
        self.target.store(target_of(&napi), Release);
        self.napi = napi;
    }

    /// The C callback.
    ///
    /// # Safety
    ///
    /// Called by the kernel with the data that `new` gave it, in a hard interrupt or in the thread
    /// of one.
    unsafe extern "C" fn handle(_irq: c_int, target: *mut c_void) -> bindings::irqreturn_t {
        let _rcu = rcu::read_lock();
        // SAFETY: The data is the address of a pointer that lives as long as this handler. The
        // handler had a reference to its NAPI when this RCU read-side section began, or got it
        // later; a NAPI is freed only when a grace period has passed since its last reference was
        // dropped, and so not before the section ends.
        let napi = unsafe {
            let target = &*target.cast::<Atomic<*mut NapiRef>>().cast_const();
            &*target.load(Acquire).cast_const()
        };
        napi.schedule_from_irq();
        bindings::irqreturn_IRQ_HANDLED
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let target = ptr::from_ref(&*self.target).cast_mut().cast();
        // SAFETY: The handler is registered with this number and this data. `free_irq` waits until
        // it does not run any more, and so neither the data nor the NAPI is used after this.
        unsafe { bindings::free_irq(self.source.number(), target) };
    }
}
