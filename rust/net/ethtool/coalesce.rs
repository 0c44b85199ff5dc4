// SPDX-License-Identifier: GPL-2.0

//! Interrupt moderation (`ethtool -c`).

use super::{
    ops::Ops,
    settings::Coalesce,
    table::EthtoolOps, //
};
use crate::{
    bindings,
    net::{
        device::private::data,
        rtnl::ExtAck, //
    },
};
use kernel::{
    error::from_result,
    prelude::*, //
};

impl<T: Ops> EthtoolOps<T> {
    /// # Safety
    ///
    /// Called by the kernel as `get_coalesce`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn coalesce(
        dev: *mut bindings::net_device,
        coalesce: *mut bindings::ethtool_coalesce,
        _kernel: *mut bindings::kernel_ethtool_coalesce,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, coalesce) = unsafe { (data::<T>(dev), &mut *coalesce) };
        let Coalesce {
            rx_usecs,
            rx_frames,
            adaptive_rx,
        } = data.coalesce();
        coalesce.rx_coalesce_usecs = rx_usecs;
        coalesce.rx_max_coalesced_frames = rx_frames;
        coalesce.use_adaptive_rx_coalesce = adaptive_rx.into();
        0
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_coalesce`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_coalesce(
        dev: *mut bindings::net_device,
        coalesce: *mut bindings::ethtool_coalesce,
        _kernel: *mut bindings::kernel_ethtool_coalesce,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours, with structures that are ours.
        let (data, coalesce, extack) =
            unsafe { (data::<T>(dev), &*coalesce, ExtAck::from_raw(extack)) };
        let coalesce = Coalesce {
            rx_usecs: coalesce.rx_coalesce_usecs,
            rx_frames: coalesce.rx_max_coalesced_frames,
            adaptive_rx: coalesce.use_adaptive_rx_coalesce != 0,
        };
        from_result(|| data.set_coalesce(coalesce, extack).map(|()| 0))
    }
}
