// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling (`ethtool -x`, and `-n … rx-flow-hash`).
//!
//! All of it is there once for each RSS context: for the main one, whose number is 0, and for those
//! that the user adds.

use super::{
    EthtoolOps,
    Ops, //
};
use crate::{
    bindings,
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

/// The transformation of addresses and ports before they are hashed (`RXH_XFRM_…`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputXfrm {
    /// Nothing.
    None,
    /// `RXH_XFRM_SYM_XOR`: source and destination are replaced by the exclusive or of both.
    SymXor,
    /// `RXH_XFRM_SYM_OR_XOR`: by the inclusive or, and by the exclusive or.
    SymOrXor,
}

impl InputXfrm {
    /// Those that there are, as bits.
    pub(super) const SUPPORTED: u8 =
        (bindings::RXH_XFRM_SYM_XOR | bindings::RXH_XFRM_SYM_OR_XOR) as u8;

    fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::SymXor => bindings::RXH_XFRM_SYM_XOR as u8,
            Self::SymOrXor => bindings::RXH_XFRM_SYM_OR_XOR as u8,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::None, Self::SymXor, Self::SymOrXor]
            .into_iter()
            .find(|xfrm| xfrm.number() == number)
    }
}

/// The requested changes (`struct ethtool_rxfh_param`); [`None`] leaves a setting as it is.
pub(crate) struct RxfhChange<'a> {
    /// The queue of each entry, as many as there are entries.
    pub(crate) table: Option<&'a [u32]>,
    /// The key, as long as keys are.
    pub(crate) key: Option<&'a [u8]>,
    /// The transformation of the input.
    pub(crate) xfrm: Option<InputXfrm>,
}

impl<'a> RxfhChange<'a> {
    /// # Safety
    ///
    /// Key and table of `rxfh` must each be null, if it is not to be changed, or as long as `T`
    /// says and not be written to.
    unsafe fn from_raw<T: Ops>(
        rxfh: &'a bindings::ethtool_rxfh_param,
        extack: ExtAck<'_>,
    ) -> Result<Self> {
        if rxfh.hfunc != bindings::ETH_RSS_HASH_NO_CHANGE as u8
            && rxfh.hfunc != bindings::OXNIC_ETH_RSS_HASH_TOP
        {
            extack.set(fmt!("hfunc: there is no other than toeplitz"));
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

/// A kind of flow whose hashed fields are asked for (`TCP_V4_FLOW` and so on).
#[derive(Clone, Copy)]
pub(crate) enum FlowType {
    /// TCP over IPv4.
    TcpV4,
    /// UDP over IPv4.
    UdpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over IPv6.
    UdpV6,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// SCTP, AH or ESP over IPv4.
    OtherV4,
    /// SCTP, AH or ESP over IPv6.
    OtherV6,
}

impl FlowType {
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            bindings::TCP_V4_FLOW => Self::TcpV4,
            bindings::UDP_V4_FLOW => Self::UdpV4,
            bindings::TCP_V6_FLOW => Self::TcpV6,
            bindings::UDP_V6_FLOW => Self::UdpV6,
            bindings::IPV4_FLOW => Self::Ipv4,
            bindings::IPV6_FLOW => Self::Ipv6,
            bindings::SCTP_V4_FLOW
            | bindings::AH_ESP_V4_FLOW
            | bindings::AH_V4_FLOW
            | bindings::ESP_V4_FLOW => Self::OtherV4,
            bindings::SCTP_V6_FLOW
            | bindings::AH_ESP_V6_FLOW
            | bindings::AH_V6_FLOW
            | bindings::ESP_V6_FLOW => Self::OtherV6,
            _ => return None,
        })
    }
}

/// Fields of a frame that can be hashed (`RXH_…`), as bits.
pub(crate) mod rxh {
    use crate::bindings;

    /// Source address.
    pub(crate) const IP_SRC: u32 = bindings::RXH_IP_SRC;
    /// Destination address.
    pub(crate) const IP_DST: u32 = bindings::RXH_IP_DST;
    /// Source port.
    pub(crate) const SRC_PORT: u32 = bindings::RXH_L4_B_0_1;
    /// Destination port.
    pub(crate) const DST_PORT: u32 = bindings::RXH_L4_B_2_3;
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
        // SAFETY: Each is null or, if it was asked for, as long as the two callbacks above say.
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

    /// Changes the context of that number as `rxfh` says.
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
            // SAFETY: Key and table are as long as the callbacks for the lengths say.
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
            // SAFETY: What the context is to begin with is as long as the callbacks for the lengths
            // say.
            let change = unsafe { RxfhChange::from_raw::<T>(rxfh, extack) }?;
            data.add_rxfh_context(dev, rxfh.rss_context, &change, extack)?;
            // The kernel keeps what a context is set to, and is told it.
            // SAFETY: The kernel has made the structure for a key and a table of these lengths,
            // behind each other, and it is ours.
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
            // SAFETY: The structure is ours; key and table are not used any more.
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
                extack.set(fmt!("such flows are not hashed"));
                return Err(EOPNOTSUPP);
            };
            data.set_rxfh_fields(dev, fields.rss_context, flow, fields.data, extack)
                .map(|()| 0)
        })
    }
}

/// Where an array is to be written; nowhere if it was not asked for.
///
/// # Safety
///
/// `first` must be null or point to `len` elements that are the caller's.
unsafe fn place<'a, E>(first: *mut E, len: usize) -> &'a mut [E] {
    if first.is_null() {
        return &mut [];
    }
    // SAFETY: The caller's promise.
    unsafe { slice::from_raw_parts_mut(first, len) }
}

/// An array if there is one.
///
/// # Safety
///
/// `first` must be null or point to `len` elements that are not written to.
unsafe fn given<'a, E>(first: *const E, len: usize) -> Option<&'a [E]> {
    // SAFETY: The caller's promise.
    (!first.is_null()).then(|| unsafe { slice::from_raw_parts(first, len) })
}
