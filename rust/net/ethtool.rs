// SPDX-License-Identifier: GPL-2.0

//! What `ethtool` asks of a device.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use super::{
    device::{self, private, Device},
    print::Cut,
    rtnl::{ExtAck, Rtnl},
};
use crate::bindings;
use core::{ffi::CStr, marker::PhantomData, mem::MaybeUninit, slice};
use kernel::{
    error::{from_result, VTABLE_DEFAULT_ERROR},
    fmt::{self, Write},
    prelude::*,
};

/// Message types (`NETIF_MSG_…`), the bits of `ethtool -s … msglvl`.
pub(crate) mod msg {
    use crate::bindings;

    /// `drv`: what the driver does on request.
    pub(crate) const DRV: u32 = 1 << bindings::NETIF_MSG_DRV_BIT;
    /// `tx_queued`: what is put on the wire.
    pub(crate) const TX_QUEUED: u32 = 1 << bindings::NETIF_MSG_TX_QUEUED_BIT;
    /// `rx_status`: what became of each received frame.
    pub(crate) const RX_STATUS: u32 = 1 << bindings::NETIF_MSG_RX_STATUS_BIT;
    /// `pktdata`: the content of frames.
    pub(crate) const PKTDATA: u32 = 1 << bindings::NETIF_MSG_PKTDATA_BIT;
}

/// Length of a statistic's name with its NUL (`ETH_GSTRING_LEN`).
const NAME_LEN: usize = bindings::ETH_GSTRING_LEN as usize;

/// Who the driver is (`struct ethtool_drvinfo`).
pub(crate) struct DrvInfo {
    /// The driver's name.
    pub(crate) driver: &'static CStr,
    /// The driver's version.
    pub(crate) version: &'static CStr,
}

/// How many descriptors the rings have (`struct ethtool_ringparam`).
pub(crate) struct RingParam {
    /// Most descriptors that a receive ring can have.
    pub(crate) rx_max: u32,
    /// Descriptors of a receive ring.
    pub(crate) rx: u32,
}

/// Link-level flow control (`struct ethtool_pauseparam`).
#[derive(Clone, Copy)]
pub(crate) struct PauseParam {
    /// Whether the settings are negotiated with the peer.
    pub(crate) autoneg: bool,
    /// Whether the port stops sending when the peer asks for it.
    pub(crate) rx: bool,
    /// Whether the port asks the peer to stop sending when it is out of buffers.
    pub(crate) tx: bool,
}

/// Interrupt moderation of the receive rings (`struct ethtool_coalesce`).
#[derive(Clone, Copy)]
pub(crate) struct Coalesce {
    /// For how long a poll is not to be interrupted again, in microseconds.
    pub(crate) rx_usecs: u32,
    /// How many frames interrupt it all the same; 0 for no such limit.
    pub(crate) rx_frames: u32,
    /// Whether the device finds the time out by itself.
    pub(crate) adaptive_rx: bool,
}

/// What link-level flow control has done (`struct ethtool_pause_stats`).
pub(crate) struct PauseStats {
    /// Times the port asked the peer to stop sending.
    pub(crate) tx_frames: u64,
    /// Times the peer asked the port to.
    pub(crate) rx_frames: u64,
}

/// Takes the statistics of a device one after the other.
pub(crate) trait Visitor {
    /// A statistic: its name, at most 31 bytes, and its value.
    fn visit(&mut self, name: fmt::Arguments<'_>, value: u64);
}

/// The callbacks of a driver (`struct ethtool_ops`), all under RTNL.
#[vtable]
pub(crate) trait Ops {
    /// `ethtool -i`.
    fn drvinfo(&self) -> DrvInfo;

    /// The types of messages that are printed, bits of [`msg`] (`ethtool`).
    fn msglevel(&self) -> u32;

    /// `ethtool -s … msglvl`.
    fn set_msglevel(&self, level: u32);

    /// `ethtool -S`: shows `visitor` every statistic, in the same order and number every time.
    fn stats(&self, visitor: &mut dyn Visitor);

