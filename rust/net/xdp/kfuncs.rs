// SPDX-License-Identifier: GPL-2.0

//! The callbacks behind the metadata kfuncs (`struct xdp_metadata_ops`). Programs that were loaded
//! for the device ask with these for the hardware's metadata of a frame.

use super::{
    hints::RxHints,
    prog_ctx::ProgCtxHead, //
};
use crate::{
    bindings,
    compat::ENODATA, //
};
use kernel::prelude::*;

/// Which metadata a device has for programs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct HintKinds {
    /// The time stamp.
    pub(crate) timestamp: bool,
    /// The hash.
    pub(crate) hash: bool,
    /// The VLAN tag that was stripped.
    pub(crate) vlan: bool,
}

impl HintKinds {
    /// All metadata.
    pub(crate) const ALL: Self = Self {
        timestamp: true,
        hash: true,
        vlan: true,
    };

    /// The table of the callbacks for this metadata.
    pub(in crate::net) fn ops(self) -> &'static bindings::xdp_metadata_ops {
        let Self {
            timestamp,
            hash,
            vlan,
        } = self;
        &METADATA_OPS[usize::from(timestamp)][usize::from(hash)][usize::from(vlan)]
    }
}

/// The tables of the callbacks, without and with each of timestamp, hash, and VLAN tag.
static METADATA_OPS: [[[bindings::xdp_metadata_ops; 2]; 2]; 2] = [
    [
        [ops(false, false, false), ops(false, false, true)],
        [ops(false, true, false), ops(false, true, true)],
    ],
    [
        [ops(true, false, false), ops(true, false, true)],
        [ops(true, true, false), ops(true, true, true)],
    ],
];

/// The callbacks. They find the descriptor after the `xdp_buff` of the frame that the program runs
/// on.
const fn ops(timestamp: bool, hash: bool, vlan: bool) -> bindings::xdp_metadata_ops {
    bindings::xdp_metadata_ops {
        xmo_rx_timestamp: callback!(timestamp, rx_timestamp),
        xmo_rx_hash: callback!(hash, rx_hash),
        xmo_rx_vlan_tag: callback!(vlan, rx_vlan_tag),
    }
}

/// The hints of the frame that a program runs on.
///
/// # Safety
///
/// `ctx` must be the context of a program that
/// [`ProgRef::bpf_prog_run_xdp`](super::ProgRef::bpf_prog_run_xdp) runs.
unsafe fn hints(ctx: *const bindings::xdp_md) -> RxHints {
    // SAFETY: The context is the pointer that `bpf_prog_run_xdp` passed to the program, which comes
    // from `HasProgCtx::ctx`.
    unsafe { ProgCtxHead::hints(ctx.cast()) }
}

/// # Safety
///
/// Called by a program that is bound to a device of ours, so that only
/// [`ProgRef::bpf_prog_run_xdp`](super::ProgRef::bpf_prog_run_xdp) runs it, with a valid pointer
/// for the result.
unsafe extern "C" fn rx_timestamp(ctx: *const bindings::xdp_md, timestamp: *mut u64) -> c_int {
    // SAFETY: The kernel passes on the context of the program that asks.
    let hints = unsafe { hints(ctx) };
    let Some(value) = hints.timestamp else {
        return ENODATA.to_errno();
    };
    // SAFETY: The pointer for the result is valid.
    unsafe { timestamp.write(value.get()) };
    0
}

/// # Safety
///
/// Called by a program that is bound to a device of ours, so that only
/// [`ProgRef::bpf_prog_run_xdp`](super::ProgRef::bpf_prog_run_xdp) runs it, with valid pointers for
/// the results.
unsafe extern "C" fn rx_hash(
    ctx: *const bindings::xdp_md,
    hash: *mut u32,
    rss_type: *mut bindings::xdp_rss_hash_type,
) -> c_int {
    // SAFETY: The kernel passes on the context of the program that asks.
    let hints = unsafe { hints(ctx) };
    let Some(number) = hints.rss_type.number() else {
        return ENODATA.to_errno();
    };
    // SAFETY: The pointers for the results are valid.
    unsafe {
        hash.write(hints.hash);
        rss_type.write(number);
    }
    0
}

/// # Safety
///
/// Called by a program that is bound to a device of ours, so that only
/// [`ProgRef::bpf_prog_run_xdp`](super::ProgRef::bpf_prog_run_xdp) runs it, with valid pointers for
/// the results.
unsafe extern "C" fn rx_vlan_tag(
    ctx: *const bindings::xdp_md,
    protocol: *mut bindings::__be16,
    tci: *mut u16,
) -> c_int {
    // SAFETY: The kernel passes on the context of the program that asks.
    let hints = unsafe { hints(ctx) };
    let Some(tag) = hints.vlan else {
        return ENODATA.to_errno();
    };
    // SAFETY: The pointers for the results are valid.
    unsafe {
        protocol.write(tag.protocol.to_be());
        tci.write(tag.tci);
    }
    0
}
