// SPDX-License-Identifier: GPL-2.0

//! Steps 6 and 7: a [`Hook`] runs the program on a frame, and [`RxContext`] does what it decides.

use super::tx_bulk::XdpTxBulk;
use crate::{
    card::{
        rx::DescRing,
        wire::TxCounts, //
    },
    driver::{
        rx::ring::{
            Buff,
            RxRing, //
        },
        trace::{
            Size,
            Trace, //
        },
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
            Act,
            DirectProg,
            ProgRef,
            RedirectTarget,
            RxDescriptor,
            Verdict, //
        },
    },
    nic::{
        completion::{
            Completion,
            Status, //
        },
        ring::DriverSide,
        rss,
    },
};
use kernel::sync::Arc;

/// A poll's view of the frames it receives.
pub(crate) struct RxContext<'a> {
    pub(crate) cx: &'a napi::Context<'a>,
    pub(crate) dev: &'a Device,
    pub(crate) ring: &'a RxRing,
    /// Where frames come from, and where their buffers go if they go no further: back to where they
    /// came from, without a detour to the pool.
    pub(crate) descriptors: &'a DriverSide<Arc<DescRing>>,
    pub(crate) trace: Trace<'a>,
    /// Whether skbs are told that their checksum is good.
    pub(crate) rx_csum: bool,
    /// Frames on their way out by XDP_TX.
    pub(crate) tx: XdpTxBulk<'a>,
}

/// What a poll finds at the hook, and what it does with a frame there.
pub(crate) trait Hook: Copy {
    /// The program.
    fn prog(&self) -> Option<ProgRef<'_>>;

    /// Runs it on a frame, and does what it decides.
    fn receive(self, rx: &mut RxContext<'_>, buff: Buff<'_, '_>);
}

/// Mostly there is a program, and nobody looks on.
impl Hook for DirectProg<'_> {
    #[inline]
    fn prog(&self) -> Option<ProgRef<'_>> {
        Some(**self)
    }

    #[inline]
    fn receive(self, rx: &mut RxContext<'_>, mut buff: Buff<'_, '_>) {
        let act = self.run(&mut buff, rx.cx);
        rx.act(*self, act, buff);
    }
}

impl Hook for Option<ProgRef<'_>> {
    #[inline]
    fn prog(&self) -> Option<ProgRef<'_>> {
        *self
    }

    fn receive(self, rx: &mut RxContext<'_>, mut buff: Buff<'_, '_>) {
        let (trace, ring) = (&rx.trace, rx.ring.index());
        // Before the program changes the frame.
        let traced = trace.frames().then(|| {
            trace.frame(ring, &buff);
            Size::of(&buff)
        });
        let Some(prog) = self else {
            if let Some(size) = traced {
                trace.no_program(ring, size);
            }
            return rx.pass(buff);
        };
        let act = prog.run(&mut buff, rx.cx);
        if let Some(size) = traced {
            trace.verdict(ring, prog, size, act.into());
        }
        rx.act(prog, act, buff);
    }
}

