// SPDX-License-Identifier: GPL-2.0

//! Steps 6 and 7: runs the program on a frame, and acts on the verdict.

use super::tx_bulk::XdpTxBulk;
use crate::{
    card::wire::TxCounts,
    dest::Dest,
    driver::{
        rx::{
            memory::{
                Descriptors,
                Memory, //
            },
            ring::RxRing, //
        },
        trace::Trace, //
    },
    net::{
        device::Device,
        napi,
        skbuff::{
            HashType,
            SkBuff, //
        },
        xdp::{
            self,
            FrameBytes,
            ProgRef,
            RedirectTarget,
            RxDescriptor,
            RxFrame,
            XdpAction, //
        },
    },
    nic::{
        checksum,
        completion::{
            Completion,
            Status, //
        },
        rss,
        switches::Switches, //
    },
};

/// What a poll needs to receive frames.
pub(crate) struct RxContext<'a, M: Memory> {
    pub(crate) cx: &'a napi::Context<'a>,
    pub(crate) dev: &'a Device,
    pub(crate) ring: &'a RxRing,
    /// The ring's descriptors. The buffer of a dropped frame is posted to them again, without a
    /// detour to the pool.
    pub(crate) descriptors: &'a Descriptors<M>,
    pub(crate) trace: Trace<'a>,
    /// Whether skbs are marked as having a good checksum (RXCSUM).
    pub(crate) rx_csum: bool,
    /// Whether skbs get the time stamp of the card. Without it, frames may have one for a program.
    pub(crate) rx_tstamp: bool,
    /// The longest frame for the stack that is copied.
    pub(crate) copybreak: u32,
    /// The switches of the port.
    pub(crate) switches: Switches,
    /// Frames that XDP_TX has collected.
    pub(crate) tx: XdpTxBulk<'a, M>,
}

