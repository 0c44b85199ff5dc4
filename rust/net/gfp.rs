// SPDX-License-Identifier: GPL-2.0

//! GFP flags that the `kernel` crate has no names for.

use crate::bindings;
use core::mem::transmute;
use kernel::alloc::{
    flags::GFP_KERNEL,
    Flags, //
};

/// For what a user's setting asks for, and may be large: without enough memory the allocation fails
/// and the setting is refused. The log gets no report of it, and the OOM killer, which
/// [`GFP_KERNEL`] alone would call, ends no other program. The caller may sleep.
pub(crate) const MAY_FAIL: Flags = flags(bindings::OXNIC_GFP_MAY_FAIL);

/// The functions that make `Flags` from a number are private.
const fn flags(raw: u32) -> Flags {
    // SAFETY: `Flags` (rust/kernel/alloc.rs) has one field, a `u32` that may have any value. The
    // assertion below shows at compile time that the field is represented as here.
    unsafe { transmute::<u32, Flags>(raw) }
}

const _: () = {
    // SAFETY: Every bit pattern is a `u32`, and `transmute` checks the size.
    let raw = unsafe { transmute::<Flags, u32>(GFP_KERNEL) };
    assert!(raw == bindings::OXNIC_GFP_KERNEL);
};
