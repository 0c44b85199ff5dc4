// SPDX-License-Identifier: GPL-2.0

//! A flow steering rule (`struct ethtool_rx_flow_spec`).

use crate::bindings;

/// The protocols that a frame must have to match a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleFlow {
    /// `ether`: any frame.
    Ether,
    /// `ip4`: IPv4.
    Ipv4,
    /// `tcp4`: TCP over IPv4.
    TcpV4,
    /// `udp4`: UDP over IPv4.
    UdpV4,
    /// `ip6`: IPv6.
    Ipv6,
    /// `tcp6`: TCP over IPv6.
    TcpV6,
    /// `udp6`: UDP over IPv6.
    UdpV6,
}

impl RuleFlow {
    const NUMBERS: [(Self, u32); 7] = [
        (Self::Ether, bindings::ETHER_FLOW),
        (Self::Ipv4, bindings::IPV4_USER_FLOW),
        (Self::TcpV4, bindings::TCP_V4_FLOW),
        (Self::UdpV4, bindings::UDP_V4_FLOW),
        (Self::Ipv6, bindings::IPV6_USER_FLOW),
        (Self::TcpV6, bindings::TCP_V6_FLOW),
        (Self::UdpV6, bindings::UDP_V6_FLOW),
    ];

    fn number(self) -> u32 {
        let all = Self::NUMBERS.iter();
        let mut found = all.filter(|(flow, _)| *flow == self);
        found.next().map_or(0, |(_, number)| *number)
    }

    fn from_number(number: u32) -> Option<Self> {
        let mut all = Self::NUMBERS.iter();
        Some(all.find(|(_, n)| *n == number)?.0)
    }
}

/// The fields that a rule matches, in network byte order: their values, or a mask for these.
#[derive(Clone, Copy, Default)]
pub(crate) struct RuleFields {
    /// Destination address of the Ethernet header.
    pub(crate) dst_mac: [u8; 6],
    /// Source address of the Ethernet header.
    pub(crate) src_mac: [u8; 6],
    /// EtherType.
    pub(crate) ether_type: [u8; 2],
    /// EtherType of the outermost VLAN tag.
    pub(crate) vlan_type: [u8; 2],
    /// Tag control information of the outermost VLAN tag.
    pub(crate) vlan_tci: [u8; 2],
    /// Source address; of IPv4 in the first four bytes.
    pub(crate) src_ip: [u8; 16],
    /// Destination address; of IPv4 in the first four bytes.
    pub(crate) dst_ip: [u8; 16],
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    /// Protocol, or next header.
    pub(crate) protocol: u8,
    /// Source port.
    pub(crate) src_port: [u8; 2],
    /// Destination port.
    pub(crate) dst_port: [u8; 2],
}

/// What happens to a matching frame.
#[derive(Clone, Copy)]
pub(crate) enum RuleAction {
    /// It goes to this queue.
    Queue(u32),
    /// It goes to the queue that an RSS context yields, plus an offset (`FLOW_RSS`).
    Rss {
        /// Number of the context; 0 is the main one.
        context: u32,
        /// The offset that is added to the queue from the table.
        offset: u32,
    },
    /// It is dropped (`RX_CLS_FLOW_DISC`).
    Drop,
}

/// A rule (`struct ethtool_rx_flow_spec`).
#[derive(Clone, Copy)]
pub(crate) struct FlowRule {
    /// The protocols that the frame must have.
    pub(crate) flow: RuleFlow,
    /// The values of its fields.
    pub(crate) fields: RuleFields,
    /// The bits of `fields` that must be equal.
    pub(crate) mask: RuleFields,
    /// What happens to the frame.
    pub(crate) action: RuleAction,
}

/// The location of a new rule.
#[derive(Clone, Copy)]
pub(crate) enum RulePlace {
    /// This location. A rule that is there is replaced.
    At(u32),
    /// That of a rule that matches the same frames, which is replaced, else any free location
    /// (`RX_CLS_LOC_ANY`).
    Any,
    /// The first free location (`RX_CLS_LOC_FIRST`).
    First,
    /// The last free location (`RX_CLS_LOC_LAST`).
    Last,
}

/// `RX_CLS_FLOW_DISC`, which bindgen translates to another type.
const DROP: u64 = u64::MAX;

