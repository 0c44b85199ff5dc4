// SPDX-License-Identifier: GPL-2.0

//! The simulated hardware of the oxnic module as a library, for tests on the host.

#![no_std]
#[cfg(not(MODULE))]
extern crate std;

#[path = "../../../rust/nic/mod.rs"]
pub mod nic;
