// SPDX-License-Identifier: GPL-2.0

//! The driver's side of the XDP hook.
//!
//! - [`prog`]: programs, the slots that publish them to polls, and their verdicts;
//! - [`buff`]: received frames, on which programs run, and the way out of XDP for them;
//! - [`hints`]: the hardware's metadata of a received frame, for programs that ask for it;
//! - [`kfuncs`]: the callbacks by which they ask;
//! - [`prog_ctx`]: the context of a program;
//! - [`rx_frame`]: what received frames have in common with those of AF_XDP
//!   ([`xsk`](super::xsk));
//! - [`redirect`]: the verdict `XDP_REDIRECT`;
//! - [`frame`]: frames that were redirected to this device;
//! - [`command`]: the commands of the control path;
//! - here: the features that a device announces.
//!
//! C headers: [`include/net/xdp.h`](srctree/include/net/xdp.h),
//! [`include/linux/filter.h`](srctree/include/linux/filter.h)

mod buff;
mod command;
mod frags;
mod frame;
pub(super) mod hints;
mod kfuncs;
pub(super) mod prog;
pub(super) mod prog_ctx;
mod redirect;
pub(super) mod rx_frame;

pub(crate) use buff::{
    Buff,
    LinearBuff,
    RxQueue,
    XdpBuff,
    XdpBuffSlot, //
};
pub(super) use command::dispatch;
pub(crate) use command::Command;
pub(crate) use frame::{
    Frame,
    Frames, //
};
pub(crate) use hints::{
    RssType,
    RxDescriptor,
    RxHints, //
};
pub(crate) use kfuncs::HintKinds;
pub(crate) use prog::{
    trace_exception,
    warn_invalid_action,
    Prog,
    ProgRef,
    ProgSlot,
    XdpAction, //
};
pub(crate) use redirect::RedirectTarget;
pub(crate) use rx_frame::{
    FrameBytes,
    RxFrame, //
};

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
    /// AF_XDP sockets can be bound in zero-copy mode.
    pub(crate) const XSK_ZEROCOPY: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_XSK_ZEROCOPY;
}
