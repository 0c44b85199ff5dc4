// SPDX-License-Identifier: GPL-2.0

//! The driver's side of the XDP hook: programs, the frames they run on, and the control path.
//!
//! C headers: [`include/net/xdp.h`](srctree/include/net/xdp.h),
//! [`include/linux/filter.h`](srctree/include/linux/filter.h)

use super::{
    device::Device,
    napi,
    page_pool::{Buffer, PagePool, BUFFER_SIZE, FRAME_ROOM, HEADROOM},
    rtnl::{ExtAck, Rtnl},
    skbuff::SkBuff,
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    sync::aref::{ARef, AlwaysRefCounted},
    types::Opaque,
};

/// What a device announces (`enum netdev_xdp_act`).
pub(crate) mod feature {
    use crate::bindings;

    /// Programs and the verdicts ABORTED, DROP, PASS and TX.
    pub(crate) const BASIC: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_BASIC;
    /// The verdict REDIRECT.
    pub(crate) const REDIRECT: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_REDIRECT;
}

/// A loaded BPF program of type XDP (`struct bpf_prog`).
///
/// # Invariants
///
/// An instance is a valid program of type XDP. It is freed only after its last reference is given
/// up *and* an RCU grace period has passed.
#[repr(transparent)]
pub(crate) struct Prog(Opaque<bindings::bpf_prog>);

// SAFETY: A loaded program does not change; its count is atomic.
unsafe impl Send for Prog {}
// SAFETY: As above.
unsafe impl Sync for Prog {}

// SAFETY: The count that these two change is what keeps a program.
unsafe impl AlwaysRefCounted for Prog {
    fn inc_ref(&self) {
        // SAFETY: The program is valid and, being borrowed, has a reference.
        unsafe { bindings::bpf_prog_inc(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference that it owns.
        unsafe { bindings::bpf_prog_put(obj.as_ptr().cast()) };
    }
}

impl Prog {
    fn as_ptr(&self) -> *mut bindings::bpf_prog {
        self.0.get()
    }

    /// The id that `bpftool prog` shows.
    pub(crate) fn id(&self) -> u32 {
        ProgRef::new(self).id()
    }

    /// The program's name, at most 15 bytes.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: Every loaded program has a name, which does not change as long as it lives; the
        // name's type is bytes too.
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

/// A program that was published when a poll looked, lent to it. It may have lost its last
/// reference since, so there is no way to an [`ARef`] from here.
///
/// # Invariants
///
/// Points to a program of type XDP that is not freed during `'cx`.
#[derive(Clone, Copy)]
pub(crate) struct ProgRef<'cx> {
    ptr: NonNull<bindings::bpf_prog>,
    _lifetime: PhantomData<&'cx Prog>,
}

impl<'cx> ProgRef<'cx> {
    fn new(prog: &'cx Prog) -> Self {
        Self {
            ptr: NonNull::from(prog).cast(),
            _lifetime: PhantomData,
        }
    }

    fn as_ptr(self) -> *mut bindings::bpf_prog {
        self.ptr.as_ptr()
    }

    /// The id that `bpftool prog` shows; 0 once the program has lost its last reference.
    pub(crate) fn id(self) -> u32 {
        // SAFETY: Every loaded program has it; it is written as a word.
        unsafe { (&raw const (*(*self.as_ptr()).aux).id).read_volatile() }
    }

    /// Runs the program on a frame (`bpf_prog_run_xdp`): `prog->bpf_func(xdp, prog->insnsi)`. It
    /// may move the start and the end of the frame and change its bytes.
    #[inline]
    pub(crate) fn run(self, buff: &mut Buff<'_>, _cx: &napi::Context<'_>) -> Verdict {
        // SAFETY: The program is valid and of type XDP; the frame is ours; this is a NAPI poll.
        let act = unsafe { bindings::oxnic_bpf_prog_run_xdp(self.as_ptr(), &mut buff.xdp) };
        Verdict::from(act)
    }
}

/// What a program decides about a frame (`enum xdp_action`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// `XDP_ABORTED`: the program failed; drop the frame and tell.
    Aborted,
    /// `XDP_DROP`: drop the frame.
    Drop,
    /// `XDP_PASS`: hand the frame to the stack.
    Pass,
    /// `XDP_TX`: send the frame out of the port it came in by.
    Tx,
    /// `XDP_REDIRECT`: hand the frame to where the program's helper pointed.
    Redirect,
    /// A number that is no verdict.
    Unknown(u32),
}

impl From<u32> for Verdict {
    #[inline]
    fn from(act: u32) -> Self {
        match act {
            bindings::xdp_action_XDP_ABORTED => Self::Aborted,
            bindings::xdp_action_XDP_DROP => Self::Drop,
            bindings::xdp_action_XDP_PASS => Self::Pass,
            bindings::xdp_action_XDP_TX => Self::Tx,
            bindings::xdp_action_XDP_REDIRECT => Self::Redirect,
            other => Self::Unknown(other),
        }
    }
}

impl Verdict {
    fn number(self) -> u32 {
        match self {
            Self::Aborted => bindings::xdp_action_XDP_ABORTED,
            Self::Drop => bindings::xdp_action_XDP_DROP,
            Self::Pass => bindings::xdp_action_XDP_PASS,
            Self::Tx => bindings::xdp_action_XDP_TX,
            Self::Redirect => bindings::xdp_action_XDP_REDIRECT,
            Self::Unknown(act) => act,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aborted => "XDP_ABORTED",
            Self::Drop => "XDP_DROP",
            Self::Pass => "XDP_PASS",
            Self::Tx => "XDP_TX",
            Self::Redirect => "XDP_REDIRECT",
            Self::Unknown(act) => return write!(f, "{act} (unknown)"),
        })
    }
}

