// SPDX-License-Identifier: GPL-2.0

//! `ndo_xdp_xmit`: frames that other devices redirect to this one (step 7, XDP_REDIRECT, at the
//! target).

use crate::{
    card::wire::{
        TxCounts,
        WireSender, //
    },
    compat::ENETDOWN,
    driver::{
        trace::Trace,
        tx::xmit_gate::XmitGate,
        vsi::Vsi, //
    },
    net::{
        bh,
        device::Device,
        xdp::Frames, //
    },
    nic::switches::Switches,
};
use kernel::prelude::*;

impl Vsi {
    /// Sets whether frames can be redirected to the device, by whether the interface is up, the
    /// program, and the switches.
    pub(crate) fn set_xmit_gate(&self, dev: &Device) {
        let switches = self.settings.switches();
        let needs_prog = switches.has(Switches::XMIT_NEEDS_PROG);
        let bit = |set, bit| if set { bit } else { 0 };
        let state = bit(self.port.is_up(), XmitGate::UP)
            | bit(
                needs_prog && self.xdp_prog.get().is_none(),
                XmitGate::NO_PROG,
            )
            | bit(
                switches.has(Switches::XMIT_QUEUE_PER_CPU),
                XmitGate::QUEUE_PER_CPU,
            );
        if self.xmit_gate.set(state) & XmitGate::NO_PROG != 0 {
            Trace::new(dev, &self.settings).redirect_target(state & XmitGate::NO_PROG == 0);
        }
    }

    /// `ndo_xdp_xmit`: copies frames that other devices redirected to this one into the peer's
    /// rings. It works with or without a program on this device, unless a switch says otherwise,
    /// and does not wait for buffers.
    ///
    /// Frames are published at once, with `XDP_XMIT_FLUSH` or without. The kernel leaves the flag
    /// out if more frames are to follow; but if a program on the devmap's entry drops all of those,
    /// there is no further call (`bq_xmit_all` in kernel/bpf/devmap.c), and frames would stay
    /// unpublished. Deferring would not be cheaper either: publishing a batch costs no more than
    /// marking it.
    pub(crate) fn xmit_frames(
        &self,
        dev: &Device,
        frames: &mut Frames<'_>,
        bh: &bh::Disabled,
    ) -> Result {
        let (cpu, queues) = (bh.cpu() as usize, self.port.queues());
        let queue = cpu % queues.max(1);
        let stats = &self.tx_rings.get(queue).ok_or(ENETDOWN)?.xmit;
        let count = frames.left();

        let gate = &self.xmit_gate;
        let (sent, result) = if gate.is_open() {
            self.send_frames(frames, bh)
        } else {
            match gate.check(cpu, queues) {
                Ok(()) => self.send_frames(frames, bh),
                Err(error) => (TxCounts::default(), Err(error)),
            }
        };

        stats.xdp_xmit.add(sent.frames);
        stats.xdp_xmit_bytes.add(sent.bytes);
        let refused = frames.left() as u64 + sent.not_sent;
        if refused != 0 {
            stats.xdp_xmit_errors.add(refused);
        }
        let trace = Trace::new(dev, &self.settings);
        if trace.batches() {
            trace.xmit(queue, count, count - frames.left());
        }
        result
    }

    /// Sends all frames, or as many as it can before the peer goes down.
    fn send_frames(&self, frames: &mut Frames<'_>, bh: &bh::Disabled) -> (TxCounts, Result) {
        let mut sent = TxCounts::default();
        let peer = self.peer.read(bh);
        let all = WireSender::new(&peer, bh).send_batch(frames, &mut sent);
        (sent, if all { Ok(()) } else { Err(ENETDOWN) })
    }
}
