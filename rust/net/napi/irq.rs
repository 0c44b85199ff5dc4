// SPDX-License-Identifier: GPL-2.0

//! The interrupt handler that schedules a NAPI.
//!
//! C header: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h)

use super::napi_ref::NapiRef;
use crate::bindings;
use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
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
/// [`Handler::handle`] is registered for the number of `source`, with the address of `napi` as its
/// data and `_name` as its name.
pub(super) struct Handler {
    source: Arc<dyn IrqSource>,
    napi: Arc<NapiRef>,
    // Read by the kernel.
    _name: CString,
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
        // SAFETY: The number is allocated, and its handlers share it. Name and NAPI live until the
        // handler is freed.
        to_result(unsafe {
            bindings::request_threaded_irq(
                source.number(),
                Some(Self::handle),
                None,
                bindings::IRQF_SHARED as c_ulong,
                name.as_char_ptr(),
                Arc::as_ptr(&napi).cast_mut().cast(),
            )
        })?;
        // INVARIANT: Just registered.
        Ok(Self {
            source,
            napi,
            _name: name,
        })
    }

    /// The C callback.
    ///
    /// # Safety
    ///
    /// Called by the kernel with the data that `new` gave it, in a hard interrupt or in the thread
    /// of one.
    unsafe extern "C" fn handle(_irq: c_int, napi: *mut c_void) -> bindings::irqreturn_t {
        // SAFETY: The data is the address of a `NapiRef`, which lives as long as this handler.
        let napi = unsafe { &*napi.cast::<NapiRef>().cast_const() };
        napi.schedule_from_irq();
        bindings::irqreturn_IRQ_HANDLED
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // SAFETY: The handler is registered with this number and this data. `free_irq` waits until
        // it does not run any more, and so the NAPI is not used after this.
        unsafe {
            bindings::free_irq(
                self.source.number(),
                Arc::as_ptr(&self.napi).cast_mut().cast(),
            );
        }
    }
}
