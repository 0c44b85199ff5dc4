// SPDX-License-Identifier: GPL-2.0

//! The receive descriptor ring between the NIC and the driver.
//!
//! The driver posts empty buffers and rings the doorbell; the NIC fills them in the same order,
//! completes them and publishes; the driver takes them out. A buffer is an owned value that moves
//! with every step, so it is at no time in two hands:
//!
//! ```text
//!   post      doorbell     next_buffer  complete     publish      take
//!   |  driver's  |   posted   |   NIC's   |   NIC's    | completed |
//!   +------------+------------+-----------+------------+-----------+
//! ```
//!
//! Two free-running indices are all that the sides share. `posted` is written by the driver only
//! and `completed` by the NIC only, each on a cache line of its own, once per batch. Everything
//! else is private to a side, which also remembers what it last saw of the other's index, and
//! looks again only when that is used up.
//!
//! The memory ordering is that of any single-producer single-consumer queue, twice: whatever a
//! side did to a slot happens before its `Release` store of its index, and the other side touches
//! the slot only after an `Acquire` load that showed it that index.

use core::{
    marker::PhantomData,
    num::NonZeroU64,
    ptr::{self, NonNull},
};

use super::{
    rss::HashType,
    storage::{Handle, Store},
    sync::{AtomicBool, AtomicU32, Line, Ordering, UnsafeCell},
    vlan::Tag,
};

/// The smallest ring, in slots.
pub const MIN_SIZE: u32 = 2;

/// The largest ring, in slots.
pub const MAX_SIZE: u32 = 32768;

/// Where the indices start: little short of the wrap-around of their type, so that no ring gets
/// far without having gone through it.
const FIRST_INDEX: u32 = 0u32.wrapping_sub(64);

/// What the NIC has to say about a received frame: bits, see the constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(u8);

impl Status {
    /// The last buffer of its frame.
    pub const END_OF_PACKET: Self = Self(1 << 0);

    /// The transport checksum is known to be good (`CHECKSUM_UNNECESSARY`).
    pub const CHECKSUM_GOOD: Self = Self(1 << 1);

    /// No bits.
    pub const fn none() -> Self {
        Self(0)
    }

    /// The bits of both.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What the NIC writes back into the descriptor of a received frame; into each of them, if the frame
/// takes several buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Bytes of the frame in this buffer, padding included, FCS not.
    pub len: u32,
    /// The RSS hash; without meaning if `hash_type` is [`HashType::None`].
    pub rss_hash: u32,
    /// The tag that was taken out of the frame.
    pub vlan: Option<Tag>,
    /// What `rss_hash` was computed over.
    pub hash_type: HashType,
    /// Status bits.
    pub status: Status,
    /// When the frame was put on the wire, by the port's clock in nanoseconds, if that was asked
    /// for.
    pub timestamp: Option<NonZeroU64>,
}

/// One descriptor: room for one buffer and its completion.
///
/// It can be made and dropped, with the buffer that it may hold, but is accessible only through
/// the two sides of the ring that it was given to.
pub struct Slot<B>(UnsafeCell<Entry<B>>);

struct Entry<B> {
    buffer: Option<B>,
    completion: Completion,
}

impl<B> Slot<B> {
    /// An empty slot.
    pub fn new() -> Self {
        Self(UnsafeCell::new(Entry {
            buffer: None,
            completion: Completion::default(),
        }))
    }
}

impl<B> Default for Slot<B> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: A `&Slot` gives access to nothing. The sides of a ring, which know by its indices whose
// slot it is, move the buffer between threads, hence `Send`; they never share one.
unsafe impl<B: Send> Sync for Slot<B> {}

/// The number of slots given to [`Ring::new`] is not a power of two from [`MIN_SIZE`] to
/// [`MAX_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSize;

