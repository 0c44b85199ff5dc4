// SPDX-License-Identifier: GPL-2.0

//! Allocating, registering and unregistering a device.
//!
//! Users create the devices of a link type ([`rtnl_link`](crate::net::rtnl_link)). The driver of a
//! card on a bus creates a device for each card that it finds: an [`Unregistered`], which becomes a
//! [`Registration`].

use super::{
    callbacks::NetdevOps,
    config::Config,
    netdev::{
        Device,
        NAME_LEN, //
    },
    ops::Ops,
    private::{
        self,
        Private,
        ROOM, //
    },
    queue_stats::StatOps, //
};
use crate::{
    bindings,
    compat::faux_device,
    net::{
        ethtool,
        rtnl::Rtnl,
        rx_mode::MacAddress,
        xdp,
        xsk, //
    },
};
use core::{
    ffi::CStr,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    faux,
    prelude::*,
    sync::aref::ARef,
    time::msecs_to_jiffies, //
};

/// Functions for devices whose driver's data is a `T`. Before registration a device belongs to the
/// code that allocated it. Afterwards it belongs to the kernel, which frees it and the driver's
/// data once it has been unregistered.
pub(in crate::net) struct Allocated<T>(PhantomData<T>);

impl<T: Ops> Allocated<T> {
    /// Allocates an Ethernet device (`alloc_netdev_mqs`, `ether_setup`) with as many transmit as
    /// receive queues and no carrier, or returns null. It can be freed with `free_netdev`.
    ///
    /// # Safety
    ///
    /// `name` must be a string that ends with a NUL within [`NAME_LEN`] bytes.
    pub(in crate::net) unsafe fn alloc(
        name: *const c_char,
        name_assign_type: c_uchar,
        queues: u16,
        config: &Config,
    ) -> *mut bindings::net_device {
        // SAFETY: The name fits, by the caller's promise. The private part gets its room.
        let dev = unsafe {
            bindings::oxnic_alloc_etherdev_mqs(
                ROOM as c_int,
                name,
                name_assign_type,
                queues.into(),
                queues.into(),
            )
        };
        ethtool::EthtoolOps::<T>::check_bitfield();
        // SAFETY: Null, or a device that only this function knows yet.
        if let Some(raw) = unsafe { dev.as_mut() } {
            raw.netdev_ops = &NetdevOps::<T>::TABLE;
            raw.ethtool_ops = &ethtool::EthtoolOps::<T>::TABLE;
            raw.stat_ops = StatOps::<T>::TABLE_IF_ANY;
            raw.queue_mgmt_ops = T::QUEUE_MGMT.map_or(ptr::null(), |table| table.as_ptr());
            raw.xdp_metadata_ops = xdp::HintKinds::ALL.ops();
            if config.xsk_tx_metadata {
                raw.xsk_tx_metadata_ops = &xsk::TX_METADATA_OPS;
            }
            raw.xdp_zc_max_segs = config.xsk_max_buffers.max(1);
            raw.max_mtu = config.max_mtu;
            raw.watchdog_timeo =
                c_int::try_from(msecs_to_jiffies(config.tx_timeout_ms)).unwrap_or(0);
            raw.hw_features = config.features | config.more_features;
            raw.features = config.features;
            raw.vlan_features = config.features & config.vlan_features;
            raw.request_ops_lock = config.instance_lock;
            // SAFETY: Only this function knows the device yet, so no lock is needed.
            unsafe {
                bindings::oxnic_xdp_set_features(dev, config.xdp_features);
                bindings::oxnic_netdev_add_flags(dev, config.priv_flags(T::HAS_SET_RX_MODE));
                // When the kernel closes several devices at once it holds all their instance locks:
                // they need lockdep classes of their own.
                bindings::oxnic_netdev_lockdep_set_classes(dev);
                if config.random_address {
                    bindings::oxnic_eth_hw_addr_random(dev);
                }
                bindings::netif_carrier_off(dev);
            }
        }
        dev
    }

