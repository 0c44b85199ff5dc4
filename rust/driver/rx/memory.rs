// SPDX-License-Identifier: GPL-2.0

//! The buffers of a receive ring: pages of a page_pool, or frames of the umem of AF_XDP sockets.
//! The poll is compiled for each of the two.

use crate::{
    card::{
        dma::UmemTx,
        rx::IrqTimer,
        rx_ring::DescRing,
        wire::{
            Batch,
            NotSent,
            TxCounts,
            WireSender, //
        },
    },
    net::{
        device::Device,
        napi,
        page_pool,
        timer::Timer,
        xdp::{
            self,
            RxFrame, //
        },
        xsk, //
    },
    nic::{
        completion::{
            Completion,
            Status, //
        },
        ring::DriverSide, //
    },
};
use core::slice;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The driver's side of a ring.
pub(crate) type Descriptors<M> = DriverSide<Arc<DescRing<<M as Memory>::Buffer>>>;

/// The memory into which a ring receives frames.
pub(crate) trait Memory: Sized + Send + 'static {
    /// The frames that are not simply one buffer: those of several buffers, and TCP segments if the
    /// driver merges them.
    const SPECIAL: Status;

    /// A buffer.
    type Buffer: Send + 'static;
    /// A frame in a single buffer, taken out of XDP: only its bytes are left.
    type Linear;
    /// What a poll makes its frames with, one at a time.
    type Slot<'q>;
    /// A received frame, for XDP.
    type Buff<'w, 'q>: RxFrame<
        Descriptor = &'q Completion,
        Buffer = Self::Buffer,
        Linear = Self::Linear,
    >
    where
        'q: 'w;

    /// The device.
    fn device(&self) -> &Device;

    /// The slot of a poll.
    fn slot<'q>(&'q self, cx: &'q napi::Context<'_>) -> Option<Self::Slot<'q>>;

    /// The frame, or its first part, of the `len` bytes that the card has written to `buffer`.
    /// [`None`] if the buffer is not of this memory.
    fn load<'w, 'q>(
        slot: &'w mut Self::Slot<'q>,
        buffer: Self::Buffer,
        len: u32,
        descriptor: &'q Completion,
    ) -> Option<Self::Buff<'w, 'q>>;

    /// Sends frames in a single buffer each, and posts their buffers again.
    fn send_linear(
        frames: &mut [Option<Self::Linear>],
        sender: &mut WireSender<'_>,
        sent: &mut TxCounts,
        descriptors: &Descriptors<Self>,
    );

    /// Sends a frame in several buffers.
    fn send_whole(
        frame: &Self::Buff<'_, '_>,
        sender: &mut WireSender<'_>,
        sent: &mut TxCounts,
    ) -> Result<(), NotSent>;

    /// Posts a buffer to every empty descriptor. Returns `false` if there were not enough.
    fn post_all(
        &mut self,
        descriptors: &mut Descriptors<Self>,
        cx: &impl napi::NapiExclusive,
    ) -> bool;
}

/// Pages of a page_pool.
pub(crate) struct Pages(pub(super) Pin<KBox<xdp::RxQueue>>);

impl Memory for Pages {
    const SPECIAL: Status = Status::MORE_BUFFERS
        .with(Status::LEADS)
        .with(Status::FOLLOWS);

    type Buffer = page_pool::Buffer;
    type Linear = xdp::LinearBuff;
    type Slot<'q> = xdp::XdpBuffSlot<'q, &'q Completion>;
    type Buff<'w, 'q>
        = xdp::Buff<'w, 'q, &'q Completion>
    where
        'q: 'w;

    #[inline]
    fn device(&self) -> &Device {
        self.0.device()
    }

    #[inline]
    fn slot<'q>(&'q self, cx: &'q napi::Context<'_>) -> Option<Self::Slot<'q>> {
        const NO_FRAME: &Completion = &Completion::new(0);
        xdp::XdpBuffSlot::new(&self.0, cx, NO_FRAME)
    }

    #[inline(always)]
    fn load<'w, 'q>(
        slot: &'w mut Self::Slot<'q>,
        buffer: Self::Buffer,
        len: u32,
        descriptor: &'q Completion,
    ) -> Option<Self::Buff<'w, 'q>> {
        Some(slot.load(buffer, len, descriptor))
    }

    #[inline]
    fn send_linear(
        frames: &mut [Option<Self::Linear>],
        sender: &mut WireSender<'_>,
        sent: &mut TxCounts,
        descriptors: &Descriptors<Self>,
    ) {
        let mut frames = LinearFrames {
            frames: frames.iter_mut(),
            next: None,
            descriptors,
        };
        frames.advance();
        while !sender.send_batch(&mut frames, sent) {
            // The peer is down: the frame is lost.
            sent.not_sent += 1;
            frames.finish();
        }
    }

    fn send_whole(
        frame: &Self::Buff<'_, '_>,
        sender: &mut WireSender<'_>,
        sent: &mut TxCounts,
    ) -> Result<(), NotSent> {
        let frame: &xdp::XdpBuff = frame;
        sender.send(frame, sent)
    }

    fn post_all(
        &mut self,
        descriptors: &mut Descriptors<Self>,
        cx: &impl napi::NapiExclusive,
    ) -> bool {
        let Some(mut pages) = self.0.as_mut().allocator(cx) else {
            // Not reached: the queue's pool is that of this poll.
            return false;
        };
        while descriptors.unused() != 0 {
            let Some(buffer) = pages.alloc() else {
                return false;
            };
            // There was an empty descriptor.
            let _ = descriptors.post(buffer);
        }
        true
    }
}

