// SPDX-License-Identifier: GPL-2.0

//! XDP programs: publishing them to polls, and running them.

use super::prog_ctx::HasProgCtx;
use crate::{
    bindings,
    net::{
        device::netdev::Device,
        napi,
        rcu::dereference,
        rtnl::Rtnl, //
    },
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::from_err_ptr,
    fmt,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu, //
    },
    types::Opaque, //
};

/// A loaded BPF program of type XDP (`struct bpf_prog`).
///
/// # Invariants
///
/// An instance is a valid program of type XDP. It is freed only after its last reference is dropped
/// *and* an RCU grace period has passed.
#[repr(transparent)]
pub(crate) struct Prog(Opaque<bindings::bpf_prog>);

// SAFETY: Any thread may drop the last reference to a program.
unsafe impl Send for Prog {}
// SAFETY: A loaded program does not change, and its reference count is atomic.
unsafe impl Sync for Prog {}

// SAFETY: These change the reference count that keeps the program alive.
unsafe impl AlwaysRefCounted for Prog {
    fn inc_ref(&self) {
        // SAFETY: The program is valid. It is borrowed, so it has a reference.
        unsafe { bindings::bpf_prog_inc(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns the reference that is dropped.
        unsafe { bindings::bpf_prog_put(obj.as_ptr().cast()) };
    }
}

impl Prog {
    pub(in crate::net) fn as_ptr(&self) -> *mut bindings::bpf_prog {
        self.0.get()
    }

    /// The id that `bpftool prog` shows.
    pub(crate) fn id(&self) -> u32 {
        ProgRef::new(self).id()
    }

    /// Whether the program can run on multi-buffer frames (section `xdp.frags`).
    pub(crate) fn has_frags(&self) -> bool {
        ProgRef::new(self).has_frags()
    }

    /// Whether the program is bound to a device, so that it may ask for hints.
    pub(crate) fn is_dev_bound(&self) -> bool {
        // SAFETY: Every loaded program has an `aux`. The field does not change.
        unsafe { (*(*self.as_ptr()).aux).dev_bound }
    }

    /// The program's name, at most 15 bytes.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: Every loaded program has a name of this length, which does not change. It is an
        // array of `char`, which are bytes.
        let name = unsafe {
            let aux = (*self.as_ptr()).aux;
            &*(&raw const (*aux).name).cast::<[u8; PROG_NAME_LEN]>()
        };
        let len = name.iter().position(|&c| c == 0).unwrap_or(name.len());
        name.get(..len).unwrap_or(name)
    }
}

/// Length of a program's name with its NUL (`BPF_OBJ_NAME_LEN`).
const PROG_NAME_LEN: usize = 16;

/// A program that a poll has read from a [`ProgSlot`], valid during that poll. Its last reference
/// may be gone since, so it cannot be turned into an [`ARef`].
///
/// # Invariants
///
/// Points to a program of type XDP that is not freed during `'cx`.
#[derive(Clone, Copy)]
pub(crate) struct ProgRef<'cx> {
    ptr: NonNull<bindings::bpf_prog>,
    is_direct: bool,
    _lifetime: PhantomData<&'cx Prog>,
}

impl<'cx> ProgRef<'cx> {
    fn new(prog: &'cx Prog) -> Self {
        Self {
            ptr: NonNull::from(prog).cast(),
            is_direct: false,
            _lifetime: PhantomData,
        }
    }

    pub(in crate::net) fn as_ptr(self) -> *mut bindings::bpf_prog {
        self.ptr.as_ptr()
    }

    /// The id that `bpftool prog` shows; 0 once the program has lost its last reference.
    pub(crate) fn id(self) -> u32 {
        // SAFETY: Every loaded program has an `aux`. The field is written as a single word.
        unsafe { (&raw const (*(*self.as_ptr()).aux).id).read_volatile() }
    }