impl RxContext<'_> {
    /// Returns a frame in several buffers, unless `prog` does not support such: it must not see one,
    /// whatever the MTU was when the frame came. That frame is lost.
    #[cold]
    pub(crate) fn check_frags<'w, 'q>(
        &mut self,
        prog: Option<ProgRef<'_>>,
        buff: Buff<'w, 'q>,
    ) -> Option<Buff<'w, 'q>> {
        let prog = match prog {
            Some(prog) if !prog.has_frags() => prog,
            _ => return Some(buff),
        };
        self.ring.stats.xdp_no_frags.add(1);
        if self.trace.frames() {
            self.trace.frame(self.ring.index(), &buff);
            self.trace
                .no_frags(self.ring.index(), prog, Size::of(&buff));
        }
        self.recycle(buff);
        None
    }

    /// Does what a program has decided about a frame.
    #[inline(always)]
    fn act(&mut self, prog: ProgRef<'_>, act: Act, buff: Buff<'_, '_>) {
        let stats = &self.ring.stats;
        // What has to be quick is asked for first.
        if act == Act::DROP {
            stats.xdp_drop.add(1);
            self.recycle(buff);
        } else if act == Act::PASS {
            stats.xdp_pass.add(1);
            self.pass(buff);
        } else if act == Act::REDIRECT {
            self.redirect(prog, buff);
        } else if act == Act::TX {
            self.transmit(prog, buff);
        } else {
            self.fail(prog, act, buff);
        }
    }

    #[inline(never)]
    fn redirect(&mut self, prog: ProgRef<'_>, buff: Buff<'_, '_>) {
        let stats = &self.ring.stats;
        let traced = self
            .trace
            .frames()
            .then(|| RedirectTarget::of_last(self.cx));
        let result = buff.redirect(prog, self.cx);
        if let Some(target) = traced {
            let failed = result.as_ref().err().map(|&(_, error)| error);
            self.trace.redirect(self.ring.index(), &target, failed);
        }
        match result {
            Ok(()) => stats.xdp_redirect.add(1),
            Err((buff, _)) => {
                stats.xdp_redirect_errors.add(1);
                self.exception(prog, Verdict::Redirect, buff);
            }
        }
    }

    /// Collects a frame for the way back to where it came from.
    #[inline(never)]
    fn transmit(&mut self, prog: ProgRef<'_>, buff: Buff<'_, '_>) {
        match buff.into_linear() {
            Ok(frame) => {
                self.tx.push(frame);
                if self.tx.is_full() {
                    self.flush_tx(prog);
                }
            }
            Err(buff) => {
                self.flush_tx(prog);
                let sent = self.tx.send(self.cx, &buff);
                self.recycle(buff);
                self.count_tx(prog, sent);
            }
        }
    }

    /// Drops a frame whose program failed, or returned what is no verdict.
    #[cold]
    fn fail(&mut self, prog: ProgRef<'_>, act: Act, buff: Buff<'_, '_>) {
        let stats = &self.ring.stats;
        let verdict = Verdict::from(act);
        match verdict {
            Verdict::Unknown(act) => {
                stats.xdp_unknown.add(1);
                xdp::warn_invalid_action(self.dev, prog, act);
            }
            _ => stats.xdp_aborted.add(1),
        }
        self.exception(prog, verdict, buff);
    }

    /// Builds an skb around the frame and hands it to the stack.
    #[inline]
    fn pass(&self, buff: Buff<'_, '_>) {
        let descriptor = *buff.descriptor();
        let Some(mut skb) = buff.into_skb(self.cx) else {
            self.ring.stats.skb_alloc_fail.add(1);
            return;
        };
        if !descriptor.is_bare() {
            self.describe(&mut skb, descriptor);
        }
        self.cx.gro_receive(skb);
    }

    /// Tells the stack what the NIC has found out about a frame.
    fn describe(&self, skb: &mut SkBuff, descriptor: &Completion) {
        let hash = descriptor.hash();
        let hash_type = match hash.kind {
            rss::HashType::None => HashType::None,
            with_ports if with_ports.has_ports() => HashType::L4,
            _ => HashType::L3,
        };
        let csum_good = self.rx_csum && descriptor.is(Status::CHECKSUM_GOOD);
        skb.set_received(hash.value, hash_type, csum_good);
        if let Some(tag) = descriptor.hints().vlan {
            skb.set_vlan_tag(tag);
        }
    }

    /// Sends what XDP_TX has collected.
    pub(crate) fn flush_tx(&mut self, prog: ProgRef<'_>) {
        let sent = self.tx.flush(self.cx, self.descriptors);
        self.count_tx(prog, sent);
    }

    /// Counts what XDP_TX has sent, and what was lost by it.
    fn count_tx(&self, prog: ProgRef<'_>, sent: TxCounts) {
        let stats = &self.ring.stats;
        stats.xdp_tx.add(sent.frames);
        stats.xdp_tx_bytes.add(sent.bytes);
        if sent.lost != 0 {
            stats.xdp_tx_errors.add(sent.lost);
            if self.trace.rx_status() {
                self.trace.tx_failed(self.ring.index(), sent.lost);
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
    ///
    /// The page_pool is not asked whether it would recycle the page (`__page_pool_page_can_be_recycled`):
    /// nobody else refers to the page, and it is none of the memory reserves, since [`Allocator`] gets none.
    ///
    /// [`Allocator`]: crate::net::page_pool::Allocator
    #[inline]
    fn recycle(&mut self, buff: Buff<'_, '_>) {
        // There is an empty descriptor, the one that the frame was in.
        let _ = self.descriptors.post(buff.into_buffer(self.cx));
    }
}
