// SPDX-License-Identifier: GPL-2.0

//! How a callback finds the driver's data of its device.

use super::netdev::{
    Device,
    LockedDevice, //
};
use crate::{
    bindings,
    net::rtnl::Rtnl, //
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

/// What hangs on a device: the driver's data and what the abstractions keep with it.
#[pin_data]
pub(in crate::net) struct Private<T> {
    #[pin]
    data: T,
    /// Number of statistics the device had when it was made: the size of ethtool's buffers.
    n_stats: usize,
    /// The device's parent, which the kernel does not keep once the device is unregistered.
    _parent: Option<ARef<kernel::device::Device>>,
}

impl<T> Private<T> {
    /// Hangs it on `dev`.
    ///
    /// # Safety
    ///
    /// `dev` must have been allocated with [`ROOM`] bytes for this, and not yet be registered.
    pub(super) unsafe fn attach(
        dev: NonNull<bindings::net_device>,
        data: impl PinInit<T, Error>,
        count_stats: impl FnOnce(&T) -> usize,
        parent: Option<ARef<kernel::device::Device>>,
    ) -> Result {
        let mut private = KBox::pin_init(
            try_pin_init!(Self {
                data <- data,
                n_stats: 0,
                _parent: parent,
            }? Error),
            GFP_KERNEL,
        )?;
        let n_stats = count_stats(&private.data);
        *private.as_mut().project().n_stats = n_stats;
        // SAFETY: The value is not moved out of its place: `detach` drops it there.
        let private = KBox::into_raw(unsafe { Pin::into_inner_unchecked(private) });
        // SAFETY: By the caller's promise there is room for the pointer, and no callback reads it
        // yet.
        unsafe { place(dev.as_ptr()).write(private) };
        Ok(())
    }

    /// Drops it.
    ///
    /// # Safety
    ///
    /// [`attach`](Self::attach) must have succeeded for `dev`, and this may be called only once. No
    /// callback of the device may run any more.
    pub(super) unsafe fn detach(dev: *mut bindings::net_device) {
        // SAFETY: `attach` put the pointer there, which came from a box, and nobody uses it any
        // more.
        drop(unsafe { KBox::from_raw(place::<T>(dev).read()) });
    }
}

/// Room in the allocation of a device for the pointer to what hangs on it.
pub(super) const ROOM: usize = size_of::<*mut ()>();

/// Where the pointer is (`netdev_priv`).
///
/// # Safety
///
/// `dev` must be a device that was allocated with [`ROOM`] bytes for it.
#[inline]
unsafe fn place<T>(dev: *mut bindings::net_device) -> *mut *mut Private<T> {
    // SAFETY: The room follows the structure, in the same allocation.
    unsafe { (&raw mut (*dev).priv_).cast() }
}

/// The driver's part of a device during a callback.
///
/// # Safety
///
/// `dev` must be a device whose driver's data is a `T`, one that has been given to
/// `Allocated::<T>::register`, and not be freed during `'a`.
#[inline]
unsafe fn private<'a, T>(dev: *mut bindings::net_device) -> &'a Private<T> {
    // SAFETY: `Private::attach` put a valid pointer there before the device was registered, and it
    // is dropped only when no callback runs any more, when the device is freed.
    unsafe { &**place(dev) }
}

/// The driver's data.
///
/// # Safety
///
/// As for [`private`].
#[inline]
pub(in crate::net) unsafe fn data<'a, T>(dev: *mut bindings::net_device) -> &'a T {
    // SAFETY: The caller's promise.
    unsafe { &private::<T>(dev).data }
}

/// The driver's data, and the number of statistics that it had when the device was made.
///
/// # Safety
///
/// As for [`private`].
pub(in crate::net) unsafe fn with_stats<'a, T>(dev: *mut bindings::net_device) -> (&'a T, usize) {
    // SAFETY: The caller's promise.
    let private = unsafe { private::<T>(dev) };
    (&private.data, private.n_stats)
}

/// What a callback works with that is called under RTNL and the instance lock, or under RTNL alone
/// for a device that does not have the latter for its callbacks.
///
/// # Safety
///
/// As for [`private`]; and the locks must be held for as long as the results are used.
pub(in crate::net) unsafe fn control<'a, T>(
    dev: *mut bindings::net_device,
) -> (&'a T, &'a LockedDevice, Rtnl) {
    // SAFETY: The caller's promises.
    unsafe { (data(dev), LockedDevice::from_raw(dev), Rtnl::assume_held()) }
}

/// What a callback works with that is called under the lock of a [`LockedDevice`]; RTNL may be held
/// or not.
///
/// # Safety
///
/// As for [`private`]; and the lock must be held for as long as the results are used.
pub(in crate::net) unsafe fn locked<'a, T>(
    dev: *mut bindings::net_device,
) -> (&'a T, &'a LockedDevice) {
    // SAFETY: The caller's promises.
    unsafe { (data(dev), LockedDevice::from_raw(dev)) }
}

/// What a callback works with that is called under RTNL; the instance lock may be held or not.
///
/// # Safety
///
/// As for [`private`]; and RTNL must be held for as long as the results are used.
pub(in crate::net) unsafe fn under_rtnl<'a, T>(
    dev: *mut bindings::net_device,
) -> (&'a T, &'a Device, Rtnl) {
    // SAFETY: The caller's promises.
    unsafe { (data(dev), Device::from_raw(dev), Rtnl::assume_held()) }
}
