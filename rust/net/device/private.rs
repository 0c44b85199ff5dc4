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

/// The private part of a device (`netdev_priv`): the driver's data, and what `net` stores with it.
#[pin_data]
pub(in crate::net) struct Private<T> {
    #[pin]
    data: T,
    /// Number of statistics that the device had at registration: the size of ethtool's buffers.
    n_stats: usize,
    /// The device's parent. The kernel has a reference to it only while the device is registered.
    _parent: Option<ARef<kernel::device::Device>>,
}

impl<T> Private<T> {
    /// Allocates it and attaches it to `dev`.
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
        // SAFETY: The value is not moved out of its box: `detach` drops it there.
        let private = KBox::into_raw(unsafe { Pin::into_inner_unchecked(private) });
        // SAFETY: By the caller's promise there is room for the pointer, and no callback reads it
        // yet.
        unsafe { place(dev.as_ptr()).write(private) };
        Ok(())
    }

    /// Drops the private part of `dev`.
    ///
    /// # Safety
    ///
    /// [`attach`](Self::attach) must have succeeded for `dev`, and this may be called only once. No
    /// callback of the device may run any more.
    pub(super) unsafe fn detach(dev: *mut bindings::net_device) {
        // SAFETY: `attach` stored the pointer, which came from a box. With no callback running, it
        // is not used any more.
        drop(unsafe { KBox::from_raw(place::<T>(dev).read()) });
    }
}

/// Room in the allocation of a device for the pointer to its private part.
pub(super) const ROOM: usize = size_of::<*mut ()>();

/// Where this pointer is stored (`netdev_priv`).
///
/// # Safety
///
/// `dev` must be a device that was allocated with [`ROOM`] bytes for it.
#[inline]
unsafe fn place<T>(dev: *mut bindings::net_device) -> *mut *mut Private<T> {
    // SAFETY: `priv_` is the room after the structure, in the same allocation.
    unsafe { (&raw mut (*dev).priv_).cast() }
}

/// The private part of a device, in a callback.
///
/// # Safety
///
/// `dev` must have been passed to `Allocated::<T>::register`, so that its driver's data is a `T`,
/// and must not be freed during `'a`.
#[inline]
unsafe fn private<'a, T>(dev: *mut bindings::net_device) -> &'a Private<T> {
    // SAFETY: `Private::attach` stored a valid pointer before the device was registered. What it
    // points to is dropped only when the device is freed, when no callback runs any more.
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

/// The driver's data, and the number of statistics that the device had at registration.
///
/// # Safety
///
/// As for [`private`].
pub(in crate::net) unsafe fn with_stats<'a, T>(dev: *mut bindings::net_device) -> (&'a T, usize) {
    // SAFETY: The caller's promise.
    let private = unsafe { private::<T>(dev) };
    (&private.data, private.n_stats)
}

/// The arguments of a callback that the kernel calls under RTNL and the lock of a [`LockedDevice`]:
/// the driver's data and the proofs.
///
/// # Safety
///
/// As for [`private`]; and both locks must be held for as long as the results are used.
pub(in crate::net) unsafe fn control<'a, T>(
    dev: *mut bindings::net_device,
) -> (&'a T, &'a LockedDevice, Rtnl) {
    // SAFETY: The caller's promises.
    unsafe { (data(dev), LockedDevice::from_raw(dev), Rtnl::assume_held()) }
}

/// The arguments of a callback that the kernel calls under the lock of a [`LockedDevice`]; RTNL may
/// be held or not.
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

/// The arguments of a callback that the kernel calls under RTNL; the instance lock may be held or
/// not.
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
