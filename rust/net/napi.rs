// SPDX-License-Identifier: GPL-2.0

//! NAPI: the poll that a receive interrupt schedules.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use super::{
    bh,
    device::{Device, LockedDevice},
    irq::{Handler, Vector},
    skbuff::SkBuff,
    timer, //
};
use crate::bindings;
use core::{
    cell::{Cell, UnsafeCell},
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};
use kernel::{
    prelude::*,
    str::BStr,
    sync::{aref::ARef, rcu, Arc, UniqueArc},
    types::Opaque,
};

/// What a driver does when its ring's interrupt has come.
pub(crate) trait Poll: Send + 'static {
    /// Takes up to `budget` frames off the ring. Softirq context; the kernel never runs two polls
    /// of one NAPI at the same time, so `self` is this poll's alone.
    ///
    /// A `budget` of 0 allows no frame to be taken.
    fn poll(&mut self, cx: &Context<'_>, budget: u32) -> Polled;
}

/// What a poll came to.
pub(crate) enum Polled {
    /// There is, or may be, more to do: poll again.
    Again,
    /// The ring was empty after this many frames. If the kernel agrees that polling is over
    /// (`napi_complete_done`), the interrupt is armed again: [`Interrupt::rearm`].
    Done(u32),
}

/// The interrupt that schedules a NAPI, as the end of a poll sees it.
pub(crate) trait Interrupt: Send + Sync {
    /// Arms the interrupt. Returns whether the poll must be scheduled at once, since something came
    /// after it had looked for the last time.
    ///
    /// Another poll may be running already: there is no access to what polls work on.
    fn rearm(&self) -> bool;
}

/// The right to use what belongs to one NAPI alone: the allocation side of its page_pool.
///
/// # Safety
///
/// As long as a value of the type exists, its NAPI is being polled by this thread, or is disabled
/// and owned by it. If `MAY_SLEEP`, this is process context, else bottom halves are off.
pub(crate) unsafe trait NapiExclusive {
    /// Whether memory may be waited for.
    const MAY_SLEEP: bool;

    /// The NAPI.
    fn napi(&self) -> &NapiRef;
}

/// Control of a NAPI before it is enabled; see [`Disabled::prepare`].
pub(crate) struct Setup<'a>(&'a NapiRef);

// SAFETY: Made only by `Disabled::prepare`, in process context with the NAPI disabled and borrowed.
unsafe impl NapiExclusive for Setup<'_> {
    const MAY_SLEEP: bool = true;

    fn napi(&self) -> &NapiRef {
        self.0
    }
}

/// The surroundings of a running poll: softirq context and an RCU read-side section, prepared for
/// XDP.
///
/// # Invariants
///
/// `napi` is being polled by this thread for as long as a reference to this type exists.
pub(crate) struct Context<'a> {
    napi: &'a NapiRef,
    bh: bh::Disabled,
    redirected: Cell<bool>,
}

// SAFETY: By the type's invariants.
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
        // SAFETY: This NAPI is being polled; the stack takes the skb over.
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

/// The shared part of a NAPI, which an interrupt or a page_pool refers to. It may outlive the
/// [`Napi`]; scheduling it does nothing then. Dropping the last reference waits for an RCU grace period;
/// [`Removed`] waits only once for several.
///
/// # Invariants
///
/// `state` points to what the poll works on while the NAPI is enabled, and is null or not used
/// while it is disabled.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct NapiRef {
    // First, so that a pointer to it is one to the whole.
    #[pin]
    napi: Opaque<bindings::napi_struct>,
    state: UnsafeCell<*mut c_void>,
    enabled: AtomicBool,
    /// Whether a grace period has passed since only one reference was left.
    waited: AtomicBool,
    interrupt: Arc<dyn Interrupt>,
}

// SAFETY: The C object locks itself; `state` is used as the type's invariants say.
unsafe impl Send for NapiRef {}
// SAFETY: As above.
unsafe impl Sync for NapiRef {}

