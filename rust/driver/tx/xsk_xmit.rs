// SPDX-License-Identifier: GPL-2.0

//! Sends the frames of AF_XDP sockets in zero-copy mode: the poll of their queue copies them from
//! umem into the peer's rings, and completes them at once.
//!
//! With flow control on, a frame for which the peer has no buffer waits with the pool, and so do
//! those behind it. The refill of the peer's ring then has this queue polled again (see
//! [`nic::pause`](crate::nic::pause)). Each frame is completed once, whether it was sent or lost.

use crate::{
    card::{
        dma::UmemTx,
        port::Port,
        wire::{
            Sent,
            TxCounts,
            WireSender, //
        },
    },
    driver::{
        params::RING_SIZES,
        rx::ring::XskTxStats, //
    },
    net::{
        clock, napi,
        page_pool::MAX_BUFFERS,
        xsk::{
            Peeked,
            PoolTx,
            TxDesc, //
        },
    },
    nic::pause::of_xsk, //
};

/// Number of descriptors that are sent before they are published and completed.
const BATCH: u32 = 64;
/// Number of descriptors that a poll sends.
const BUDGET: u32 = 256;

// With XDP_USE_SG only whole frames are read from the TX rings.
const _: () = assert!(*RING_SIZES.start() >= MAX_BUFFERS as u32);

/// Number of times that a poll reads the TX rings without finding a frame.
const TRIES: u32 = 64;
/// The time until the next poll after so many, in nanoseconds.
const RETRY_DELAY: u64 = 1_000_000;

/// The longest time until the next poll if a frame with a launch time waits, in nanoseconds.
const LONGEST_DELAY: u64 = 1_000_000_000;

/// Sends the frames of the AF_XDP sockets of a queue, in its poll.
pub(crate) struct XskTx<'a> {
    pub(crate) pool: PoolTx<'a>,
    pub(crate) queue: u16,
    pub(crate) port: &'a Port,
    pub(crate) peer: &'a Port,
    pub(crate) stats: &'a XskTxStats,
    /// Number of descriptors that are read from the TX rings at a time.
    pub(crate) ring_size: u32,
    /// Whether user space may request something for a frame.
    pub(crate) metadata: bool,
}

/// The next frame must wait: for this time in nanoseconds; or until the peer has buffers, and then
/// there will be another poll.
struct Wait(Option<u64>);

impl XskTx<'_> {
    /// Sends frames up to the budget. Returns the time until the next poll that this needs, in
    /// nanoseconds: 0 if there may be more to send at once.
    pub(crate) fn transmit(mut self, cx: &napi::Context<'_>) -> Option<u64> {
        // Set before the TX rings are read: user space must wake the driver for what it puts there
        // afterwards.
        self.pool.set_need_wakeup();
        let mut counts = TxCounts::default();
        let (mut left, mut tries) = (BUDGET, TRIES);
        let delay = loop {
            if left == 0 {
                break Some(0);
            }
            match self.pool.peek(self.ring_size) {
                Peeked::Frames => {}
                // User space may not wake the driver again for frames that are behind an invalid
                // one.
                Peeked::NoFrame if tries != 0 => {
                    tries -= 1;
                    continue;
                }
                Peeked::NoFrame => break Some(RETRY_DELAY),
                Peeked::Nothing => break None,
            }
            let (sent, wait) = self.send_batch(cx, &mut counts);
            left = left.saturating_sub(sent);
            if let Some(Wait(delay)) = wait {
                break delay;
            }
        };
        if counts.frames != 0 || counts.not_sent != 0 {
            self.stats.xsk_packets.add(counts.frames);
            self.stats.xsk_bytes.add(counts.bytes);
            self.stats.xsk_errors.add(counts.not_sent);
        }
        delay
    }

    /// Fast path: up to `max` frames, each in one descriptor, up to the first one with something
    /// special. Returns their number. A function of its own, for the registers.
    #[inline(never)]
    fn send_plain(&self, sender: &mut WireSender<'_>, max: u32, counts: &mut TxCounts) -> u32 {
        let frames = self.pool.next_plain(max).map(UmemTx::new);
        let sent = sender.send_fast(frames, counts);
        self.pool.advance(sent);
        sent
    }

    /// Sends a batch of the frames that have been read from the TX rings. Returns the number of
    /// descriptors, and whether the next frame must wait.
    fn send_batch(&self, cx: &napi::Context<'_>, counts: &mut TxCounts) -> (u32, Option<Wait>) {
        let mut descs = 0;
        let mut wait = None;
        let mut sender = WireSender::new(self.peer, cx);
        loop {
            descs += self.send_plain(&mut sender, BATCH.saturating_sub(descs), counts);
            if descs >= BATCH {
                break;
            }
            match self.send_any(&mut sender, counts) {
                Ok(0) => break,
                Ok(count) => {
                    descs += count;
                    self.pool.advance(count);
                }
                Err(must_wait) => {
                    wait = Some(must_wait);
                    break;
                }
            }
        }
        // Publish before completing.
        drop(sender);
        self.pool.complete();
        (descs, wait)
    }

    /// Slow path: any frame. Returns the number of its descriptors, or 0 if there is no frame;
    /// fails if the frame must wait. A function of its own: inlined, it took registers from all
    /// frames.
    #[inline(never)]
    fn send_any(&self, sender: &mut WireSender<'_>, counts: &mut TxCounts) -> Result<u32, Wait> {
        let Some(mut frame) = self.pool.next_frame(self.metadata) else {
            return Ok(0);
        };
        if let Some(delay) = until_launch(&frame) {
            return Err(Wait(Some(delay)));
        }
        let pauses = || self.peer.pauses(self.port);
        let sent = sender.send_or_wait(&UmemTx::new(&frame), counts, of_xsk(self.queue), pauses);
        match sent {
            Ok(Sent::Out) => frame.set_timestamp(clock::tai_ns),
            Ok(Sent::Waits) => {
                self.port.count_stop(self.queue);
                return Err(Wait(None));
            }
            Ok(Sent::StillWaits) => return Err(Wait(None)),
            Err(_) => counts.not_sent += 1,
        }
        Ok(frame.descs())
    }
}

/// The time until a frame may be sent, in nanoseconds, if its launch time is in the future. Frames
/// keep their order, so those behind it wait too.
#[inline]
fn until_launch(frame: &TxDesc<'_>) -> Option<u64> {
    let time = frame.request().launch_time?.get();
    let delay = time.saturating_sub(clock::tai_ns());
    (delay != 0).then_some(delay.min(LONGEST_DELAY))
}
