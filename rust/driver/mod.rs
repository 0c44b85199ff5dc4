// SPDX-License-Identifier: GPL-2.0

//! The driver of the simulated card.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`xdp`] | the XDP hook: `ndo_bpf`, and what becomes of a frame |
//! | [`rx`] | a receive ring: NAPI poll and refill |
//! | [`tx`] | sending: `ndo_start_xmit`, XDP_TX, flow control |
//! | [`watchdog`] | `ndo_tx_timeout`: a transmit queue that was stopped for too long |
//! | [`vsi`] | a port's device: up, down, MTU, counters |
//! | [`newlink`] | making and joining ports: `ip link add … type oxnic` |
//! | [`port`] | what a port and its peer both see |
//! | [`reconfig`] | rings of another size, or another number of them |
//! | [`queue_mgmt`] | one receive queue made anew while the others go on |
//! | [`filter`] | which frames a port receives |
//! | [`ethtool`], [`coalesce`], [`link`], [`ntuple`], [`rss`], [`stats`], [`trace`] | what a person sees and sets |

#![forbid(unsafe_code)]

mod coalesce;
mod ethtool;
mod filter;
mod link;
mod newlink;
mod ntuple;
mod params;
mod port;
mod queue_mgmt;
mod reconfig;
mod rss;
mod rx;
mod stats;
mod trace;
mod tso;
mod tx;
mod vsi;
mod watchdog;
pub(crate) mod xdp;

pub(crate) use newlink::Ports;
pub(crate) use params::Params;

use kernel::{
    alloc::{flags::__GFP_NOWARN, Flags},
    prelude::GFP_KERNEL, //
};

/// Flags for allocations of several pages. If one fails there is no memory dump in the kernel log: the
/// user who asked for the change is told (`ENOMEM`).
fn gfp_nowarn() -> Flags {
    GFP_KERNEL | __GFP_NOWARN
}
