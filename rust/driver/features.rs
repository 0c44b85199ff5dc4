// SPDX-License-Identifier: GPL-2.0

//! Which features the stack may use for a single skb (`ndo_features_check`).

use crate::{
    net::{
        device::feature,
        skbuff::SkBuff, //
    },
    nic::{
        tso,
        vlan::Protocol,
        wire::TxFrame, //
    },
};

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
    let more_tags = match skb.vlan_tag() {
        Some(tag) if !inserts(tag.protocol, features) => 1,
        _ => 0,
    };
    tso::finds_tcp(&TxFrame::head(skb), more_tags)
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
