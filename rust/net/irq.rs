// SPDX-License-Identifier: GPL-2.0

//! Interrupts of simulated hardware. For the kernel and for users they are ordinary interrupts,
//! with a number, a line in `/proc/interrupts` and an affinity (`/proc/irq/N/smp_affinity`).
//!
//! There is no signal from a bus: an interrupt is raised by code that runs on some CPU. If that CPU
//! is in the interrupt's affinity, the caller does at once what the handler would do. Otherwise an
//! inter-processor interrupt makes the first CPU of the affinity run the handler.
//!
//! C headers: [`include/linux/irq.h`](srctree/include/linux/irq.h),
//! [`include/linux/smp.h`](srctree/include/linux/smp.h)

use super::{
    ipi::Claim,
    napi::IrqSource, //
};
use crate::bindings;
use core::{
    hint,
    mem::MaybeUninit,
    ptr, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// An interrupt number. Dropping it frees the number; process context.
///
/// # Invariants
///
/// The number was allocated by [`Number::new`], and belongs to this value.
struct Number(c_uint);

impl Number {
    /// Allocates one (`irq_alloc_desc`). Fails with `ENOMEM`.
    fn new() -> Result<Self> {
        // Without an owner: an interface that is up must not prevent the module from being
        // unloaded.
        // SAFETY: This is process context.
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
        // SAFETY: The number is allocated. It has no handler, since a handler has a reference to
        // the vector.
        unsafe { bindings::irq_free_descs(self.0, 1) };
    }
}

/// An interrupt of the hardware, with or without a handler. It keeps the affinity that the user has
/// set as long as it exists. Dropping the last reference may sleep.
///
/// # Invariants
///
/// `data` is the `irq_data` of interrupt `number`, whose chip is [`CHIP`], with this value as the
/// chip's data. `call` calls [`Vector::deliver`] with this value. Only the holder of the `claim`
/// uses `call`.
#[pin_data(PinnedDrop)]
pub(crate) struct Vector {
    number: Number,
    data: *mut bindings::irq_data,
    /// The CPU that gets the interrupt if it is raised on a CPU that is not in the affinity.
    target: Atomic<u32>,
    /// Whether the interrupt was ever sent to another CPU.
    was_remote: Atomic<bool>,
    claim: Claim,
    #[pin]
    call: Opaque<bindings::call_single_data_t>,
}

// SAFETY: Any thread may free the interrupt: `drop` waits for a call that is on its way.
unsafe impl Send for Vector {}
// SAFETY: The kernel locks the interrupt, and only the holder of the claim uses the call.
unsafe impl Sync for Vector {}

// SAFETY: The number is allocated as long as the value exists. All handlers are registered by
// `napi::irq`, with `IRQF_SHARED`.
unsafe impl IrqSource for Vector {
    fn number(&self) -> u32 {
        self.number.0
    }
}

/// The interrupt controller. The [`Claim`] latches edges, so there is nothing to acknowledge or
/// mask.
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
                target: Atomic::new(0),
                was_remote: Atomic::new(false),
                claim: Claim::new(),
                call <- Opaque::ffi_init(|slot: *mut bindings::call_single_data_t| {
                    // SAFETY: The slot is ours; all zeroes is a call that is not queued.
                    unsafe {
                        ptr::write_bytes(slot, 0, 1);
                        (*slot).func = Some(Self::deliver);
                    }
                }),
            }),
            GFP_KERNEL,
        )?;
        let this = ptr::from_ref(&*vector).cast_mut().cast();
        // INVARIANT: The chip is set, and the data of chip and call, which does not move any more.
        // SAFETY: The number is allocated, and has no handler yet. The chip's data is a value that
        // frees the number when it is dropped. Only this function has the call yet.
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

    /// Delivers the interrupt to a CPU of its affinity, if this CPU is not in it. If it is, returns
    /// `false`, and the caller must do what the handler does. Any context in which the thread stays
    /// on its CPU.
    ///
    /// The handler sees what was written before this call, even if an earlier interrupt is still on
    /// its way.
    #[inline]
    #[must_use = "if this is `false` the caller must do what the handler does"]
    pub(crate) fn deliver_remote(&self) -> bool {
        // SAFETY: `data` is valid, by the type's invariants.
        if unsafe { bindings::oxnic_irq_is_for_this_cpu(self.data) } {
            return false;
        }
        self.interrupt_target();
        true
    }

    /// Sends the call, unless it is on its way already. Several CPUs may do this at the same time:
    /// a sender, the timer, the end of a poll, and the code that restarts a queue.
    #[cold]
    fn interrupt_target(&self) {
        if !self.claim.try_claim() {
            return;
        }
        self.was_remote.store(true, Relaxed);
        let cpu = self.target.load(Relaxed);
        // SAFETY: The call is initialised, and `drop` waits for it. This thread has claimed it, so
        // no other thread uses it, as `smp_call_function_single_async` in kernel/smp.c requires.
        let error =
            unsafe { bindings::smp_call_function_single_async(cpu as c_int, self.call.get()) };
        if error != 0 {
            // The CPU has just gone offline, and the kernel has not queued the call. Other senders
            // may rely on it, so this CPU runs the handlers of the interrupt.
            self.claim.release();
            // SAFETY: May be called in any context. The number is that of this vector.
            unsafe { bindings::generic_handle_irq_safe(self.number.0) };
        }
    }

    /// The C callback of the inter-processor interrupt.
    ///
    /// # Safety
    ///
    /// Called by the kernel for the call of a `Vector`, with interrupts off: in a hard interrupt,
    /// on the way out of idle (`flush_smp_call_function_queue`), or by the sender, if its CPU is
    /// the target meanwhile (`generic_exec_single`; all in kernel/smp.c).
    unsafe extern "C" fn deliver(info: *mut c_void) {
        // SAFETY: The data of the call is its `Vector`. It is not dropped before the claim is
        // released.
        let vector = unsafe { &*info.cast::<Self>().cast_const() };
        let number = vector.number.0;
        // From here on the call may be sent again, and the vector dropped.
        vector.claim.release();
        // SAFETY: May be called in any context. Interrupts are off, so this is an RCU read-side
        // section. `Vector::drop` waits for that before the number is freed.
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
        // SAFETY: The chip's data is a `Vector`, which exists as long as the number is allocated.
        let vector = unsafe { &*(*data).chip_data.cast::<Self>().cast_const() };
        // SAFETY: The kernel's mask is valid.
        let cpu = unsafe { bindings::oxnic_cpumask_first(mask) };
        // SAFETY: No preconditions.
        if cpu >= unsafe { bindings::oxnic_nr_cpu_ids() } {
            return EINVAL.to_errno();
        }
        // SAFETY: The interrupt is ours and locked, and the mask is valid.
        unsafe { bindings::oxnic_irq_update_effective_affinity(data, mask) };
        vector.target.store(cpu, Relaxed);
        bindings::IRQ_SET_MASK_OK as c_int
    }
}

#[pinned_drop]
impl PinnedDrop for Vector {
    fn drop(self: Pin<&mut Self>) {
        if !self.was_remote.load(Relaxed) {
            return;
        }
        // There are no senders any more, but a call may still be on its way.
        while self.claim.is_claimed() {
            hint::spin_loop();
        }
        // Its handler may still be using the number, in an RCU read-side section.
        // SAFETY: This is process context.
        unsafe { bindings::synchronize_net() };
    }
}