/// Tells `xdp:xdp_exception` listeners that a frame was lost by `verdict`
/// (`trace_xdp_exception`).
pub(crate) fn trace_exception(dev: &Device, prog: ProgRef<'_>, verdict: Verdict) {
    // SAFETY: Device and program are valid.
    unsafe { bindings::oxnic_trace_xdp_exception(dev.as_ptr(), prog.as_ptr(), verdict.number()) };
}

/// Says once in the kernel log that a program returned a number that is no verdict
/// (`bpf_warn_invalid_xdp_action`).
pub(crate) fn warn_invalid_action(dev: &Device, prog: ProgRef<'_>, act: u32) {
    // SAFETY: Device and program are valid.
    unsafe { bindings::bpf_warn_invalid_xdp_action(dev.as_ptr(), prog.as_ptr(), act) };
}

/// A place where a program is published: one pointer, which owns one reference.
///
/// Written by the control path, read by polls without a lock. A poll only borrows the program, for
/// no longer than itself; since a poll is an RCU read-side section and a program outlives its last
/// reference by a grace period, the control path may give up the old reference as soon as the new
/// pointer is published.
///
/// # Invariants
///
/// The pointer is null, or this value owns a reference to the program it points to.
pub(crate) struct ProgSlot(AtomicPtr<bindings::bpf_prog>);

impl ProgSlot {
    /// A slot without a program.
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Publishes `new` and returns what was there (`xchg`).
    pub(crate) fn xchg(&self, new: Option<ARef<Prog>>, _rtnl: &Rtnl) -> Option<ARef<Prog>> {
        // SAFETY: The slot's reference to the old program goes over to the result.
        unsafe { own(self.0.swap(disown(new), Ordering::AcqRel)) }
    }

    /// Publishes `new` and returns what was there (`WRITE_ONCE`). RTNL makes this the only writer,
    /// so that a store is enough.
    pub(crate) fn write_once(&self, new: Option<ARef<Prog>>, _rtnl: &Rtnl) -> Option<ARef<Prog>> {
        let old = self.0.load(Ordering::Relaxed);
        self.0.store(disown(new), Ordering::Release);
        // SAFETY: RTNL keeps other writers out, so the slot's reference to the old program goes over
        // to this result alone.
        unsafe { own(old) }
    }

    /// The published program, lent for as long as the poll runs (`READ_ONCE`).
    #[inline]
    pub(crate) fn read_once<'cx>(&self, _cx: &'cx napi::Context<'_>) -> Option<ProgRef<'cx>> {
        // Acquire costs nothing more than READ_ONCE on x86 and orders what the poll reads of the
        // program on every machine.
        let ptr = NonNull::new(self.0.load(Ordering::Acquire))?;
        // INVARIANT: The slot had a reference when the pointer was read, inside an RCU read-side
        // section that lasts as long as `cx`.
        Some(ProgRef {
            ptr,
            _lifetime: PhantomData,
        })
    }
}

impl Drop for ProgSlot {
    fn drop(&mut self) {
        // SAFETY: The slot's reference is given up with it.
        drop(unsafe { own(*self.0.get_mut()) });
    }
}

/// # Safety
///
/// `ptr` must be null or a program; a reference to it goes over to the result.
unsafe fn own(ptr: *mut bindings::bpf_prog) -> Option<ARef<Prog>> {
    // SAFETY: The caller's promise.
    NonNull::new(ptr).map(|ptr| unsafe { ARef::from_raw(ptr.cast()) })
}

