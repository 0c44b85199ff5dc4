// SPDX-License-Identifier: GPL-2.0

//! Socket buffers.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use crate::{
    bindings,
    dest::Dest, //
};
use core::{
    cell::Cell,
    mem::ManuallyDrop,
    num::NonZeroU64,
    ptr::NonNull,
    slice, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// A reference to an skb (`struct sk_buff`). Dropping it counts as a dropped packet (`kfree_skb`);
/// [`SkBuff::consume`] is for an skb that has served its purpose.
///
/// It is not `Send`, but a driver's data and the state of a poll must be. So a driver cannot keep
/// an skb beyond the callback or poll in which it got it. Therefore the skb's device is alive, and
/// an skb that a poll passes to the stack was received in that poll.
///
/// # Invariants
///
/// Points to a valid skb. This value owns a reference to it, or it is only lent and not dropped.
pub(crate) struct SkBuff(NonNull<bindings::sk_buff>);

/// The kind of flow hash that came with a frame (`enum pkt_hash_types`).
#[derive(Clone, Copy)]
pub(crate) enum HashType {
    /// None: the stack computes its own when it needs one.
    None,
    /// A hash of the network addresses.
    L3,
    /// A hash of the network addresses and the transport ports.
    L4,
}

/// A VLAN tag next to an skb, which the device inserts into the frame or has stripped from it.
#[derive(Clone, Copy)]
pub(crate) struct VlanTag {
    /// EtherType of the tag: `ETH_P_8021Q` or `ETH_P_8021AD`.
    pub(crate) protocol: u16,
    /// Tag control information: priority, drop eligibility, VLAN id.
    pub(crate) tci: u16,
}

/// A checksum that the stack has left to the device. It covers the bytes up to the end of the
/// frame.
struct PartialChecksum {
    /// Offset in the frame of the first byte that it covers.
    start: usize,
    /// Offset in the frame where it is stored.
    at: usize,
}

/// Folds a sum of 16-bit words to 16 bits by adding the carry (`csum_fold`, without the
/// complement).
fn fold(sum: u32) -> u16 {
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Replaces a checksum of zero, which in UDP means that there is none (`CSUM_MANGLED_0`).
fn not_zero(sum: [u8; 2]) -> [u8; 2] {
    match sum {
        [0, 0] => [0xff; 2],
        sum => sum,
    }
}

impl SkBuff {
    /// # Safety
    ///
    /// `ptr` must be a valid skb. A reference to it moves to the new value.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::sk_buff) -> Self {
        // INVARIANT: The caller's promise.
        // SAFETY: A valid skb is not null.
        Self(unsafe { NonNull::new_unchecked(ptr) })
    }

    /// The pointer, with the reference to the skb.
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).as_ptr()
    }

    fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// The address of the skb, which identifies it while it exists.
    pub(crate) fn address(&self) -> usize {
        self.as_ptr() as usize
    }

    /// Length of the frame in bytes, including fragments.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: The skb is valid.
        unsafe { (*self.as_ptr()).len as usize }
    }

    /// The linear part of the frame. In an skb that is to be sent it includes at least the Ethernet
    /// header.
    #[inline]
    pub(crate) fn head(&self) -> &[u8] {
        // SAFETY: The linear part is `len - data_len` bytes from `data`. It is not written to while
        // there is another reference to the skb.
        unsafe {
            let skb = self.as_ptr();
            let len = (*skb).len.wrapping_sub((*skb).data_len);
            slice::from_raw_parts((*skb).data, len as usize)
        }
    }

    /// Fills `to` with the bytes of the frame from `offset` on, also from its fragments
    /// (`skb_copy_bits`). Fails with `EFAULT` if there are not enough.
    pub(crate) fn copy_part(&self, offset: usize, mut to: Dest<'_>) -> Result {
        let (offset, len) = (c_int::try_from(offset)?, c_int::try_from(to.len())?);
        // SAFETY: The skb is valid, and `to` has the given length.
        to_result(unsafe {
            bindings::skb_copy_bits(self.as_ptr(), offset, to.as_mut_ptr().cast(), len)
        })
    }

    /// `N` bytes of the frame from `offset` on, usually from [`head`](Self::head)
    /// (`skb_header_pointer`). `None` if there are not enough.
    #[inline]
    pub(crate) fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = self.head().get(offset..).and_then(<[u8]>::first_chunk) {
            return Some(*bytes);
        }
        let mut bytes = [0; N];
        self.copy_part(offset, bytes.as_mut_slice().into()).ok()?;
        Some(bytes)
    }

    /// Whether [`head`](Self::head) is the whole frame and can be sent unchanged: without a
    /// checksum to fill in, a tag to insert, or segmentation.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        // SAFETY: The skb is valid.
        let data_len = unsafe { (*self.as_ptr()).data_len };
        data_len == 0
            && !self.csum_is_good()
            && self.vlan_tag().is_none()
            && self.gso_size().is_none()
    }

    /// Copies the whole frame, also from its fragments, to the start of `to`. Fills in the checksum
    /// if the stack has left it to the device, as `skb_copy_and_csum_dev` does.
    ///
    /// Fails with `EMSGSIZE` if it does not fit, and with `EINVAL` or `EFAULT` if the skb is
    /// malformed.
    pub(crate) fn copy_to(&self, mut to: Dest<'_>) -> Result {
        let to = to.first(self.len()).ok_or(EMSGSIZE)?;
        let Some(PartialChecksum { start, at }) = self.partial_checksum()? else {
            return self.copy_part(0, to);
        };
        let (mut before, mut covered) = to.split_at(start);
        // The checksum starts in the linear part.
        before
            .write(0, self.head().get(..start).ok_or(EINVAL)?)
            .ok_or(EINVAL)?;
        let (offset, len) = (c_int::try_from(start)?, c_int::try_from(covered.len())?);
        // SAFETY: The skb is valid, that many bytes follow in it, and there is room for them.
        let sum = unsafe {
            bindings::skb_copy_and_csum_bits(self.as_ptr(), offset, covered.as_mut_ptr(), len)
        };
        covered
            .write(at - start, &not_zero((!fold(sum)).to_ne_bytes()))
            .ok_or(EINVAL)
    }

    /// Computes the checksum that the stack has left to the device (`skb_checksum`). Returns its
    /// offset in the frame, in bytes, and its bytes; `None` if the stack has left none.
    ///
    /// Fails with `EINVAL` if the skb is malformed.
    pub(crate) fn checksum(&self) -> Result<Option<(usize, [u8; 2])>> {
        let Some(PartialChecksum { start, at }) = self.partial_checksum()? else {
            return Ok(None);
        };
        let len = self.len().saturating_sub(start);
        // SAFETY: The skb is valid, and these bytes are in the frame.
        let sum = unsafe { bindings::skb_checksum(self.as_ptr(), start as c_int, len as c_int, 0) };
        Ok(Some((at, not_zero((!fold(sum)).to_ne_bytes()))))
    }

    /// The checksum that the stack has left to the device (`CHECKSUM_PARTIAL`), if any. Fails with
    /// `EINVAL` if it is not in the frame, or does not start in its linear part.
    fn partial_checksum(&self) -> Result<Option<PartialChecksum>> {
        if !self.csum_is_good() {
            return Ok(None);
        }
        // SAFETY: With `CHECKSUM_PARTIAL` this arm of the union is valid.
        let csum = unsafe { self.headers().__bindgen_anon_1.__bindgen_anon_1 };
        // SAFETY: The skb is valid.
        let (head, data) = unsafe { ((*self.as_ptr()).head, (*self.as_ptr()).data) };
        let headroom = (data as usize).wrapping_sub(head as usize);
        let start = usize::from(csum.csum_start)
            .checked_sub(headroom)
            .ok_or(EINVAL)?;
        let at = start + usize::from(csum.csum_offset);
        if start > self.head().len() || at + size_of::<u16>() > self.len() {
            return Err(EINVAL);
        }
        Ok(Some(PartialChecksum { start, at }))
    }

    fn headers(&self) -> &bindings::sk_buff__bindgen_ty_4__bindgen_ty_2 {
        // SAFETY: The skb is valid. Both arms of the union have the same fields.
        unsafe { (*self.as_ptr()).__bindgen_anon_4.headers.as_ref() }
    }

    /// The VLAN tag next to the frame, which the device is to insert (`skb_vlan_tag_present`).
    #[inline]
    pub(crate) fn vlan_tag(&self) -> Option<VlanTag> {
        let vlan = &self.headers().__bindgen_anon_2;
        // SAFETY: Both arms of the union are integers.
        let (all, tag) = unsafe { (vlan.vlan_all, vlan.__bindgen_anon_1) };
        (all != 0).then_some(VlanTag {
            protocol: u16::from_be(tag.vlan_proto),
            tci: tag.vlan_tci,
        })
    }

    /// Bytes of payload of each segment, if the device is to segment the frame (`skb_is_gso`).
    /// `None` if it is to be sent as a single frame.
    #[inline]
    pub(crate) fn gso_size(&self) -> Option<usize> {
        // SAFETY: The shared info of a valid skb is valid.
        let size = unsafe { (*self.shared_info()).gso_size };
        (size != 0).then_some(size.into())
    }

    /// What the skb shares with its clones (`skb_shinfo`).
    #[inline]
    fn shared_info(&self) -> *mut bindings::skb_shared_info {
        let skb = self.as_ptr();
        // SAFETY: The skb is valid; its shared info is at `end` of its linear part.
        unsafe { (*skb).head.add((*skb).end as usize).cast() }
    }

    /// The sum of the 16-bit words of a part of the frame, as for the Internet checksum
    /// (`skb_checksum`), folded to 16 bits. Fails with `EINVAL` if the part is not in the frame.
    pub(crate) fn sum(&self, offset: usize, len: usize) -> Result<u32> {
        self.check(offset, len)?;
        let (offset, len) = (c_int::try_from(offset)?, c_int::try_from(len)?);
        // SAFETY: The skb is valid, and the part is in it.
        let sum = unsafe { bindings::skb_checksum(self.as_ptr(), offset, len, 0) };
        Ok(u16::from_be(fold(sum)).into())
    }

    /// Fails with `EINVAL` if a part is not in the frame.
    #[inline]
    fn check(&self, offset: usize, len: usize) -> Result {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(EINVAL),
        }
    }

    /// Whether the stack has left the checksum to the device (`CHECKSUM_PARTIAL`), so that it is
    /// good once the frame is copied.
    #[inline]
    pub(crate) fn csum_is_good(&self) -> bool {
        self.headers().ip_summed() == bindings::CHECKSUM_PARTIAL as u8
    }

    /// The transmit queue that the stack has chosen (`skb_get_queue_mapping`).
    #[inline]
    pub(crate) fn queue_mapping(&self) -> u16 {
        // SAFETY: The skb is valid.
        unsafe { (*self.as_ptr()).queue_mapping }
    }

    /// Whether a socket has the skb charged to it.
    #[inline]
    fn has_socket(&self) -> bool {
        // SAFETY: The skb is valid.
        unsafe { !(*self.as_ptr()).sk.is_null() }
    }

    /// Whether the sender has requested the time of sending by the device's clock
    /// (`SKBTX_HW_TSTAMP`).
    #[inline]
    pub(crate) fn wants_hwtstamp(&self) -> bool {
        // Without a socket there was no request.
        self.has_socket() && {
            // SAFETY: The shared info of a valid skb is valid.
            let flags = unsafe { (*self.shared_info()).tx_flags };
            flags & bindings::OXNIC_SKBTX_HW_TSTAMP != 0
        }
    }

    /// Reports the time of sending to the sender, if it has requested that. `hw`, in nanoseconds,
    /// is the time by the device's clock, for a sender that wants it; without it the kernel's is
    /// reported (`skb_tx_timestamp`, `skb_tstamp_tx`). A frame that waits to be sent again must not
    /// have been reported.
    #[inline]
    pub(crate) fn tx_timestamp(&self, hw: Option<u64>) {
        if !self.has_socket() {
            return;
        }
        let skb = self.as_ptr();
        // SAFETY: The skb is valid. Its device, which the kernel may access, is alive, since the
        // value does not outlive the callback.
        unsafe {
            match hw {
                Some(ns) => bindings::oxnic_skb_hw_tx_timestamp(skb, ns),
                None => bindings::oxnic_skb_tx_timestamp(skb),
            }
        }
    }

    /// Sets when the frame was received, in nanoseconds of the device's clock (`skb_hwtstamps`).
    /// Does nothing with an skb of a socket, which was not received.
    #[inline]
    pub(crate) fn set_hwtstamp(&mut self, time: NonZeroU64) {
        // In an skb that an AF_XDP socket sends, a pointer is in the same place (`xsk_meta`).
        if self.has_socket() {
            return;
        }
        // SAFETY: The shared info of a valid skb is valid. Without a socket, this arm of the union
        // is valid, or nobody looks. Clones that others have may read the field at any time, as a
        // single word.
        unsafe {
            let stamps = &raw mut (*self.shared_info()).__bindgen_anon_1.hwtstamps;
            (&raw mut (*stamps).__bindgen_anon_1.hwtstamp)
                .write_volatile(time.get() as bindings::ktime_t);
        }
    }

    /// Sets the tag that the device has stripped from the frame (`__vlan_hwaccel_put_tag`).
    pub(crate) fn set_vlan_tag(&mut self, tag: VlanTag) {
        // SAFETY: The skb is valid, and borrowed mutably.
        unsafe { bindings::oxnic_skb_set_vlan_tag(self.as_ptr(), tag.protocol, tag.tci) };
    }

    /// Sets the metadata from the device: the flow hash (`skb_set_hash`), and whether the checksum
    /// is good (`CHECKSUM_UNNECESSARY`).
    #[inline]
    pub(crate) fn set_received(&mut self, hash: u32, hash_type: HashType, csum_good: bool) {
        let hash_type = match hash_type {
            HashType::None => bindings::pkt_hash_types_PKT_HASH_TYPE_NONE,
            HashType::L3 => bindings::pkt_hash_types_PKT_HASH_TYPE_L3,
            HashType::L4 => bindings::pkt_hash_types_PKT_HASH_TYPE_L4,
        };
        // SAFETY: The skb is valid, and borrowed mutably.
        unsafe { bindings::oxnic_skb_set_rx(self.as_ptr(), hash, hash_type, csum_good) };
    }

    /// The linear part of a received frame, from the Ethernet header on. [`None`] if somebody else
    /// has a reference to the skb or to its data.
    pub(crate) fn own_head(&mut self) -> Option<&mut [u8]> {
        let mut len = 0;
        // SAFETY: The skb is valid.
        let start = unsafe { bindings::oxnic_skb_own_head(self.as_ptr(), &mut len) };
        let start = NonNull::new(start)?.cast().as_ptr();
        // SAFETY: These bytes are in the linear part. They are ours alone as long as the skb, of
        // which there is no other reference or clone, is borrowed mutably.
        Some(unsafe { slice::from_raw_parts_mut(start, len as usize) })
    }

    /// The metadata that a program has put in front of a received frame (`skb_metadata_len`).
    pub(crate) fn metadata(&self) -> &[u8] {
        let mut len = 0;
        // SAFETY: The skb is valid, and the metadata is in its linear part, before the frame.
        unsafe {
            let start = bindings::oxnic_skb_metadata(self.as_ptr(), &mut len);
            slice::from_raw_parts(start.cast(), len as usize)
        }
    }

    /// Adds the bytes of `frame` after the first `skip` as fragments. On success the skb owns the
    /// pages of the frame.
    ///
    /// Fails if the bytes in the first buffer are not more, if there would be more than
    /// `MAX_SKB_FRAGS` fragments, if the skb does not return pages to page_pools
    /// (`skb_mark_for_recycle`), or if there is another reference to it.
    ///
    /// # Safety
    ///
    /// The frame must be valid, in pages from page_pools, which are the caller's. On success the
    /// caller gives them up.
    #[inline]
    pub(super) unsafe fn append_xdp(&mut self, frame: &bindings::xdp_buff, skip: usize) -> bool {
        // SAFETY: The skb is valid; the rest is the caller's promise.
        unsafe { bindings::oxnic_skb_append_xdp(self.as_ptr(), frame, skip as u32) }
    }

    /// Marks a received skb as a TCP packet that `segments` segments were merged to, as GRO does
    /// (`tcp_gro_complete`): it can be cut again, into segments of `size` bytes of payload, and the
    /// checksum is left to whoever sends it. `tcp` is the offset of the TCP header from the
    /// Ethernet header. Returns `false`, and does nothing, if the skb has no such header.
    pub(crate) fn set_tcp_gso(&mut self, tcp: u16, size: u16, segments: u16, ipv6: bool) -> bool {
        // SAFETY: The skb is valid, and borrowed mutably.
        unsafe { bindings::oxnic_skb_set_tcp_gso(self.as_ptr(), tcp, size, segments, ipv6) }
    }

    /// Frees an skb that was sent (`consume_skb`). Not in a hard interrupt.
    #[inline]
    pub(crate) fn consume(self) {
        // SAFETY: This gives up the value's reference.
        unsafe { bindings::consume_skb(self.into_raw()) };
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: This gives up the value's reference.
        unsafe {
            bindings::dev_kfree_skb_any_reason(
                self.as_ptr(),
                bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED,
            );
        }
    }
}

