// SPDX-License-Identifier: GPL-2.0

//! The driver of the simulated card.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`xdp`] | the XDP hook: `ndo_bpf`, and what becomes of a frame (steps 3, 4, 6 and 7) |
//! | [`rx`] | receive rings: NAPI poll and refill, and how rings are made and freed |
//! | [`tx`] | sending: `ndo_start_xmit` with flow control, `ndo_xdp_xmit`, `ndo_tx_timeout` |
//! | [`vsi`] | a port's device: up, down, MTU, counters |
//! | [`newlink`] | making and joining ports: `ip link add … type oxnic` |
//! | [`reconfig`] | rings of another size, or another number of them |
//! | [`queue_mgmt`] | one receive queue is restarted while the others go on |
//! | [`rx_mode`] | which frames a port accepts |
//! | [`ethtool`] | what `ethtool` shows and sets |
//! | [`features`] | which features the stack may use for a single skb |
//! | [`settings`] | what is set, as far as polls read it |
//! | [`params`] | what the module is loaded with |
//! | [`trace`] | what the driver says in the kernel log |
//!
//! What it drives is in [`card`](crate::card).

#![forbid(unsafe_code)]

mod ethtool;
mod features;
mod newlink;
mod params;
mod queue_mgmt;
mod reconfig;
mod rx;
mod rx_mode;
mod settings;
mod trace;
mod tx;
mod vsi;
pub(crate) mod xdp;

pub(crate) use newlink::Ports;
pub(crate) use params::Params;