impl<M: Memory> RxContext<'_, M> {
    /// Steps 6 and 7: runs the program on a frame, and acts on the verdict. If `special`, the trace
    /// tells both, and the switches that are about single frames are looked at.
    #[inline(always)]
    pub(crate) fn run_xdp(
        &mut self,
        prog: Option<ProgRef<'_>>,
        special: bool,
        buff: M::Buff<'_, '_>,
    ) {
        let Some(prog) = prog else {
            if special {
                let size = self.trace.frame(self.ring.index(), None, &buff);
                self.trace.no_program(self.ring.index(), size);
            }
            let csum_good = special && self.verify_csum(&buff);
            return self.pass(buff, csum_good);
        };
        if let Some((buff, csum_good)) = self.run_prog(prog, special, buff) {
            self.pass(buff, csum_good);
        }
    }

    /// As [`run_xdp`](Self::run_xdp), with a program. Returns a frame that is to go to the stack,
    /// and whether a switch had the card verify its checksum.
    #[inline(always)]
    pub(crate) fn run_prog<'w, 'q>(
        &mut self,
        prog: ProgRef<'_>,
        special: bool,
        mut buff: M::Buff<'w, 'q>,
    ) -> Option<(M::Buff<'w, 'q>, bool)> {
        // Before the program changes the frame.
        let size = special.then(|| self.trace.frame(self.ring.index(), Some(prog), &buff));
        let csum_good = special && self.verify_csum(&buff);
        let action = if special {
            self.run_limited(prog, &mut buff)
        } else {
            prog.bpf_prog_run_xdp(&mut buff, self.cx)
        };
        if let Some(size) = size {
            self.trace.verdict(self.ring.index(), prog, size, action);
        }

        // Step 7: the verdict. Each arm owns the buffer.
        let stats = &self.ring.stats;
        match action {
            XdpAction::DROP => {
                stats.xdp_drop.add(1);
                self.recycle(buff);
            }
            XdpAction::PASS => {
                stats.xdp_pass.add(1);
                return Some((buff, csum_good));
            }
            XdpAction::TX => self.transmit(prog, buff),
            XdpAction::REDIRECT => self.redirect(prog, special, buff),
            _ => self.fail(prog, action, buff),
        }
        None
    }

    /// Adds the other buffers of a multi-buffer frame to the first, and counts their bytes. Returns
    /// the frame if the program may see it.
    ///
    /// The NIC accepts no frame with more buffers than an xdp_buff takes. But user space may have
    /// put a buffer of a ring of umem into the fill ring twice; a frame with such a buffer is lost.
    #[cold]
    pub(crate) fn add_frags<'w, 'q>(
        &mut self,
        prog: Option<ProgRef<'_>>,
        mut buff: M::Buff<'w, 'q>,
    ) -> Option<M::Buff<'w, 'q>> {
        let (mut bytes, mut complete) = (0, true);
        // The NIC publishes whole frames.
        while let Some((completion, buffer)) = self.descriptors.take() {
            bytes += u64::from(completion.len());
            if let Err(buffer) = buff.add_frag(buffer, completion.len()) {
                complete = false;
                // There is an empty descriptor, the one that the buffer was in.
                let _ = self.descriptors.post(buffer);
            }
            if !completion.is(Status::MORE_BUFFERS) {
                break;
            }
        }
        self.ring.stats.multi_buffer.add(1);
        self.ring.stats.bytes.add(bytes);
        if !complete {
            self.ring.stats.xsk_frags_invalid.add(1);
            return None;
        }
        self.check_frags(prog, buff)
    }

    /// Runs the program with as much headroom as the switches leave it.
    #[cold]
    fn run_limited(&self, prog: ProgRef<'_>, buff: &mut M::Buff<'_, '_>) -> XdpAction {
        match self.switches.headroom() {
            Some(bytes) => buff.run_with_headroom(bytes, prog, self.cx),
            None => prog.bpf_prog_run_xdp(buff, self.cx),
        }
    }

    /// Whether the card has verified the checksum of a frame that has just arrived, if a switch has
    /// it do so for every frame.
    #[cold]
    pub(crate) fn verify_csum(&self, buff: &M::Buff<'_, '_>) -> bool {
        self.switches.has(Switches::CSUM_BEFORE_XDP)
            && checksum::is_good(buff.size().0, |offset, to| {
                buff.copy_to(offset, Dest::from(to)).ok()
            })
    }

    /// Returns a multi-buffer frame, or drops it if `prog` has no frags support, or if a switch
    /// says so: such a program must not see one, whatever the MTU was when the frame arrived.
    #[cold]
    fn check_frags<'w, 'q>(
        &mut self,
        prog: Option<ProgRef<'_>>,
        buff: M::Buff<'w, 'q>,
    ) -> Option<M::Buff<'w, 'q>> {
        let prog = match prog {
            Some(prog) if !prog.has_frags() || self.switches.has(Switches::NO_FRAGS) => prog,
            _ => return Some(buff),
        };
        self.ring.stats.xdp_no_frags.add(1);
        if self.trace.frames() {
            let size = self.trace.frame(self.ring.index(), Some(prog), &buff);
            self.trace.no_frags(self.ring.index(), prog, size);
        }
        self.recycle(buff);
        None
    }

    #[inline(always)]
    fn redirect(&mut self, prog: ProgRef<'_>, traced: bool, buff: M::Buff<'_, '_>) {
        let target = traced.then(|| RedirectTarget::of_last(self.cx));
        let result = buff.redirect(prog, self.cx);
        if let Some(target) = target {
            let failed = result.as_ref().err().map(|&(_, error)| error);
            self.trace.redirect(self.ring.index(), &target, failed);
        }
        match result {
            Ok(()) => self.ring.stats.xdp_redirect.add(1),
            Err((buff, _)) => {
                self.ring.stats.xdp_redirect_errors.add(1);
                match buff {
                    Some(buff) => self.exception(prog, XdpAction::REDIRECT, buff),
                    None => xdp::trace_exception(self.dev, prog, XdpAction::REDIRECT),
                }
            }
        }
    }

    /// XDP_TX: collects a frame that is sent back out of this port.
    #[inline(always)]
    fn transmit(&mut self, prog: ProgRef<'_>, buff: M::Buff<'_, '_>) {
        match buff.into_linear() {
            Ok(frame) => {
                self.tx.push(frame);
                if self.tx.is_full() {
                    self.flush_tx(prog);
                }
            }
            Err(buff) => self.transmit_frags(prog, buff),
        }
    }

    /// XDP_TX of a multi-buffer frame: sends it after all that came before it.
    #[cold]
    fn transmit_frags(&mut self, prog: ProgRef<'_>, buff: M::Buff<'_, '_>) {
        self.flush_tx(prog);
        let sent = self.tx.send(self.cx, &buff);
        self.recycle(buff);
        self.count_tx(prog, sent);
    }

    /// Drops a frame with the verdict XDP_ABORTED, or with none that is valid. The verdict on a
    /// frame that user space has damaged is XDP_ABORTED too.
    #[cold]
    fn fail(&mut self, prog: ProgRef<'_>, action: XdpAction, buff: M::Buff<'_, '_>) {
        let stats = &self.ring.stats;
        match action {
            _ if !buff.is_whole() => stats.xsk_frags_invalid.add(1),
            XdpAction::ABORTED => stats.xdp_aborted.add(1),
            _ => {
                stats.xdp_unknown.add(1);
                xdp::warn_invalid_action(self.dev, prog, action);
            }
        }
        self.exception(prog, action, buff);
    }

    /// Builds an skb of the frame and hands it to the stack.
    #[inline(always)]
    fn pass(&self, buff: M::Buff<'_, '_>, csum_good: bool) {
        if let Some(skb) = self.build_skb(buff, csum_good, self.copybreak) {
            self.cx.gro_receive(skb);
        }
    }

    /// Builds an skb around the frame, or copies one of up to `copybreak` bytes. The buffer of a
    /// frame that was copied is posted again. Without memory the frame is lost and counted.
    #[inline(always)]
    pub(crate) fn build_skb(
        &self,
        buff: M::Buff<'_, '_>,
        csum_good: bool,
        copybreak: u32,
    ) -> Option<SkBuff> {
        let descriptor = *buff.descriptor();
        let skb = if copybreak == 0 {
            buff.into_skb(self.cx)
        } else {
            self.copy_skb(buff, copybreak)
        };
        let Some(mut skb) = skb else {
            self.ring.stats.skb_alloc_fail.add(1);
            return None;
        };
        if csum_good || !descriptor.is_bare() {
            self.describe(&mut skb, descriptor, csum_good);
        }
        Some(skb)
    }

    /// Copies a frame of up to `copybreak` bytes to an skb. Builds the skb of a longer one around
    /// it.
    #[cold]
    #[inline(never)]
    fn copy_skb(&self, buff: M::Buff<'_, '_>, copybreak: u32) -> Option<SkBuff> {
        match buff.copy_skb(copybreak, self.cx) {
            Ok((skb, buffer)) => {
                // There is an empty descriptor: the one that the frame was in.
                let _ = self.descriptors.post(buffer);
                Some(skb)
            }
            Err(buff) => buff.into_skb(self.cx),
        }
    }

    /// Copies the NIC's metadata of a frame to its skb: hash, checksum status, VLAN tag and time
    /// stamp.
    #[inline(never)]
    fn describe(&self, skb: &mut SkBuff, descriptor: &Completion, csum_good: bool) {
        let hash = descriptor.hash();
        let hash_type = match hash.kind {
            rss::HashType::None => HashType::None,
            with_ports if with_ports.has_ports() => HashType::L4,
            _ => HashType::L3,
        };
        let csum_good = self.rx_csum && (csum_good || descriptor.is(Status::CHECKSUM_GOOD));
        skb.set_received(hash.value, hash_type, csum_good);
        if let Some(tag) = descriptor.hints().vlan {
            skb.set_vlan_tag(tag);
        }
        if self.rx_tstamp {
            if let Some(time) = descriptor.timestamp() {
                skb.set_hwtstamp(time);
            }
        }
    }

    /// Sends the frames that XDP_TX has collected.
    #[inline]
    pub(crate) fn flush_tx(&mut self, prog: ProgRef<'_>) {
        if !self.tx.is_empty() {
            self.send_tx(prog);
        }
    }

    #[inline(never)]
    fn send_tx(&mut self, prog: ProgRef<'_>) {
        let sent = self.tx.flush(self.cx, self.descriptors);
        self.count_tx(prog, sent);
    }

    /// Counts the frames that XDP_TX has sent, and those it has lost.
    fn count_tx(&self, prog: ProgRef<'_>, sent: TxCounts) {
        let stats = &self.ring.stats;
        stats.xdp_tx.add(sent.frames);
        stats.xdp_tx_bytes.add(sent.bytes);
        if sent.not_sent != 0 {
            stats.xdp_tx_errors.add(sent.not_sent);
            self.trace.tx_failed(self.ring.index(), sent.not_sent);
            for _ in 0..sent.not_sent {
                xdp::trace_exception(self.dev, prog, XdpAction::TX);
            }
        }
    }

    /// Reports an XDP exception, and drops the frame.
    #[cold]
    #[inline(never)]
    fn exception(&mut self, prog: ProgRef<'_>, action: XdpAction, buff: M::Buff<'_, '_>) {
        xdp::trace_exception(self.dev, prog, action);
        self.recycle(buff);
    }

    /// Drops a frame: posts its buffer again.
    ///
    /// The page_pool is not asked whether it would recycle the page
    /// (`__page_pool_page_can_be_recycled`): nothing else refers to the page, and it is not from
    /// the memory reserves, which [`Allocator`] does not use.
    ///
    /// [`Allocator`]: crate::net::page_pool::Allocator
    #[inline]
    fn recycle(&mut self, buff: M::Buff<'_, '_>) {
        // There is an empty descriptor: the one that the frame was in.
        let _ = self.descriptors.post(buff.into_buffer(self.cx));
    }
}
