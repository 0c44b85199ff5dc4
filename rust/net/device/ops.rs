// SPDX-License-Identifier: GPL-2.0

//! The callbacks of a driver.

use super::{
    device_ref::DeviceRef,
    netdev::{
        Device,
        LockedDevice, //
    },
    queue_mgmt_table::Table, //
};
use crate::{
    bindings,
    net::{
        bh,
        ethtool,
        hwtstamp,
        queues::{
            RxQueueStats,
            TxQueueStats, //
        },
        rtnl::{
            ExtAck,
            Rtnl, //
        },
        rx_mode::{
            MacAddress,
            RxMode, //
        },
        skbuff::SkBuff,
        xdp, //
    },
};
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*, //
};

/// What [`Ops::start_xmit`] did with an skb (`netdev_tx_t`).
pub(crate) enum Xmit {
    /// The device has taken the skb, whether it was sent or dropped.
    Done,
    /// The queue was full and has been stopped; the stack keeps the skb and tries again when the
    /// queue is woken, which may have happened already.
    Busy(SkBuff),
}

/// The callbacks of a driver (`struct net_device_ops`). `self` is the driver's data for the device.
///
/// The kernel calls most of them in process context under RTNL and, for a device that asked for it
/// ([`Config::instance_lock`]), under the device's instance lock. Those get a proof of both locks,
/// an [`Rtnl`] and a [`LockedDevice`]; the others get a proof of the lock that the kernel takes.
///
/// [`Config::instance_lock`]: super::Config::instance_lock
#[vtable]
pub(crate) trait Ops: ethtool::Ops + Sized + Send + Sync + 'static {
    /// The interface goes up (`ndo_open`). Process context, may sleep.
    fn open(&self, dev: &LockedDevice, rtnl: &Rtnl) -> Result;

    /// The interface goes down (`ndo_stop`); no `start_xmit` is running any more. Process context,
    /// may sleep.
    fn stop(&self, dev: &LockedDevice, rtnl: &Rtnl);

    /// The device is being unregistered (`ndo_uninit`). The driver must drop its references to it,
    /// since unregistration waits for them. The interface is down. Process context, may sleep.
    ///
    /// There is no [`Device`] argument: the kernel also calls this when registration has failed,
    /// and then frees the device without waiting for references that were taken here.
    fn uninit(&self, _rtnl: &Rtnl) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The device at the other end, shown as `ox0@ox1` (`ndo_get_iflink`, `get_link_net`). Any
    /// context, also with interrupts off.
    fn link_peer(&self) -> Option<DeviceRef> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sends `skb` on the transmit queue it is mapped to (`ndo_start_xmit`). The kernel calls this
    /// for one skb at a time on each queue. If the result is [`Xmit::Busy`] with a different skb,
    /// that skb is dropped and the result counts as [`Xmit::Done`].
    fn start_xmit(&self, dev: &Device, skb: SkBuff, bh: &bh::Disabled) -> Xmit;

    /// Returns the subset of `features`, bits of [`feature`](super::feature), that the stack may
    /// use for this skb (`ndo_features_check`). It does the rest in software before
    /// [`start_xmit`](Self::start_xmit). Called for each skb, on any CPU. Must not sleep.
    fn features_check(&self, _skb: &SkBuff, _features: u64) -> u64 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Transmit queue `queue` has been stopped for [`Config::tx_timeout_ms`] or longer with a
    /// carrier (`ndo_tx_timeout`). The time starts again whenever the queue is stopped
    /// (`netif_tx_stop_queue`). The kernel has already logged a message. It calls this for one
    /// queue at a time, and again after another such period. No `start_xmit` of the device runs
    /// meanwhile, unless the device has no queueing discipline (`noqueue`). Softirq context.
    ///
    /// [`Config::tx_timeout_ms`]: super::Config::tx_timeout_ms
    fn tx_timeout(&self, _dev: &Device, _queue: u16, _bh: &bh::Disabled) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adds the device's counters to `stats` (`ndo_get_stats64`). Must not sleep.
    fn stats64(&self, stats: &mut Stats64);

    /// The user has changed the MTU to `mtu` bytes, within the device's limits
    /// (`ndo_change_mtu`). Process context, may sleep.
    fn change_mtu(&self, _dev: &LockedDevice, _mtu: u32, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The user switches features on or off (`ndo_set_features`). `features` are all those that are
    /// to be on, bits of [`feature`](super::feature). Process context, may sleep.
    fn set_features(&self, _dev: &LockedDevice, _features: u64, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The receive mode has changed, or the interface has just gone up (`ndo_set_rx_mode_async`). A
    /// driver with this callback filters unicast addresses too (`IFF_UNICAST_FLT`). On an error the
    /// kernel tries again later, a few times. Process context, may sleep.
    fn set_rx_mode(&self, _dev: &LockedDevice, _mode: &RxMode<'_>, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The user has given the device another, valid address (`ndo_set_mac_address`), perhaps while
    /// the interface is up. Process context, may sleep.
    fn set_mac_address(&self, _dev: &LockedDevice, _address: MacAddress, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adds a VLAN to those whose frames are received, in addition to untagged frames
    /// (`ndo_vlan_rx_add_vid`, for 802.1Q). While `feature::VLAN_CTAG_FILTER` is on, called for
    /// each VLAN that is added, and when it is switched on, for each that exists. Process context,
    /// may sleep; the instance lock may be held or not.
    fn vlan_rx_add_vid(&self, _dev: &Device, _vid: u16, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a VLAN from those whose frames are received (`ndo_vlan_rx_kill_vid`). Also called
    /// for each VLAN when the feature is switched off. Process context, may sleep; the instance
    /// lock may be held or not.
    fn vlan_rx_kill_vid(&self, _dev: &Device, _vid: u16, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Which frames get hardware time stamps for sockets (`ndo_hwtstamp_get`). Process context,
    /// under the lock of a [`LockedDevice`].
    fn hwtstamp(&self) -> hwtstamp::Config {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The user wants hardware time stamps for sockets, of these frames and no others
    /// (`ndo_hwtstamp_set`). Returns what is in effect now, which may be more: a card that cannot
    /// tell the frames of a filter from others takes a wider one. If it cannot take stamps of all
    /// that are wanted, nothing may change, and the error is `ERANGE`, with the reason in `extack`.
    /// Process context, may sleep; RTNL may be held or not.
    ///
    /// What a device can do at all is in [`TsInfo`](ethtool::TsInfo).
    fn set_hwtstamp(
        &self,
        _dev: &LockedDevice,
        _config: hwtstamp::Config,
        _extack: ExtAck<'_>,
    ) -> Result<hwtstamp::Config> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A command of the XDP control path (`ndo_bpf`). Process context, may sleep.
    fn bpf(&self, _dev: &LockedDevice, _command: xdp::Command<'_>, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sends frames that were redirected to this device (`ndo_xdp_xmit`): takes as many as it can
    /// send at once. Called on any CPU, on several at the same time, and also while the interface
    /// is down.
    ///
    /// With `flush` (`XDP_XMIT_FLUSH`) the driver must ring the doorbell before it returns. Without
    /// it the doorbell may be left to a later call. But such a call may never come: the kernel does
    /// not promise one with `flush`, and today all its calls have it. A driver that always rings
    /// the doorbell may ignore the argument.
    ///
    /// An error is returned to the caller only if no frame was taken.
    fn xdp_xmit(
        &self,
        _dev: &Device,
        _frames: &mut xdp::Frames<'_>,
        _flush: bool,
        _bh: &bh::Disabled,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A program has filled the fill ring of an AF_XDP queue, or has frames to send: the queue must
    /// be polled (`ndo_xsk_wakeup`). Called without RTNL, possibly on several CPUs at the same
    /// time. Process or softirq context; must not sleep.
    fn xsk_wakeup(&self, _queue: u16, _bh: &bh::Disabled) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The callbacks that restart a single receive queue, if the driver has them; see
    /// [`queue_mgmt::Ops`](crate::net::queue_mgmt::Ops).
    const QUEUE_MGMT: Option<Table<Self>> = None;

    /// The counters of a receive queue (`get_queue_stats_rx`). Under the lock of a
    /// [`LockedDevice`].
    fn rx_queue_stats(&self, _queue: usize) -> RxQueueStats {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The counters of a transmit queue (`get_queue_stats_tx`). Under the lock of a
    /// [`LockedDevice`].
    fn tx_queue_stats(&self, _queue: usize) -> TxQueueStats {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Counters of a device since it was made (`struct rtnl_link_stats64`): frames, and bytes without
/// the frame check sequence.
pub(crate) type Stats64 = bindings::rtnl_link_stats64;
