// SPDX-License-Identifier: GPL-2.0

//! Frames that user space sends from its umem.

use super::{
    frame::{
        UmemBytes,
        UmemFrame,
        START_LEN, //
    },
    metadata::{
        Completion,
        TxRequest, //
    },
    pool::Pool, //
};
use crate::{
    bindings,
    dest::Dest,
    net::xdp::rx_frame::FrameBytes, //
};
use core::{
    marker::PhantomData,
    slice, //
};
use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*, //
};

/// The result of [`PoolTx::peek`].
pub(crate) enum Peeked {
    /// There are frames to be sent.
    Frames,
    /// There are none. But the kernel has read descriptors, so there may be frames behind them.
    /// They were invalid, and the kernel has completed them; or user space has written only a part
    /// of a frame; or the completion ring has too few places for it.
    NoFrame,
    /// The TX rings are empty, or the completion ring is full.
    Nothing,
}

/// An address that is in no umem, and that user space does not write by accident: to
/// [`PoolTx::peek`] it means that no descriptor was read. If user space does write it, its frames
/// wait for its next system call.
const NOT_READ: u64 = 0x9e37_79b9_7f4a_7c15;

/// The sending side of a pool: its TX rings and its completion ring.
///
/// # Invariants
///
/// Only one value for a pool exists at a time, except in [`Pool::abort`], which does not read from
/// the TX rings.
pub(crate) struct PoolTx<'p>(&'p Pool);

impl Pool {
    /// The sending side. There must be only one at a time.
    pub(super) fn tx(&mut self) -> PoolTx<'_> {
        // INVARIANT: The pool is borrowed mutably.
        PoolTx(self)
    }

    /// Completes everything that has been read from the TX rings. Returns the number of frames that
    /// were not sent.
    pub(crate) fn abort(&self) -> u64 {
        PoolTx(self).abort()
    }
}

