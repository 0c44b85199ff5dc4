// SPDX-License-Identifier: GPL-2.0

//! Receive rings.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`ring`] | a receive ring: its program and its counters |
//! | [`poll`] | step 6: the NAPI poll, which cleans the ring, and the refill |
//! | [`life`] | how a ring is allocated, run, stopped and freed |

pub(super) mod life;
mod poll;
pub(super) mod ring;
