// SPDX-License-Identifier: GPL-2.0

//! Interrupts of simulated hardware. To the kernel and to users they are like any others: they have
//! a number, a line in `/proc/interrupts` and an affinity (`/proc/irq/N/smp_affinity`).
//!
//! No signal comes from a bus here: the code that raises an interrupt already runs on some CPU. If
//! that CPU is in the interrupt's affinity, the caller does at once what the handler would do.
//! Otherwise an inter-processor interrupt makes the first CPU of the affinity run the handler.
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

/// An interrupt of the hardware, with or without a handler. The affinity that the user has set
/// stays as long as it exists. Dropping the last reference may sleep.
///
/// # Invariants
///
/// `data` is that of the interrupt `number`, whose chip is [`CHIP`] with this value as its data.
/// `call` calls [`Vector::deliver`] with this value, and is only used by whoever has the `claim`.
#[pin_data(PinnedDrop)]
pub(crate) struct Vector {
    number: Number,
    data: *mut bindings::irq_data,
    /// The CPU to which the interrupt goes if it is raised on one that is not in the affinity.
    target: Atomic<u32>,
    /// Whether it ever went to another CPU.
    was_remote: Atomic<bool>,
    claim: Claim,
    #[pin]
    call: Opaque<bindings::call_single_data_t>,
}

// SAFETY: Any thread may free the interrupt: `drop` waits for a call that is under way.
unsafe impl Send for Vector {}
// SAFETY: The kernel locks the interrupt; the call is used only by who has the claim.
unsafe impl Sync for Vector {}

// SAFETY: The number is allocated as long as the value exists, and all handlers come from
// `napi::irq`, which shares it.
unsafe impl IrqSource for Vector {
    fn number(&self) -> u32 {
        self.number.0
    }
}

/// The interrupt controller. Who delivers an edge latches it (see [`Claim`]), so nothing has to be
/// acknowledged or masked.
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

    /// Delivers the interrupt to a CPU of its affinity, if this one is not of them. Returns `false`
    /// if it is: then the caller has to do what the handler does. Any context in which the thread
    /// does not leave its CPU.
    ///
    /// What was written before is seen by the handler, even if an earlier interrupt is still on its
    /// way.
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

    /// Several CPUs may be here at the same time: a sender, the timer, the end of a poll, and the
    /// code that restarts a queue.
    #[cold]
    fn interrupt_target(&self) {
        if !self.claim.try_claim() {
            return;
        }
        self.was_remote.store(true, Relaxed);
        let cpu = self.target.load(Relaxed);
        // SAFETY: The call is initialised and waited for before it goes. This thread has claimed
        // it, so no other uses it: `smp_call_function_single_async` in kernel/smp.c asks its
        // callers for that.
        let error =
            unsafe { bindings::smp_call_function_single_async(cpu as c_int, self.call.get()) };
        if error != 0 {
            // The CPU has just gone offline, and the kernel has not taken the call. Other senders
            // may rely on it, so run all handlers of the interrupt here.
            self.claim.release();
            // SAFETY: May be called in any context; the number is that of this vector.
            unsafe { bindings::generic_handle_irq_safe(self.number.0) };
        }
    }

    /// The C callback of the inter-processor interrupt.
    ///
    /// # Safety
    ///
    /// Called by the kernel for the call of a `Vector`, with interrupts off: in a hard interrupt,
    /// on the way out of idle (`flush_smp_call_function_queue`), or by the sender if its CPU has
    /// become the target meanwhile (`generic_exec_single`, all in kernel/smp.c).
    unsafe extern "C" fn deliver(info: *mut c_void) {
        // SAFETY: The data of the call is its `Vector`, which is not dropped before the claim is
        // released.
        let vector = unsafe { &*info.cast::<Self>().cast_const() };
        let number = vector.number.0;
        // From here on the call may be sent again, and the vector dropped.
        vector.claim.release();
        // SAFETY: May be called in any context. Interrupts are off, which is an RCU read-side
        // section; the number is freed only after it.
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
        // SAFETY: The chip's data is a `Vector`, which is there as long as the number is.
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
        // No one is left to send the call, but one that was sent may be under way.
        while self.claim.is_claimed() {
            hint::spin_loop();
        }
        // Its handler may still be running, with the number: it is an RCU read-side section.
        // SAFETY: No preconditions but process context.
        unsafe { bindings::synchronize_net() };
    }
}
