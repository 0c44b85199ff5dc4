// SPDX-License-Identifier: GPL-2.0

//! What a device says of XDP and AF_XDP, and of its features, changed while it is registered.

use super::netdev::LockedDevice;
use crate::{
    bindings,
    net::{
        rtnl::Rtnl,
        xdp::HintKinds,
        xsk, //
    },
};

impl LockedDevice {
    /// Sets the XDP features that the device announces in netlink, bits of
    /// [`xdp::feature`](crate::net::xdp::feature) (`xdp_set_features_flag_locked`). The kernel
    /// refuses redirects to a device without `NDO_XMIT`, and AF_XDP sockets in zero-copy mode at
    /// one without `XSK_ZEROCOPY`. May sleep.
    pub(crate) fn set_xdp_features(&self, features: u32, _rtnl: &Rtnl) {
        let _lock = self.with_instance_lock();
        // SAFETY: The device is alive. Its instance lock is held, and so is RTNL, under which
        // notifiers are called.
        unsafe { bindings::xdp_set_features_flag_locked(self.as_ptr(), features) };
    }

    /// Whether the user may switch a feature, one of [`feature`](super::feature). A fixed one is
    /// on. Calls `set_features` if that changes it (`netdev_update_features`). May sleep.
    pub(crate) fn set_fixed(&self, feature: u64, fixed: bool, _rtnl: &Rtnl) {
        let dev = self.as_ptr();
        // SAFETY: The device is alive, and RTNL excludes other users of the two fields. The kernel
        // calls the driver under RTNL and the lock of a `LockedDevice`, which are both held.
        unsafe {
            if fixed {
                (*dev).hw_features &= !feature;
                (*dev).wanted_features |= feature;
            } else {
                (*dev).hw_features |= feature;
            }
            bindings::netdev_update_features(dev);
        }
    }

    /// Sets which metadata programs get (`xdp_metadata_ops`) that are loaded for the device from
    /// now on. Those that are loaded already have the addresses of the callbacks
    /// (`bpf_dev_bound_resolve_kfunc`).
    pub(crate) fn set_hints(&self, hints: HintKinds, _rtnl: &Rtnl) {
        // SAFETY: The field lives as long as the device. Readers take the pointer as a single word
        // at any time, and what it points to stays.
        unsafe { (&raw mut (*self.as_ptr()).xdp_metadata_ops).write_volatile(hints.ops()) };
    }

    /// Whether AF_XDP sockets may request something for a frame that they send
    /// (`xsk_tx_metadata_ops`), as netlink says (`xsk-features`). For a device that was made with
    /// that; the driver must ignore requests that it does not announce.
    pub(crate) fn set_xsk_tx_metadata(&self, has: bool, _rtnl: &Rtnl) {
        let ops = if has {
            &xsk::TX_METADATA_OPS
        } else {
            &xsk::NO_TX_METADATA_OPS
        };
        // SAFETY: The field lives as long as the device. netlink reads the pointer more than once,
        // but it is never null, and what it points to stays.
        unsafe { (&raw mut (*self.as_ptr()).xsk_tx_metadata_ops).write_volatile(ops) };
    }

    /// Sets the largest number of buffers of a frame of an AF_XDP socket that is bound in zero-copy
    /// mode from now on (`xdp_zc_max_segs`); at least 1.
    pub(crate) fn set_xsk_max_buffers(&self, buffers: u32, _rtnl: &Rtnl) {
        // SAFETY: The field lives as long as the device. `xp_assign_dev` reads it under RTNL, and
        // netlink as a single word.
        unsafe { (&raw mut (*self.as_ptr()).xdp_zc_max_segs).write_volatile(buffers.max(1)) };
    }
}
