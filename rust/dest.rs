// SPDX-License-Identifier: GPL-2.0

//! The destination of a copy.
//!
//! A network card also writes into memory that user space has mapped, the umem of an AF_XDP socket,
//! and which a program may read and write at the same time. No slice of such memory may exist,
//! because Rust assumes that the bytes of a slice do not change. A [`Dest`] can be written to, and
//! never read.

use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};

/// A range of memory that can only be written to.
///
/// # Invariants
///
/// The `len` bytes from `start` on may be written during `'a`, and there is no reference to any of
/// them meanwhile. If they are in umem, others may use them at the same time: user space; and the
/// kernel, for another buffer with the same bytes, which a umem that is shared or a frame that is
/// in two rings leads to. These only copy bytes too, and nothing depends on which ones they get.
pub struct Dest<'a> {
    start: NonNull<u8>,
    len: usize,
    _lifetime: PhantomData<&'a mut [u8]>,
}

impl<'a> From<&'a mut [u8]> for Dest<'a> {
    #[inline(always)]
    fn from(bytes: &'a mut [u8]) -> Self {
        let len = bytes.len();
        // INVARIANT: The bytes are borrowed for that long.
        Self {
            start: NonNull::from(bytes).cast(),
            len,
            _lifetime: PhantomData,
        }
    }
}

impl<'a> Dest<'a> {
    /// # Safety
    ///
    /// The `len` bytes from `start` on must be writable during `'a`, without a reference to any of
    /// them meanwhile. Who else uses them must only copy bytes, as with umem.
    #[inline(always)]
    pub unsafe fn from_raw_parts(start: NonNull<u8>, len: usize) -> Self {
        // INVARIANT: The caller's promise.
        Self {
            start,
            len,
            _lifetime: PhantomData,
        }
    }

    /// Length in bytes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the length is 0.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The start, for a C function that writes there.
    #[inline(always)]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The same range, borrowed for a shorter time.
    #[inline(always)]
    pub fn reborrow(&mut self) -> Dest<'_> {
        Dest {
            start: self.start,
            len: self.len,
            _lifetime: PhantomData,
        }
    }

    /// The first `len` bytes; [`None`] if the range is shorter.
    #[inline(always)]
    pub fn first(&mut self, len: usize) -> Option<Dest<'_>> {
        // INVARIANT: A part of the range.
        (len <= self.len).then_some(Dest {
            start: self.start,
            len,
            _lifetime: PhantomData,
        })
    }

    /// The first `mid` bytes, or all if the range is shorter, and the rest.
    #[inline(always)]
    pub fn split_at(self, mid: usize) -> (Dest<'a>, Dest<'a>) {
        let mid = mid.min(self.len);
        let first = Dest { len: mid, ..self };
        let rest = Dest {
            // SAFETY: `mid` is at most the length of the range.
            start: unsafe { self.start.add(mid) },
            len: self.len - mid,
            _lifetime: PhantomData,
        };
        // INVARIANT: Two parts of the range that do not overlap.
        (first, rest)
    }

    /// Copies `bytes` to the range, from `offset` on. Returns [`None`], and copies nothing, if they
    /// do not fit.
    #[inline(always)]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Option<()> {
        let room = self.len.checked_sub(offset)?;
        if bytes.len() > room {
            return None;
        }
        // SAFETY: The bytes fit into the range, which may be written. There is no reference to it,
        // so `bytes` does not overlap with it.
        unsafe {
            let to = self.start.as_ptr().add(offset);
            if !copy_short(bytes.as_ptr(), to, bytes.len()) {
                ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
            }
        }
        Some(())
    }

    /// Fills the range with zeroes from `offset` up to `end`. Returns [`None`], and writes nothing,
    /// if it is shorter.
    #[inline(always)]
    pub fn zero(&mut self, offset: usize, end: usize) -> Option<()> {
        let len = end.checked_sub(offset)?;
        if end > self.len {
            return None;
        }
        // SAFETY: The bytes are in the range, which may be written.
        unsafe { ptr::write_bytes(self.start.as_ptr().add(offset), 0, len) };
        Some(())
    }
}

/// Copies `len` bytes if they are as few as a short frame has, 32 to 64. Returns whether it did.
///
/// The shortest frames are the most frequent ones, and a call of `memcpy` takes twice as many
/// instructions as these moves. They copy two halves, which overlap unless there are 64 bytes. The
/// reads are volatile: the source may be umem, and change meanwhile.
///
/// On x86-64 only. For arm64 the kernel's Rust code is compiled without unaligned accesses
/// (`strict-align`), so it would move each byte on its own.
///
/// # Safety
///
/// The `len` bytes from `from` on must be readable, and those from `to` on writable. If others
/// write to the former meanwhile, or the two overlap, the former must be umem.
#[inline(always)]
pub unsafe fn copy_short(from: *const u8, to: *mut u8, len: usize) -> bool {
    const HALF: usize = 32;

    let second = len.wrapping_sub(HALF);
    if second > HALF || cfg!(not(target_arch = "x86_64")) {
        return false;
    }
    // SAFETY: `len` is at least `HALF`, so both halves are inside of the ranges.
    unsafe {
        copy_16(from, to);
        copy_16(from.add(16), to.add(16));
        copy_16(from.add(second), to.add(second));
        copy_16(from.add(second + 16), to.add(second + 16));
    }
    true
}

/// Copies 16 bytes.
///
/// # Safety
///
/// As for [`copy_short`].
#[inline(always)]
unsafe fn copy_16(from: *const u8, to: *mut u8) {
    #[repr(C, packed)]
    struct Unaligned(u128);

    // SAFETY: The caller's promise.
    unsafe {
        let bytes = from.cast::<Unaligned>().read_volatile();
        to.cast::<Unaligned>().write(bytes);
    }
}
