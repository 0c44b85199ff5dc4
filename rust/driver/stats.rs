// SPDX-License-Identifier: GPL-2.0

//! Counters. They belong to a port for as long as it exists: taking the interface down lowers none.
//!
//! A [`Counter`] has a single writer: the ring's poll, the holder of the ring's wire lock, or the
//! holder of the transmit queue's lock. A [`SharedCounter`] has many.

use crate::nic::{
    cache::{CacheAligned, LINE_LEN},
    counter::{Counter, SharedCounter},
    tso::Progress,
};
use core::mem::offset_of;

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

counters! {
    /// What the poll of a receive ring counts. A frame that met a program is in exactly one of the
    /// `xdp_…` counters.
    RxStats: Counter {
        /// Frames taken off the ring, those that XDP consumed too.
        packets,
        /// Their bytes, without the frame check sequence.
        bytes,
        /// Frames among them that came in more than one buffer.
        multi_buffer,
        /// Frames with the verdict XDP_PASS.
        xdp_pass,
        /// Frames with the verdict XDP_DROP.
        xdp_drop,
        /// Frames with the verdict XDP_TX that went out.
        xdp_tx,
        /// Their bytes as sent, without the frame check sequence.
        xdp_tx_bytes,
        /// Frames with the verdict XDP_TX that did not go out: the peer was down.
        xdp_tx_errors,
        /// Frames with the verdict XDP_REDIRECT that were taken by their target.
        xdp_redirect,
        /// Frames with the verdict XDP_REDIRECT that were lost.
        xdp_redirect_errors,
        /// Frames lost by the verdict XDP_ABORTED.
        xdp_aborted,
        /// Frames lost by a number that is no verdict.
        xdp_unknown,
        /// Frames in more than one buffer that were lost because the program does not support such.
        xdp_no_frags,
        /// Frames for the stack that were lost because there was no memory for an skb.
        skb_alloc_fail,
        /// Refills that were cut short because there was no memory for a buffer; no frame is lost
        /// by it.
        buf_alloc_fail,
        /// Frames that were in the ring when the port went down.
        down,
    }
}

counters! {
    /// What the NIC counts in front of a receive ring, under its wire lock.
    WireStats: Counter {
        /// Frames lost because no buffer was posted: those of XDP, and the stack's with flow control
        /// off.
        no_buffer,
        /// Frames lost because they were longer than the port takes.
        oversize,
    }
}

counters! {
    /// What the NIC counts of the frames that arrive at a port and get into no ring.
    ArrivalStats: SharedCounter {
        /// Frames whose destination the receive filter does not let in.
        mac_filter_drop,
        /// Frames whose VLAN the receive filter does not let in.
        vlan_filter_drop,
        /// Frames that a steering rule drops.
        ntuple_drop,
    }
}

counters! {
    /// What a transmit queue counts, under its lock.
    TxStats: Counter {
        /// Frames put on the wire for the stack.
        packets,
        /// Their bytes, without the frame check sequence.
        bytes,
        /// Skbs lost because they contradicted themselves.
        dropped,
        /// Skbs lost because the peer was down.
        carrier,
        /// Times the queue stopped because the peer's ring was full.
        stopped,
        /// Times it was stopped for too long (`ndo_tx_timeout`). Written only by the kernel's watchdog.
        timeout,
    }
}

counters! {
    /// What is counted of a transmit queue by the peer's polls.
    WakeStats: SharedCounter {
        /// Times the queue was woken by the peer's refill.
        woken,
    }
}

counters! {
    /// What `ndo_xdp_xmit` counts, for the transmit queue that goes with the CPU.
    XmitStats: SharedCounter {
        /// Frames of other devices put on the wire.
        xdp_xmit,
        /// Their bytes, without the frame check sequence.
        xdp_xmit_bytes,
        /// Frames of other devices that did not get on the wire: an end was down.
        xdp_xmit_errors,
    }
}

/// All counters of a transmit queue, and what else there is to remember. Three CPUs may be at them at once:
/// the stack's sender, the peer's poll, and who redirects frames to the port.
#[derive(Default)]
pub(crate) struct TxQueueStats {
    /// Frames of the stack.
    pub(crate) stack: CacheAligned<TxStats>,
    /// The large frame among them that waits in the middle.
    pub(crate) progress: Progress,
    /// Their waiting.
    pub(crate) wake: CacheAligned<WakeStats>,
    /// Frames of other devices.
    pub(crate) xmit: CacheAligned<XmitStats>,
}

// Each on cache lines of its own, which are not those of another queue either.
const _: () = {
    assert!(offset_of!(TxQueueStats, stack) % LINE_LEN == 0);
    assert!(offset_of!(TxQueueStats, wake) % LINE_LEN == 0);
    assert!(offset_of!(TxQueueStats, xmit) % LINE_LEN == 0);
    assert!(align_of::<TxQueueStats>() % LINE_LEN == 0);
};

impl TxQueueStats {
    /// Every counter with its name, always in the same order.
    pub(crate) fn each(&self, mut visit: impl FnMut(&'static str, u64)) {
        self.stack.each(&mut visit);
        self.wake.each(&mut visit);
        self.xmit.each(&mut visit);
    }
}
