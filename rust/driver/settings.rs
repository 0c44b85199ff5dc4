// SPDX-License-Identifier: GPL-2.0

//! The settings of a port that its polls read.

use crate::{
    net::ethtool::msg,
    nic::switches::Switches, //
};
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering, //
};

/// Message types that are printed by default.
const DEFAULT_MSG: u32 = msg::DRV;

/// How many filled buffers raise an interrupt early by default.
const DEFAULT_FRAMES: u32 = 64;

/// Size of the transmit rings of AF_XDP by default.
const DEFAULT_TX_RING: u32 = 512;

/// Frames for the stack are not copied by default: a page_pool gives a buffer for less than an skb
/// with memory of its own costs.
const DEFAULT_RX_COPYBREAK: u32 = 0;

/// The settings of a port, each written under the instance lock of its device.
pub(crate) struct Settings {
    /// Message types that are printed (`ethtool -s … msglvl`).
    pub(crate) msg_enable: AtomicU32,
    /// Interrupt moderation (`ethtool -C`).
    pub(crate) coalesce: CoalesceSettings,
    /// Time stamps for sockets (`ndo_hwtstamp_set`).
    pub(crate) hwtstamp: HwtstampSettings,
    /// How many descriptors of AF_XDP sockets a queue reads at a time, and so the most that wait
    /// for the peer's buffers (`ethtool -G … tx`).
    pub(crate) tx_ring_size: AtomicU32,
    /// The longest frame, in bytes, that is copied to an skb of its own size when it goes to the
    /// stack, so that its buffer stays in the ring; 0: none (`ethtool --set-tunable …
    /// rx-copybreak`).
    pub(crate) rx_copybreak: AtomicU32,
    /// What the port does as other cards do, [`Switches`] (`ethtool --set-priv-flags`).
    switches: AtomicU32,
}

impl Settings {
    /// The defaults.
    pub(crate) fn new() -> Self {
        Self {
            msg_enable: AtomicU32::new(DEFAULT_MSG),
            coalesce: CoalesceSettings {
                rx_usecs: AtomicU32::new(0),
                rx_frames: AtomicU32::new(DEFAULT_FRAMES),
                adaptive_rx: AtomicBool::new(true),
            },
            hwtstamp: HwtstampSettings {
                tx: AtomicBool::new(false),
                rx: AtomicBool::new(false),
            },
            tx_ring_size: AtomicU32::new(DEFAULT_TX_RING),
            rx_copybreak: AtomicU32::new(DEFAULT_RX_COPYBREAK),
            switches: AtomicU32::new(Switches::NONE.bits()),
        }
    }

    /// What the port does as other cards do.
    #[inline]
    pub(crate) fn switches(&self) -> Switches {
        Switches::from_bits(self.switches.load(Ordering::Relaxed))
    }

    /// Sets what the port does as other cards do. The driver must tell the kernel what follows from
    /// that.
    pub(super) fn set_switches(&self, switches: Switches) {
        self.switches.store(switches.bits(), Ordering::Relaxed);
    }
}

/// Which frames get time stamps of the card for sockets.
pub(crate) struct HwtstampSettings {
    /// Those of the stack that are sent, if their sender asks for it.
    pub(crate) tx: AtomicBool,
    /// All that are received.
    pub(crate) rx: AtomicBool,
}

/// Interrupt moderation.
pub(crate) struct CoalesceSettings {
    pub(crate) rx_usecs: AtomicU32,
    pub(crate) rx_frames: AtomicU32,
    pub(crate) adaptive_rx: AtomicBool,
}

impl CoalesceSettings {
    /// How long interrupts are held back after a poll, in microseconds; [`None`] if that is
    /// adaptive.
    #[inline]
    pub(crate) fn usecs(&self) -> Option<u32> {
        let adaptive = self.adaptive_rx.load(Ordering::Relaxed);
        (!adaptive).then(|| self.rx_usecs.load(Ordering::Relaxed))
    }

    /// How many filled buffers raise an interrupt early, in a ring of `size` descriptors: at most
    /// half of them.
    pub(crate) fn frames(&self, size: u32) -> u32 {
        let half = size / 2;
        match self.rx_frames.load(Ordering::Relaxed) {
            0 => half,
            frames => frames.min(half),
        }
    }
}
