// SPDX-License-Identifier: GPL-2.0

//! The kernel's `ethtool` netlink family, for what the command does not do in one step.

use super::{generic, Attrs};
use crate::bed::Port;
use anyhow::Result;

const ETHTOOL_MSG_RSS_SET: u8 = 48;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_RSS_HEADER: u16 = 1;
const ETHTOOL_A_RSS_HFUNC: u16 = 3;
const ETHTOOL_A_RSS_INDIR: u16 = 4;
const ETHTOOL_A_RSS_HKEY: u16 = 5;
const ETHTOOL_A_RSS_INPUT_XFRM: u16 = 6;
const ETHTOOL_A_RSS_FLOW_HASH: u16 = 8;

pub const ETH_RSS_HASH_XOR: u32 = 1 << 1;
pub const RXH_XFRM_SYM_OR_XOR: u32 = 1 << 1;
pub const RXH_VLAN: u32 = 1 << 2;
pub const RXH_IP_SRC: u32 = 1 << 4;
pub const ETHTOOL_A_FLOW_TCP4: u16 = 4;
pub const ETHTOOL_A_FLOW_SCTP4: u16 = 8;

/// What is to be changed about receive side scaling, in one step.
#[derive(Clone, Copy, Default)]
pub struct Rss<'a> {
    pub table: Option<&'a [u32]>,
    pub key: Option<&'a [u8]>,
    pub function: Option<u32>,
    pub transform: Option<u32>,
    /// A kind of flow, and its fields.
    pub fields: Option<(u16, u32)>,
}

/// Changes it; a refusal can be downcast to [`super::Refused`].
pub fn set_rss(port: &Port, rss: &Rss<'_>) -> Result<()> {
    let header = Attrs::default().put_u32(ETHTOOL_A_HEADER_DEV_INDEX, port.ifindex);
    let mut attrs = Attrs::default().nest(ETHTOOL_A_RSS_HEADER, header);

    if let Some(table) = rss.table {
        let table: Vec<_> = table.iter().flat_map(|queue| queue.to_ne_bytes()).collect();
        attrs = attrs.put(ETHTOOL_A_RSS_INDIR, &table);
    }
    if let Some(key) = rss.key {
        attrs = attrs.put(ETHTOOL_A_RSS_HKEY, key);
    }
    for (kind, number) in [
        (ETHTOOL_A_RSS_HFUNC, rss.function),
        (ETHTOOL_A_RSS_INPUT_XFRM, rss.transform),
    ] {
        if let Some(number) = number {
            attrs = attrs.put_u32(kind, number);
        }
    }
    if let Some((flow, fields)) = rss.fields {
        attrs = attrs.nest(
            ETHTOOL_A_RSS_FLOW_HASH,
            Attrs::default().put_u32(flow, fields),
        );
    }
    port.ns
        .enter(|| generic::ask("ethtool", ETHTOOL_MSG_RSS_SET, 0, attrs))
        .map(drop)
}
