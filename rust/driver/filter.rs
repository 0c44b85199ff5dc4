// SPDX-License-Identifier: GPL-2.0

//! The receive filter as the stack sets it: for the port's own address, for the user (`ip link set …
//! promisc on`, `ip maddr`) and for what is on top of the port, such as VLANs and macvlans.
//!
//! Every change makes a new filter and exchanges it: see [`Filter`].

use super::{gfp_nowarn, port::Port, trace::Trace, vsi::Vsi};
use crate::{
    net::{bh, device::Device, rtnl::Rtnl, rx_mode::RxMode},
    nic::filter::{Filter, Mode, MULTICAST_LEN, UNICAST_LEN},
};
use kernel::{alloc::KVBox, prelude::*};

/// A filter that lets everything in. Fails with `ENOMEM`.
pub(super) fn everything() -> Result<KVBox<Filter>> {
    KVBox::init(pin_init::init_zeroed::<Filter>(), gfp_nowarn())
}

impl Port {
    /// Changes the filter, from some frame on, and returns what `change` does. Fails with `ENOMEM`;
    /// everything is as it was then.
    pub(super) fn change_filter<R>(
        &self,
        _rtnl: &Rtnl,
        change: impl FnOnce(&mut Filter) -> R,
    ) -> Result<R> {
        let mut filter = everything()?;
        filter.clone_from(self.filter.read(&bh::disable()));
        let result = change(&mut filter);
        if *filter != *self.filter.read(&bh::disable()) {
            self.filter.replace(filter);
        }
        Ok(result)
    }
}

impl Vsi {
    pub(super) fn change_rx_mode(&self, dev: &Device, mode: &RxMode<'_>, rtnl: &Rtnl) -> Result {
        let (old, new) = self.port.change_filter(rtnl, |filter| {
            let old = filter.overflow();
            let mode_bits = Mode {
                promiscuous: mode.is_promiscuous(),
                all_multicast: mode.is_all_multicast(),
            };
            filter.set_mode(mode_bits, mode.addresses());
            (old, filter.overflow())
        })?;
        let trace = Trace::new(dev, &self.port);
        if old.unicast != new.unicast {
            trace.overflow("unicast", UNICAST_LEN, new.unicast);
        }
        if old.multicast != new.multicast {
            trace.overflow("multicast", MULTICAST_LEN, new.multicast);
        }
        Ok(())
    }
}
