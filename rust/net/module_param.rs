// SPDX-License-Identifier: GPL-2.0

//! Parameters of the module that are text, which the kernel's `module!` cannot declare:
//! `rust/bindings/params.c` does.

use crate::bindings;
use core::ffi::CStr;
use kernel::prelude::*;

/// The parameter `personality`, if the user has given one. Only for the module's init function.
pub(crate) fn personality() -> Option<&'static CStr> {
    // SAFETY: The kernel has set the variable before it calls the init function, and does not
    // change it afterwards: it is not in sysfs. The text exists as long as the module.
    unsafe {
        let text = bindings::oxnic_personality;
        (!text.is_null()).then(|| CStr::from_char_ptr(text))
    }
}
