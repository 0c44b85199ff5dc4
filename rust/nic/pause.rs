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

use core::ptr;

use super::sync::{
    fence,
    AtomicU32,
    AtomicU64,
    CacheAligned,
    Ordering, //
};

/// Largest number of queues of a port. Their numbers are below this.
pub const MAX_QUEUES: u32 = u64::BITS;

/// Largest number of senders that can wait for one ring: its transmit queues, which have the
/// numbers of the queues, and the AF_XDP sockets of each queue, which have the number [`of_xsk`].
pub const MAX_SENDERS: u32 = 2 * MAX_QUEUES;

/// The number of the sender that is the AF_XDP sockets of `queue`.
#[inline]
pub const fn of_xsk(queue: u16) -> u32 {
    MAX_QUEUES.saturating_add(queue as u32)
}

/// The senders that wait for buffers in one ring.
pub struct Waiters {
    /// A bit for each waiting sender: transmit queues in the first word, AF_XDP in the second.
    waiting: CacheAligned<[AtomicU64; 2]>,
    /// The sender that is next in turn; if it does not wait, the first after it that does.
    turn: AtomicU32,
    /// Number of buffers that must be posted before a queue is woken.
    threshold: AtomicU32,
}

impl Waiters {
    /// No queue waits.
    pub fn new() -> Self {
        Self {
            waiting: CacheAligned([AtomicU64::new(0), AtomicU64::new(0)]),
            turn: AtomicU32::new(0),
            threshold: AtomicU32::new(0),
        }
    }

    /// A sender has found the ring full and stopped its queue; it must have stopped the queue
    /// before this call, or the wake-up might come first. The queue is to be woken when `threshold`
    /// buffers are posted, the same number for all queues that wait for the ring. Its number should
    /// be below [`MAX_SENDERS`].
    ///
    /// `still_full` tells whether the ring is still full and flow control still on. If so, returns
    /// `true`: the queue stays stopped and will be woken. If not, returns `false`: the sender must
    /// start the queue again itself. The queue may then also be woken needlessly.
    #[inline]
    #[must_use = "the queue must be started again if this is `false`"]
    pub fn wait(&self, queue: u32, threshold: u32, still_full: impl FnOnce() -> bool) -> bool {
        // A queue without a bit would never be woken.
        let Some((word, bit)) = self.place(queue) else {
            return false;
        };

        // Relaxed: with an older value the wake-up comes a little later, or earlier, in which case
        // the queue may stop again.
        self.threshold.store(threshold, Ordering::Relaxed);
        // Release: publishes that the queue is stopped. Pairs with `take_one` and `take_all`.
        word.fetch_or(bit, Ordering::Release);
        fence(Ordering::SeqCst);
        if still_full() {
            return true;
        }
        word.fetch_and(!bit, Ordering::Relaxed);
        false
    }

    /// The word and the bit of a sender.
    #[inline]
    fn place(&self, queue: u32) -> Option<(&AtomicU64, u64)> {
        let word = self.waiting.0.get((queue / u64::BITS) as usize)?;
        Some((word, 1 << (queue % u64::BITS)))
    }

    /// A bit for each waiting sender.
    #[inline]
    fn waiting(&self) -> u128 {
        let [stack, xsk] = &self.waiting.0;
        let (stack, xsk) = (stack.load(Ordering::Relaxed), xsk.load(Ordering::Relaxed));
        u128::from(stack) | (u128::from(xsk) << u64::BITS)
    }

    /// Whether a queue waits. For the watchdog: the queue may be woken at any moment.
    pub fn has(&self, queue: u32) -> bool {
        self.place(queue)
            .is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// The refill has posted buffers and rung the doorbell: returns the waiting queue whose turn it
    /// is. `has_room` tells whether as many buffers are posted as the queues wait for. If not, no
    /// queue is returned, and the caller must make sure that another poll follows.
    ///
    /// Once per batch: it costs a full barrier, and writes only if a queue waits.
    #[inline]
    pub fn take_next(&self, has_room: impl FnOnce(u32) -> bool) -> Option<Turn> {
        fence(Ordering::SeqCst);
        let waiting = self.waiting();
        if waiting == 0 {
            return None;
        }
        self.take_one(waiting, has_room)
    }

    #[cold]
    fn take_one(&self, waiting: u128, has_room: impl FnOnce(u32) -> bool) -> Option<Turn> {
        if !has_room(self.threshold.load(Ordering::Relaxed)) {
            return None;
        }
        let queue = self.in_turn(waiting).next()?;
        // Relaxed: only polls write it, and only one poll runs at a time.
        self.turn
            .store((queue + 1) % MAX_SENDERS, Ordering::Relaxed);
        let (word, bit) = self.place(queue)?;
        // Acquire, for the stopped state of the queue: pairs with the Release in `wait`.
        let left = word.fetch_and(!bit, Ordering::Acquire) & !bit;
        let mut others = self.waiting.0.iter().filter(|other| !ptr::eq(*other, word));
        Some(Turn {
            queue,
            others_wait: left != 0 || others.any(|other| other.load(Ordering::Relaxed) != 0),
        })
    }

    /// Returns all waiting queues, each once. They need not take turns: the ring goes away, a new
    /// ring with all its buffers has just started, flow control was switched off, or the watchdog
    /// wakes them.
    #[inline]
    pub fn take_all(&self) -> Woken {
        fence(Ordering::SeqCst);
        let [stack, xsk] = &self.waiting.0;
        // Acquire, for the stopped state of the queues: pairs with the Release in `wait`.
        let (stack, xsk) = (
            stack.swap(0, Ordering::Acquire),
            xsk.swap(0, Ordering::Acquire),
        );
        self.in_turn(u128::from(stack) | (u128::from(xsk) << u64::BITS))
    }

    /// The queues of `waiting`, from the one whose turn it is.
    fn in_turn(&self, waiting: u128) -> Woken {
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
    left: u128,
    first: u32,
}

impl Woken {
    /// The queues of `waiting` in ascending order, starting at `first` and wrapping around. `first`
    /// is below [`MAX_SENDERS`].
    #[inline]
    fn new(waiting: u128, first: u32) -> Self {
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
        let queue = (self.first + self.left.trailing_zeros()) % MAX_SENDERS;
        self.left &= self.left.wrapping_sub(1);
        Some(queue)
    }
}
