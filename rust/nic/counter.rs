// SPDX-License-Identifier: GPL-2.0

//! Statistics counters.

use core::sync::atomic::{AtomicU64, Ordering};

/// A statistics counter that any number of contexts add to at once.
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

/// A statistics counter that one context at a time adds to and anybody may read.
///
/// Adding is a load and a store, not an atomic read-modify-write: a poll or a lock holder counts
/// for the price of a plain addition, and a reader never sees a torn value. The single writer is
/// the caller's business. Two writers at once are no memory error, but a count may get lost.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter that stands at zero.
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