impl NapiRef {
    fn new(interrupt: Arc<dyn Interrupt>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                napi <- Opaque::ffi_init(|slot: *mut bindings::napi_struct| {
                    // SAFETY: The slot is ours; all zeroes is what `netif_napi_add` wants to find.
                    unsafe { ptr::write_bytes(slot, 0, 1) }
                }),
                state: UnsafeCell::new(ptr::null_mut()),
                enabled: AtomicBool::new(false),
                waited: AtomicBool::new(false),
                interrupt,
            }),
            GFP_KERNEL,
        )
    }

    /// Schedules the poll (`napi_schedule`): what a receive interrupt does. The poll runs when
    /// bottom halves are on again. Does nothing while the NAPI is disabled.
    pub(crate) fn schedule(&self, _bh: &bh::Disabled) {
        // SAFETY: Once added, the object stays a valid NAPI; a disabled or deleted one has its
        // SCHED bit set, which makes this do nothing.
        unsafe { bindings::oxnic_napi_schedule(self.napi.get()) };
    }

    /// As [`schedule`](Self::schedule), in the interrupt of a timer. The poll runs when that has ended.
    pub(crate) fn schedule_from_timer(&self, _cx: &timer::Context) {
        self.schedule_from_handler();
    }

    /// As [`schedule`](Self::schedule), in the handler of an interrupt.
    pub(super) fn schedule_from_handler(&self) {
        // SAFETY: As in `schedule`; allowed in any context.
        unsafe { bindings::oxnic_napi_schedule(self.napi.get()) };
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::napi_struct {
        self.napi.get()
    }

    /// Whether polls may run.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }
}

#[pinned_drop]
impl PinnedDrop for NapiRef {
    fn drop(self: Pin<&mut Self>) {
        // The kernel reads a NAPI by way of the device's list and of its page_pool, under RCU: both
        // have let go of it by now.
        if !self.waited.load(Ordering::Relaxed) {
            // SAFETY: No preconditions but process context.
            unsafe { bindings::synchronize_net() };
        }
    }
}

/// NAPIs that were [taken off](Disabled::remove) their device. Dropping this frees them, after a single RCU
/// grace period for all: with a lock held, one for each of many would be long. May sleep.
pub(crate) struct Removed(KVec<Pin<UniqueArc<NapiRef>>>);

impl Removed {
    /// Room for `count` of them; without memory each is waited for on its own. May sleep.
    pub(crate) fn with_room(count: usize) -> Self {
        Self(KVec::with_capacity(count, GFP_KERNEL).unwrap_or_default())
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        // Each reference is the only one: device, page_pool and interrupt had let go of the NAPIs before.
        // SAFETY: No preconditions but process context.
        unsafe { bindings::synchronize_net() };
        for instance in &self.0 {
            instance.waited.store(true, Ordering::Relaxed);
        }
    }
}

/// A NAPI of a device that is not enabled. Dropping it takes it off the device (`netif_napi_del`); may sleep.
///
/// # Invariants
///
/// The instance has been added to the device of `dev`, whose instance lock is held, and is disabled.
pub(crate) struct Disabled<'a, T: Poll> {
    parts: Parts,
    dev: &'a LockedDevice,
    _state: PhantomData<T>,
}

/// A NAPI of a device that is enabled, with what its poll works on. To be [stopped](Self::stop), not dropped.
///
/// # Invariants
///
/// The instance has been added to `dev` and is enabled. Its `state` is a `KBox<T>` turned into a pointer, and
/// the device's receive queue knows the NAPI.
pub(crate) struct Napi<T: Poll> {
    parts: Parts,
    // On whose list the NAPI is.
    dev: ARef<Device>,
    _state: PhantomData<T>,
}

/// A [`Disabled`] NAPI between two holders of its device's instance lock. To be [resumed](Self::resume), not
/// dropped.
///
/// # Invariants
///
/// The instance has been added to `dev` and is disabled.
pub(crate) struct Parked<T: Poll> {
    parts: Parts,
    dev: ARef<Device>,
    _state: PhantomData<T>,
}

/// What a NAPI consists of. Dropping it does nothing for the kernel's part.
struct Parts {
    instance: Arc<NapiRef>,
    handler: Option<Handler>,
}

impl<'a, T: Poll> Disabled<'a, T> {
    /// Adds a NAPI for receive queue `index` to `dev`, with the settings that the user gave this
    /// index earlier (`netif_napi_add_config`).
    ///
    /// Fails with `EINVAL` if the device has no such queue, and with `ENOMEM`.
    pub(crate) fn new(
        dev: &'a LockedDevice,
        index: u16,
        interrupt: Arc<dyn Interrupt>,
    ) -> Result<Self> {
        // SAFETY: The field is set when the device is allocated.
        if u32::from(index) >= unsafe { (*dev.as_ptr()).num_rx_queues } {
            return Err(EINVAL);
        }
        let instance = NapiRef::new(interrupt)?;
        // SAFETY: The NAPI is zeroed and stays where it is; the device is alive and its lock held.
        unsafe {
            bindings::oxnic_netif_napi_add_config(
                dev.as_ptr(),
                instance.as_ptr(),
                Some(Napi::<T>::poll),
                index.into(),
            );
        }
        let parts = Parts {
            instance,
            handler: None,
        };
        // INVARIANT: Just added, and disabled as every new one.
        Ok(Self::from_parts(parts, dev))
    }

