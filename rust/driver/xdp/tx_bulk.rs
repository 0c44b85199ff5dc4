// SPDX-License-Identifier: GPL-2.0

//! Step 7, XDP_TX: frames that go back out of the port they came in by, sent in bulk.

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

/// A batch of frames on their way out by XDP_TX.
pub(crate) struct XdpTxBulk<'a> {
    peer: &'a Port,
    /// Made when the first frame comes: most polls send none.
    frames: Option<[Option<LinearBuff>; BULK_SIZE]>,
    len: usize,
}

impl<'a> XdpTxBulk<'a> {
    /// An empty batch to `peer`.
    pub(crate) fn new(peer: &'a Port) -> Self {
        Self {
            peer,
            frames: None,
            len: 0,
        }
    }

    /// Adds a frame. A full batch has to be flushed first; else the frame is lost.
    #[inline]
    pub(crate) fn push(&mut self, frame: LinearBuff) {
        if self.frames.is_none() {
            self.frames = Some([const { None }; BULK_SIZE]);
        }
        let frames = self.frames.as_mut();
        if let Some(slot) = frames.and_then(|all| all.get_mut(self.len)) {
            *slot = Some(frame);
            self.len += 1;
        }
    }

    /// Sends a frame in several buffers, which no batch has a place for. What was pushed before has to
    /// be flushed before.
    pub(crate) fn send(&self, cx: &napi::Context<'_>, frame: &XdpBuff) -> TxCounts {
        let mut sent = TxCounts::default();
        if WireSender::new(self.peer, cx)
            .send(frame, &mut sent)
            .is_err()
        {
            sent.lost += 1;
        }
        sent
    }

    /// Whether there is no place for a further frame.
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
                sent.lost += 1;
            }
            // There is an empty descriptor for each frame that was taken.
            let _ = descriptors.post(frame.into_buffer());
        }
        sent
    }
}
