// SPDX-License-Identifier: GPL-2.0

//! Flow steering rules (`ethtool -n`, `-N … flow-type`).

use super::{
    flow_rule::{
        FlowRule,
        RulePlace, //
    },
    ops::Ops,
    table::EthtoolOps, //
};
use crate::{
    bindings,
    compat::EOPNOTSUPP,
    net::device::private::{
        data,
        locked, //
    },
};
use core::slice;
use kernel::{
    error::from_result,
    prelude::*, //
};

impl<T: Ops> EthtoolOps<T> {
    /// # Safety
    ///
    /// Called by the kernel as `get_rxnfc`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn rxnfc(
        dev: *mut bindings::net_device,
        rxnfc: *mut bindings::ethtool_rxnfc,
        places: *mut u32,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, rxnfc) = unsafe { (data::<T>(dev), &mut *rxnfc) };
        let mut count = 0_u32;
        data.each_rule(&mut |_| count += 1);
        let size = data.max_rules();
        from_result(|| {
            match rxnfc.cmd {
                bindings::ETHTOOL_GRXCLSRLCNT => {
                    rxnfc.__bindgen_anon_1.rule_cnt = count;
                    rxnfc.data = u64::from(size | bindings::RX_CLS_LOC_SPECIAL);
                }
                bindings::ETHTOOL_GRXCLSRULE => {
                    let place = rxnfc.fs.location;
                    data.rule(place).ok_or(ENOENT)?.to_raw(place, rxnfc);
                }
                bindings::ETHTOOL_GRXCLSRLALL => {
                    // SAFETY: Both arms of the union are one integer.
                    let room = unsafe { rxnfc.__bindgen_anon_1.rule_cnt };
                    if count > room {
                        return Err(EMSGSIZE);
                    }
                    if count != 0 {
                        // SAFETY: The array has this many elements, and is this callback's.
                        let places = unsafe { slice::from_raw_parts_mut(places, room as usize) };
                        let mut places = places.iter_mut();
                        data.each_rule(&mut |place| {
                            if let Some(to) = places.next() {
                                *to = place;
                            }
                        });
                    }
                    rxnfc.__bindgen_anon_1.rule_cnt = count;
                    rxnfc.data = size.into();
                }
                _ => return Err(EOPNOTSUPP),
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_rxnfc`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_rxnfc(
        dev: *mut bindings::net_device,
        rxnfc: *mut bindings::ethtool_rxnfc,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under its lock, with a structure that
        // is ours.
        let ((data, dev), rxnfc) = unsafe { (locked::<T>(dev), &mut *rxnfc) };
        from_result(|| {
            match rxnfc.cmd {
                bindings::ETHTOOL_SRXCLSRLINS => {
                    let place = match rxnfc.fs.location {
                        bindings::RX_CLS_LOC_ANY => RulePlace::Any,
                        bindings::RX_CLS_LOC_FIRST => RulePlace::First,
                        bindings::RX_CLS_LOC_LAST => RulePlace::Last,
                        place => RulePlace::At(place),
                    };
                    let rule = FlowRule::from_raw(rxnfc);
                    rxnfc.fs.location = data.add_rule(dev, place, rule)?;
                }
                bindings::ETHTOOL_SRXCLSRLDEL => {
                    data.delete_rule(dev, rxnfc.fs.location)?;
                }
                _ => return Err(EOPNOTSUPP),
            }
            Ok(0)
        })
    }
}
