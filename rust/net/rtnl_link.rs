// SPDX-License-Identifier: GPL-2.0

//! Link types, whose devices users create and delete: `ip link add … type KIND`, `ip link del`.
//!
//! C header: [`include/net/rtnetlink.h`](srctree/include/net/rtnetlink.h)

use super::{
    device::{
        config::Config,
        netdev::{
            LockedDevice,
            NAME_LEN, //
        },
        ops,
        private::data,
        registration::{
            set_parent,
            Allocated,
            FauxParent, //
        },
    },
    rtnl::{
        ExtAck,
        Rtnl, //
    },
};
use crate::{
    bindings,
    compat::EADDRNOTAVAIL, //
};
use core::{
    ffi::CStr,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        self,
        null,
        null_mut,
        NonNull, //
    },
};
use kernel::{
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};

/// A link type (`struct rtnl_link_ops`); `Self` is the driver's data of a device.
///
/// A device is deleted by a user, with its network namespace, or with the [`Registration`].
pub(crate) trait Kind: ops::Ops {
    /// The name of the link type.
    const KIND: &CStr;

    /// The name of a device if the user gives none; the kernel replaces `%d` by the next free
    /// number. At most 15 bytes, which is checked at compile time.
    const DEVICE_NAME: &CStr;

    /// Whether creating a device needs `CAP_NET_ADMIN` in the initial user namespace. If not, root
    /// of any user namespace can create devices, and any user can become that. To be set if a
    /// device takes memory that is not charged to its creator.
    const ADMIN_ONLY: bool = false;

    /// The configuration of each device.
    const CONFIG: Config;

    /// The number of the only setting of this link type's own (in `IFLA_INFO_DATA`), a text. None
    /// by default.
    const TEXT_SETTING: Option<u16> = None;

    /// The number of transmit queues of a device, which is also that of its receive queues. `tx`
    /// and `rx` are the numbers that the user asks for, if any (`IFLA_NUM_TX_QUEUES`,
    /// `IFLA_NUM_RX_QUEUES`). Called more than once for each device.
    fn queues(tx: Option<u32>, rx: Option<u32>, extack: ExtAck<'_>) -> Result<u16>;

    /// The driver's data of a new device, which is to be joined with the device `link`
    /// (`IFLA_LINK`) if there is one, and has this [text](Self::TEXT_SETTING), if the user gives
    /// one. Registering the device may still fail afterwards. Process context, under RTNL.
    fn new(
        queues: u16,
        link: Option<&Self>,
        text: Option<&[u8]>,
        extack: ExtAck<'_>,
    ) -> Result<impl PinInit<Self, Error>>;

    /// Called when the device has just been registered. The interface is down, and stays so while
    /// RTNL is held.
    ///
    /// The device is visible already. So callbacks that do not need RTNL may run at the same time,
    /// or may have run before: those that only read, such as counters and [`link_peer`], and those
    /// of ethtool and queue management that get no [`Rtnl`]. The kernel may also have called
    /// [`set_features`], and a netdevice notifier may have changed a setting.
    ///
    /// [`link_peer`]: ops::Ops::link_peer
    /// [`set_features`]: ops::Ops::set_features
    fn registered(&self, dev: &LockedDevice, link: Option<&Self>, rtnl: &Rtnl);

    /// The name of the parent of all devices of this kind (`SET_NETDEV_DEV`), for which DMA is
    /// mapped: a device on the faux bus, which exists as long as the kind is registered. None by
    /// default.
    const PARENT: Option<&CStr> = None;
}

/// A registered link type. Dropping it deletes all its devices in all network namespaces, and waits
/// until they are no longer in use. Process context, may sleep; RTNL must not be held.
///
/// # Invariants
///
/// The operations are registered.
pub(crate) struct Registration<T>(Pin<KBox<Registered>>, PhantomData<T>);

/// The registered operations, and the parent of the devices.
// The kernel's pointer is that to the operations, so they come first.
#[repr(C)]
#[pin_data]
struct Registered {
    #[pin]
    ops: Opaque<bindings::rtnl_link_ops>,
    parent: Option<FauxParent>,
}

impl Registered {
    /// The pointer to the operations, which may be used for the whole value.
    fn as_ptr(&self) -> *mut bindings::rtnl_link_ops {
        ptr::from_ref(self).cast_mut().cast()
    }
}

// SAFETY: The operations may be unregistered by any thread.
unsafe impl<T> Send for Registration<T> {}
// SAFETY: A shared value only passes the operations to C functions, which lock what they change.
unsafe impl<T> Sync for Registration<T> {}

impl<T: Kind> Registration<T> {
    /// Registers the link type (`rtnl_link_register`). Fails with `EEXIST` if there is one of this
    /// name, and with `ENOMEM`. Process context.
    pub(crate) fn new() -> Result<Self> {
        let registered = KBox::pin_init(
            pin_init!(Registered {
                ops <- Opaque::new(LinkOps::<T>::OPS),
                parent: T::PARENT.map(FauxParent::new).transpose()?,
            }? Error),
            GFP_KERNEL,
        )?;
        // SAFETY: The operations are complete and stay where they are until they are unregistered.
        to_result(unsafe { bindings::rtnl_link_register(registered.as_ptr()) })?;
        // INVARIANT: Just registered.
        Ok(Self(registered, PhantomData))
    }