    /// Registers the device (`register_netdevice`) with the driver's `data`. Callbacks may come
    /// from here on. On an error the caller must free the device with `free_netdev`.
    ///
    /// # Safety
    ///
    /// `dev` must come from [`alloc`](Self::alloc) and have never been registered.
    pub(in crate::net) unsafe fn register<'a>(
        dev: NonNull<bindings::net_device>,
        data: impl PinInit<T, Error>,
        parent: Option<ARef<kernel::device::Device>>,
        _rtnl: &'a Rtnl,
    ) -> Result<(&'a Device, &'a T)> {
        // SAFETY: `alloc` has reserved the room, and the device is not registered.
        unsafe { Private::<T>::attach(dev, data, ethtool::count_stats, parent) }?;
        let dev = dev.as_ptr();
        // SAFETY: The device is complete, callbacks find the driver's data, and RTNL is held.
        let result = to_result(unsafe { bindings::register_netdevice(dev) });
        // SAFETY: The device is not freed before RTNL is released.
        let state = u32::from(unsafe { (*dev).reg_state });
        if result.is_ok() || state == bindings::netdev_reg_state_NETREG_UNREGISTERING {
            // Also if a notifier has rejected the device after its registration: it is in use until
            // RTNL is released.
            // SAFETY: The kernel reads the field after that, when the device is not in use any
            // more.
            unsafe { (*dev).priv_destructor = Some(Self::destroy) };
        } else {
            // SAFETY: The device was not registered, so no callback runs or will run.
            unsafe { Self::destroy(dev) };
        }
        result?;
        // SAFETY: The device is registered. RTNL is held during `'a`, so neither the device nor the
        // driver's data is freed.
        unsafe {
            (*dev).needs_free_netdev = true;
            Ok((Device::from_raw(dev), private::data(dev)))
        }
    }

    /// Frees the driver's data.
    ///
    /// # Safety
    ///
    /// Called once for a device that was passed to [`register`](Self::register), when no callback
    /// runs or will run: by the kernel as `priv_destructor`, or if registration has failed.
    unsafe extern "C" fn destroy(dev: *mut bindings::net_device) {
        // SAFETY: `register` has attached the private part. The rest is the caller's promise.
        unsafe { Private::<T>::detach(dev) };
    }
}

/// A device that its driver has allocated and not registered yet.
///
/// # Invariants
///
/// `dev` comes from [`Allocated::alloc`], has never been registered, and belongs to this value. Its
/// parent is `parent`.
pub(crate) struct Unregistered<T> {
    dev: NonNull<bindings::net_device>,
    parent: Option<ARef<kernel::device::Device>>,
    _driver: PhantomData<T>,
}

impl<T: Ops> Unregistered<T> {
    /// An Ethernet device with as many transmit as receive queues. The kernel replaces `%d` in
    /// `name` by the next free number. `parent` is the card's device on its bus (`SET_NETDEV_DEV`),
    /// for which DMA is mapped. A driver unregisters its network devices before that device is
    /// removed.
    ///
    /// Fails with `EINVAL` if the name is too long, and with `ENOMEM`.
    pub(crate) fn new(
        name: &CStr,
        queues: u16,
        config: &Config,
        parent: Option<&kernel::device::Device>,
    ) -> Result<Self> {
        if name.to_bytes_with_nul().len() > NAME_LEN || queues == 0 {
            return Err(EINVAL);
        }
        let assign_type = bindings::NET_NAME_ENUM as c_uchar;
        // SAFETY: The name fits, as just checked.
        let dev = unsafe { Allocated::<T>::alloc(name.as_char_ptr(), assign_type, queues, config) };
        let dev = NonNull::new(dev).ok_or(ENOMEM)?;
        if let Some(parent) = parent {
            // SAFETY: The device is not registered. Until it is freed, this value or the private
            // part has a reference to the parent.
            unsafe { set_parent(dev, parent) };
        }
        // INVARIANT: Just allocated.
        Ok(Self {
            dev,
            parent: parent.map(ARef::from),
            _driver: PhantomData,
        })
    }

    /// Sets the device's address to that of its card (`eth_hw_addr_set`).
    pub(crate) fn set_address(&mut self, address: MacAddress) {
        // SAFETY: Only this value knows the device; an Ethernet address has this length.
        unsafe { bindings::oxnic_eth_hw_addr_set(self.dev.as_ptr(), address.as_ptr()) };
    }

