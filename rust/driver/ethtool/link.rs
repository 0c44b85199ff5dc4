// SPDX-License-Identifier: GPL-2.0

//! The link's settings as the user sees and sets them (`ethtool DEVICE`, `ethtool -s`).

use crate::{
    compat::EOPNOTSUPP,
    driver::vsi::Vsi,
    net::{
        device::Device,
        ethtool::LinkSettings, //
    },
    netdev_info, //
};
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// The highest speed in Mbit/s that can be set: above any Ethernet.
const MAX_SPEED: u32 = 10_000_000;

impl Vsi {
    /// The settings of the link; without a carrier the speed is unknown.
    pub(crate) fn get_link_settings(&self) -> LinkSettings {
        let link = self.port.has_link(&self.peer.get());
        LinkSettings {
            speed: link.then(|| self.port.speed.load(Ordering::Relaxed)),
            full_duplex: link.then_some(true),
            autoneg: false,
        }
    }

    /// Sets the speed at both ends of the wire, with or without a carrier. An unknown speed changes
    /// nothing: for settings that the user did not name, the kernel passes the current ones. This
    /// callback has no extack, so the kernel log says why something is refused.
    pub(crate) fn change_link_settings(&self, dev: &Device, new: LinkSettings) -> Result {
        let refuse = |why: &str, error| {
            netdev_info!(dev, "link: {}\n", why);
            Err(error)
        };
        if new.autoneg {
            return refuse("autonegotiation not supported", EOPNOTSUPP);
        }
        if new.full_duplex == Some(false) {
            return refuse("half duplex not supported", EINVAL);
        }
        match new.speed {
            Some(speed @ 1..=MAX_SPEED) => {
                self.port.speed.store(speed, Ordering::Relaxed);
                self.peer.get().speed.store(speed, Ordering::Relaxed);
                Ok(())
            }
            None => Ok(()),
            _ => refuse("speed must be 1 to 10000000 Mb/s", EINVAL),
        }
    }
}
