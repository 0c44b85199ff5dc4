// SPDX-License-Identifier: GPL-2.0

//! The link's settings (`ethtool DEVICE`, `ethtool -s`).

use super::{
    ops::Ops,
    settings::LinkSettings,
    table::EthtoolOps, //
};
use crate::{
    bindings,
    compat::EOPNOTSUPP,
    net::device::private::{
        control,
        data, //
    },
};
use kernel::{
    error::from_result,
    prelude::*, //
};

/// `SPEED_UNKNOWN`, an expression that bindgen translates to another type.
const SPEED_UNKNOWN: u32 = u32::MAX;

impl<T: Ops> EthtoolOps<T> {
    /// # Safety
    ///
    /// Called by the kernel as `get_link_ksettings`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn link_settings(
        dev: *mut bindings::net_device,
        settings: *mut bindings::ethtool_link_ksettings,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours, with a zeroed structure that is ours.
        let (data, base) = unsafe { (data::<T>(dev), &mut (*settings).base) };
        let LinkSettings {
            speed,
            full_duplex,
            autoneg,
        } = data.link_settings();
        base.speed = speed.unwrap_or(SPEED_UNKNOWN);
        base.duplex = match full_duplex {
            Some(true) => bindings::DUPLEX_FULL,
            Some(false) => bindings::DUPLEX_HALF,
            None => bindings::DUPLEX_UNKNOWN,
        } as u8;
        base.autoneg = autoneg.into();
        base.port = bindings::PORT_OTHER as u8;
        0
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_link_ksettings`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_link_settings(
        dev: *mut bindings::net_device,
        settings: *const bindings::ethtool_link_ksettings,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under both locks, with a structure
        // that is not written to.
        let ((data, dev, rtnl), settings) = unsafe { (control::<T>(dev), &*settings) };
        from_result(|| {
            let base = &settings.base;
            let advertises = settings
                .link_modes
                .advertising
                .iter()
                .any(|&word| word != 0);
            if advertises
                || settings.lanes != 0
                || u32::from(base.port) != bindings::PORT_OTHER
                || base.phy_address != 0
                || base.eth_tp_mdix_ctrl != 0
            {
                return Err(EOPNOTSUPP);
            }
            let settings = LinkSettings {
                speed: (base.speed != SPEED_UNKNOWN).then_some(base.speed),
                full_duplex: match u32::from(base.duplex) {
                    bindings::DUPLEX_UNKNOWN => None,
                    duplex => Some(duplex == bindings::DUPLEX_FULL),
                },
                autoneg: base.autoneg != 0,
            };
            data.set_link_settings(dev, settings, &rtnl).map(|()| 0)
        })
    }
}