    /// Registers the device (`register_netdevice`). Callbacks may come from here on. May sleep. On
    /// an error the device is freed.
    pub(crate) fn register(
        self,
        data: impl PinInit<T, Error>,
        rtnl: &Rtnl,
    ) -> Result<Registration<T>> {
        let mut this = ManuallyDrop::new(self);
        let (dev, parent) = (this.dev, this.parent.take());
        // SAFETY: The device comes from `alloc` and has never been registered, by the type's
        // invariants. It is freed below if this fails.
        let registered = unsafe { Allocated::<T>::register(dev, data, parent, rtnl) };
        match registered {
            // INVARIANT: Just registered.
            Ok(_) => Ok(Registration {
                dev,
                _driver: PhantomData,
            }),
            Err(error) => {
                // SAFETY: The device is either not registered, or being unregistered; in the second
                // case `free_netdev` defers the free (`NETREG_UNREGISTERING`).
                unsafe { bindings::free_netdev(dev.as_ptr()) };
                Err(error)
            }
        }
    }
}

impl<T> Drop for Unregistered<T> {
    fn drop(&mut self) {
        // SAFETY: The device has never been registered, and only this value knows it.
        unsafe { bindings::free_netdev(self.dev.as_ptr()) };
    }
}

/// Makes `parent` the parent of a device: sysfs shows it, and DMA is mapped for it.
///
/// # Safety
///
/// The device must not be registered yet. The parent must stay valid until the device is freed.
pub(in crate::net) unsafe fn set_parent(
    dev: NonNull<bindings::net_device>,
    parent: &kernel::device::Device,
) {
    // `kernel::device::Device` is transparent.
    let parent = ptr::from_ref(parent).cast_mut().cast();
    // SAFETY: The caller's promises.
    unsafe { bindings::oxnic_set_netdev_dev(dev.as_ptr(), parent) };
}

/// A device that its driver has registered. Dropping it unregisters the device, and frees it after
/// the last callback. Process context, may sleep; RTNL must not be held.
///
/// # Invariants
///
/// `dev` is registered, with a `T` as its driver's data, and is only unregistered by this value.
pub(crate) struct Registration<T> {
    dev: NonNull<bindings::net_device>,
    _driver: PhantomData<T>,
}

// SAFETY: The device may be unregistered by any thread, which then drops the `T`.
unsafe impl<T: Send> Send for Registration<T> {}
// SAFETY: A shared value only lends the `T` and the device, which are `Sync`.
unsafe impl<T: Sync> Sync for Registration<T> {}

impl<T: Ops> Registration<T> {
    /// The device.
    pub(crate) fn device(&self) -> &Device {
        // SAFETY: It is registered as long as this value exists.
        unsafe { Device::from_raw(self.dev.as_ptr()) }
    }

    /// The driver's data.
    pub(crate) fn data(&self) -> &T {
        // SAFETY: The data lives as long as the device, which is registered as long as this value
        // exists.
        unsafe { private::data(self.dev.as_ptr()) }
    }
}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: The device is registered, and only this value unregisters it. The kernel then
        // frees it, since `needs_free_netdev` is set.
        unsafe { bindings::unregister_netdev(self.dev.as_ptr()) };
    }
}

/// A parent for the devices of a driver whose cards are not on a bus: a device on the faux bus, for
/// which DMA can be mapped. Dropping it removes that device; the network devices must have been
/// unregistered before.
pub(crate) struct FauxParent(faux::Registration);

impl FauxParent {
    /// Adds a faux device of this name, which can reach all memory by DMA.
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        let parent = Self(faux::Registration::new(name, None)?);
        let raw = ptr::from_ref(parent.device()).cast_mut().cast();
        // SAFETY: The device is valid, and no DMA is mapped for it yet.
        to_result(unsafe { bindings::oxnic_dma_reach_all(raw) })?;
        Ok(parent)
    }

    /// The device, for [`Unregistered::new`].
    pub(crate) fn device(&self) -> &kernel::device::Device {
        faux_device(&self.0)
    }
}
