// SPDX-License-Identifier: GPL-2.0

//! Statistics counters.

use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};

/// A statistics counter that any number of contexts may add to at once.
///
/// Adding is an atomic read-modify-write: once per batch, not per frame.
#[derive(Default)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    /// Adds `n`; wraps at 2^64. From anywhere.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far. From anywhere.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A statistics counter that one context at a time adds to and any context may read.
///
/// Adding is a load and a store, not an atomic read-modify-write: for a poll or a lock holder it
/// costs as much as a plain addition, and a reader never sees a torn value. The caller must make
/// sure that there is one writer at a time. Two writers at once are no data race, but counts may be
/// lost.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`; wraps at 2^64. Only from the counter's single writer.
    #[inline]
    pub fn add(&self, n: u64) {
        let sum = self.get().wrapping_add(n);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// The count so far. From anywhere.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
