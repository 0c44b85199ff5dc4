// SPDX-License-Identifier: GPL-2.0

//! The simulated hardware of the NIC: what a data sheet would describe.
//!
//! Plain Rust on `core` that calls nothing of the kernel, so that the same files are a part of the
//! kernel module and a library on the host, where tests, a model checker and an interpreter can
//! look at them. Only [`storage`] names kernel types, and no more than names them.
//!
//! A frame passes through these files in this order:
//!
//! - [`tso`]: a large frame of the stack is cut into several;
//! - [`filter`]: whether the receiving port takes the frame at all;
//! - [`steering`]: which queue the frame goes to, by its hash ([`rss`]) or a
//!   rule ([`ntuple`]);
//! - [`wire`]: the frame is copied into the next buffers that the receiving port has posted, and a
//!   VLAN tag ([`vlan`]) put in or taken out;
//! - [`ring`]: the buffer, with a completion, goes over to the receiving driver;
//! - [`irq`]: the receiving driver is told, once per batch, if need be on another CPU;
//! - [`pause`]: a sender that found no buffer is told when there are some again.
//!
//! Nothing here takes a lock, allocates, or writes a shared cache line per frame.

pub mod cache;
pub mod counter;
pub mod filter;
pub mod irq;
pub mod ntuple;
pub mod pause;
pub mod ring;
pub mod rss;
pub mod steering;
pub mod storage;
mod sync;
pub mod tso;
pub mod vlan;
pub mod wire;