impl PoolTx<'_> {
    /// Tells user space that it must wake the driver when it has something to send
    /// (`xsk_set_tx_need_wakeup`), if it uses that flag ([`Pool::uses_need_wakeup`]).
    #[inline]
    pub(crate) fn set_need_wakeup(&self) {
        if self.0.uses_need_wakeup() {
            // SAFETY: The pool is ours.
            unsafe { bindings::xsk_set_tx_need_wakeup(self.as_ptr()) };
        }
    }

    #[inline]
    fn as_ptr(&self) -> *mut bindings::xsk_buff_pool {
        self.0.as_ptr()
    }

    /// Whether there are frames that have been read from the TX rings and not been sent.
    #[inline]
    fn has_pending(&self) -> bool {
        self.0.next.get() != self.0.end.get()
    }

    /// Reads up to `max` descriptors from the TX rings of the pool's sockets
    /// (`xsk_tx_peek_release_desc_batch`), unless some that were read before are still to be sent.
    /// The kernel reads each once and checks it, and reads no more than the completion ring has
    /// places for. It stops at an invalid frame.
    ///
    /// This overwrites the descriptors that were read before, so it ends all [`TxDesc`]s.
    #[inline]
    pub(crate) fn peek(&mut self, max: u32) -> Peeked {
        if self.has_pending() {
            return Peeked::Frames;
        }
        // SAFETY: The pool is ours. The array is null until a socket that can send is bound; then
        // it is there as long as the pool, with at least one descriptor. Nobody uses the
        // descriptors that were read before: a `TxDesc` borrows this value.
        let (first, count) = unsafe {
            let first = (&raw const (*self.as_ptr()).tx_descs).read_volatile();
            if !first.is_null() {
                (*first).addr = NOT_READ;
            }
            let count = bindings::xsk_tx_peek_release_desc_batch(self.as_ptr(), max);
            (first, count)
        };
        // INVARIANT: They have just been read.
        self.0.next.set(0);
        self.0.end.set(count);
        if count != 0 {
            return Peeked::Frames;
        }
        // SAFETY: As above.
        if first.is_null() || unsafe { (*first).addr } == NOT_READ {
            return Peeked::Nothing;
        }
        Peeked::NoFrame
    }

    /// The next frames to be sent, at most `max`, up to the first one that is more than a range of
    /// umem, or shorter than [`START_LEN`]: most are neither. They have not been sent until the
    /// caller [says so](Self::advance).
    #[inline]
    pub(crate) fn next_plain(&self, max: u32) -> impl Iterator<Item = UmemBytes<'_>> {
        let next = self.0.next.get();
        let count = self.0.end.get().wrapping_sub(next).min(max);
        let descs = if count == 0 {
            &[]
        } else {
            // SAFETY: The descriptors up to `end` have been read, and these are some of them. They
            // are not written to as long as this value is borrowed: only `peek` does that.
            unsafe {
                let first = (*self.as_ptr()).tx_descs.add(next as usize);
                slice::from_raw_parts(first, count as usize)
            }
        };
        // SAFETY: The pool is ours.
        let umem = unsafe { Umem::of(self.as_ptr()) };
        descs
            .iter()
            .take_while(|desc| desc.options == 0 && desc.len as usize >= START_LEN)
            // SAFETY: The kernel has checked the descriptor, and the pool exists as long as this
            // value is borrowed.
            .map(move |desc| unsafe { umem.bytes(desc) })
    }

    /// The next frame to be sent, with what user space requests for it; or without, if the device
    /// has no `metadata`.
    #[inline]
    pub(crate) fn next_frame(&self, metadata: bool) -> Option<TxDesc<'_>> {
        let (first, end) = (self.0.next.get(), self.0.end.get());
        if first == end {
            return None;
        }
        let (mut count, mut len) = (0, 0);
        loop {
            // SAFETY: The descriptors up to `end` have been read, and this is one of them.
            let desc = unsafe { &*(*self.as_ptr()).tx_descs.add((first + count) as usize) };
            count += 1;
            len += desc.len as usize;
            // The last frame may be cut off, but only if the sockets use no XDP_USE_SG, and so
            // should have no frames in parts (`xsk_tx_peek_release_fallback`).
            if desc.options & bindings::XDP_PKT_CONTD == 0 || first + count == end {
                let mut frame = TxDesc {
                    pool: self.as_ptr(),
                    first,
                    count,
                    len,
                    request: TxRequest::default(),
                    completion: None,
                    _pool: PhantomData,
                };
                if metadata && self.has_metadata(first) {
                    frame.read_metadata();
                }
                return Some(frame);
            }
        }
    }

    /// Whether there is metadata in front of the frame.
    #[inline]
    fn has_metadata(&self, desc: u32) -> bool {
        // SAFETY: The descriptor has been read.
        let options = unsafe { (*(*self.as_ptr()).tx_descs.add(desc as usize)).options };
        options & bindings::XDP_TX_METADATA != 0
    }

    /// The next frame, which has `descs` descriptors, has been sent or is lost.
    #[inline]
    pub(crate) fn advance(&self, descs: u32) {
        let pool = self.0;
        let next = pool.next.get();
        let descs = descs.min(pool.end.get().wrapping_sub(next));
        pool.next.set(next.wrapping_add(descs));
        pool.sent.set(pool.sent.get().wrapping_add(descs));
    }

    /// Returns the frames that have been sent or are lost to user space (`xsk_tx_completed`).
    #[inline]
    pub(crate) fn complete(&self) {
        let sent = self.0.sent.take();
        if sent != 0 {
            // SAFETY: The pool is ours, and that many descriptors have been read and not completed.
            unsafe { bindings::xsk_tx_completed(self.as_ptr(), sent) };
        }
    }

    /// See [`Pool::abort`].
    fn abort(&self) -> u64 {
        let mut lost = 0;
        while let Some(frame) = self.next_frame(false) {
            let descs = frame.descs();
            lost += 1;
            self.advance(descs);
        }
        self.complete();
        lost
    }
}

/// Where the umem of a pool is.
#[derive(Clone, Copy)]
enum Umem {
    /// In an aligned pool the address in a descriptor counts from here.
    Aligned(*mut c_void),
    /// The pool, which has chunks of any alignment.
    Unaligned(*mut bindings::xsk_buff_pool),
}

impl Umem {
    /// # Safety
    ///
    /// The pool must be valid.
    #[inline]
    unsafe fn of(pool: *mut bindings::xsk_buff_pool) -> Self {
        // SAFETY: The caller's promise. Both fields are constant.
        unsafe {
            if (*pool).unaligned {
                Self::Unaligned(pool)
            } else {
                Self::Aligned((*pool).addrs)
            }
        }
    }

