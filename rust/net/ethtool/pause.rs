// SPDX-License-Identifier: GPL-2.0

//! Flow control (`ethtool -a`).

use super::{
    ops::Ops,
    settings::{
        PauseParam,
        PauseStats, //
    },
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
    /// Called by the kernel as `get_pauseparam`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn pauseparam(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_pauseparam,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, param) = unsafe { (data::<T>(dev), &mut *param) };
        let PauseParam { autoneg, rx, tx } = data.pauseparam();
        param.autoneg = autoneg.into();
        param.rx_pause = rx.into();
        param.tx_pause = tx.into();
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_pause_stats`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn pause_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_pause_stats,
    ) {
        // SAFETY: The kernel calls this for a device of ours under both locks, with a structure
        // that is ours.
        let ((data, _, rtnl), stats) = unsafe { (control::<T>(dev), &mut *stats) };
        let PauseStats {
            tx_frames,
            rx_frames,
        } = data.pause_stats(&rtnl);
        // The counter that is not set here keeps the kernel's value for "not available".
        // SAFETY: Both arms of the union are the same three integers, which are initialised.
        let stats = unsafe { &mut stats.__bindgen_anon_1.stats };
        stats.tx_pause_frames = tx_frames;
        stats.rx_pause_frames = rx_frames;
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_pauseparam`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_pauseparam(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_pauseparam,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under both locks, with a structure
        // that is ours.
        let ((data, dev, rtnl), param) = unsafe { (control::<T>(dev), &*param) };
        let param = PauseParam {
            autoneg: param.autoneg != 0,
            rx: param.rx_pause != 0,
            tx: param.tx_pause != 0,
        };
        from_result(|| data.set_pauseparam(dev, param, &rtnl).map(|()| 0))
    }
}
