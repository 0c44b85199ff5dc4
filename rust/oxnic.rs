// SPDX-License-Identifier: GPL-2.0

//! oxnic: a multi-queue network card simulated in memory, and its driver, which shows the driver's
//! side of the XDP hook.
//!
//! - [`dest`]: where bytes are copied to;
//! - [`compat`]: what older kernels lack;
//! - [`bindings`]: the kernel's C interface, as bindgen translates it;
//! - [`net`]: safe abstractions over it, for any driver of a network card;
//! - [`nic`]: the simulated hardware;
//! - [`card`]: the card that it makes, with the kernel's services;
//! - [`driver`]: the driver of the card. Start at [`driver::xdp`].

use kernel::prelude::*;

mod bindings;
mod card;
mod compat;
pub mod dest;
mod driver;
// Made for any driver; this one does not use all of it.
#[allow(dead_code, unused_imports)]
mod net;
pub mod nic;

module! {
    type: Oxnic,
    name: "oxnic",
    authors: ["The oxnic authors"],
    description: "Multi-queue network card simulated in memory, with native XDP",
    license: "GPL v2",
    alias: ["rtnl-link-oxnic"],
    imports_ns: ["NETDEV_INTERNAL"],
    params: {
        pairs: i64 {
            default: 1,
            description: "Pairs of joined ports, 0 to 64 (default 1)",
        },
        queues: i64 {
            default: i64::MIN,
            description: "Queues of a port, 1 to 64 (default: the number of CPUs, at most 4)",
        },
        ring_size: i64 {
            default: 512,
            description: "Descriptors of a receive ring, a power of two from 64 to 4096 (default 512)",
        },
    },
}

/// The loaded module: all its ports.
struct Oxnic {
    _ports: driver::Ports,
}

impl kernel::Module for Oxnic {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let queues = compat::param(module_parameters::queues.value());
        let params = driver::Params::new(
            compat::param(module_parameters::pairs.value()),
            (queues != i64::MIN).then_some(queues),
            compat::param(module_parameters::ring_size.value()),
        )
        .map_err(|refused| {
            pr_err!("{}\n", refused);
            EINVAL
        })?
        .with_personality(net::module_param::personality())
        .map_err(|name| {
            pr_err!("personality={}: there is none of this name\n", name);
            EINVAL
        })?;
        Ok(Self {
            _ports: driver::Ports::new(params)?,
        })
    }
}
