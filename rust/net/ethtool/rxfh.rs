// SPDX-License-Identifier: GPL-2.0

//! The settings of an RSS context (`struct ethtool_rxfh_param`, `struct ethtool_rxfh_fields`).

use crate::bindings;

/// The transformation of addresses and ports before they are hashed (`RXH_XFRM_…`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputXfrm {
    /// Nothing.
    None,
    /// `RXH_XFRM_SYM_XOR`: source and destination are both replaced by the exclusive or of the two.
    SymXor,
    /// `RXH_XFRM_SYM_OR_XOR`: the source is replaced by the inclusive or of both, the destination
    /// by the exclusive or.
    SymOrXor,
}

impl InputXfrm {
    /// All transformations, as bits.
    pub(super) const SUPPORTED: u8 =
        (bindings::RXH_XFRM_SYM_XOR | bindings::RXH_XFRM_SYM_OR_XOR) as u8;

    pub(super) fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::SymXor => bindings::RXH_XFRM_SYM_XOR as u8,
            Self::SymOrXor => bindings::RXH_XFRM_SYM_OR_XOR as u8,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::None, Self::SymXor, Self::SymOrXor]
            .into_iter()
            .find(|xfrm| xfrm.number() == number)
    }
}

/// A requested change (`struct ethtool_rxfh_param`); [`None`] leaves a setting as it is.
pub(crate) struct RxfhChange<'a> {
    /// The queue of each entry; as many as the indirection table has entries.
    pub(crate) table: Option<&'a [u32]>,
    /// The key, of full length.
    pub(crate) key: Option<&'a [u8]>,
    /// The transformation of the input.
    pub(crate) xfrm: Option<InputXfrm>,
}

/// A kind of flow, each with its own set of hashed fields (`TCP_V4_FLOW` and so on).
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
    pub(super) fn from_number(number: u32) -> Option<Self> {
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

/// Fields of a frame that can be hashed, as bits (`RXH_…`).
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