/// A descriptor ring with its slots in an `S`; see the description of this file.
///
/// Dropping it drops every buffer that is still in it.
///
/// # Invariants
///
/// - `slots` has `mask + 1` elements, a power of two; the slot of an index is `index & mask`.
/// - There is at most one [`DriverSide`] and one [`NicSide`], made together by [`Ring::split`].
/// - With `clean` and `use` the driver's private indices and `fill` the NIC's,
///   `clean <= completed <= fill <= posted <= use <= clean + size` in wrapping arithmetic.
/// - The slots from `completed` up to `posted` belong to the NIC and all others to the driver. Only
///   its owner accesses a slot.
/// - The slots from `clean` up to `use` hold a buffer, all others are empty.
pub struct Ring<B, S> {
    posted: Line<AtomicU32>,
    completed: Line<AtomicU32>,
    is_split: AtomicBool,
    mask: u32,
    slots: S,
    _buffers: PhantomData<Slot<B>>,
}

impl<B, S: Store<Slot<B>>> Ring<B, S> {
    /// Makes an empty ring of the given slots, a power of two from [`MIN_SIZE`] to [`MAX_SIZE`].
    pub fn new(slots: S) -> Result<Self, BadSize> {
        let size = u32::try_from(slots.slots().len()).map_err(|_| BadSize)?;
        if !size.is_power_of_two() || !(MIN_SIZE..=MAX_SIZE).contains(&size) {
            return Err(BadSize);
        }

        // INVARIANT: All indices are equal and all slots are as new, hence empty: what could put a
        // buffer into one is a ring, and no ring gives its slots away.
        Ok(Self {
            posted: Line(AtomicU32::new(FIRST_INDEX)),
            completed: Line(AtomicU32::new(FIRST_INDEX)),
            is_split: AtomicBool::new(false),
            mask: size.wrapping_sub(1),
            slots,
            _buffers: PhantomData,
        })
    }

    /// Number of slots.
    #[inline]
    pub fn size(&self) -> u32 {
        self.mask.wrapping_add(1)
    }

    /// Whether the NIC has published more than what a driver had taken whose
    /// [`position`](DriverSide::position) this is: for the end of a poll, which has no access to
    /// its side any more.
    #[inline]
    pub fn has_completed_since(&self, position: u32) -> bool {
        self.completed.0.load(Ordering::Acquire) != position
    }

    /// Makes the two sides of a ring. A ring can be split once in its life; after that it is
    /// [`None`].
    pub fn split<H>(handle: H) -> Option<(NicSide<H>, DriverSide<H>)>
    where
        H: Handle<Buffer = B, Slots = S>,
    {
        let ring = handle.ring();
        // Relaxed: whoever comes second gets nothing that would have to be ordered.
        if ring.is_split.swap(true, Ordering::Relaxed) {
            return None;
        }

        let slots = Slots {
            first: NonNull::from(ring.slots.slots()).cast(),
            mask: ring.mask,
        };
        let nic = NicSide {
            slots,
            next_to_fill: FIRST_INDEX,
            published: FIRST_INDEX,
            posted: FIRST_INDEX,
            handle: handle.clone(),
        };
        let driver = DriverSide {
            slots,
            next_to_use: FIRST_INDEX,
            next_to_clean: FIRST_INDEX,
            completed: FIRST_INDEX,
            handle,
        };
        Some((nic, driver))
    }
}

/// The slots of a ring as a side sees them: without the two loads and the bounds check of a
/// slice in another object.
struct Slots<B> {
    first: NonNull<Slot<B>>,
    mask: u32,
}

impl<B> Clone for Slots<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Slots<B> {}

impl<B> Slots<B> {
    /// The inside of the slot of `index`.
    ///
    /// # Safety
    ///
    /// The ring that the slots were taken from is alive.
    #[inline]
    unsafe fn entry(&self, index: u32) -> *mut Entry<B> {
        // SAFETY: The ring lives, and never changes its slots, of which there are `mask + 1`.
        let slot = unsafe { self.first.add((index & self.mask) as usize).as_ref() };
        slot.0.get()
    }
}

