// SPDX-License-Identifier: GPL-2.0

//! Interrupt moderation as the user sets it (`ethtool -C`).

use super::vsi::Vsi;
use crate::net::{ethtool::Coalesce, rtnl::ExtAck};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use kernel::prelude::*;

/// The longest time in microseconds: about as long as on cards.
const MAX_USECS: u32 = 10_000;

/// How many frames interrupt a poll before its time.
const DEFAULT_FRAMES: u32 = 64;

/// The settings of a port, each written under the instance lock of its device.
pub(super) struct Settings {
    usecs: AtomicU32,
    frames: AtomicU32,
    adaptive: AtomicBool,
}

impl Settings {
    /// Adaptive moderation.
    pub(super) fn new() -> Self {
        Self {
            usecs: AtomicU32::new(0),
            frames: AtomicU32::new(DEFAULT_FRAMES),
            adaptive: AtomicBool::new(true),
        }
    }

    /// For how long a poll is not to be interrupted again in microseconds; `None` if that is for the
    /// ring to find out.
    #[inline]
    pub(super) fn usecs(&self) -> Option<u32> {
        (!self.adaptive.load(Ordering::Relaxed)).then(|| self.usecs.load(Ordering::Relaxed))
    }

    /// How many filled buffers interrupt a poll before its time, in a ring of `size` descriptors: at
    /// the latest when half of it is filled.
    pub(super) fn frames(&self, size: u32) -> u32 {
        let half = size / 2;
        match self.frames.load(Ordering::Relaxed) {
            0 => half,
            frames => frames.min(half),
        }
    }
}

impl Vsi {
    pub(super) fn get_coalesce(&self) -> Coalesce {
        let settings = &self.port.coalesce;
        Coalesce {
            rx_usecs: settings.usecs.load(Ordering::Relaxed),
            rx_frames: settings.frames.load(Ordering::Relaxed),
            adaptive_rx: settings.adaptive.load(Ordering::Relaxed),
        }
    }

    /// Rings that are up obey from their next interrupt on.
    pub(super) fn change_coalesce(&self, new: Coalesce, extack: ExtAck<'_>) -> Result {
        if new.rx_usecs > MAX_USECS {
            extack.set(fmt!("rx-usecs: at most {MAX_USECS}"));
            return Err(EINVAL);
        }
        let ring_size = self.port.ring_size();
        if new.rx_frames > ring_size {
            extack.set(fmt!("rx-frames: at most {ring_size}, the size of the ring"));
            return Err(EINVAL);
        }
        let settings = &self.port.coalesce;
        settings.usecs.store(new.rx_usecs, Ordering::Relaxed);
        settings.frames.store(new.rx_frames, Ordering::Relaxed);
        settings.adaptive.store(new.adaptive_rx, Ordering::Relaxed);
        let frames = settings.frames(ring_size);
        self.port.set_inlets(|inlet| inlet.most_waiting = frames);
        Ok(())
    }
}