impl FlowRule {
    /// The rule in the C structure; [`None`] if this type cannot express it.
    pub(super) fn from_raw(rxnfc: &bindings::ethtool_rxnfc) -> Option<Self> {
        const EXTRAS: u32 = bindings::FLOW_EXT | bindings::FLOW_MAC_EXT | bindings::FLOW_RSS;
        let spec = &rxnfc.fs;
        let flow = RuleFlow::from_number(spec.flow_type & !EXTRAS)?;
        let (mut fields, mut mask) = (RuleFields::default(), RuleFields::default());
        // SAFETY: All arms of the unions are bytes and integers, and the kernel has initialised the
        // whole structure.
        let supported = unsafe {
            read(flow, &spec.h_u, &mut fields);
            read(flow, &spec.m_u, &mut mask);
            supports_rest(flow, &spec.m_u)
        };
        for (ext, fields) in [(&spec.h_ext, &mut fields), (&spec.m_ext, &mut mask)] {
            if spec.flow_type & bindings::FLOW_EXT != 0 {
                fields.vlan_type = ext.vlan_etype.to_ne_bytes();
                fields.vlan_tci = ext.vlan_tci.to_ne_bytes();
            }
            if spec.flow_type & bindings::FLOW_MAC_EXT != 0 {
                fields.dst_mac = ext.h_dest;
            }
        }
        let user_def = spec.flow_type & bindings::FLOW_EXT != 0 && spec.m_ext.data != [0; 2];
        // Larger than a `u32` for a queue of a virtual function, Wake-on-LAN, and dropping.
        let queue = u32::try_from(spec.ring_cookie);
        let action = if spec.flow_type & bindings::FLOW_RSS != 0 {
            RuleAction::Rss {
                // SAFETY: Both arms of the union are one integer.
                context: unsafe { rxnfc.__bindgen_anon_1.rss_context },
                offset: queue.ok()?,
            }
        } else if spec.ring_cookie == DROP {
            RuleAction::Drop
        } else {
            RuleAction::Queue(queue.ok()?)
        };
        (supported && !user_def).then_some(Self {
            flow,
            fields,
            mask,
            action,
        })
    }

    /// Writes the rule to the C structure.
    pub(super) fn to_raw(self, location: u32, rxnfc: &mut bindings::ethtool_rxnfc) {
        let Self {
            flow,
            fields,
            mask,
            action,
        } = self;
        let spec = &mut rxnfc.fs;
        spec.flow_type = flow.number();
        spec.location = location;
        spec.ring_cookie = match action {
            RuleAction::Queue(queue) => queue.into(),
            RuleAction::Rss { context, offset } => {
                spec.flow_type |= bindings::FLOW_RSS;
                rxnfc.__bindgen_anon_1.rss_context = context;
                offset.into()
            }
            RuleAction::Drop => DROP,
        };
        if mask.vlan_type != [0; 2] || mask.vlan_tci != [0; 2] {
            spec.flow_type |= bindings::FLOW_EXT;
        }
        if flow != RuleFlow::Ether && mask.dst_mac != [0; 6] {
            spec.flow_type |= bindings::FLOW_MAC_EXT;
        }
        write(flow, &fields, &mut spec.h_u);
        write(flow, &mask, &mut spec.m_u);
        for (ext, fields) in [(&mut spec.h_ext, &fields), (&mut spec.m_ext, &mask)] {
            ext.vlan_etype = u16::from_ne_bytes(fields.vlan_type);
            ext.vlan_tci = u16::from_ne_bytes(fields.vlan_tci);
            if flow != RuleFlow::Ether {
                ext.h_dest = fields.dst_mac;
            }
        }
        if flow == RuleFlow::Ipv4 {
            // Its mask is zero, so the kernel does not compare it.
            spec.h_u.usr_ip4_spec.ip_ver = bindings::ETH_RX_NFC_IP4 as u8;
        }
    }
}

/// An IPv4 address in the first four bytes.
fn widen(address: u32) -> [u8; 16] {
    let mut wide = [0; 16];
    for (to, from) in wide.iter_mut().zip(address.to_ne_bytes()) {
        *to = from;
    }
    wide
}

fn narrow(address: &[u8; 16]) -> u32 {
    let [a, b, c, d, ..] = *address;
    u32::from_ne_bytes([a, b, c, d])
}

