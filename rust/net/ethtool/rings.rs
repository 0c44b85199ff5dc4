// SPDX-License-Identifier: GPL-2.0

//! Sizes and numbers of rings (`ethtool -g`, `-G`, `-l`, `-L`).

use super::{
    ops::Ops,
    settings::RingParam,
    table::EthtoolOps, //
};
use crate::{
    bindings,
    net::{
        device::private::{
            control,
            data, //
        },
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
    /// Called by the kernel as `get_ringparam`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn ringparam(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_ringparam,
        _kernel: *mut bindings::kernel_ethtool_ringparam,
        _extack: *mut bindings::netlink_ext_ack,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, param) = unsafe { (data::<T>(dev), &mut *param) };
        let (max, now) = (T::MAX_RINGPARAM, data.ringparam());
        param.rx_max_pending = max.rx;
        param.rx_pending = now.rx;
        param.tx_max_pending = max.tx;
        param.tx_pending = now.tx;
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_channels`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn channels(
        dev: *mut bindings::net_device,
        channels: *mut bindings::ethtool_channels,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, channels) = unsafe { (data::<T>(dev), &mut *channels) };
        (channels.max_combined, channels.combined_count) = data.combined_channels();
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_ringparam`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_ringparam(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_ringparam,
        _kernel: *mut bindings::kernel_ethtool_ringparam,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under both locks, with structures that
        // are ours.
        let ((data, dev, rtnl), param, extack) =
            unsafe { (control::<T>(dev), &*param, ExtAck::from_raw(extack)) };
        // There are no other kinds of rings: the kernel has refused any size but 0 for them.
        let rings = RingParam {
            rx: param.rx_pending,
            tx: param.tx_pending,
        };
        from_result(|| data.set_ringparam(dev, rings, extack, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_channels`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_channels(
        dev: *mut bindings::net_device,
        channels: *mut bindings::ethtool_channels,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under both locks, with a structure
        // that is not written to.
        let ((data, dev, rtnl), channels) = unsafe { (control::<T>(dev), &*channels) };
        from_result(|| {
            data.set_combined_channels(dev, channels.combined_count, &rtnl)
                .map(|()| 0)
        })
    }
}
