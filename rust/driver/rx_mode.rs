// SPDX-License-Identifier: GPL-2.0

//! The receive filter as the stack sets it: for the user (`ip link set … promisc on`, `ip maddr`)
//! and for devices on top of the port, such as VLANs and macvlans.
//!
//! A change replaces the whole filter by a changed copy.

use super::{
    trace::Trace,
    vsi::Vsi, //
};
use crate::{
    net::{
        device::Device,
        rtnl::Rtnl,
        rx_mode::RxMode, //
    },
    nic::filter::{
        Filter,
        Mode,
        MULTICAST_LEN,
        UNICAST_LEN, //
    },
};
use kernel::prelude::*;

impl Vsi {
    /// Changes the receive filter, and returns the result of `change`. Fails with `ENOMEM`, and
    /// changes nothing then.
    ///
    /// Senders that wait go on: the frame in front may be one that is rejected now.
    pub(crate) fn change_filter<R>(
        &self,
        rtnl: &Rtnl,
        change: impl FnOnce(&mut Filter) -> R,
    ) -> Result<R> {
        let result = self.port.steering.change_filter(rtnl, change)?;
        self.peer.get().wake_all(&self.port);
        Ok(result)
    }

    pub(crate) fn change_rx_mode(&self, dev: &Device, mode: &RxMode<'_>, rtnl: &Rtnl) -> Result {
        let (old, new) = self.change_filter(rtnl, |filter| {
            let old = filter.overflow();
            let mode_bits = Mode {
                promiscuous: mode.is_promiscuous(),
                all_multicast: mode.is_all_multicast(),
            };
            filter.set_mode(mode_bits, mode.addresses());
            (old, filter.overflow())
        })?;
        let trace = Trace::new(dev, &self.settings);
        if old.unicast != new.unicast {
            trace.overflow(false, UNICAST_LEN, new.unicast);
        }
        if old.multicast != new.multicast {
            trace.overflow(true, MULTICAST_LEN, new.multicast);
        }
        Ok(())
    }
}