/// The driver's side of a ring: posts empty buffers and takes out filled ones.
///
/// # Invariants
///
/// `slots` are those of the handle's ring. `next_to_use` and `next_to_clean` are `use` and `clean`
/// of [`Ring`]'s invariants; `completed` is a value that the ring's `completed` had, and was loaded
/// with `Acquire`.
pub struct DriverSide<H: Handle> {
    slots: Slots<H::Buffer>,
    next_to_use: u32,
    next_to_clean: u32,
    completed: u32,
    handle: H,
}

// SAFETY: The side is a handle and some integers; `slots` is part of what the handle refers to,
// from where the buffers, which are `Send`, move to the thread that takes them.
unsafe impl<H: Handle + Send> Send for DriverSide<H> where H::Buffer: Send {}

// SAFETY: With a `&DriverSide` nothing but its integers and the shared indices can be read.
unsafe impl<H: Handle + Sync> Sync for DriverSide<H> where H::Buffer: Send {}

impl<H: Handle> DriverSide<H> {
    /// Number of empty slots, so many buffers can be posted.
    #[inline]
    pub fn unused(&self) -> u32 {
        let used = self.next_to_use.wrapping_sub(self.next_to_clean);
        self.slots.mask.wrapping_add(1).wrapping_sub(used)
    }

    /// Puts a buffer into the next empty slot, or gives it back if there is none. The NIC does not
    /// see it before the [`doorbell`](Self::doorbell).
    #[inline]
    pub fn post(&mut self, buffer: H::Buffer) -> Result<(), H::Buffer> {
        if self.unused() == 0 {
            return Err(buffer);
        }

        // SAFETY: The handle keeps the ring alive.
        let entry = unsafe { self.slots.entry(self.next_to_use) };
        // SAFETY: The slot, neither used nor posted, is the driver's. It is empty, hence there is
        // nothing to drop in it.
        unsafe { (&raw mut (*entry).buffer).write(Some(buffer)) };
        self.next_to_use = self.next_to_use.wrapping_add(1);
        Ok(())
    }

    /// Shows the NIC all buffers posted so far. Once per batch.
    #[inline]
    pub fn doorbell(&mut self) {
        let ring = self.handle.ring();
        ring.posted.0.store(self.next_to_use, Ordering::Release);
    }

    /// Takes the oldest completed buffer out of the ring.
    #[inline]
    pub fn take(&mut self) -> Option<(H::Buffer, Completion)> {
        if self.next_to_clean == self.completed {
            self.completed = self.handle.ring().completed.0.load(Ordering::Acquire);
            if self.next_to_clean == self.completed {
                return None;
            }
        }

        // SAFETY: The handle keeps the ring alive.
        let entry = unsafe { self.slots.entry(self.next_to_clean) };
        // SAFETY: The slot is completed, hence the driver's, and the NIC's accesses to it happened
        // before the load of `completed`.
        let entry = unsafe { &mut *entry };
        let buffer = entry.buffer.take()?;
        self.next_to_clean = self.next_to_clean.wrapping_add(1);
        Some((buffer, entry.completion))
    }

    /// Ends the ring whose other side `nic` is: every buffer in it is dropped, wherever it is. A
    /// ring that is not ended drops them only when the last handle goes.
    pub fn end(mut self, nic: NicSide<H>) {
        if !ptr::eq(self.handle.ring(), nic.handle.ring()) {
            return;
        }
        while self.next_to_clean != self.next_to_use {
            // SAFETY: The handle keeps the ring alive.
            let entry = unsafe { self.slots.entry(self.next_to_clean) };
            // SAFETY: Both sides of the ring are here, so nobody else accesses a slot.
            drop(unsafe { (*entry).buffer.take() });
            self.next_to_clean = self.next_to_clean.wrapping_add(1);
        }
    }

    /// Whether there is a completed buffer to take.
    #[inline]
    pub fn has_completed(&self) -> bool {
        self.handle.ring().has_completed_since(self.next_to_clean)
    }

    /// How far the driver has come, for [`Ring::has_completed_since`].
    #[inline]
    pub fn position(&self) -> u32 {
        self.next_to_clean
    }
}

