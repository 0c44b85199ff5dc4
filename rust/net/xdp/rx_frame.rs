// SPDX-License-Identifier: GPL-2.0

//! What received frames in pages and in umem have in common.

use super::{
    hints::RxDescriptor,
    prog::{
        ProgRef,
        XdpAction, //
    },
    prog_ctx::HasProgCtx, //
};
use crate::{
    dest::Dest,
    net::{
        napi::Context,
        skbuff::SkBuff, //
    },
};
use kernel::prelude::*;

/// A received frame that XDP works on: [`Buff`](super::Buff) in pages, or
/// [`xsk::Buff`](crate::net::xsk::Buff) in umem.
pub(crate) trait RxFrame: HasProgCtx + FrameBytes + Sized {
    /// The frame's descriptor.
    type Descriptor: RxDescriptor;
    /// A receive buffer.
    type Buffer;
    /// A frame in a single buffer, taken out of XDP: only its bytes are left.
    type Linear;

    /// The frame's descriptor.
    fn descriptor(&self) -> &Self::Descriptor;

    /// Whether the frame is whole. If user space has damaged a frame in umem while a program ran on
    /// it, the verdict is `XDP_ABORTED`, and of the frame nothing is left but a buffer.
    #[inline]
    fn is_whole(&self) -> bool {
        true
    }

    /// Runs the program on the frame with at most `bytes` bytes of headroom, which includes what
    /// the kernel keeps of it for an `xdp_frame`. Frames in umem always have that of their pool.
    fn run_with_headroom(&mut self, _bytes: u32, prog: ProgRef<'_>, cx: &Context<'_>) -> XdpAction {
        prog.bpf_prog_run_xdp(self, cx)
    }

    /// Adds the next `len` bytes of the frame, which the NIC has written to `buffer`. A length
    /// beyond the buffer's room is truncated. Returns the buffer if the frame cannot have more of
    /// them, or if the buffer is from another pool than the queue's.
    fn add_frag(&mut self, buffer: Self::Buffer, len: u32) -> Result<(), Self::Buffer>;

    /// Takes the frame out of the slot, if it is in a single buffer.
    fn into_linear(self) -> Result<Self::Linear, Self>;

    /// Ends the frame in the poll: returns its first buffer for reuse, and the others to their
    /// pool.
    fn into_buffer(self, cx: &Context<'_>) -> Self::Buffer;

    /// Builds an skb of the frame, with the metadata that a program has put in front of it. The skb
    /// is ready for the stack. `None` if there is no memory; the frame is then lost.
    fn into_skb(self, cx: &Context<'_>) -> Option<SkBuff>;

    /// The bytes in the first buffer. None if it is in umem, of which there is no slice.
    #[inline]
    fn linear(&self) -> &[u8] {
        &[]
    }

    /// The metadata that a program has put in front of the frame.
    #[inline]
    fn metadata(&self) -> &[u8] {
        &[]
    }

    /// Adds the bytes after the first `skip` to an skb, which has been built of another frame and
    /// owns this one from here on. On failure the frame is returned: if it is in umem, if not more
    /// than these bytes are in its first buffer, or if the skb cannot have so many fragments.
    #[inline]
    fn append_to(self, _skb: &mut SkBuff, _skip: usize) -> Result<(), Self> {
        Err(self)
    }

    /// A copy of the frame in a small skb, and the buffer, which can be posted again. Returns the
    /// frame if it is longer than `max` bytes or in several buffers, or if there is no memory.
    /// Frames in umem are always returned: [`into_skb`](Self::into_skb) copies them.
    #[inline]
    fn copy_skb(self, _max: u32, _cx: &Context<'_>) -> Result<(SkBuff, Self::Buffer), Self> {
        Err(self)
    }

    /// Sends the frame to the target that the program's redirect helper has set
    /// (`xdp_do_redirect`). The end of the poll flushes (`xdp_do_flush`). On failure the frame is
    /// returned, unless it was consumed.
    fn redirect(self, prog: ProgRef<'_>, cx: &Context<'_>) -> Result<(), (Option<Self>, Error)>;
}

/// Access to the bytes of a frame.
pub(crate) trait FrameBytes {
    /// Length of the frame in bytes, and the number of its buffers.
    fn size(&self) -> (usize, usize);

    /// Fills `to` with the bytes of the frame from `offset` on, from all its buffers. Fails with
    /// `EINVAL` if there are not enough.
    fn copy_to(&self, offset: usize, to: Dest<'_>) -> Result;
}

impl<F: FrameBytes> FrameBytes for &F {
    #[inline]
    fn size(&self) -> (usize, usize) {
        F::size(self)
    }

    #[inline]
    fn copy_to(&self, offset: usize, to: Dest<'_>) -> Result {
        F::copy_to(self, offset, to)
    }
}
