// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling (`ethtool -x`, and `-n … rx-flow-hash`).
//!
//! Each RSS context has these settings: the main context, whose number is 0, and those that the
//! user adds.

use super::{
    ops::Ops,
    rxfh::{
        FlowType,
        InputXfrm,
        RxfhChange, //
    },
    table::EthtoolOps, //
};
use crate::{
    bindings,
    compat::EOPNOTSUPP,
    net::{
        device::{
            netdev::Device,
            private::{
                data,
                locked, //
            },
        },
        rtnl::ExtAck, //
    },
};
use core::slice;
use kernel::{
    error::from_result,
    prelude::*, //
};

/// Number of the main context.
const MAIN: u32 = 0;

impl<'a> RxfhChange<'a> {
    /// # Safety
    ///
    /// Key and table of `rxfh` must each be null, for no change, or have the length that `T` gives
    /// and not be written to during `'a`.
    unsafe fn from_raw<T: Ops>(
        rxfh: &'a bindings::ethtool_rxfh_param,
        extack: ExtAck<'_>,
    ) -> Result<Self> {
        if rxfh.hfunc != bindings::ETH_RSS_HASH_NO_CHANGE as u8
            && rxfh.hfunc != bindings::OXNIC_ETH_RSS_HASH_TOP
        {
            extack.set(fmt!("hfunc: only toeplitz is supported"));
            return Err(EOPNOTSUPP);
        }
        let xfrm = match rxfh.input_xfrm {
            same if same == bindings::RXH_XFRM_NO_CHANGE as u8 => None,
            number => Some(InputXfrm::from_number(number).ok_or_else(|| {
                extack.set(fmt!("xfrm: symmetric-xor or symmetric-or-xor, not both"));
                EOPNOTSUPP
            })?),
        };
        // SAFETY: The caller's promise.
        let (table, key) = unsafe {
            (
                given(rxfh.indir, T::RXFH_TABLE_LEN),
                given(rxfh.key, T::RXFH_KEY_LEN),
            )
        };
        Ok(Self { table, key, xfrm })
    }
}

