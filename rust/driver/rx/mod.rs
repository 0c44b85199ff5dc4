// SPDX-License-Identifier: GPL-2.0

//! Receive rings.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`ring`] | a receive ring: its program and its counters |
//! | [`memory`] | what the ring's buffers are: pages, or frames of AF_XDP sockets |
//! | [`merge`] | TCP segments that the card cut from one frame are put together again |
//! | [`poll`] | step 6: the NAPI poll, which cleans the ring, and the refill |
//! | [`life`] | how a ring is allocated, run, stopped and freed |

pub(super) mod life;
pub(super) mod memory;
mod merge;
mod poll;
pub(super) mod ring;
