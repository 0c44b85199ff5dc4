// SPDX-License-Identifier: GPL-2.0

//! TCP segmentation: a large frame of the stack goes into the peer's ring as the segments that it is cut into.

use super::{
    rx::{RxInlet, RxRing},
    tx::{put_counted, Sent},
};
use crate::{
    net::{page_pool::FRAME_ROOM, skbuff::SkBuff},
    nic::{
        ring::Completion,
        tso::{self, Headers, Part, Template},
        vlan::{Tag, TAG_LEN},
        wire::{Checksum, Frame, Head, Malformed, Patch, Refused},
    },
};

/// Cuts an skb into segments and puts all of them into the ring, or none.
#[inline(never)]
pub(super) fn put_segments(
    ring: &RxRing,
    inlet: &mut RxInlet,
    skb: &SkBuff,
    template: &Template,
    known: Completion,
    sent: &mut Sent,
) -> Result<(), Refused> {
    if inlet.wire.lacks(needed(template)) {
        return Err(Refused::NoBuffer);
    }
    let mark = inlet.wire.mark();
    for part in template.parts() {
        let segment = Segment {
            skb,
            headers: template.headers(part),
            part,
        };
        if let Err(refused) = put_counted(ring, inlet, &segment, known, sent) {
            inlet.wire.rewind(mark);
            return Err(refused);
        }
    }
    Ok(())
}

/// How an skb is cut into segments with `size` bytes of payload each; `None` if it cannot be.
pub(super) fn template(skb: &SkBuff, size: usize) -> Option<Template> {
    let mut head = [0; tso::HEADERS_LEN];
    let head = head.get_mut(..skb.len().min(tso::HEADERS_LEN))?;
    skb.copy_part(0, head).ok()?;
    Template::new(head, skb.len(), size)
}

/// How long a single frame would be for which as many buffers are needed as for all segments, each of
/// them with a tag.
pub(super) fn needed(template: &Template) -> usize {
    let buffers = (template.segment_len() + TAG_LEN).div_ceil(FRAME_ROOM);
    template.parts().count() * buffers * FRAME_ROOM
}

/// One of the frames that an skb is cut into.
struct Segment<'a> {
    skb: &'a SkBuff,
    headers: Headers,
    part: Part,
}

impl Frame for Segment<'_> {
    #[inline]
    fn len(&self) -> usize {
        self.headers.bytes().len() + self.part.len
    }

    fn head(&self) -> Head<'_> {
        Head::Linear(self.headers.bytes())
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
