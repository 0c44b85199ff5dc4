// SPDX-License-Identifier: GPL-2.0

//! NAPI: the poll that a receive interrupt schedules.
//!
//! A NAPI is [`Disabled`], then started as a [`Napi`], and stopped again.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use super::{
    bh,
    device::{
        device_ref::DeviceRef,
        netdev::{
            Device,
            LockedDevice, //
        },
    },
    skbuff::SkBuff, //
};
use crate::bindings;
use core::{
    cell::Cell,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr, //
};
use irq::Handler;
use kernel::{
    prelude::*,
    str::BStr,
    sync::{
        rcu,
        Arc, //
    },
};

mod irq;
mod napi_ref;

pub(crate) use irq::IrqSource;
pub(crate) use napi_ref::{
    Interrupt,
    NapiRef,
    Removed, //
};

/// The poll callback of a driver, which an interrupt schedules.
pub(crate) trait Poll: Send + 'static {
    /// Processes up to `budget` received frames. Bottom halves are off: this is a softirq, a NAPI
    /// thread, or a task that busy polls. The kernel never runs two polls of one NAPI at the same
    /// time, so `self` belongs to this poll alone.
    ///
    /// With a `budget` of 0 (netpoll) no received frame may be processed.
    fn poll(&mut self, cx: &Context<'_>, budget: u32) -> Polled;
}

/// The result of a poll.
pub(crate) enum Polled {
    /// There may be more to do: poll again.
    Again,
    /// The ring is empty; this many frames were processed, fewer than the budget (otherwise this
    /// counts as [`Again`](Self::Again)). If the kernel agrees to end polling
    /// (`napi_complete_done`), the interrupt is armed again: [`Interrupt::rearm`].
    Done(u32),
}

/// Proof of exclusive access to what belongs to one NAPI: the allocation side of its page_pool.
///
/// # Safety
///
/// As long as a value of the type exists, this thread must be polling the NAPI, or must own it
/// while it is disabled. With `MAY_SLEEP` this must be process context; without, bottom halves must
/// be off.
pub(crate) unsafe trait NapiExclusive {
    /// Whether an allocation may sleep.
    const MAY_SLEEP: bool;

    /// The NAPI.
    fn napi(&self) -> &NapiRef;
}

/// Exclusive access to a NAPI before it is enabled; see [`Disabled::prepare`].
pub(crate) struct Setup<'a>(&'a NapiRef);

// SAFETY: Made only by `Disabled::prepare`, in process context with the NAPI disabled and borrowed.
unsafe impl NapiExclusive for Setup<'_> {
    const MAY_SLEEP: bool = true;

    fn napi(&self) -> &NapiRef {
        self.0
    }
}

/// The context of a running poll: bottom halves are off, which makes it an RCU read-side section.
/// When the poll ends, redirected frames are flushed.
///
/// # Invariants
///
/// `napi` is being polled by this thread for as long as a reference to this type exists.
pub(crate) struct Context<'a> {
    napi: &'a NapiRef,
    bh: bh::Disabled,
    redirected: Cell<bool>,
}

// SAFETY: A `Context` exists only in a poll of its NAPI, by this thread, with bottom halves off.
unsafe impl NapiExclusive for Context<'_> {
    const MAY_SLEEP: bool = false;

    #[inline]
    fn napi(&self) -> &NapiRef {
        self.napi
    }
}

impl Context<'_> {
    /// Hands a received frame to the stack, merged with its neighbours where possible
    /// (`napi_gro_receive`).
    #[inline]
    pub(crate) fn gro_receive(&self, skb: SkBuff) {
        // SAFETY: This thread is polling the NAPI. The skb's reference goes to the stack.
        unsafe { bindings::oxnic_napi_gro_receive(self.napi.as_ptr(), skb.into_raw()) };
    }

    /// Notes that a frame was redirected, so that the end of the poll flushes.
    pub(super) fn set_redirected(&self) {
        self.redirected.set(true);
    }
}

impl Deref for Context<'_> {
    type Target = bh::Disabled;

    fn deref(&self) -> &bh::Disabled {
        &self.bh
    }
}

/// A disabled NAPI of a locked device. It is added to the device when it is [started](Self::start)
/// for the first time. Dropping it removes it from there (`netif_napi_del`); may sleep.
///
/// # Invariants
///
/// The NAPI is disabled. If it has been added to a device, then to `dev`.
pub(crate) struct Disabled<'a, T: Poll> {
    parts: Parts,
    dev: &'a LockedDevice,
    _state: PhantomData<T>,
}