/// The words of an IPv6 address, whose bytes are in network order already.
fn words(address: &[u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(address.chunks_exact(4)) {
        *word = bytes.try_into().map_or(0, u32::from_ne_bytes);
    }
    words
}

fn bytes(words: &[u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let all = words.iter().flat_map(|word| word.to_ne_bytes());
    for (to, from) in bytes.iter_mut().zip(all) {
        *to = from;
    }
    bytes
}

/// Reads the fields of a specification, or of its mask.
///
/// # Safety
///
/// All of `spec` must be initialised.
unsafe fn read(flow: RuleFlow, spec: &bindings::ethtool_flow_union, to: &mut RuleFields) {
    // SAFETY: All arms are bytes and integers, initialised by the caller's promise.
    unsafe {
        match flow {
            RuleFlow::Ether => {
                let spec = &spec.ether_spec;
                to.dst_mac = spec.h_dest;
                to.src_mac = spec.h_source;
                to.ether_type = spec.h_proto.to_ne_bytes();
            }
            RuleFlow::Ipv4 => {
                let spec = &spec.usr_ip4_spec;
                to.src_ip = widen(spec.ip4src);
                to.dst_ip = widen(spec.ip4dst);
                to.tos = spec.tos;
                to.protocol = spec.proto;
            }
            RuleFlow::TcpV4 | RuleFlow::UdpV4 => {
                let spec = &spec.tcp_ip4_spec;
                to.src_ip = widen(spec.ip4src);
                to.dst_ip = widen(spec.ip4dst);
                to.src_port = spec.psrc.to_ne_bytes();
                to.dst_port = spec.pdst.to_ne_bytes();
                to.tos = spec.tos;
            }
            RuleFlow::Ipv6 => {
                let spec = &spec.usr_ip6_spec;
                to.src_ip = bytes(&spec.ip6src);
                to.dst_ip = bytes(&spec.ip6dst);
                to.tos = spec.tclass;
                to.protocol = spec.l4_proto;
            }
            RuleFlow::TcpV6 | RuleFlow::UdpV6 => {
                let spec = &spec.tcp_ip6_spec;
                to.src_ip = bytes(&spec.ip6src);
                to.dst_ip = bytes(&spec.ip6dst);
                to.src_port = spec.psrc.to_ne_bytes();
                to.dst_port = spec.pdst.to_ne_bytes();
                to.tos = spec.tclass;
            }
        }
    }
}

/// Whether a mask is zero in the fields that [`read`] does not read.
///
/// # Safety
///
/// All of `mask` must be initialised.
unsafe fn supports_rest(flow: RuleFlow, mask: &bindings::ethtool_flow_union) -> bool {
    // SAFETY: All arms are bytes and integers, initialised by the caller's promise.
    unsafe {
        match flow {
            RuleFlow::Ipv4 => mask.usr_ip4_spec.l4_4_bytes == 0 && mask.usr_ip4_spec.ip_ver == 0,
            RuleFlow::Ipv6 => mask.usr_ip6_spec.l4_4_bytes == 0,
            _ => true,
        }
    }
}

/// Writes the fields to a specification, or to its mask.
fn write(flow: RuleFlow, from: &RuleFields, spec: &mut bindings::ethtool_flow_union) {
    match flow {
        RuleFlow::Ether => {
            spec.ether_spec = bindings::ethhdr {
                h_dest: from.dst_mac,
                h_source: from.src_mac,
                h_proto: u16::from_ne_bytes(from.ether_type),
            };
        }
        RuleFlow::Ipv4 => {
            spec.usr_ip4_spec = bindings::ethtool_usrip4_spec {
                ip4src: narrow(&from.src_ip),
                ip4dst: narrow(&from.dst_ip),
                l4_4_bytes: 0,
                tos: from.tos,
                ip_ver: 0,
                proto: from.protocol,
            };
        }
        RuleFlow::TcpV4 | RuleFlow::UdpV4 => {
            spec.tcp_ip4_spec = bindings::ethtool_tcpip4_spec {
                ip4src: narrow(&from.src_ip),
                ip4dst: narrow(&from.dst_ip),
                psrc: u16::from_ne_bytes(from.src_port),
                pdst: u16::from_ne_bytes(from.dst_port),
                tos: from.tos,
            };
        }
        RuleFlow::Ipv6 => {
            spec.usr_ip6_spec = bindings::ethtool_usrip6_spec {
                ip6src: words(&from.src_ip),
                ip6dst: words(&from.dst_ip),
                l4_4_bytes: 0,
                tclass: from.tos,
                l4_proto: from.protocol,
            };
        }
        RuleFlow::TcpV6 | RuleFlow::UdpV6 => {
            spec.tcp_ip6_spec = bindings::ethtool_tcpip6_spec {
                ip6src: words(&from.src_ip),
                ip6dst: words(&from.dst_ip),
                psrc: u16::from_ne_bytes(from.src_port),
                pdst: u16::from_ne_bytes(from.dst_port),
                tclass: from.tos,
            };
        }
    }
}
