// SPDX-License-Identifier: GPL-2.0

//! The verdict `XDP_REDIRECT`: sends a received frame to the target that a program's helper has
//! set.

use super::{
    buff::Buff,
    prog::ProgRef, //
};
use crate::{
    bindings,
    net::napi::Context, //
};
use kernel::{
    fmt,
    prelude::*, //
};

impl<D> Buff<'_, '_, D> {
    /// Sends the frame to the target of the program's redirect helper (`xdp_do_redirect`). The end
    /// of the poll flushes (`xdp_do_flush`). On failure the frame is returned. A frame from another
    /// pool than the queue's is never redirected (`EINVAL`): the target may recycle it directly,
    /// which only the poll of the pool's own NAPI permits.
    #[inline]
    pub(crate) fn redirect(
        mut self,
        prog: ProgRef<'_>,
        cx: &Context<'_>,
    ) -> Result<(), (Self, Error)> {
        let dev = self.queue().device().as_ptr();
        let pool = self.queue().pool().as_ptr();
        let xdp = self.as_raw();
        // SAFETY: All pointers are valid. This is the poll of the queue's NAPI, in which the
        // program ran on this frame: the frame's slot exists only in that poll.
        let result = unsafe { bindings::oxnic_xdp_do_redirect(dev, xdp, prog.as_ptr(), pool) };
        // Also after a failure: an earlier frame may wait in the bulk queue of the same map.
        cx.set_redirected();
        if result == 0 {
            // The target owns the pages now.
            core::mem::forget(self);
            return Ok(());
        }
        Err((self, Error::from_errno(result)))
    }
}

/// The target that a program's redirect helper has set (`struct bpf_redirect_info`), for messages.
/// The program has returned [`XdpAction::REDIRECT`].
///
/// [`XdpAction::REDIRECT`]: super::XdpAction::REDIRECT
pub(crate) struct RedirectTarget(bindings::oxnic_xdp_target);

impl RedirectTarget {
    /// The target of the program that ran last in this poll. To be read before [`Buff::redirect`],
    /// which clears it.
    pub(crate) fn of_last(_cx: &Context<'_>) -> Self {
        let mut target = bindings::oxnic_xdp_target::default();
        // SAFETY: This is a poll, so the per-task redirect information exists.
        unsafe { bindings::oxnic_xdp_get_target(&mut target) };
        Self(target)
    }
}

impl fmt::Display for RedirectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bindings::oxnic_xdp_target {
            map_type,
            map_id,
            index,
            broadcast,
        } = self.0;
        let map = match map_type {
            bindings::bpf_map_type_BPF_MAP_TYPE_UNSPEC => return write!(f, "ifindex {index}"),
            bindings::bpf_map_type_BPF_MAP_TYPE_DEVMAP => "devmap",
            bindings::bpf_map_type_BPF_MAP_TYPE_DEVMAP_HASH => "devmap_hash",
            bindings::bpf_map_type_BPF_MAP_TYPE_CPUMAP => "cpumap",
            bindings::bpf_map_type_BPF_MAP_TYPE_XSKMAP => "xskmap",
            _ => "map",
        };
        if broadcast {
            write!(f, "{map} id {map_id}, broadcast")
        } else {
            write!(f, "{map} id {map_id}, key {index}")
        }
    }
}
