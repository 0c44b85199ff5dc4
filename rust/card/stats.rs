// SPDX-License-Identifier: GPL-2.0

//! The counters of the card. They belong to the port, so taking the interface down does not reset
//! them.
//!
//! A [`Counter`] has a single writer at a time, a [`SharedCounter`] any number of writers.

use crate::nic::counter::{
    Counter,
    SharedCounter, //
};

/// Declares counters with the names under which `ethtool -S` shows them.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident: $counter:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $counter,)*
        }

        impl $name {
            /// Every counter with its name, always in the same order.
            pub(crate) fn each(&self, mut visit: impl FnMut(&'static str, u64)) {
                $(visit(stringify!($field), self.$field.get());)*
            }
        }
    };
}

pub(crate) use counters;

counters! {
    /// Frames lost before they are in a receive queue's ring. Written under the wire lock.
    RxHwStats: Counter {
        /// Frames lost because no buffer was posted: those of XDP, and the stack's with flow
        /// control off (`rx_missed_errors`).
        no_buffer,
        /// Frames lost because they were longer than the port accepts.
        oversize,
    }
}

counters! {
    /// Frames that arrive at a port and are discarded before they reach a receive queue.
    ArrivalStats: SharedCounter {
        /// Frames whose destination the receive filter rejects.
        mac_filter_drop,
        /// Frames whose VLAN the receive filter rejects.
        vlan_filter_drop,
        /// Frames that a steering rule drops.
        ntuple_drop,
    }
}

/// How often the peer paused a transmit queue, and woke it.
#[derive(Default)]
pub(crate) struct PauseStats {
    /// Times the queue, or its AF_XDP sockets, stopped because the peer's ring was full.
    pub(crate) stopped: SharedCounter,
    /// Times the queue was woken by the peer's refill.
    pub(crate) woken: SharedCounter,
}

impl PauseStats {
    /// Every counter with its name, always in the same order.
    pub(crate) fn each(&self, mut visit: impl FnMut(&'static str, u64)) {
        visit("stopped", self.stopped.get());
        visit("woken", self.woken.get());
    }
}
