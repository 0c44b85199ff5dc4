// SPDX-License-Identifier: GPL-2.0

//! Frames in umem that are to be sent.

use crate::{
    bindings,
    dest::{
        copy_short,
        Dest, //
    },
    net::xdp::rx_frame::FrameBytes, //
};
use core::marker::PhantomData;
use kernel::prelude::*;

/// A frame in umem that is to be sent. Its bytes can be copied; they may change at any time.
pub(crate) trait UmemFrame: FrameBytes {
    /// Computes the checksum that the device is to fill in. Returns its offset in the frame, in
    /// bytes, and its bytes; `None` if there is none. Fails with `EINVAL` if it is not in the
    /// frame.
    fn checksum(&self) -> Result<Option<(usize, [u8; 2])>> {
        Ok(None)
    }

    /// All its bytes, if they are contiguous and the device has nothing to fill in.
    #[inline]
    fn whole(&self) -> Option<UmemBytes<'_>> {
        None
    }
}

impl<F: UmemFrame> UmemFrame for &F {
    fn checksum(&self) -> Result<Option<(usize, [u8; 2])>> {
        F::checksum(self)
    }

    #[inline]
    fn whole(&self) -> Option<UmemBytes<'_>> {
        F::whole(self)
    }
}

/// A range of umem, which can only be copied.
///
/// # Invariants
///
/// The `len` bytes from `start` on are in umem, which exists during `'a`.
#[derive(Clone, Copy)]
pub(crate) struct UmemBytes<'a> {
    start: *const u8,
    len: usize,
    _umem: PhantomData<&'a ()>,
}

impl UmemBytes<'_> {
    /// # Safety
    ///
    /// The `len` bytes from `start` on must be in umem that exists during the lifetime.
    #[inline]
    pub(super) unsafe fn new(start: *const u8, len: usize) -> Self {
        // INVARIANT: The caller's promise.
        Self {
            start,
            len,
            _umem: PhantomData,
        }
    }

    /// The first bytes; [`None`] if there are fewer.
    #[inline]
    pub(crate) fn start(&self) -> Option<[u8; START_LEN]> {
        #[repr(C, packed)]
        struct Unaligned(u128);

        if self.len < START_LEN {
            return None;
        }
        // SAFETY: That many bytes are in the range, which exists. User space may write to them
        // meanwhile, so the read is volatile: the compiler must not assume that a second one would
        // return the same.
        let Unaligned(bytes) = unsafe { self.start.cast::<Unaligned>().read_volatile() };
        Some(bytes.to_ne_bytes())
    }

    /// Copies all to the start of `to`. Returns [`None`], and copies nothing, if they do not fit.
    #[inline]
    pub(crate) fn copy_all(&self, to: &mut Dest<'_>) -> Option<()> {
        if self.len > to.len() {
            return None;
        }
        let to = to.as_mut_ptr();
        // SAFETY: The bytes exist, and `to` has room for them. If it is umem too, they may overlap:
        // then the frame is garbage.
        unsafe {
            if !copy_short(self.start, to, self.len) {
                bindings::oxnic_umem_copy(to.cast(), self.start.cast(), self.len);
            }
        }
        Some(())
    }
}

impl FrameBytes for UmemBytes<'_> {
    #[inline]
    fn size(&self) -> (usize, usize) {
        (self.len, 1)
    }

    #[inline]
    fn copy_to(&self, offset: usize, mut to: Dest<'_>) -> Result {
        match offset.checked_add(to.len()) {
            Some(end) if end <= self.len => {}
            _ => return Err(EINVAL),
        }
        // SAFETY: The bytes exist, and `to` has the given length.
        unsafe {
            let from = self.start.add(offset).cast();
            bindings::oxnic_umem_copy(to.as_mut_ptr().cast(), from, to.len());
        }
        Ok(())
    }
}

impl UmemFrame for UmemBytes<'_> {
    #[inline]
    fn whole(&self) -> Option<UmemBytes<'_>> {
        Some(*self)
    }
}

/// Number of bytes that [`UmemBytes::start`] copies.
pub(crate) const START_LEN: usize = 16;
