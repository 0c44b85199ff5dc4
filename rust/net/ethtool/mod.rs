// SPDX-License-Identifier: GPL-2.0

//! The ethtool interface of a device.
//!
//! - [`ops`]: the callbacks of a driver;
//! - [`settings`], [`rxfh`], [`flow_rule`]: what these take and return;
//! - [`table`]: the table of C callbacks. Each of them is in the file of its subject: [`coalesce`],
//!   [`info`], [`link`], [`ntuple`], [`pause`], [`priv_flags`], [`rings`], [`rss`], [`stats`],
//!   [`tunable`].
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

mod coalesce;
mod flow_rule;
mod info;
mod link;
mod ntuple;
mod ops;
mod pause;
mod priv_flags;
mod rings;
mod rss;
mod rxfh;
mod settings;
mod stats;
mod table;
mod tunable;

pub(crate) use flow_rule::{
    FlowRule,
    RuleAction,
    RuleFields,
    RuleFlow,
    RulePlace, //
};
pub(crate) use ops::{
    msg,
    Ops, //
};
pub(crate) use rxfh::{
    rxh,
    FlowType,
    InputXfrm,
    RxfhChange, //
};
pub(crate) use settings::{
    Coalesce,
    DrvInfo,
    LinkSettings,
    PauseParam,
    PauseStats,
    RingParam,
    TsInfo,
    Visitor, //
};
pub(super) use stats::count_stats;
pub(super) use table::EthtoolOps;
