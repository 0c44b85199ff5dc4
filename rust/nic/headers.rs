// SPDX-License-Identifier: GPL-2.0

//! Header parsing: Ethernet with its VLAN tags, IP, and the ports of TCP and UDP.
//!
//! For RSS, flow steering rules and TCP segmentation. Headers are parsed from the outside in, each
//! once: [`Ethernet::parse`], [`Ip::parse`], [`Ip::flow`]. A caller that needs only the outer
//! headers stops there. Everything is inlined, so that unused fields cost nothing.
//!
//! Parsing ends at a header that is truncated or malformed.

use super::vlan::{
    Protocol,
    Tag,
    TAG_LEN, //
};

/// Length of an Ethernet header in bytes (`ETH_HLEN`).
pub const ETH_LEN: usize = 14;

/// Number of VLAN tags that are parsed. Headers after more tags are not found.
pub const MAX_TAGS: usize = 2;

/// Length of an IPv4 header without options, in bytes.
pub const IPV4_LEN: usize = 20;

/// Length of an IPv4 header with the most options that fit, in bytes.
pub const IPV4_MAX_LEN: usize = 60;

/// Length of an IPv6 header without extension headers, in bytes.
pub const IPV6_LEN: usize = 40;

/// Length of a source and a destination port, in bytes.
const PORTS_LEN: usize = 4;

/// Number of bytes from the start of a frame that are enough to find its [`Flow`]: Ethernet, the
/// tags, the longest IPv4 header and the ports.
pub const HEADERS_LEN: usize = ETH_LEN + MAX_TAGS * TAG_LEN + IPV4_MAX_LEN + PORTS_LEN;

/// EtherType of IPv4.
pub const ETH_P_IP: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETH_P_IPV6: u16 = 0x86dd;

/// Protocol number of TCP.
pub const IPPROTO_TCP: u8 = 6;

pub(super) const IPPROTO_UDP: u8 = 17;

/// The more-fragments bit and the fragment offset: one of them is set in every fragment.
pub(super) const IPV4_FRAGMENT: u16 = 0x3fff;

/// The Ethernet header of a frame, with its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet<'a> {
    /// The outermost tag.
    pub tag: Option<Tag>,
    /// Number of complete tags, at most [`MAX_TAGS`].
    pub n_tags: usize,
    /// The EtherType after the tags; 0, which is none, if the bytes end before it.
    pub ethertype: u16,
    /// The bytes after the EtherType.
    pub payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// Parses a frame, or its first bytes. [`None`] if there are fewer than [`ETH_LEN`] of them.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (header, mut payload) = frame.split_first_chunk::<ETH_LEN>()?;
        let [.., type0, type1] = *header;
        let mut ethertype = u16::from_be_bytes([type0, type1]);
        let (mut outermost, mut n_tags) = (None, 0);
        for _tag in 0..MAX_TAGS {
            let Some(protocol) = Protocol::from_ethertype(ethertype) else {
                break;
            };
            let Some((tci, rest)) = split_be16(payload) else {
                ethertype = 0;
                break;
            };
            outermost = outermost.or(Some(Tag { protocol, tci }));
            let Some((inner, rest)) = split_be16(rest) else {
                ethertype = 0;
                break;
            };
            ethertype = inner;
            payload = rest;
            n_tags += 1;
        }
        Some(Self {
            tag: outermost,
            n_tags,
            ethertype,
            payload,
        })
    }
}

#[inline]
fn split_be16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*first), rest))
}

/// An IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip<'a> {
    /// IPv4.
    V4 {
        /// The header without its options.
        header: &'a [u8; IPV4_LEN],
        /// The bytes after the options, including padding of the frame.
        payload: &'a [u8],
    },
    /// IPv6.
    V6 {
        /// The header without extension headers.
        header: &'a [u8; IPV6_LEN],
        /// The bytes after the header, including padding of the frame.
        payload: &'a [u8],
    },
}

impl<'a> Ip<'a> {
    /// Parses the IP header, if this is IP. The lengths of the packet are not checked: they are
    /// meaningless in a large frame that is to be segmented.
    #[inline]
    pub fn parse(ethernet: &Ethernet<'a>) -> Option<Self> {
        match ethernet.ethertype {
            ETH_P_IP => {
                let (header, _) = ethernet.payload.split_first_chunk::<IPV4_LEN>()?;
                let [version_ihl, ..] = *header;
                let header_len = usize::from(version_ihl & 0xf) * 4;
                if version_ihl >> 4 != 4 || header_len < IPV4_LEN {
                    return None;
                }
                let payload = ethernet.payload.get(header_len..)?;
                Some(Self::V4 { header, payload })
            }
            ETH_P_IPV6 => {
                let (header, payload) = ethernet.payload.split_first_chunk::<IPV6_LEN>()?;
                let [version, ..] = *header;
                (version >> 4 == 6).then_some(Self::V6 { header, payload })
            }
            _ => None,
        }
    }

