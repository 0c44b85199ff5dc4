// SPDX-License-Identifier: GPL-2.0

//! The ethtool interface of a device.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use super::{
    device::netdev::{
        Device,
        LockedDevice, //
    },
    rtnl::{
        ExtAck,
        Rtnl, //
    },
};
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::MaybeUninit, //
};
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*, //
};

mod coalesce;
mod info;
mod link;
mod ntuple;
mod pause;
mod rings;
mod rss;
mod stats;

pub(crate) use coalesce::Coalesce;
pub(crate) use info::DrvInfo;
pub(crate) use link::LinkSettings;
pub(crate) use ntuple::{
    FlowRule,
    RuleAction,
    RuleFields,
    RuleFlow,
    RulePlace, //
};
pub(crate) use pause::{
    PauseParam,
    PauseStats, //
};
pub(crate) use rings::RingParam;
pub(crate) use rss::{
    rxh,
    FlowType,
    InputXfrm,
    RxfhChange, //
};
pub(super) use stats::count_stats;
pub(crate) use stats::Visitor;

/// Message types (`NETIF_MSG_…`), the bits of `ethtool -s … msglvl`.
pub(crate) mod msg {
    use crate::bindings;

    /// `drv`: what the driver does on request.
    pub(crate) const DRV: u32 = 1 << bindings::NETIF_MSG_DRV_BIT;
    /// `tx_queued`: each frame that is sent.
    pub(crate) const TX_QUEUED: u32 = 1 << bindings::NETIF_MSG_TX_QUEUED_BIT;
    /// `rx_status`: each received frame, and the verdict about it.
    pub(crate) const RX_STATUS: u32 = 1 << bindings::NETIF_MSG_RX_STATUS_BIT;
    /// `pktdata`: the content of frames.
    pub(crate) const PKTDATA: u32 = 1 << bindings::NETIF_MSG_PKTDATA_BIT;
}

/// The callbacks of a driver (`struct ethtool_ops`), all in process context under the lock of a
/// [`LockedDevice`].
///
/// RTNL is held, too, in those that get the proof, which may touch more than their device
/// (`ETHTOOL_OP_NEEDS_RTNL_…`); in others it may be held or not.
#[vtable]
pub(crate) trait Ops {
    /// `ethtool -i`.
    fn drvinfo(&self) -> DrvInfo;

    /// The types of messages that are printed, bits of [`msg`] (`ethtool`).
    fn msglevel(&self) -> u32;

    /// `ethtool -s … msglvl`.
    fn set_msglevel(&self, level: u32);

    /// `ethtool -S`: shows `visitor` every statistic, in the same order and number every time.
    fn stats(&self, visitor: &mut dyn Visitor);

