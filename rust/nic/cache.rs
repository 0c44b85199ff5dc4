// SPDX-License-Identifier: GPL-2.0

//! Cache line alignment, against false sharing.

use core::ops::Deref;

/// Length of a cache line in bytes.
pub const LINE_LEN: usize = 64;

/// A value that shares its cache lines with no other data: writing it does not slow down CPUs that
/// use adjacent data.
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
