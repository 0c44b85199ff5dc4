// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of oxnic, events of the system `oxnic` for perf, trace-cmd and BPF programs:
//! `rust/bindings/events.h` declares them.
//!
//! Each is a function here, which may be called in any context. One that is off costs a NOP: the
//! arguments of a call are only converted, and the C function called, when it is on. What must be
//! computed for a call belongs behind `NAME_is_on()`, a NOP as well. On a kernel without jump
//! labels it is a comparison.
//!
//! The kernel's `declare_trace!` does the same, but only for tracepoints that the `kernel` crate
//! has bindings of, and with an assembly file from the kernel's own build.

use super::{
    device::netdev::Device,
    xdp::{
        Prog,
        RedirectTarget,
        XdpAction, //
    },
};
use crate::bindings;
#[cfg(CONFIG_JUMP_LABEL)]
use core::mem::offset_of;
use core::ptr;

/// Whether a tracepoint is on: a NOP, which the kernel replaces by a jump while it is.
#[cfg(CONFIG_JUMP_LABEL)]
macro_rules! is_on {
    ($tracepoint:path) => {
        'is_on: {
            // SAFETY: The assembly is that of the kernel's `static_branch_unlikely`
            // (`arch_static_branch` in <asm/jump_label.h>): a NOP, and an entry in the jump table
            // with the addresses of NOP, label and `struct static_key`. `$tracepoint` is a `struct
            // tracepoint`, whose `key` is a `struct static_key_false` (<linux/tracepoint-defs.h>),
            // and so begins with one.
            unsafe {
                ::kernel::asm!(
                    bindings::arch_static_branch_asm!();
                    l_yes = label {
                        cold();
                        break 'is_on true;
                    },
                    symb = sym $tracepoint,
                    off = const offset_of!(bindings::tracepoint, key),
                );
            }
            false
        }
    };
}

/// Whether a tracepoint is on. A kernel without jump labels counts who has switched it on.
#[cfg(not(CONFIG_JUMP_LABEL))]
macro_rules! is_on {
    ($tracepoint:path) => {{
        // SAFETY: `$tracepoint` is a `struct tracepoint` that lives as long as the module. The
        // counter is an `atomic_t`, read as `static_key_count` in <linux/jump_label.h> reads it.
        let users = unsafe { ptr::read_volatile(&raw const $tracepoint.key.key.enabled.counter) };
        if users > 0 {
            cold();
        }
        users > 0
    }};
}

/// Tells the compiler that a tracepoint is rarely on. Otherwise it takes the code after several of
/// them for rare, and calls in a poll, for each frame, what is inlined without them.
#[cold]
#[inline(always)]
fn cold() {}

/// A type of an argument.
trait Argument {
    /// The type in C.
    type C;

    /// The argument as C gets it. A pointer is valid while `self` is borrowed, or null.
    fn into_c(self) -> Self::C;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Argument for $type {
            type C = Self;

            fn into_c(self) -> Self {
                self
            }
        }
    )*};
}

integers!(bool i32 u16 u32 u64);

impl Argument for &Device {
    type C = *const bindings::net_device;

    fn into_c(self) -> Self::C {
        self.as_ptr()
    }
}

impl Argument for Option<&Prog> {
    type C = *const bindings::bpf_prog;

    fn into_c(self) -> Self::C {
        self.map_or(ptr::null(), |prog| prog.as_ptr().cast_const())
    }
}

impl Argument for &RedirectTarget {
    type C = *const bindings::oxnic_xdp_target;

    fn into_c(self) -> Self::C {
        self.as_ptr()
    }
}

impl Argument for XdpAction {
    type C = u32;

    fn into_c(self) -> u32 {
        self.number()
    }
}

