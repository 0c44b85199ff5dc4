// SPDX-License-Identifier: GPL-2.0

//! Interrupts of simulated hardware. For the kernel and its users they are as any others: with a number,
//! a line in `/proc/interrupts` and an affinity (`/proc/irq/N/smp_affinity`).
//!
//! No signal comes from outside here: whoever raises an interrupt runs on some CPU himself. If the
//! affinity contains that CPU there is nothing to be delivered, and he does at once what the handler
//! would do. Otherwise the first CPU of the affinity is interrupted by an inter-processor interrupt, and
//! runs the handler.
//!
//! C headers: [`include/linux/irq.h`](srctree/include/linux/irq.h),
//! [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h),
//! [`include/linux/smp.h`](srctree/include/linux/smp.h)

use super::{
    ipi::Claim,
    napi::NapiRef, //
};
use crate::bindings;
use core::{
    hint,
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    str::CString,
    sync::Arc,
    types::Opaque, //
};

/// An interrupt number. Dropping it frees the number; process context.
///
/// # Invariants
///
/// The number was allocated by [`Number::new`] and belongs to this value.
struct Number(c_uint);

impl Number {
    /// Allocates one (`irq_alloc_desc`). Fails with `ENOMEM`.
    fn new() -> Result<Self> {
        // The owner is not counted: an interface that is up does not keep its module from going.
        // SAFETY: No preconditions but process context.
        let number = unsafe {
            bindings::__irq_alloc_descs(
                -1,
                1,
                1,
                bindings::NUMA_NO_NODE,
                ptr::null_mut(),
                ptr::null(),
            )
        };
        to_result(number)?;
        // INVARIANT: Just allocated.
        Ok(Self(number as c_uint))
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: The number is allocated, and has no handler: that would own the vector.
        unsafe { bindings::irq_free_descs(self.0, 1) };
    }
}

/// An interrupt of the hardware, whether anybody handles it or not. What the user has set for it stays as
/// long as it exists. Dropping the last reference may sleep.
///
/// # Invariants
///
/// `data` is that of the interrupt `number`, whose chip is [`CHIP`] with this value as its data. `call` calls
/// [`Vector::deliver`] with this value, and is only used by whoever has the `claim`.
#[pin_data(PinnedDrop)]
pub(crate) struct Vector {
    number: Number,
    data: *mut bindings::irq_data,
    /// The CPU that is interrupted for those that are not in the affinity.
    target: AtomicU32,
    /// Whether one ever was.
    redirected: AtomicBool,
    claim: Claim,
    #[pin]
    call: Opaque<bindings::call_single_data_t>,
}

// SAFETY: The C objects lock themselves, and may be used by any thread.
unsafe impl Send for Vector {}
// SAFETY: As above.
unsafe impl Sync for Vector {}

/// The interrupt controller: an edge is latched by who delivers it, there is nothing to be masked.
const CHIP: bindings::irq_chip = bindings::irq_chip {
    name: c"simulated".to_bytes_with_nul().as_ptr(),
    irq_ack: Some(Vector::ack),
    irq_set_affinity: Some(Vector::set_affinity),
    // SAFETY: A null function pointer is `None`, and every other field may be zero too.
    ..unsafe { MaybeUninit::zeroed().assume_init() }
};