    /// The bytes of a descriptor (`xp_raw_get_data`).
    ///
    /// # Safety
    ///
    /// The kernel must have read the descriptor from a TX ring of the pool, which must exist during
    /// the lifetime.
    #[inline]
    unsafe fn bytes<'p>(self, desc: &bindings::xdp_desc) -> UmemBytes<'p> {
        // SAFETY: The pool is valid. The kernel has checked that the bytes are in the umem, whose
        // mapping is contiguous. In an aligned pool the function only adds these two.
        unsafe {
            let start = match self {
                Self::Aligned(addrs) => addrs.byte_add(desc.addr as usize),
                Self::Unaligned(pool) => bindings::xp_raw_get_data(pool, desc.addr),
            };
            UmemBytes::new(start.cast(), desc.len as usize)
        }
    }
}

/// A frame that user space sends.
///
/// # Invariants
///
/// The `count` descriptors from `first` on in the `tx_descs` of `pool`, which exists during `'p`,
/// have been read from a TX ring and checked. They do not change during `'p`: only
/// [`PoolTx::peek`] overwrites them.
pub(crate) struct TxDesc<'p> {
    pool: *mut bindings::xsk_buff_pool,
    first: u32,
    count: u32,
    len: usize,
    request: TxRequest,
    completion: Option<Completion>,
    _pool: PhantomData<&'p Pool>,
}

impl TxDesc<'_> {
    /// Number of the frame's descriptors.
    #[inline]
    pub(crate) fn descs(&self) -> u32 {
        self.count
    }

    /// What user space requests.
    pub(crate) fn request(&self) -> &TxRequest {
        &self.request
    }

    #[cold]
    fn read_metadata(&mut self) {
        // SAFETY: By the type's invariants.
        let (request, completion) = unsafe { TxRequest::read(self.pool, self.first) };
        self.request = request;
        self.completion = completion;
    }

    /// Tells user space when the frame was sent, in nanoseconds of the device's clock, if it has
    /// requested that. To be called before the frame is completed.
    #[inline]
    pub(crate) fn set_timestamp(&mut self, now: impl FnOnce() -> u64) {
        if let Some(completion) = self.completion.take() {
            // SAFETY: By the type's invariants the pool exists, and so does its umem.
            unsafe { completion.fill(now()) };
        }
    }
}

impl FrameBytes for TxDesc<'_> {
    #[inline]
    fn size(&self) -> (usize, usize) {
        (self.len, self.count as usize)
    }

    #[inline]
    fn copy_to(&self, offset: usize, mut to: Dest<'_>) -> Result {
        let (offset, len) = (u32::try_from(offset)?, u32::try_from(to.len())?);
        // SAFETY: `to` has the given length. The function copies only bytes of the descriptors,
        // which are in the umem: the kernel has checked that.
        to_result(unsafe {
            let to = to.as_mut_ptr().cast();
            bindings::oxnic_xsk_tx_copy(self.pool, self.first, self.count, offset, to, len)
        })
    }
}

impl UmemFrame for TxDesc<'_> {
    #[inline]
    fn whole(&self) -> Option<UmemBytes<'_>> {
        if self.count != 1 || self.request.checksum.is_some() {
            return None;
        }
        // SAFETY: By the type's invariants.
        Some(unsafe {
            let desc = (*self.pool).tx_descs.add(self.first as usize);
            Umem::of(self.pool).bytes(&*desc)
        })
    }

    fn checksum(&self) -> Result<Option<(usize, [u8; 2])>> {
        let Some((start, offset)) = self.request.checksum else {
            return Ok(None);
        };
        let at = usize::from(start) + usize::from(offset);
        if at + 2 > self.len {
            return Err(EINVAL);
        }
        let mut sum = [0; 2];
        // SAFETY: The descriptors are valid, and the array has the size of a checksum.
        to_result(unsafe {
            let to = sum.as_mut_ptr();
            bindings::oxnic_xsk_tx_checksum(self.pool, self.first, self.count, start.into(), to)
        })?;
        Ok(Some((at, sum)))
    }
}
