// SPDX-License-Identifier: GPL-2.0

//! The RTNL lock, which serialises the control path of network devices.
//!
//! C headers: [`include/linux/rtnetlink.h`](srctree/include/linux/rtnetlink.h)

use super::text::Cut;
use crate::bindings;
use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    fmt::{
        self,
        Write, //
    },
    types::NotThreadSafe, //
};

/// Longest text of an [`ExtAck`] with its NUL (`NETLINK_MAX_FMTMSG_LEN`).
const TEXT_LEN: usize = 80;

/// Proof that the RTNL lock is held by this thread.
///
/// # Invariants
///
/// While a reference to this type exists, the thread that has the reference holds the RTNL lock.
pub(crate) struct Rtnl(NotThreadSafe);

impl Rtnl {
    /// Creates the proof for a callback that the kernel calls under RTNL.
    ///
    /// # Safety
    ///
    /// The caller must hold the RTNL lock for as long as it uses the returned value.
    pub(super) unsafe fn assume_held() -> Self {
        // INVARIANT: The caller's promise.
        Self(NotThreadSafe)
    }
}

/// Holds the RTNL lock until it is dropped. Dropping it may sleep: it completes the unregistration
/// of devices.
pub(crate) struct Guard(Rtnl);

/// Takes the RTNL lock (`rtnl_lock`). May sleep; must not be called with the lock held.
pub(crate) fn lock() -> Guard {
    // SAFETY: This is process context.
    unsafe { bindings::rtnl_lock() };
    // INVARIANT: The lock was just taken.
    Guard(Rtnl(NotThreadSafe))
}

impl Deref for Guard {
    type Target = Rtnl;

    fn deref(&self) -> &Rtnl {
        &self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: `lock` took the lock in this thread: the guard cannot be sent to another.
        unsafe { bindings::rtnl_unlock() };
    }
}

/// The message to the user for a refused operation of the control path (`struct netlink_ext_ack`),
/// which `ip` and `ethtool` show.
#[derive(Clone, Copy)]
pub(crate) struct ExtAck<'a> {
    ptr: Option<NonNull<bindings::netlink_ext_ack>>,
    _lifetime: core::marker::PhantomData<&'a ()>,
}

impl ExtAck<'_> {
    /// # Safety
    ///
    /// `ptr` must be null, or valid and exclusively this operation's for the lifetime of the
    /// result.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::netlink_ext_ack) -> Self {
        Self {
            ptr: NonNull::new(ptr),
            _lifetime: core::marker::PhantomData,
        }
    }

    /// For an operation that no user has requested.
    pub(super) const fn none() -> Self {
        Self {
            ptr: None,
            _lifetime: core::marker::PhantomData,
        }
    }

    /// Sets the message, truncated to 79 bytes (`NETLINK_MAX_FMTMSG_LEN`).
    pub(crate) fn set(&self, text: fmt::Arguments<'_>) {
        let Some(ptr) = self.ptr else { return };
        let mut buffer = [0; TEXT_LEN];
        let (room, _nul) = buffer.split_at_mut(TEXT_LEN - 1);
        // A longer text is truncated, which is not an error.
        let _ = Cut(room).write_fmt(text);
        // SAFETY: The pointer is valid, by the contract of `from_raw`. The last byte of the text
        // stays NUL, and the kernel copies the text.
        unsafe { bindings::oxnic_nl_set_err_msg(ptr.as_ptr(), buffer.as_ptr().cast()) };
    }
}
