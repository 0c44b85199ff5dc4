// SPDX-License-Identifier: GPL-2.0

//! The receive descriptor ring between the NIC and the driver.
//!
//! The driver posts empty buffers and rings the doorbell. The NIC fills them in the same order,
//! completes them and publishes them. Then the driver takes them. A buffer is an owned value that
//! moves with each step, so it never has two owners:
//!
//! ```text
//!   post      doorbell     next_buffer  complete     publish      take
//!   |  driver's  |   posted   |   NIC's   |   NIC's    | completed |
//!   +------------+------------+-----------+------------+-----------+
//! ```
//!
//! The two sides share only two free-running indices, each on its own cache line. The driver writes
//! `posted` and the NIC writes `completed`, once per batch. Everything else is private to one side.
//! Each side also caches the other side's index, and reads it again only when the cached value
//! allows no more progress.
//!
//! The memory ordering is that of two single-producer single-consumer queues. All accesses of a
//! side to a slot happen before its `Release` store of its index. The other side accesses the slot
//! only after an `Acquire` load that returned that index or a later one.

use core::{
    cell::Cell,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};

use super::{
    completion::{
        Completion,
        Status, //
    },
    storage::{
        Arc,
        Store, //
    },
    sync::{
        AtomicBool,
        AtomicU32,
        CacheAligned,
        Ordering,
        UnsafeCell, //
    },
};

/// The smallest ring, in slots.
pub const MIN_SIZE: u32 = 2;

/// The largest ring, in slots.
pub const MAX_SIZE: u32 = 32768;

/// The first index, shortly before `u32` wraps around: every ring soon passes the wrap-around, so
/// that any test finds a mistake there.
const FIRST_INDEX: u32 = 0u32.wrapping_sub(64);

/// One descriptor: room for one buffer and its completion.
///
/// Only the two sides of its ring access it, and only the ring's indices tell whether it holds a
/// buffer.
pub struct Slot<B>(UnsafeCell<Entry<B>>);

// The completion comes first, so that it has the address of its slot.
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

// SAFETY: A `&Slot` alone gives no access. Only the side of the ring that owns the slot accesses
// it. The two sides move buffers between threads, hence `B: Send`, but never share one.
unsafe impl<B: Send> Sync for Slot<B> {}

/// The error of [`Ring::new`]: the number of slots is not a power of two from [`MIN_SIZE`] to
/// [`MAX_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSize;

/// A descriptor ring, with its slots in an `S`.
///
/// Dropping it drops all buffers in it.
///
/// # Invariants
///
/// - `slots` has `mask + 1` elements, a power of two; the slot of an index is `index & mask`.
/// - There is at most one [`DriverSide`] and one [`NicSide`], made together by [`Ring::split`].
/// - `clean` and `use` are private indices of the driver's side, and `fill` is that of the NIC's.
///   In wrapping arithmetic `clean <= completed <= fill <= posted <= use <= clean + size`.
/// - The NIC owns the slots from `completed` up to `posted`, and the driver all others. Only its
///   owner accesses a slot.
/// - The slots from `clean` up to `use` hold a buffer, all others are empty.
/// - `final_indices` are `clean` and `use` once the driver's side is dropped, and equal before.
pub struct Ring<B, S: Store<Slot<B>>> {
    indices: SharedIndices,
    final_indices: [AtomicU32; 2],
    is_split: AtomicBool,
    mask: u32,
    slots: S,
    _buffers: PhantomData<Slot<B>>,
}

/// The indices that the two sides share.
struct SharedIndices {
    posted: CacheAligned<AtomicU32>,
    completed: CacheAligned<AtomicU32>,
}

