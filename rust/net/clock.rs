// SPDX-License-Identifier: GPL-2.0

//! Clocks.
//!
//! C header: [`include/linux/timekeeping.h`](srctree/include/linux/timekeeping.h)

use crate::bindings;

/// International Atomic Time in nanoseconds, `CLOCK_TAI` in user space (`ktime_get_clocktai_ns`).
/// Any context.
#[inline]
pub(crate) fn tai_ns() -> u64 {
    // SAFETY: No preconditions.
    unsafe { bindings::oxnic_ktime_get_tai_ns() }
}

/// Time since boot in nanoseconds, for intervals (`ktime_get`). Any context.
#[inline]
pub(crate) fn monotonic_ns() -> u64 {
    // SAFETY: No preconditions.
    unsafe { bindings::ktime_get() as u64 }
}
