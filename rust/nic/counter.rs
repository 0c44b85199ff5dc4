// SPDX-License-Identifier: GPL-2.0

//! Statistics counters.

// Not those of `sync`: loom's have no `const fn new`, and no model has a counter.
use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};

/// A statistics counter to which several contexts may add at the same time.
///
/// Adding is an atomic read-modify-write: to be done once per batch, not per frame.
#[derive(Default)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    /// Adds `n`; wraps at 2^64. Any context.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The current count. Any context.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A statistics counter with one writer at a time, which any context may read.
///
/// Adding is a load and a store, not an atomic read-modify-write: it costs as much as a plain
/// addition, and a reader never sees a torn value. The caller ensures that there is a single
/// writer, a poll or the holder of a lock. Two writers at the same time are not a data race, but
/// lose counts.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`; wraps at 2^64. Only in the context of the counter's single writer.
    #[inline]
    pub fn add(&self, n: u64) {
        let sum = self.get().wrapping_add(n);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// The current count. Any context.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