/// Reads the bytes of an skb from one offset to the next. It knows where it stopped, and goes on
/// there; the kernel's functions walk from the first fragment each time.
///
/// # Invariants
///
/// The `left` bytes from `next` on are those of the skb from `offset` on: in its linear part if
/// `frags` is 0, otherwise in the fragment before number `frags`.
pub(crate) struct SkbReader<'a> {
    skb: &'a SkBuff,
    at: Cell<Position>,
}

#[derive(Clone, Copy)]
struct Position {
    offset: usize,
    next: *const u8,
    left: usize,
    frags: u8,
}

impl Position {
    /// The position `len` bytes later, at most `left`.
    #[inline]
    fn skip(self, len: usize) -> Self {
        let len = len.min(self.left);
        Self {
            offset: self.offset + len,
            // At most one past the last byte of the piece.
            next: self.next.wrapping_add(len),
            left: self.left - len,
            frags: self.frags,
        }
    }
}

impl<'a> SkbReader<'a> {
    /// A reader at the start of the skb.
    #[inline]
    pub(crate) fn new(skb: &'a SkBuff) -> Self {
        // INVARIANT: The start.
        Self {
            skb,
            at: Cell::new(Self::start(skb)),
        }
    }

    #[inline]
    fn start(skb: &SkBuff) -> Position {
        let head = skb.head();
        Position {
            offset: 0,
            next: head.as_ptr(),
            left: head.len(),
            frags: 0,
        }
    }

