// SPDX-License-Identifier: GPL-2.0

//! Interrupt moderation as the user sets it (`ethtool -C`).

use crate::{
    driver::vsi::Vsi,
    net::{
        ethtool::Coalesce,
        rtnl::ExtAck, //
    },
};
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// The longest delay of an interrupt in microseconds, similar to that of real cards.
const MAX_USECS: u32 = 10_000;

impl Vsi {
    pub(crate) fn get_coalesce(&self) -> Coalesce {
        let settings = &self.settings.coalesce;
        Coalesce {
            rx_usecs: settings.rx_usecs.load(Ordering::Relaxed),
            rx_frames: settings.rx_frames.load(Ordering::Relaxed),
            adaptive_rx: settings.adaptive_rx.load(Ordering::Relaxed),
        }
    }

    /// Running rings use the new settings from their next interrupt on.
    pub(crate) fn change_coalesce(&self, new: Coalesce, extack: ExtAck<'_>) -> Result {
        if new.rx_usecs > MAX_USECS {
            extack.set(fmt!("rx-usecs: at most {MAX_USECS}"));
            return Err(EINVAL);
        }
        let ring_size = self.port.ring_size();
        if new.rx_frames > ring_size {
            extack.set(fmt!("rx-frames: at most {ring_size}, the size of the ring"));
            return Err(EINVAL);
        }
        let settings = &self.settings.coalesce;
        settings.rx_usecs.store(new.rx_usecs, Ordering::Relaxed);
        settings.rx_frames.store(new.rx_frames, Ordering::Relaxed);
        settings
            .adaptive_rx
            .store(new.adaptive_rx, Ordering::Relaxed);
        let frames = settings.frames(ring_size);
        self.port.for_each_running(|hw| hw.max_frames = frames);
        Ok(())
    }
}
