// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over the kernel's networking API for drivers of network cards with XDP.
//!
//! Each C object is one type here, and the context a call needs is an argument instead of a
//! comment: [`rtnl::Rtnl`] for what must hold the RTNL lock, [`device::LockedDevice`] for what must
//! hold the instance lock of a device, [`bh::Disabled`] for what must run with bottom halves off,
//! [`napi::Context`] for what must run in a NAPI poll. Nothing here knows which driver uses it, but
//! [`events`].

/// A C callback of a table, if the driver has a method for it.
macro_rules! callback {
    ($has:expr, $callback:expr) => {
        if $has {
            Some($callback)
        } else {
            None
        }
    };
}

pub(crate) mod bh;
pub(crate) mod clock;
pub(crate) mod debugfs;
pub(crate) mod device;
pub(crate) mod ethtool;
pub(crate) mod events;
pub(crate) mod gfp;
pub(crate) mod hwtstamp;
// Public for the loom model in tests/host.
#[allow(unreachable_pub)]
mod ipi;
pub(crate) mod irq;
pub(crate) mod module_param;
pub(crate) mod napi;
pub(crate) mod page_pool;
pub(crate) mod print;
pub(crate) mod queue_mgmt;
pub(crate) mod queues;
pub(crate) mod rcu;
pub(crate) mod rtnl;
pub(crate) mod rtnl_link;
pub(crate) mod rx_mode;
pub(crate) mod skbuff;
mod text;
pub(crate) mod timer;
pub(crate) mod xdp;
pub(crate) mod xsk;
