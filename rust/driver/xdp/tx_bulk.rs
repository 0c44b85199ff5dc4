// SPDX-License-Identifier: GPL-2.0

//! Step 7, XDP_TX: frames that are sent back out of the port that received them, in bulk.

use crate::{
    card::{
        port::Port,
        wire::{
            TxCounts,
            WireSender, //
        },
    },
    driver::rx::memory::{
        Descriptors,
        Memory, //
    },
    net::napi,
};

/// Frames that XDP_TX collects before it takes the peer's wire lock.
const BULK_SIZE: usize = 16;

/// A batch of frames of XDP_TX.
pub(crate) struct XdpTxBulk<'a, M: Memory> {
    peer: &'a Port,
    /// Initialized for the first frame: most polls send none.
    frames: Option<[Option<M::Linear>; BULK_SIZE]>,
    len: usize,
}

impl<'a, M: Memory> XdpTxBulk<'a, M> {
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
    pub(crate) fn push(&mut self, frame: M::Linear) {
        let frames = self.frames.get_or_insert_with(no_frames);
        if let Some(slot) = frames.get_mut(self.len) {
            *slot = Some(frame);
            self.len += 1;
        }
    }

    /// Sends a multi-buffer frame; a batch only takes linear ones. Frames that were pushed before
    /// must be flushed before, to keep the order.
    pub(crate) fn send(&self, cx: &napi::Context<'_>, frame: &M::Buff<'_, '_>) -> TxCounts {
        let mut sent = TxCounts::default();
        if M::send_whole(frame, &mut WireSender::new(self.peer, cx), &mut sent).is_err() {
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
        descriptors: &Descriptors<M>,
    ) -> TxCounts {
        let mut sent = TxCounts::default();
        let len = core::mem::take(&mut self.len);
        let Some(frames) = self.frames.as_mut().and_then(|all| all.get_mut(..len)) else {
            return sent;
        };
        let mut sender = WireSender::new(self.peer, cx);
        M::send_linear(frames, &mut sender, &mut sent, descriptors);
        sent
    }
}

#[cold]
fn no_frames<T>() -> [Option<T>; BULK_SIZE] {
    [const { None }; BULK_SIZE]
}
