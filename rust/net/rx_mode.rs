// SPDX-License-Identifier: GPL-2.0

//! The receive mode of a device: flags and lists of addresses.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use crate::bindings;
use kernel::container_of;

/// An Ethernet address.
pub(crate) type MacAddress = [u8; 6];

/// The frames that a device is to receive in addition to those for its own address and broadcast.
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

    /// The addresses on both lists. (A few group addresses of link protocols may be on that of the
    /// unicast ones.)
    pub(crate) fn addresses(&self) -> impl Iterator<Item = MacAddress> + 'a {
        // SAFETY: By the type's invariants.
        unsafe { each_on(self.unicast).chain(each_on(self.multicast)) }
    }
}

/// The addresses on a list.
///
/// # Safety
///
/// It must consist of Ethernet addresses and not change during `'a`.
unsafe fn each_on(list: &bindings::netdev_hw_addr_list) -> impl Iterator<Item = MacAddress> + '_ {
    let head = &raw const list.list;
    let mut entry = list.list.next.cast_const();
    core::iter::from_fn(move || {
        if entry == head {
            return None;
        }
        // SAFETY: What is linked to the head is the `list` of such a structure, by the caller's
        // promise as long as the iterator lives.
        unsafe {
            let address = container_of!(entry, bindings::netdev_hw_addr, list);
            entry = (*entry).next;
            Some((&raw const (*address).addr).cast::<MacAddress>().read())
        }
    })
}
