// SPDX-License-Identifier: GPL-2.0

//! Where data is that one CPU writes while others read or write what is next to it.

use core::ops::Deref;

/// Length of a cache line in bytes.
pub const LINE_LEN: usize = 64;

/// A value alone on its cache lines, so that writing it does not slow down who uses its neighbour.
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
