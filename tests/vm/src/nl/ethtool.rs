// SPDX-License-Identifier: GPL-2.0

//! The kernel's `ethtool` netlink family, for what the command does not do in one step.

use super::{attr, generic, number, Attrs};
use crate::bed::Port;
use anyhow::{anyhow, Result};
use netlink_packet_core::NLM_F_DUMP;

pub const ETHTOOL_MSG_LINKINFO_SET: u8 = 3;
pub const ETHTOOL_MSG_LINKMODES_SET: u8 = 5;
pub const ETHTOOL_MSG_LINKSTATE_GET: u8 = 6;
pub const ETHTOOL_MSG_DEBUG_GET: u8 = 7;
pub const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
pub const ETHTOOL_MSG_RINGS_GET: u8 = 15;
pub const ETHTOOL_MSG_RINGS_SET: u8 = 16;
pub const ETHTOOL_MSG_CHANNELS_GET: u8 = 17;
pub const ETHTOOL_MSG_CHANNELS_SET: u8 = 18;
pub const ETHTOOL_MSG_COALESCE_GET: u8 = 19;
pub const ETHTOOL_MSG_COALESCE_SET: u8 = 20;
pub const ETHTOOL_MSG_PAUSE_GET: u8 = 21;
pub const ETHTOOL_MSG_PAUSE_SET: u8 = 22;
pub const ETHTOOL_MSG_RSS_GET: u8 = 38;
const ETHTOOL_MSG_TSCONFIG_SET: u8 = 47;
const ETHTOOL_MSG_RSS_SET: u8 = 48;
const ETHTOOL_MSG_RSS_CREATE_ACT: u8 = 49;
const ETHTOOL_MSG_RSS_DELETE_ACT: u8 = 50;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
/// The first attribute of every request.
const ETHTOOL_A_HEADER: u16 = 1;
const ETHTOOL_A_RINGS_RX: u16 = 6;
const ETHTOOL_A_CHANNELS_COMBINED_COUNT: u16 = 9;
const ETHTOOL_A_RSS_CONTEXT: u16 = 2;
const ETHTOOL_A_RSS_HFUNC: u16 = 3;
pub const ETHTOOL_A_RSS_INDIR: u16 = 4;
pub const ETHTOOL_A_RSS_HKEY: u16 = 5;
pub const ETHTOOL_A_RSS_INPUT_XFRM: u16 = 6;
pub const ETHTOOL_A_RSS_FLOW_HASH: u16 = 8;

pub const ETH_RSS_HASH_XOR: u32 = 1 << 1;
pub const RXH_XFRM_SYM_XOR: u32 = 1 << 0;
pub const RXH_XFRM_SYM_OR_XOR: u32 = 1 << 1;
pub const RXH_VLAN: u32 = 1 << 2;
pub const RXH_IP_SRC: u32 = 1 << 4;
pub const ETHTOOL_A_FLOW_TCP4: u16 = 4;
pub const ETHTOOL_A_FLOW_SCTP4: u16 = 8;

/// What is to be changed about receive side scaling, in one step.
#[derive(Clone, Copy, Default)]
pub struct Rss<'a> {
    /// Which context is meant; the main one, or for one to be made any, if that is 0.
    pub context: u32,
    pub table: Option<&'a [u32]>,
    pub key: Option<&'a [u8]>,
    pub function: Option<u32>,
    pub transform: Option<u32>,
    /// A kind of flow, and its fields.
    pub fields: Option<(u16, u32)>,
}

/// Changes it; a refusal can be downcast to [`super::Refused`].
pub fn set_rss(port: &Port, rss: &Rss<'_>) -> Result<()> {
    port.ns.enter(|| set_rss_of(port.ifindex, rss))
}

/// As [`set_rss`], of a device in this thread's namespace.
pub fn set_rss_of(ifindex: u32, rss: &Rss<'_>) -> Result<()> {
    ask(ETHTOOL_MSG_RSS_SET, 0, rss_attrs(ifindex, rss)).map(drop)
}

/// Makes a context of it and returns its number; a refusal can be downcast to [`super::Refused`].
pub fn create_rss(port: &Port, rss: &Rss<'_>) -> Result<u32> {
    port.ns.enter(|| create_rss_of(port.ifindex, rss))
}

/// As [`create_rss`], of a device in this thread's namespace.
pub fn create_rss_of(ifindex: u32, rss: &Rss<'_>) -> Result<u32> {
    let answers = ask(ETHTOOL_MSG_RSS_CREATE_ACT, 0, rss_attrs(ifindex, rss))?;

    numbers(&answers)?
        .first()
        .copied()
        .ok_or_else(|| anyhow!("no answer to a new context"))
}

/// Deletes a context of a device in this thread's namespace.
pub fn delete_rss_of(ifindex: u32, context: u32) -> Result<()> {
    let attrs = header(ifindex).put_u32(ETHTOOL_A_RSS_CONTEXT, context);

    ask(ETHTOOL_MSG_RSS_DELETE_ACT, 0, attrs).map(drop)
}

