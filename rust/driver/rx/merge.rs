// SPDX-License-Identifier: GPL-2.0

//! TCP segments that the card cut from one frame are put together again: if the program passes
//! them, the stack gets one skb for many of them.
//!
//! The program has seen each of them by itself. The skb of the first one is held back, and the
//! payload of those that follow it in the ring becomes its fragments. The result is what GRO would
//! make of them, for a fraction of the instructions; it goes to GRO, which may merge it with
//! others. It is held no longer than [`clean_segments`] runs, in which no other frame is passed on
//! before it.

use super::memory::Memory;
use crate::{
    driver::{
        trace::Size,
        xdp::run::RxContext, //
    },
    net::{
        skbuff::SkBuff,
        xdp::{
            FrameBytes,
            ProgRef,
            RxFrame, //
        },
    },
    nic::{
        completion::{
            Completion,
            Status, //
        },
        merge::Merged, //
    },
};

/// Goes on with a segment, the first buffer of which was taken off the ring, and those that follow
/// it, up to `budget` more. Runs the program on each. Returns how many these are, and counts all
/// bytes that were not in the first buffer. IP packets that are merged have fewer than `limit`
/// bytes.
#[inline(never)]
pub(super) fn clean_segments<'q, M: Memory>(
    rx: &mut RxContext<'q, M>,
    slot: &mut M::Slot<'q>,
    prog: Option<ProgRef<'_>>,
    special: bool,
    first: (&'q Completion, M::Buffer),
    budget: u32,
    limit: usize,
) -> u32 {
    let mut merger = Merger {
        held: None,
        merged: Merged::NOTHING,
        descriptor: first.0,
        meta_len: 0,
        size: None,
        limit,
        special,
    };
    let (mut frames, mut bytes) = (0_u32, 0_u64);
    let mut next = Some(first);
    while let Some((completion, buffer)) = next {
        let mut whole = M::load(slot, buffer, completion.len(), completion);
        if completion.is(Status::MORE_BUFFERS) {
            whole = whole.and_then(|first| rx.add_frags(prog, first));
        }
        match (whole, prog) {
            (None, _) => merger.flush(rx),
            (Some(buff), Some(prog)) => match rx.run_prog(prog, special, buff) {
                Some((buff, csum_good)) => merger.pass(rx, buff, csum_good, None),
                None => merger.flush(rx),
            },
            (Some(buff), None) => {
                let size = special.then(|| rx.trace.frame(rx.ring.index(), None, &buff));
                let csum_good = special && rx.verify_csum(&buff);
                merger.pass(rx, buff, csum_good, size);
            }
        }
        if frames == budget || !rx.descriptors.next_is(Status::FOLLOWS) {
            break;
        }
        next = rx.descriptors.take();
        if let Some((completion, _)) = &next {
            frames = frames.wrapping_add(1);
            bytes = bytes.wrapping_add(completion.wire_len());
        }
    }
    merger.flush(rx);
    rx.ring.stats.bytes.add(bytes);
    frames
}

/// Holds back the skb of a segment, and adds those that follow.
struct Merger<'q> {
    /// The skb of a segment, with the payload of those that were added.
    held: Option<SkBuff>,
    /// What may be added to it.
    merged: Merged,
    /// Of its first segment.
    descriptor: &'q Completion,
    /// Length of the metadata that the program has put in front of the first segment.
    meta_len: usize,
    /// Size of the first segment, if the trace has not told yet what becomes of it.
    size: Option<Size>,
    /// A merged IP packet has fewer bytes.
    limit: usize,
    /// As for [`RxContext::run_xdp`].
    special: bool,
}

impl<'q> Merger<'q> {
    /// Passes on a frame: adds it to the skb that is held; or passes on that one, and holds the
    /// frame's.
    #[inline(always)]
    fn pass<'w, M: Memory>(
        &mut self,
        rx: &RxContext<'_, M>,
        buff: M::Buff<'w, 'q>,
        csum_good: bool,
        size: Option<Size>,
    ) where
        'q: 'w,
    {
        if let Some(buff) = self.add(rx, buff) {
            self.flush(rx);
            self.hold(rx, buff, csum_good, size);
        }
    }

    /// Adds a frame to the skb that is held, if there is one and the frame continues it. Otherwise
    /// returns it.
    #[inline]
    fn add<'w, M: Memory>(
        &mut self,
        rx: &RxContext<'_, M>,
        buff: M::Buff<'w, 'q>,
    ) -> Option<M::Buff<'w, 'q>>
    where
        'q: 'w,
    {
        let Some(skb) = &mut self.held else {
            return Some(buff);
        };
        let Some(next) = self.merged.next(buff.linear(), buff.size().0, self.limit) else {
            return Some(buff);
        };
        // Neither the stack nor a program may lose what they could have known of the frame.
        let metadata = buff.metadata();
        if !self.descriptor.has_metadata_of(buff.descriptor())
            || metadata.len() != self.meta_len
            || (!metadata.is_empty() && metadata != skb.metadata())
        {
            return Some(buff);
        }
        if let Err(buff) = buff.append_to(skb, self.merged.payload()) {
            return Some(buff);
        }
        rx.ring.stats.segments_merged.add(1);
        if !self.merged.add(next) {
            self.flush(rx);
        }
        None
    }

    /// Holds the skb of a frame, or passes it on if nothing can be added to it.
    #[inline(never)]
    fn hold<'w, M: Memory>(
        &mut self,
        rx: &RxContext<'_, M>,
        buff: M::Buff<'w, 'q>,
        csum_good: bool,
        size: Option<Size>,
    ) where
        'q: 'w,
    {
        self.descriptor = *buff.descriptor();
        self.meta_len = buff.metadata().len();
        self.size = size;
        // A checksum that the card has not verified is verified by the stack, segment by segment.
        let is_good = rx.rx_csum && self.descriptor.is(Status::CHECKSUM_GOOD);
        let can_go_on = if is_good {
            let first = self.merged.begin(buff.linear(), buff.size().0);
            first.is_some()
        } else {
            self.merged.clear();
            false
        };
        // Never a copy: pages are added only to an skb around a page.
        self.held = rx.build_skb(buff, csum_good, 0);
        if !can_go_on {
            self.flush(rx);
        }
    }

    /// Passes on the skb that is held.
    #[inline(never)]
    fn flush<M: Memory>(&mut self, rx: &RxContext<'_, M>) {
        let Some(mut skb) = self.held.take() else {
            return;
        };
        if let Some(gso) = self.merged.gso() {
            // Neither fails: this is the skb that was built of the first segment.
            let marked = skb.set_tcp_gso(gso.tcp, gso.size, gso.segments, gso.is_ipv6);
            let head = skb.own_head().filter(|_| marked);
            if head
                .and_then(|head| self.merged.write_headers(head))
                .is_none()
            {
                return;
            }
            if self.special {
                let bytes = self.merged.frame_len();
                rx.trace
                    .merged(rx.ring.index(), self.size.is_none(), bytes, gso.segments);
            }
        } else if let Some(size) = self.size {
            rx.trace.no_program(rx.ring.index(), size);
        }
        rx.cx.gro_receive(skb);
    }
}
