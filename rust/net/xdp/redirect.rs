// SPDX-License-Identifier: GPL-2.0

//! The verdict `XDP_REDIRECT`: sends a received frame to the target that a program's helper has
//! set.

use crate::{
    bindings,
    net::napi::Context, //
};
use kernel::fmt;

/// The target that a program's redirect helper has set (`struct bpf_redirect_info`), for messages.
/// The program has returned [`XdpAction::REDIRECT`].
///
/// [`XdpAction::REDIRECT`]: super::XdpAction::REDIRECT
pub(crate) struct RedirectTarget(bindings::oxnic_xdp_target);

impl RedirectTarget {
    /// The target of the program that ran last in this poll. To be read before
    /// [`RxFrame::redirect`](super::RxFrame::redirect), which clears it.
    pub(crate) fn of_last(_cx: &Context<'_>) -> Self {
        let mut target = bindings::oxnic_xdp_target::default();
        // SAFETY: This is a poll, so the per-task redirect information exists.
        unsafe { bindings::oxnic_xdp_get_target(&mut target) };
        Self(target)
    }

    pub(in crate::net) fn as_ptr(&self) -> *const bindings::oxnic_xdp_target {
        &self.0
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
