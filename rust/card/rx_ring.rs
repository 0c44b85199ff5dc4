// SPDX-License-Identifier: GPL-2.0

//! Descriptor rings of either kind of buffers, pages or umem, and how the card writes into them.

use crate::{
    dest::Dest,
    net::{
        page_pool::{
            Buffer,
            FRAME_ROOM, //
        },
        xsk::UmemBuffer, //
    },
    nic::{
        ring::{
            EitherSide,
            Ring,
            Slot, //
        },
        wire::{
            RingWriter,
            RxBuffer,
            RxLimits, //
        },
    },
};
use kernel::{
    alloc::KVVec,
    sync::Arc, //
};

/// A descriptor ring of buffers of one kind.
pub(crate) type DescRing<B> = Ring<B, KVVec<Slot<B>>>;

impl RxBuffer for Buffer {
    #[inline(always)]
    fn room(&mut self) -> Dest<'_> {
        Buffer::room(self)
    }
}

impl RxBuffer for UmemBuffer {
    #[inline(always)]
    fn room(&mut self) -> Dest<'_> {
        UmemBuffer::room(self)
    }
}

/// The limits of a ring of pages. A frame may take any number of them.
pub(crate) const PAGE_LIMITS: RxLimits = RxLimits {
    room: FRAME_ROOM,
    max_buffers: u32::MAX,
};

/// The NIC's side of a descriptor ring, and the limits of its buffers.
pub(crate) struct NicEnd {
    pub(crate) ring: NicRing,
    pub(crate) limits: RxLimits,
}

/// The NIC's side of a descriptor ring of either kind.
pub(crate) type NicRing = EitherSide<Arc<DescRing<Buffer>>, Arc<DescRing<UmemBuffer>>>;

/// A descriptor ring of either kind.
#[derive(Clone)]
pub(crate) enum RingRef {
    Pages(Arc<DescRing<Buffer>>),
    Umem(Arc<DescRing<UmemBuffer>>),
}

impl RingRef {
    /// See [`Ring::has_completed_since`].
    pub(super) fn has_completed_since(&self, next_to_clean: u32) -> bool {
        match self {
            Self::Pages(ring) => ring.has_completed_since(next_to_clean),
            Self::Umem(ring) => ring.has_completed_since(next_to_clean),
        }
    }
}

/// Writes frames into a ring of either kind.
pub(crate) type RxWriter = RingWriter<NicRing>;
