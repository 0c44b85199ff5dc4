// SPDX-License-Identifier: GPL-2.0

//! The right to send an inter-processor interrupt that several CPUs may want to send at once.
//!
//! The kernel leaves it to the senders of a cross-CPU call that only one of them uses it
//! (`smp_call_function_single_async`). If two queue the same call, the list of the target CPU leads
//! back to itself, and the CPU follows it for ever. So a sender claims the call first; if it is
//! claimed already, an interrupt is on its way and another one is not needed.
//!
//! That is only true if the interrupt's handler still sees what this sender has published. The
//! handler therefore releases the claim before it looks, not after:
//!
//! ```text
//!     sender                            handler
//!     publish                           swap(claimed, false)
//!     swap(claimed, true)               read what is published
//! ```
//!
//! All swaps of the flag have one order. If the sender's comes before the handler's, the handler's
//! reads from it, or from another sender's that did, and sees what was published. If it comes after
//! the handler's, the sender finds the call unclaimed and sends it again.

// This file is also compiled on the host, where there is no `kernel::sync::atomic`; and there the
// loom model checker stands in for the processor.
#[cfg(not(loom))]
use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
#[cfg(loom)]
use loom::sync::atomic::{
    AtomicBool,
    Ordering, //
};

/// The claim on a cross-CPU call.
pub struct Claim {
    claimed: AtomicBool,
}

impl Claim {
    /// The call is not under way.
    pub fn new() -> Self {
        Self {
            claimed: AtomicBool::new(false),
        }
    }

    /// A sender has published something for the handler. Returns `true` if it must send the call,
    /// and may: the kernel is done with it. If it cannot be sent, the sender takes the handler's
    /// place, beginning with [`release`](Self::release).
    ///
    /// Returns `false` if the call is under way; its handler will see what was published.
    #[must_use = "the call must be sent if this is `true`"]
    pub fn try_claim(&self) -> bool {
        // Release: the handler sees what was published. Acquire: the handler has the call no more.
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// The handler has begun, has read what it needs of the call, and will now look at what was
    /// published. From here on the call may be sent again.
    pub fn release(&self) {
        // A swap, not a store: it must read what senders wrote that found the call claimed.
        self.claimed.swap(false, Ordering::AcqRel);
    }

    /// Whether the call is under way: sent, and its handler has not begun.
    pub fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }
}

impl Default for Claim {
    fn default() -> Self {
        Self::new()
    }
}
