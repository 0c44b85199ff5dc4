// SPDX-License-Identifier: GPL-2.0

//! What the hardware knows about a received frame, for programs that were loaded for the device and
//! ask for it (`struct xdp_metadata_ops`).

use super::buff::Head;
use crate::{bindings, net::skbuff::VlanTag};
use core::num::NonZeroU64;
use kernel::prelude::*;

/// What the RSS hash of a frame was computed over (`enum xdp_rss_hash_type`).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum RssType {
    /// There is no hash.
    #[default]
    None,
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// IPv4 addresses and TCP ports.
    TcpIpv4,
    /// IPv4 addresses and UDP ports.
    UdpIpv4,
    /// IPv6 addresses and TCP ports.
    TcpIpv6,
    /// IPv6 addresses and UDP ports.
    UdpIpv6,
}

impl RssType {
    fn number(self) -> Option<bindings::xdp_rss_hash_type> {
        Some(match self {
            Self::None => return None,
            Self::Ipv4 => bindings::xdp_rss_hash_type_XDP_RSS_TYPE_L3_IPV4,
            Self::Ipv6 => bindings::xdp_rss_hash_type_XDP_RSS_TYPE_L3_IPV6,
            Self::TcpIpv4 => bindings::xdp_rss_hash_type_XDP_RSS_TYPE_L4_IPV4_TCP,
            Self::UdpIpv4 => bindings::xdp_rss_hash_type_XDP_RSS_TYPE_L4_IPV4_UDP,
            Self::TcpIpv6 => bindings::xdp_rss_hash_type_XDP_RSS_TYPE_L4_IPV6_TCP,
            Self::UdpIpv6 => bindings::xdp_rss_hash_type_XDP_RSS_TYPE_L4_IPV6_UDP,
        })
    }
}

/// What the hardware knows about a frame.
#[derive(Clone, Copy, Default)]
pub(crate) struct RxHints {
    /// When it was received, by the device's clock in nanoseconds.
    pub(crate) timestamp: Option<NonZeroU64>,
    /// The RSS hash; without meaning if `rss_type` is [`RssType::None`].
    pub(crate) hash: u32,
    /// What `hash` was computed over.
    pub(crate) rss_type: RssType,
    /// The tag that was taken out of the frame.
    pub(crate) vlan: Option<VlanTag>,
}

/// The callbacks by which programs ask. They find the descriptor behind the frame that the program runs
/// on.
pub(in crate::net) static METADATA_OPS: bindings::xdp_metadata_ops = bindings::xdp_metadata_ops {
    xmo_rx_timestamp: Some(rx_timestamp),
    xmo_rx_hash: Some(rx_hash),
    xmo_rx_vlan_tag: Some(rx_vlan_tag),
};

/// The hints of the frame that a program runs on.
///
/// # Safety
///
/// `ctx` must be the context of a program run by [`ProgRef::run`](super::ProgRef::run).
unsafe fn hints(ctx: *const bindings::xdp_md) -> RxHints {
    // SAFETY: The context is the pointer that `run` gave to the program.
    unsafe { Head::hints(ctx.cast()) }
}

/// # Safety
///
/// Called by a program that is bound to a device of ours, and so is run only by
/// [`ProgRef::run`](super::ProgRef::run), with a place for the result.
unsafe extern "C" fn rx_timestamp(ctx: *const bindings::xdp_md, timestamp: *mut u64) -> c_int {
    // SAFETY: As above.
    let hints = unsafe { hints(ctx) };
    let Some(value) = hints.timestamp else {
        return ENODATA.to_errno();
    };
    // SAFETY: As above.
    unsafe { timestamp.write(value.get()) };
    0
}

/// # Safety
///
/// As for [`rx_timestamp`].
unsafe extern "C" fn rx_hash(
    ctx: *const bindings::xdp_md,
    hash: *mut u32,
    rss_type: *mut bindings::xdp_rss_hash_type,
) -> c_int {
    // SAFETY: As above.
    let hints = unsafe { hints(ctx) };
    let Some(number) = hints.rss_type.number() else {
        return ENODATA.to_errno();
    };
    // SAFETY: As above.
    unsafe {
        hash.write(hints.hash);
        rss_type.write(number);
    }
    0
}

/// # Safety
///
/// As for [`rx_timestamp`].
unsafe extern "C" fn rx_vlan_tag(
    ctx: *const bindings::xdp_md,
    protocol: *mut bindings::__be16,
    tci: *mut u16,
) -> c_int {
    // SAFETY: As above.
    let hints = unsafe { hints(ctx) };
    let Some(tag) = hints.vlan else {
        return ENODATA.to_errno();
    };
    // SAFETY: As above.
    unsafe {
        protocol.write(tag.protocol.to_be());
        tci.write(tag.tci);
    }
    0
}
