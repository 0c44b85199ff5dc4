// SPDX-License-Identifier: GPL-2.0

//! The simulated hardware of the oxnic module as a library, for tests on the host; and the claim on
//! a cross-CPU call, which loom checks too.

#![no_std]
#[cfg(not(MODULE))]
extern crate std;

#[path = "../../../rust/dest.rs"]
pub mod dest;

#[path = "../../../rust/nic/mod.rs"]
pub mod nic;

#[path = "../../../rust/net/ipi.rs"]
pub mod ipi;
