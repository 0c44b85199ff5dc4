// SPDX-License-Identifier: GPL-2.0

//! A flood, the places where the kernel can drop it, and what that costs. The sample `hook_cost` is
//! made of it, and so is a part of `make bench`, which has more sources and verdicts.

pub mod chart;
pub mod cost;
pub mod host;
pub mod pktgen;
pub mod place;
pub mod programs;
pub mod progress;
pub mod socket;
pub mod text;
