// SPDX-License-Identifier: GPL-2.0

//! References to a device.

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

/// A counted reference to a device (`netdev_hold`). A kernel with `CONFIG_NET_DEV_REFCNT_TRACKER`
/// knows where each was taken, and says so if unregistration waits for one for long.
///
/// # Invariants
///
/// `dev` is a registered device. The value owns a reference to it, which `tracker` describes.
pub(crate) struct DeviceRef {
    dev: NonNull<Device>,
    // Empty unless references are tracked. The kernel keeps no pointer to it, so it may move.
    tracker: bindings::netdevice_tracker,
}

// SAFETY: Any thread may use a device and give a reference to it up.
unsafe impl Send for DeviceRef {}
// SAFETY: Sharing it gives no more than `&Device`, which is `Sync`, and further references.
unsafe impl Sync for DeviceRef {}

/// A tracker of no reference yet.
fn no_tracker() -> bindings::netdevice_tracker {
    // SAFETY: The type is a pointer, which may be null, or empty if references are not tracked.
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
        // INVARIANT: What is found has been registered, and comes with a reference.
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
        // SAFETY: The device is alive, being borrowed; the tracker is ours. Without memory for the
        // tracker the kernel counts the reference as an untracked one.
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
        // SAFETY: The device is not freed while this value has its reference.
        unsafe { self.dev.as_ref() }
    }
}

impl Drop for DeviceRef {
    fn drop(&mut self) {
        // SAFETY: The value owns the reference that the tracker describes, and gives it up.
        unsafe { bindings::oxnic_netdev_put(self.dev.as_ptr().cast(), &mut self.tracker) };
    }
}

/// A place for a device while it is registered, where softirqs find it.
///
/// # Invariants
///
/// - `reference` is read and written only under RTNL, or by who has the slot alone.
/// - `dev` is null, or the device of a reference that is given back only when every RCU read-side
///   section has ended that began before `dev` was replaced.
pub(crate) struct DeviceSlot {
    dev: Atomic<*mut Device>,
    reference: UnsafeCell<Option<DeviceRef>>,
}

// SAFETY: What is in it is `Send`.
unsafe impl Send for DeviceSlot {}
// SAFETY: `dev` is atomic, and `reference` is used as the type's invariants say.
unsafe impl Sync for DeviceSlot {}

impl DeviceSlot {
    /// Without a device.
    pub(crate) const fn new() -> Self {
        // INVARIANT: The pointer is null.
        Self {
            dev: Atomic::new(ptr::null_mut()),
            reference: UnsafeCell::new(None),
        }
    }

    /// Puts a device there or, before it is unregistered, takes it away. Waits until nobody uses
    /// what was there (`synchronize_net`): may sleep; not in a read-side section.
    pub(crate) fn set(&self, dev: Option<DeviceRef>, _rtnl: &Rtnl) {
        let new = dev.as_ref().map_or(ptr::null_mut(), |dev| dev.dev.as_ptr());
        self.dev.xchg(new, Full);
        // SAFETY: RTNL is held, so no other thread is at it.
        let old = unsafe { (*self.reference.get()).take() };
        if old.is_some() {
            // SAFETY: Process context, and no read-side section.
            unsafe { bindings::synchronize_net() };
        }
        drop(old);
        // INVARIANT: The reference is that of the pointer, and no reader has an older one any more.
        // SAFETY: RTNL is still held, and neither of the two calls in between comes back here.
        unsafe { *self.reference.get() = dev };
    }

    /// The device, for as long as bottom halves stay off.
    #[inline]
    pub(crate) fn read<'a>(&'a self, _bh: &'a bh::Disabled) -> Option<&'a Device> {
        // SAFETY: By the type's invariants the device is not freed before this read-side section
        // ends: it lasts while bottom halves are off, which is during `'a`.
        unsafe { dereference(&self.dev).as_ref() }
    }

    /// The device. Any context, also with interrupts off.
    pub(crate) fn get(&self) -> Option<DeviceRef> {
        let _rcu = rcu::read_lock();
        // SAFETY: By the type's invariants the device is not freed in this read-side section, at
        // whose end it is no longer used without a reference of its own.
        unsafe { dereference(&self.dev).as_ref() }.map(DeviceRef::from)
    }
}
