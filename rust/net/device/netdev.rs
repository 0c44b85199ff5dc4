// SPDX-License-Identifier: GPL-2.0

//! A registered network device.

use crate::{
    bindings,
    net::{
        rtnl::Rtnl,
        rx_mode::MacAddress, //
    },
};
use core::{
    ops::Deref,
    ptr, //
};
use kernel::{
    error::to_result,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

/// Length of an interface name with its NUL (`IFNAMSIZ`).
pub(in crate::net) const NAME_LEN: usize = 16;

/// A network device (`struct net_device`).
///
/// # Invariants
///
/// An instance is a device that has been registered. It is not freed while a reference to the
/// instance exists: either the caller of a callback keeps it alive, or the reference is counted
/// (`netdev_hold`) and unregistration waits for it.
#[repr(transparent)]
pub(crate) struct Device(Opaque<bindings::net_device>);

// SAFETY: A device is not bound to a thread: any may use it and drop a reference.
unsafe impl Send for Device {}
// SAFETY: Each method takes a proof of the context that protects what it accesses, or reads or
// writes a single word, or calls a C function that locks.
unsafe impl Sync for Device {}

impl Device {
    /// # Safety
    ///
    /// `ptr` must be a registered device that outlives the returned reference.
    pub(in crate::net) unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // INVARIANT: The caller's promise.
        // SAFETY: The device is alive for `'a`, and the type is transparent.
        unsafe { &*ptr.cast() }
    }

    pub(in crate::net) fn as_ptr(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    /// Takes the instance lock (`netdev_lock`) of a device that has one for its callbacks
    /// ([`Config::instance_lock`](super::Config::instance_lock)); `None` for another. Process
    /// context, may sleep; no instance lock may be held.
    pub(in crate::net) fn lock(&self) -> Option<LockGuard<'_>> {
        // SAFETY: The device is alive. The fields that this reads were set before registration.
        if !unsafe { bindings::oxnic_netdev_need_ops_lock(self.as_ptr()) } {
            return None;
        }
        // SAFETY: The device is alive. This is process context, with no instance lock held.
        unsafe { bindings::oxnic_netdev_lock(self.as_ptr()) };
        // SAFETY: The lock that protects the callbacks of this device was just taken. It is
        // released when the guard is dropped, in this thread: the guard cannot be sent to another.
        Some(LockGuard(unsafe { LockedDevice::from_raw(self.as_ptr()) }))
    }

    /// The interface's name, padded with NULs. The user may change it at any time.
    pub(crate) fn name(&self) -> [u8; NAME_LEN] {
        // SAFETY: The field lives as long as the device. During a rename this may read bytes of
        // both names, which is harmless in a message.
        unsafe {
            (&raw const (*self.as_ptr()).name)
                .cast::<[u8; NAME_LEN]>()
                .read_volatile()
        }
    }

    /// The number of the device in its network namespace. It changes if the device moves to a
    /// namespace where the number is taken.
    pub(in crate::net) fn ifindex(&self) -> c_int {
        // SAFETY: The field lives as long as the device and is written as a single word.
        unsafe { (&raw const (*self.as_ptr()).ifindex).read_volatile() }
    }

    /// The maximum transfer unit in bytes, without the Ethernet header.
    pub(crate) fn mtu(&self) -> u32 {
        // SAFETY: The field lives as long as the device and is written as a single word.
        unsafe { (&raw const (*self.as_ptr()).mtu).read_volatile() }
    }

    /// The device's own address (`dev_addr`).
    pub(crate) fn address(&self, _rtnl: &Rtnl) -> MacAddress {
        // SAFETY: An Ethernet device has an address of this length, which lives as long as the
        // device. RTNL excludes writers.
        unsafe { (*self.as_ptr()).dev_addr.cast::<MacAddress>().read() }
    }

    /// Sets the largest MTU that a user can set, in bytes (`max_mtu`).
    pub(crate) fn set_max_mtu(&self, mtu: u32, _rtnl: &Rtnl) {
        // SAFETY: The field lives as long as the device; RTNL excludes other writers.
        unsafe { (&raw mut (*self.as_ptr()).max_mtu).write_volatile(mtu) };
    }

    /// The features that are switched on, bits of [`feature`](super::feature).
    #[inline]
    pub(crate) fn features(&self) -> u64 {
        // SAFETY: The field lives as long as the device and is written as a single word.
        unsafe { (&raw const (*self.as_ptr()).features).read_volatile() }
    }

    /// Whether a feature, one of [`feature`](super::feature), is switched on.
    #[inline]
    pub(crate) fn has_feature(&self, feature: u64) -> bool {
        self.features() & feature != 0
    }

    /// Received TCP segments that are merged to one IP packet must give one of fewer bytes than
    /// this, as those that GRO merges; 0 if GRO does not merge frames of the device
    /// (`netif_elide_gro`), because it is switched off or there is a program in generic mode, or if
    /// it makes lists of them (`NETIF_F_GRO_FRAGLIST`).
    #[inline]
    pub(crate) fn gro_limit(&self) -> usize {
        // SAFETY: The device is alive by the type's invariants.
        unsafe { bindings::oxnic_gro_limit(self.as_ptr()) as usize }
    }

    /// Tells the stack that the link is there (`netif_carrier_on`). Any context.
    pub(crate) fn carrier_on(&self) {
        // SAFETY: The device is alive by the type's invariants.
        unsafe { bindings::netif_carrier_on(self.as_ptr()) };
    }

    /// Tells the stack that the link is gone (`netif_carrier_off`). Any context.
    pub(crate) fn carrier_off(&self) {
        // SAFETY: The device is alive by the type's invariants.
        unsafe { bindings::netif_carrier_off(self.as_ptr()) };
    }

    /// Sets the largest number of segments that an skb may be cut into
    /// ([`feature::TSO`](super::feature::TSO); `netif_set_tso_max_segs`). The stack's own limit
    /// (`gso_max_segs`) follows up and down, unless the user has lowered it.
    pub(crate) fn set_max_segments(&self, segments: u16, _rtnl: &Rtnl) {
        let dev = self.as_ptr();
        // SAFETY: The device is alive, and RTNL excludes other writers of both limits. The stack
        // reads its own at any time, as a single word.
        unsafe {
            let gso_max_segs = &raw mut (*dev).gso_max_segs;
            let follows = gso_max_segs.read_volatile() == (*dev).tso_max_segs;
            bindings::netif_set_tso_max_segs(dev, segments.into());
            if follows {
                gso_max_segs.write_volatile(segments);
            }
        }
    }
}

