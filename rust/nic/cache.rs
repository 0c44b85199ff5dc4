// SPDX-License-Identifier: GPL-2.0

//! Keeps data that one CPU writes off the cache lines that other CPUs use.

use core::ops::Deref;

/// Length of a cache line in bytes.
pub const LINE_LEN: usize = 64;

/// A value alone on its cache lines: writing it does not slow down CPUs that use what is next to
/// it.
#[derive(Default)]
#[repr(align(64))]
pub struct CacheAligned<T>(pub T);

impl<T> Deref for CacheAligned<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

const _: () = assert!(align_of::<CacheAligned<u8>>() == LINE_LEN);
