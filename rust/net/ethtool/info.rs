// SPDX-License-Identifier: GPL-2.0

//! The driver's name (`ethtool -i`), its message types (`ethtool -s … msglvl`), and which time
//! stamps it can take (`ethtool -T`).

use super::{
    ops::Ops,
    settings::{
        DrvInfo,
        TsInfo, //
    },
    table::EthtoolOps, //
};
use crate::{
    bindings,
    net::{
        device::private::data,
        hwtstamp::{
            RxFilter,
            TxType, //
        },
    },
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
    /// Called by the kernel as `get_ts_info`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn ts_info(
        dev: *mut bindings::net_device,
        info: *mut bindings::kernel_ethtool_ts_info,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let data = unsafe {
            // Software stamps, and no clock.
            bindings::ethtool_op_get_ts_info(dev, info);
            data::<T>(dev)
        };
        // SAFETY: The structure is ours.
        let info = unsafe { &mut *info };
        let TsInfo {
            tx_types,
            rx_filters,
            phc_index,
        } = data.ts_info();
        info.tx_types = tx_types.iter().fold(0, |mask, value| mask | value.bit());
        info.rx_filters = rx_filters.iter().fold(0, |mask, value| mask | value.bit());
        let sends = info.tx_types & !TxType::Off.bit() != 0;
        let receives = info.rx_filters & !RxFilter::None.bit() != 0;
        for (has, bit) in [
            (sends, bindings::OXNIC_SOF_TIMESTAMPING_TX_HARDWARE),
            (receives, bindings::OXNIC_SOF_TIMESTAMPING_RX_HARDWARE),
            (
                sends || receives,
                bindings::OXNIC_SOF_TIMESTAMPING_RAW_HARDWARE,
            ),
        ] {
            if has {
                info.so_timestamping |= bit;
            }
        }
        if let Some(Ok(index)) = phc_index.map(c_int::try_from) {
            info.phc_index = index;
        }
        0
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
