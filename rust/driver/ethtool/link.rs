// SPDX-License-Identifier: GPL-2.0

//! The link's settings as the user sees and sets them (`ethtool DEVICE`, `ethtool -s`).

use crate::{
    driver::vsi::Vsi,
    net::{
        device::Device,
        ethtool::LinkSettings, //
    },
    netdev_info, //
};
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// The fastest that can be set: faster than any Ethernet.
const MAX_SPEED: u32 = 10_000_000;

impl Vsi {
    /// Without a carrier there is no speed.
    pub(crate) fn get_link_settings(&self) -> LinkSettings {
        let link = self.port.is_up() && self.peer.get().is_up();
        LinkSettings {
            speed: link.then(|| self.port.speed.load(Ordering::Relaxed)),
            full_duplex: link.then_some(true),
            autoneg: false,
        }
    }

    /// A wire has one speed, at both ends, also if it is set while there is no carrier. What is not known
    /// stays as it is: the kernel hands back what it was told of settings that the user did not name.
    /// ethtool has no other way to be told why than the kernel log.
    pub(crate) fn change_link_settings(&self, dev: &Device, new: LinkSettings) -> Result {
        let refuse = |why: &str, error| {
            netdev_info!(dev, "link: {} is refused\n", why);
            Err(error)
        };
        if new.autoneg {
            return refuse("autoneg on (the wire negotiates nothing)", EOPNOTSUPP);
        }
        if new.full_duplex == Some(false) {
            return refuse("half duplex", EINVAL);
        }
        match new.speed {
            Some(speed @ 1..=MAX_SPEED) => {
                self.port.speed.store(speed, Ordering::Relaxed);
                self.peer.get().speed.store(speed, Ordering::Relaxed);
                Ok(())
            }
            None => Ok(()),
            _ => refuse("a speed other than 1 to 10000000 Mb/s", EINVAL),
        }
    }
}
