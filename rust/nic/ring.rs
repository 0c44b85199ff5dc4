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
    cell::Cell,
    marker::PhantomData,
    mem::MaybeUninit,
    num::NonZeroU64,
    ptr::{self, NonNull},
};

use super::{
    rss::{Hash, HashType},
    storage::{Handle, Store},
    sync::{AtomicBool, AtomicU32, Line, Ordering, UnsafeCell},
    vlan::{Protocol, Tag},
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
pub struct Status(u32);

impl Status {
    /// The last buffer of its frame.
    pub const END_OF_PACKET: Self = Self(1 << 0);

    /// The transport checksum is known to be good (`CHECKSUM_UNNECESSARY`).
    pub const CHECKSUM_GOOD: Self = Self(1 << 1);

    /// A customer's tag was taken out of the frame, or a service provider's.
    const CUSTOMER_TAG: Self = Self(1 << 2);
    const SERVICE_TAG: Self = Self(1 << 3);

    /// What is not about tags.
    const PLAIN: u32 = Self::END_OF_PACKET.0 | Self::CHECKSUM_GOOD.0;

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
///
/// As in hardware it is a few words, which are cheap to write, to copy and to leave alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    timestamp: u64,
    len: u32,
    rss_hash: u32,
    /// From the lowest: a byte of [`Status`], one of [`HashType`], the tag's control information.
    bits: u32,
}

#[expect(clippy::len_without_is_empty, reason = "no buffer of a frame is empty")]
impl Completion {
    /// Of a buffer with `len` bytes of frame in it, padding included, FCS not.
    #[inline]
    pub const fn new(len: u32) -> Self {
        Self {
            timestamp: 0,
            len,
            rss_hash: 0,
            bits: 0,
        }
    }

    /// With the RSS hash.
    #[inline]
    #[must_use]
    pub const fn with_hash(mut self, hash: Hash) -> Self {
        self.rss_hash = hash.value;
        self.bits = (self.bits & !0xff00) | ((hash.kind as u32) << 8);
        self
    }

    /// With the tag that was taken out of the frame.
    #[inline]
    #[must_use]
    pub const fn with_vlan(mut self, tag: Tag) -> Self {
        let bit = match tag.protocol {
            Protocol::Customer => Status::CUSTOMER_TAG.0,
            Protocol::Service => Status::SERVICE_TAG.0,
        };
        let others = self.bits & (0xff00 | Status::PLAIN);
        self.bits = others | bit | ((tag.tci as u32) << 16);
        self
    }

    /// With these status bits, and no others.
    #[inline]
    #[must_use]
    pub const fn with_status(mut self, status: Status) -> Self {
        self.bits = (self.bits & !Status::PLAIN) | status.0;
        self
    }

    /// With the time when the frame was put on the wire, by the port's clock in nanoseconds.
    #[inline]
    #[must_use]
    pub const fn with_timestamp(mut self, time: Option<NonZeroU64>) -> Self {
        self.timestamp = match time {
            Some(time) => time.get(),
            None => 0,
        };
        self
    }

    /// The same for another buffer of the frame, with `len` bytes of it.
    #[inline]
    #[must_use]
    pub const fn with_len(mut self, len: u32) -> Self {
        self.len = len;
        self
    }

    /// Bytes of the frame in this buffer, padding included, FCS not.
    #[inline]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// The RSS hash.
    #[inline]
    pub const fn hash(&self) -> Hash {
        Hash {
            value: self.rss_hash,
            kind: HashType::from_bits((self.bits >> 8) as u8),
        }
    }

    /// The tag that was taken out of the frame.
    #[inline]
    pub const fn vlan(&self) -> Option<Tag> {
        let protocol = match self.bits & !Status::PLAIN & 0xff {
            0 => return None,
            bit if bit == Status::CUSTOMER_TAG.0 => Protocol::Customer,
            _ => Protocol::Service,
        };
        Some(Tag {
            protocol,
            tci: (self.bits >> 16) as u16,
        })
    }

    /// Whether all of these status bits are set.
    #[inline]
    pub const fn is(&self, status: Status) -> bool {
        Status(self.bits).contains(status)
    }

    /// Whether there is nothing to be said of the frame but its length: neither a hash, nor a tag, nor
    /// that its checksum is good.
    #[inline]
    pub const fn is_bare(&self) -> bool {
        self.bits & !Status::END_OF_PACKET.0 == 0
    }

    /// Whether a tag was taken out of the frame.
    #[inline]
    pub const fn has_vlan(&self) -> bool {
        self.bits & !Status::PLAIN & 0xff != 0
    }

    /// When the frame was put on the wire, by the port's clock in nanoseconds, if that was asked
    /// for.
    #[inline]
    pub const fn timestamp(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.timestamp)
    }
}

