// SPDX-License-Identifier: GPL-2.0

//! Flow control: senders that wait for the receiver to post buffers.
//!
//! A full ring makes its senders stop, and the refill wakes them. What must not happen is that a
//! sender stops and nobody wakes it, because the refill looked for waiting senders just before.
//! Both write one thing and then read the other's:
//!
//! ```text
//!     sender                         refill
//!     waiting |= queue               doorbell
//!     fence(SeqCst)                  fence(SeqCst)
//!     read whether it is still full  read who is waiting
//! ```
//!
//! One of the two fences comes first in the single order of all such fences. If it is the
//! sender's, the refill sees the sender waiting; if it is the refill's, the sender sees that there
//! is room. If both see it, a queue that runs is woken, which does no harm.
//!
//! The same holds for who switches flow control off: he does that first and then wakes all who wait. So a
//! sender looks at that once more, too, when it looks whether the ring is still full.
//!
//! The refill wakes one queue at a time, the next one in a circle, and the others after it has had the
//! time to send. If it woke all of them, one that sends from another CPU could always be faster than one
//! whose CPU is still busy with the poll, and take all buffers before it.

use super::sync::{
    fence,
    AtomicU32,
    AtomicU64,
    CacheAligned,
    Ordering, //
};

/// How many queues can wait for one ring; their numbers are below this.
pub const MAX_QUEUES: u32 = u64::BITS;

/// The sending queues that wait for buffers in one ring: a bit each.
pub struct Waiters {
    waiting: CacheAligned<AtomicU64>,
    /// The number of the queue to be woken next if it waits; otherwise the first after it that does.
    turn: AtomicU32,
    /// How many buffers are to be there before one is woken.
    room: AtomicU32,
}

impl Waiters {
    /// Nobody waits.
    pub fn new() -> Self {
        Self {
            waiting: CacheAligned(AtomicU64::new(0)),
            turn: AtomicU32::new(0),
            room: AtomicU32::new(0),
        }
    }

    /// The sender, whose queue number is below [`MAX_QUEUES`], found the ring full and has
    /// stopped its queue; in this order, so that who wakes it finds it stopped. It is to be woken when
    /// there are `room` buffers: all who wait for the ring want the same number.
    ///
    /// Returns `true` if it must stay stopped: it will be woken by who takes it.
    /// Returns `false` if by now there is room, or flow control is off, as `still_full` says: it must
    /// start its queue again itself. It may then be woken needlessly.
    #[inline]
    #[must_use = "the queue must be started again if this is `false`"]
    pub fn wait(&self, queue: u32, room: u32, still_full: impl FnOnce() -> bool) -> bool {
        // A queue without a bit would never be woken.
        let Some(bit) = 1u64.checked_shl(queue) else {
            return false;
        };

        // Relaxed: with an older number it is woken a little earlier, and may stop again, or later.
        self.room.store(room, Ordering::Relaxed);
        // Release: the queue was stopped before. Pairs with `take_one` and `take_all`.
        self.waiting.0.fetch_or(bit, Ordering::Release);
        fence(Ordering::SeqCst);
        if still_full() {
            return true;
        }
        self.waiting.0.fetch_and(!bit, Ordering::Relaxed);
        false
    }

    /// Whether this queue waits. For the watchdog: it may be woken at this moment.
    pub fn has(&self, queue: u32) -> bool {
        let bit = 1u64.checked_shl(queue).unwrap_or(0);
        self.waiting.0.load(Ordering::Relaxed) & bit != 0
    }

    /// The refill has posted buffers and rung the doorbell: returns the queue to wake, if any waits, unless
    /// `has_room` says that there are fewer buffers than it wants. In that case another poll must be on its
    /// way.
    ///
    /// Once per batch: it costs a full barrier, and writes only if somebody waits.
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
        if !has_room(self.room.load(Ordering::Relaxed)) {
            return None;
        }
        let queue = self.in_turn(waiting).next()?;
        // Relaxed: only polls write it, one at a time.
        self.turn.store((queue + 1) % MAX_QUEUES, Ordering::Relaxed);
        let bit = 1 << queue;
        // Acquire: the queue was stopped before. Pairs with `wait`.
        let waiting = self.waiting.0.fetch_and(!bit, Ordering::Acquire);
        Some(Turn {
            queue,
            others_wait: waiting & !bit != 0,
        })
    }

    /// Returns all queues that wait, each once: there are no buffers to be shared, because the ring goes
    /// away or flow control is off.
    #[inline]
    pub fn take_all(&self) -> Woken {
        fence(Ordering::SeqCst);
        // Acquire: the queues were stopped before. Pairs with `wait`.
        self.in_turn(self.waiting.0.swap(0, Ordering::Acquire))
    }

    fn in_turn(&self, waiting: u64) -> Woken {
        Woken::new(waiting, self.turn.load(Ordering::Relaxed))
    }
}

/// A queue that is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the queue must be woken"]
pub struct Turn {
    /// Its number.
    pub queue: u32,
    /// Whether others wait for their turn, which comes when this one has sent.
    pub others_wait: bool,
}

impl Default for Waiters {
    fn default() -> Self {
        Self::new()
    }
}

/// The numbers of the queues that are to be woken, in this order.
#[derive(Clone, Debug)]
#[must_use = "the queues must be woken"]
pub struct Woken {
    /// A bit for each queue that is left, the lowest for that with the number `first`.
    left: u64,
    first: u32,
}

impl Woken {
    /// Those of `waiting` in ascending order, from the number `first` on, which is below
    /// [`MAX_QUEUES`].
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