    /// Creates a device in the initial network namespace, with the defaults that a user would get,
    /// joined with the device `link`.
    pub(crate) fn create<'a>(&self, link: Option<&T>, rtnl: &'a Rtnl) -> Result<&'a T> {
        let () = LinkOps::<T>::NAME_FITS;
        let mut attrs = [null_mut(); bindings::__IFLA_MAX as usize];
        // SAFETY: `attrs` has an entry for each attribute, all null. The operations are
        // registered, and RTNL is held.
        let dev = from_err_ptr(unsafe {
            bindings::rtnl_create_link(
                &raw mut bindings::init_net,
                T::DEVICE_NAME.as_char_ptr(),
                bindings::NET_NAME_ENUM as c_uchar,
                self.as_ptr(),
                attrs.as_mut_ptr(),
                null_mut(),
            )
        })?;
        let extack = ExtAck::none();
        // SAFETY: The device comes from `LinkOps::alloc`, which `rtnl_create_link` calls, and has
        // not been registered. It is freed below if this fails.
        let made = unsafe { LinkOps::<T>::register(dev, link, None, extack, rtnl) };
        let made = made.inspect_err(|_| {
            // SAFETY: The device is either not registered, or being unregistered; in the second
            // case `free_netdev` defers the free (`NETREG_UNREGISTERING`).
            unsafe { bindings::free_netdev(dev) };
        })?;
        // SAFETY: The device is registered and RTNL is held. Without flags to set this cannot fail.
        unsafe { bindings::rtnl_configure_link(dev, null(), 0, null()) };
        Ok(made)
    }
}

impl<T> Registration<T> {
    pub(super) fn as_ptr(&self) -> *mut bindings::rtnl_link_ops {
        self.0.as_ptr()
    }
}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: The operations are registered. `rtnl_link_unregister` waits for users who are
        // creating a device, deletes all devices, and waits for those that others are deleting. So
        // neither the operations nor a device are in use when it returns.
        unsafe { bindings::rtnl_link_unregister(self.as_ptr()) };
    }
}

/// The attributes of a request: one or null for each number below `__IFLA_MAX`.
#[derive(Clone, Copy)]
struct Attrs<'a>(&'a [*mut bindings::nlattr; bindings::__IFLA_MAX as usize]);

impl<'a> Attrs<'a> {
    /// # Safety
    ///
    /// `attrs` must be an array of `__IFLA_MAX` pointers. Each must be null or point to an
    /// attribute that the kernel has validated. All of this must hold for `'a`.
    unsafe fn from_raw(attrs: *mut *mut bindings::nlattr) -> Self {
        // SAFETY: The caller's promise.
        Self(unsafe { &*attrs.cast() })
    }

    fn get(self, kind: u32) -> Option<&'a bindings::nlattr> {
        // SAFETY: Null or valid for `'a`, by the contract of `from_raw`.
        unsafe { self.0.get(kind as usize)?.as_ref() }
    }

    /// The payload of an attribute.
    fn bytes(self, kind: u32) -> Option<&'a [u8]> {
        // SAFETY: The attribute is valid, by the contract of `from_raw`.
        Some(unsafe { payload(self.get(kind)?) })
    }

    fn u32(self, kind: u32) -> Option<u32> {
        let bytes = self.bytes(kind)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }

    /// See [`Kind::queues`].
    fn queues<T: Kind>(self, extack: ExtAck<'_>) -> Result<u16> {
        let tx = self.u32(bindings::IFLA_NUM_TX_QUEUES);
        let rx = self.u32(bindings::IFLA_NUM_RX_QUEUES);
        T::queues(tx, rx, extack)
    }
}

/// The payload of an attribute.
///
/// # Safety
///
/// The attribute must be in a message that holds all of it and lives for `'a`.
unsafe fn payload<'a>(attr: &'a bindings::nlattr) -> &'a [u8] {
    const HEADER: usize = size_of::<bindings::nlattr>();
    let attr: *const bindings::nlattr = attr;
    // SAFETY: The payload follows the header, whose `nla_len` is the length of both.
    unsafe {
        let len = usize::from((*attr).nla_len).saturating_sub(HEADER);
        core::slice::from_raw_parts(attr.add(1).cast(), len)
    }
}

