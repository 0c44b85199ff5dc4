// SPDX-License-Identifier: GPL-2.0

//! The simulated hardware of the NIC: what a data sheet would describe.
//!
//! Plain Rust on `core`, without calls to the kernel. So the same files are part of the kernel
//! module and of a library on the host, on which unit tests, a model checker and an interpreter
//! run. Only [`storage`] names types of the kernel: containers and a marker trait.
//!
//! A frame passes through these files in this order:
//!
//! - [`tso`]: a large TCP frame of the stack is cut into segments;
//! - [`filter`]: whether the receiving port accepts the frame;
//! - [`steering`]: which queue the frame goes to, by its hash ([`rss`]) or by a rule ([`ntuple`]);
//! - [`wire`]: the frame is copied into the next posted buffers of the receiving port, and a VLAN
//!   tag ([`vlan`]) is inserted or stripped;
//! - [`ring`]: the buffer is handed to the receiving driver, with a [`completion`];
//! - [`irq`]: the receiving driver is interrupted, at most once per batch and moderated, adaptively
//!   by [`dim`];
//! - [`merge`]: which segments of a TCP frame the receiving driver may put together again;
//! - [`pause`]: a sender that found no buffer is woken when there are some again;
//! - [`need_wakeup`]: a refill that found no buffer is repeated when user space has some.
//!
//! [`headers`] parses the frame for the files that need its headers, and [`checksum`] verifies it.
//! [`switches`] says what a port
//! does differently so as to be like another card.
//!
//! Nothing here takes a lock, allocates, or writes a shared cache line per frame.

pub mod cache;
pub mod checksum;
pub mod completion;
pub mod counter;
pub mod dim;
pub mod filter;
pub mod headers;
pub mod irq;
pub mod merge;
pub mod need_wakeup;
pub mod ntuple;
pub mod pause;
pub mod ring;
pub mod rss;
pub mod steering;
pub mod storage;
pub mod switches;
mod sync;
pub mod tso;
pub mod vlan;
pub mod wire;
