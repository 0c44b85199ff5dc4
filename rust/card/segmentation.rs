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
    dest::Dest,
    net::skbuff::{
        SkBuff,
        SkbReader, //
    },
    nic::{
        completion::{
            Completion,
            Status, //
        },
        tso::{
            self,
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
    /// Where the payload of the next segment is.
    reader: SkbReader<'a>,
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
        skb.copy_part(0, Dest::from(&mut *head)).ok()?;
        let mut frame = Self {
            skb,
            reader: SkbReader::new(skb),
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
        // All have the same Ethernet header, and none is longer than the first.
        let longest = self.template.segment_len();
        let mut fits = None;
        // The frame before it in the ring may be another one.
        let mut place = if self.done + 1 < self.template.count() {
            Status::LEADS
        } else {
            Status::none()
        };
        while let Some(part) = self.template.part(self.done) {
            let segment = Segment {
                skb: self.skb,
                reader: &self.reader,
                template: &self.template,
                part,
                place,
            };
            if *fits.get_or_insert_with(|| hw.writer.fits(&segment, longest)) {
                sent.add(hw.writer.write_whole(&segment, meta)?.into());
            } else {
                write_counted(queue, hw, &segment, meta, sent)?;
            }
            place = Status::FOLLOWS;
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
        let last = done.checked_sub(1).and_then(|n| self.template.part(n));
        let sum = last.and_then(|part| self.skb.sum(part.offset, part.len).ok());
        self.template
            .fingerprint([self.skb.address() as u64, sum.unwrap_or_default().into()])
    }

    /// Frames and bytes of the segments that have not been sent, received or not.
    pub(crate) fn rest(&self) -> TxCounts {
        let frames = self.template.count().saturating_sub(self.done);
        if frames == 0 {
            return TxCounts::default();
        }
        let tag = TxFrame::tag(self.skb);
        let longest = wire_len(self.template.segment_len(), tag) * (frames - 1);
        TxCounts {
            frames: frames as u64,
            bytes: (longest + wire_len(self.template.last_len(), tag)) as u64,
            not_sent: 0,
        }
    }

    /// Length of its longest segment on the wire, in bytes.
    pub(crate) fn segment_len(&self) -> usize {
        wire_len(self.template.segment_len(), TxFrame::tag(self.skb))
    }
}

/// One segment of an skb.
struct Segment<'a> {
    skb: &'a SkBuff,
    reader: &'a SkbReader<'a>,
    template: &'a Template,
    part: Part,
    /// Whether it is the first that is written into the ring, or follows another one.
    place: Status,
}

impl TxFrame for Segment<'_> {
    #[inline]
    fn len(&self) -> usize {
        self.template.bytes().len() + self.part.len
    }

    fn head(&self) -> FrameHead<'_> {
        FrameHead::Linear(self.template.bytes())
    }

    #[inline]
    fn is_plain(&self) -> bool {
        false
    }

    /// The Ethernet header is the same in all segments.
    #[inline]
    fn start(&self) -> &[u8] {
        self.template.bytes()
    }

    #[inline]
    fn tag(&self) -> Option<Tag> {
        TxFrame::tag(self.skb)
    }

    #[inline]
    fn segment(&self) -> Status {
        self.place
    }

    /// The payload first: the headers have its checksum.
    #[inline]
    fn copy_to(&self, to: Dest<'_>) -> Result<Checksum, Malformed> {
        let (mut head, payload) = to.split_at(self.template.bytes().len());
        let sum = self.reader.copy_and_sum(self.part.offset, payload);
        self.template
            .write_headers(self.part, sum.map_err(|_| Malformed)?, &mut head)
            .ok_or(Malformed)?;
        Ok(Checksum::Good)
    }

    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
        let sum = self.skb.sum(self.part.offset, self.part.len);
        let patch = self
            .template
            .checksum(self.part, sum.map_err(|_| Malformed)?);
        Ok((Checksum::Good, Some(patch)))
    }

    fn copy_part(&self, offset: usize, to: Dest<'_>) -> Result<(), Malformed> {
        let len = self.template.bytes().len();
        let (mut head, payload) = to.split_at(len.saturating_sub(offset));
        if !head.is_empty() {
            let headers = self.template.headers(self.part);
            let bytes = headers.bytes().get(offset..offset + head.len());
            head.write(0, bytes.ok_or(Malformed)?).ok_or(Malformed)?;
        }
        if payload.is_empty() {
            return Ok(());
        }
        let at = self.part.offset + (offset + head.len() - len);
        SkBuff::copy_part(self.skb, at, payload).map_err(|_| Malformed)
    }
}
