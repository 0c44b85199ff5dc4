// SPDX-License-Identifier: GPL-2.0

//! Network devices: `struct net_device` and the callbacks of a driver.
//!
//! - [`netdev`]: a registered device, and the same with its lock held;
//! - [`device_ref`]: counted references to a device (`netdev_hold`), and a slot where softirqs find
//!   a device;
//! - [`config`]: what a driver chooses when it makes a device;
//! - [`ops`]: the callbacks of a driver; [`callbacks`] and [`queue_stats`]: their C side;
//! - [`xdp_settings`]: what a device says of XDP;
//! - [`private`]: how a callback finds the driver's data;
//! - [`registration`]: how a device is allocated, registered and unregistered.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/linux/etherdevice.h`](srctree/include/linux/etherdevice.h)

mod callbacks;
pub(super) mod config;
mod defaults;
pub(super) mod device_ref;
pub(super) mod netdev;
pub(super) mod ops;
pub(super) mod private;
pub(super) mod queue_mgmt_table;
mod queue_stats;
pub(super) mod registration;
mod tx_queue;
mod xdp_settings;

pub(crate) use config::{
    feature,
    Config,
    Netpoll, //
};
pub(crate) use defaults::{
    is_rss_configured,
    online_cpus,
    rss_key,
    RSS_KEY_LEN, //
};
pub(crate) use device_ref::{
    DeviceRef,
    DeviceSlot, //
};
pub(crate) use netdev::{
    Device,
    LockedDevice, //
};
pub(crate) use ops::{
    Ops,
    Stats64,
    Xmit, //
};
pub(crate) use registration::{
    FauxParent,
    Registration,
    Unregistered, //
};
