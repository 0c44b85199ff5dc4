// SPDX-License-Identifier: GPL-2.0

//! The hardware's metadata of a received frame.

use crate::{
    bindings,
    net::skbuff::VlanTag, //
};
use core::num::NonZeroU64;

/// The fields that the RSS hash of a frame covers (`enum xdp_rss_hash_type`).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum RssType {
    /// None: there is no hash.
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
    pub(super) fn number(self) -> Option<bindings::xdp_rss_hash_type> {
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

/// The hardware's metadata of a frame.
#[derive(Clone, Copy, Default)]
pub(crate) struct RxHints {
    /// Time of reception in nanoseconds of the device's clock.
    pub(crate) timestamp: Option<NonZeroU64>,
    /// The RSS hash; meaningless if `rss_type` is [`RssType::None`].
    pub(crate) hash: u32,
    /// The fields that `hash` covers.
    pub(crate) rss_type: RssType,
    /// The VLAN tag that was stripped from the frame.
    pub(crate) vlan: Option<VlanTag>,
}

/// A descriptor, with the metadata of its frame.
pub(crate) trait RxDescriptor: Copy {
    /// The metadata in the terms of XDP, for programs that ask for it.
    fn hints(&self) -> RxHints;
}
