// SPDX-License-Identifier: GPL-2.0

//! Steps 3 and 4: `ndo_bpf`, which gives a program to the device and to every ring.
//!
//! The kernel's way here: `do_setlink` (net/core/rtnetlink.c) -> `dev_change_xdp_fd` ->
//! `dev_xdp_attach` -> `dev_xdp_install` (net/core/dev.c) -> `ndo_bpf`.

use crate::{
    compat::EOPNOTSUPP,
    driver::{
        reconfig::NewRings,
        switches::LINK_LOSS_NS,
        trace::Trace,
        vsi::Vsi, //
    },
    net::{
        bh,
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
    nic::switches::Switches,
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
    ///
    /// With some [switches](crate::driver::switches) the rings are reset meanwhile, or the link is
    /// lost afterwards.
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
        self.check_prog(dev, new, extack)?;
        let old = self.xdp_prog.get();
        let disruption = self.disruption(old.as_deref(), new);
        let rings = self.rings_for_reset(dev, disruption, new, extack)?;
        if let Some(rings) = rings {
            let lost = self.frames_lost_in_rings();
            self.exchange_rings(dev, rings, |_| {}, || self.set_prog(dev, &prog, rtnl));
            trace.rings_reset(self.frames_lost_in_rings() - lost);
        } else {
            self.set_prog(dev, &prog, rtnl);
        }
        self.announce(dev, rtnl);
        let peer = self.peer.get();
        if disruption.has(Switches::ATTACH_LINK_DOWN) && self.port.has_link(&peer) {
            trace.link_lost(LINK_LOSS_NS);
            self.port.lose_link(&peer, &bh::disable());
            self.link_timer.start(LINK_LOSS_NS, 0);
        }
        Ok(())
    }

    /// New rings, if a switch makes the change of the program reset them. Fails with `ENOMEM`; but
    /// not without a new program, since the kernel relies on it that a program can be detached:
    /// then the rings are not reset.
    fn rings_for_reset<'a>(
        &self,
        dev: &'a LockedDevice,
        disruption: Switches,
        new: Option<&Prog>,
        extack: ExtAck<'_>,
    ) -> Result<Option<NewRings<'a>>> {
        if !disruption.has(Switches::ATTACH_LOSES_FRAMES) || !self.port.is_up() {
            return Ok(None);
        }
        let size = self.port.ring_size();
        match self.new_rings(dev, size) {
            Ok(rings) => Ok(Some(rings)),
            Err(_) if new.is_none() => {
                Trace::new(dev, &self.settings).rings_kept(size);
                Ok(None)
            }
            Err(error) => {
                extack.set(fmt!("no memory for rings of {size} descriptors"));
                Err(error)
            }
        }
    }

    /// Frames that were in rings which were stopped, and are lost.
    fn frames_lost_in_rings(&self) -> u64 {
        self.rx_rings.iter().map(|ring| ring.stats.down.get()).sum()
    }

    /// Step 4: xchg in the device, WRITE_ONCE in each ring, bpf_prog_put.
    fn set_prog(&self, dev: &LockedDevice, prog: &Option<ARef<Prog>>, rtnl: &Rtnl) {
        let trace = Trace::new(dev, &self.settings);
        let new = prog.as_deref();
        // From now on the card collects what the new program may ask for.
        let meta = self.rx_metadata(new, dev.features());
        self.port.for_each_running(|hw| hw.meta = meta);

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
    }
}
