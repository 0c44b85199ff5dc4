// SPDX-License-Identifier: GPL-2.0

//! Transmit queues.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`ring`] | a transmit queue and its counters |
//! | [`start_xmit`] | `ndo_start_xmit`: the stack's frames, and flow control |
//! | [`xdp_xmit`] | `ndo_xdp_xmit`: frames that other devices redirect to this one |
//! | [`xmit_gate`] | whether they can be redirected to it |
//! | [`xsk_xmit`] | what AF_XDP sockets send in zero-copy mode |
//! | [`timeout`] | `ndo_tx_timeout`: a queue that was stopped for too long |

pub(super) mod ring;
mod start_xmit;
mod timeout;
mod xdp_xmit;
pub(super) mod xmit_gate;
pub(super) mod xsk_xmit;