impl<T: Ops> EthtoolOps<T> {
    /// # Safety
    ///
    /// Called by the kernel as `get_rxfh_key_size`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn rxfh_key_size(_dev: *mut bindings::net_device) -> u32 {
        T::RXFH_KEY_LEN as u32
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_rxfh_indir_size`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn rxfh_indir_size(_dev: *mut bindings::net_device) -> u32 {
        T::RXFH_TABLE_LEN as u32
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_rx_ring_count`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn rx_ring_count(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: The kernel calls this for a device of ours.
        let (_, queues) = unsafe { data::<T>(dev) }.combined_channels();
        queues
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_rxfh`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn rxfh(
        dev: *mut bindings::net_device,
        rxfh: *mut bindings::ethtool_rxfh_param,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, rxfh) = unsafe { (data::<T>(dev), &mut *rxfh) };
        // SAFETY: Each is null, if it is not requested, or has the length that the callback above
        // returns.
        let (key, table) = unsafe {
            (
                place(rxfh.key, T::RXFH_KEY_LEN),
                place(rxfh.indir, T::RXFH_TABLE_LEN),
            )
        };
        rxfh.hfunc = bindings::OXNIC_ETH_RSS_HASH_TOP;
        from_result(|| {
            rxfh.input_xfrm = data.rxfh(MAIN, key, table)?.number();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_rxfh`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_rxfh(
        dev: *mut bindings::net_device,
        rxfh: *mut bindings::ethtool_rxfh_param,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under its lock, with structures that
        // are ours.
        unsafe { Self::change_context(dev, MAIN, &*rxfh, extack) }
    }

    /// Changes a context as `rxfh` requests.
    ///
    /// # Safety
    ///
    /// `dev` must be a device of `Allocated<T>`, and its instance lock be held; `rxfh` and `extack`
    /// must be those of a callback of the kernel.
    unsafe fn change_context(
        dev: *mut bindings::net_device,
        context: u32,
        rxfh: &bindings::ethtool_rxfh_param,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The caller's promises.
        let ((data, dev), extack) = unsafe { (locked::<T>(dev), ExtAck::from_raw(extack)) };
        from_result(|| {
            // SAFETY: Key and table are null or have the lengths that the callbacks above return.
            let change = unsafe { RxfhChange::from_raw::<T>(rxfh, extack) }?;
            data.set_rxfh(dev, context, &change, extack).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `create_rxfh_context`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn create_rxfh_context(
        dev: *mut bindings::net_device,
        context: *mut bindings::ethtool_rxfh_context,
        rxfh: *const bindings::ethtool_rxfh_param,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under its lock, with structures that
        // are ours.
        let ((data, dev), rxfh, extack) =
            unsafe { (locked::<T>(dev), &*rxfh, ExtAck::from_raw(extack)) };
        from_result(|| {
            // SAFETY: Key and table are null or have the lengths that the callbacks above return.
            let change = unsafe { RxfhChange::from_raw::<T>(rxfh, extack) }?;
            data.add_rxfh_context(dev, rxfh.rss_context, &change, extack)?;
            // The kernel keeps a copy of the settings, which is filled in here.
            // SAFETY: The kernel has allocated the structure with room for a key and a table of
            // these lengths, one after the other, and it is ours.
            let (key, table) = unsafe {
                (
                    place(bindings::oxnic_rxfh_context_key(context), T::RXFH_KEY_LEN),
                    place(
                        bindings::oxnic_rxfh_context_indir(context),
                        T::RXFH_TABLE_LEN,
                    ),
                )
            };
            let xfrm = data.rxfh(rxfh.rss_context, key, table)?;
            // SAFETY: The structure is ours, and key and table are not used any more.
            let context = unsafe { &mut *context };
            context.hfunc = bindings::OXNIC_ETH_RSS_HASH_TOP;
            context.input_xfrm = xfrm.number();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `modify_rxfh_context`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn modify_rxfh_context(
        dev: *mut bindings::net_device,
        _context: *mut bindings::ethtool_rxfh_context,
        rxfh: *const bindings::ethtool_rxfh_param,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under its lock, with structures that
        // are ours.
        unsafe { Self::change_context(dev, (*rxfh).rss_context, &*rxfh, extack) }
    }

    /// # Safety
    ///
    /// Called by the kernel as `remove_rxfh_context`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn remove_rxfh_context(
        dev: *mut bindings::net_device,
        _context: *mut bindings::ethtool_rxfh_context,
        number: u32,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours.
        let (data, dev) = unsafe { (data::<T>(dev), Device::from_raw(dev)) };
        from_result(|| data.remove_rxfh_context(dev, number).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_rxfh_fields`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn rxfh_fields(
        dev: *mut bindings::net_device,
        fields: *mut bindings::ethtool_rxfh_fields,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, fields) = unsafe { (data::<T>(dev), &mut *fields) };
        from_result(|| {
            let flow = FlowType::from_number(fields.flow_type).ok_or(EOPNOTSUPP)?;
            fields.data = data.rxfh_fields(fields.rss_context, flow)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_rxfh_fields`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_rxfh_fields(
        dev: *mut bindings::net_device,
        fields: *const bindings::ethtool_rxfh_fields,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under its lock, with structures that
        // are ours.
        let ((data, dev), fields, extack) =
            unsafe { (locked::<T>(dev), &*fields, ExtAck::from_raw(extack)) };
        from_result(|| {
            let Some(flow) = FlowType::from_number(fields.flow_type) else {
                extack.set(fmt!("flow type is not hashed"));
                return Err(EOPNOTSUPP);
            };
            data.set_rxfh_fields(dev, fields.rss_context, flow, fields.data, extack)
                .map(|()| 0)
        })
    }
}

/// An array to write to; empty if it is not requested.
///
/// # Safety
///
/// `first` must be null or point to `len` elements that are the caller's during `'a`.
unsafe fn place<'a, E>(first: *mut E, len: usize) -> &'a mut [E] {
    if first.is_null() {
        return &mut [];
    }
    // SAFETY: The caller's promise.
    unsafe { slice::from_raw_parts_mut(first, len) }
}

/// An array, if there is one.
///
/// # Safety
///
/// `first` must be null or point to `len` elements that are not written to during `'a`.
unsafe fn given<'a, E>(first: *const E, len: usize) -> Option<&'a [E]> {
    // SAFETY: The caller's promise.
    (!first.is_null()).then(|| unsafe { slice::from_raw_parts(first, len) })
}
