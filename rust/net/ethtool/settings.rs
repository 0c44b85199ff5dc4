// SPDX-License-Identifier: GPL-2.0

//! The settings and statistics that the callbacks of a driver take and return.

use crate::net::hwtstamp::{
    RxFilter,
    TxType, //
};
use core::ffi::CStr;
use kernel::fmt;

/// The driver's name and version (`struct ethtool_drvinfo`).
pub(crate) struct DrvInfo {
    /// The driver's name.
    pub(crate) driver: &'static CStr,
    /// The driver's version.
    pub(crate) version: &'static CStr,
}

/// Settings of a link that has no modes to advertise (`struct ethtool_link_ksettings`).
#[derive(Clone, Copy)]
pub(crate) struct LinkSettings {
    /// In Mbit/s; [`None`] if unknown.
    pub(crate) speed: Option<u32>,
    /// Whether both ends may send at the same time; [`None`] if unknown.
    pub(crate) full_duplex: Option<bool>,
    /// Whether the settings are negotiated with the peer.
    pub(crate) autoneg: bool,
}

/// Sizes of the rings, in descriptors (`struct ethtool_ringparam`).
#[derive(Clone, Copy)]
pub(crate) struct RingParam {
    /// Size of a receive ring.
    pub(crate) rx: u32,
    /// Size of a transmit ring; 0 if there are none.
    pub(crate) tx: u32,
}

/// Interrupt moderation of the receive rings (`struct ethtool_coalesce`).
#[derive(Clone, Copy)]
pub(crate) struct Coalesce {
    /// The least time between two interrupts, in microseconds.
    pub(crate) rx_usecs: u32,
    /// The number of waiting frames that raises an interrupt earlier; 0: no limit.
    pub(crate) rx_frames: u32,
    /// Whether the device adapts the time to the traffic.
    pub(crate) adaptive_rx: bool,
}

/// Link-level flow control (`struct ethtool_pauseparam`).
#[derive(Clone, Copy)]
pub(crate) struct PauseParam {
    /// Whether the settings are negotiated with the peer.
    pub(crate) autoneg: bool,
    /// Whether the port stops sending when the peer asks for it.
    pub(crate) rx: bool,
    /// Whether the port asks the peer to stop sending when it is out of buffers.
    pub(crate) tx: bool,
}

/// Counters of link-level flow control (`struct ethtool_pause_stats`).
pub(crate) struct PauseStats {
    /// Times the port asked the peer to stop sending.
    pub(crate) tx_frames: u64,
    /// Times the peer asked the port to.
    pub(crate) rx_frames: u64,
}

/// The hardware time stamps that a device can take for sockets (`struct kernel_ethtool_ts_info`).
pub(crate) struct TsInfo {
    /// Of frames that are sent.
    pub(crate) tx_types: &'static [TxType],
    /// Of received frames.
    pub(crate) rx_filters: &'static [RxFilter],
    /// The number of the PTP clock that they are by; [`None`] if user space has no access to it.
    pub(crate) phc_index: Option<u32>,
}

/// Receives the statistics of a device, one by one.
pub(crate) trait Visitor {
    /// A statistic with its name, at most 31 bytes, and its value.
    fn visit(&mut self, name: fmt::Arguments<'_>, value: u64);
}