    /// Fills `to` with the bytes of the frame from `offset` on, also from its fragments, and
    /// returns their [`sum`](SkBuff::sum). Fails with `EINVAL` if there are not enough, and with
    /// `EFAULT` if they cannot be read.
    #[inline]
    pub(crate) fn copy_and_sum(&self, offset: usize, mut to: Dest<'_>) -> Result<u32> {
        self.skb.check(offset, to.len())?;
        let mut at = self.at.get();
        if at.offset != offset {
            at = self.seek(offset)?;
        }
        let (mut sum, mut done) = (0, 0);
        while !to.is_empty() {
            if at.left == 0 {
                at = self.next_piece(at)?;
                continue;
            }
            let (mut now, later) = to.split_at(at.left);
            let len = now.len();
            // SAFETY: At least `len` bytes can be read from `next` on, by the type's invariants,
            // and `now` has room for them. Both are less than 2 GiB, as the skb is.
            sum = unsafe {
                bindings::oxnic_csum_copy(
                    at.next.cast(),
                    now.as_mut_ptr().cast(),
                    len as c_int,
                    sum,
                    done,
                )
            };
            done += len as c_int;
            at = at.skip(len);
            to = later;
        }
        self.at.set(at);
        Ok(u16::from_be(fold(sum)).into())
    }

