// SPDX-License-Identifier: GPL-2.0

//! Step 7, XDP_TX: frames that are sent back out of the port that received them, in bulk.

use crate::{
    card::{
        port::Port,
        rx::DescRing,
        wire::{
            TxCounts,
            WireSender, //
        },
    },
    net::{
        napi,
        xdp::{
            LinearBuff,
            XdpBuff, //
        },
    },
    nic::ring::DriverSide, //
};
use kernel::sync::Arc;

/// Frames that XDP_TX collects before it takes the peer's wire lock.
const BULK_SIZE: usize = 16;

/// A batch of frames of XDP_TX.
pub(crate) struct XdpTxBulk<'a> {
    peer: &'a Port,
    /// Initialized for the first frame: most polls send none.
    frames: Option<[Option<LinearBuff>; BULK_SIZE]>,
    len: usize,
}

impl<'a> XdpTxBulk<'a> {
    /// An empty batch for `peer`.
    pub(crate) fn new(peer: &'a Port) -> Self {
        Self {
            peer,
            frames: None,
            len: 0,
        }
    }

    /// Adds a frame. A full batch must be flushed before, otherwise the frame is lost.
    #[inline]
    pub(crate) fn push(&mut self, frame: LinearBuff) {
        let frames = self.frames.get_or_insert_with(no_frames);
        if let Some(slot) = frames.get_mut(self.len) {
            *slot = Some(frame);
            self.len += 1;
        }
    }

    /// Sends a multi-buffer frame; a batch only takes linear ones. Frames that were pushed before
    /// must be flushed before, to keep the order.
    pub(crate) fn send(&self, cx: &napi::Context<'_>, frame: &XdpBuff) -> TxCounts {
        let mut sent = TxCounts::default();
        if WireSender::new(self.peer, cx)
            .send(frame, &mut sent)
            .is_err()
        {
            sent.not_sent += 1;
        }
        sent
    }

    /// Whether the batch is empty.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the batch is full.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len == BULK_SIZE
    }

    /// Sends all frames, and posts their buffers again.
    #[inline]
    pub(crate) fn flush(
        &mut self,
        cx: &napi::Context<'_>,
        descriptors: &DriverSide<Arc<DescRing>>,
    ) -> TxCounts {
        let mut sent = TxCounts::default();
        let len = core::mem::take(&mut self.len);
        let Some(frames) = self.frames.as_mut().and_then(|all| all.get_mut(..len)) else {
            return sent;
        };
        let mut sender = WireSender::new(self.peer, cx);
        for frame in frames.iter_mut().filter_map(Option::take) {
            if sender.send(&frame, &mut sent).is_err() {
                sent.not_sent += 1;
            }
            // There is an empty descriptor for each frame that was taken.
            let _ = descriptors.post(frame.into_buffer());
        }
        sent
    }
}

#[cold]
fn no_frames() -> [Option<LinearBuff>; BULK_SIZE] {
    [const { None }; BULK_SIZE]
}
