// SPDX-License-Identifier: GPL-2.0

//! The driver of the simulated card.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`xdp`] | the XDP hook: `ndo_bpf`, the program's run and its verdict (steps 3, 4, 6, 7) |
//! | [`rx`] | receive rings: NAPI poll, refill, and their life cycle |
//! | [`tx`] | sending: `ndo_start_xmit` with flow control, `ndo_xdp_xmit`, `ndo_tx_timeout` |
//! | [`vsi`] | a port's device: up, down, MTU, counters |
//! | [`newlink`] | creating and joining ports: `ip link add … type oxnic` |
//! | [`reconfig`] | changing the size and the number of the rings |
//! | [`queue_mgmt`] | restarting one receive queue while the others go on |
//! | [`rx_mode`] | which frames a port accepts |
//! | [`ethtool`] | the callbacks of ethtool |
//! | [`features`] | which features the stack may use for a single skb |
//! | [`hwtstamp`] | time stamps for sockets |
//! | [`settings`] | settings of the user that polls read |
//! | [`switches`] | what the port does as other cards do |
//! | [`params`] | module parameters |
//! | [`trace`] | the lines in the kernel log |
//!
//! The card that it drives is [`card`](crate::card).

#![forbid(unsafe_code)]

mod ethtool;
mod features;
mod hwtstamp;
mod newlink;
mod params;
mod queue_mgmt;
mod reconfig;
mod rx;
mod rx_mode;
mod settings;
mod switches;
mod trace;
mod tx;
mod vsi;
pub(crate) mod xdp;

pub(crate) use newlink::Ports;
pub(crate) use params::Params;
