// SPDX-License-Identifier: GPL-2.0

//! Steps 3 and 4: `ndo_bpf`, which gives a program to the device and to every ring.
//!
//! The kernel's way here: `do_setlink` (net/core/rtnetlink.c) -> `dev_change_xdp_fd` ->
//! `dev_xdp_attach` -> `dev_xdp_install` (net/core/dev.c) -> `ndo_bpf`.

use crate::{
    compat::EOPNOTSUPP,
    driver::{
        trace::Trace,
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
};
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

impl Vsi {
    /// Step 3, `ndo_bpf`: a command of the XDP control path.
    pub(crate) fn xdp(&self, dev: &LockedDevice, command: Command<'_>, rtnl: &Rtnl) -> Result {
        match command {
            Command::SetupProg { prog, extack } => self.xdp_setup(dev, prog, extack, rtnl),
            Command::SetupProgHw { extack } => {
                extack.set(fmt!("oxnic runs programs in the driver, not in hardware"));
                Err(EOPNOTSUPP)
            }
            Command::SetupXskPool { queue, pool } => self.setup_xsk_pool(dev, queue, pool, rtnl),
            Command::Other => Err(EOPNOTSUPP),
        }
    }

    /// Step 4, `XDP_SETUP_PROG`: makes `prog` the program of the device and of each of its rings.
    ///
    /// Rings keep running: a poll that has begun goes on with the old program, the next one runs
    /// the new one. A ring that is down gets it too, for when it comes up.
    ///
    /// A program that does not support multi-buffer frames is refused while the MTU allows for such
    /// frames, and limits the MTU while it is attached. Frames that arrived before the MTU was
    /// lowered may still be in a ring: `RxContext::check_frags` keeps them from the program.
    fn xdp_setup(
        &self,
        dev: &LockedDevice,
        prog: Option<ARef<Prog>>,
        extack: ExtAck<'_>,
        rtnl: &Rtnl,
    ) -> Result {
        let trace = Trace::new(dev, &self.settings);
        let new = prog.as_deref();
        trace.setup_prog(new);
        let max_mtu = vsi::max_mtu(new);
        if dev.mtu() > max_mtu {
            extack.set(fmt!(
                "the program has no frags support, so the MTU may be at most {max_mtu}"
            ));
            return Err(EOPNOTSUPP);
        }
        dev.set_max_mtu(max_mtu, rtnl);
        // From now on the card collects what the new program may ask for.
        let meta = self.rx_metadata(new, dev.features());
        self.port.for_each_running(|hw| hw.meta = meta);

        // Step 4: xchg in the device, WRITE_ONCE in each ring, bpf_prog_put.
        let old = self.xdp_prog.xchg(prog.clone(), rtnl);
        trace.xchg(old.as_deref(), new);
        for ring in self.rx_rings.iter() {
            // The drop is bpf_prog_put of the ring's reference. A poll that still runs the old
            // program is an RCU reader: the program outlives it.
            drop(ring.xdp_prog.write_once(prog.clone(), rtnl));
            trace.write_once(ring.index(), new);
        }
        // bpf_prog_put: drops the device's own reference to the old program.
        drop(old);
        Ok(())
    }
}