/// An enabled NAPI, with the state of its poll. To be [stopped](Self::stop), not dropped.
///
/// # Invariants
///
/// The NAPI has been added to `dev` and is enabled. Its `state` is the pointer of a `KBox<T>`, and
/// the device's receive queue refers to the NAPI (`netif_queue_set_napi`).
pub(crate) struct Napi<T: Poll> {
    parts: Parts,
    dev: DeviceRef,
    _state: PhantomData<T>,
}

/// A [`Disabled`] NAPI whose device's lock may be released. To be [resumed](Self::resume) under the
/// lock, not dropped. One that was started before should be resumed soon: a disabled NAPI on the
/// device's list keeps users from switching threaded NAPI off, who then hold the lock and wait
/// until it is enabled (`napi_stop_kthread`).
///
/// # Invariants
///
/// The NAPI is disabled. If it has been added to a device, then to `dev`.
pub(crate) struct Parked<T: Poll> {
    parts: Parts,
    dev: DeviceRef,
    _state: PhantomData<T>,
}

/// The parts of a NAPI. Dropping them does not remove it from its device.
struct Parts {
    napi: Arc<NapiRef>,
    /// The number of the receive queue, one of the device's.
    index: u16,
    handler: Option<Handler>,
    /// Whether it has been added to its device.
    is_added: bool,
}

impl<'a, T: Poll> Disabled<'a, T> {
    /// A NAPI for receive queue `index` of `dev`.
    ///
    /// Fails with `EINVAL` if the device has no such queue, and with `ENOMEM`.
    pub(crate) fn new(
        dev: &'a LockedDevice,
        index: u16,
        interrupt: Arc<dyn Interrupt>,
    ) -> Result<Self> {
        // SAFETY: The field is set when the device is allocated, and never changes.
        if u32::from(index) >= unsafe { (*dev.as_ptr()).num_rx_queues } {
            return Err(EINVAL);
        }
        let parts = Parts {
            napi: NapiRef::new(interrupt)?,
            index,
            handler: None,
            is_added: false,
        };
        // INVARIANT: A new NAPI is disabled, and has not been added.
        Ok(Self::from_parts(parts, dev))
    }

    fn from_parts(parts: Parts, dev: &'a LockedDevice) -> Self {
        Self {
            parts,
            dev,
            _state: PhantomData,
        }
    }

    /// Takes the parts out, without removing the NAPI from the device.
    fn into_parts(self) -> (Parts, &'a LockedDevice) {
        let this = ManuallyDrop::new(self);
        // SAFETY: This moves the field out: `this` is not used any more, and not dropped.
        (unsafe { ptr::read(&this.parts) }, this.dev)
    }

    /// The shared part, by which interrupts schedule the NAPI.
    pub(crate) fn napi_ref(&self) -> &Arc<NapiRef> {
        &self.parts.napi
    }

    /// The device of the NAPI.
    pub(crate) fn device(&self) -> &LockedDevice {
        self.dev
    }

    /// The number of its receive queue.
    pub(super) fn index(&self) -> u16 {
        self.parts.index
    }

    /// Requests the interrupt that schedules the NAPI. `/proc/interrupts` shows the names of the
    /// device and the receive queue. The start of the NAPI makes the number known
    /// (`netif_napi_set_irq`). Fails with `ENOMEM`. May sleep.
    ///
    /// A driver that requests its interrupt itself (`kernel::irq`) calls
    /// [`NapiRef::schedule_from_irq`] in the handler.
    pub(crate) fn set_irq(&mut self, source: Arc<dyn IrqSource>) -> Result {
        let index = self.parts.index;
        let name = self.dev.name();
        let name = BStr::from_bytes(name.split(|&byte| byte == 0).next().unwrap_or_default());
        let napi = self.napi_ref().clone();
        let handler = Handler::new(source, napi, fmt!("{name}-rx-{index}"))?;
        self.parts.handler = Some(handler);
        Ok(())
    }

    /// Takes over the interrupt of `other`, which it does not schedule any more; if this NAPI has
    /// an interrupt, nothing happens.
    pub(crate) fn take_irq(&mut self, other: &mut Self) {
        if self.parts.handler.is_some() {
            return;
        }
        let Some(mut handler) = other.parts.handler.take() else {
            return;
        };
        handler.set_napi(self.napi_ref().clone());
        self.parts.handler = Some(handler);
    }

