// SPDX-License-Identifier: GPL-2.0

//! Flow control: senders that wait for the receiver to post buffers.
//!
//! To its senders a ring is full when fewer buffers are posted than the longest frame takes. They
//! then stop their queues, and the refill wakes them. A lost wake-up must not happen: a sender
//! could stop just after the refill has checked for waiting queues. So each side writes one
//! variable and then reads the other's:
//!
//! ```text
//!     sender                         refill
//!     waiting |= queue               doorbell
//!     fence(SeqCst)                  fence(SeqCst)
//!     read whether it is still full  read waiting
//! ```
//!
//! One of the two fences comes first in the single total order of all SeqCst fences. If it is the
//! sender's, the refill sees that the queue waits; if it is the refill's, the sender sees that
//! there is room. If both happen, a running queue is woken, which does no harm.
//!
//! Switching flow control off follows the same protocol: it clears the setting first and then wakes
//! all waiting queues. So when a sender checks again whether the ring is full, it also checks again
//! whether flow control is on.
//!
//! The refill wakes one queue at a time, round-robin, so that this queue has time to send before
//! the next one is woken. If all were woken at once, a queue that sends from another CPU could
//! always take the buffers before a queue whose CPU is still busy with the poll.

use super::sync::{
    fence,
    AtomicU32,
    AtomicU64,
    CacheAligned,
    Ordering, //
};

/// Largest number of queues that can wait for one ring. Their numbers are below this.
pub const MAX_QUEUES: u32 = u64::BITS;

/// The transmit queues that wait for buffers of one ring.
pub struct Waiters {
    /// A bit for each waiting queue.
    waiting: CacheAligned<AtomicU64>,
    /// The queue that is next in turn; if it does not wait, the first after it that does.
    turn: AtomicU32,
    /// Number of buffers that must be posted before a queue is woken.
    threshold: AtomicU32,
}

impl Waiters {
    /// No queue waits.
    pub fn new() -> Self {
        Self {
            waiting: CacheAligned(AtomicU64::new(0)),
            turn: AtomicU32::new(0),
            threshold: AtomicU32::new(0),
        }
    }

    /// A sender has found the ring full and stopped its queue; it must have stopped the queue
    /// before this call, or the wake-up might come first. The queue is to be woken when `threshold`
    /// buffers are posted, the same number for all queues that wait for the ring. Its number should
    /// be below [`MAX_QUEUES`].
    ///
    /// `still_full` tells whether the ring is still full and flow control still on. If so, returns
    /// `true`: the queue stays stopped and will be woken. If not, returns `false`: the sender must
    /// start the queue again itself. The queue may then also be woken needlessly.
    #[inline]
    #[must_use = "the queue must be started again if this is `false`"]
    pub fn wait(&self, queue: u32, threshold: u32, still_full: impl FnOnce() -> bool) -> bool {
        // A queue without a bit would never be woken.
        let Some(bit) = 1u64.checked_shl(queue) else {
            return false;
        };

        // Relaxed: with an older value the wake-up comes a little later, or earlier, in which case
        // the queue may stop again.
        self.threshold.store(threshold, Ordering::Relaxed);
        // Release: publishes that the queue is stopped. Pairs with `take_one` and `take_all`.
        self.waiting.0.fetch_or(bit, Ordering::Release);
        fence(Ordering::SeqCst);
        if still_full() {
            return true;
        }
        self.waiting.0.fetch_and(!bit, Ordering::Relaxed);
        false
    }

    /// Whether a queue waits. For the watchdog: the queue may be woken at any moment.
    pub fn has(&self, queue: u32) -> bool {
        let bit = 1u64.checked_shl(queue).unwrap_or(0);
        self.waiting.0.load(Ordering::Relaxed) & bit != 0
    }

    /// The refill has posted buffers and rung the doorbell: returns the waiting queue whose turn it
    /// is. `has_room` tells whether as many buffers are posted as the queues wait for. If not, no
    /// queue is returned, and the caller must make sure that another poll follows.
    ///
    /// Once per batch: it costs a full barrier, and writes only if a queue waits.
    #[inline]
    pub fn take_next(&self, has_room: impl FnOnce(u32) -> bool) -> Option<Turn> {
        fence(Ordering::SeqCst);
        let waiting = self.waiting.0.load(Ordering::Relaxed);
        if waiting == 0 {
            return None;
        }
        self.take_one(waiting, has_room)
    }

    #[cold]
    fn take_one(&self, waiting: u64, has_room: impl FnOnce(u32) -> bool) -> Option<Turn> {
        if !has_room(self.threshold.load(Ordering::Relaxed)) {
            return None;
        }
        let queue = self.in_turn(waiting).next()?;
        // Relaxed: only polls write it, and only one poll runs at a time.
        self.turn.store((queue + 1) % MAX_QUEUES, Ordering::Relaxed);
        let bit = 1 << queue;
        // Acquire, for the stopped state of the queue: pairs with the Release in `wait`.
        let waiting = self.waiting.0.fetch_and(!bit, Ordering::Acquire);
        Some(Turn {
            queue,
            others_wait: waiting & !bit != 0,
        })
    }

    /// Returns all waiting queues, each once. They need not take turns: the ring goes away, a new
    /// ring with all its buffers has just started, flow control was switched off, or the watchdog
    /// wakes them.
    #[inline]
    pub fn take_all(&self) -> Woken {
        fence(Ordering::SeqCst);
        // Acquire, for the stopped state of the queues: pairs with the Release in `wait`.
        self.in_turn(self.waiting.0.swap(0, Ordering::Acquire))
    }

    /// The queues of `waiting`, from the one whose turn it is.
    fn in_turn(&self, waiting: u64) -> Woken {
        Woken::new(waiting, self.turn.load(Ordering::Relaxed))
    }
}

/// A queue that is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the queue must be woken"]
pub struct Turn {
    /// Number of the queue.
    pub queue: u32,
    /// Whether other queues still wait. Their turn comes after this one has sent.
    pub others_wait: bool,
}

impl Default for Waiters {
    fn default() -> Self {
        Self::new()
    }
}

/// The numbers of the queues to wake, in order.
#[derive(Clone, Debug)]
#[must_use = "the queues must be woken"]
pub struct Woken {
    /// A bit for each remaining queue; bit 0 is that of queue `first`.
    left: u64,
    first: u32,
}

impl Woken {
    /// The queues of `waiting` in ascending order, starting at `first` and wrapping around. `first`
    /// is below [`MAX_QUEUES`].
    #[inline]
    fn new(waiting: u64, first: u32) -> Self {
        Self {
            left: waiting.rotate_right(first),
            first,
        }
    }
}

impl Iterator for Woken {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.left == 0 {
            return None;
        }
        let queue = (self.first + self.left.trailing_zeros()) % MAX_QUEUES;
        self.left &= self.left.wrapping_sub(1);
        Some(queue)
    }
}
