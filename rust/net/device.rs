// SPDX-License-Identifier: GPL-2.0

//! Network devices: `struct net_device` and the callbacks of a driver.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/linux/etherdevice.h`](srctree/include/linux/etherdevice.h)

use super::{
    bh, ethtool, queue_mgmt,
    queues::{self, RxQueueStats, TxQueueStats},
    rtnl::Rtnl,
    rx_mode::{MacAddress, RxMode},
    skbuff::SkBuff,
    xdp,
};
use crate::bindings;
use core::{
    ffi::c_void,
    marker::PhantomData,
    mem::MaybeUninit,
    ops::Deref,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    error::{from_result, to_result, VTABLE_DEFAULT_ERROR},
    prelude::*,
    sync::{
        aref::{ARef, AlwaysRefCounted},
        rcu,
    },
    time::msecs_to_jiffies,
    types::{NotThreadSafe, Opaque},
};

/// Length of an interface name with its NUL (`IFNAMSIZ`).
pub(super) const NAME_LEN: usize = 16;

/// A network device (`struct net_device`).
///
/// # Invariants
///
/// An instance is a device that has been registered and that is not freed while a reference to it
/// exists: its count (`dev_hold`, `dev_put`) is waited for by unregistration.
#[repr(transparent)]
pub(crate) struct Device(Opaque<bindings::net_device>);

// SAFETY: What the methods touch is either protected by the context they ask for or written and
// read as single words.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

// SAFETY: Unregistration waits until every reference is given back before the device is freed.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: The device is alive by the type's invariants.
        unsafe { bindings::oxnic_dev_hold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference that it owns.
        unsafe { bindings::oxnic_dev_put(obj.as_ptr().cast()) };
    }
}

impl Device {
    /// # Safety
    ///
    /// `ptr` must be a registered device that outlives the returned reference.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // SAFETY: The caller's promise; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    /// Takes the instance lock (`netdev_lock`). Process context, may sleep; no instance lock may be held.
    pub(super) fn lock(&self) -> LockGuard<'_> {
        // SAFETY: The device is alive by the type's invariants.
        unsafe { bindings::oxnic_netdev_lock(self.as_ptr()) };
        // SAFETY: The lock was just taken, and is given back when the guard is dropped, in this thread: it
        // cannot be sent to another.
        LockGuard(unsafe { LockedDevice::from_raw(self.as_ptr()) })
    }

    /// The interface's name, padded with NUL. It may be changed at any time by the user.
    pub(crate) fn name(&self) -> [u8; NAME_LEN] {
        // SAFETY: The field lives as long as the device. A rename may be under way: bytes of both
        // names are then read, which is harmless in a message.
        unsafe {
            (&raw const (*self.as_ptr()).name)
                .cast::<[u8; NAME_LEN]>()
                .read_volatile()
        }
    }

    /// The number of the device in its network namespace, which changes if it moves to one where another
    /// has that number.
    pub(super) fn ifindex(&self) -> c_int {
        // SAFETY: The field lives as long as the device and is written as a word.
        unsafe { (&raw const (*self.as_ptr()).ifindex).read_volatile() }
    }

    /// The maximum transfer unit in bytes, without the Ethernet header.
    pub(crate) fn mtu(&self) -> u32 {
        // SAFETY: The field lives as long as the device and is written as a word.
        unsafe { (&raw const (*self.as_ptr()).mtu).read_volatile() }
    }

    /// The device's own address (`dev_addr`).
    pub(crate) fn address(&self, _rtnl: &Rtnl) -> MacAddress {
        // SAFETY: The address of an Ethernet device is that long, and lives as long as the device; RTNL
        // keeps writers out.
        unsafe { (*self.as_ptr()).dev_addr.cast::<MacAddress>().read() }
    }

    /// Sets the largest MTU that a user can set, in bytes (`max_mtu`).
    pub(crate) fn set_max_mtu(&self, mtu: u32, _rtnl: &Rtnl) {
        // SAFETY: The field lives as long as the device; RTNL keeps other writers out.
        unsafe { (&raw mut (*self.as_ptr()).max_mtu).write_volatile(mtu) };
    }

    /// The features that are switched on, bits of [`feature`].
    #[inline]
    pub(crate) fn features(&self) -> u64 {
        // SAFETY: The field lives as long as the device and is written as a word.
        unsafe { (&raw const (*self.as_ptr()).features).read_volatile() }
    }

    /// Whether a feature, one of [`feature`], is switched on.
    #[inline]
    pub(crate) fn has_feature(&self, feature: u64) -> bool {
        self.features() & feature != 0
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

    /// Lets the stack use all transmit queues (`netif_tx_start_all_queues`).
    pub(crate) fn start_all_tx_queues(&self, _rtnl: &Rtnl) {
        // SAFETY: The device is alive by the type's invariants.
        unsafe { bindings::oxnic_netif_tx_start_all_queues(self.as_ptr()) };
    }

    /// Keeps the stack from using transmit queue `queue` (`netif_tx_stop_queue`). A queue that the
    /// device does not have is left alone.
    pub(crate) fn stop_tx_queue(&self, queue: u16) {
        if self.has_tx_queue(queue) {
            // SAFETY: The device is alive and has this queue.
            unsafe { bindings::oxnic_netif_tx_stop_queue(self.as_ptr(), queue) };
        }
    }

    /// Lets the stack use transmit queue `queue` again from inside `start_xmit`
    /// (`netif_tx_start_queue`).
    pub(crate) fn start_tx_queue(&self, queue: u16) {
        if self.has_tx_queue(queue) {
            // SAFETY: The device is alive and has this queue.
            unsafe { bindings::oxnic_netif_tx_start_queue(self.as_ptr(), queue) };
        }
    }

    /// Lets the stack use transmit queue `queue` again and schedules it (`netif_tx_wake_queue`).
    /// Any context. Returns whether the queue was stopped.
    pub(crate) fn wake_tx_queue(&self, queue: u16) -> bool {
        self.has_tx_queue(queue)
            // SAFETY: The device is alive and has this queue.
            && unsafe { bindings::oxnic_netif_tx_wake_queue(self.as_ptr(), queue) }
    }

    /// Sets how many segments an skb may be cut into ([`feature::TSO`]; `netif_set_tso_max_segs`). A
    /// lower limit of the user's stays.
    pub(crate) fn set_max_segments(&self, segments: u16, _rtnl: &Rtnl) {
        // SAFETY: The device is alive, and RTNL keeps other writers out.
        unsafe { bindings::oxnic_netif_set_max_segs(self.as_ptr(), segments.into()) };
    }

    pub(super) fn has_tx_queue(&self, queue: u16) -> bool {
        // SAFETY: The field is set when the device is allocated and never changed.
        u32::from(queue) < unsafe { (*self.as_ptr()).num_tx_queues }
    }
}

