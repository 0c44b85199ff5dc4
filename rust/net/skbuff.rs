// SPDX-License-Identifier: GPL-2.0

//! Socket buffers.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use crate::bindings;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull,
    slice, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// An skb (`struct sk_buff`) that is ours. Dropping it counts as losing the frame (`kfree_skb`);
/// [`SkBuff::consume`] ends one that has served its purpose.
///
/// It is not `Send`, as a driver's data and the state of a poll are, so that no driver can keep it
/// beyond the callback or the poll in which it got it. So its device is alive, and what goes to the
/// stack in a poll has been received in that.
///
/// # Invariants
///
/// Points to a valid skb, on which this value owns a reference; or the value is only lent, by who
/// owns one, and not dropped.
pub(crate) struct SkBuff(NonNull<bindings::sk_buff>);

/// The kind of flow hash that came with a frame (`enum pkt_hash_types`).
#[derive(Clone, Copy)]
pub(crate) enum HashType {
    /// None: the stack computes its own when it needs one.
    None,
    /// Of the network addresses.
    L3,
    /// Of the network addresses and the transport ports.
    L4,
}

/// A VLAN tag next to an skb, which the device puts into the frame or has taken out of it.
#[derive(Clone, Copy)]
pub(crate) struct VlanTag {
    /// EtherType of the tag: `ETH_P_8021Q` or `ETH_P_8021AD`.
    pub(crate) protocol: u16,
    /// Tag control information: priority, drop eligibility, VLAN id.
    pub(crate) tci: u16,
}