/// One descriptor: room for one buffer and its completion.
///
/// It is accessible only through the two sides of the ring that it was given to, which also knows
/// whether there is a buffer in it.
pub struct Slot<B>(UnsafeCell<Entry<B>>);

// In this order, so that a slot and its completion have one address.
#[repr(C)]
struct Entry<B> {
    completion: Completion,
    buffer: MaybeUninit<B>,
}

impl<B> Slot<B> {
    /// An empty slot.
    pub fn new() -> Self {
        Self(UnsafeCell::new(Entry {
            completion: Completion::default(),
            buffer: MaybeUninit::uninit(),
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
/// - `left` are `clean` and `use` when there is no driver's side any more, and equal before.
pub struct Ring<B, S: Store<Slot<B>>> {
    posted: Line<AtomicU32>,
    completed: Line<AtomicU32>,
    left: [AtomicU32; 2],
    is_split: AtomicBool,
    mask: u32,
    slots: S,
    _buffers: PhantomData<Slot<B>>,
}

impl<B, S: Store<Slot<B>>> Drop for Ring<B, S> {
    fn drop(&mut self) {
        let [clean, r#use] = &self.left;
        // Relaxed: who dropped the driver's side did that before the last handle went.
        let (mut index, end) = (clean.load(Ordering::Relaxed), r#use.load(Ordering::Relaxed));
        while index != end {
            if let Some(slot) = self.slots.slots().get((index & self.mask) as usize) {
                // SAFETY: The slot holds a buffer, and there are no sides any more.
                unsafe { (*slot.0.get()).buffer.assume_init_drop() };
            }
            index = index.wrapping_add(1);
        }
    }
}

impl<B, S: Store<Slot<B>>> Ring<B, S> {
    /// Makes an empty ring of the given slots, a power of two from [`MIN_SIZE`] to [`MAX_SIZE`].
    pub fn new(slots: S) -> Result<Self, BadSize> {
        let size = u32::try_from(slots.slots().len()).map_err(|_| BadSize)?;
        if !size.is_power_of_two() || !(MIN_SIZE..=MAX_SIZE).contains(&size) {
            return Err(BadSize);
        }

        // INVARIANT: All indices are equal, hence all slots are empty. If one of them was part of
        // another ring and holds a buffer, it is lost.
        Ok(Self {
            posted: Line(AtomicU32::new(FIRST_INDEX)),
            completed: Line(AtomicU32::new(FIRST_INDEX)),
            left: [AtomicU32::new(FIRST_INDEX), AtomicU32::new(FIRST_INDEX)],
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
        let limit = FIRST_INDEX.wrapping_add(ring.size());
        let nic = NicSide {
            slots,
            next_to_fill: FIRST_INDEX,
            published: FIRST_INDEX,
            posted: FIRST_INDEX,
            handle: handle.clone(),
        };
        let driver = DriverSide {
            slots,
            next_to_use: Cell::new(FIRST_INDEX),
            limit: Cell::new(limit),
            completed: Cell::new(limit),
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
/// `slots` are those of the handle's ring. `next_to_use` is `use` of [`Ring`]'s invariants, and `limit`
/// is `clean + size`: what `use` cannot go beyond, and since the size is a power of two the index of
/// the same slot as `clean`. `completed` is a value that the ring's `completed` had, and was loaded
/// with `Acquire`, plus the size.
pub struct DriverSide<H: Handle> {
    slots: Slots<H::Buffer>,
    next_to_use: Cell<u32>,
    limit: Cell<u32>,
    completed: Cell<u32>,
    handle: H,
}

// SAFETY: The side is a handle and some integers; `slots` is part of what the handle refers to,
// from where the buffers, which are `Send`, move to the thread that takes them.
unsafe impl<H: Handle + Send> Send for DriverSide<H> where H::Buffer: Send {}

impl<H: Handle> DriverSide<H> {
    /// Number of empty slots, so many buffers can be posted.
    #[inline]
    pub fn unused(&self) -> u32 {
        self.limit.get().wrapping_sub(self.next_to_use.get())
    }

    /// Puts a buffer into the next empty slot, or gives it back if there is none. The NIC does not
    /// see it before the [`doorbell`](Self::doorbell).
    #[inline]
    pub fn post(&self, buffer: H::Buffer) -> Result<(), H::Buffer> {
        let index = self.next_to_use.get();
        if index == self.limit.get() {
            return Err(buffer);
        }

        // SAFETY: The handle keeps the ring alive.
        let entry = unsafe { self.slots.entry(index) };
        // SAFETY: The slot, neither used nor posted, is the driver's. It is empty, hence there is
        // nothing to drop in it. Somebody may refer to its completion, which is left alone.
        unsafe { (&raw mut (*entry).buffer).write(MaybeUninit::new(buffer)) };
        self.next_to_use.set(index.wrapping_add(1));
        Ok(())
    }

    /// Shows the NIC all buffers posted so far. Once per batch.
    ///
    /// The completions of those slots are the NIC's from here on, hence the `&mut`.
    #[inline]
    pub fn doorbell(&mut self) {
        let ring = self.handle.ring();
        ring.posted
            .0
            .store(self.next_to_use.get(), Ordering::Release);
    }

    /// Takes the oldest completed buffer out of the ring. Its completion stays where it is, and can be
    /// looked at until the next [`doorbell`](Self::doorbell).
    #[inline]
    pub fn take(&self) -> Option<(&Completion, H::Buffer)> {
        let index = self.limit.get();
        if index == self.completed.get() && !self.look() {
            return None;
        }

        // SAFETY: The handle keeps the ring alive.
        let entry = unsafe { self.slots.entry(index) };
        // SAFETY: The slot is completed, hence the driver's, and the NIC's accesses to it happened
        // before the load of `completed`. It holds a buffer, which moves from here to the caller.
        let buffer = unsafe { (&raw const (*entry).buffer).read().assume_init() };
        // SAFETY: As above. Nobody writes to the completion before the slot is the NIC's again; this
        // takes a doorbell, with a `&mut` to this side.
        let completion = unsafe { &(*entry).completion };
        // INVARIANT: The slot is empty now.
        self.limit.set(index.wrapping_add(1));
        Some((completion, buffer))
    }

    /// Looks whether the NIC has completed more.
    fn look(&self) -> bool {
        let completed = self.handle.ring().completed.0.load(Ordering::Acquire);
        self.completed.set(completed.wrapping_add(self.size()));
        self.limit.get() != self.completed.get()
    }

    #[inline]
    fn size(&self) -> u32 {
        self.slots.mask.wrapping_add(1)
    }

    /// Ends the ring whose other side `nic` is: every buffer in it is dropped, wherever it is. A
    /// ring that is not ended drops them only when the last handle goes.
    pub fn end(self, nic: NicSide<H>) {
        if !ptr::eq(self.handle.ring(), nic.handle.ring()) {
            return;
        }
        while self.position() != self.next_to_use.get() {
            let index = self.position();
            // SAFETY: The handle keeps the ring alive.
            let entry = unsafe { self.slots.entry(index) };
            // SAFETY: Both sides of the ring are here, so nobody else accesses a slot. It holds a
            // buffer, which moves from here to its end.
            drop(unsafe { (&raw const (*entry).buffer).read().assume_init() });
            // INVARIANT: The slot is empty now. That the NIC has completed less does not matter any
            // more.
            self.limit.set(self.limit.get().wrapping_add(1));
        }
    }

    /// Whether there is a completed buffer to take.
    #[inline]
    pub fn has_completed(&self) -> bool {
        self.handle.ring().has_completed_since(self.position())
    }

    /// How many buffers the NIC has to fill, of those that it was shown. It may be filling some of them.
    #[inline]
    pub fn posted(&self) -> u32 {
        let ring = self.handle.ring();
        // Relaxed: no slot is looked at.
        let completed = ring.completed.0.load(Ordering::Relaxed);
        ring.posted
            .0
            .load(Ordering::Relaxed)
            .wrapping_sub(completed)
    }

    /// How far the driver has come, for [`Ring::has_completed_since`].
    #[inline]
    pub fn position(&self) -> u32 {
        self.limit.get().wrapping_sub(self.size())
    }
}

impl<H: Handle> Drop for DriverSide<H> {
    fn drop(&mut self) {
        // INVARIANT: There is no driver's side from here on.
        let [clean, r#use] = &self.handle.ring().left;
        clean.store(self.position(), Ordering::Relaxed);
        r#use.store(self.next_to_use.get(), Ordering::Relaxed);
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
            // SAFETY: A posted slot holds a buffer.
            buffer: unsafe { entry.buffer.assume_init_mut() },
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

    /// What is in the ring.
    pub fn level(&mut self) -> Level {
        Level {
            size: self.slots.mask.wrapping_add(1),
            free: self.available(),
            unpublished: self.next_to_fill.wrapping_sub(self.published),
        }
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

/// What is in a ring, as the NIC sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Number of slots.
    pub size: u32,
    /// Posted buffers that wait to be filled.
    pub free: u32,
    /// Filled buffers that the driver does not see yet.
    pub unpublished: u32,
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