/// The pointer, with the reference.
fn disown(prog: Option<ARef<Prog>>) -> *mut bindings::bpf_prog {
    prog.map_or(ptr::null_mut(), |prog| ARef::into_raw(prog).as_ptr().cast())
}

/// What a receive ring is to XDP (`struct xdp_rxq_info`), with the page_pool its frames come from.
///
/// # Invariants
///
/// `info` is registered for `dev`, with `pool` as its memory model.
#[pin_data(PinnedDrop)]
pub(crate) struct RxQueue {
    #[pin]
    info: Opaque<bindings::xdp_rxq_info>,
    pool: PagePool,
    dev: ARef<Device>,
}

// SAFETY: The C object is read by the polls of its ring and written only here.
unsafe impl Send for RxQueue {}

impl RxQueue {
    /// Registers receive queue `index` of `dev` (`xdp_rxq_info_reg`) with `pool` as its memory
    /// model (`MEM_TYPE_PAGE_POOL`). Fails with `ENOMEM`. May sleep.
    pub(crate) fn new(
        dev: &Device,
        index: u16,
        pool: PagePool,
        _rtnl: &Rtnl,
    ) -> Result<Pin<KBox<Self>>> {
        let raw_pool = pool.as_ptr();
        let raw_dev = dev.as_ptr();
        KBox::try_pin_init(
            try_pin_init!(Self {
                info <- Opaque::try_ffi_init(|slot: *mut bindings::xdp_rxq_info| {
                    // SAFETY: The slot is ours and stays where it is; device and pool are valid.
                    unsafe {
                        ptr::write_bytes(slot, 0, 1);
                        to_result(bindings::oxnic_xdp_rxq_info_reg(
                            slot,
                            raw_dev,
                            index.into(),
                        ))?;
                        to_result(bindings::xdp_rxq_info_reg_mem_model(
                            slot,
                            bindings::xdp_mem_type_MEM_TYPE_PAGE_POOL,
                            raw_pool.cast(),
                        ))
                        .inspect_err(|_| bindings::xdp_rxq_info_unreg(slot))
                    }
                }),
                pool,
                dev: dev.into(),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The device.
    #[inline]
    pub(crate) fn device(&self) -> &Device {
        &self.dev
    }

    /// A buffer from the ring's page_pool; see [`PagePool::alloc`].
    #[inline]
    pub(crate) fn alloc(self: Pin<&mut Self>, cx: &impl napi::Owner) -> Option<Buffer> {
        self.project().pool.alloc(cx)
    }
}

#[pinned_drop]
impl PinnedDrop for RxQueue {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by `new`; no poll uses it any more.
        unsafe { bindings::xdp_rxq_info_unreg(self.info.get()) };
    }
}

/// A received frame that XDP works on (`struct xdp_buff`), in a buffer of its own. Dropping it
/// gives the buffer back to its pool.
///
/// # Invariants
///
/// `xdp` describes a part of `buffer`, which is whole otherwise: head room in front, room for
/// `struct skb_shared_info` behind. `xdp.rxq` is that of `queue`.
pub(crate) struct Buff<'q> {
    xdp: bindings::xdp_buff,
    buffer: Buffer,
    queue: &'q RxQueue,
}

impl<'q> Buff<'q> {
    /// The frame of `len` bytes that the NIC has written to `buffer` (`xdp_init_buff`,
    /// `xdp_prepare_buff`). More than the buffer's room is cut off.
    #[inline]
    pub(crate) fn new(queue: &'q RxQueue, buffer: Buffer, len: u32) -> Self {
        let start = buffer.start();
        let len = (len as usize).min(FRAME_ROOM);
        // SAFETY: Inside the page.
        let data: *mut c_void = unsafe { start.add(HEADROOM) }.cast();
        // INVARIANT: Head and tail room are what they should be, since `len` is within the room.
        Self {
            xdp: bindings::xdp_buff {
                data,
                // SAFETY: Inside the page.
                data_end: unsafe { data.byte_add(len) },
                data_meta: data,
                data_hard_start: start.cast(),
                rxq: queue.info.get(),
                txq: ptr::null_mut(),
                __bindgen_anon_1: bindings::xdp_buff__bindgen_ty_1 {
                    __bindgen_anon_1: bindings::xdp_buff__bindgen_ty_1__bindgen_ty_1 {
                        frame_sz: BUFFER_SIZE as u32,
                        flags: 0,
                    },
                },
            },
            buffer,
            queue,
        }
    }

    /// Length of the frame in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        (self.xdp.data_end as usize).wrapping_sub(self.xdp.data as usize)
    }

    /// The frame's bytes.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        // SAFETY: From `data` to `data_end` is a part of the buffer, which is ours.
        unsafe { slice::from_raw_parts(self.xdp.data.cast(), self.len()) }
    }

