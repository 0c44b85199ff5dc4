// SPDX-License-Identifier: GPL-2.0

//! Steps 3 and 4: `ndo_bpf`, and how a program is published to the device and to every ring.
//!
//! The kernel comes from `do_setlink` by way of `dev_change_xdp_fd`, `dev_xdp_attach` and
//! `dev_xdp_install` (net/core/dev.c), which calls `ndo_bpf`.

use crate::{
    driver::{
        trace::{
            program,
            Trace, //
        },
        vsi::{
            self,
            Vsi, //
        },
    },
    net::{
        device::LockedDevice,
        rtnl::{
            ExtAck,
            Rtnl, //
        },
        xdp::{
            Command,
            Prog, //
        },
    },
    netdev_info,
};
use kernel::{
    prelude::*,
    str::BStr,
    sync::aref::ARef, //
};

impl Vsi {
    /// `ndo_bpf`: a command of the XDP control path.
    pub(crate) fn xdp(&self, dev: &LockedDevice, command: Command<'_>, rtnl: &Rtnl) -> Result {
        match command {
            Command::SetupProg { prog, extack } => self.xdp_setup(dev, prog, extack, rtnl),
            Command::SetupProgHw { extack } => {
                extack.set(fmt!("oxnic runs programs in the driver, not in hardware"));
                Err(EOPNOTSUPP)
            }
            Command::SetupXskPool | Command::Other => Err(EOPNOTSUPP),
        }
    }

    /// `XDP_SETUP_PROG`: makes `prog` the program of the device and of each of its rings.
    ///
    /// Rings keep running: each uses the old program up to some frame and the new one from the next
    /// poll on. A ring that is down has it when it comes up.
    ///
    /// A program that cannot handle frames in several buffers is refused while the MTU allows for
    /// such, and keeps the MTU from being raised as long as it is there. Frames that came before the
    /// MTU was lowered may still be in a ring: [`check_frags`](super::run::RxContext::check_frags) keeps them from the program.
    fn xdp_setup(
        &self,
        dev: &LockedDevice,
        prog: Option<ARef<Prog>>,
        extack: ExtAck<'_>,
        rtnl: &Rtnl,
    ) -> Result {
        let trace = Trace::new(dev, &self.settings);
        let new = prog.as_deref();
        let max_mtu = vsi::max_mtu(new);
        if dev.mtu() > max_mtu {
            extack.set(fmt!(
                "the program has no frags support, so the MTU may be at most {max_mtu}"
            ));
            return Err(EOPNOTSUPP);
        }
        dev.set_max_mtu(max_mtu, rtnl);
        let meta = self.rx_metadata(new, dev.features());
        self.port.for_each_running(|hw| hw.meta = meta);
        if trace.drv() {
            match new {
                Some(prog) => netdev_info!(
                    dev,
                    "ndo_bpf: XDP_SETUP_PROG, program id {} \"{}\"\n",
                    prog.id(),
                    BStr::from_bytes(prog.name())
                ),
                None => netdev_info!(dev, "ndo_bpf: XDP_SETUP_PROG, no program\n"),
            }
        }

        let old = self.xdp_prog.xchg(prog.clone(), rtnl);
        if trace.drv() {
            netdev_info!(
                dev,
                "vsi.xdp_prog: xchg: {} -> {}\n",
                program(old.as_deref().map(Prog::id)),
                program(new.map(Prog::id))
            );
        }

        for ring in self.rx_rings.iter() {
            // A poll that still runs the old program is an RCU reader: the program outlives it.
            drop(ring.xdp_prog.write_once(prog.clone(), rtnl));
            if trace.drv() {
                netdev_info!(
                    dev,
                    "rx_ring[{}].xdp_prog: WRITE_ONCE: {}\n",
                    ring.index(),
                    program(new.map(Prog::id))
                );
            }
        }

        // bpf_prog_put: here the device gives up its own reference to the old program.
        drop(old);
        Ok(())
    }
}
