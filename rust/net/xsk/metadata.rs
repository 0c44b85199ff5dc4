// SPDX-License-Identifier: GPL-2.0

//! What user space requests for a frame that it sends, in the metadata in front of the frame
//! (`struct xsk_tx_metadata`), and the callbacks by which a device announces what it can do
//! (`struct xsk_tx_metadata_ops`; `xsk-features` of the netdev netlink family).

use crate::bindings;
use core::{
    num::NonZeroU64,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// The request of user space for a frame.
#[derive(Clone, Copy, Default)]
pub(crate) struct TxRequest {
    /// Fill in a checksum: the offset of the first byte that it covers, and the offset from there
    /// where it is stored. It covers the bytes up to the end of the frame.
    pub(crate) checksum: Option<(u16, u16)>,
    /// The time at which the frame is to be sent, in nanoseconds of the device's clock.
    pub(crate) launch_time: Option<NonZeroU64>,
    /// The time at which it was sent, for the completion.
    sent_at: u64,
}

/// The place for the time at which a frame was sent.
///
/// # Invariants
///
/// Points to the metadata of a frame in umem.
pub(super) struct Completion(NonNull<bindings::xsk_tx_metadata>);

/// The callbacks, which the kernel calls when a request is read or completed. `priv` is a
/// [`TxRequest`].
pub(in crate::net) static TX_METADATA_OPS: bindings::xsk_tx_metadata_ops =
    bindings::xsk_tx_metadata_ops {
        tmo_request_timestamp: None,
        tmo_fill_timestamp: Some(fill_timestamp),
        tmo_request_checksum: Some(request_checksum),
        tmo_request_launch_time: Some(request_launch_time),
    };

/// No callbacks: the device ignores what user space requests.
pub(in crate::net) static NO_TX_METADATA_OPS: bindings::xsk_tx_metadata_ops =
    bindings::xsk_tx_metadata_ops {
        tmo_request_timestamp: None,
        tmo_fill_timestamp: None,
        tmo_request_checksum: None,
        tmo_request_launch_time: None,
    };

impl TxRequest {
    /// Reads the request of a frame (`xsk_tx_metadata_request`). Invalid metadata is ignored, as
    /// the kernel does.
    ///
    /// # Safety
    ///
    /// `pool` must be valid, and have read descriptor `desc`.
    pub(super) unsafe fn read(
        pool: *mut bindings::xsk_buff_pool,
        desc: u32,
    ) -> (Self, Option<Completion>) {
        let mut request = Self::default();
        // SAFETY: The caller's promise; the callbacks get a request.
        let meta = unsafe {
            let place = (&raw mut request).cast();
            bindings::oxnic_xsk_tx_metadata(pool, desc, &TX_METADATA_OPS, place)
        };
        // INVARIANT: The kernel returns a pointer to the metadata in front of the frame.
        (request, NonNull::new(meta).map(Completion))
    }
}

impl Completion {
    /// Writes the time at which the frame was sent (`xsk_tx_metadata_complete`).
    ///
    /// # Safety
    ///
    /// The umem must still exist.
    pub(super) unsafe fn fill(self, time: u64) {
        let mut request = TxRequest {
            sent_at: time,
            ..TxRequest::default()
        };
        // SAFETY: The caller's promise; the callback gets a request.
        unsafe {
            let place = (&raw mut request).cast();
            bindings::oxnic_xsk_tx_complete(self.0.as_ptr(), &TX_METADATA_OPS, place);
        }
    }
}

/// # Safety
///
/// Called by `xsk_tx_metadata_complete` with a [`TxRequest`].
unsafe extern "C" fn fill_timestamp(place: *mut c_void) -> u64 {
    // SAFETY: The place is a request.
    unsafe { (*place.cast::<TxRequest>()).sent_at }
}

/// # Safety
///
/// Called by `xsk_tx_metadata_request` with a [`TxRequest`].
unsafe extern "C" fn request_checksum(start: u16, offset: u16, place: *mut c_void) {
    // SAFETY: The place is a request.
    unsafe { (*place.cast::<TxRequest>()).checksum = Some((start, offset)) };
}

/// # Safety
///
/// Called by `xsk_tx_metadata_request` with a [`TxRequest`].
unsafe extern "C" fn request_launch_time(time: u64, place: *mut c_void) {
    // SAFETY: The place is a request.
    unsafe { (*place.cast::<TxRequest>()).launch_time = NonZeroU64::new(time) };
}
