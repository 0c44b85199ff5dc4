// SPDX-License-Identifier: GPL-2.0

//! Restarting a single receive queue.
//!
//! C header: [`include/net/netdev_queues.h`](srctree/include/net/netdev_queues.h)

use super::{
    device::{
        self,
        device_ref::DeviceRef,
        netdev::{
            LockedDevice,
            NAME_LEN, //
        },
        private::locked, //
    },
    rtnl_link::{
        Kind,
        Registration, //
    },
};
use crate::{
    bindings,
    compat::EOPNOTSUPP, //
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

pub(crate) use super::device::queue_mgmt_table::Table;

/// The callbacks that restart a receive queue (`struct netdev_queue_mgmt_ops`). All are called in
/// process context, under the device's instance lock. RTNL may be held or not.
///
/// The kernel allocates new memory first, so that the queue keeps running if that fails. If the
/// interface is up, it then stops the queue, starts it with the new memory, and frees the old one.
/// If the interface is down, it frees the new memory again.
pub(crate) trait Ops: device::Ops {
    /// The memory of a queue, such as its ring: given to it when it starts, returned when it stops.
    type Memory: Send + 'static;

    /// Allocates the memory for the restart (`ndo_queue_mem_alloc`). The interface may be down.
    fn alloc_queue(&self, dev: &LockedDevice, queue: usize) -> Result<Self::Memory>;

    /// Frees memory (`ndo_queue_mem_free`).
    fn free_queue(&self, dev: &LockedDevice, memory: Self::Memory);

    /// Starts the queue, which was stopped (`ndo_queue_start`). Cannot fail, since there is no way
    /// back.
    fn start_queue(&self, dev: &LockedDevice, queue: usize, memory: Self::Memory);

    /// Stops the queue and returns its memory (`ndo_queue_stop`). If this fails, the queue keeps
    /// running.
    fn stop_queue(&self, dev: &LockedDevice, queue: usize) -> Result<Self::Memory>;
}

impl<T: Ops> Table<T> {
    /// The [`device::Ops::QUEUE_MGMT`] of a driver with these callbacks.
    pub(crate) const CALLBACKS: Self = {
        // SAFETY: The kernel calls these callbacks for the devices that have the table. These are
        // devices of `T`, since only `device::Ops::QUEUE_MGMT` of `T` has this type.
        unsafe { Self::new(&Callbacks::<T>::TABLE) }
    };
}

/// Where the kernel keeps a queue's memory between callbacks: a pointer from a [`KBox`], or null.
type Place<T> = *mut <T as Ops>::Memory;

struct Callbacks<T>(PhantomData<T>);

impl<T: Ops> Callbacks<T> {
    const TABLE: bindings::netdev_queue_mgmt_ops = bindings::netdev_queue_mgmt_ops {
        ndo_queue_mem_size: size_of::<Place<T>>(),
        ndo_queue_mem_alloc: Some(Self::mem_alloc),
        ndo_queue_mem_free: Some(Self::mem_free),
        ndo_queue_start: Some(Self::start),
        ndo_queue_stop: Some(Self::stop),
        // SAFETY: A null function pointer is `None`, and every other field may be zero too.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// Called by the kernel as `ndo_queue_mem_alloc`, for a device of `Allocated<T>`.
    unsafe extern "C" fn mem_alloc(
        dev: *mut bindings::net_device,
        _config: *mut bindings::netdev_queue_config,
        place: *mut c_void,
        queue: c_int,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under its lock, with an
        // empty place.
        unsafe {
            fill::<T>(dev, place, |data, dev| {
                data.alloc_queue(dev, queue as usize)
            })
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_queue_mem_free`, for a device of `Allocated<T>`.
    unsafe extern "C" fn mem_free(dev: *mut bindings::net_device, place: *mut c_void) {
        // SAFETY: The kernel calls this for a registered device of ours under its lock.
        let (data, dev) = unsafe { locked::<T>(dev) };
        // SAFETY: The place is one of this device, so `fill` has filled it, or it is zeroed.
        if let Some(memory) = unsafe { take::<T>(place) } {
            data.free_queue(dev, memory);
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_queue_start`, for a device of `Allocated<T>`.
    unsafe extern "C" fn start(
        dev: *mut bindings::net_device,
        _config: *mut bindings::netdev_queue_config,
        place: *mut c_void,
        queue: c_int,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under its lock.
        let (data, dev) = unsafe { locked::<T>(dev) };
        // SAFETY: The place is one of this device, so `fill` has filled it, or it is zeroed.
        let Some(memory) = (unsafe { take::<T>(place) }) else {
            return EINVAL.to_errno();
        };
        data.start_queue(dev, queue as usize, memory);
        0
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_queue_stop`, for a device of `Allocated<T>`.
    unsafe extern "C" fn stop(
        dev: *mut bindings::net_device,
        place: *mut c_void,
        queue: c_int,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under its lock, with an
        // empty place.
        unsafe { fill::<T>(dev, place, |data, dev| data.stop_queue(dev, queue as usize)) }
    }
}

/// A callback that stores the memory that `get` returns in an empty place.
///
/// # Safety
///
/// `dev` must be a device of `Allocated<T>`, its lock must be held, and `place` must have room for
/// a [`Place`].
unsafe fn fill<T: Ops>(
    dev: *mut bindings::net_device,
    place: *mut c_void,
    get: impl FnOnce(&T, &LockedDevice) -> Result<T::Memory>,
) -> c_int {
    // SAFETY: The caller's promise.
    let (data, dev) = unsafe { locked::<T>(dev) };
    from_result(|| {
        // Allocated first: if that failed afterwards, the memory would be lost.
        let room = KBox::new_uninit(GFP_KERNEL)?;
        let memory = KBox::write(room, get(data, dev)?);
        // SAFETY: The place has room for the pointer, by the caller's promise.
        unsafe { place.cast::<Place<T>>().write(KBox::into_raw(memory)) };
        Ok(0)
    })
}

/// Takes the memory out of a place, if it is not empty.
///
/// # Safety
///
/// `place` must be zeroed, or must have been used only with [`fill`] and this function, for the
/// same `T`.
unsafe fn take<T: Ops>(place: *mut c_void) -> Option<T::Memory> {
    // SAFETY: The place holds a valid pointer or null, by the caller's promise.
    let memory = unsafe { ptr::replace(place.cast::<Place<T>>(), ptr::null_mut()) };
    // SAFETY: If the pointer is not null, it came from a box, and the place does not hold it any
    // more.
    (!memory.is_null()).then(|| KBox::into_inner(unsafe { KBox::from_raw(memory) }))
}

/// Why a receive queue was not restarted.
pub(crate) enum NotRestarted {
    /// There is no device of this link type and name.
    NoDevice,
    /// The queue is not in use; the device uses this many.
    NoQueue(u32),
    /// The kernel or the driver refused.
    Failed(Error),
}

impl<T: Kind> Registration<T> {
    /// Restarts receive queue `queue` of the device `name` in the network namespace of the caller
    /// (`netdev_rx_queue_restart`), if it is a device of this link type. Process context, may
    /// sleep; no instance lock may be held.
    pub(crate) fn restart_rx_queue(&self, name: &[u8], queue: u32) -> Result<(), NotRestarted> {
        let mut text = [0; NAME_LEN];
        let (to, _nul) = text.split_at_mut(NAME_LEN - 1);
        to.get_mut(..name.len())
            .ok_or(NotRestarted::NoDevice)?
            .copy_from_slice(name);
        // SAFETY: The last byte of the name stays NUL, and this is process context.
        let dev = unsafe { DeviceRef::by_name(text.as_ptr()) }.ok_or(NotRestarted::NoDevice)?;
        // SAFETY: The reference keeps the device alive; the field is set before it is registered.
        if unsafe { (*dev.as_ptr()).rtnl_link_ops } != self.as_ptr().cast_const() {
            return Err(NotRestarted::NoDevice);
        }
        let Some(dev) = dev.lock() else {
            return Err(NotRestarted::Failed(EOPNOTSUPP));
        };
        dev.restart_rx_queue(queue)
    }
}

impl LockedDevice {
    fn restart_rx_queue(&self, queue: u32) -> Result<(), NotRestarted> {
        // SAFETY: The device is alive, and both fields change only under its lock.
        let (state, queues) = unsafe {
            let dev = self.as_ptr();
            (u32::from((*dev).reg_state), (*dev).real_num_rx_queues)
        };
        if state != bindings::netdev_reg_state_NETREG_REGISTERED {
            return Err(NotRestarted::NoDevice);
        }
        if queue >= queues {
            return Err(NotRestarted::NoQueue(queues));
        }
        // SAFETY: The device is registered and has this queue; its lock is held.
        to_result(unsafe { bindings::netdev_rx_queue_restart(self.as_ptr(), queue) })
            .map_err(NotRestarted::Failed)
    }
}