/// A device whose instance lock (`netdev_lock`) is held by this thread, so that nobody else is in one of
/// the callbacks for which the kernel takes it: see [`Ops`].
///
/// # Invariants
///
/// While a reference to this type exists, the thread that has it holds the lock of this device.
#[repr(transparent)]
pub(crate) struct LockedDevice(Device, NotThreadSafe);

impl LockedDevice {
    /// # Safety
    ///
    /// `ptr` must be a registered device that outlives the returned reference, and the caller must hold its
    /// instance lock for as long.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::net_device) -> &'a Self {
        // INVARIANT: The caller's promise.
        // SAFETY: The caller's promise; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// Whether this is the same device.
    pub(super) fn is(&self, dev: &Device) -> bool {
        ptr::eq(self.as_ptr(), dev.as_ptr())
    }

    /// Sets how many transmit queues, and receive queues, are in use
    /// (`netif_set_real_num_queues`); at most as many as the device was made with. May sleep. Fails with
    /// `ENOMEM` if they become more. If they become fewer, frames that wait in the stack for a queue that
    /// goes are dropped there.
    pub(crate) fn set_real_queues(&self, queues: u16, _rtnl: &Rtnl) -> Result {
        // SAFETY: The device is registered, and both locks are held.
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

/// Holds the instance lock of a device until it is dropped.
pub(super) struct LockGuard<'a>(&'a LockedDevice);

impl Deref for LockGuard<'_> {
    type Target = LockedDevice;

    fn deref(&self) -> &LockedDevice {
        self.0
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: `Device::lock` took it.
        unsafe { bindings::oxnic_netdev_unlock(self.0.as_ptr()) };
    }
}

/// A place for a device while it is registered, where softirqs find it: one pointer that owns a reference.
///
/// # Invariants
///
/// The pointer is null or owns a reference to a [`Device`], which is given back only when every RCU
/// read-side section that began before the pointer was replaced has ended.
pub(crate) struct DeviceSlot(AtomicPtr<Device>);

