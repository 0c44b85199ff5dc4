// SPDX-License-Identifier: GPL-2.0

//! Single numbers that a driver can be tuned by (`ethtool --get-tunable`, `--set-tunable`).

use super::{
    ops::Ops,
    table::EthtoolOps, //
};
use crate::{
    bindings,
    compat::EOPNOTSUPP,
    net::device::private::data, //
};
use kernel::prelude::*;

impl<T: Ops> EthtoolOps<T> {
    /// # Safety
    ///
    /// Called by the kernel as `get_tunable`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn tunable(
        dev: *mut bindings::net_device,
        tunable: *const bindings::ethtool_tunable,
        value: *mut c_void,
    ) -> c_int {
        // SAFETY: The kernel calls this with a structure that is not written to.
        if unsafe { (*tunable).id } != bindings::tunable_id_ETHTOOL_RX_COPYBREAK {
            return EOPNOTSUPP.to_errno();
        }
        // SAFETY: The kernel calls this for a device of ours, with room for a `u32`:
        // `ethtool_tunable_valid` has checked that for this number.
        unsafe { value.cast::<u32>().write(data::<T>(dev).rx_copybreak()) };
        0
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_tunable`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_tunable(
        dev: *mut bindings::net_device,
        tunable: *const bindings::ethtool_tunable,
        value: *const c_void,
    ) -> c_int {
        // SAFETY: The kernel calls this with a structure that is not written to.
        if unsafe { (*tunable).id } != bindings::tunable_id_ETHTOOL_RX_COPYBREAK {
            return EOPNOTSUPP.to_errno();
        }
        // SAFETY: The kernel calls this for a device of ours, with a `u32`: as above.
        unsafe { data::<T>(dev).set_rx_copybreak(value.cast::<u32>().read()) };
        0
    }
}