    /// Whether the program can run on multi-buffer frames (section `xdp.frags`).
    pub(crate) fn has_frags(self) -> bool {
        // SAFETY: Every loaded program has an `aux`. The field does not change.
        unsafe { (*(*self.as_ptr()).aux).xdp_has_frags }
    }

    /// Whether the kernel's `bpf_prog_run_xdp` would only call the program. Otherwise it measures
    /// the run time (`kernel.bpf_stats_enabled`), or chooses another device for `XDP_TX` on a
    /// member of a bond. It checks two static keys for that at each call; here this is done once
    /// per poll.
    #[inline]
    pub(crate) fn is_direct(self) -> bool {
        self.is_direct
    }

    /// The same program, always run by the kernel's `bpf_prog_run_xdp`, whose call ftrace can
    /// trace.
    pub(crate) fn indirect(self) -> Self {
        Self {
            is_direct: false,
            ..self
        }
    }

    /// Runs the program on a frame: `prog->bpf_func(xdp, prog->insnsi)`. The program may move the
    /// start and the end of the frame and change its bytes. If the frame is not
    /// [whole](HasProgCtx::check) afterwards, the verdict is [`XdpAction::ABORTED`].
    #[inline]
    pub(crate) fn bpf_prog_run_xdp(
        self,
        buff: &mut impl HasProgCtx,
        _cx: &napi::Context<'_>,
    ) -> XdpAction {
        let (prog, ctx) = (self.as_ptr(), buff.ctx().0);
        // SAFETY: The program is valid and of type XDP, the frame is ours, and `_cx` is the proof
        // of a NAPI poll, an RCU read-side section in which programs may run. For a direct program
        // the kernel's `bpf_prog_run_xdp` does no more than this call of the XDP dispatcher.
        let action = XdpAction(unsafe {
            if self.is_direct {
                let insns = (&raw const (*prog).__bindgen_anon_2).cast();
                bindings::bpf_dispatcher_xdp_func(ctx.cast(), insns, (*prog).bpf_func)
            } else {
                bindings::oxnic_bpf_prog_run_xdp(prog, ctx)
            }
        });
        if buff.check() {
            action
        } else {
            XdpAction::ABORTED
        }
    }
}

/// The return value of a program, normally one of `enum xdp_action`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct XdpAction(u32);

impl XdpAction {
    /// `XDP_ABORTED`: the program failed; drop the frame and trace an exception.
    pub(crate) const ABORTED: Self = Self(bindings::xdp_action_XDP_ABORTED);
    /// `XDP_DROP`: drop the frame.
    pub(crate) const DROP: Self = Self(bindings::xdp_action_XDP_DROP);
    /// `XDP_PASS`: pass the frame to the stack.
    pub(crate) const PASS: Self = Self(bindings::xdp_action_XDP_PASS);
    /// `XDP_TX`: send the frame back out of the device that received it.
    pub(crate) const TX: Self = Self(bindings::xdp_action_XDP_TX);
    /// `XDP_REDIRECT`: send the frame to the target that the program's helper has set.
    pub(crate) const REDIRECT: Self = Self(bindings::xdp_action_XDP_REDIRECT);

    pub(in crate::net) fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for XdpAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::ABORTED => "XDP_ABORTED",
            Self::DROP => "XDP_DROP",
            Self::PASS => "XDP_PASS",
            Self::TX => "XDP_TX",
            Self::REDIRECT => "XDP_REDIRECT",
            Self(number) => return write!(f, "{number} (unknown)"),
        })
    }
}

/// Traces the loss of a frame by `action`, as event `xdp:xdp_exception` (`trace_xdp_exception`).
pub(crate) fn trace_exception(dev: &Device, prog: ProgRef<'_>, action: XdpAction) {
    // SAFETY: Device and program are valid.
    unsafe { bindings::oxnic_trace_xdp_exception(dev.as_ptr(), prog.as_ptr(), action.0) };
}

