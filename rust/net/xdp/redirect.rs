// SPDX-License-Identifier: GPL-2.0

//! The verdict REDIRECT: sending a received frame to where a program's helper pointed.

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
    /// Sends the frame to where the program's redirect helper pointed (`xdp_do_redirect`). The end
    /// of the poll flushes (`xdp_do_flush`). On failure the frame comes back; a frame from another
    /// pool than the queue's always does (`EINVAL`), for the target may give it back directly.
    #[inline]
    pub(crate) fn redirect(
        mut self,
        prog: ProgRef<'_>,
        cx: &Context<'_>,
    ) -> Result<(), (Self, Error)> {
        let dev = self.queue().device().as_ptr();
        let pool = self.queue().pool().as_ptr();
        let xdp = self.as_raw();
        // SAFETY: All are valid. This is the poll of the queue's NAPI, in which the program ran on
        // this frame: the slot exists only there.
        let result = unsafe { bindings::oxnic_xdp_do_redirect(dev, xdp, prog.as_ptr(), pool) };
        // Also after a failure: an earlier frame of the same map may wait in a queue.
        cx.set_redirected();
        if result == 0 {
            // The pages belong to the target now.
            core::mem::forget(self);
            return Ok(());
        }
        Err((self, Error::from_errno(result)))
    }
}

/// Where the redirect helper of a program pointed that returned [`XdpAction::REDIRECT`]
/// (`struct bpf_redirect_info`), for messages.
///
/// [`XdpAction::REDIRECT`]: super::XdpAction::REDIRECT
pub(crate) struct RedirectTarget(bindings::oxnic_xdp_target);

impl RedirectTarget {
    /// The target of the program that ran last in this poll. To be asked before
    /// [`Buff::redirect`].
    pub(crate) fn of_last(_cx: &Context<'_>) -> Self {
        let mut target = bindings::oxnic_xdp_target::default();
        // SAFETY: In a poll, which has the per-task information that is read.
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
