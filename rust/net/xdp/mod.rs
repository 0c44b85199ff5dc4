// SPDX-License-Identifier: GPL-2.0

//! The driver's side of the XDP hook.
//!
//! - [`prog`]: programs, where they are published, and their verdicts;
//! - [`buff`]: received frames that programs run on, and where these go afterwards;
//! - [`hints`]: the hardware's metadata of a received frame, for programs that ask;
//! - [`kfuncs`]: how they ask;
//! - [`redirect`]: the verdict REDIRECT;
//! - [`frame`]: frames of other devices that were redirected to this one;
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

    /// Programs and the verdicts ABORTED, DROP, PASS and TX.
    pub(crate) const BASIC: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_BASIC;
    /// The verdict REDIRECT.
    pub(crate) const REDIRECT: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_REDIRECT;
    /// Frames of other devices can be redirected to this one (`ndo_xdp_xmit`).
    pub(crate) const NDO_XMIT: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_NDO_XMIT;
    /// Programs get frames in several buffers.
    pub(crate) const RX_SG: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_RX_SG;
    /// Frames in several buffers can be redirected to this device.
    pub(crate) const NDO_XMIT_SG: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_NDO_XMIT_SG;
}

/// A command of the control path (`struct netdev_bpf`).
pub(crate) enum Command<'a> {
    /// `XDP_SETUP_PROG`: run this program on every frame from now on, or none.
    SetupProg {
        /// The program, with a reference for the driver.
        prog: Option<ARef<Prog>>,
        /// Where to say why it was refused.
        extack: ExtAck<'a>,
    },
    /// `XDP_SETUP_PROG_HW`: run this program in the hardware.
    SetupProgHw {
        /// Where to say why it was refused.
        extack: ExtAck<'a>,
    },
    /// `XDP_SETUP_XSK_POOL`: zero-copy buffers of an AF_XDP socket.
    SetupXskPool,
    /// A command of programs offloaded to hardware, or one this kernel has and we do not know.
    Other,
}

/// Turns the C structure into a [`Command`] and hands it to `callback`.
///
/// # Safety
///
/// `bpf` must be a valid command, which nobody else uses during the call.
pub(super) unsafe fn dispatch(
    bpf: *mut bindings::netdev_bpf,
    callback: impl FnOnce(Command<'_>) -> Result,
) -> Result {
    // SAFETY: The caller's promise. Which arm of the union is valid depends on the command.
    let (number, setup) = unsafe { ((*bpf).command, &(*bpf).__bindgen_anon_1.__bindgen_anon_1) };
    let command = match number {
        bindings::bpf_netdev_command_XDP_SETUP_PROG => {
            // The kernel's reference to it is ours if we succeed.
            let raw = setup.prog;
            // SAFETY: The program is null or valid. The driver gets a reference of its own, so that
            // it may drop it whether it succeeds or not.
            let lent = unsafe { raw.cast::<Prog>().as_ref() };
            callback(Command::SetupProg {
                prog: lent.map(ARef::from),
                // SAFETY: This command's arm is `setup`.
                extack: unsafe { ExtAck::from_raw(setup.extack) },
            })?;
            // SAFETY: Success: the kernel's reference went over to us.
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
