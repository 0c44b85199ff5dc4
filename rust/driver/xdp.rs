// SPDX-License-Identifier: GPL-2.0

//! The XDP hook, the driver's side.
//!
//! Control path: [`Vsi::xdp`] is `ndo_bpf`, [`Vsi::xdp_setup`] publishes a program to the device and
//! to every ring. Data path: [`Received::run_xdp`] runs it on a frame and does what it decides.

use super::{
    rx::RxRing,
    trace::{program, Trace},
    tx::TxBatch,
    vsi::Vsi,
};
use crate::{
    net::{
        device::Device,
        napi,
        rtnl::Rtnl,
        skbuff::HashType,
        xdp::{self, Buff, Command, Prog, ProgRef, Verdict},
    },
    netdev_info,
    nic::{
        ring::{Completion, Status},
        rss,
    },
};
use kernel::{prelude::*, str::BStr, sync::aref::ARef};

impl Vsi {
    /// `ndo_bpf`: a command of the XDP control path.
    pub(super) fn xdp(&self, dev: &Device, command: Command<'_>, rtnl: &Rtnl) -> Result {
        match command {
            Command::SetupProg { prog } => {
                self.xdp_setup(dev, prog, rtnl);
                Ok(())
            }
            Command::SetupProgHw { extack } => {
                extack.set(c"oxnic runs programs in the driver, not in hardware");
                Err(EOPNOTSUPP)
            }
            Command::SetupXskPool | Command::Other => Err(EOPNOTSUPP),
        }
    }

    /// `XDP_SETUP_PROG`: makes `prog` the program of the device and of each of its rings.
    ///
    /// Rings keep running: each uses the old program up to some frame and the new one from the next
    /// poll on. A ring that is down has it when it comes up.
    fn xdp_setup(&self, dev: &Device, prog: Option<ARef<Prog>>, rtnl: &Rtnl) {
        let trace = Trace::new(dev, &self.port);
        let new = prog.as_deref();
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
    }
}

/// A poll's view of the frames it receives.
pub(super) struct Received<'a> {
    pub(super) cx: &'a napi::Context<'a>,
    pub(super) dev: &'a Device,
    pub(super) ring: &'a RxRing,
    pub(super) trace: Trace<'a>,
    /// Whether skbs get the hash that the NIC found.
    pub(super) rx_hash: bool,
    /// Whether skbs are told that their checksum is good.
    pub(super) rx_csum: bool,
    /// Frames on their way out by XDP_TX.
    pub(super) tx: TxBatch<'a>,
}

impl<'a> Received<'a> {
    /// Runs `prog` on a frame and does what it decides.
    #[inline]
    pub(super) fn run_xdp(
        &mut self,
        prog: ProgRef<'_>,
        mut buff: Buff<'a>,
        completion: &Completion,
    ) {
        let stats = &self.ring.stats;
        if self.trace.pktdata() {
            self.trace.frame(self.ring.index, buff.data());
        }

        let len = buff.len();
        let verdict = prog.run(&mut buff, self.cx);
        if self.trace.rx_status() {
            self.trace.verdict(self.ring.index, prog, len, verdict);
        }

        match verdict {
            Verdict::Pass => {
                stats.xdp_pass.add(1);
                self.pass(buff, completion);
            }
            Verdict::Drop => {
                stats.xdp_drop.add(1);
                buff.recycle(self.cx);
            }
            Verdict::Tx => {
                if let Err(buff) = self.tx.push(buff) {
                    self.flush_tx(prog);
                    // The batch is empty now.
                    let _ = self.tx.push(buff);
                }
            }
            Verdict::Redirect => match buff.redirect(prog, self.cx) {
                Ok(()) => stats.xdp_redirect.add(1),
                Err((buff, error)) => {
                    stats.xdp_redirect_errors.add(1);
                    if self.trace.rx_status() {
                        self.trace.redirect_failed(self.ring.index, error);
                    }
                    self.exception(prog, verdict, buff);
                }
            },
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
    pub(super) fn pass_without_program(&mut self, buff: Buff<'_>, completion: &Completion) {
        if self.trace.pktdata() {
            self.trace.frame(self.ring.index, buff.data());
        }
        if self.trace.rx_status() {
            self.trace.no_program(self.ring.index, buff.len());
        }
        self.pass(buff, completion);
    }

    /// Ends the poll's batch: what is to be sent goes out.
    pub(super) fn finish(&mut self, prog: Option<ProgRef<'_>>) {
        if let Some(prog) = prog {
            self.flush_tx(prog);
        }
    }

    /// Builds an skb around the frame and hands it to the stack.
    #[inline]
    fn pass(&self, buff: Buff<'_>, completion: &Completion) {
        let Some(mut skb) = buff.into_skb(self.cx) else {
            self.ring.stats.skb_alloc_fail.add(1);
            return;
        };
        let hash_type = match completion.hash_type {
            _ if !self.rx_hash => HashType::None,
            rss::HashType::None => HashType::None,
            with_ports if with_ports.has_ports() => HashType::L4,
            _ => HashType::L3,
        };
        let csum_good = self.rx_csum && completion.status.contains(Status::CHECKSUM_GOOD);
        skb.set_received(completion.rss_hash, hash_type, csum_good);
        self.cx.gro_receive(skb);
    }

    /// Sends what XDP_TX has collected.
    fn flush_tx(&mut self, prog: ProgRef<'_>) {
        let sent = self.tx.flush(self.cx);
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
    fn exception(&self, prog: ProgRef<'_>, verdict: Verdict, buff: Buff<'_>) {
        xdp::trace_exception(self.dev, prog, verdict);
        buff.recycle(self.cx);
    }
}
