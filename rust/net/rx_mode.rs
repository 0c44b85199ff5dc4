// SPDX-License-Identifier: GPL-2.0

//! The receive mode of a device: flags and address lists.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use crate::bindings;
use kernel::container_of;

/// An Ethernet address.
pub(crate) type MacAddress = [u8; 6];

/// The frames that a device is to receive, in addition to those for its own address and broadcast.
/// Valid during a callback.
///
/// # Invariants
///
/// The lists consist of Ethernet addresses and do not change during `'a`.
pub(crate) struct RxMode<'a> {
    flags: u32,
    unicast: &'a bindings::netdev_hw_addr_list,
    multicast: &'a bindings::netdev_hw_addr_list,
}

impl<'a> RxMode<'a> {
    /// # Safety
    ///
    /// The lists must consist of Ethernet addresses and not change during `'a`.
    pub(super) unsafe fn from_raw(
        flags: u32,
        unicast: &'a bindings::netdev_hw_addr_list,
        multicast: &'a bindings::netdev_hw_addr_list,
    ) -> Self {
        // INVARIANT: The caller's promise.
        Self {
            flags,
            unicast,
            multicast,
        }
    }

    /// Whether all frames are wanted (`IFF_PROMISC`).
    pub(crate) fn is_promiscuous(&self) -> bool {
        self.flags & bindings::net_device_flags_IFF_PROMISC != 0
    }

    /// Whether all multicast frames are wanted (`IFF_ALLMULTI`).
    pub(crate) fn is_all_multicast(&self) -> bool {
        self.flags & bindings::net_device_flags_IFF_ALLMULTI != 0
    }

    /// The addresses on both lists. The unicast list may contain multicast addresses of link
    /// protocols.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = MacAddress> + 'a {
        // SAFETY: The lists consist of Ethernet addresses and do not change during `'a`, by the
        // type's invariants.
        unsafe { each_on(self.unicast).chain(each_on(self.multicast)) }
    }
}

/// The addresses on a list.
///
/// # Safety
///
/// The list must consist of Ethernet addresses, and must not change while the result exists.
unsafe fn each_on(list: &bindings::netdev_hw_addr_list) -> impl Iterator<Item = MacAddress> + '_ {
    let head = &raw const list.list;
    let mut entry = list.list.next.cast_const();
    core::iter::from_fn(move || {
        if entry == head {
            return None;
        }
        // SAFETY: Each entry but the head is the `list` of a `netdev_hw_addr`, which by the
        // caller's promise lives as long as the iterator, and whose address has this length.
        unsafe {
            let address = container_of!(entry, bindings::netdev_hw_addr, list);
            entry = (*entry).next;
            Some((&raw const (*address).addr).cast::<MacAddress>().read())
        }
    })
}
