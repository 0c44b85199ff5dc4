// SPDX-License-Identifier: GPL-2.0

//! Defaults that all drivers of network cards use.

use super::netdev::Device;
use crate::{
    bindings,
    net::rtnl::Rtnl, //
};

/// Length of an RSS key in bytes.
pub(crate) const RSS_KEY_LEN: usize = 40;

/// The RSS key of the system, which is random and the same for all network cards until the next
/// boot (`netdev_rss_key_fill`).
pub(crate) fn rss_key() -> [u8; RSS_KEY_LEN] {
    let mut key = [0; RSS_KEY_LEN];
    // SAFETY: The buffer has the given length, which is at most that of the kernel's key
    // (`NETDEV_RSS_KEY_LEN`).
    unsafe { bindings::netdev_rss_key_fill(key.as_mut_ptr().cast(), key.len()) };
    key
}

/// Whether the user has set the device's indirection table (`netif_is_rxfh_configured`).
pub(crate) fn is_rss_configured(dev: &Device, _rtnl: &Rtnl) -> bool {
    // SAFETY: The device is alive.
    unsafe { bindings::netif_is_rxfh_configured(dev.as_ptr()) }
}

/// Number of online CPUs (`num_online_cpus`).
pub(crate) fn online_cpus() -> u32 {
    // SAFETY: No preconditions.
    unsafe { bindings::oxnic_num_online_cpus() }
}