    fn from_parts(parts: Parts, dev: &'a LockedDevice) -> Self {
        Self {
            parts,
            dev,
            _state: PhantomData,
        }
    }

    /// Takes the parts out, without taking the NAPI off the device.
    fn into_parts(self) -> (Parts, &'a LockedDevice) {
        let this = ManuallyDrop::new(self);
        // SAFETY: What `this` had is not used there any more.
        (unsafe { ptr::read(&this.parts) }, this.dev)
    }

    /// What interrupts schedule.
    pub(crate) fn napi_ref(&self) -> &Arc<NapiRef> {
        &self.parts.instance
    }

    /// Has interrupts of `vector` schedule the NAPI, and tells the user that they do
    /// (`netif_napi_set_irq`). They are listed by the names of device and receive queue. Fails with
    /// `ENOMEM`. May sleep.
    pub(crate) fn set_irq(&mut self, vector: &Arc<Vector>, index: u16) -> Result {
        let (vector, instance) = (vector.clone(), self.napi_ref().clone());
        let irq = vector.number();
        let name = self.dev.name();
        let name = BStr::from_bytes(name.split(|&byte| byte == 0).next().unwrap_or_default());
        let handler = Handler::new(vector, instance, fmt!("{name}-rx-{index}"))?;
        self.parts.handler = Some(handler);
        // SAFETY: The NAPI has been added to its device, whose lock is held.
        unsafe { bindings::netif_napi_set_irq_locked(self.napi_ref().as_ptr(), irq as c_int) };
        Ok(())
    }

    /// Runs `f` before the NAPI is enabled, for what only its poll may do otherwise: fill the ring
    /// for the first time.
    pub(crate) fn prepare<R>(&mut self, f: impl FnOnce(&Setup<'_>) -> R) -> R {
        // `self` is borrowed, so that nobody enables it meanwhile.
        f(&Setup(self.napi_ref()))
    }

    /// Lets polls run, on `state` (`napi_enable`).
    pub(crate) fn start(self, state: KBox<T>) -> Napi<T> {
        let (parts, dev) = self.into_parts();
        let instance = &parts.instance;
        // SAFETY: The NAPI is disabled: no poll looks at the pointer.
        unsafe { *instance.state.get() = KBox::into_raw(state).cast() };
        instance.enabled.store(true, Ordering::Relaxed);
        // SAFETY: The NAPI has been added to its device, whose lock is held, and is disabled. A poll
        // may run from here on; it finds the state.
        unsafe {
            bindings::oxnic_netif_queue_set_napi(instance.as_ptr(), true);
            bindings::napi_enable_locked(instance.as_ptr());
        }
        // INVARIANT: It is enabled now, with its state.
        Napi {
            parts,
            dev: ARef::from(&**dev),
            _state: PhantomData,
        }
    }

    /// Takes it off the device, to be freed with others. Whatever refers to the instance should be gone.
    pub(crate) fn remove(self, removed: &mut Removed) {
        let instance = self.napi_ref().clone();
        drop(self);
        if let Some(instance) = Arc::into_unique_or_drop(instance) {
            // Without room it is freed here.
            let _ = removed.0.push_within_capacity(instance);
        }
    }

    /// Keeps it as it is until it is [resumed](Parked::resume).
    pub(crate) fn park(self) -> Parked<T> {
        let (parts, dev) = self.into_parts();
        // INVARIANT: It stays added, and disabled.
        Parked {
            parts,
            dev: ARef::from(&**dev),
            _state: PhantomData,
        }
    }
}

impl<T: Poll> Drop for Disabled<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The NAPI was added to the device, whose lock is held, and is disabled. Who walks over
        // it is an RCU reader, for which the instance waits before it goes.
        unsafe { bindings::__netif_napi_del_locked(self.napi_ref().as_ptr()) };
    }
}

impl<T: Poll> Napi<T> {
    /// What interrupts schedule.
    pub(crate) fn napi_ref(&self) -> &Arc<NapiRef> {
        &self.parts.instance
    }