impl DeviceSlot {
    /// Without a device.
    pub(crate) const fn new() -> Self {
        // INVARIANT: The pointer is null.
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// Puts a device there or, before it is unregistered, takes it away. Waits until nobody uses what was
    /// there (`synchronize_net`): may sleep; not in a read-side section.
    pub(crate) fn set(&self, dev: Option<ARef<Device>>, _rtnl: &Rtnl) {
        let new = dev.map_or(core::ptr::null_mut(), |dev| ARef::into_raw(dev).as_ptr());
        // INVARIANT: The reference of the new one goes with its pointer.
        if let Some(old) = NonNull::new(self.0.swap(new, Ordering::AcqRel)) {
            // SAFETY: Process context.
            unsafe { bindings::synchronize_net() };
            // SAFETY: The reference went with the pointer, and no reader has that any more.
            drop(unsafe { ARef::from_raw(old) });
        }
    }

    /// The device, for as long as bottom halves stay off.
    #[inline]
    pub(crate) fn read<'a>(&'a self, _bh: &'a bh::Disabled) -> Option<&'a Device> {
        // SAFETY: By the type's invariants it is not freed before bottom halves are on again, which the
        // result does not outlive.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// The device. Any context, also with interrupts off.
    pub(crate) fn get(&self) -> Option<ARef<Device>> {
        let rcu = rcu::read_lock();
        // SAFETY: By the type's invariants the device is not freed in this read-side section.
        let dev = unsafe { self.0.load(Ordering::Acquire).as_ref() }.map(ARef::from);
        drop(rcu);
        dev
    }
}

impl Drop for DeviceSlot {
    fn drop(&mut self) {
        if let Some(dev) = NonNull::new(*self.0.get_mut()) {
            // SAFETY: The reference goes with the pointer; readers borrow `self`, so there is none.
            drop(unsafe { ARef::from_raw(dev) });
        }
    }
}

/// What became of an skb given to [`Ops::start_xmit`] (`netdev_tx_t`).
pub(crate) enum Xmit {
    /// The device has taken the skb, sent or not.
    Done,
    /// The queue was full and has been stopped; the stack keeps the skb and tries again when the
    /// queue is woken, which may have happened already.
    Busy(SkBuff),
}

/// The callbacks of a driver (`struct net_device_ops`). `self` is the driver's data for the device.
///
/// The kernel calls most of those in process context under RTNL and under the device's instance lock: they
/// get both proofs, an [`Rtnl`] and a [`LockedDevice`]. Where it takes only one of them there is only one.
#[vtable]
pub(crate) trait Ops: ethtool::Ops + Sized + Send + Sync + 'static {
    /// The interface goes up (`ndo_open`). Process context, may sleep.
    fn open(&self, dev: &LockedDevice, rtnl: &Rtnl) -> Result;

    /// The interface goes down (`ndo_stop`); no transmit is running any more. Process context, may
    /// sleep.
    fn stop(&self, dev: &LockedDevice, rtnl: &Rtnl);

    /// The device is about to be gone: whatever refers to it has to be given up, since the kernel waits
    /// for that (`ndo_uninit`). The interface is down. Process context, may sleep.
    fn uninit(&self, _dev: &Device, _rtnl: &Rtnl) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The device at the other end, shown as `ox0@ox1` (`ndo_get_iflink`, `get_link_net`). Any context,
    /// also with interrupts off.
    fn link_peer(&self) -> Option<ARef<Device>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sends `skb` on the transmit queue it is mapped to (`ndo_start_xmit`). The kernel calls this
    /// for one skb at a time on each queue.
    fn start_xmit(&self, dev: &Device, skb: SkBuff, bh: &bh::Disabled) -> Xmit;

    /// Transmit queue `queue` has been stopped for [`Config::tx_timeout_ms`] or longer while there was a
    /// carrier (`ndo_tx_timeout`); each time it is stopped counts anew (`netif_tx_stop_queue`). The kernel
    /// has said so in its log. It calls this for one queue at a time, again after as long. No `start_xmit`
    /// of the device runs meanwhile, unless it has no queueing discipline (`noqueue`). Softirq context.
    fn tx_timeout(&self, _dev: &Device, _queue: u16, _bh: &bh::Disabled) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adds the device's counters to `stats` (`ndo_get_stats64`). Must not sleep.
    fn stats64(&self, stats: &mut Stats64);

    /// The user has changed the MTU to `mtu` bytes, within the device's limits
    /// (`ndo_change_mtu`). Process context, may sleep.
    fn change_mtu(&self, _dev: &LockedDevice, _mtu: u32, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The user has switched features on or off: `features` are those that will be on, bits of
    /// [`feature`] (`ndo_set_features`). Process context, may sleep.
    fn set_features(&self, _dev: &LockedDevice, _features: u64, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// What the device is to receive has changed, or it has just gone up (`ndo_set_rx_mode_async`). A
    /// driver with this callback filters by unicast addresses too (`IFF_UNICAST_FLT`). On an error the
    /// kernel tries again later, a few times. Process context, may sleep.
    fn set_rx_mode(&self, _dev: &LockedDevice, _mode: &RxMode<'_>, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The user has given the device another address, one that a device can have
    /// (`ndo_set_mac_address`); also while it is up. Process context, may sleep.
    fn set_mac_address(&self, _dev: &LockedDevice, _address: MacAddress, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Frames of this VLAN are to be received from now on, besides those without a tag
    /// (`ndo_vlan_rx_add_vid`, for 802.1Q). Called for each VLAN when [`feature::VLAN_CTAG_FILTER`]
    /// is switched on, and as long as it is. Process context, may sleep; the instance lock may be held or
    /// not.
    fn vlan_rx_add_vid(&self, _dev: &Device, _vid: u16, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// They are not to be received any more (`ndo_vlan_rx_kill_vid`). Called for each VLAN when the
    /// feature is switched off, too. Process context, may sleep; the instance lock may be held or not.
    fn vlan_rx_kill_vid(&self, _dev: &Device, _vid: u16, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A command of the XDP control path (`ndo_bpf`). Process context, may sleep.
    fn bpf(&self, _dev: &LockedDevice, _command: xdp::Command<'_>, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sends frames that were redirected to this device (`ndo_xdp_xmit`): takes as many as it can
    /// send at once, which must be seen at the other end only if `flush` (`XDP_XMIT_FLUSH`). There
    /// may never be a call with that, even after one without. Any CPU, on several at once, also
    /// while the interface is down.
    ///
    /// An error counts only if no frame was taken.
    fn xdp_xmit(
        &self,
        _dev: &Device,
        _frames: &mut xdp::Frames<'_>,
        _flush: bool,
        _bh: &bh::Disabled,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// How receive queues are made anew, if the driver can do that: see [`queue_mgmt::Ops`].
    const QUEUE_MGMT: Option<queue_mgmt::Table<Self>> = None;

    /// What a receive queue has counted (`get_queue_stats_rx`). Under the instance lock alone.
    fn rx_queue_stats(&self, _queue: usize) -> RxQueueStats {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// What a transmit queue has counted (`get_queue_stats_tx`). Under the instance lock alone.
    fn tx_queue_stats(&self, _queue: usize) -> TxQueueStats {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Counters of a device since it was made (`struct rtnl_link_stats64`): frames, and bytes without
/// the frame check sequence.
pub(crate) type Stats64 = bindings::rtnl_link_stats64;

/// Length of an RSS key in bytes.
pub(crate) const RSS_KEY_LEN: usize = 40;

/// The key with which the system's network cards hash, random from boot to boot
/// (`netdev_rss_key_fill`).
pub(crate) fn rss_key() -> [u8; RSS_KEY_LEN] {
    let mut key = [0; RSS_KEY_LEN];
    // SAFETY: The buffer is as long as said.
    unsafe { bindings::netdev_rss_key_fill(key.as_mut_ptr().cast(), key.len()) };
    key
}

/// Whether the user has set the device's indirection table (`netif_is_rxfh_configured`).
pub(crate) fn is_rss_configured(dev: &Device, _rtnl: &Rtnl) -> bool {
    // SAFETY: The device is alive.
    unsafe { bindings::netif_is_rxfh_configured(dev.as_ptr()) }
}

/// Number of CPUs that are online (`num_online_cpus`).
pub(crate) fn online_cpus() -> u32 {
    // SAFETY: No preconditions.
    unsafe { bindings::oxnic_num_online_cpus() }
}

/// What a device is made with.
pub(crate) struct Config {
    /// Largest MTU in bytes that the device can do.
    pub(crate) max_mtu: u32,
    /// What the device does for the stack unless the user switches it off.
    pub(crate) features: u64,
    /// What it does if the user switches it on.
    pub(crate) more_features: u64,
    /// What the device's XDP can do, as announced in netlink ([`xdp::feature`]).
    pub(crate) xdp_features: u32,
    /// For how long a transmit queue may be stopped before [`Ops::tx_timeout`], in milliseconds
    /// (`watchdog_timeo`).
    pub(crate) tx_timeout_ms: u32,
}

/// Bits of [`Config::features`] (`NETIF_F_…`).
pub(crate) mod feature {
    use crate::bindings;

    /// Takes skbs whose data is in several pieces.
    pub(crate) const SG: u64 = bindings::OXNIC_NETIF_F_SG;
    /// Computes the checksum of any protocol that uses the Internet checksum.
    pub(crate) const HW_CSUM: u64 = bindings::OXNIC_NETIF_F_HW_CSUM;
    /// Cuts large TCP frames into segments (`tso`, `tso6`, also with ECN).
    pub(crate) const TSO: u64 = bindings::OXNIC_NETIF_F_TSO;
    /// Takes skbs in high memory.
    pub(crate) const HIGHDMA: u64 = bindings::OXNIC_NETIF_F_HIGHDMA;
    /// Tells which received checksums are good.
    pub(crate) const RXCSUM: u64 = bindings::OXNIC_NETIF_F_RXCSUM;
    /// Gives each received frame its flow hash.
    pub(crate) const RXHASH: u64 = bindings::OXNIC_NETIF_F_RXHASH;
    /// Follows flow steering rules.
    pub(crate) const NTUPLE: u64 = bindings::OXNIC_NETIF_F_NTUPLE;
    /// Takes 802.1Q tags out of received frames.
    pub(crate) const VLAN_CTAG_RX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_CTAG_RX;
    /// Receives frames with an 802.1Q tag only of the VLANs that were asked for. A driver needs
    /// [`Ops::vlan_rx_add_vid`](super::Ops::vlan_rx_add_vid) and its counterpart for it.
    pub(crate) const VLAN_CTAG_FILTER: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_CTAG_FILTER;
    /// Puts 802.1Q tags into frames that are sent.
    pub(crate) const VLAN_CTAG_TX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_CTAG_TX;
    /// Takes 802.1ad tags out of received frames.
    pub(crate) const VLAN_STAG_RX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_STAG_RX;
    /// Puts 802.1ad tags into frames that are sent.
    pub(crate) const VLAN_STAG_TX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_STAG_TX;

    /// Those that work for frames with a VLAN tag too, beside the frame or in it (`vlan_features`): of the
    /// others the kernel does in software what is to be sent.
    pub(super) const FOR_VLANS: u64 = SG | HW_CSUM | TSO | HIGHDMA;
}

/// What hangs on the device: the driver's data and what the abstractions keep beside it.
#[pin_data]
pub(super) struct Private<T> {
    #[pin]
    pub(super) data: T,
    /// Number of statistics the device had when it was made: the size of ethtool's buffers.
    pub(super) n_stats: usize,
}

/// The driver's part of a device during a callback.
///
/// # Safety
///
/// `dev` must be a device of `Allocated<T>` that has been given to [`Allocated::register`], and not freed
/// during `'a`.
#[inline]
pub(super) unsafe fn private<'a, T>(dev: *mut bindings::net_device) -> &'a Private<T> {
    // SAFETY: `Allocated::register` put this pointer there, and it is freed only with the device.
    unsafe { &**netdev_priv(dev).cast::<*const Private<T>>() }
}

/// The driver's part of the allocation of a device (`netdev_priv`).
///
/// # Safety
///
/// `dev` must be a device.
#[inline]
unsafe fn netdev_priv(dev: *mut bindings::net_device) -> *mut u8 {
    // SAFETY: The caller's promise.
    unsafe { (&raw mut (*dev).priv_).cast() }
}

/// Devices whose driver's data is a `T`. Until one is registered, rtnetlink owns it; from then on the kernel
/// does, which frees it, and the driver's data with it, when it has been unregistered.
pub(super) struct Allocated<T>(PhantomData<T>);

impl<T: Ops> Allocated<T> {
    /// Allocates an Ethernet device (`alloc_netdev_mqs`, `ether_setup`) with as many transmit as receive
    /// queues, a random address and no carrier, or returns null. It can be freed with `free_netdev`.
    ///
    /// # Safety
    ///
    /// `name` must be a string that ends with a NUL within [`NAME_LEN`] bytes.
    pub(super) unsafe fn alloc(
        name: *const c_char,
        name_assign_type: c_uchar,
        queues: u16,
        config: &Config,
    ) -> *mut bindings::net_device {
        // SAFETY: The caller's promise about the name. There is room for one pointer.
        let dev = unsafe {
            bindings::oxnic_alloc_etherdev_mqs(
                size_of::<*const Private<T>>() as c_int,
                name,
                name_assign_type,
                queues.into(),
                queues.into(),
            )
        };
        // SAFETY: The device, if it is one, is not known to anybody else yet.
        if let Some(raw) = unsafe { dev.as_mut() } {
            raw.netdev_ops = &NetdevOps::<T>::TABLE;
            raw.ethtool_ops = &ethtool::EthtoolOps::<T>::TABLE;
            raw.stat_ops = &queues::StatOps::<T>::TABLE;
            raw.queue_mgmt_ops = match T::QUEUE_MGMT {
                Some(table) => table.as_ptr(),
                None => ptr::null(),
            };
            raw.xdp_metadata_ops = &xdp::METADATA_OPS;
            raw.max_mtu = config.max_mtu;
            raw.watchdog_timeo =
                c_int::try_from(msecs_to_jiffies(config.tx_timeout_ms)).unwrap_or(0);
            raw.hw_features = config.features | config.more_features;
            raw.features = config.features;
            raw.vlan_features = config.features & feature::FOR_VLANS;
            // SAFETY: As above.
            unsafe {
                bindings::oxnic_xdp_set_features(dev, config.xdp_features);
                bindings::oxnic_netdev_set_flags(dev, T::HAS_SET_RX_MODE);
                bindings::oxnic_netdev_request_lock(dev);
                bindings::oxnic_eth_hw_addr_random(dev);
                bindings::netif_carrier_off(dev);
            }
        }
        dev
    }

    /// Makes the device known (`register_netdevice`), with this data of the driver's. From here on
    /// callbacks come. On an error it has to be freed with `free_netdev`.
    ///
    /// # Safety
    ///
    /// `dev` must come from [`alloc`](Self::alloc) and have never been registered.
    pub(super) unsafe fn register<'a>(
        dev: *mut bindings::net_device,
        data: impl PinInit<T, Error>,
        _rtnl: &'a Rtnl,
    ) -> Result<(&'a Device, &'a T)> {
        let private: Pin<KBox<Private<T>>> = KBox::pin_init(
            try_pin_init!(Private {
                data <- data,
                n_stats: 0,
            }? Error),
            GFP_KERNEL,
        )?;
        let n_stats = ethtool::count_stats(&private.data);
        // SAFETY: The value is not moved out of its pinned place.
        let private = unsafe { KBox::into_raw(Pin::into_inner_unchecked(private)) };
        // SAFETY: Nobody else has the pointer yet. The device is complete and has room for it; RTNL is
        // held.
        let result = unsafe {
            (*private).n_stats = n_stats;
            netdev_priv(dev).cast::<*mut Private<T>>().write(private);
            to_result(bindings::register_netdevice(dev))
        };
        // SAFETY: The device is alive: RTNL is held.
        let state = u32::from(unsafe { (*dev).reg_state });
        if result.is_ok() || state == bindings::netdev_reg_state_NETREG_UNREGISTERING {
            // Also if somebody objected to a device that was registered already: it is in use until RTNL
            // is given back.
            // SAFETY: As above.
            unsafe { (*dev).priv_destructor = Some(Self::destroy) };
        } else {
            // SAFETY: The device has not been registered, so there are no callbacks.
            unsafe { Self::destroy(dev) };
        }
        result?;
        // SAFETY: The device is registered. As long as RTNL is held, that is during `'a`, it is not
        // freed.
        unsafe {
            (*dev).needs_free_netdev = true;
            Ok((Device::from_raw(dev), &(*private).data))
        }
    }

    /// Frees the driver's data.
    ///
    /// # Safety
    ///
    /// Called once for a device that [`register`](Self::register) worked on, by the kernel as
    /// `priv_destructor` or when it has not been registered: no callback runs or will run.
    unsafe extern "C" fn destroy(dev: *mut bindings::net_device) {
        // SAFETY: `register` put the pointer there, which came from a box.
        drop(unsafe { KBox::from_raw(netdev_priv(dev).cast::<*mut Private<T>>().read()) });
    }
}

/// The table of C callbacks for a driver.
pub(super) struct NetdevOps<T>(PhantomData<T>);

impl<T: Ops> NetdevOps<T> {
    const TABLE: bindings::net_device_ops = bindings::net_device_ops {
        ndo_open: Some(Self::open),
        ndo_stop: Some(Self::stop),
        ndo_uninit: callback!(T::HAS_UNINIT, Self::uninit),
        ndo_get_iflink: callback!(T::HAS_LINK_PEER, Self::iflink),
        ndo_start_xmit: Some(Self::start_xmit),
        ndo_tx_timeout: callback!(T::HAS_TX_TIMEOUT, Self::tx_timeout),
        ndo_get_stats64: Some(Self::stats64),
        ndo_change_mtu: callback!(T::HAS_CHANGE_MTU, Self::change_mtu),
        ndo_set_features: callback!(T::HAS_SET_FEATURES, Self::set_features),
        ndo_bpf: callback!(T::HAS_BPF, Self::bpf),
        ndo_xdp_xmit: callback!(T::HAS_XDP_XMIT, Self::xdp_xmit),
        ndo_set_rx_mode_async: callback!(T::HAS_SET_RX_MODE, Self::set_rx_mode),
        ndo_set_mac_address: Some(Self::set_mac_address),
        ndo_vlan_rx_add_vid: callback!(T::HAS_VLAN_RX_ADD_VID, Self::vlan_rx_add_vid),
        ndo_vlan_rx_kill_vid: callback!(T::HAS_VLAN_RX_KILL_VID, Self::vlan_rx_kill_vid),
        ndo_validate_addr: Some(bindings::eth_validate_addr),
        ndo_features_check: Some(bindings::oxnic_features_check),
        // SAFETY: A null function pointer is `None`, and every other field may be zero too.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// Called by the kernel as `ndo_open`, for a device of `Allocated<T>`.
    unsafe extern "C" fn open(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under both locks.
        let (data, dev, rtnl) = unsafe { Self::control(dev) };
        from_result(|| data.open(dev, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_stop`, for a device of `Allocated<T>`.
    unsafe extern "C" fn stop(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under both locks.
        let (data, dev, rtnl) = unsafe { Self::control(dev) };
        data.stop(dev, &rtnl);
        0
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_uninit`, for a device of `Allocated<T>`.
    unsafe extern "C" fn uninit(dev: *mut bindings::net_device) {
        // SAFETY: The kernel calls this under RTNL for a device of ours that it unregisters, or that it
        // did not register in the end: nobody else knows that one.
        let (data, dev, rtnl) = unsafe { Self::under_rtnl(dev) };
        data.uninit(dev, &rtnl);
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_get_iflink`, for a device of `Allocated<T>`.
    unsafe extern "C" fn iflink(dev: *const bindings::net_device) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours.
        let data = unsafe { &private::<T>(dev.cast_mut()).data };
        data.link_peer().map_or(0, |peer| peer.ifindex())
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_start_xmit`, for a device of `Allocated<T>`.
    unsafe extern "C" fn start_xmit(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> bindings::netdev_tx_t {
        // SAFETY: The kernel calls this for a registered device of ours, with an skb that is ours
        // from here on, and with bottom halves off.
        let (data, dev, skb, bh) = unsafe {
            (
                &private::<T>(dev).data,
                Device::from_raw(dev),
                SkBuff::from_raw(skb),
                bh::Disabled::assume(),
            )
        };
        match data.start_xmit(dev, skb, &bh) {
            Xmit::Done => bindings::netdev_tx_NETDEV_TX_OK,
            Xmit::Busy(skb) => {
                // The stack keeps the skb.
                skb.into_raw();
                bindings::netdev_tx_NETDEV_TX_BUSY
            }
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_tx_timeout`, for a device of `Allocated<T>`.
    unsafe extern "C" fn tx_timeout(dev: *mut bindings::net_device, queue: c_uint) {
        // SAFETY: The kernel calls this for a registered device of ours in a timer (`dev_watchdog` in
        // net/sched/sch_generic.c), so in softirq context, where bottom halves are off.
        let (data, dev, bh) = unsafe {
            (
                &private::<T>(dev).data,
                Device::from_raw(dev),
                bh::Disabled::assume(),
            )
        };
        if let Ok(queue) = u16::try_from(queue) {
            data.tx_timeout(dev, queue, &bh);
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_get_stats64`, for a device of `Allocated<T>`.
    unsafe extern "C" fn stats64(
        dev: *mut bindings::net_device,
        stats: *mut bindings::rtnl_link_stats64,
    ) {
        // SAFETY: The kernel calls this for a registered device of ours, with zeroed counters that
        // are nobody else's.
        let (data, stats) = unsafe { (&private::<T>(dev).data, &mut *stats) };
        data.stats64(stats);
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_change_mtu`, for a device of `Allocated<T>`.
    unsafe extern "C" fn change_mtu(dev: *mut bindings::net_device, mtu: c_int) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under both locks.
        let (data, device, rtnl) = unsafe { Self::control(dev) };
        from_result(|| {
            let mtu = u32::try_from(mtu)?;
            data.change_mtu(device, mtu, &rtnl)?;
            // SAFETY: The field lives as long as the device; RTNL keeps other writers out.
            unsafe { (&raw mut (*dev).mtu).write_volatile(mtu) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_bpf`, for a device of `Allocated<T>`.
    unsafe extern "C" fn bpf(
        dev: *mut bindings::net_device,
        bpf: *mut bindings::netdev_bpf,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under both locks.
        let (data, dev, rtnl) = unsafe { Self::control(dev) };
        from_result(|| {
            // SAFETY: The command is valid and this callback's until it returns.
            unsafe { xdp::dispatch(bpf, |command| data.bpf(dev, command, &rtnl)) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_set_features`, for a device of `Allocated<T>`.
    unsafe extern "C" fn set_features(
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under both locks.
        let (data, dev, rtnl) = unsafe { Self::control(dev) };
        from_result(|| data.set_features(dev, features, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_set_rx_mode_async`, for a device of `Allocated<T>`.
    unsafe extern "C" fn set_rx_mode(
        dev: *mut bindings::net_device,
        unicast: *mut bindings::netdev_hw_addr_list,
        multicast: *mut bindings::netdev_hw_addr_list,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under both locks, which keep the
        // flags as they are, with lists that nobody else has.
        let ((data, device, rtnl), mode) = unsafe {
            (
                Self::control(dev),
                RxMode::from_raw((*dev).flags, &*unicast, &*multicast),
            )
        };
        from_result(|| data.set_rx_mode(device, &mode, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_set_mac_address`, for a device of `Allocated<T>`.
    unsafe extern "C" fn set_mac_address(
        dev: *mut bindings::net_device,
        address: *mut c_void,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under both locks.
        let (data, device, rtnl) = unsafe { Self::control(dev) };
        from_result(|| {
            // SAFETY: The kernel gives a valid address of the device's type.
            to_result(unsafe { bindings::eth_prepare_mac_addr_change(dev, address) })?;
            if T::HAS_SET_MAC_ADDRESS {
                // SAFETY: As above; an address of this type is that long.
                let new = unsafe {
                    (&raw const (*address.cast::<bindings::sockaddr>()).sa_data)
                        .cast::<MacAddress>()
                        .read()
                };
                data.set_mac_address(device, new, &rtnl)?;
            }
            // SAFETY: As above; it was looked at.
            unsafe { bindings::eth_commit_mac_addr_change(dev, address) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_vlan_rx_add_vid`, for a device of `Allocated<T>`.
    unsafe extern "C" fn vlan_rx_add_vid(
        dev: *mut bindings::net_device,
        _proto: bindings::__be16,
        vid: u16,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under RTNL.
        let (data, dev, rtnl) = unsafe { Self::under_rtnl(dev) };
        from_result(|| data.vlan_rx_add_vid(dev, vid, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_vlan_rx_kill_vid`, for a device of `Allocated<T>`.
    unsafe extern "C" fn vlan_rx_kill_vid(
        dev: *mut bindings::net_device,
        _proto: bindings::__be16,
        vid: u16,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under RTNL.
        let (data, dev, rtnl) = unsafe { Self::under_rtnl(dev) };
        from_result(|| data.vlan_rx_kill_vid(dev, vid, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_xdp_xmit`, for a device of `Allocated<T>`.
    unsafe extern "C" fn xdp_xmit(
        dev: *mut bindings::net_device,
        count: c_int,
        frames: *mut *mut bindings::xdp_frame,
        flags: u32,
    ) -> c_int {
        if flags & !bindings::XDP_XMIT_FLUSH != 0 {
            return EINVAL.to_errno();
        }
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: The kernel calls this for a registered device of ours, with that many frames, and
        // with bottom halves off. It frees only those whose number is more than what is returned.
        let (data, dev, mut frames, bh) = unsafe {
            (
                &private::<T>(dev).data,
                Device::from_raw(dev),
                xdp::Frames::from_raw(frames, count),
                bh::Disabled::assume(),
            )
        };
        let flush = flags & bindings::XDP_XMIT_FLUSH != 0;
        let result = data.xdp_xmit(dev, &mut frames, flush, &bh);
        match (result, count - frames.left()) {
            (Err(error), 0) => error.to_errno(),
            (_, taken) => taken as c_int,
        }
    }

    /// What a callback works with that is called under both locks.
    ///
    /// # Safety
    ///
    /// `dev` must be a registered device of ours, not freed while the results are used; RTNL and its instance
    /// lock must be held for as long.
    pub(super) unsafe fn control<'a>(
        dev: *mut bindings::net_device,
    ) -> (&'a T, &'a LockedDevice, Rtnl) {
        // SAFETY: The caller's promises.
        unsafe {
            let (data, dev) = Self::locked(dev);
            (data, dev, Rtnl::assume_held())
        }
    }

    /// What a callback works with that is called under the instance lock; RTNL may be held or not.
    ///
    /// # Safety
    ///
    /// As [`control`](Self::control), but for RTNL.
    pub(super) unsafe fn locked<'a>(dev: *mut bindings::net_device) -> (&'a T, &'a LockedDevice) {
        // SAFETY: The caller's promises.
        unsafe { (&private::<T>(dev).data, LockedDevice::from_raw(dev)) }
    }

    /// What a callback works with that is called under RTNL; the instance lock may be held or not.
    ///
    /// # Safety
    ///
    /// As [`control`](Self::control), but for the instance lock.
    unsafe fn under_rtnl<'a>(dev: *mut bindings::net_device) -> (&'a T, &'a Device, Rtnl) {
        // SAFETY: The caller's promises.
        unsafe {
            (
                &private::<T>(dev).data,
                Device::from_raw(dev),
                Rtnl::assume_held(),
            )
        }
    }
}