/// The C callbacks of a link type.
struct LinkOps<T>(PhantomData<T>);

impl<T: Kind> LinkOps<T> {
    /// Fails to compile if the device name is longer than `alloc_netdev_mqs` accepts.
    const NAME_FITS: () = assert!(T::DEVICE_NAME.to_bytes_with_nul().len() <= NAME_LEN);

    const OPS: bindings::rtnl_link_ops = bindings::rtnl_link_ops {
        kind: T::KIND.to_bytes_with_nul().as_ptr(),
        alloc: Some(Self::alloc),
        validate: Some(Self::validate),
        newlink: Some(Self::newlink),
        get_link_net: callback!(T::HAS_LINK_PEER, Self::link_net),
        // Without a policy: `text` looks at the only one of these attributes.
        maxtype: match T::TEXT_SETTING {
            Some(number) => number as u32,
            None => 0,
        },
        // SAFETY: A null function pointer is `None`, and every other field may be zero too.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// Called by the kernel as `validate`.
    unsafe extern "C" fn validate(
        attrs: *mut *mut bindings::nlattr,
        data: *mut *mut bindings::nlattr,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this with attributes that it has validated, and with an extack
        // for this call.
        let (attrs, text, extack) = unsafe {
            (
                Attrs::from_raw(attrs),
                Self::text(data),
                ExtAck::from_raw(extack),
            )
        };
        from_result(|| {
            if let Some(address) = attrs.bytes(bindings::IFLA_ADDRESS) {
                let is_unicast = address.len() == 6
                    && address.iter().any(|&byte| byte != 0)
                    && address.first().is_some_and(|byte| byte & 1 == 0);
                if !is_unicast {
                    extack.set(fmt!("address: must be a unicast Ethernet address"));
                    return Err(EADDRNOTAVAIL);
                }
            }
            let has_data = attrs.get(bindings::IFLA_LINKINFO).is_some_and(|info| {
                // SAFETY: The kernel has validated the attributes nested in it.
                unsafe { bindings::oxnic_nla_contains(info, bindings::IFLA_INFO_DATA as c_int) }
            });
            if has_data && text.is_none() {
                extack.set(fmt!("this type of link has no such setting"));
                return Err(EINVAL);
            }
            attrs.queues::<T>(extack).map(|_| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `alloc`.
    unsafe extern "C" fn alloc(
        attrs: *mut *mut bindings::nlattr,
        name: *const c_char,
        name_assign_type: c_uchar,
        _tx_queues: c_uint,
        _rx_queues: c_uint,
    ) -> *mut bindings::net_device {
        // SAFETY: The kernel calls this with attributes that it has validated.
        let attrs = unsafe { Attrs::from_raw(attrs) };
        // `validate` has reported why this fails.
        let queues = match attrs.queues::<T>(ExtAck::none()) {
            Ok(queues) => queues,
            Err(error) => return error.to_ptr(),
        };
        let name = match attrs.get(bindings::IFLA_IFNAME) {
            Some(_) => name,
            None => T::DEVICE_NAME.as_char_ptr(),
        };
        let () = Self::NAME_FITS;
        // SAFETY: The kernel's name fits, and so does the driver's, by the line above.
        unsafe { Allocated::<T>::alloc(name, name_assign_type, queues, &T::CONFIG) }
    }

    /// # Safety
    ///
    /// Called by the kernel as `newlink`.
    unsafe extern "C" fn newlink(
        dev: *mut bindings::net_device,
        params: *mut bindings::rtnl_newlink_params,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this under RTNL, with attributes that it has validated, and with
        // an extack for this call.
        let (attrs, text, extack, rtnl) = unsafe {
            (
                Attrs::from_raw((*params).tb),
                Self::text((*params).data),
                ExtAck::from_raw(extack),
                Rtnl::assume_held(),
            )
        };
        from_result(|| {
            // SAFETY: No preconditions.
            if T::ADMIN_ONLY && !unsafe { bindings::capable(bindings::CAP_NET_ADMIN as c_int) } {
                extack.set(fmt!("needs CAP_NET_ADMIN in the initial user namespace"));
                return Err(EPERM);
            }
            let link = match attrs.u32(bindings::IFLA_LINK) {
                // SAFETY: The device and the parameters are those of this call of `newlink`.
                Some(index) => Some(unsafe { Self::find(dev, params, index, extack, &rtnl) }?),
                None => None,
            };
            // SAFETY: The device comes from `alloc` and has not been registered. On an error the
            // kernel frees it.
            unsafe { Self::register(dev, link, text, extack, &rtnl) }.map(|_| 0)
        })
    }

    /// The text of [`Kind::TEXT_SETTING`], without the NUL at its end.
    ///
    /// # Safety
    ///
    /// `data` must be null, or an array of `maxtype + 1` pointers, each null or to an attribute in
    /// a message that outlives the result.
    unsafe fn text<'a>(data: *mut *mut bindings::nlattr) -> Option<&'a [u8]> {
        let number = T::TEXT_SETTING?;
        if data.is_null() {
            return None;
        }
        // SAFETY: The caller's promise: the number is that of the last pointer.
        let attr = unsafe { (*data.add(number.into())).as_ref() }?;
        // SAFETY: The kernel has checked that the message holds the whole attribute.
        let text = unsafe { payload(attr) };
        Some(text.strip_suffix(b"\0").unwrap_or(text))
    }

    /// The device with number `index`, which must be of this link type, in the network namespace
    /// that the user names (`IFLA_LINK_NETNSID`), or else in the user's own.
    ///
    /// # Safety
    ///
    /// `dev` and `params` must be those of a call of `newlink`.
    unsafe fn find<'a>(
        dev: *mut bindings::net_device,
        params: *mut bindings::rtnl_newlink_params,
        index: u32,
        extack: ExtAck<'_>,
        _rtnl: &'a Rtnl,
    ) -> Result<&'a T> {
        // SAFETY: The parameters are those of `newlink`, and RTNL is held.
        let found = unsafe {
            let net = bindings::oxnic_newlink_link_net(params);
            bindings::__dev_get_by_index(net, index as c_int)
        };
        let Some(found) = NonNull::new(found) else {
            extack.set(fmt!("link: no such device"));
            return Err(ENODEV);
        };
        // SAFETY: RTNL keeps both devices alive; the field is set before a device is registered.
        if unsafe { (*found.as_ptr()).rtnl_link_ops != (*dev).rtnl_link_ops } {
            let kind = T::KIND.to_str().unwrap_or_default();
            extack.set(fmt!("link: must be a device of type {kind}"));
            return Err(EINVAL);
        }
        // SAFETY: The device was found in the kernel's list, so it is registered. Its operations
        // are those of this link type, so its data is a `T`. It is not freed during `'a`, while
        // RTNL is held.
        Ok(unsafe { data::<T>(found.as_ptr()) })
    }

    /// Registers a new device.
    ///
    /// # Safety
    ///
    /// `dev` must come from `alloc` and have never been registered. On an error it must be freed
    /// with `free_netdev`.
    unsafe fn register<'a>(
        dev: *mut bindings::net_device,
        link: Option<&T>,
        text: Option<&[u8]>,
        extack: ExtAck<'_>,
        rtnl: &'a Rtnl,
    ) -> Result<&'a T> {
        // SAFETY: The device is alive. The number is the `u16` that `alloc` was given.
        let queues = unsafe { (*dev).num_rx_queues } as u16;
        let data = T::new(queues, link, text, extack)?;
        let dev = NonNull::new(dev).ok_or(ENOMEM)?;
        // SAFETY: The operations of the device are the first field of the `Registered` of a
        // `Registration`, which is not dropped before all its devices.
        let registered = unsafe { &*(*dev.as_ptr()).rtnl_link_ops.cast::<Registered>() };
        let parent = registered
            .parent
            .as_ref()
            .map(|parent| ARef::from(parent.device()));
        if let Some(parent) = &parent {
            // SAFETY: The device is not registered. `register` stores the reference to the parent
            // in its private part.
            unsafe { set_parent(dev, parent) };
        }
        // SAFETY: The caller's promise.
        let (dev, data) = unsafe { Allocated::<T>::register(dev, data, parent, rtnl) }?;
        let guard = dev.lock();
        let locked = match &guard {
            Some(locked) => locked,
            // SAFETY: The device is registered. Without an instance lock for its callbacks it is
            // RTNL that protects them.
            None => unsafe { LockedDevice::from_raw(dev.as_ptr()) },
        };
        data.registered(locked, link, rtnl);
        Ok(data)
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_link_net`, for a device of `Allocated<T>`.
    unsafe extern "C" fn link_net(dev: *const bindings::net_device) -> *mut bindings::net {
        // SAFETY: The kernel calls this for a registered device of ours.
        let peer = unsafe { data::<T>(dev.cast_mut()) }.link_peer();
        let dev = peer.map_or(dev, |peer| peer.as_ptr().cast_const());
        // SAFETY: The device and its peer are alive: the kernel calls this under RTNL, which keeps
        // devices from being freed or moved to another network namespace.
        unsafe { bindings::oxnic_dev_net(dev) }
    }
}
