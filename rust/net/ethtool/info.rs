// SPDX-License-Identifier: GPL-2.0

//! The driver's name (`ethtool -i`), and its message types (`ethtool -s … msglvl`).

use super::{
    ops::Ops,
    settings::DrvInfo,
    table::EthtoolOps, //
};
use crate::{
    bindings,
    net::device::private::data, //
};
use core::ffi::CStr;
use kernel::prelude::*;

/// Copies `text` to a field of a C structure, cut so that a NUL remains.
fn copy_text(field: &mut [c_char], text: &CStr) {
    field.fill(0);
    let len = field.len().saturating_sub(1);
    for (to, &from) in field.iter_mut().take(len).zip(text.to_bytes()) {
        *to = from as c_char;
    }
}

impl<T: Ops> EthtoolOps<T> {
    /// # Safety
    ///
    /// Called by the kernel as `get_drvinfo`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn drvinfo(
        dev: *mut bindings::net_device,
        info: *mut bindings::ethtool_drvinfo,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, info) = unsafe { (data::<T>(dev), &mut *info) };
        let DrvInfo { driver, version } = data.drvinfo();
        copy_text(&mut info.driver, driver);
        copy_text(&mut info.version, version);
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_msglevel`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn msglevel(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: The kernel calls this for a device of ours.
        unsafe { data::<T>(dev) }.msglevel()
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_msglevel`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_msglevel(dev: *mut bindings::net_device, level: u32) {
        // SAFETY: The kernel calls this for a device of ours.
        unsafe { data::<T>(dev) }.set_msglevel(level);
    }
}
