// SPDX-License-Identifier: GPL-2.0

//! The ethtool callbacks of a driver.

use super::{
    flow_rule::{
        FlowRule,
        RulePlace, //
    },
    rxfh::{
        FlowType,
        InputXfrm,
        RxfhChange, //
    },
    settings::{
        Coalesce,
        DrvInfo,
        LinkSettings,
        PauseParam,
        PauseStats,
        RingParam,
        TsInfo,
        Visitor, //
    },
};
use crate::net::{
    device::netdev::{
        Device,
        LockedDevice, //
    },
    rtnl::{
        ExtAck,
        Rtnl, //
    },
};
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*, //
};

/// Message types (`NETIF_MSG_…`), the bits of `ethtool -s … msglvl`.
pub(crate) mod msg {
    use crate::bindings;

    /// `drv`: configuration changes.
    pub(crate) const DRV: u32 = 1 << bindings::NETIF_MSG_DRV_BIT;
    /// `intr`: interrupts and polls.
    pub(crate) const INTR: u32 = 1 << bindings::NETIF_MSG_INTR_BIT;
    /// `tx_queued`: each frame that is sent.
    pub(crate) const TX_QUEUED: u32 = 1 << bindings::NETIF_MSG_TX_QUEUED_BIT;
    /// `rx_status`: each received frame and its verdict.
    pub(crate) const RX_STATUS: u32 = 1 << bindings::NETIF_MSG_RX_STATUS_BIT;
    /// `pktdata`: the content of frames.
    pub(crate) const PKTDATA: u32 = 1 << bindings::NETIF_MSG_PKTDATA_BIT;
}

/// The callbacks of a driver (`struct ethtool_ops`). All are called in process context, under the
/// lock of a [`LockedDevice`], except where they say otherwise.
///
/// Those that get an [`Rtnl`] are also called under RTNL, since they may affect more than their
/// device (`ETHTOOL_OP_NEEDS_RTNL_…`). In the others RTNL may be held or not.
#[vtable]
pub(crate) trait Ops {
    /// `ethtool -i`.
    fn drvinfo(&self) -> DrvInfo;

    /// The types of messages that are printed, bits of [`msg`] (`ethtool`).
    fn msglevel(&self) -> u32;

    /// `ethtool -s … msglvl`.
    fn set_msglevel(&self, level: u32);

    /// `ethtool -S`: passes each statistic to `visitor`. Number and order never change.
    fn stats(&self, visitor: &mut dyn Visitor);

    /// `ethtool --get-tunable … rx-copybreak`: the longest frame, in bytes, that the driver copies
    /// to a small skb; 0 if none is copied.
    fn rx_copybreak(&self) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool --set-tunable … rx-copybreak`.
    fn set_rx_copybreak(&self, _bytes: u32) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The names of the private flags, at most 32 with at most 31 bytes each.
    const PRIV_FLAG_NAMES: &'static [&'static str] = &[];

    /// `ethtool --show-priv-flags`: a bit for each name, which is set if the flag is on.
    fn priv_flags(&self) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool --set-priv-flags`: how all flags are to be.
    fn set_priv_flags(&self, _dev: &LockedDevice, _flags: u32, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -T`: the hardware time stamps that the device can take. Without this callback there
    /// are none. The driver is taken to report times of sending in software
    /// (`SkBuff::tx_timestamp`). Perhaps under RCU instead of the lock of a [`LockedDevice`]; must
    /// not sleep.
    fn ts_info(&self) -> TsInfo {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

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

    /// The largest sizes that [`set_ringparam`](Self::set_ringparam) is called with.
    const MAX_RINGPARAM: RingParam = RingParam { rx: 0, tx: 0 };

    /// `ethtool -g`.
    fn ringparam(&self) -> RingParam {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -G`: sets the sizes of the rings, at most those of
    /// [`MAX_RINGPARAM`](Self::MAX_RINGPARAM).
    fn set_ringparam(
        &self,
        _dev: &LockedDevice,
        _rings: RingParam,
        _extack: ExtAck<'_>,
        _rtnl: &Rtnl,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -l`: the numbers of combined channels, that is pairs of a receive and a transmit
    /// queue: the maximum, and those in use.
    fn combined_channels(&self) -> (u32, u32) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -L`: sets the number of combined channels, at least 1. The kernel has checked that
    /// no removed queue is used by AF_XDP or by an indirection table that the user has set.
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

    /// Length of the RSS key in bytes. A constant, since the kernel allocates memory by it.
    const RXFH_KEY_LEN: usize = 0;

    /// Number of entries of the indirection table. A constant, since the kernel allocates memory by
    /// it.
    const RXFH_TABLE_LEN: usize = 0;

    /// The largest number of RSS contexts, including the main one, whose number is 0.
    const RXFH_CONTEXTS: u32 = 1;

    /// `ethtool -x`: writes the key and the indirection table of a context to `key` and `table`,
    /// and returns its transformation of the input. An empty slice is not requested. Fails with
    /// `ENOENT` if there is no such context.
    fn rxfh(&self, _context: u32, _key: &mut [u8], _table: &mut [u32]) -> Result<InputXfrm> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -X`: changes an existing context. All queues in the table exist.
    fn set_rxfh(
        &self,
        _dev: &LockedDevice,
        _context: u32,
        _change: &RxfhChange<'_>,
        _extack: ExtAck<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -X … context new`: adds a context with this number, which is less than
    /// [`RXFH_CONTEXTS`](Self::RXFH_CONTEXTS). The driver chooses what `change` leaves open.
    fn add_rxfh_context(
        &self,
        _dev: &LockedDevice,
        _context: u32,
        _change: &RxfhChange<'_>,
        _extack: ExtAck<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -X … context N delete`. No rule uses the context, unless the device is being
    /// unregistered. In that case RTNL is held instead of the instance lock, and only the callbacks
    /// of unregistration follow.
    fn remove_rxfh_context(&self, _dev: &Device, _context: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -n … rx-flow-hash`: which fields of such flows are hashed in a context, bits of
    /// [`rxh`](super::rxh). Fails with `ENOENT` if there is no such context.
    fn rxfh_fields(&self, _context: u32, _flow: FlowType) -> Result<u32> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -N … rx-flow-hash`. If the hash of the main context is symmetric, so are the fields
    /// for that context.
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

    /// The largest number of flow steering rules. The location of a rule is its priority.
    fn max_rules(&self) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -n`: passes the locations that have a rule to `visit`, in ascending order.
    fn each_rule(&self, _visit: &mut dyn FnMut(u32)) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The rule at a location.
    fn rule(&self, _place: u32) -> Option<FlowRule> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -N … flow-type`: adds a rule and returns its location. [`None`] is a rule that
    /// [`FlowRule`] cannot express.
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