macro_rules! tracepoints {
    ($($(#[$doc:meta])* fn $name:ident(dev: &Device $(, $arg:ident: $type:ty)* $(,)?);)*) => {$(
        ::kernel::macros::paste! {
            $(#[$doc])*
            #[inline]
            pub(crate) fn $name(dev: &Device $(, $arg: $type)*) {
                if [<$name _is_on>]() {
                    // SAFETY: The C function takes these arguments, and may be called in any
                    // context (`__DO_TRACE_CALL` in <linux/tracepoint.h>). It uses pointers only
                    // while it runs. What they point to is valid, since it is borrowed here; or
                    // they are null, for which `events.h` checks where there may be no program.
                    unsafe {
                        bindings::[<rust_do_trace_ $name>](dev.into_c() $(, $arg.into_c())*)
                    };
                }
            }

            #[doc = concat!("Whether [`", stringify!($name), "`] is on.")]
            #[inline(always)]
            pub(crate) fn [<$name _is_on>]() -> bool {
                is_on!(bindings::[<__tracepoint_ $name>])
            }
        }
    )*};
}

tracepoints! {
    /// `ndo_bpf` attaches `prog`, or detaches the program.
    fn xdp_setup_prog(dev: &Device, prog: Option<&Prog>);

    /// The device's program was exchanged.
    fn xdp_prog_xchg(dev: &Device, old: Option<&Prog>, new: Option<&Prog>);

    /// A ring's program was written.
    fn xdp_prog_write_once(dev: &Device, queue: u16, prog: Option<&Prog>);

    /// `ndo_bpf` is to give a queue a umem of `chunks` chunks, or pages again: then it is 0.
    fn xsk_setup_pool(dev: &Device, queue: u16, chunks: u32, chunk_size: u32);

    /// A queue got the umem of AF_XDP sockets.
    fn xsk_attached(dev: &Device, queue: u16);

    /// A queue got pages again.
    fn xsk_detached(dev: &Device, queue: u16);

    /// A receive queue was stopped, to be restarted.
    fn ndo_queue_stop(dev: &Device, queue: u16);

    /// A receive queue runs again, with a new ring.
    fn ndo_queue_start(dev: &Device, queue: u16);

    /// The receive filter has room for `room` addresses of a kind: too few, or enough again.
    fn rx_filter(dev: &Device, multicast: bool, room: u32, overflow: bool);

    /// The interrupt of a receive ring fires, at once or when its timer expires.
    fn interrupt(dev: &Device, queue: u16, delay_ns: u64);

    /// The kernel polls a receive ring, for `budget` frames at most.
    fn poll_begin(dev: &Device, queue: u16, budget: u32);

    /// A poll has taken `work` frames; it is complete, or will be called `again`.
    fn poll_end(dev: &Device, queue: u16, work: u32, again: bool);

    /// A poll has taken a frame of `len` bytes off its ring, for this program, or for the stack.
    fn rx(dev: &Device, queue: u16, prog_id: u32, len: u32, buffers: u32);

    /// A multi-buffer frame was dropped, because the program has no frags support.
    fn xdp_no_frags(dev: &Device, queue: u16, prog_id: u32, len: u32, buffers: u32);

    /// A program has returned `act` for a frame that arrived with this size.
    fn verdict(
        dev: &Device,
        queue: u16,
        prog_id: u32,
        len: u32,
        buffers: u32,
        act: XdpAction,
    );

    /// A frame was redirected to `target`, or could not be: then `err` is a negative errno.
    fn xdp_do_redirect(dev: &Device, queue: u16, target: &RedirectTarget, err: i32);

    /// `lost` frames could not be sent by XDP_TX.
    fn xdp_tx_lost(dev: &Device, queue: u16, lost: u64);

    /// Of `frames` frames that were redirected to this device, `taken` were sent.
    fn ndo_xdp_xmit(dev: &Device, queue: u16, frames: u32, taken: u32);

    /// A transmit queue was stopped for too long. Of the `size` buffers of a receive ring of the
    /// peer `free` are free, and its poll is due, or not; -1 is no ring.
    fn ndo_tx_timeout(dev: &Device, queue: u16, rx_queue: i32, size: u32, free: u32, due: bool);
}
