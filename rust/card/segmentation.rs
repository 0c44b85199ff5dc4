// SPDX-License-Identifier: GPL-2.0

//! TCP segmentation: a large frame of the stack is written into the peer's ring segment by segment.
//!
//! If there are too few buffers for all segments, the first ones are sent and the transmit queue
//! stops. The stack keeps the frame (`dev_requeue_skb` in net/sched/sch_generic.c) and hands it
//! over again when the queue is woken; then sending continues with the next segment. So a large
//! frame needs no more buffers at a time than any other, and small frames, for which a single free
//! buffer is enough, do not starve it.

use super::{
    rx::{
        RxHw,
        RxHwQueue, //
    },
    wire::{
        write_counted,
        TxCounts, //
    },
};
use crate::{
    net::skbuff::SkBuff,
    nic::{
        completion::Completion,
        tso::{
            self,
            Headers,
            Part,
            Progress,
            Template, //
        },
        vlan::Tag,
        wire::{
            wire_len,
            Checksum,
            FrameHead,
            Malformed,
            Patch,
            Refused,
            TxFrame, //
        },
    },
};

/// A large frame of the stack, and its progress.
pub(crate) struct LargeFrame<'a> {
    skb: &'a SkBuff,
    template: Template,
    /// How many of its segments have been sent.
    done: usize,
}

impl<'a> LargeFrame<'a> {
    /// An skb to be cut into segments with `size` bytes of payload each. If `progress` was saved
    /// for it, it continues with the next segment. [`None`] if it cannot be cut.
    pub(crate) fn new(skb: &'a SkBuff, size: usize, progress: &Progress) -> Option<Self> {
        let mut head = [0; tso::HEADERS_LEN];
        let head = head.get_mut(..skb.len().min(tso::HEADERS_LEN))?;
        skb.copy_part(0, head).ok()?;
        let mut frame = Self {
            skb,
            template: Template::new(head, skb.len(), size)?,
            done: 0,
        };
        frame.done = progress.take(|done| frame.fingerprint(done as usize)) as usize;
        Some(frame)
    }

    /// Writes the segments that have not been sent into the ring, as many as there are buffers for.
    #[inline(never)]
    pub(crate) fn write(
        &mut self,
        queue: &RxHwQueue,
        hw: &mut RxHw,
        meta: Completion,
        sent: &mut TxCounts,
    ) -> Result<(), Refused> {
        for part in self.template.parts().skip(self.done) {
            let segment = Segment {
                skb: self.skb,
                headers: self.template.headers(part),
                part,
            };
            write_counted(queue, hw, &segment, meta, sent)?;
            self.done += 1;
        }
        Ok(())
    }

    /// Saves how many segments have been sent, since the stack will hand the frame over again.
    pub(crate) fn keep(&self, progress: &Progress) {
        if self.done != 0 {
            progress.keep(self.fingerprint(self.done), self.done as u32);
        }
    }

    /// Distinguishes the frame from any other of which `done` segments have been sent: by its
    /// address, its headers, and the payload of the last of these segments.
    fn fingerprint(&self, done: usize) -> u64 {
        let last = done
            .checked_sub(1)
            .and_then(|n| self.template.parts().nth(n));
        let sum = last.and_then(|part| self.skb.sum(part.offset, part.len).ok());
        self.template
            .fingerprint([self.skb.address() as u64, sum.unwrap_or_default().into()])
    }

    /// Frames and bytes of the segments that have not been sent, received or not.
    pub(crate) fn rest(&self) -> TxCounts {
        let tag = TxFrame::tag(self.skb);
        let mut rest = TxCounts::default();
        for len in self.template.lens().skip(self.done) {
            rest.add(wire_len(len, tag) as u64);
        }
        rest
    }

    /// Length of its longest segment on the wire, in bytes.
    pub(crate) fn segment_len(&self) -> usize {
        wire_len(self.template.segment_len(), TxFrame::tag(self.skb))
    }
}

/// One segment of an skb.
struct Segment<'a> {
    skb: &'a SkBuff,
    headers: Headers,
    part: Part,
}

impl TxFrame for Segment<'_> {
    #[inline]
    fn len(&self) -> usize {
        self.headers.bytes().len() + self.part.len
    }

    fn head(&self) -> FrameHead<'_> {
        FrameHead::Linear(self.headers.bytes())
    }

    #[inline]
    fn is_plain(&self) -> bool {
        false
    }

    #[inline]
    fn start(&self) -> &[u8] {
        self.headers.bytes()
    }

    #[inline]
    fn tag(&self) -> Option<Tag> {
        self.skb.tag()
    }

    #[inline]
    fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed> {
        let headers = self.headers.bytes();
        let (head, payload) = to.split_at_mut_checked(headers.len()).ok_or(Malformed)?;
        head.copy_from_slice(headers);
        let sum = self.skb.copy_and_sum(self.part.offset, payload);
        self.headers
            .checksum(sum.map_err(|_| Malformed)?)
            .apply(0, head);
        Ok(Checksum::Good)
    }

    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
        let sum = self.skb.sum(self.part.offset, self.part.len);
        let patch = self.headers.checksum(sum.map_err(|_| Malformed)?);
        Ok((Checksum::Good, Some(patch)))
    }

    fn copy_part(&self, offset: usize, to: &mut [u8]) -> Result<(), Malformed> {
        let headers = self.headers.bytes();
        let first = headers.get(offset..).unwrap_or_default();
        let (head, payload) = to.split_at_mut(first.len().min(to.len()));
        head.copy_from_slice(first.get(..head.len()).ok_or(Malformed)?);
        if payload.is_empty() {
            return Ok(());
        }
        let at = self.part.offset + (offset + head.len() - headers.len());
        SkBuff::copy_part(self.skb, at, payload).map_err(|_| Malformed)
    }
}