    /// `ethtool -g`.
    fn ringparam(&self) -> RingParam {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -l`: queues that receive and transmit, the most there can be and those in use.
    fn combined_channels(&self) -> (u32, u32) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -c`.
    fn coalesce(&self) -> Coalesce {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -C`.
    fn set_coalesce(&self, _coalesce: Coalesce, _extack: ExtAck<'_>, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -a`.
    fn pauseparam(&self) -> PauseParam {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -I -a`.
    fn pause_stats(&self) -> PauseStats {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `ethtool -A`.
    fn set_pauseparam(&self, _dev: &Device, _param: PauseParam, _rtnl: &Rtnl) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Number of statistics.
pub(super) fn count_stats<T: Ops>(data: &T) -> usize {
    struct Count(usize);

    impl Visitor for Count {
        fn visit(&mut self, _name: fmt::Arguments<'_>, _value: u64) {
            self.0 += 1;
        }
    }

    let mut count = Count(0);
    data.stats(&mut count);
    count.0
}

/// Writes the names, each to its place.
struct Names<'a>(slice::ChunksExactMut<'a, u8>);

impl Visitor for Names<'_> {
    fn visit(&mut self, name: fmt::Arguments<'_>, _value: u64) {
        if let Some(place) = self.0.next() {
            place.fill(0);
            // The last byte stays the NUL; a longer name is cut off.
            let mut cell = Cut(place.get_mut(..NAME_LEN - 1).unwrap_or_default());
            let _ = cell.write_fmt(name);
        }
    }
}

/// Writes the values, each to its place.
struct Values<'a>(slice::IterMut<'a, u64>);

impl Visitor for Values<'_> {
    fn visit(&mut self, _name: fmt::Arguments<'_>, value: u64) {
        if let Some(place) = self.0.next() {
            *place = value;
        }
    }
}

/// Copies `text` to a field of a C structure, cut so that a NUL remains.
fn copy_text(field: &mut [c_char], text: &CStr) {
    field.fill(0);
    let len = field.len().saturating_sub(1);
    for (to, &from) in field.iter_mut().take(len).zip(text.to_bytes()) {
        *to = from as c_char;
    }
}

/// The table of C callbacks for a driver.
pub(super) struct EthtoolOps<T>(PhantomData<T>);

impl<T: device::Ops> EthtoolOps<T> {
    pub(super) const TABLE: bindings::ethtool_ops = bindings::ethtool_ops {
        get_drvinfo: Some(Self::drvinfo),
        get_msglevel: Some(Self::msglevel),
        set_msglevel: Some(Self::set_msglevel),
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: Some(bindings::ethtool_op_get_ts_info),
        get_sset_count: Some(Self::sset_count),
        get_strings: Some(Self::strings),
        get_ethtool_stats: Some(Self::stats),
        get_ringparam: if T::HAS_RINGPARAM {
            Some(Self::ringparam)
        } else {
            None
        },
        get_channels: if T::HAS_COMBINED_CHANNELS {
            Some(Self::channels)
        } else {
            None
        },
        supported_coalesce_params: if T::HAS_SET_COALESCE {
            bindings::OXNIC_ETHTOOL_COALESCE_RX
        } else {
            0
        },
        get_coalesce: if T::HAS_COALESCE {
            Some(Self::coalesce)
        } else {
            None
        },
        set_coalesce: if T::HAS_SET_COALESCE {
            Some(Self::set_coalesce)
        } else {
            None
        },
        get_pauseparam: if T::HAS_PAUSEPARAM {
            Some(Self::pauseparam)
        } else {
            None
        },
        get_pause_stats: if T::HAS_PAUSE_STATS {
            Some(Self::pause_stats)
        } else {
            None
        },
        set_pauseparam: if T::HAS_SET_PAUSEPARAM {
            Some(Self::set_pauseparam)
        } else {
            None
        },
        // SAFETY: A null function pointer is `None`, and every other field may be zero too.
        ..unsafe { MaybeUninit::zeroed().assume_init() }
    };

    /// The driver's data.
    ///
    /// # Safety
    ///
    /// `dev` must be a registered device of ours that is not freed while the result is used.
    unsafe fn data<'a>(dev: *mut bindings::net_device) -> &'a T {
        // SAFETY: The caller's promise.
        unsafe { &private::<T>(dev).data }
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_drvinfo`, for a device of `Allocated<T>`.
    unsafe extern "C" fn drvinfo(
        dev: *mut bindings::net_device,
        info: *mut bindings::ethtool_drvinfo,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, info) = unsafe { (Self::data(dev), &mut *info) };
        let DrvInfo { driver, version } = data.drvinfo();
        copy_text(&mut info.driver, driver);
        copy_text(&mut info.version, version);
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_msglevel`, for a device of `Allocated<T>`.
    unsafe extern "C" fn msglevel(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: The kernel calls this for a device of ours.
        unsafe { Self::data(dev) }.msglevel()
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_msglevel`, for a device of `Allocated<T>`.
    unsafe extern "C" fn set_msglevel(dev: *mut bindings::net_device, level: u32) {
        // SAFETY: The kernel calls this for a device of ours.
        unsafe { Self::data(dev) }.set_msglevel(level);
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_sset_count`, for a device of `Allocated<T>`.
    unsafe extern "C" fn sset_count(dev: *mut bindings::net_device, set: c_int) -> c_int {
        if set as u32 != bindings::ethtool_stringset_ETH_SS_STATS {
            return EOPNOTSUPP.to_errno();
        }
        // SAFETY: The kernel calls this for a device of ours.
        unsafe { private::<T>(dev).n_stats as c_int }
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_strings`, for a device of `Allocated<T>`.
    unsafe extern "C" fn strings(dev: *mut bindings::net_device, set: u32, buffer: *mut u8) {
        if set != bindings::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        // SAFETY: The kernel calls this for a device of ours, with room for as many names as
        // `sset_count` said.
        let (private, buffer) = unsafe {
            let private = private::<T>(dev);
            let len = private.n_stats * NAME_LEN;
            (private, slice::from_raw_parts_mut(buffer, len))
        };
        let mut names = Names(buffer.chunks_exact_mut(NAME_LEN));
        private.data.stats(&mut names);
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_ethtool_stats`, for a device of `Allocated<T>`.
    unsafe extern "C" fn stats(
        dev: *mut bindings::net_device,
        _stats: *mut bindings::ethtool_stats,
        buffer: *mut u64,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with room for as many values as
        // `sset_count` said.
        let (private, buffer) = unsafe {
            let private = private::<T>(dev);
            let buffer = slice::from_raw_parts_mut(buffer, private.n_stats);
            (private, buffer)
        };
        private.data.stats(&mut Values(buffer.iter_mut()));
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_ringparam`, for a device of `Allocated<T>`.
    unsafe extern "C" fn ringparam(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_ringparam,
        _kernel: *mut bindings::kernel_ethtool_ringparam,
        _extack: *mut bindings::netlink_ext_ack,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, param) = unsafe { (Self::data(dev), &mut *param) };
        let RingParam { rx_max, rx } = data.ringparam();
        param.rx_max_pending = rx_max;
        param.rx_pending = rx;
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_channels`, for a device of `Allocated<T>`.
    unsafe extern "C" fn channels(
        dev: *mut bindings::net_device,
        channels: *mut bindings::ethtool_channels,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, channels) = unsafe { (Self::data(dev), &mut *channels) };
        (channels.max_combined, channels.combined_count) = data.combined_channels();
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_coalesce`, for a device of `Allocated<T>`.
    unsafe extern "C" fn coalesce(
        dev: *mut bindings::net_device,
        coalesce: *mut bindings::ethtool_coalesce,
        _kernel: *mut bindings::kernel_ethtool_coalesce,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, coalesce) = unsafe { (Self::data(dev), &mut *coalesce) };
        let Coalesce {
            rx_usecs,
            rx_frames,
            adaptive_rx,
        } = data.coalesce();
        coalesce.rx_coalesce_usecs = rx_usecs;
        coalesce.rx_max_coalesced_frames = rx_frames;
        coalesce.use_adaptive_rx_coalesce = adaptive_rx.into();
        0
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_coalesce`, for a device of `Allocated<T>`.
    unsafe extern "C" fn set_coalesce(
        dev: *mut bindings::net_device,
        coalesce: *mut bindings::ethtool_coalesce,
        _kernel: *mut bindings::kernel_ethtool_coalesce,
        extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under RTNL, with structures that are
        // ours.
        let (data, coalesce, extack, rtnl) = unsafe {
            (
                Self::data(dev),
                &*coalesce,
                ExtAck::from_raw(extack),
                Rtnl::assume_held(),
            )
        };
        let coalesce = Coalesce {
            rx_usecs: coalesce.rx_coalesce_usecs,
            rx_frames: coalesce.rx_max_coalesced_frames,
            adaptive_rx: coalesce.use_adaptive_rx_coalesce != 0,
        };
        from_result(|| data.set_coalesce(coalesce, extack, &rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_pauseparam`, for a device of `Allocated<T>`.
    unsafe extern "C" fn pauseparam(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_pauseparam,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, param) = unsafe { (Self::data(dev), &mut *param) };
        let PauseParam { autoneg, rx, tx } = data.pauseparam();
        param.autoneg = autoneg.into();
        param.rx_pause = rx.into();
        param.tx_pause = tx.into();
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_pause_stats`, for a device of `Allocated<T>`.
    unsafe extern "C" fn pause_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_pause_stats,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with a structure that is ours.
        let (data, stats) = unsafe { (Self::data(dev), &mut *stats) };
        let PauseStats {
            tx_frames,
            rx_frames,
        } = data.pause_stats();
        // What is not set here stays as the kernel has set it: not available.
        // SAFETY: Both members of the union are the same three numbers, and it is initialized.
        let stats = unsafe { &mut stats.__bindgen_anon_1.stats };
        stats.tx_pause_frames = tx_frames;
        stats.rx_pause_frames = rx_frames;
    }

    /// # Safety
    ///
    /// Called by the kernel as `set_pauseparam`, for a device of `Allocated<T>`.
    unsafe extern "C" fn set_pauseparam(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_pauseparam,
    ) -> c_int {
        // SAFETY: The kernel calls this for a device of ours under RTNL, with a structure that is
        // ours.
        let (data, dev, param, rtnl) = unsafe {
            (
                Self::data(dev),
                Device::from_raw(dev),
                &*param,
                Rtnl::assume_held(),
            )
        };
        let param = PauseParam {
            autoneg: param.autoneg != 0,
            rx: param.rx_pause != 0,
            tx: param.tx_pause != 0,
        };
        from_result(|| data.set_pauseparam(dev, param, &rtnl).map(|()| 0))
    }
}
