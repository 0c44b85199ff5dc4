// SPDX-License-Identifier: GPL-2.0

//! Receive queues that are restarted one by one while the device is up.
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
use crate::bindings;
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

/// What a driver does to restart a receive queue (`struct netdev_queue_mgmt_ops`), each in process
/// context under the device's instance lock. RTNL may be held or not.
///
/// New memory is allocated first, so that the queue goes on if that fails. Then, if the interface
/// is up, the queue is stopped and started with the new memory, and the old is freed; else the new
/// is.
pub(crate) trait Ops: device::Ops {
    /// The memory of a queue: what it works with while it runs, and returns when it is stopped.
    type Memory: Send + 'static;

    /// Allocates the memory with which the queue is to be restarted (`ndo_queue_mem_alloc`). The
    /// interface may be down.
    fn alloc_queue(&self, dev: &LockedDevice, queue: usize) -> Result<Self::Memory>;

    /// Frees it (`ndo_queue_mem_free`).
    fn free_queue(&self, dev: &LockedDevice, memory: Self::Memory);

    /// Lets the queue, which has been stopped, run (`ndo_queue_start`). There is no way back, so it
    /// must not fail.
    fn start_queue(&self, dev: &LockedDevice, queue: usize, memory: Self::Memory);

    /// Stops the queue and returns what it has worked with (`ndo_queue_stop`). It goes on if that
    /// fails.
    fn stop_queue(&self, dev: &LockedDevice, queue: usize) -> Result<Self::Memory>;
}

impl<T: Ops> Table<T> {
    /// The [`device::Ops::QUEUE_MGMT`] of a driver that does this.
    pub(crate) const CALLBACKS: Self = {
        // SAFETY: The kernel calls these callbacks for the devices that have the table, which are
        // those of this driver: `device::Ops::QUEUE_MGMT` is for the type that it belongs to.
        unsafe { Self::new(&Callbacks::<T>::TABLE) }
    };
}

/// Where the kernel keeps a queue's memory between two callbacks: a pointer from a [`KBox`], or
/// null.
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
        // SAFETY: The kernel calls this for a registered device of ours under its lock.
        let (data, dev) = unsafe { locked::<T>(dev) };
        // SAFETY: The place is an empty one.
        from_result(|| unsafe { fill::<T>(place, || data.alloc_queue(dev, queue as usize)) })
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_queue_mem_free`, for a device of `Allocated<T>`.
    unsafe extern "C" fn mem_free(dev: *mut bindings::net_device, place: *mut c_void) {
        // SAFETY: The kernel calls this for a registered device of ours under its lock.
        let (data, dev) = unsafe { locked::<T>(dev) };
        // SAFETY: The place is one of this device's.
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
        // SAFETY: The place is one of this device's.
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
        // SAFETY: The kernel calls this for a registered device of ours under its lock.
        let (data, dev) = unsafe { locked::<T>(dev) };
        // SAFETY: The place is an empty one.
        from_result(|| unsafe { fill::<T>(place, || data.stop_queue(dev, queue as usize)) })
    }
}

/// Puts what `make` makes into an empty place.
///
/// # Safety
///
/// `place` must have room for a [`Place`].
unsafe fn fill<T: Ops>(
    place: *mut c_void,
    make: impl FnOnce() -> Result<T::Memory>,
) -> Result<c_int> {
    // Allocated first: if it failed later, what `make` has made would be lost.
    let room = KBox::new_uninit(GFP_KERNEL)?;
    let memory = KBox::write(room, make()?);
    // SAFETY: The caller's promise.
    unsafe { place.cast::<Place<T>>().write(KBox::into_raw(memory)) };
    Ok(0)
}

/// Takes out what is in a place, if it is not empty.
///
/// # Safety
///
/// `place` must be zeroed, or one that was used with [`fill`] and this function for the same `T`.
unsafe fn take<T: Ops>(place: *mut c_void) -> Option<T::Memory> {
    // SAFETY: The caller's promise.
    let memory = unsafe { ptr::replace(place.cast::<Place<T>>(), ptr::null_mut()) };
    // SAFETY: If it is not null it came from a box, and is not there any more.
    (!memory.is_null()).then(|| KBox::into_inner(unsafe { KBox::from_raw(memory) }))
}

/// Why a receive queue was not restarted.
pub(crate) enum NotRestarted {
    /// There is no device of that kind and name.
    NoDevice,
    /// The queue is not in use; this many are.
    NoQueue(u32),
    /// The kernel or the driver refused.
    Failed(Error),
}

impl<T: Kind> Registration<T> {
    /// Restarts receive queue `queue` of the device `name` in the network namespace of the caller
    /// (`netdev_rx_queue_restart`), if it is a device of this kind. Process context, may sleep; no
    /// instance lock may be held.
    pub(crate) fn restart_rx_queue(&self, name: &[u8], queue: u32) -> Result<(), NotRestarted> {
        let mut text = [0; NAME_LEN];
        let (to, _nul) = text.split_at_mut(NAME_LEN - 1);
        to.get_mut(..name.len())
            .ok_or(NotRestarted::NoDevice)?
            .copy_from_slice(name);
        // SAFETY: The name ends with a NUL, and this is process context.
        let dev = unsafe { DeviceRef::by_name(text.as_ptr()) }.ok_or(NotRestarted::NoDevice)?;
        // SAFETY: The device is alive, and what made it does not change.
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
        // SAFETY: The device is alive, and both change only under the lock.
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
