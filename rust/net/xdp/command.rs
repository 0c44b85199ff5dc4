// SPDX-License-Identifier: GPL-2.0

//! The commands of the control path (`ndo_bpf`).

use super::prog::{
    own,
    Prog, //
};
use crate::{
    bindings,
    net::{
        device::netdev::Device,
        rtnl::ExtAck,
        xsk, //
    },
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::aref::ARef,
    time::{
        delay::fsleep,
        Delta, //
    },
};

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
    /// `XDP_SETUP_XSK_POOL`: use the umem of AF_XDP sockets for a queue from now on, or pages
    /// again. The latter must not fail, and the driver must [unmap](xsk::Pool::unmap) the pool; so
    /// it must if it refuses one. The device may be unregistered already when it takes a pool back.
    SetupXskPool {
        /// The queue.
        queue: u16,
        /// The pool of the umem; [`None`] for pages.
        pool: Option<xsk::Pool>,
    },
    /// A command for programs that are offloaded to hardware, or an unknown one.
    Other,
}

/// Converts the C structure to a [`Command`] and passes it to `callback`.
///
/// # Safety
///
/// `bpf` must be a valid command that is not used by others during the call.
pub(in crate::net) unsafe fn dispatch(
    dev: &Device,
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
            drop(unsafe { own(raw) });
            return Ok(());
        }
        bindings::bpf_netdev_command_XDP_SETUP_PROG_HW => Command::SetupProgHw {
            // SAFETY: This command's arm is `setup`.
            extack: unsafe { ExtAck::from_raw(setup.extack) },
        },
        bindings::bpf_netdev_command_XDP_SETUP_XSK_POOL => {
            // SAFETY: This command's arm is `xsk`.
            let xsk = unsafe { &(*bpf).__bindgen_anon_1.xsk };
            let queue = xsk.queue_id;
            return match NonNull::new(xsk.pool) {
                Some(pool) => give_pool(dev, queue, pool, callback),
                None => take_back_pool(dev, queue, callback),
            };
        }
        _ => Command::Other,
    };
    callback(command)
}

/// Gives the driver the pool of a queue. If it fails, the kernel frees the pool after this, or uses
/// it in copy mode (`xp_assign_dev` in net/xdp/xsk_buff_pool.c).
fn give_pool(
    dev: &Device,
    queue: u16,
    ptr: NonNull<bindings::xsk_buff_pool>,
    callback: impl FnOnce(Command<'_>) -> Result,
) -> Result {
    // SAFETY: The kernel gives the pool to the driver. If this command fails, it waits until the
    // pool is unmapped, and otherwise the one without a pool does (`xp_disable_drv_zc`); the kernel
    // frees the pool only then.
    let pool = Some(unsafe { xsk::Pool::new(ptr, dev) }?);
    let result = callback(Command::SetupXskPool { queue, pool });
    if result.is_err() {
        // SAFETY: The pool is valid during the command.
        unsafe { wait_until_unmapped(ptr) };
    }
    result
}

/// Tells the driver to unmap the pool of a queue. The kernel frees the pool after this, whatever is
/// returned.
fn take_back_pool(
    dev: &Device,
    queue: u16,
    callback: impl FnOnce(Command<'_>) -> Result,
) -> Result {
    // SAFETY: The device is alive. The kernel takes the pool off the queue only after this command
    // (`xp_clear_dev` in net/xdp/xsk_buff_pool.c).
    let pool = unsafe { bindings::oxnic_xsk_pool_of(dev.as_ptr(), queue) };
    let result = callback(Command::SetupXskPool { queue, pool: None });
    if let Some(pool) = NonNull::new(pool) {
        // SAFETY: The pool is valid during the command.
        unsafe { wait_until_unmapped(pool) };
    }
    result
}

/// Waits for a driver that has not unmapped a pool which the kernel is about to free.
///
/// # Safety
///
/// `pool` must be valid during the call.
unsafe fn wait_until_unmapped(pool: NonNull<bindings::xsk_buff_pool>) {
    // SAFETY: The caller's promise.
    while unsafe { xsk::is_mapped(pool.as_ptr()) } {
        pr_err!("the driver has not unmapped an AF_XDP pool; waiting for it\n");
        fsleep(Delta::from_millis(10_000));
    }
}
