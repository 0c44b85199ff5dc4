// SPDX-License-Identifier: GPL-2.0

//! Flags that only this driver has (`ethtool --show-priv-flags`, `--set-priv-flags`).

use super::{
    ops::Ops,
    table::EthtoolOps, //
};
use crate::{
    bindings,
    net::device::private::{
        control,
        data, //
    },
};
use kernel::{
    error::from_result,
    prelude::*, //
};

impl<T: Ops> EthtoolOps<T> {
    /// # Safety
    ///
    /// Called by the kernel as `get_priv_flags`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn priv_flags(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: The kernel calls this for a device of ours.
        unsafe { data::<T>(dev) }.priv_flags()
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_priv_flags`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_priv_flags(
        dev: *mut bindings::net_device,
        flags: u32,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under both locks
        // (`ETHTOOL_OP_NEEDS_RTNL_SPFLAGS`).
        let (data, dev, rtnl) = unsafe { control::<T>(dev) };
        from_result(|| data.set_priv_flags(dev, flags, &rtnl).map(|()| 0))
    }
}
