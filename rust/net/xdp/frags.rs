// SPDX-License-Identifier: GPL-2.0

//! The fragments of a frame: its buffers after the first.

use crate::{
    bindings,
    dest::Dest, //
};
use core::slice;
use kernel::prelude::*;

/// The fragments of a frame (`struct skb_shared_info`).
///
/// # Invariants
///
/// Refers to a valid list of fragments. Their pages stay valid and are not written to as long as
/// this exists.
#[derive(Clone, Copy)]
pub(super) struct Frags<'a>(&'a bindings::skb_shared_info);

impl<'a> Frags<'a> {
    /// # Safety
    ///
    /// `info` must be the shared info of a frame that has fragments and does not change during
    /// `'a`.
    pub(super) unsafe fn from_raw(info: *const bindings::skb_shared_info) -> Self {
        // INVARIANT: The caller's promise.
        // SAFETY: The caller's promise: the pointer is valid for `'a`.
        Self(unsafe { &*info })
    }

    /// Length of all fragments in bytes.
    pub(super) fn len(self) -> usize {
        // SAFETY: The list is valid.
        unsafe { bindings::oxnic_xdp_frags_len(self.0) as usize }
    }

    /// Number of fragments.
    pub(super) fn count(self) -> usize {
        self.0.nr_frags.into()
    }

    /// The fragments.
    pub(super) fn iter(self) -> slice::Iter<'a, bindings::skb_frag_t> {
        self.0.frags.get(..self.count()).unwrap_or_default().iter()
    }

    /// Fills `to` with the bytes from `offset` on. Fails with `EINVAL` if there are not enough.
    fn copy_to(self, mut offset: usize, mut to: Dest<'_>) -> Result {
        for frag in self.iter() {
            // SAFETY: The fragment is valid: its pages have this many bytes, which are not written
            // to, by the type's invariants.
            let data = unsafe {
                let start = bindings::oxnic_skb_frag_address(frag).cast::<u8>();
                slice::from_raw_parts(start, frag.len as usize)
            };
            let Some(data) = data.get(offset..) else {
                offset -= data.len();
                continue;
            };
            let (mut now, later) = to.split_at(data.len());
            now.write(0, data.get(..now.len()).ok_or(EINVAL)?)
                .ok_or(EINVAL)?;
            if later.is_empty() {
                return Ok(());
            }
            (to, offset) = (later, 0);
        }
        Err(EINVAL)
    }
}

/// Fills `to` with the bytes from `offset` on of a frame that starts with `linear` and continues in
/// `frags`. Fails with `EINVAL` if there are not enough.
pub(super) fn copy_frame(
    linear: &[u8],
    frags: Option<Frags<'_>>,
    offset: usize,
    to: Dest<'_>,
) -> Result {
    let first = linear.get(offset..).unwrap_or_default();
    let (mut head, tail) = to.split_at(first.len());
    head.write(0, first.get(..head.len()).ok_or(EINVAL)?)
        .ok_or(EINVAL)?;
    if tail.is_empty() {
        return Ok(());
    }
    let offset = (offset + head.len()) - linear.len();
    frags.ok_or(EINVAL)?.copy_to(offset, tail)
}