    /// The position at `offset`. There are that many bytes.
    #[cold]
    fn seek(&self, offset: usize) -> Result<Position> {
        let mut at = Self::start(self.skb);
        loop {
            at = at.skip(offset - at.offset);
            if at.offset == offset {
                return Ok(at);
            }
            at = self.next_piece(at)?;
        }
    }

    /// The position at the start of the next fragment, where a piece has ended. Fails with `EFAULT`
    /// if there is none that can be read: the rest of the frame is in other skbs (`frag_list`), of
    /// which a driver without `NETIF_F_FRAGLIST` gets none, or in the memory of a device.
    fn next_piece(&self, at: Position) -> Result<Position> {
        // SAFETY: The shared info of a valid skb is valid, and so are its first `nr_frags`
        // fragments.
        let info = unsafe { &*self.skb.shared_info() };
        let frags = info.frags.get(..info.nr_frags.into()).unwrap_or_default();
        let frag = frags.get(usize::from(at.frags)).ok_or(EFAULT)?;
        // SAFETY: The fragment is valid.
        let start: *const u8 = unsafe { bindings::oxnic_skb_frag_address(frag) }.cast();
        if start.is_null() {
            return Err(EFAULT);
        }
        // INVARIANT: The skb has a reference to the pages of the fragment, and its bytes are one
        // after the other in the kernel's mapping of all memory (`skb_frag_address` in
        // include/linux/skbuff.h). The bytes before it end at `at.offset`.
        Ok(Position {
            offset: at.offset,
            next: start,
            left: frag.len as usize,
            frags: at.frags + 1,
        })
    }
}