impl<B, S: Store<Slot<B>>> Drop for Ring<B, S> {
    fn drop(&mut self) {
        let [clean, r#use] = &self.final_indices;
        // Relaxed: the driver's side was dropped before the last handle, and the reference count of
        // the handle orders its stores before this.
        let (mut index, end) = (clean.load(Ordering::Relaxed), r#use.load(Ordering::Relaxed));
        while index != end {
            if let Some(slot) = self.slots.slots().get((index & self.mask) as usize) {
                // SAFETY: The slot holds a buffer, by the type's invariants. Each side has a handle
                // to the ring, so both sides are gone, and nothing else accesses the slot.
                unsafe { (*slot.0.get()).buffer.assume_init_drop() };
            }
            index = index.wrapping_add(1);
        }
    }
}

impl<B, S: Store<Slot<B>>> Ring<B, S> {
    /// An empty ring with the given slots, a power of two from [`MIN_SIZE`] to [`MAX_SIZE`].
    pub fn new(slots: S) -> Result<Self, BadSize> {
        let size = u32::try_from(slots.slots().len()).map_err(|_| BadSize)?;
        if !size.is_power_of_two() || !(MIN_SIZE..=MAX_SIZE).contains(&size) {
            return Err(BadSize);
        }

        // INVARIANT: All indices are equal, so all slots count as empty. A buffer that a slot still
        // holds from an earlier ring is leaked.
        Ok(Self {
            indices: SharedIndices {
                posted: CacheAligned(AtomicU32::new(FIRST_INDEX)),
                completed: CacheAligned(AtomicU32::new(FIRST_INDEX)),
            },
            final_indices: [AtomicU32::new(FIRST_INDEX), AtomicU32::new(FIRST_INDEX)],
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

    /// Whether the NIC has published a buffer that the driver had not taken when
    /// [`next_to_clean`](DriverSide::next_to_clean) returned the given value. For the end of a
    /// poll, which does not have the driver's side any more.
    #[inline]
    pub fn has_completed_since(&self, next_to_clean: u32) -> bool {
        self.indices.completed.0.load(Ordering::Acquire) != next_to_clean
    }

    /// Makes the two sides of a ring. [`None`] if this was done before.
    pub fn split<H>(handle: H) -> Option<(NicSide<H>, DriverSide<H>)>
    where
        H: Handle<Buffer = B, Slots = S>,
    {
        let ring = handle.ring();
        // Relaxed: a second caller gets no access that would have to be ordered.
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
            indices: NicIndices {
                next_to_fill: FIRST_INDEX,
                published: FIRST_INDEX,
                posted: FIRST_INDEX,
            },
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

/// A reference of a side to its ring, which keeps the ring alive: a `&Ring` or an [`Arc`].
///
/// # Safety
///
/// [`ring`](Self::ring) must return the same ring, at the same address, for a handle and all its
/// clones. As long as one of these exists, there must be no `&mut` to the ring.
pub unsafe trait Handle: Clone {
    /// The type of the buffers.
    type Buffer;
    /// The container of the slots.
    type Slots: Store<Slot<Self::Buffer>>;

    /// The ring.
    fn ring(&self) -> &Ring<Self::Buffer, Self::Slots>;
}

// SAFETY: A shared reference and its copies refer to one ring, and exclude a `&mut` to it.
unsafe impl<B, S: Store<Slot<B>>> Handle for &Ring<B, S> {
    type Buffer = B;
    type Slots = S;

    #[inline]
    fn ring(&self) -> &Ring<B, S> {
        self
    }
}

// SAFETY: All clones of an `Arc` refer to one object, and exclude a `&mut` to it.
unsafe impl<B, S: Store<Slot<B>>> Handle for Arc<Ring<B, S>> {
    type Buffer = B;
    type Slots = S;

    #[inline]
    fn ring(&self) -> &Ring<B, S> {
        self
    }
}

/// A side's pointer to the slots of its ring. It saves the loads and the bounds check that a slice
/// in the ring would need.
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
    /// The content of the slot of `index`.
    ///
    /// # Safety
    ///
    /// The ring that the slots were taken from must be alive.
    #[inline]
    unsafe fn entry(&self, index: u32) -> *mut Entry<B> {
        // SAFETY: The ring is alive, by this function's contract. It has `mask + 1` slots, which do
        // not move.
        let slot = unsafe { self.first.add((index & self.mask) as usize).as_ref() };
        slot.0.get()
    }
}

/// The driver's side of a ring: posts empty buffers and takes filled ones.
///
/// # Invariants
///
/// - `slots` are those of the handle's ring.
/// - `next_to_use` is `use` of [`Ring`]'s invariants.
/// - `limit` is `clean + size`, the upper limit of `use`. Since the size is a power of two, it has
///   the same slot as `clean`.
/// - `completed` is a value of the ring's `completed` that was loaded with `Acquire`, plus the
///   size.
pub struct DriverSide<H: Handle> {
    slots: Slots<H::Buffer>,
    next_to_use: Cell<u32>,
    limit: Cell<u32>,
    completed: Cell<u32>,
    handle: H,
}

// SAFETY: The side consists of a handle, integers, and a pointer to the slots of the handle's ring.
// Buffers, which are `Send`, move from there to the thread that takes them.
unsafe impl<H: Handle + Send> Send for DriverSide<H> where H::Buffer: Send {}

impl<H: Handle> DriverSide<H> {
    /// Number of empty slots, that is of buffers that can be posted.
    #[inline]
    pub fn unused(&self) -> u32 {
        self.limit.get().wrapping_sub(self.next_to_use.get())
    }

    /// Puts a buffer into the next empty slot, or returns it if there is none. The NIC sees it
    /// after the [`doorbell`](Self::doorbell).
    #[inline]
    pub fn post(&self, buffer: H::Buffer) -> Result<(), H::Buffer> {
        let index = self.next_to_use.get();
        if index == self.limit.get() {
            return Err(buffer);
        }

        // SAFETY: The handle keeps the ring alive.
        let entry = unsafe { self.slots.entry(index) };
        // SAFETY: The slot is empty: the driver owns it, and there is no buffer to drop. The
        // completion, to which there may be a reference from `take`, is not accessed.
        unsafe { (&raw mut (*entry).buffer).write(MaybeUninit::new(buffer)) };
        self.next_to_use.set(index.wrapping_add(1));
        Ok(())
    }

    /// Puts buffers into the next empty slots, as [`post`](Self::post) does. Those that do not fit
    /// stay in `buffers`.
    #[inline]
    pub fn post_each(&mut self, buffers: &mut impl Iterator<Item = H::Buffer>) {
        // The `&mut` keeps `buffers` from using this side, so the indices stay as they are.
        let (mut index, limit) = (self.next_to_use.get(), self.limit.get());
        while index != limit {
            let Some(buffer) = buffers.next() else { break };
            // SAFETY: The handle keeps the ring alive.
            let entry = unsafe { self.slots.entry(index) };
            // SAFETY: As in `post`.
            unsafe { (&raw mut (*entry).buffer).write(MaybeUninit::new(buffer)) };
            index = index.wrapping_add(1);
        }
        self.next_to_use.set(index);
    }

    /// Makes all posted buffers visible to the NIC. Once per batch.
    ///
    /// From here on the NIC may write to the completions of those slots. The `&mut` ends all
    /// references to completions that [`take`](Self::take) has returned.
    #[inline]
    pub fn doorbell(&mut self) {
        let posted = &self.handle.ring().indices.posted.0;
        posted.store(self.next_to_use.get(), Ordering::Release);
    }

    /// Takes the oldest published buffer. Its completion stays in the slot, and can be read until
    /// the next [`doorbell`](Self::doorbell).
    #[inline]
    pub fn take(&self) -> Option<(&Completion, H::Buffer)> {
        let index = self.limit.get();
        if index == self.completed.get() && !self.refresh() {
            return None;
        }

        // SAFETY: The handle keeps the ring alive.
        let entry = unsafe { self.slots.entry(index) };
        // SAFETY: The slot is before `completed`: the driver owns it, and the NIC's accesses to it
        // happened before the load of `completed`. It holds a buffer, which moves to the caller.
        let buffer = unsafe { (&raw const (*entry).buffer).read().assume_init() };
        // SAFETY: The driver owns the slot. The completion is not written to before the NIC owns
        // the slot again, after a doorbell, which needs a `&mut` to this side.
        let completion = unsafe { &(*entry).completion };
        // INVARIANT: The slot is empty now.
        self.limit.set(index.wrapping_add(1));
        Some((completion, buffer))
    }

    /// Whether the buffer that [`take`](Self::take) would return has these status bits.
    #[inline]
    pub fn next_is(&self, status: Status) -> bool {
        let index = self.limit.get();
        if index == self.completed.get() && !self.refresh() {
            return false;
        }
        // SAFETY: The handle keeps the ring alive.
        let entry = unsafe { self.slots.entry(index) };
        // SAFETY: As in `take`: the driver owns the slot, and the NIC does not write to the
        // completion.
        unsafe { (*entry).completion.is(status) }
    }

    /// Reads the NIC's index again, and returns whether there is a published buffer.
    fn refresh(&self) -> bool {
        let completed = &self.handle.ring().indices.completed.0;
        let completed = completed.load(Ordering::Acquire);
        self.completed.set(completed.wrapping_add(self.size()));
        self.limit.get() != self.completed.get()
    }

    #[inline]
    fn size(&self) -> u32 {
        self.slots.mask.wrapping_add(1)
    }

    /// Ends the ring: drops both sides and all buffers, posted or completed. Without this, the
    /// buffers are dropped with the last handle, as they are if `nic` belongs to another ring.
    pub fn end(mut self, mut nic: NicSide<H>) {
        self.reclaim(&mut nic, drop);
    }

    /// Takes all buffers out of the ring, posted or completed, and passes each to `each`, the
    /// newest first. The ring can be used again. `nic` is its other side; if it belongs to another
    /// ring, nothing happens.
    pub fn reclaim(&mut self, nic: &mut NicSide<H>, mut each: impl FnMut(H::Buffer)) {
        if !ptr::eq(self.handle.ring(), nic.handle.ring()) {
            return;
        }
        // INVARIANT: This function has both sides of the ring, so nothing else accesses a slot. It
        // is as if the NIC had completed all buffers.
        self.doorbell();
        let end = self.next_to_use.get();
        nic.indices.posted = end;
        nic.indices.next_to_fill = end;
        nic.publish();
        let (clean, mut index) = (self.next_to_clean(), end);
        // INVARIANT: All slots count as empty from here on. Each buffer moves out of its slot.
        self.limit.set(index.wrapping_add(self.size()));
        self.completed.set(self.limit.get());
        while index != clean {
            index = index.wrapping_sub(1);
            // SAFETY: The handle keeps the ring alive.
            let entry = unsafe { self.slots.entry(index) };
            // SAFETY: The slot is one of those from `clean` up to `use`, which hold a buffer.
            each(unsafe { (&raw const (*entry).buffer).read().assume_init() });
        }
    }

    /// Whether there is a published buffer to take.
    #[inline]
    pub fn has_completed(&self) -> bool {
        self.handle.ring().has_completed_since(self.next_to_clean())
    }

    /// Number of buffers that are posted and not completed. The NIC may be writing into some of
    /// them.
    #[inline]
    pub fn posted(&self) -> u32 {
        let SharedIndices { posted, completed } = &self.handle.ring().indices;
        // Relaxed: no access to a slot depends on it.
        let completed = completed.0.load(Ordering::Relaxed);
        posted.0.load(Ordering::Relaxed).wrapping_sub(completed)
    }

    /// The index of the next buffer to take, for [`Ring::has_completed_since`].
    #[inline]
    pub fn next_to_clean(&self) -> u32 {
        self.limit.get().wrapping_sub(self.size())
    }
}

impl<H: Handle> Drop for DriverSide<H> {
    fn drop(&mut self) {
        // INVARIANT: The driver's side is dropped.
        let [clean, r#use] = &self.handle.ring().final_indices;
        clean.store(self.next_to_clean(), Ordering::Relaxed);
        r#use.store(self.next_to_use.get(), Ordering::Relaxed);
    }
}

/// The NIC's side of a ring: fills posted buffers and completes them.
///
/// # Invariants
///
/// - `slots` are those of the handle's ring.
/// - `indices` are those of this ring.
pub struct NicSide<H: Handle> {
    slots: Slots<H::Buffer>,
    indices: NicIndices,
    handle: H,
}

/// The indices that only the NIC's side uses.
///
/// # Invariants
///
/// - `next_to_fill` is `fill` of [`Ring`]'s invariants and `published` the ring's `completed`.
/// - `posted` is a value of the ring's `posted` that was loaded with `Acquire`.
struct NicIndices {
    next_to_fill: u32,
    published: u32,
    posted: u32,
}

// SAFETY: The side consists of a handle, integers, and a pointer to the slots of the handle's ring.
// The thread that fills buffers accesses them there, and they are `Send`.
unsafe impl<H: Handle + Send> Send for NicSide<H> where H::Buffer: Send {}

// SAFETY: A `&NicSide` gives no access to a slot, only to the side's own index.
unsafe impl<H: Handle + Sync> Sync for NicSide<H> where H::Buffer: Send {}

impl<H: Handle> NicSide<H> {
    /// The indices of the ring, for what does not depend on the type of its buffers.
    #[inline(always)]
    pub fn cursor(&mut self) -> Cursor<'_> {
        let ring = self.handle.ring();
        Cursor {
            indices: &mut self.indices,
            shared: &ring.indices,
        }
    }

    /// See [`Cursor::available`].
    #[inline]
    pub fn available(&mut self) -> u32 {
        self.cursor().available()
    }

    /// See [`Cursor::has`].
    #[inline]
    pub fn has(&mut self, count: u32) -> bool {
        self.cursor().has(count)
    }

    /// See [`Cursor::mark`].
    #[inline]
    pub fn mark(&mut self) -> Mark {
        self.cursor().mark()
    }

    /// See [`Cursor::rewind`].
    pub fn rewind(&mut self, mark: Mark) {
        self.cursor().rewind(mark);
    }

    /// See [`Cursor::publish`].
    #[inline]
    pub fn publish(&mut self) -> u32 {
        self.cursor().publish()
    }

    /// The next posted buffer, if there is one.
    #[inline]
    pub fn next_buffer(&mut self) -> Option<Fill<'_, &mut H::Buffer>> {
        if !self.has(1) {
            return None;
        }
        // SAFETY: There is one.
        Some(unsafe { self.known_buffer() })
    }

    /// The next posted buffer.
    ///
    /// # Safety
    ///
    /// There must be one: `next_to_fill` is before `posted`.
    #[inline(always)]
    unsafe fn known_buffer(&mut self) -> Fill<'_, &mut H::Buffer> {
        // SAFETY: The handle keeps the ring alive.
        let entry = unsafe { self.slots.entry(self.indices.next_to_fill) };
        // SAFETY: The slot is posted, by the caller's promise, and not published: the NIC owns it,
        // and the driver's accesses to it happened before the load of `posted`. The `Fill` borrows
        // this side mutably, so there is only one reference to the slot at a time.
        let entry = unsafe { &mut *entry };
        Fill {
            // SAFETY: A posted slot holds a buffer.
            buffer: unsafe { entry.buffer.assume_init_mut() },
            completion: &mut entry.completion,
            next_to_fill: &mut self.indices.next_to_fill,
        }
    }

    /// How full the ring is.
    pub fn level(&mut self) -> Level {
        Level {
            size: self.slots.mask.wrapping_add(1),
            free: self.available(),
        }
    }
}

/// The NIC's side of a ring whose buffers are of one of two types: pages, or umem of AF_XDP
/// sockets.
///
/// A card writes to the address in a descriptor and does not care whose memory that is. So both
/// types share one path, and differ only in how the address is found in a buffer. The fields of the
/// variants are at the same offsets, and where their cases are the same, the compiler makes one of
/// them: a frame costs a few instructions more than in a ring of one type.
pub enum EitherSide<P: Handle, U: Handle> {
    /// Pages.
    Pages(NicSide<P>),
    /// Umem.
    Umem(NicSide<U>),
}

impl<P: Handle, U: Handle> EitherSide<P, U> {
    /// See [`NicSide::cursor`].
    #[inline(always)]
    pub fn cursor(&mut self) -> Cursor<'_> {
        match self {
            Self::Pages(nic) => nic.cursor(),
            Self::Umem(nic) => nic.cursor(),
        }
    }

    /// See [`NicSide::level`].
    pub fn level(&mut self) -> Level {
        match self {
            Self::Pages(nic) => nic.level(),
            Self::Umem(nic) => nic.level(),
        }
    }

    /// The part of the next posted buffer that `of_page` or `of_umem` returns, if there is one.
    #[inline(always)]
    pub fn next_part<'a, T>(
        &'a mut self,
        of_page: impl FnOnce(&'a mut P::Buffer) -> T,
        of_umem: impl FnOnce(&'a mut U::Buffer) -> T,
    ) -> Option<Fill<'a, T>> {
        if !self.cursor().has(1) {
            return None;
        }
        Some(match self {
            // SAFETY: There is a posted buffer.
            Self::Pages(nic) => unsafe { nic.known_buffer() }.map(of_page),
            // SAFETY: As above.
            Self::Umem(nic) => unsafe { nic.known_buffer() }.map(of_umem),
        })
    }
}

/// The indices of a ring, as its NIC's side uses them. They are the same for all types of buffers.
pub struct Cursor<'a> {
    indices: &'a mut NicIndices,
    shared: &'a SharedIndices,
}

impl Cursor<'_> {
    /// Number of posted buffers that are not filled yet. Reads the driver's cache line: to be
    /// called per batch, not per frame.
    #[inline]
    pub fn available(&mut self) -> u32 {
        self.indices.posted = self.shared.posted.0.load(Ordering::Acquire);
        self.indices.posted.wrapping_sub(self.indices.next_to_fill)
    }

    /// Whether at least `count` posted buffers are not filled yet. Reads the driver's index only if
    /// there are too few by the cached one.
    #[inline]
    pub fn has(&mut self, count: u32) -> bool {
        self.indices.posted.wrapping_sub(self.indices.next_to_fill) >= count
            || self.available() >= count
    }

    /// The position of the next buffer, for [`rewind`](Self::rewind).
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark(self.indices.next_to_fill)
    }