impl Vector {
    /// A new interrupt without a handler. Fails with `ENOMEM`. Process context.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let number = Number::new()?;
        let irq = number.0;
        let vector = Arc::pin_init(
            pin_init!(Self {
                number,
                // SAFETY: The number is allocated.
                data: unsafe { bindings::irq_get_irq_data(irq) },
                target: AtomicU32::new(0),
                redirected: AtomicBool::new(false),
                claim: Claim::new(),
                call <- Opaque::ffi_init(|slot: *mut bindings::call_single_data_t| {
                    // SAFETY: The slot is ours; all zeroes is a call that is not under way.
                    unsafe {
                        ptr::write_bytes(slot, 0, 1);
                        (*slot).func = Some(Self::deliver);
                    }
                }),
            }),
            GFP_KERNEL,
        )?;
        let this = ptr::from_ref(&*vector).cast_mut().cast();
        // INVARIANT: The chip, and the data of chip and call, which do not move any more.
        // SAFETY: The number is allocated, nobody handles it yet; the callbacks of the chip find a
        // value that is dropped only after the number is freed. Nobody else has the call yet.
        unsafe {
            (*vector.call.get()).info = this;
            bindings::irq_set_chip_data(irq, this);
            bindings::irq_set_chip_and_handler_name(
                irq,
                &CHIP,
                Some(bindings::handle_edge_irq),
                c"edge".as_char_ptr(),
            );
            bindings::irq_modify_status(
                irq,
                bindings::IRQ_NOREQUEST as c_ulong,
                bindings::IRQ_NOPROBE as c_ulong,
            );
        }
        Ok(vector)
    }

    /// The number of the interrupt.
    pub(super) fn number(&self) -> u32 {
        self.number.0
    }

    /// Raises the interrupt for a CPU of its affinity, if this one is not of them. Returns `false` if it
    /// is: then the caller has to do what the handler does. Any context in which the thread does not
    /// leave its CPU.
    ///
    /// What was written before is seen by the handler, even if an earlier interrupt is still on its way.
    #[inline]
    #[must_use = "unless another CPU does it the caller must"]
    pub(crate) fn deliver_remote(&self) -> bool {
        // SAFETY: By the type's invariants.
        if unsafe { bindings::oxnic_irq_is_for_this_cpu(self.data) } {
            return false;
        }
        self.interrupt_target();
        true
    }

    /// Any number of CPUs may come here at the same time: the NIC, its timer, the end of a poll, and who
    /// restarts the queue.
    #[cold]
    fn interrupt_target(&self) {
        if !self.claim.try_claim() {
            return;
        }
        self.redirected.store(true, Ordering::Relaxed);
        let cpu = self.target.load(Ordering::Relaxed);
        // SAFETY: The call is initialised and waited for before it goes. This thread has claimed it, so no
        // other uses it: `smp_call_function_single_async` in kernel/smp.c asks its callers for that.
        let error =
            unsafe { bindings::smp_call_function_single_async(cpu as c_int, self.call.get()) };
        if error != 0 {
            // The CPU went offline just now, and the kernel has not taken the call. Others may rely on it,
            // also for another NAPI of this interrupt, so all that it schedules is scheduled here.
            self.claim.release();
            // SAFETY: May be called in any context; the number is that of this vector.
            unsafe { bindings::generic_handle_irq_safe(self.number.0) };
        }
    }

    /// The C callback of the inter-processor interrupt.
    ///
    /// # Safety
    ///
    /// Called by the kernel for the call of a `Vector`, with interrupts off: in a hard interrupt, on the
    /// way out of idle (`flush_smp_call_function_queue`), or by the sender if its CPU has become the
    /// target meanwhile (`generic_exec_single`, all in kernel/smp.c).
    unsafe extern "C" fn deliver(info: *mut c_void) {
        // SAFETY: The data of the call is its `Vector`, which is not dropped before the claim is released.
        let vector = unsafe { &*info.cast::<Self>().cast_const() };
        let number = vector.number.0;
        // From here on the call may be sent again, and the vector dropped.
        vector.claim.release();
        // SAFETY: May be called in any context. Interrupts are off, which is an RCU read-side section; the
        // number is freed only after it.
        unsafe { bindings::generic_handle_irq_safe(number) };
    }

    /// The C callback `irq_ack`.
    ///
    /// # Safety
    ///
    /// Called by the kernel for the interrupt of a `Vector`.
    unsafe extern "C" fn ack(_data: *mut bindings::irq_data) {}

    /// The C callback `irq_set_affinity`.
    ///
    /// # Safety
    ///
    /// Called by the kernel for the interrupt of a `Vector`, under its lock.
    unsafe extern "C" fn set_affinity(
        data: *mut bindings::irq_data,
        mask: *const bindings::cpumask,
        _force: bool,
    ) -> c_int {
        // SAFETY: The chip's data is a `Vector`, which is there as long as the number is; the kernel's
        // mask is valid.
        let (vector, cpu) = unsafe {
            let vector = (*data).chip_data.cast::<Self>().cast_const();
            (&*vector, bindings::oxnic_irq_set_effective(data, mask))
        };
        match u32::try_from(cpu) {
            Ok(cpu) => {
                vector.target.store(cpu, Ordering::Relaxed);
                bindings::IRQ_SET_MASK_OK as c_int
            }
            Err(_) => cpu,
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Vector {
    fn drop(self: Pin<&mut Self>) {
        if !self.redirected.load(Ordering::Relaxed) {
            return;
        }
        // No one is left to send the call, but one that was sent may be under way.
        while self.claim.is_claimed() {
            hint::spin_loop();
        }
        // Its handler may still be running, with the number: it is an RCU read-side section.
        // SAFETY: No preconditions but process context.
        unsafe { bindings::synchronize_net() };
    }
}

/// The handler of an interrupt: it schedules a NAPI. It is there until this is dropped; process context.
///
/// # Invariants
///
/// [`Handler::handle`] was registered for the vector's number, with the address of `napi` as its data, and
/// `name` as its name.
pub(crate) struct Handler {
    vector: Arc<Vector>,
    napi: Arc<NapiRef>,
    // Read by the kernel.
    _name: CString,
}

impl Handler {
    /// Has `napi` scheduled by the interrupt (`request_irq`); others that this interrupt schedules go on.
    /// `name` is what `/proc/interrupts` shows. Fails with `ENOMEM`. May sleep.
    pub(super) fn new(
        vector: Arc<Vector>,
        napi: Arc<NapiRef>,
        name: fmt::Arguments<'_>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        // SAFETY: The number is allocated. Name and NAPI are there until the handler is gone.
        to_result(unsafe {
            bindings::request_threaded_irq(
                vector.number(),
                Some(Self::handle),
                None,
                bindings::IRQF_SHARED as c_ulong,
                name.as_char_ptr(),
                Arc::as_ptr(&napi).cast_mut().cast(),
            )
        })?;
        // INVARIANT: Just registered.
        Ok(Self {
            vector,
            napi,
            _name: name,
        })
    }

    /// The C callback.
    ///
    /// # Safety
    ///
    /// Called by the kernel with the data that `new` gave it, in a hard interrupt or in the thread of one.
    unsafe extern "C" fn handle(_irq: c_int, napi: *mut c_void) -> bindings::irqreturn_t {
        // SAFETY: The NAPI is there as long as this handler is.
        let napi = unsafe { &*napi.cast::<NapiRef>().cast_const() };
        napi.schedule_from_handler();
        bindings::irqreturn_IRQ_HANDLED
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants. Waits until the handler does not run any more.
        unsafe {
            bindings::free_irq(
                self.vector.number(),
                Arc::as_ptr(&self.napi).cast_mut().cast(),
            );
        }
    }
}