/// The numbers of all contexts, also the main one's, which is 0.
pub fn rss_contexts(port: &Port) -> Result<Vec<u32>> {
    numbers(&all_rss(port)?)
}

/// The attributes of all contexts, the main one first.
pub fn all_rss(port: &Port) -> Result<Vec<Vec<u8>>> {
    let attrs = header(port.ifindex);

    port.ns
        .enter(|| ask(ETHTOOL_MSG_RSS_GET, NLM_F_DUMP, attrs))
}

fn numbers(answers: &[Vec<u8>]) -> Result<Vec<u32>> {
    answers
        .iter()
        .map(|answer| {
            let context = attr(answer, ETHTOOL_A_RSS_CONTEXT).map_or(Ok(0), number)?;
            Ok(u32::try_from(context)?)
        })
        .collect()
}

fn rss_attrs(ifindex: u32, rss: &Rss<'_>) -> Attrs {
    let mut attrs = header(ifindex);

    if rss.context != 0 {
        attrs = attrs.put_u32(ETHTOOL_A_RSS_CONTEXT, rss.context);
    }
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
    attrs
}

const ETHTOOL_A_TSCONFIG_TX_TYPES: u16 = 3;
const ETHTOOL_A_TSCONFIG_RX_FILTERS: u16 = 4;
const ETHTOOL_A_BITSET_NOMASK: u16 = 1;
const ETHTOOL_A_BITSET_SIZE: u16 = 2;
const ETHTOOL_A_BITSET_VALUE: u16 = 4;
/// Numbers of values of `enum hwtstamp_tx_types` and `enum hwtstamp_rx_filters`.
const TX_TYPES: u32 = 4;
const RX_FILTERS: u32 = 16;

/// Sets which frames get time stamps for sockets, by numbers of these enumerations; a refusal can
/// be downcast to [`super::Refused`].
pub fn set_tsconfig(port: &Port, tx_type: Option<u32>, rx_filter: Option<u32>) -> Result<()> {
    let mut attrs = header(port.ifindex);

    for (kind, count, number) in [
        (ETHTOOL_A_TSCONFIG_TX_TYPES, TX_TYPES, tx_type),
        (ETHTOOL_A_TSCONFIG_RX_FILTERS, RX_FILTERS, rx_filter),
    ] {
        if let Some(number) = number {
            let bits = Attrs::default()
                .put(ETHTOOL_A_BITSET_NOMASK, &[])
                .put_u32(ETHTOOL_A_BITSET_SIZE, count)
                .put_u32(ETHTOOL_A_BITSET_VALUE, 1 << number);

            attrs = attrs.nest(kind, bits);
        }
    }
    port.ns
        .enter(|| ask(ETHTOOL_MSG_TSCONFIG_SET, 0, attrs))
        .map(drop)
}

/// The attributes of the answers to questions about a port.
pub fn get_each(port: &Port, commands: &[u8]) -> Result<Vec<Vec<u8>>> {
    port.ns.enter(|| {
        commands
            .iter()
            .map(|command| {
                ask(*command, 0, header(port.ifindex))?
                    .into_iter()
                    .next()
                    .ok_or_else(|| anyhow!("no answer to command {command}"))
            })
            .collect()
    })
}

/// As [`get_each`], to a single question.
pub fn get(port: &Port, command: u8) -> Result<Vec<u8>> {
    Ok(get_each(port, &[command])?.concat())
}

/// Sets one attribute; a refusal can be downcast to [`super::Refused`].
pub fn set(port: &Port, command: u8, kind: u16, value: &[u8]) -> Result<()> {
    let attrs = header(port.ifindex).put(kind, value);

    port.ns.enter(|| ask(command, 0, attrs)).map(drop)
}

/// Sets the size of the receive rings of a device in this thread's namespace.
pub fn set_rx_ring(ifindex: u32, size: u32) -> Result<()> {
    let attrs = header(ifindex).put_u32(ETHTOOL_A_RINGS_RX, size);

    ask(ETHTOOL_MSG_RINGS_SET, 0, attrs).map(drop)
}

/// Sets how many combined channels a device in this thread's namespace has.
pub fn set_channels(ifindex: u32, count: u32) -> Result<()> {
    let attrs = header(ifindex).put_u32(ETHTOOL_A_CHANNELS_COMBINED_COUNT, count);

    ask(ETHTOOL_MSG_CHANNELS_SET, 0, attrs).map(drop)
}

/// The attributes of every request start with the device.
fn header(ifindex: u32) -> Attrs {
    Attrs::default().nest(
        ETHTOOL_A_HEADER,
        Attrs::default().put_u32(ETHTOOL_A_HEADER_DEV_INDEX, ifindex),
    )
}

fn ask(command: u8, flags: u16, attrs: Attrs) -> Result<Vec<Vec<u8>>> {
    generic::ask("ethtool", command, flags, attrs)
}