    /// The bytes after the header, including padding of the frame.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        match *self {
            Self::V4 { payload, .. } | Self::V6 { payload, .. } => payload,
        }
    }

    /// The protocol number, or the next header of the fixed IPv6 header: extension headers are not
    /// parsed.
    #[inline]
    pub fn protocol(&self) -> u8 {
        match *self {
            Self::V4 {
                header: &[_, _, _, _, _, _, _, _, _, protocol, ..],
                ..
            } => protocol,
            Self::V6 {
                header: &[_, _, _, _, _, _, next_header, ..],
                ..
            } => next_header,
        }
    }

    /// Type of service of IPv4, traffic class of IPv6.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        match *self {
            Self::V4 {
                header: &[_, tos, ..],
                ..
            } => tos,
            Self::V6 {
                header: &[first, second, ..],
                ..
            } => (first << 4) | (second >> 4),
        }
    }

    /// The addresses, and the ports if there are any. [`None`] for an IPv4 packet whose total
    /// length is less than that of its header.
    #[inline]
    pub fn flow(&self) -> Option<Flow<'a>> {
        match *self {
            Self::V4 { header, payload } => {
                let [version_ihl, _tos, len0, len1, _id0, _id1, frag0, frag1, _ttl, protocol, ..] =
                    *header;
                let header_len = usize::from(version_ihl & 0xf) * 4;
                let total_len = usize::from(u16::from_be_bytes([len0, len1]));
                let payload_len = total_len.checked_sub(header_len)?;
                let is_fragment = u16::from_be_bytes([frag0, frag1]) & IPV4_FRAGMENT != 0;
                Some(Flow {
                    addresses: Addresses::V4(header.last_chunk()?),
                    ports: if is_fragment {
                        Ports::None
                    } else {
                        Ports::parse(protocol, payload, payload_len)
                    },
                })
            }
            Self::V6 { header, payload } => {
                let [_, _, _, _, len0, len1, next_header, ..] = *header;
                let payload_len = usize::from(u16::from_be_bytes([len0, len1]));
                Some(Flow {
                    addresses: Addresses::V6(header.last_chunk()?),
                    ports: Ports::parse(next_header, payload, payload_len),
                })
            }
        }
    }
}

/// Source and destination address, as in the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses<'a> {
    /// Two IPv4 addresses.
    V4(&'a [u8; 8]),
    /// Two IPv6 addresses.
    V6(&'a [u8; 32]),
}

/// Source and destination port, as in the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports<'a> {
    /// Neither TCP nor UDP, or a fragment.
    None,
    /// Two TCP ports.
    Tcp(&'a [u8; PORTS_LEN]),
    /// Two UDP ports.
    Udp(&'a [u8; PORTS_LEN]),
}

impl<'a> Ports<'a> {
    /// The ports must be inside the packet, whose payload has `payload_len` bytes: the bytes after
    /// it are the frame's padding.
    #[inline]
    fn parse(protocol: u8, payload: &'a [u8], payload_len: usize) -> Self {
        match (protocol, payload.first_chunk()) {
            (IPPROTO_TCP, Some(ports)) if payload_len >= PORTS_LEN => Self::Tcp(ports),
            (IPPROTO_UDP, Some(ports)) if payload_len >= PORTS_LEN => Self::Udp(ports),
            _ => Self::None,
        }
    }
}

/// Source and destination of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow<'a> {
    /// Network layer.
    pub addresses: Addresses<'a>,
    /// Transport layer.
    pub ports: Ports<'a>,
}

impl<'a> Flow<'a> {
    /// The flow of a frame, by at least its first [`HEADERS_LEN`] bytes. [`None`] if it is not IP,
    /// or malformed.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        Ip::parse(&Ethernet::parse(frame)?)?.flow()
    }

    /// Whether these first bytes of a frame are enough for [`parse`](Self::parse). May be `false`
    /// for less than [`HEADERS_LEN`] bytes of a frame with tags, although they are enough.
    #[inline]
    pub fn is_enough(head: &[u8]) -> bool {
        if head.len() >= HEADERS_LEN {
            return true;
        }
        let Some((&[.., type0, type1], packet)) = head.split_first_chunk::<ETH_LEN>() else {
            return false;
        };
        let header_len = match (u16::from_be_bytes([type0, type1]), packet) {
            (ETH_P_IP, [version_ihl, ..]) => usize::from(version_ihl & 0xf) * 4,
            (ETH_P_IPV6, _) => IPV6_LEN,
            _ => return false,
        };
        packet.len() >= header_len + PORTS_LEN
    }
}
