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

/// The callbacks. They find the descriptor after the `xdp_buff` of the frame that the program runs
/// on.
pub(in crate::net) static METADATA_OPS: bindings::xdp_metadata_ops = bindings::xdp_metadata_ops {
    xmo_rx_timestamp: Some(rx_timestamp),
    xmo_rx_hash: Some(rx_hash),
    xmo_rx_vlan_tag: Some(rx_vlan_tag),
};

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
