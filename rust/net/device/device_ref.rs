// SPDX-License-Identifier: GPL-2.0

//! Counted references to a device.

use super::netdev::Device;
use crate::{
    bindings,
    net::{
        bh,
        rcu::dereference,
        rtnl::Rtnl, //
    },
};
use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::sync::{
    atomic::{
        Atomic,
        Full, //
    },
    rcu, //
};

/// A counted reference to a device (`netdev_hold`). With `CONFIG_NET_DEV_REFCNT_TRACKER` the kernel
/// records where each was taken, and reports it if unregistration waits long for one.
///
/// # Invariants
///
/// `dev` is a registered device. The value owns a reference to it, which `tracker` describes.
pub(crate) struct DeviceRef {
    dev: NonNull<Device>,
    // Zero-sized unless references are tracked. The kernel keeps no pointer to it, so it may move.
    tracker: bindings::netdevice_tracker,
}

// SAFETY: Any thread may use a device and drop a reference to it.
unsafe impl Send for DeviceRef {}
// SAFETY: A shared value only gives a `&Device`, which is `Sync`, and further references.
unsafe impl Sync for DeviceRef {}

/// A tracker that does not track a reference yet.
fn no_tracker() -> bindings::netdevice_tracker {
    // SAFETY: The type is a pointer, which may be null, or zero-sized.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

impl DeviceRef {
    /// The device with this name in the network namespace of the caller (`netdev_get_by_name`).
    ///
    /// # Safety
    ///
    /// `name` must end with a NUL. Process context.
    pub(in crate::net) unsafe fn by_name(name: *const u8) -> Option<Self> {
        let mut tracker = no_tracker();
        // SAFETY: The caller's promise about the name; the tracker is ours.
        let dev = unsafe { bindings::oxnic_netdev_get_by_name(name.cast(), &mut tracker) };
        // INVARIANT: A device that is found has been registered, and the call took a reference.
        Some(Self {
            dev: NonNull::new(dev.cast())?,
            tracker,
        })
    }
}

impl From<&Device> for DeviceRef {
    /// Any context.
    fn from(dev: &Device) -> Self {
        let mut tracker = no_tracker();
        // SAFETY: The device is borrowed, so it is alive; the tracker is ours. Without memory for
        // the tracker the kernel counts the reference as untracked.
        unsafe { bindings::oxnic_netdev_hold(dev.as_ptr(), &mut tracker) };
        // INVARIANT: Just taken.
        Self {
            dev: dev.into(),
            tracker,
        }
    }
}

impl Deref for DeviceRef {
    type Target = Device;

    #[inline]
    fn deref(&self) -> &Device {
        // SAFETY: The device is not freed while this value owns a reference.
        unsafe { self.dev.as_ref() }
    }
}

impl Drop for DeviceRef {
    fn drop(&mut self) {
        // SAFETY: This gives up the value's reference, which the tracker describes.
        unsafe { bindings::oxnic_netdev_put(self.dev.as_ptr().cast(), &mut self.tracker) };
    }
}

/// A slot for a registered device, which softirqs read without a lock.
///
/// # Invariants
///
/// - `reference` is read and written only under RTNL, or by the exclusive owner of the slot.
/// - `dev` is null, or a device with a reference. That reference is dropped only when every RCU
///   read-side section that began before `dev` was replaced has ended.
pub(crate) struct DeviceSlot {
    dev: Atomic<*mut Device>,
    reference: UnsafeCell<Option<DeviceRef>>,
}

// SAFETY: The device and the reference to it may be sent.
unsafe impl Send for DeviceSlot {}
// SAFETY: `dev` is atomic, and RTNL protects `reference`, by the type's invariants.
unsafe impl Sync for DeviceSlot {}

impl DeviceSlot {
    /// An empty slot.
    pub(crate) const fn new() -> Self {
        // INVARIANT: The pointer is null.
        Self {
            dev: Atomic::new(ptr::null_mut()),
            reference: UnsafeCell::new(None),
        }
    }

    /// Sets the device, or clears the slot, which must be done before the device is unregistered.
    /// Waits until the previous device is no longer in use (`synchronize_net`). May sleep; not in a
    /// read-side section.
    pub(crate) fn set(&self, dev: Option<DeviceRef>, _rtnl: &Rtnl) {
        let new = dev.as_ref().map_or(ptr::null_mut(), |dev| dev.dev.as_ptr());
        self.dev.xchg(new, Full);
        // SAFETY: RTNL is held, so no other thread accesses the field.
        let old = unsafe { (*self.reference.get()).take() };
        if old.is_some() {
            // SAFETY: Process context, and no read-side section.
            unsafe { bindings::synchronize_net() };
        }
        drop(old);
        // INVARIANT: The reference is to the device in `dev`, and no reader has an older pointer.
        // SAFETY: RTNL is still held. Neither of the two calls in between comes back here, so the
        // field is not borrowed.
        unsafe { *self.reference.get() = dev };
    }

    /// The device; valid while bottom halves are off.
    #[inline]
    pub(crate) fn read<'a>(&'a self, _bh: &'a bh::Disabled) -> Option<&'a Device> {
        // SAFETY: By the type's invariants the device is not freed before this read-side section
        // ends. The section lasts while bottom halves are off, which they are during `'a`.
        unsafe { dereference(&self.dev).as_ref() }
    }

    /// A reference to the device. Any context, also with interrupts off.
    pub(crate) fn get(&self) -> Option<DeviceRef> {
        let _rcu = rcu::read_lock();
        // SAFETY: By the type's invariants the device is not freed in this read-side section. When
        // the section ends, only the new reference is used.
        unsafe { dereference(&self.dev).as_ref() }.map(DeviceRef::from)
    }
}