    /// Gives the buffer back to the pool from inside the poll, which is cheaper than dropping it.
    #[inline]
    pub(crate) fn recycle(self, cx: &impl napi::Owner) {
        self.buffer.recycle(cx);
    }

    /// An skb around the frame, with the metadata that a program put in front of it, ready for the
    /// stack (`xdp_build_skb_from_buff`). `None` if there is no memory; the frame is lost then.
    #[inline]
    pub(crate) fn into_skb(self, _cx: &napi::Context<'_>) -> Option<SkBuff> {
        // SAFETY: The frame is in a page of a page_pool, with the room that an skb needs.
        let skb = unsafe { bindings::xdp_build_skb_from_buff(&self.xdp) };
        if skb.is_null() {
            return None;
        }
        // The page belongs to the skb now.
        self.buffer.into_raw();
        // SAFETY: A new skb, which is ours.
        Some(unsafe { SkBuff::from_raw(skb) })
    }

    /// Sends the frame to where the program's redirect helper pointed (`xdp_do_redirect`). The end
    /// of the poll flushes (`xdp_do_flush`). On failure the frame comes back.
    #[inline]
    pub(crate) fn redirect(
        mut self,
        prog: ProgRef<'_>,
        cx: &napi::Context<'_>,
    ) -> Result<(), (Self, Error)> {
        // SAFETY: All are valid; this is the poll in which the program ran on this frame.
        let result = to_result(unsafe {
            bindings::xdp_do_redirect(self.queue.device().as_ptr(), &mut self.xdp, prog.as_ptr())
        });
        // Also after a failure: an earlier frame of the same map may wait in a queue.
        cx.set_redirected();
        match result {
            Ok(()) => {
                // The page belongs to the target now.
                self.buffer.into_raw();
                Ok(())
            }
            Err(error) => Err((self, error)),
        }
    }
}

/// A command of the control path (`struct netdev_bpf`).
pub(crate) enum Command<'a> {
    /// `XDP_SETUP_PROG`: run this program on every frame from now on, or none.
    SetupProg {
        /// The program, with a reference for the driver.
        prog: Option<ARef<Prog>>,
    },
    /// `XDP_SETUP_PROG_HW`: run this program in the hardware.
    SetupProgHw {
        /// Where to say why it was refused.
        extack: ExtAck<'a>,
    },
    /// `XDP_SETUP_XSK_POOL`: zero-copy buffers of an AF_XDP socket.
    SetupXskPool,
    /// A command of programs offloaded to hardware, or one this kernel has and we do not know.
    Other,
}

/// Turns the C structure into a [`Command`] and hands it to `callback`.
///
/// # Safety
///
/// `bpf` must be a valid command, which nobody else uses during the call.
pub(super) unsafe fn dispatch(
    bpf: *mut bindings::netdev_bpf,
    callback: impl FnOnce(Command<'_>) -> Result,
) -> Result {
    // SAFETY: The caller's promise. Which arm of the union is valid depends on the command.
    let (number, setup) = unsafe { ((*bpf).command, &(*bpf).__bindgen_anon_1.__bindgen_anon_1) };
    let command = match number {
        bindings::bpf_netdev_command_XDP_SETUP_PROG => {
            // The kernel's reference to it is ours if we succeed.
            let prog = setup.prog;
            // SAFETY: The program is null or valid. The driver gets a reference of its own, so that
            // it may drop it whether it succeeds or not.
            let lent = unsafe { prog.cast::<Prog>().as_ref() };
            callback(Command::SetupProg {
                prog: lent.map(ARef::from),
            })?;
            // SAFETY: Success: the kernel's reference went over to us.
            drop(unsafe { own(prog) });
            return Ok(());
        }
        bindings::bpf_netdev_command_XDP_SETUP_PROG_HW => Command::SetupProgHw {
            // SAFETY: This command's arm is `setup`.
            extack: unsafe { ExtAck::from_raw(setup.extack) },
        },
        bindings::bpf_netdev_command_XDP_SETUP_XSK_POOL => Command::SetupXskPool,
        _ => Command::Other,
    };
    callback(command)
}

// What `Buff::new` leaves in front of a frame is what XDP programs may count on.
const _: () = assert!(HEADROOM >= 256);