    /// Takes back all buffers that were completed since the mark, so that they are filled again.
    /// Does nothing if some of them have been published.
    pub fn rewind(&mut self, mark: Mark) {
        let indices = &mut *self.indices;
        let kept = mark.0.wrapping_sub(indices.published);
        if kept <= indices.next_to_fill.wrapping_sub(indices.published) {
            indices.next_to_fill = mark.0;
        }
    }

    /// Makes all completed buffers visible to the driver, and returns how many are new. Once per
    /// batch.
    #[inline]
    pub fn publish(&mut self) -> u32 {
        let indices = &mut *self.indices;
        let new = indices.next_to_fill.wrapping_sub(indices.published);
        if new != 0 {
            let completed = &self.shared.completed.0;
            completed.store(indices.next_to_fill, Ordering::Release);
            indices.published = indices.next_to_fill;
        }
        new
    }
}

/// How full a ring is, as the NIC sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Number of slots.
    pub size: u32,
    /// Posted buffers that are not filled yet.
    pub free: u32,
}

/// A position in a ring; see [`NicSide::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark(u32);

/// The next posted buffer, which the NIC is about to fill. If this is dropped, the buffer stays
/// posted and is the next again.
#[must_use = "the buffer stays posted unless it is completed"]
pub struct Fill<'a, B> {
    buffer: B,
    completion: &'a mut Completion,
    next_to_fill: &'a mut u32,
}

impl<'a, B> Fill<'a, B> {
    /// The buffer.
    #[inline]
    pub fn buffer(&mut self) -> &mut B {
        &mut self.buffer
    }

    /// Replaces the buffer by a part of it.
    #[inline(always)]
    pub fn map<P>(self, part: impl FnOnce(B) -> P) -> Fill<'a, P> {
        Fill {
            buffer: part(self.buffer),
            completion: self.completion,
            next_to_fill: self.next_to_fill,
        }
    }

    /// Completes the descriptor. The driver sees it after [`Cursor::publish`].
    #[inline]
    pub fn complete(self, completion: Completion) {
        *self.completion = completion;
        *self.next_to_fill = self.next_to_fill.wrapping_add(1);
    }
}
