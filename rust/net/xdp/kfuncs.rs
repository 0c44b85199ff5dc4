// SPDX-License-Identifier: GPL-2.0

//! The callbacks behind the metadata kfuncs, for programs that were loaded for the device and ask for
//! the hardware's metadata of a frame (`struct xdp_metadata_ops`).

use super::{
    buff::ProgCtxHead,
    hints::RxHints, //
};
use crate::bindings;
use kernel::prelude::*;

/// The callbacks by which programs ask. They find the descriptor behind the frame that the program
/// runs on.
pub(in crate::net) static METADATA_OPS: bindings::xdp_metadata_ops = bindings::xdp_metadata_ops {
    xmo_rx_timestamp: Some(rx_timestamp),
    xmo_rx_hash: Some(rx_hash),
    xmo_rx_vlan_tag: Some(rx_vlan_tag),
};

/// The hints of the frame that a program runs on.
///
/// # Safety
///
/// `ctx` must be the context of a program run by [`ProgRef::bpf_prog_run_xdp`](super::ProgRef::bpf_prog_run_xdp).
unsafe fn hints(ctx: *const bindings::xdp_md) -> RxHints {
    // SAFETY: The context is the pointer that `run` gave to the program.
    unsafe { ProgCtxHead::hints(ctx.cast()) }
}

/// # Safety
///
/// Called by a program that is bound to a device of ours, and so is run only by
/// [`ProgRef::bpf_prog_run_xdp`](super::ProgRef::bpf_prog_run_xdp), with a place for the result.
unsafe extern "C" fn rx_timestamp(ctx: *const bindings::xdp_md, timestamp: *mut u64) -> c_int {
    // SAFETY: The kernel gives the context of the program that asks.
    let hints = unsafe { hints(ctx) };
    let Some(value) = hints.timestamp else {
        return ENODATA.to_errno();
    };
    // SAFETY: The kernel gives a place for the result.
    unsafe { timestamp.write(value.get()) };
    0
}

/// # Safety
///
/// Called by a program that is bound to a device of ours, and so is run only by
/// [`ProgRef::bpf_prog_run_xdp`](super::ProgRef::bpf_prog_run_xdp), with places for the results.
unsafe extern "C" fn rx_hash(
    ctx: *const bindings::xdp_md,
    hash: *mut u32,
    rss_type: *mut bindings::xdp_rss_hash_type,
) -> c_int {
    // SAFETY: The kernel gives the context of the program that asks.
    let hints = unsafe { hints(ctx) };
    let Some(number) = hints.rss_type.number() else {
        return ENODATA.to_errno();
    };
    // SAFETY: The kernel gives places for both results.
    unsafe {
        hash.write(hints.hash);
        rss_type.write(number);
    }
    0
}

/// # Safety
///
/// Called by a program that is bound to a device of ours, and so is run only by
/// [`ProgRef::bpf_prog_run_xdp`](super::ProgRef::bpf_prog_run_xdp), with places for the results.
unsafe extern "C" fn rx_vlan_tag(
    ctx: *const bindings::xdp_md,
    protocol: *mut bindings::__be16,
    tci: *mut u16,
) -> c_int {
    // SAFETY: The kernel gives the context of the program that asks.
    let hints = unsafe { hints(ctx) };
    let Some(tag) = hints.vlan else {
        return ENODATA.to_errno();
    };
    // SAFETY: The kernel gives places for both results.
    unsafe {
        protocol.write(tag.protocol.to_be());
        tci.write(tag.tci);
    }
    0
}