/// Warns once in the kernel log that a program returned an unknown action
/// (`bpf_warn_invalid_xdp_action`).
pub(crate) fn warn_invalid_action(dev: &Device, prog: ProgRef<'_>, action: XdpAction) {
    // SAFETY: Device and program are valid.
    unsafe { bindings::bpf_warn_invalid_xdp_action(dev.as_ptr(), prog.as_ptr(), action.0) };
}

/// A slot where a program is published: a pointer that owns a reference.
///
/// The control path writes it, and polls read it without a lock. A poll only borrows the program,
/// for no longer than the poll. Since a poll is an RCU read-side section and a program outlives its
/// last reference by a grace period, the control path may drop the old reference as soon as the new
/// pointer is published.
///
/// # Invariants
///
/// The pointer is null, or this value owns a reference to the program it points to.
pub(crate) struct ProgSlot(Atomic<*mut bindings::bpf_prog>);

impl ProgSlot {
    /// An empty slot.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(ptr::null_mut()))
    }

    /// Publishes `new` and returns the old program (`xchg`).
    pub(crate) fn xchg(&self, new: Option<ARef<Prog>>, _rtnl: &Rtnl) -> Option<ARef<Prog>> {
        // SAFETY: The slot's reference to the old program moves to the result.
        unsafe { own(self.0.xchg(disown(new), Full)) }
    }

    /// Publishes `new` and returns the old program (`WRITE_ONCE`). Under RTNL this is the only
    /// writer, so a store is enough.
    pub(crate) fn write_once(&self, new: Option<ARef<Prog>>, _rtnl: &Rtnl) -> Option<ARef<Prog>> {
        let old = self.0.load(Relaxed);
        self.0.store(disown(new), Release);
        // SAFETY: RTNL excludes other writers, so the slot's reference to the old program moves to
        // this result only.
        unsafe { own(old) }
    }

    /// The published program, with a reference of its own.
    pub(crate) fn get(&self) -> Option<ARef<Prog>> {
        loop {
            let _rcu = rcu::read_lock();
            let ptr = NonNull::new(dereference(&self.0))?;
            // SAFETY: The slot had a reference when the pointer was read in this RCU read-side
            // section, so the program is not freed before the section ends. This takes a new
            // reference, unless the last one is gone.
            let prog = unsafe { bindings::bpf_prog_inc_not_zero(ptr.as_ptr()) };
            if let Ok(prog) = from_err_ptr(prog) {
                // SAFETY: `bpf_prog_inc_not_zero` has taken a reference, which moves to the result.
                return unsafe { own(prog) };
            }
            // The last reference is gone, so the program has been replaced: read again.
        }
    }

    /// The published program, borrowed for as long as the poll runs (`READ_ONCE`).
    #[inline]
    pub(crate) fn read_once<'cx>(&self, _cx: &'cx napi::Context<'_>) -> Option<ProgRef<'cx>> {
        let ptr = NonNull::new(dereference(&self.0))?;
        // INVARIANT: The slot had a reference when the pointer was read in an RCU read-side section
        // that lasts as long as `cx`.
        Some(ProgRef {
            ptr,
            // SAFETY: No preconditions.
            is_direct: !unsafe { bindings::oxnic_xdp_run_has_extras() },
            _lifetime: PhantomData,
        })
    }
}

impl Drop for ProgSlot {
    fn drop(&mut self) {
        // SAFETY: The slot's reference moves to the value that is dropped here.
        drop(unsafe { own(*self.0.get_mut()) });
    }
}

/// Turns a pointer that owns a reference into a value.
///
/// # Safety
///
/// `ptr` must be null or a program; a reference to it moves to the result.
pub(super) unsafe fn own(ptr: *mut bindings::bpf_prog) -> Option<ARef<Prog>> {
    // SAFETY: The caller's promise.
    NonNull::new(ptr).map(|ptr| unsafe { ARef::from_raw(ptr.cast()) })
}

/// The reverse of [`own`].
fn disown(prog: Option<ARef<Prog>>) -> *mut bindings::bpf_prog {
    prog.map_or(ptr::null_mut(), |prog| ARef::into_raw(prog).as_ptr().cast())
}
