// SPDX-License-Identifier: GPL-2.0

//! The part of a frame that is not in its first buffer.

use crate::bindings;
use kernel::{error::to_result, prelude::*};

/// The fragments of a frame (`struct skb_shared_info`).
///
/// # Invariants
///
/// Refers to a valid list of fragments, whose pages stay valid and unwritten as long as this exists.
#[derive(Clone, Copy)]
pub(super) struct Frags<'a>(&'a bindings::skb_shared_info);

impl<'a> Frags<'a> {
    /// # Safety
    ///
    /// `info` must be that of a frame that has fragments and does not change during `'a`.
    pub(super) unsafe fn from_raw(info: *const bindings::skb_shared_info) -> Self {
        // INVARIANT: The caller's promise.
        // SAFETY: As above.
        Self(unsafe { &*info })
    }

    /// How many bytes there are.
    pub(super) fn len(self) -> usize {
        // SAFETY: The list is valid.
        unsafe { bindings::oxnic_xdp_frags_len(self.0) as usize }
    }

    /// In how many buffers they are.
    pub(super) fn count(self) -> usize {
        self.0.nr_frags.into()
    }

    /// Copies bytes from `offset` on. Fails with `EINVAL` if there are fewer than `to` is long.
    fn copy_to(self, offset: usize, to: &mut [u8]) -> Result {
        // SAFETY: The list is valid, and `to` is as long as said.
        to_result(unsafe {
            bindings::oxnic_xdp_frags_copy(self.0, offset, to.as_mut_ptr().cast(), to.len())
        })
    }
}

/// Copies bytes of a frame from `offset` on: the frame starts with `linear` and goes on in `frags`.
/// Fails with `EINVAL` if there are fewer than `to` is long.
pub(super) fn copy_frame(
    linear: &[u8],
    frags: Option<Frags<'_>>,
    offset: usize,
    to: &mut [u8],
) -> Result {
    let first = linear.get(offset..).unwrap_or_default();
    let (head, tail) = to.split_at_mut(first.len().min(to.len()));
    head.copy_from_slice(first.get(..head.len()).ok_or(EINVAL)?);
    if tail.is_empty() {
        return Ok(());
    }
    let offset = (offset + head.len()) - linear.len();
    frags.ok_or(EINVAL)?.copy_to(offset, tail)
}