    /// `ethtool DEVICE`: speed, duplex and negotiation.
    fn link_settings(&self) -> LinkSettings {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -s … speed`.
    fn set_link_settings(
        &self,
        _dev: &LockedDevice,
        _settings: LinkSettings,
        _rtnl: &Rtnl,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -g`.
    fn ringparam(&self) -> RingParam {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -G`: how many descriptors a receive ring is to have, at most [`RingParam::rx_max`].
    fn set_ringparam(
        &self,
        _dev: &LockedDevice,
        _rx: u32,
        _extack: ExtAck<'_>,
        _rtnl: &Rtnl,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -l`: queues that receive and transmit, the most there can be and those in use.
    fn combined_channels(&self) -> (u32, u32) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -L`: how many queues there are to be, at least 1. None that goes is in use by
    /// AF_XDP or in an indirection table that the user has set.
    fn set_combined_channels(&self, _dev: &LockedDevice, _count: u32, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -c`.
    fn coalesce(&self) -> Coalesce {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -C`.
    fn set_coalesce(&self, _coalesce: Coalesce, _extack: ExtAck<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -a`.
    fn pauseparam(&self) -> PauseParam {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -I -a`.
    fn pause_stats(&self, _rtnl: &Rtnl) -> PauseStats {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -A`.
    fn set_pauseparam(&self, _dev: &LockedDevice, _param: PauseParam, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Length of the RSS key in bytes. The kernel allocates by it, so it is a constant.
    const RXFH_KEY_LEN: usize = 0;

    /// Length of the indirection table in entries. The kernel allocates by it, so it is a constant.
    const RXFH_TABLE_LEN: usize = 0;

    /// How many RSS contexts there can be, with the main one, whose number is 0.
    const RXFH_CONTEXTS: u32 = 1;

    /// `ethtool -x`: writes the key and the table of a context, of which either may be empty for
    /// not asked for, and returns what is done to the input. Fails with `ENOENT` if there is no
    /// such context.
    fn rxfh(&self, _context: u32, _key: &mut [u8], _table: &mut [u32]) -> Result<InputXfrm> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -X`, for a context that there is. The queues are among those that there are.
    fn set_rxfh(
        &self,
        _dev: &LockedDevice,
        _context: u32,
        _change: &RxfhChange<'_>,
        _extack: ExtAck<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -X … context new`: adds a context of this number, which is less than
    /// [`RXFH_CONTEXTS`](Self::RXFH_CONTEXTS). What the change does not say is the driver's choice.
    fn add_rxfh_context(
        &self,
        _dev: &LockedDevice,
        _context: u32,
        _change: &RxfhChange<'_>,
        _extack: ExtAck<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -X … context N delete`. No rule uses it, unless the device is being unregistered;
    /// then RTNL is held instead of the instance lock, and no other callback comes but the last
    /// ones.
    fn remove_rxfh_context(&self, _dev: &Device, _context: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -n … rx-flow-hash`: what is hashed of such flows in a context, bits of [`rxh`].
    /// Fails with `ENOENT` if there is no such context.
    fn rxfh_fields(&self, _context: u32, _flow: FlowType) -> Result<u32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -N … rx-flow-hash`. Where the hash of the main context is symmetric, so are the
    /// fields.
    fn set_rxfh_fields(
        &self,
        _dev: &LockedDevice,
        _context: u32,
        _flow: FlowType,
        _fields: u32,
        _extack: ExtAck<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// How many flow steering rules there can be; a rule's place among them is its priority.
    fn max_rules(&self) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -n`: the places that have a rule, in ascending order.
    fn each_rule(&self, _visit: &mut dyn FnMut(u32)) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The rule at a place.
    fn rule(&self, _place: u32) -> Option<FlowRule> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -N … flow-type`: returns where the rule was put. [`None`] is a rule that cannot be
    /// said in these terms.
    fn add_rule(
        &self,
        _dev: &LockedDevice,
        _place: RulePlace,
        _rule: Option<FlowRule>,
    ) -> Result<u32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -N … delete`.
    fn delete_rule(&self, _dev: &LockedDevice, _place: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The table of C callbacks for a driver. Each is in the file of what it is about.
pub(super) struct EthtoolOps<T>(PhantomData<T>);

impl<T: Ops> EthtoolOps<T> {
    pub(super) const TABLE: bindings::ethtool_ops = bindings::ethtool_ops {
        get_drvinfo: Some(Self::drvinfo),
        get_msglevel: Some(Self::msglevel),
        set_msglevel: Some(Self::set_msglevel),
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: Some(bindings::ethtool_op_get_ts_info),
        get_sset_count: Some(Self::sset_count),
        get_strings: Some(Self::strings),
        get_ethtool_stats: Some(Self::stats),
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
        // Bindgen's setters are not for constants; `check_bitfield` reads this with its getters.
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

    /// What can be done to the input of the hash.
    const INPUT_XFRM: u8 = if T::HAS_SET_RXFH && T::HAS_RXFH_FIELDS {
        InputXfrm::SUPPORTED
    } else {
        0
    };

    /// Fails to link if bindgen's getters do not find in the table's bitfield what was written
    /// there as bytes. They are not for constants, but of a constant the compiler knows the result.
    #[inline(always)]
    pub(super) fn check_bitfield() {
        let (ops, has_contexts) = (&Self::TABLE, u32::from(T::HAS_ADD_RXFH_CONTEXT));
        build_assert!(ops.supported_input_xfrm() == u32::from(Self::INPUT_XFRM));
        build_assert!(ops.cap_link_lanes_supported() == 0);
        build_assert!(ops.rxfh_per_ctx_fields() == has_contexts);
        build_assert!(ops.rxfh_per_ctx_key() == has_contexts);
        build_assert!(ops.cap_rss_rxnfc_adds() == has_contexts);
    }
}

/// In the second byte of the bitfield, behind `supported_input_xfrm` and
/// `cap_link_lanes_supported`: `rxfh_per_ctx_fields`, `rxfh_per_ctx_key` and `cap_rss_rxnfc_adds`.
const RXFH_CONTEXT_CAPS: u8 = 0b1110;