    /// Runs `f` with exclusive access to the NAPI, which otherwise only its poll has: to fill the
    /// ring for the first time.
    pub(crate) fn prepare<R>(&mut self, f: impl FnOnce(&Setup<'_>) -> R) -> R {
        // `self` is borrowed, so the NAPI cannot be enabled meanwhile.
        f(&Setup(self.napi_ref()))
    }

    /// Enables the NAPI (`napi_enable`). Its polls work on `state`. If this is its first start,
    /// adds it to the device before (`netif_napi_add_config`). The settings that the user has made
    /// for its index stay in effect.
    pub(crate) fn start(self, state: KBox<T>) -> Napi<T> {
        let (mut parts, dev) = self.into_parts();
        let napi = &parts.napi;
        // SAFETY: The NAPI is disabled, so no poll uses the pointer.
        unsafe { *napi.state() = KBox::into_raw(state).cast() };
        let lock = dev.with_instance_lock();
        if !parts.is_added {
            // SAFETY: The NAPI is new and does not move. The device is alive, its instance lock is
            // held, and its array `napi_config` has an entry for this queue: `new` has checked the
            // index.
            unsafe {
                bindings::oxnic_netif_napi_add_config(
                    dev.as_ptr(),
                    napi.as_ptr(),
                    Some(Napi::<T>::poll),
                    parts.index.into(),
                );
            }
            parts.is_added = true;
        }
        if let Some(handler) = &parts.handler {
            // SAFETY: The NAPI has been added to the device, whose instance lock is held.
            unsafe {
                bindings::netif_napi_set_irq_locked(napi.as_ptr(), handler.irq() as c_int);
            }
        }
        // SAFETY: The NAPI has been added to its device, whose instance lock is held, and is
        // disabled. A poll may run from here on; it finds the state.
        napi.set_enabled(true, || unsafe {
            bindings::oxnic_netif_queue_set_napi(napi.as_ptr(), true);
            bindings::napi_enable_locked(napi.as_ptr());
        });
        drop(lock);
        // INVARIANT: Just enabled, with its state.
        Napi {
            parts,
            dev: DeviceRef::from(&**dev),
            _state: PhantomData,
        }
    }

    /// Removes the NAPI from the device, to be freed together with others. No other reference to
    /// its [`NapiRef`] should be left.
    pub(crate) fn remove(self, removed: &mut Removed) {
        let napi = self.napi_ref().clone();
        drop(self);
        removed.push(napi);
    }

    /// Keeps the NAPI, disabled, so that the lock can be released; see [`Parked::resume`].
    pub(crate) fn park(self) -> Parked<T> {
        let (parts, dev) = self.into_parts();
        // INVARIANT: It is still disabled, and not on another device.
        Parked {
            parts,
            dev: DeviceRef::from(&**dev),
            _state: PhantomData,
        }
    }
}

impl<T: Poll> Drop for Disabled<'_, T> {
    fn drop(&mut self) {
        if !self.parts.is_added {
            return;
        }
        let _lock = self.dev.with_instance_lock();
        // SAFETY: The NAPI was added to the device, whose instance lock is held, and is disabled.
        // Others find it on the device's list only as RCU readers; the `NapiRef` waits for these
        // before it is freed.
        unsafe { bindings::__netif_napi_del_locked(self.napi_ref().as_ptr()) };
    }
}

impl<T: Poll> Napi<T> {
    /// The shared part, by which interrupts schedule the NAPI.
    pub(crate) fn napi_ref(&self) -> &Arc<NapiRef> {
        &self.parts.napi
    }

