// SPDX-License-Identifier: GPL-2.0

//! The C side of the callbacks of a driver (`struct net_device_ops`).

use super::{
    netdev::Device,
    ops::{
        Ops,
        Xmit, //
    },
    private::{
        control,
        data,
        locked,
        under_rtnl, //
    },
};
use crate::{
    bindings,
    net::{
        bh,
        hwtstamp,
        rtnl::{
            ExtAck,
            Rtnl, //
        },
        rx_mode::{
            MacAddress,
            RxMode, //
        },
        skbuff::SkBuff,
        xdp, //
    },
};
use core::{
    marker::PhantomData,
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// The table of C callbacks for a driver.
pub(super) struct NetdevOps<T>(PhantomData<T>);

impl<T: Ops> NetdevOps<T> {
    pub(super) const TABLE: bindings::net_device_ops = bindings::net_device_ops {
        ndo_open: Some(Self::open),
        ndo_stop: Some(Self::stop),
        ndo_uninit: callback!(T::HAS_UNINIT, Self::uninit),
        ndo_get_iflink: callback!(T::HAS_LINK_PEER, Self::iflink),
        ndo_start_xmit: Some(Self::start_xmit),
        ndo_tx_timeout: callback!(T::HAS_TX_TIMEOUT, Self::tx_timeout),
        ndo_get_stats64: Some(Self::stats64),
        ndo_change_mtu: callback!(T::HAS_CHANGE_MTU, Self::change_mtu),
        ndo_set_features: callback!(T::HAS_SET_FEATURES, Self::set_features),
        ndo_hwtstamp_get: callback!(T::HAS_HWTSTAMP, Self::hwtstamp_get),
        ndo_hwtstamp_set: callback!(T::HAS_SET_HWTSTAMP, Self::hwtstamp_set),
        ndo_bpf: callback!(T::HAS_BPF, Self::bpf),
        ndo_xdp_xmit: callback!(T::HAS_XDP_XMIT, Self::xdp_xmit),
        ndo_xsk_wakeup: callback!(T::HAS_XSK_WAKEUP, Self::xsk_wakeup),
        ndo_set_rx_mode_async: callback!(T::HAS_SET_RX_MODE, Self::set_rx_mode),
        ndo_set_mac_address: Some(Self::set_mac_address),
        ndo_vlan_rx_add_vid: callback!(T::HAS_VLAN_RX_ADD_VID, Self::vlan_rx_add_vid),
        ndo_vlan_rx_kill_vid: callback!(T::HAS_VLAN_RX_KILL_VID, Self::vlan_rx_kill_vid),
        ndo_validate_addr: Some(bindings::eth_validate_addr),
        ndo_features_check: callback!(T::HAS_FEATURES_CHECK, Self::features_check),
        // SAFETY: A null function pointer is `None`, and every other field may be zero too.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// # Safety
    ///
    /// Called by the kernel as `ndo_open`, for a device of `Allocated<T>`.
    unsafe extern "C" fn open(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under the locks of the
        // control path.
        let (data, dev, rtnl) = unsafe { control::<T>(dev) };
        from_result(|| data.open(dev, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_stop`, for a device of `Allocated<T>`.
    unsafe extern "C" fn stop(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under the locks of the
        // control path.
        let (data, dev, rtnl) = unsafe { control::<T>(dev) };
        data.stop(dev, &rtnl);
        0
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_uninit`, for a device of `Allocated<T>`.
    unsafe extern "C" fn uninit(dev: *mut bindings::net_device) {
        // SAFETY: The kernel calls this under RTNL for a device of ours that it unregisters, or
        // could not register. The driver gets no reference to it.
        let (data, rtnl) = unsafe { (data::<T>(dev), Rtnl::assume_held()) };
        data.uninit(&rtnl);
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_get_iflink`, for a device of `Allocated<T>`.
    unsafe extern "C" fn iflink(dev: *const bindings::net_device) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours.
        let data = unsafe { data::<T>(dev.cast_mut()) };
        data.link_peer().map_or(0, |peer| peer.ifindex())
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_start_xmit`, for a device of `Allocated<T>`.
    unsafe extern "C" fn start_xmit(
        given: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> bindings::netdev_tx_t {
        // SAFETY: The kernel calls this for a registered device of ours, with an skb that is ours
        // from here on, and with bottom halves off.
        let (data, dev, skb, bh) = unsafe {
            (
                data::<T>(dev),
                Device::from_raw(dev),
                SkBuff::from_raw(given),
                bh::Disabled::assume(),
            )
        };
        match data.start_xmit(dev, skb, &bh) {
            // The stack keeps the skb, and with it the reference.
            Xmit::Busy(back) if back.address() == given as usize => {
                back.into_raw();
                bindings::netdev_tx_NETDEV_TX_BUSY
            }
            // If it is another skb, the driver may have freed the one that it was given.
            Xmit::Busy(_) | Xmit::Done => bindings::netdev_tx_NETDEV_TX_OK,
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_features_check`, for a device of `Allocated<T>`.
    unsafe extern "C" fn features_check(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> bindings::netdev_features_t {
        // SAFETY: The kernel calls this for a registered device of ours, with an skb that it keeps:
        // the value is not dropped.
        let (data, skb) = unsafe { (data::<T>(dev), ManuallyDrop::new(SkBuff::from_raw(skb))) };
        data.features_check(&skb, features)
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_tx_timeout`, for a device of `Allocated<T>`.
    unsafe extern "C" fn tx_timeout(dev: *mut bindings::net_device, queue: c_uint) {
        // SAFETY: The kernel calls this for a registered device of ours in a timer (`dev_watchdog`
        // in net/sched/sch_generic.c), so in softirq context, where bottom halves are off.
        let (data, dev, bh) = unsafe {
            (
                data::<T>(dev),
                Device::from_raw(dev),
                bh::Disabled::assume(),
            )
        };
        if let Ok(queue) = u16::try_from(queue) {
            data.tx_timeout(dev, queue, &bh);
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_get_stats64`, for a device of `Allocated<T>`.
    unsafe extern "C" fn stats64(
        dev: *mut bindings::net_device,
        stats: *mut bindings::rtnl_link_stats64,
    ) {
        // SAFETY: The kernel calls this for a registered device of ours, with zeroed counters that
        // are this call's.
        let (data, stats) = unsafe { (data::<T>(dev), &mut *stats) };
        data.stats64(stats);
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_change_mtu`, for a device of `Allocated<T>`.
    unsafe extern "C" fn change_mtu(dev: *mut bindings::net_device, mtu: c_int) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under the locks of the
        // control path.
        let (data, device, rtnl) = unsafe { control::<T>(dev) };
        from_result(|| {
            let mtu = u32::try_from(mtu)?;
            data.change_mtu(device, mtu, &rtnl)?;
            // SAFETY: The field lives as long as the device; RTNL excludes other writers.
            unsafe { (&raw mut (*dev).mtu).write_volatile(mtu) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_hwtstamp_get`, for a device of `Allocated<T>`.
    unsafe extern "C" fn hwtstamp_get(
        dev: *mut bindings::net_device,
        config: *mut bindings::kernel_hwtstamp_config,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours, with a zeroed structure
        // that is this call's.
        let (data, config) = unsafe { (data::<T>(dev), &mut *config) };
        data.hwtstamp().write_to(config);
        0
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_hwtstamp_set`, for a device of `Allocated<T>`.
    unsafe extern "C" fn hwtstamp_set(
        dev: *mut bindings::net_device,
        config: *mut bindings::kernel_hwtstamp_config,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours, with structures that are
        // this call's, and under the lock of its callbacks (`netdev_ops_lock_dereference` in
        // `dev_set_hwtstamp_phylib` in net/core/dev_ioctl.c). Over netlink RTNL is not held, if the
        // device has an instance lock.
        let ((data, dev), config, extack) =
            unsafe { (locked::<T>(dev), &mut *config, ExtAck::from_raw(extack)) };
        from_result(|| {
            let wanted = hwtstamp::Config::from_raw(config).ok_or(ERANGE)?;
            data.set_hwtstamp(dev, wanted, extack)?.write_to(config);
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_bpf`, for a device of `Allocated<T>`.
    unsafe extern "C" fn bpf(
        dev: *mut bindings::net_device,
        bpf: *mut bindings::netdev_bpf,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under the locks of the
        // control path.
        let (data, dev, rtnl) = unsafe { control::<T>(dev) };
        from_result(|| {
            // SAFETY: The command is one for this device, and this callback's until it returns.
            unsafe { xdp::dispatch(dev, bpf, |command| data.bpf(dev, command, &rtnl)) }.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_set_features`, for a device of `Allocated<T>`.
    unsafe extern "C" fn set_features(
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under the locks of the
        // control path.
        let (data, dev, rtnl) = unsafe { control::<T>(dev) };
        from_result(|| data.set_features(dev, features, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_set_rx_mode_async`, for a device of `Allocated<T>`.
    unsafe extern "C" fn set_rx_mode(
        dev: *mut bindings::net_device,
        unicast: *mut bindings::netdev_hw_addr_list,
        multicast: *mut bindings::netdev_hw_addr_list,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under the locks of the
        // control path, which keep the flags as they are, with lists that are this call's.
        let ((data, device, rtnl), mode) = unsafe {
            (
                control::<T>(dev),
                RxMode::from_raw((*dev).flags, &*unicast, &*multicast),
            )
        };
        from_result(|| data.set_rx_mode(device, &mode, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_set_mac_address`, for a device of `Allocated<T>`.
    unsafe extern "C" fn set_mac_address(
        dev: *mut bindings::net_device,
        address: *mut c_void,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under the locks of the
        // control path.
        let (data, device, rtnl) = unsafe { control::<T>(dev) };
        from_result(|| {
            // SAFETY: The kernel has checked that the address is of the device's type
            // (`netif_set_mac_address` in net/core/dev.c).
            to_result(unsafe { bindings::eth_prepare_mac_addr_change(dev, address) })?;
            if T::HAS_SET_MAC_ADDRESS {
                // SAFETY: The device's type is Ethernet, so the address has this length.
                let new = unsafe {
                    (&raw const (*address.cast::<bindings::sockaddr>()).sa_data)
                        .cast::<MacAddress>()
                        .read()
                };
                data.set_mac_address(device, new, &rtnl)?;
            }
            // SAFETY: `eth_prepare_mac_addr_change` has accepted the address.
            unsafe { bindings::eth_commit_mac_addr_change(dev, address) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_vlan_rx_add_vid`, for a device of `Allocated<T>`.
    unsafe extern "C" fn vlan_rx_add_vid(
        dev: *mut bindings::net_device,
        _proto: bindings::__be16,
        vid: u16,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under RTNL.
        let (data, dev, rtnl) = unsafe { under_rtnl::<T>(dev) };
        from_result(|| data.vlan_rx_add_vid(dev, vid, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_vlan_rx_kill_vid`, for a device of `Allocated<T>`.
    unsafe extern "C" fn vlan_rx_kill_vid(
        dev: *mut bindings::net_device,
        _proto: bindings::__be16,
        vid: u16,
    ) -> c_int {
        // SAFETY: The kernel calls this for a registered device of ours under RTNL.
        let (data, dev, rtnl) = unsafe { under_rtnl::<T>(dev) };
        from_result(|| data.vlan_rx_kill_vid(dev, vid, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_xdp_xmit`, for a device of `Allocated<T>`.
    unsafe extern "C" fn xdp_xmit(
        dev: *mut bindings::net_device,
        count: c_int,
        frames: *mut *mut bindings::xdp_frame,
        flags: u32,
    ) -> c_int {
        if flags & !bindings::XDP_XMIT_FLUSH != 0 {
            return EINVAL.to_errno();
        }
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: The kernel calls this for a registered device of ours, with `count` frames, and
        // with bottom halves off. It frees only the frames after the first ones that are returned
        // as taken.
        let (data, dev, mut frames, bh) = unsafe {
            (
                data::<T>(dev),
                Device::from_raw(dev),
                xdp::Frames::from_raw(frames, count),
                bh::Disabled::assume(),
            )
        };
        let flush = flags & bindings::XDP_XMIT_FLUSH != 0;
        let result = data.xdp_xmit(dev, &mut frames, flush, &bh);
        match (result, count - frames.left()) {
            (Err(error), 0) => error.to_errno(),
            (_, taken) => taken as c_int,
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as `ndo_xsk_wakeup`, for a device of `Allocated<T>`.
    unsafe extern "C" fn xsk_wakeup(
        dev: *mut bindings::net_device,
        queue: u32,
        _flags: u32,
    ) -> c_int {
        // SAFETY: The kernel calls this in an RCU read-side section for a socket that is bound to a
        // registered device of ours, which is not freed before the section ends (`xsk_unbind_dev`
        // in net/xdp/xsk.c).
        let data = unsafe { data::<T>(dev) };
        from_result(|| {
            data.xsk_wakeup(u16::try_from(queue)?, &bh::disable())
                .map(|()| 0)
        })
    }
}
