// SPDX-License-Identifier: GPL-2.0

//! Flow steering rules (`ethtool -n`, `-N … flow-type`).

use super::{
    EthtoolOps,
    Ops, //
};
use crate::{
    bindings,
    net::device::private::{
        data,
        locked, //
    },
};
use core::slice;
use kernel::{
    error::from_result,
    prelude::*, //
};

/// What kind of frame a rule is about.
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

/// What a rule looks at, as it is in a frame: values, or which of their bits count.
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

/// What becomes of a frame.
#[derive(Clone, Copy)]
pub(crate) enum RuleAction {
    /// It goes to this queue.
    Queue(u32),
    /// It goes to the queue that an RSS context says, and from there so many on (`FLOW_RSS`).
    Rss {
        /// Number of the context; 0 is the main one.
        context: u32,
        /// What is added to the queue of its table.
        offset: u32,
    },
    /// It is dropped (`RX_CLS_FLOW_DISC`).
    Drop,
}

/// A rule (`struct ethtool_rx_flow_spec`).
#[derive(Clone, Copy)]
pub(crate) struct FlowRule {
    /// What kind of frame it is about.
    pub(crate) flow: RuleFlow,
    /// What is in the frame.
    pub(crate) fields: RuleFields,
    /// Which bits of that count.
    pub(crate) mask: RuleFields,
    /// What becomes of it.
    pub(crate) action: RuleAction,
}

/// Where a new rule goes.
#[derive(Clone, Copy)]
pub(crate) enum RulePlace {
    /// To this place, in place of what is there.
    At(u32),
    /// To any, in place of a rule about the same frames if there is one (`RX_CLS_LOC_ANY`).
    Any,
    /// To a free one in front (`RX_CLS_LOC_FIRST`).
    First,
    /// To a free one at the end (`RX_CLS_LOC_LAST`).
    Last,
}

/// `RX_CLS_FLOW_DISC`, which bindgen has with another type.
const DROP: u64 = u64::MAX;

impl FlowRule {
    /// What the C structure asks for; [`None`] if that cannot be said in these terms.
    fn from_raw(rxnfc: &bindings::ethtool_rxnfc) -> Option<Self> {
        const EXTRAS: u32 = bindings::FLOW_EXT | bindings::FLOW_MAC_EXT | bindings::FLOW_RSS;
        let spec = &rxnfc.fs;
        let flow = RuleFlow::from_number(spec.flow_type & !EXTRAS)?;
        let (mut fields, mut mask) = (RuleFields::default(), RuleFields::default());
        // SAFETY: All arms of the unions are plain bytes and integers, and the kernel has
        // initialized all of it.
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
        // Queues of virtual functions, Wake-on-LAN and dropping are larger numbers.
        let queue = u32::try_from(spec.ring_cookie);
        let action = if spec.flow_type & bindings::FLOW_RSS != 0 {
            RuleAction::Rss {
                // SAFETY: Both arms of the union are one number.
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

    /// The same as C structure.
    fn to_raw(self, location: u32, rxnfc: &mut bindings::ethtool_rxnfc) {
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
            // Not compared, since its mask stays zero.
            spec.h_u.usr_ip4_spec.ip_ver = bindings::ETH_RX_NFC_IP4 as u8;
        }
    }
}

/// An IPv4 address among the longer ones.
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

/// # Safety
///
/// `spec` must be initialized as a whole.
unsafe fn read(flow: RuleFlow, spec: &bindings::ethtool_flow_union, to: &mut RuleFields) {
    // SAFETY: All arms are plain bytes and integers, initialized by the caller's promise.
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

/// Whether a mask leaves alone what [`read`] does not read.
///
/// # Safety
///
/// `mask` must be initialized as a whole.
unsafe fn supports_rest(flow: RuleFlow, mask: &bindings::ethtool_flow_union) -> bool {
    // SAFETY: All arms are plain bytes and integers, initialized by the caller's promise.
    unsafe {
        match flow {
            RuleFlow::Ipv4 => mask.usr_ip4_spec.l4_4_bytes == 0 && mask.usr_ip4_spec.ip_ver == 0,
            RuleFlow::Ipv6 => mask.usr_ip6_spec.l4_4_bytes == 0,
            _ => true,
        }
    }
}

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

impl<T: Ops> EthtoolOps<T> {
    /// # Safety
    ///
    /// Called by the kernel as `get_rxnfc`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn rxnfc(
        dev: *mut bindings::net_device,
        rxnfc: *mut bindings::ethtool_rxnfc,
        places: *mut u32,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, rxnfc) = unsafe { (data::<T>(dev), &mut *rxnfc) };
        let mut count = 0_u32;
        data.each_rule(&mut |_| count += 1);
        let size = data.max_rules();
        from_result(|| {
            match rxnfc.cmd {
                bindings::ETHTOOL_GRXCLSRLCNT => {
                    rxnfc.__bindgen_anon_1.rule_cnt = count;
                    rxnfc.data = u64::from(size | bindings::RX_CLS_LOC_SPECIAL);
                }
                bindings::ETHTOOL_GRXCLSRULE => {
                    let place = rxnfc.fs.location;
                    data.rule(place).ok_or(ENOENT)?.to_raw(place, rxnfc);
                }
                bindings::ETHTOOL_GRXCLSRLALL => {
                    // SAFETY: Both arms of the union are one number.
                    let room = unsafe { rxnfc.__bindgen_anon_1.rule_cnt };
                    if count > room {
                        return Err(EMSGSIZE);
                    }
                    if count != 0 {
                        // SAFETY: There are so many places, which are this callback's.
                        let places = unsafe { slice::from_raw_parts_mut(places, room as usize) };
                        let mut places = places.iter_mut();
                        data.each_rule(&mut |place| {
                            if let Some(to) = places.next() {
                                *to = place;
                            }
                        });
                    }
                    rxnfc.__bindgen_anon_1.rule_cnt = count;
                    rxnfc.data = size.into();
                }
                _ => return Err(EOPNOTSUPP),
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_rxnfc`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn set_rxnfc(
        dev: *mut bindings::net_device,
        rxnfc: *mut bindings::ethtool_rxnfc,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under its lock, with a structure that
        // is ours.
        let ((data, dev), rxnfc) = unsafe { (locked::<T>(dev), &mut *rxnfc) };
        from_result(|| {
            match rxnfc.cmd {
                bindings::ETHTOOL_SRXCLSRLINS => {
                    let place = match rxnfc.fs.location {
                        bindings::RX_CLS_LOC_ANY => RulePlace::Any,
                        bindings::RX_CLS_LOC_FIRST => RulePlace::First,
                        bindings::RX_CLS_LOC_LAST => RulePlace::Last,
                        place => RulePlace::At(place),
                    };
                    let rule = FlowRule::from_raw(rxnfc);
                    rxnfc.fs.location = data.add_rule(dev, place, rule)?;
                }
                bindings::ETHTOOL_SRXCLSRLDEL => {
                    data.delete_rule(dev, rxnfc.fs.location)?;
                }
                _ => return Err(EOPNOTSUPP),
            }
            Ok(0)
        })
    }
}