/// A device with the lock held under which the kernel calls its control path callbacks, so that
/// none of them runs. This is the instance lock (`netdev_lock`) of a device that has one for its
/// callbacks ([`Config::instance_lock`](super::Config::instance_lock)), and RTNL for the others
/// (`netdev_is_locked_ops_compat`).
///
/// # Invariants
///
/// While a reference to this type exists, the thread that has the reference holds this lock.
#[repr(transparent)]
pub(crate) struct LockedDevice(Device, NotThreadSafe);

impl LockedDevice {
    /// # Safety
    ///
    /// `ptr` must be a registered device that outlives the returned reference, and the caller must
    /// hold the lock of its callbacks for as long.
    pub(in crate::net) unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // INVARIANT: The caller's promise.
        // SAFETY: The device is alive for `'a`, and the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// Whether this is the same device.
    pub(in crate::net) fn is(&self, dev: &Device) -> bool {
        ptr::eq(self.as_ptr(), dev.as_ptr())
    }

    /// Holds the instance lock until the result is dropped, whichever lock protects the callbacks.
    pub(in crate::net) fn with_instance_lock(&self) -> InstanceLock<'_> {
        // SAFETY: The device is alive. By the type's invariants this thread holds either its
        // instance lock, which `netdev_lock_ops_to_full` then leaves alone, or RTNL. In the second
        // case the thread does not hold the instance lock yet: only functions of `net` call this,
        // and they do not nest.
        unsafe { bindings::oxnic_netdev_lock_ops_to_full(self.as_ptr()) };
        InstanceLock(self)
    }

    /// Sets the number of transmit queues and of receive queues that are in use
    /// (`netif_set_real_num_queues`); at most as many as the device was allocated with. May sleep.
    /// Increasing it may fail with `ENOMEM`. When it is decreased, the stack drops the frames that
    /// wait for a removed queue.
    pub(crate) fn set_real_queues(&self, queues: u16, _rtnl: &Rtnl) -> Result {
        // SAFETY: The device is registered. RTNL is held, and so is the instance lock if the device
        // has one for its callbacks (`netdev_assert_locked_ops`).
        to_result(unsafe {
            bindings::netif_set_real_num_queues(self.as_ptr(), queues.into(), queues.into())
        })
    }
}

impl Deref for LockedDevice {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.0
    }
}

/// The instance lock of a device; see [`LockedDevice::with_instance_lock`].
pub(in crate::net) struct InstanceLock<'a>(&'a LockedDevice);

impl Drop for InstanceLock<'_> {
    fn drop(&mut self) {
        // SAFETY: Pairs with `with_instance_lock` in the same thread: the reference cannot be sent
        // to another.
        unsafe { bindings::oxnic_netdev_unlock_full_to_ops(self.0.as_ptr()) };
    }
}

/// Holds the instance lock of a device until it is dropped.
pub(in crate::net) struct LockGuard<'a>(&'a LockedDevice);

impl Deref for LockGuard<'_> {
    type Target = LockedDevice;

    fn deref(&self) -> &LockedDevice {
        self.0
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: `Device::lock` took the lock in this thread: the guard cannot be sent to another.
        unsafe { bindings::oxnic_netdev_unlock(self.0.as_ptr()) };
    }
}
