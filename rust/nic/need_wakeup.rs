// SPDX-License-Identifier: GPL-2.0

//! A refill from the fill ring of an AF_XDP socket, which user space fills (`XDP_USE_NEED_WAKEUP`).
//!
//! A poll that finds too few buffers ends. When user space has filled the ring, it wakes the poll
//! by a system call, but only if a flag in the ring is set. A lost wake-up must not happen: the
//! poll could find the ring empty, and user space fill it and read the flag before the poll sets
//! it. So each side writes one variable and then reads the other's:
//!
//! ```text
//!     user space                     poll
//!     fill the ring                  flag = true
//!     full barrier                   fence(SeqCst)
//!     read the flag                  read the ring again
//! ```
//!
//! User space without the barrier wakes the poll when it reads the flag the next time.

use super::sync::{
    fence,
    Ordering, //
};

/// Refills by `refill`, which returns whether there were enough buffers. If not, sets the flag by
/// `set_flag`, and tries once more. Returns whether there were enough.
#[inline]
pub fn refill(mut refill: impl FnMut() -> bool, mut set_flag: impl FnMut(bool)) -> bool {
    let mut complete = refill();
    if !complete {
        set_flag(true);
        fence(Ordering::SeqCst);
        complete = refill();
    }
    if complete {
        set_flag(false);
    }
    complete
}
