// SPDX-License-Identifier: GPL-2.0

//! Which features the stack may use for a single skb (`ndo_features_check`).

use crate::{
    net::{
        device::feature,
        skbuff::SkBuff, //
    },
    nic::vlan::{
        Protocol,
        TAG_LEN, //
    },
};

/// Length of the two addresses in front of an EtherType.
const ADDRESSES_LEN: usize = 12;

/// EtherTypes of IPv4 and IPv6.
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Length of an IPv6 header, and the offset of its next-header field.
const IPV6_LEN: usize = 40;
const IPV6_NEXT_HEADER: usize = 6;

/// The IP protocol number of TCP.
const TCP: u8 = 6;

/// The features that the stack may use for `skb`: `features`, without segmentation offload if the
/// card would not find the TCP header of a large frame.
#[inline]
pub(super) fn check(skb: &SkBuff, features: u64) -> u64 {
    if skb.gso_size().is_some() && !can_segment(skb, features) {
        return features & !feature::GSO;
    }
    features
}

/// Whether the card finds the TCP header: not after IPv6 extension headers, nor in PPPoE
/// (`pppoe_gro_receive` merges such frames), nor after more than two VLAN tags. The skb's network
/// header does not say where IP starts: `skb_vlan_push` moves it too.
fn can_segment(skb: &SkBuff, features: u64) -> bool {
    // Counts a tag in the skb's metadata that the card cannot insert: the stack puts it into the
    // frame after this check.
    let mut tags = match skb.vlan_tag() {
        Some(tag) if !inserts(tag.protocol, features) => 1,
        _ => 0,
    };
    let mut offset = ADDRESSES_LEN;
    loop {
        let Some(ethertype) = skb.bytes(offset).map(u16::from_be_bytes) else {
            return false;
        };
        offset += size_of_val(&ethertype);
        if Protocol::from_ethertype(ethertype).is_none() {
            return match ethertype {
                ETHERTYPE_IPV4 => true,
                ETHERTYPE_IPV6 => is_tcp_next(skb, offset),
                _ => false,
            };
        }
        tags += 1;
        if tags > 2 {
            return false;
        }
        offset += TAG_LEN - size_of_val(&ethertype);
    }
}

/// Whether the card inserts tags of this type into frames.
fn inserts(ethertype: u16, features: u64) -> bool {
    let needed = match Protocol::from_ethertype(ethertype) {
        Some(Protocol::Customer) => feature::VLAN_CTAG_TX,
        Some(Protocol::Service) => feature::VLAN_STAG_TX,
        None => return false,
    };
    features & needed != 0
}

/// Whether TCP follows the IPv6 header directly.
fn is_tcp_next(skb: &SkBuff, offset: usize) -> bool {
    let header: Option<[u8; IPV6_LEN]> = skb.bytes(offset);
    header.is_some_and(|header| header.get(IPV6_NEXT_HEADER) == Some(&TCP))
}
