// SPDX-License-Identifier: GPL-2.0

//! What older kernels lack or have in another form. The rest of the source is written for the
//! newest kernel; `Kbuild` sets the `cfg`s used here, by the version of the kernel's tree.

use core::borrow::Borrow;
#[cfg(not(kernel_before_7_3))]
use kernel::device::Bound;
use kernel::{
    device::Device,
    faux, //
};

#[cfg(not(kernel_before_7_3))]
pub(crate) use kernel::error::code::{
    EADDRNOTAVAIL,
    ENETDOWN,
    ENODATA,
    EOPNOTSUPP, //
};

#[cfg(kernel_before_7_3)]
pub(crate) use errors::{
    EADDRNOTAVAIL,
    ENETDOWN,
    ENODATA,
    EOPNOTSUPP, //
};

/// Error codes that the `kernel` crate did not declare before 7.3.
#[cfg(kernel_before_7_3)]
mod errors {
    use core::mem::transmute;
    use kernel::{
        bindings,
        error::Error,
        prelude::EINVAL, //
    };

    pub(crate) const EADDRNOTAVAIL: Error = error(bindings::EADDRNOTAVAIL);
    pub(crate) const ENETDOWN: Error = error(bindings::ENETDOWN);
    pub(crate) const ENODATA: Error = error(bindings::ENODATA);
    pub(crate) const EOPNOTSUPP: Error = error(bindings::EOPNOTSUPP);

    /// The functions that make an `Error` from a number are not `const`, or private.
    const fn error(errno: u32) -> Error {
        let negative = -(errno as i32);

        assert!(negative < 0 && negative >= -(bindings::MAX_ERRNO as i32));
        // SAFETY: `Error` (rust/kernel/error.rs) has one field, a `NonZeroI32` that holds a valid
        // negative errno, and the line above checks that this is one. The assertion below shows at
        // compile time that the field is represented as here.
        unsafe { transmute::<i32, Error>(negative) }
    }

    // SAFETY: Every bit pattern is an `i32`, and `transmute` checks the size.
    const _: () = assert!(unsafe { transmute::<Error, i32>(EINVAL) } == -(bindings::EINVAL as i32));
}

/// The device of a registered faux device. Before 7.3 there was no type for one that is bound.
#[cfg(not(kernel_before_7_3))]
pub(crate) fn faux_device(registration: &faux::Registration) -> &Device {
    let faux: &faux::Device<Bound> = registration.as_ref();
    let device: &Device<Bound> = faux.as_ref();
    device
}

/// The device of a registered faux device.
#[cfg(kernel_before_7_3)]
pub(crate) fn faux_device(registration: &faux::Registration) -> &Device {
    registration.as_ref()
}

/// The value of a module parameter: `value()` of a parameter returns a copy, and before 7.3 a
/// reference.
pub(crate) fn param(value: impl Borrow<i64>) -> i64 {
    *value.borrow()
}
