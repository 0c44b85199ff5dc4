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
        vsi::Vsi, //
    },
    net::{
        bh,
        device::Device,
        xdp::Frames, //
    },
};
use kernel::prelude::*;

impl Vsi {
    /// `ndo_xdp_xmit`: copies frames that other devices redirected to this one into the peer's
    /// rings. It works with or without a program on this device, and does not wait for buffers.
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
        let queue = bh.cpu() as usize % self.port.queues().max(1);
        let stats = &self.tx_rings.get(queue).ok_or(ENETDOWN)?.xmit;
        let count = frames.left();

        let (sent, result) = if self.port.is_up() {
            self.send_frames(frames, bh)
        } else {
            (TxCounts::default(), Err(ENETDOWN))
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