    /// Disables the NAPI (`napi_disable`), which waits for a running poll, and returns the state of
    /// its polls. Frames that GRO holds for later merging go to the stack; otherwise the kernel
    /// would drop them with the NAPI. If it is not a NAPI of `dev`, leaks it and returns [`None`].
    /// May sleep.
    pub(crate) fn stop(self, dev: &LockedDevice) -> Option<(Disabled<'_, T>, KBox<T>)> {
        if !dev.is(&self.dev) {
            return None;
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: This moves the fields out: `this` is not used any more, and not dropped.
        let (parts, _dev) = unsafe { (ptr::read(&this.parts), ptr::read(&this.dev)) };
        let napi = &parts.napi;
        let lock = dev.with_instance_lock();
        // SAFETY: The NAPI is enabled, and the instance lock of its device is held.
        napi.set_enabled(false, || unsafe {
            bindings::napi_disable_locked(napi.as_ptr());
            // With `gro_flush_timeout` GRO holds frames after a poll, until a timer expires. The
            // timer is cancelled now, and `gro_cleanup` in net/core/gro.c would free the frames.
            flush_gro(napi.as_ptr());
            bindings::oxnic_netif_queue_set_napi(napi.as_ptr(), false);
        });
        drop(lock);
        // SAFETY: `start` stored the pointer, which came from a box, and no poll uses it any more.
        let state = unsafe {
            let state = ptr::replace(napi.state(), ptr::null_mut());
            KBox::from_raw(state.cast())
        };
        // INVARIANT: Just disabled.
        Some((Disabled::from_parts(parts, dev), state))
    }

    /// The C callback.
    ///
    /// # Safety
    ///
    /// Called by the kernel for an enabled NAPI of this type, with bottom halves off.
    unsafe extern "C" fn poll(napi: *mut bindings::napi_struct, budget: c_int) -> c_int {
        // SAFETY: `Disabled::start` gave the kernel the pointer of a `NapiRef`, which lives while
        // it can be polled. Its state is a `T` that only this poll uses.
        let (this, state) = unsafe {
            let this = NapiRef::from_raw(napi);
            (this, &mut *(*this.state()).cast::<T>())
        };
        // INVARIANT: This is a poll of the NAPI.
        let cx = Context {
            napi: this,
            // SAFETY: The kernel polls with bottom halves off.
            bh: unsafe { bh::Disabled::assume() },
            redirected: Cell::new(false),
        };
        // Bottom halves are off, so this is an RCU read-side section already. But some helpers that
        // programs call, such as `bpf_fib_lookup`, check for `rcu_read_lock`.
        let _rcu = rcu::read_lock();
        let budget = u32::try_from(budget).unwrap_or(0);
        let polled = state.poll(&cx, budget);
        if cx.redirected.get() {
            // SAFETY: This is the poll that has redirected frames.
            unsafe { bindings::xdp_do_flush() };
        }
        match polled {
            // A poll with a budget of 0 must not complete the NAPI.
            Polled::Done(work) if work < budget => {
                // SAFETY: The poll has used less than its budget. From here on another poll may
                // run, so `state` is not used any more. The `NapiRef` still is: it is freed only
                // after an RCU grace period, and this is a read-side section.
                let over = unsafe { bindings::napi_complete_done(napi, work as c_int) };
                if over && this.rearm() {
                    this.schedule(&cx);
                }
                work as c_int
            }
            _ => budget as c_int,
        }
    }
}

impl<T: Poll> Drop for Napi<T> {
    fn drop(&mut self) {
        // Disabling it needs the lock of the device, and a poll may be using it.
        leak(&self.parts, &self.dev);
    }
}

impl<T: Poll> Parked<T> {
    /// The NAPI, with the lock of its device held again. If it is not a NAPI of `dev`, leaks it and
    /// returns [`None`].
    pub(crate) fn resume(self, dev: &LockedDevice) -> Option<Disabled<'_, T>> {
        if !dev.is(&self.dev) {
            return None;
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: This moves the fields out: `this` is not used any more, and not dropped.
        let (parts, _dev) = unsafe { (ptr::read(&this.parts), ptr::read(&this.dev)) };
        // INVARIANT: It is disabled, and not on another device.
        Some(Disabled::from_parts(parts, dev))
    }
}

impl<T: Poll> Drop for Parked<T> {
    fn drop(&mut self) {
        // Removing it from the device needs the lock.
        leak(&self.parts, &self.dev);
    }
}

/// Passes the frames that GRO holds to the stack (`gro_flush_normal`). Process context.
///
/// # Safety
///
/// `napi` must be a disabled NAPI, and stay so during the call.
unsafe fn flush_gro(napi: *mut bindings::napi_struct) {
    let _bh = bh::disable();
    // SAFETY: No poll accesses the lists of a disabled NAPI. Bottom halves are off. The second list
    // is empty when its skbs have been passed on; as in `gro_normal_list`, its head is initialised
    // again.
    unsafe {
        bindings::oxnic_napi_gro_flush(napi);
        let gro = &raw mut (*napi).gro;
        let list = &raw mut (*gro).rx_list;
        bindings::netif_receive_skb_list(list);
        *list = bindings::list_head {
            next: list,
            prev: list,
        };
        (*gro).rx_count = 0;
    }
}

/// Keeps a NAPI, and the device that has it on its list, for ever.
fn leak(parts: &Parts, dev: &Device) {
    pr_err!("a NAPI was dropped without the lock of its device; both are leaked\n");
    core::mem::forget((parts.napi.clone(), DeviceRef::from(dev)));
}