impl SkBuff {
    /// # Safety
    ///
    /// `ptr` must be a valid skb; a reference to it goes over to the new value.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::sk_buff) -> Self {
        // INVARIANT: The caller's promise.
        // SAFETY: A valid skb is not null.
        Self(unsafe { NonNull::new_unchecked(ptr) })
    }

    /// The pointer, with the reference.
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).as_ptr()
    }

    fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// Where the skb is in memory, which no other skb is at the same time.
    pub(crate) fn address(&self) -> usize {
        self.as_ptr() as usize
    }

    /// Length of the frame in bytes, whatever pieces it is in.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: The skb is valid.
        unsafe { (*self.as_ptr()).len as usize }
    }

    /// The start of the frame, as far as it is in one piece: at least the Ethernet header of an skb
    /// that is to be sent.
    #[inline]
    pub(crate) fn head(&self) -> &[u8] {
        // SAFETY: The linear part is `len - data_len` bytes from `data`; nobody writes to it while
        // we have a reference.
        unsafe {
            let skb = self.as_ptr();
            let len = (*skb).len.wrapping_sub((*skb).data_len);
            slice::from_raw_parts((*skb).data, len as usize)
        }
    }

    /// Copies bytes of the frame from `offset` on, also from its fragments (`skb_copy_bits`). Fails
    /// with `EFAULT` if there are fewer than `to` is long.
    pub(crate) fn copy_part(&self, offset: usize, to: &mut [u8]) -> Result {
        let (offset, len) = (c_int::try_from(offset)?, c_int::try_from(to.len())?);
        // SAFETY: The skb is valid, and `to` is as long as said.
        to_result(unsafe {
            bindings::skb_copy_bits(self.as_ptr(), offset, to.as_mut_ptr().cast(), len)
        })
    }

    /// `N` bytes of the frame from `offset` on, which are usually in [`head`](Self::head)
    /// (`skb_header_pointer`). `None` if there are fewer.
    #[inline]
    pub(crate) fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = self.head().get(offset..).and_then(<[u8]>::first_chunk) {
            return Some(*bytes);
        }
        let mut bytes = [0; N];
        self.copy_part(offset, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Whether [`head`](Self::head) is the whole frame, to be sent as it is: with no checksum to be
    /// filled in, no tag to be put in, and as a single frame.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        // SAFETY: The skb is valid.
        let data_len = unsafe { (*self.as_ptr()).data_len };
        data_len == 0
            && !self.csum_is_good()
            && self.vlan_tag().is_none()
            && self.gso_size().is_none()
    }

    /// Copies the whole frame, also from its fragments, to the start of `to`, with the checksum
    /// filled in that the stack may have left to the device (`skb_copy_and_csum_dev`).
    ///
    /// Fails with `EMSGSIZE` if it does not fit, and with `EINVAL` or `EFAULT` if the skb is
    /// malformed.
    pub(crate) fn copy_to(&self, to: &mut [u8]) -> Result {
        if to.len() < self.len() {
            return Err(EMSGSIZE);
        }
        // SAFETY: The skb is valid and fits.
        to_result(unsafe { bindings::oxnic_skb_copy(self.as_ptr(), to.as_mut_ptr()) })
    }

    /// Computes the checksum that the stack has left to the device (`skb_checksum`): its place in
    /// the frame, in bytes, and what belongs there. `None` if it has left none.
    ///
    /// Fails with `EINVAL` if the skb is malformed.
    pub(crate) fn checksum(&self) -> Result<Option<(usize, [u8; 2])>> {
        if !self.csum_is_good() {
            return Ok(None);
        }
        let (mut offset, mut sum) = (0, [0; 2]);
        // SAFETY: The skb is valid.
        to_result(unsafe {
            bindings::oxnic_skb_checksum(self.as_ptr(), &mut offset, sum.as_mut_ptr())
        })?;
        Ok(Some((offset as usize, sum)))
    }

    fn headers(&self) -> &bindings::sk_buff__bindgen_ty_4__bindgen_ty_2 {
        // SAFETY: The skb is valid. Both arms of the union are the same fields.
        unsafe { (*self.as_ptr()).__bindgen_anon_4.headers.as_ref() }
    }

    /// The VLAN tag next to the frame, which the device is to put into it (`skb_vlan_tag_present`).
    #[inline]
    pub(crate) fn vlan_tag(&self) -> Option<VlanTag> {
        let vlan = &self.headers().__bindgen_anon_2;
        // SAFETY: Both arms of the union are plain integers.
        let (all, tag) = unsafe { (vlan.vlan_all, vlan.__bindgen_anon_1) };
        (all != 0).then_some(VlanTag {
            protocol: u16::from_be(tag.vlan_proto),
            tci: tag.vlan_tci,
        })
    }

    /// How many bytes of payload each segment gets, if the device is to cut the frame into several:
    /// a large TCP frame (`skb_is_gso`). `None` if it is to be sent as it is.
    #[inline]
    pub(crate) fn gso_size(&self) -> Option<usize> {
        // SAFETY: The skb is valid; the shared information is at the end of its linear part.
        let size = unsafe {
            let skb = self.as_ptr();
            let end = (*skb).head.add((*skb).end as usize);
            (*end.cast::<bindings::skb_shared_info>()).gso_size
        };
        (size != 0).then_some(size.into())
    }

    /// The sum of the 16-bit words of a part of the frame, as the Internet checksum adds them up
    /// (`skb_checksum`), folded to 16 bits. Fails with `EINVAL` if the part is not in the frame.
    pub(crate) fn sum(&self, offset: usize, len: usize) -> Result<u32> {
        self.check(offset, len)?;
        // SAFETY: The skb is valid, and the part is in it.
        Ok(unsafe { bindings::oxnic_skb_sum(self.as_ptr(), offset as u32, len as u32) }.into())
    }

    /// Copies bytes of the frame from `offset` on, also from its fragments, and returns their
    /// [`sum`](Self::sum) (`skb_copy_and_csum_bits`). Fails with `EINVAL` if there are fewer than
    /// `to` is long.
    pub(crate) fn copy_and_sum(&self, offset: usize, to: &mut [u8]) -> Result<u32> {
        self.check(offset, to.len())?;
        // SAFETY: The skb is valid, and the part is in it.
        let sum = unsafe {
            let (to, len) = (to.as_mut_ptr(), to.len());
            bindings::oxnic_skb_copy_and_sum(self.as_ptr(), offset as u32, to, len as u32)
        };
        Ok(sum.into())
    }

    /// Whether a part of the frame is in it.
    #[inline]
    fn check(&self, offset: usize, len: usize) -> Result {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(EINVAL),
        }
    }

    /// Whether the checksum is known to be right once the frame has been copied: the device itself
    /// fills it in (`CHECKSUM_PARTIAL`).
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

    /// Tells whoever asked for it when the frame was sent (`skb_tx_timestamp`).
    #[inline]
    pub(crate) fn tx_timestamp(&self) {
        let skb = self.as_ptr();
        // SAFETY: The skb is valid, and its device, at which the kernel may look, alive: the value
        // does not outlive the callback. Only a socket can have asked.
        unsafe {
            if !(*skb).sk.is_null() {
                bindings::oxnic_skb_tx_timestamp(skb);
            }
        }
    }

    /// Puts the tag next to the frame that the device has taken out of it
    /// (`__vlan_hwaccel_put_tag`).
    pub(crate) fn set_vlan_tag(&mut self, tag: VlanTag) {
        // SAFETY: The skb is valid and ours alone.
        unsafe { bindings::oxnic_skb_set_vlan_tag(self.as_ptr(), tag.protocol, tag.tci) };
    }

    /// Notes what the device found out about the frame: its flow hash (`skb_set_hash`), and whether
    /// its checksum is good (`CHECKSUM_UNNECESSARY`).
    #[inline]
    pub(crate) fn set_received(&mut self, hash: u32, hash_type: HashType, csum_good: bool) {
        let hash_type = match hash_type {
            HashType::None => bindings::pkt_hash_types_PKT_HASH_TYPE_NONE,
            HashType::L3 => bindings::pkt_hash_types_PKT_HASH_TYPE_L3,
            HashType::L4 => bindings::pkt_hash_types_PKT_HASH_TYPE_L4,
        };
        // SAFETY: The skb is valid and ours alone.
        unsafe { bindings::oxnic_skb_set_rx(self.as_ptr(), hash, hash_type, csum_good) };
    }

    /// Ends an skb that has been sent (`consume_skb`). Not in hard interrupts.
    #[inline]
    pub(crate) fn consume(self) {
        // SAFETY: The reference is given up.
        unsafe { bindings::consume_skb(self.into_raw()) };
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: The reference is given up.
        unsafe {
            bindings::dev_kfree_skb_any_reason(
                self.as_ptr(),
                bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED,
            );
        }
    }
}
