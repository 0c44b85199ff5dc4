// SPDX-License-Identifier: GPL-2.0

//! The XDP hook, the driver's side.
//!
//! Control path: [`Vsi::xdp`] is `ndo_bpf`, [`Vsi::xdp_setup`] publishes a program to the device and
//! to every ring. Data path: [`Received::run_xdp`] runs it on a frame and does what it decides.

use super::{
    rx::{Buff, DescRing, RxRing},
    trace::{program, Size, Trace},
    tx::TxBatch,
    vsi::{self, Vsi},
};
use crate::{
    net::{
        device::Device,
        napi,
        rtnl::{ExtAck, Rtnl},
        skbuff::HashType,
        xdp::{self, Command, Descriptor, Prog, ProgRef, Target, Verdict},
    },
    netdev_info,
    nic::{
        ring::{DriverSide, Status},
        rss,
    },
};
use kernel::{
    prelude::*,
    str::BStr,
    sync::{aref::ARef, Arc},
};

impl Vsi {
    /// `ndo_bpf`: a command of the XDP control path.
    pub(super) fn xdp(&self, dev: &Device, command: Command<'_>, rtnl: &Rtnl) -> Result {
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
    /// such, and keeps the MTU from being raised as long as it is there.
    fn xdp_setup(
        &self,
        dev: &Device,
        prog: Option<ARef<Prog>>,
        extack: ExtAck<'_>,
        rtnl: &Rtnl,
    ) -> Result {
        let trace = Trace::new(dev, &self.port);
        let new = prog.as_deref();
        let max_mtu = vsi::max_mtu(new);
        if dev.mtu() > max_mtu {
            extack.set(fmt!(
                "the program has no frags support, so the MTU may be at most {max_mtu}"
            ));
            return Err(EOPNOTSUPP);
        }
        dev.set_max_mtu(max_mtu, rtnl);
        let extras = vsi::extras(new, dev.features());
        self.port.set_inlets(|inlet| inlet.extras = extras);
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

        for ring in &self.port.rings {
            // A poll that still runs the old program is an RCU reader: the program outlives it.
            drop(ring.xdp_prog.write_once(prog.clone(), rtnl));
            if trace.drv() {
                netdev_info!(
                    dev,
                    "rx_ring[{}].xdp_prog: WRITE_ONCE: {}\n",
                    ring.index,
                    program(new.map(Prog::id))
                );
            }
        }

        // bpf_prog_put: here the device gives up its own reference to the old program.
        drop(old);
        Ok(())
    }
}

/// A poll's view of the frames it receives.
pub(super) struct Received<'a> {
    pub(super) cx: &'a napi::Context<'a>,
    pub(super) dev: &'a Device,
    pub(super) ring: &'a RxRing,
    /// Where frames come from, and where their buffers go if they go no further: back to where they
    /// came from, without a detour to the pool.
    pub(super) descriptors: &'a mut DriverSide<Arc<DescRing>>,
    pub(super) trace: Trace<'a>,
    /// Whether skbs are told that their checksum is good.
    pub(super) rx_csum: bool,
    /// Frames on their way out by XDP_TX.
    pub(super) tx: TxBatch<'a>,
}

impl Received<'_> {
    /// Runs `prog` on a frame and does what it decides.
    #[inline]
    pub(super) fn run_xdp(&mut self, prog: ProgRef<'_>, mut buff: Buff<'_, '_>) {
        let stats = &self.ring.stats;
        let verdict = if self.trace.frames() {
            self.trace.frame(self.ring.index, &buff);
            let size = Size::of(&buff);
            let verdict = prog.run(&mut buff, self.cx);
            self.trace.verdict(self.ring.index, prog, size, verdict);
            verdict
        } else {
            prog.run(&mut buff, self.cx)
        };

        match verdict {
            Verdict::Pass => {
                stats.xdp_pass.add(1);
                self.pass(buff);
            }
            Verdict::Drop => {
                stats.xdp_drop.add(1);
                self.recycle(buff);
            }
            Verdict::Tx => {
                self.tx.push(buff.detach());
                if self.tx.is_full() {
                    self.flush_tx(prog);
                }
            }
            Verdict::Redirect => {
                let traced = self.trace.frames().then(|| Target::of_last(self.cx));
                let result = buff.redirect(prog, self.cx);
                if let Some(target) = traced {
                    let failed = result.as_ref().err().map(|&(_, error)| error);
                    self.trace.redirect(self.ring.index, &target, failed);
                }
                match result {
                    Ok(()) => stats.xdp_redirect.add(1),
                    Err((buff, _)) => {
                        stats.xdp_redirect_errors.add(1);
                        self.exception(prog, verdict, buff);
                    }
                }
            }
            Verdict::Aborted => {
                stats.xdp_aborted.add(1);
                self.exception(prog, verdict, buff);
            }
            Verdict::Unknown(act) => {
                stats.xdp_unknown.add(1);
                xdp::warn_invalid_action(self.dev, prog, act);
                self.exception(prog, verdict, buff);
            }
        }
    }

    /// A frame that no program saw goes to the stack.
    #[inline]
    pub(super) fn pass_without_program(&mut self, buff: Buff<'_, '_>) {
        if self.trace.frames() {
            self.trace.frame(self.ring.index, &buff);
            self.trace.no_program(self.ring.index, Size::of(&buff));
        }
        self.pass(buff);
    }

    /// Ends the poll's batch: what is to be sent goes out.
    pub(super) fn finish(&mut self, prog: Option<ProgRef<'_>>) {
        if let Some(prog) = prog {
            self.flush_tx(prog);
        }
    }

    /// Builds an skb around the frame and hands it to the stack.
    #[inline]
    fn pass(&self, buff: Buff<'_, '_>) {
        let descriptor = *buff.descriptor();
        let Some(mut skb) = buff.into_skb(self.cx) else {
            self.ring.stats.skb_alloc_fail.add(1);
            return;
        };
        let hash_type = match descriptor.hash_type {
            rss::HashType::None => HashType::None,
            with_ports if with_ports.has_ports() => HashType::L4,
            _ => HashType::L3,
        };
        let csum_good = self.rx_csum && descriptor.status.contains(Status::CHECKSUM_GOOD);
        skb.set_received(descriptor.rss_hash, hash_type, csum_good);
        if let Some(tag) = descriptor.hints().vlan {
            skb.set_vlan_tag(tag);
        }
        self.cx.gro_receive(skb);
    }

    /// Sends what XDP_TX has collected.
    fn flush_tx(&mut self, prog: ProgRef<'_>) {
        let sent = self.tx.flush(self.cx, self.descriptors);
        let stats = &self.ring.stats;
        stats.xdp_tx.add(sent.frames);
        stats.xdp_tx_bytes.add(sent.bytes);
        if sent.lost != 0 {
            stats.xdp_tx_errors.add(sent.lost);
            if self.trace.rx_status() {
                self.trace.tx_failed(self.ring.index, sent.lost);
            }
            for _ in 0..sent.lost {
                xdp::trace_exception(self.dev, prog, Verdict::Tx);
            }
        }
    }

    /// Drops a frame that a program failed on.
    #[cold]
    fn exception(&mut self, prog: ProgRef<'_>, verdict: Verdict, buff: Buff<'_, '_>) {
        xdp::trace_exception(self.dev, prog, verdict);
        self.recycle(buff);
    }

    /// Posts the buffer of a frame that goes no further again.
    #[inline]
    fn recycle(&mut self, buff: Buff<'_, '_>) {
        // There is an empty descriptor, the one that the frame was in.
        let _ = self.descriptors.post(buff.into_buffer(self.cx));
    }
}
