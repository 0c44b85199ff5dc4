// SPDX-License-Identifier: GPL-2.0

//! The claim on a cross-CPU call that several CPUs may want to send at the same time.
//!
//! The callers of `smp_call_function_single_async` must make sure that only one of them uses a call
//! at a time. If two queue the same call, the list of the target CPU leads back to itself, and that
//! CPU follows it for ever. So a sender claims the call first. If it is claimed already, an
//! interrupt is on its way, and another one is not needed.
//!
//! This requires that the handler still sees what the second sender has published. So the handler
//! releases the claim before it reads, not after:
//!
//! ```text
//!     sender                            handler
//!     publish                           swap(claimed, false)
//!     swap(claimed, true)               read what is published
//! ```
//!
//! All swaps of the flag have a single order. If the sender's comes before the handler's, the
//! handler's reads its value, perhaps by way of another sender's swap in between, and so the
//! handler sees what was published. If it comes after the handler's, the sender finds the call
//! unclaimed and sends it again.

// Not `kernel::sync::atomic`: this file is also compiled on the host, for the loom model checker.
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
    /// An unclaimed call.
    pub fn new() -> Self {
        Self {
            claimed: AtomicBool::new(false),
        }
    }

    /// Claims the call for a sender that has published data for the handler. Returns `true` if the
    /// sender has claimed it and must send it. The kernel does not use the call any more. If it
    /// cannot be sent, the sender must do what the handler does, beginning with
    /// [`release`](Self::release).
    ///
    /// Returns `false` if the call is on its way; its handler will see what was published.
    #[must_use = "the call must be sent if this is `true`"]
    pub fn try_claim(&self) -> bool {
        // Release: publishes the data for the handler. Acquire: the handler does not use the call
        // any more.
        !self.claimed.swap(true, Ordering::AcqRel)
    }

    /// Called by the handler, when it has read what it needs from the call and before it reads what
    /// was published. From here on the call may be sent again.
    pub fn release(&self) {
        // A swap, not a store: it must read the value of senders that found the call claimed, to
        // see what they have published.
        self.claimed.swap(false, Ordering::AcqRel);
    }

    /// Whether the call is on its way: sent, with a handler that has not released it yet.
    pub fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }
}

impl Default for Claim {
    fn default() -> Self {
        Self::new()
    }
}
