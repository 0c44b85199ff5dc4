// SPDX-License-Identifier: GPL-2.0

//! The table of the ethtool callbacks (`struct ethtool_ops`).

use super::{
    ops::Ops,
    rxfh::InputXfrm, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::MaybeUninit, //
};
use kernel::prelude::*;

/// The table of C callbacks for a driver.
pub(in crate::net) struct EthtoolOps<T>(PhantomData<T>);

impl<T: Ops> EthtoolOps<T> {
    pub(in crate::net) const TABLE: bindings::ethtool_ops = bindings::ethtool_ops {
        get_drvinfo: Some(Self::drvinfo),
        get_msglevel: Some(Self::msglevel),
        set_msglevel: Some(Self::set_msglevel),
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: if T::HAS_TS_INFO {
            Some(Self::ts_info)
        } else {
            Some(bindings::ethtool_op_get_ts_info)
        },
        get_sset_count: Some(Self::sset_count),
        get_strings: Some(Self::strings),
        get_ethtool_stats: Some(Self::stats),
        get_priv_flags: callback!(T::HAS_PRIV_FLAGS, Self::priv_flags),
        set_priv_flags: callback!(T::HAS_SET_PRIV_FLAGS, Self::set_priv_flags),
        get_tunable: callback!(T::HAS_RX_COPYBREAK, Self::tunable),
        set_tunable: callback!(T::HAS_SET_RX_COPYBREAK, Self::set_tunable),
        get_link_ksettings: callback!(T::HAS_LINK_SETTINGS, Self::link_settings),
        set_link_ksettings: callback!(T::HAS_SET_LINK_SETTINGS, Self::set_link_settings),
        get_ringparam: callback!(T::HAS_RINGPARAM, Self::ringparam),
        set_ringparam: callback!(T::HAS_SET_RINGPARAM, Self::set_ringparam),
        get_channels: callback!(T::HAS_COMBINED_CHANNELS, Self::channels),
        set_channels: callback!(T::HAS_SET_COMBINED_CHANNELS, Self::set_channels),
        supported_coalesce_params: if T::HAS_SET_COALESCE {
            bindings::OXNIC_ETHTOOL_COALESCE_RX
        } else {
            0
        },
        get_coalesce: callback!(T::HAS_COALESCE, Self::coalesce),
        set_coalesce: callback!(T::HAS_SET_COALESCE, Self::set_coalesce),
        get_pauseparam: callback!(T::HAS_PAUSEPARAM, Self::pauseparam),
        get_pause_stats: callback!(T::HAS_PAUSE_STATS, Self::pause_stats),
        set_pauseparam: callback!(T::HAS_SET_PAUSEPARAM, Self::set_pauseparam),
        get_rx_ring_count: callback!(T::HAS_COMBINED_CHANNELS, Self::rx_ring_count),
        get_rxfh_key_size: callback!(T::HAS_RXFH, Self::rxfh_key_size),
        get_rxfh_indir_size: callback!(T::HAS_RXFH, Self::rxfh_indir_size),
        get_rxfh: callback!(T::HAS_RXFH, Self::rxfh),
        set_rxfh: callback!(T::HAS_SET_RXFH, Self::set_rxfh),
        // Bindgen's setters are not `const`. `check_bitfield` checks these bytes with its getters.
        _bitfield_1: bindings::__BindgenBitfieldUnit::new([
            Self::INPUT_XFRM,
            if T::HAS_ADD_RXFH_CONTEXT {
                RXFH_CONTEXT_CAPS
            } else {
                0
            },
        ]),
        rxfh_max_num_contexts: if T::HAS_ADD_RXFH_CONTEXT {
            T::RXFH_CONTEXTS
        } else {
            0
        },
        create_rxfh_context: callback!(T::HAS_ADD_RXFH_CONTEXT, Self::create_rxfh_context),
        modify_rxfh_context: callback!(T::HAS_ADD_RXFH_CONTEXT, Self::modify_rxfh_context),
        remove_rxfh_context: callback!(T::HAS_REMOVE_RXFH_CONTEXT, Self::remove_rxfh_context),
        get_rxfh_fields: callback!(T::HAS_RXFH_FIELDS, Self::rxfh_fields),
        set_rxfh_fields: callback!(T::HAS_SET_RXFH_FIELDS, Self::set_rxfh_fields),
        get_rxnfc: callback!(T::HAS_RULE, Self::rxnfc),
        set_rxnfc: callback!(T::HAS_ADD_RULE, Self::set_rxnfc),
        op_needs_rtnl: bindings::OXNIC_ETHTOOL_NEEDS_RTNL,
        // SAFETY: A null function pointer is `None`, and every other field may be zero too.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// The supported transformations of the input of the hash.
    const INPUT_XFRM: u8 = if T::HAS_SET_RXFH && T::HAS_RXFH_FIELDS {
        InputXfrm::SUPPORTED
    } else {
        0
    };

    /// Fails to link if bindgen's getters do not return what [`TABLE`](Self::TABLE) has as bytes in
    /// its bitfield. They are not `const`, but the optimizer evaluates them for a constant.
    #[inline(always)]
    pub(in crate::net) fn check_bitfield() {
        let (ops, has_contexts) = (&Self::TABLE, u32::from(T::HAS_ADD_RXFH_CONTEXT));
        build_assert!(ops.supported_input_xfrm() == u32::from(Self::INPUT_XFRM));
        build_assert!(ops.cap_link_lanes_supported() == 0);
        build_assert!(ops.rxfh_per_ctx_fields() == has_contexts);
        build_assert!(ops.rxfh_per_ctx_key() == has_contexts);
        build_assert!(ops.cap_rss_rxnfc_adds() == has_contexts);
    }
}

/// The bits `rxfh_per_ctx_fields`, `rxfh_per_ctx_key` and `cap_rss_rxnfc_adds` in the second byte
/// of the bitfield, after `supported_input_xfrm` and `cap_link_lanes_supported`.
const RXFH_CONTEXT_CAPS: u8 = 0b1110;