/// The NIC's side of a ring: fills posted buffers and completes them.
///
/// # Invariants
///
/// `slots` are those of the handle's ring. `next_to_fill` is `fill` of [`Ring`]'s invariants and
/// `published` the ring's `completed`; `posted` is a value that the ring's `posted` had, and was
/// loaded with `Acquire`.
pub struct NicSide<H: Handle> {
    slots: Slots<H::Buffer>,
    next_to_fill: u32,
    published: u32,
    posted: u32,
    handle: H,
}

// SAFETY: The side is a handle and some integers; `slots` is part of what the handle refers to,
// where buffers, which are `Send`, are accessed by the thread that fills them.
unsafe impl<H: Handle + Send> Send for NicSide<H> where H::Buffer: Send {}

// SAFETY: With a `&NicSide` nothing can be done.
unsafe impl<H: Handle + Sync> Sync for NicSide<H> where H::Buffer: Send {}

impl<H: Handle> NicSide<H> {
    /// Number of posted buffers that wait to be filled. Looks at the driver's index: call it per
    /// batch rather than per frame.
    #[inline]
    pub fn available(&mut self) -> u32 {
        self.posted = self.handle.ring().posted.0.load(Ordering::Acquire);
        self.posted.wrapping_sub(self.next_to_fill)
    }

    /// The next posted buffer, if there is one.
    #[inline]
    pub fn next_buffer(&mut self) -> Option<Fill<'_, H::Buffer>> {
        if !self.has(1) {
            return None;
        }

        // SAFETY: The handle keeps the ring alive.
        let entry = unsafe { self.slots.entry(self.next_to_fill) };
        // SAFETY: The slot is posted and not published, hence the NIC's, and the driver's accesses
        // to it happened before the load of `posted`. The `Fill` borrows this side, so there is
        // one at a time.
        let entry = unsafe { &mut *entry };
        Some(Fill {
            buffer: entry.buffer.as_mut()?,
            completion: &mut entry.completion,
            next_to_fill: &mut self.next_to_fill,
        })
    }

    /// Whether at least `count` posted buffers are left to be filled. Looks at the driver's index
    /// only if those that the NIC knew of are too few.
    #[inline]
    pub fn has(&mut self, count: u32) -> bool {
        self.posted.wrapping_sub(self.next_to_fill) >= count || self.available() >= count
    }

    /// The place of the next buffer, for [`rewind`](Self::rewind).
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark(self.next_to_fill)
    }

    /// Takes back everything that was completed since the mark: those buffers are posted as they were,
    /// and the next ones again. What has been published stays published.
    pub fn rewind(&mut self, mark: Mark) {
        let kept = mark.0.wrapping_sub(self.published);
        if kept <= self.next_to_fill.wrapping_sub(self.published) {
            self.next_to_fill = mark.0;
        }
    }

    /// Shows the driver all buffers completed so far, and returns how many are new to it. Once per
    /// batch.
    #[inline]
    pub fn publish(&mut self) -> u32 {
        let new = self.next_to_fill.wrapping_sub(self.published);
        if new != 0 {
            let ring = self.handle.ring();
            ring.completed.0.store(self.next_to_fill, Ordering::Release);
            self.published = self.next_to_fill;
        }
        new
    }
}

/// A place in a ring; see [`NicSide::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark(u32);

/// A posted buffer that the NIC is about to fill. Dropped, it stays posted and is the next again.
#[must_use = "the buffer stays posted unless it is completed"]
pub struct Fill<'a, B> {
    buffer: &'a mut B,
    completion: &'a mut Completion,
    next_to_fill: &'a mut u32,
}

impl<B> Fill<'_, B> {
    /// The buffer.
    #[inline]
    pub fn buffer(&mut self) -> &mut B {
        self.buffer
    }

    /// Completes the descriptor. The driver does not see it before [`NicSide::publish`].
    #[inline]
    pub fn complete(self, completion: Completion) {
        *self.completion = completion;
        *self.next_to_fill = self.next_to_fill.wrapping_add(1);
    }
}
