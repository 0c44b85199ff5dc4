// SPDX-License-Identifier: GPL-2.0

//! The driver's side of the XDP hook.
//!
//! - [`prog`]: programs, the slots that publish them to polls, and their verdicts;
//! - [`buff`]: received frames, on which programs run, and the way out of XDP for them;
//! - [`hints`]: the hardware's metadata of a received frame, for programs that ask for it;
//! - [`kfuncs`]: the callbacks by which they ask;
//! - [`redirect`]: the verdict `XDP_REDIRECT`;
//! - [`frame`]: frames that were redirected to this device;
//! - here: the features that a device announces, and the commands of the control path.
//!
//! C headers: [`include/net/xdp.h`](srctree/include/net/xdp.h),
//! [`include/linux/filter.h`](srctree/include/linux/filter.h)

use super::rtnl::ExtAck;
use crate::bindings;
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

mod buff;
mod frags;
mod frame;
mod hints;
mod kfuncs;
mod prog;
mod redirect;

pub(crate) use buff::{
    Buff,
    LinearBuff,
    RxDescriptor,
    RxQueue,
    XdpBuff,
    XdpBuffSlot, //
};
pub(crate) use frame::{
    Frame,
    Frames, //
};
pub(crate) use hints::{
    RssType,
    RxHints, //
};
pub(super) use kfuncs::METADATA_OPS;
pub(crate) use prog::{
    trace_exception,
    warn_invalid_action,
    Prog,
    ProgRef,
    ProgSlot,
    XdpAction, //
};
pub(crate) use redirect::RedirectTarget;

/// The XDP features that a device announces (`enum netdev_xdp_act`).
pub(crate) mod feature {
    use crate::bindings;

    /// Programs, and all verdicts but `XDP_REDIRECT`.
    pub(crate) const BASIC: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_BASIC;
    /// The verdict `XDP_REDIRECT`.
    pub(crate) const REDIRECT: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_REDIRECT;
    /// Frames can be redirected to this device (`ndo_xdp_xmit`).
    pub(crate) const NDO_XMIT: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_NDO_XMIT;
    /// Programs can run on multi-buffer frames.
    pub(crate) const RX_SG: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_RX_SG;
    /// Multi-buffer frames can be redirected to this device.
    pub(crate) const NDO_XMIT_SG: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_NDO_XMIT_SG;
}

/// A command of the control path (`struct netdev_bpf`).
pub(crate) enum Command<'a> {
    /// `XDP_SETUP_PROG`: run this program on every frame from now on, or none.
    SetupProg {
        /// The program, with a reference for the driver.
        prog: Option<ARef<Prog>>,
        /// For the reason of a refusal.
        extack: ExtAck<'a>,
    },
    /// `XDP_SETUP_PROG_HW`: run this program in the hardware.
    SetupProgHw {
        /// For the reason of a refusal.
        extack: ExtAck<'a>,
    },
    /// `XDP_SETUP_XSK_POOL`: zero-copy buffers of an AF_XDP socket.
    SetupXskPool,
    /// A command for programs that are offloaded to hardware, or an unknown one.
    Other,
}

/// Converts the C structure to a [`Command`] and passes it to `callback`.
///
/// # Safety
///
/// `bpf` must be a valid command that is not used by others during the call.
pub(super) unsafe fn dispatch(
    bpf: *mut bindings::netdev_bpf,
    callback: impl FnOnce(Command<'_>) -> Result,
) -> Result {
    // SAFETY: The command is valid, by the caller's promise. The union is only borrowed here; the
    // command tells which arm is valid.
    let (number, setup) = unsafe { ((*bpf).command, &(*bpf).__bindgen_anon_1.__bindgen_anon_1) };
    let command = match number {
        bindings::bpf_netdev_command_XDP_SETUP_PROG => {
            // On success the kernel's reference to the program is ours.
            let raw = setup.prog;
            // SAFETY: The program is null or valid. The driver gets a reference of its own, which
            // it may drop whether it succeeds or not.
            let lent = unsafe { raw.cast::<Prog>().as_ref() };
            callback(Command::SetupProg {
                prog: lent.map(ARef::from),
                // SAFETY: This command's arm is `setup`.
                extack: unsafe { ExtAck::from_raw(setup.extack) },
            })?;
            // SAFETY: After success the kernel's reference is ours.
            drop(unsafe { prog::own(raw) });
            return Ok(());
        }
        bindings::bpf_netdev_command_XDP_SETUP_PROG_HW => Command::SetupProgHw {
            // SAFETY: This command's arm is `setup`.
            extack: unsafe { ExtAck::from_raw(setup.extack) },
        },
        bindings::bpf_netdev_command_XDP_SETUP_XSK_POOL => Command::SetupXskPool,
        _ => Command::Other,
    };
    callback(command)
}