    /// Waits for a running poll to end, keeps further ones from running (`napi_disable`), and gives
    /// back what they worked on. Frames that GRO holds to merge them with later ones go to the stack: the kernel
    /// frees them with the NAPI. Returns [`None`] if it is not a NAPI of `dev`, and leaks it. May sleep.
    pub(crate) fn stop(self, dev: &LockedDevice) -> Option<(Disabled<'_, T>, KBox<T>)> {
        if !dev.is(&self.dev) {
            return None;
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: What `this` had is not used there any more.
        let (parts, _dev) = unsafe { (ptr::read(&this.parts), ptr::read(&this.dev)) };
        let instance = &parts.instance;
        // SAFETY: The NAPI is enabled, and the lock of its device is held.
        unsafe {
            bindings::napi_disable_locked(instance.as_ptr());
            // With `gro_flush_timeout` they stay there after a poll, until a timer comes, which is cancelled now
            // (`gro_cleanup` in net/core/gro.c frees what is left).
            bindings::oxnic_napi_gro_flush(instance.as_ptr());
            bindings::oxnic_netif_queue_set_napi(instance.as_ptr(), false);
        }
        instance.enabled.store(false, Ordering::Relaxed);
        // SAFETY: `start` put the pointer there, and no poll uses it any more.
        let state = unsafe {
            let state = ptr::replace(instance.state.get(), ptr::null_mut());
            KBox::from_raw(state.cast())
        };
        // INVARIANT: It is disabled now.
        Some((Disabled::from_parts(parts, dev), state))
    }

    /// The C callback.
    ///
    /// # Safety
    ///
    /// Called by the kernel for an enabled NAPI of this type, with bottom halves off.
    unsafe extern "C" fn poll(napi: *mut bindings::napi_struct, budget: c_int) -> c_int {
        // SAFETY: The NAPI is the first field of a `NapiRef`, alive while it can be polled, and
        // its state is a `T` that only this poll uses.
        let (instance, state) = unsafe {
            let instance = &*napi.cast::<NapiRef>();
            (instance, &mut *(*instance.state.get()).cast::<T>())
        };
        // INVARIANT: This is the poll.
        let cx = Context {
            napi: instance,
            // SAFETY: The kernel polls with bottom halves off.
            bh: unsafe { bh::Disabled::assume() },
            redirected: Cell::new(false),
        };
        // Bottom halves that are off are enough for whatever is not freed before a grace period has passed.
        // But some of what programs call looks for this lock (`bpf_fib_lookup`).
        let _rcu = rcu::read_lock();
        let budget = u32::try_from(budget).unwrap_or(0);
        let polled = state.poll(&cx, budget);
        if cx.redirected.get() {
            // SAFETY: In the poll that redirected.
            unsafe { bindings::xdp_do_flush() };
        }
        match polled {
            // NAPI must not be completed in a poll without a budget.
            Polled::Done(work) if work < budget => {
                // SAFETY: The poll has ended with less than its budget. From here on another poll
                // may run: `state` is not used any more. The instance is: it is freed only after
                // an RCU grace period, and this is a read-side section.
                let over = unsafe { bindings::napi_complete_done(napi, work as c_int) };
                if over && instance.interrupt.rearm() {
                    instance.schedule(&cx);
                }
                work as c_int
            }
            _ => budget as c_int,
        }
    }
}

impl<T: Poll> Drop for Napi<T> {
    fn drop(&mut self) {
        // Stopping it would need the lock, and the poll would run on without its NAPI.
        leak(&self.parts, &self.dev);
    }
}

impl<T: Poll> Parked<T> {
    /// The NAPI under the lock of its device again. Returns [`None`] if it is not one of `dev`, and leaks it.
    pub(crate) fn resume(self, dev: &LockedDevice) -> Option<Disabled<'_, T>> {
        if !dev.is(&self.dev) {
            return None;
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: What `this` had is not used there any more.
        let (parts, _dev) = unsafe { (ptr::read(&this.parts), ptr::read(&this.dev)) };
        // INVARIANT: It is disabled, and on the list of this device, whose lock is held.
        Some(Disabled::from_parts(parts, dev))
    }
}

impl<T: Poll> Drop for Parked<T> {
    fn drop(&mut self) {
        // Taking it off the device would need the lock.
        leak(&self.parts, &self.dev);
    }
}

/// Keeps a NAPI that is on the list of its device there for ever.
fn leak(parts: &Parts, dev: &ARef<Device>) {
    pr_err!("a NAPI was dropped without the lock of its device; both are leaked\n");
    core::mem::forget((parts.instance.clone(), dev.clone()));
}
