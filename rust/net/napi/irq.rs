// SPDX-License-Identifier: GPL-2.0

//! The interrupt of a NAPI, whatever raises it.
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

/// An interrupt that can be requested: that of a card on a bus, or a simulated one.
///
/// # Safety
///
/// As long as the value exists, [`number`](Self::number) is the same allocated interrupt number.
/// All of its handlers share it (`IRQF_SHARED`).
pub(crate) unsafe trait IrqSource: Send + Sync + 'static {
    /// The number of the interrupt.
    fn number(&self) -> u32;
}

/// The handler of an interrupt: it schedules a NAPI. It is there until this is dropped; process
/// context.
///
/// Not `kernel::irq::Registration`, which is for the interrupts of a device on a bus, and ends with
/// that one's driver.
///
/// # Invariants
///
/// [`Handler::handle`] was registered for the number of `source`, with the address of `napi` as its
/// data, and `name` as its name.
pub(super) struct Handler {
    source: Arc<dyn IrqSource>,
    napi: Arc<NapiRef>,
    // Read by the kernel.
    _name: CString,
}

impl Handler {
    /// Has `napi` scheduled by the interrupt (`request_irq`); other handlers of it go on. `name` is
    /// what `/proc/interrupts` shows. Fails with `ENOMEM`. May sleep.
    pub(super) fn new(
        source: Arc<dyn IrqSource>,
        napi: Arc<NapiRef>,
        name: fmt::Arguments<'_>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        // SAFETY: The number is allocated, and may be shared. Name and NAPI are there until the
        // handler is gone.
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
        // SAFETY: The NAPI is there as long as this handler is.
        let napi = unsafe { &*napi.cast::<NapiRef>().cast_const() };
        napi.schedule_from_irq();
        bindings::irqreturn_IRQ_HANDLED
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants. Waits until the handler does not run any more.
        unsafe {
            bindings::free_irq(
                self.source.number(),
                Arc::as_ptr(&self.napi).cast_mut().cast(),
            );
        }
    }
}
