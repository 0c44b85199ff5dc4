// SPDX-License-Identifier: GPL-2.0

//! A transmit queue: its counters, and the progress of a large frame that waits for buffers.

use crate::{
    card::stats::counters,
    nic::{
        cache::{
            CacheAligned,
            LINE_LEN, //
        },
        counter::{
            Counter,
            SharedCounter, //
        },
        tso::Progress, //
    },
};
use core::mem::offset_of;

counters! {
    /// The counters of a transmit queue, written under its lock.
    TxStats: Counter {
        /// Frames of the stack that were sent.
        packets,
        /// Their bytes, without the frame check sequence.
        bytes,
        /// Skbs lost because they were malformed.
        dropped,
        /// Skbs lost because the peer was down.
        carrier,
        /// Times it was stopped for too long (`ndo_tx_timeout`). Written only by the kernel's
        /// watchdog.
        timeout,
    }
}

counters! {
    /// The counters of `ndo_xdp_xmit`, which uses the transmit queue of its CPU.
    XmitStats: SharedCounter {
        /// Frames of other devices that were sent.
        xdp_xmit,
        /// Their bytes, without the frame check sequence.
        xdp_xmit_bytes,
        /// Frames of other devices that were lost: this port or the peer was down.
        xdp_xmit_errors,
    }
}

/// A transmit queue. Two CPUs may use it at once: the stack's sender, and one that redirects frames
/// to the port.
#[derive(Default)]
pub(crate) struct TxRing {
    /// Frames of the stack.
    pub(crate) stats: CacheAligned<TxStats>,
    /// How many segments of a large frame have been sent, while it waits for buffers.
    pub(crate) progress: Progress,
    /// Frames of other devices.
    pub(crate) xmit: CacheAligned<XmitStats>,
}

// On separate cache lines: different CPUs write the two, and different queues.
const _: () = {
    assert!(offset_of!(TxRing, stats) % LINE_LEN == 0);
    assert!(offset_of!(TxRing, xmit) % LINE_LEN == 0);
    assert!(align_of::<TxRing>() % LINE_LEN == 0);
};