/// Frames in pages that XDP_TX sends. The buffer of each is posted again when it is sent.
struct LinearFrames<'a> {
    frames: slice::IterMut<'a, Option<xdp::LinearBuff>>,
    next: Option<xdp::LinearBuff>,
    descriptors: &'a Descriptors<Pages>,
}

impl LinearFrames<'_> {
    #[inline]
    fn advance(&mut self) {
        self.next = self.frames.next().and_then(Option::take);
    }
}

impl Batch for LinearFrames<'_> {
    type Frame = xdp::LinearBuff;

    #[inline]
    fn peek(&self) -> Option<&xdp::LinearBuff> {
        self.next.as_ref()
    }

    #[inline]
    fn finish(&mut self) {
        if let Some(frame) = self.next.take() {
            // There is an empty descriptor for each frame that was taken.
            let _ = self.descriptors.post(frame.into_buffer());
        }
        self.advance();
    }
}

/// Frames of the umem of AF_XDP sockets.
pub(crate) struct Umem {
    pub(super) queue: Pin<KBox<xsk::RxQueue>>,
    /// Schedules the poll when it has something to do at a given time.
    pub(super) timer: Pin<KBox<Timer<IrqTimer>>>,
    /// The time until the next refill, in nanoseconds, if user space does not wake the poll for it.
    pub(super) refill_delay: u64,
}

impl Umem {
    /// The pool, which the ring has while it is polled.
    #[inline]
    pub(super) fn pool(&self) -> Option<&xsk::Pool> {
        self.queue.pool()
    }

    /// Posts a buffer of the pool to every empty descriptor. Returns `false` if there were not
    /// enough. A function of its own: inlined in the poll, its loop had too few registers.
    #[inline(never)]
    pub(super) fn fill(pool: &xsk::Pool, descriptors: &mut Descriptors<Self>) -> bool {
        let wanted = descriptors.unused();
        // They fit: there are that many empty descriptors.
        pool.alloc(wanted, |buffers| descriptors.post_each(buffers)) == wanted
    }
}

impl Memory for Umem {
    /// An skb is a copy of the frame.
    const SPECIAL: Status = Status::MORE_BUFFERS;

    type Buffer = xsk::UmemBuffer;
    type Linear = xsk::LinearBuff;
    type Slot<'q> = xsk::FrameSlot<'q, &'q Completion>;
    type Buff<'w, 'q>
        = xsk::Buff<'w, 'q, &'q Completion>
    where
        'q: 'w;

    #[inline]
    fn device(&self) -> &Device {
        self.queue.device()
    }

    #[inline]
    fn slot<'q>(&'q self, cx: &'q napi::Context<'_>) -> Option<Self::Slot<'q>> {
        xsk::FrameSlot::new(&self.queue, cx)
    }

    #[inline]
    fn load<'w, 'q>(
        slot: &'w mut Self::Slot<'q>,
        buffer: Self::Buffer,
        len: u32,
        descriptor: &'q Completion,
    ) -> Option<Self::Buff<'w, 'q>> {
        slot.load(buffer, len, descriptor)
    }

    fn send_linear(
        frames: &mut [Option<Self::Linear>],
        sender: &mut WireSender<'_>,
        sent: &mut TxCounts,
        descriptors: &Descriptors<Self>,
    ) {
        for frame in frames.iter_mut().filter_map(Option::take) {
            if sender.send(&UmemTx::new(&frame), sent).is_err() {
                sent.not_sent += 1;
            }
            // There is an empty descriptor for each frame that was taken.
            let _ = descriptors.post(frame.into_buffer());
        }
    }

    fn send_whole(
        frame: &Self::Buff<'_, '_>,
        sender: &mut WireSender<'_>,
        sent: &mut TxCounts,
    ) -> Result<(), NotSent> {
        sender.send(&UmemTx::new(frame), sent)
    }

    #[inline]
    fn post_all(
        &mut self,
        descriptors: &mut Descriptors<Self>,
        _cx: &impl napi::NapiExclusive,
    ) -> bool {
        self.pool()
            .is_some_and(|pool| Self::fill(pool, descriptors))
    }
}
