// SPDX-License-Identifier: GPL-2.0

//! The kernel's `netdev` netlink family: XDP features, queues and page pools.

use super::{attr, generic, number, Attrs};
use anyhow::{anyhow, Result};
use netlink_packet_core::NLM_F_DUMP;
use std::fmt;

const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_CMD_PAGE_POOL_GET: u8 = 5;
const NETDEV_CMD_QUEUE_GET: u8 = 10;
const NETDEV_CMD_NAPI_GET: u8 = 11;
const NETDEV_CMD_QSTATS_GET: u8 = 12;
const NETDEV_CMD_NAPI_SET: u8 = 14;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_A_DEV_XDP_ZC_MAX_SEGS: u16 = 4;
const NETDEV_A_DEV_XDP_RX_METADATA_FEATURES: u16 = 5;
const NETDEV_A_DEV_XSK_FEATURES: u16 = 6;
const NETDEV_A_PAGE_POOL_ID: u16 = 1;
const NETDEV_A_PAGE_POOL_IFINDEX: u16 = 2;
const NETDEV_A_PAGE_POOL_NAPI_ID: u16 = 3;
const NETDEV_A_PAGE_POOL_INFLIGHT: u16 = 4;
const NETDEV_A_PAGE_POOL_INFLIGHT_MEM: u16 = 5;
const NETDEV_A_PAGE_POOL_DETACH_TIME: u16 = 6;
const NETDEV_A_NAPI_IFINDEX: u16 = 1;
const NETDEV_A_NAPI_ID: u16 = 2;
const NETDEV_A_NAPI_IRQ: u16 = 3;
const NETDEV_A_NAPI_PID: u16 = 4;
const NETDEV_A_NAPI_DEFER_HARD_IRQS: u16 = 5;
const NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT: u16 = 6;
const NETDEV_A_NAPI_IRQ_SUSPEND_TIMEOUT: u16 = 7;
const NETDEV_A_NAPI_THREADED: u16 = 8;
const NETDEV_A_QUEUE_ID: u16 = 1;
const NETDEV_A_QUEUE_IFINDEX: u16 = 2;
const NETDEV_A_QUEUE_TYPE: u16 = 3;
const NETDEV_A_QUEUE_NAPI_ID: u16 = 4;
const NETDEV_A_QUEUE_XSK: u16 = 7;
const NETDEV_QUEUE_TYPE_RX: u64 = 0;
const NETDEV_A_QSTATS_IFINDEX: u16 = 1;
const NETDEV_A_QSTATS_QUEUE_TYPE: u16 = 2;
const NETDEV_A_QSTATS_QUEUE_ID: u16 = 3;
const NETDEV_A_QSTATS_SCOPE: u16 = 4;
const NETDEV_A_QSTATS_RX_PACKETS: u16 = 8;
const NETDEV_A_QSTATS_RX_BYTES: u16 = 9;
const NETDEV_A_QSTATS_TX_PACKETS: u16 = 10;
const NETDEV_A_QSTATS_TX_BYTES: u16 = 11;
const NETDEV_A_QSTATS_RX_ALLOC_FAIL: u16 = 12;
/// `NETDEV_QSTATS_SCOPE_QUEUE`; without a scope the answer is one sum for the device.
const SCOPE_QUEUE: u32 = 1;

pub const NETDEV_XDP_ACT_BASIC: u64 = 1 << 0;
pub const NETDEV_XDP_ACT_REDIRECT: u64 = 1 << 1;
pub const NETDEV_XDP_ACT_NDO_XMIT: u64 = 1 << 2;
pub const NETDEV_XDP_ACT_XSK_ZEROCOPY: u64 = 1 << 3;
pub const NETDEV_XDP_ACT_RX_SG: u64 = 1 << 5;
pub const NETDEV_XDP_ACT_NDO_XMIT_SG: u64 = 1 << 6;
/// Metadata of frames that AF_XDP sockets send.
pub const NETDEV_XSK_FLAGS_TX_TIMESTAMP: u64 = 1 << 0;
pub const NETDEV_XSK_FLAGS_TX_CHECKSUM: u64 = 1 << 1;
pub const NETDEV_XSK_FLAGS_TX_LAUNCH_TIME_FIFO: u64 = 1 << 2;
pub const NETDEV_XDP_RX_METADATA_TIMESTAMP: u64 = 1 << 0;
pub const NETDEV_XDP_RX_METADATA_HASH: u64 = 1 << 1;
pub const NETDEV_XDP_RX_METADATA_VLAN_TAG: u64 = 1 << 2;

/// A page pool whose device is, or was until it went, in the asking thread's namespace.
pub struct PagePool {
    pub id: u64,
    /// `None` once the device is gone.
    pub ifindex: Option<u64>,
    /// The NAPI whose polls allocate from it.
    pub napi: Option<u64>,
    /// Pages that it has from the kernel, and their size in bytes.
    pub inflight: Option<u64>,
    pub inflight_mem: Option<u64>,
    /// The driver has destroyed the pool, but not all of its pages have come back.
    pub detached: bool,
}

impl fmt::Display for PagePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self
            .ifindex
            .map_or("none".to_owned(), |ifindex| ifindex.to_string());
        let state = if self.detached { ", detached" } else { "" };

        write!(
            f,
            "id {} (device {device}, {} pages out{state})",
            self.id,
            self.inflight.unwrap_or(0)
        )
    }
}

/// All page pools of the calling thread's namespace.
pub fn page_pools() -> Result<Vec<PagePool>> {
    ask(NETDEV_CMD_PAGE_POOL_GET, NLM_F_DUMP, Attrs::default())?
        .iter()
        .map(|body| {
            let value = |kind| attr(body, kind).map(number).transpose();

            Ok(PagePool {
                id: value(NETDEV_A_PAGE_POOL_ID)?.unwrap_or(0),
                ifindex: value(NETDEV_A_PAGE_POOL_IFINDEX)?,
                napi: value(NETDEV_A_PAGE_POOL_NAPI_ID)?,
                inflight: value(NETDEV_A_PAGE_POOL_INFLIGHT)?,
                inflight_mem: value(NETDEV_A_PAGE_POOL_INFLIGHT_MEM)?,
                detached: value(NETDEV_A_PAGE_POOL_DETACH_TIME)?.is_some(),
            })
        })
        .collect()
}

/// The `xdp_features` bits a device announces.
pub fn xdp_features(ifindex: u32) -> Result<u64> {
    let attrs = Attrs::default().put_u32(NETDEV_A_DEV_IFINDEX, ifindex);
    let answers = ask(NETDEV_CMD_DEV_GET, 0, attrs)?;
    let body = answers
        .first()
        .ok_or_else(|| anyhow!("no answer about device {ifindex}"))?;

    number(attr(body, NETDEV_A_DEV_XDP_FEATURES).unwrap_or_default())
}

/// In how many buffers a frame of a zero-copy AF_XDP socket can be.
pub fn zc_max_segments(ifindex: u32) -> Result<u64> {
    let attrs = Attrs::default().put_u32(NETDEV_A_DEV_IFINDEX, ifindex);
    let answers = ask(NETDEV_CMD_DEV_GET, 0, attrs)?;
    let body = answers
        .first()
        .ok_or_else(|| anyhow!("no answer about device {ifindex}"))?;

    attr(body, NETDEV_A_DEV_XDP_ZC_MAX_SEGS).map_or(Ok(0), number)
}

/// The bits that a device announces for metadata in XDP, and for AF_XDP.
pub fn xdp_extras(ifindex: u32) -> Result<(u64, u64)> {
    let attrs = Attrs::default().put_u32(NETDEV_A_DEV_IFINDEX, ifindex);
    let answers = ask(NETDEV_CMD_DEV_GET, 0, attrs)?;
    let body = answers
        .first()
        .ok_or_else(|| anyhow!("no answer about device {ifindex}"))?;
    let value = |kind| attr(body, kind).map_or(Ok(0), number);

    Ok((
        value(NETDEV_A_DEV_XDP_RX_METADATA_FEATURES)?,
        value(NETDEV_A_DEV_XSK_FEATURES)?,
    ))
}

/// A queue of a device.
#[derive(Debug)]
pub struct Queue {
    pub id: u64,
    pub receives: bool,
    pub napi: Option<u64>,
    /// An AF_XDP socket is bound to it.
    pub xsk: bool,
}

/// The queues of a device that is up.
pub fn queues(ifindex: u32) -> Result<Vec<Queue>> {
    let attrs = Attrs::default().put_u32(NETDEV_A_QUEUE_IFINDEX, ifindex);

    ask(NETDEV_CMD_QUEUE_GET, NLM_F_DUMP, attrs)?
        .iter()
        .map(|body| {
            let value = |kind| attr(body, kind).map(number).transpose();

            Ok(Queue {
                id: value(NETDEV_A_QUEUE_ID)?.unwrap_or(0),
                receives: value(NETDEV_A_QUEUE_TYPE)? == Some(NETDEV_QUEUE_TYPE_RX),
                napi: value(NETDEV_A_QUEUE_NAPI_ID)?,
                xsk: attr(body, NETDEV_A_QUEUE_XSK).is_some(),
            })
        })
        .collect()
}

/// What a user can set for a NAPI. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NapiSettings {
    pub threaded: bool,
    pub defer_hard_irqs: u32,
    pub gro_flush_timeout: u64,
    pub irq_suspend_timeout: u64,
}

/// A NAPI that may be polled.
#[derive(Debug)]
pub struct Napi {
    pub id: u64,
    /// The number of its interrupt.
    pub irq: Option<u64>,
    /// The thread that polls it.
    pub pid: Option<u64>,
    pub settings: NapiSettings,
}

/// The NAPIs of a device that is up, by the number of their queue.
pub fn napis(ifindex: u32) -> Result<Vec<Napi>> {
    let attrs = Attrs::default().put_u32(NETDEV_A_NAPI_IFINDEX, ifindex);
    let mut napis = ask(NETDEV_CMD_NAPI_GET, NLM_F_DUMP, attrs)?
        .iter()
        .map(|body| {
            let value = |kind| attr(body, kind).map(number).transpose();
            let setting = |kind| Ok::<_, anyhow::Error>(value(kind)?.unwrap_or_default());

            Ok(Napi {
                id: setting(NETDEV_A_NAPI_ID)?,
                irq: value(NETDEV_A_NAPI_IRQ)?,
                pid: value(NETDEV_A_NAPI_PID)?,
                settings: NapiSettings {
                    threaded: setting(NETDEV_A_NAPI_THREADED)? != 0,
                    defer_hard_irqs: setting(NETDEV_A_NAPI_DEFER_HARD_IRQS)? as u32,
                    gro_flush_timeout: setting(NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT)?,
                    irq_suspend_timeout: setting(NETDEV_A_NAPI_IRQ_SUSPEND_TIMEOUT)?,
                },
            })
        })
        .collect::<Result<Vec<_>>>()?;

    // The kernel lists the newest first, and gives out ids in the order of the queues.
    napis.sort_by_key(|napi| napi.id);
    Ok(napis)
}

/// Makes all settings of a NAPI.
pub fn set_napi(id: u64, settings: &NapiSettings) -> Result<()> {
    let attrs = Attrs::default()
        .put_u32(NETDEV_A_NAPI_ID, id as u32)
        .put_u32(NETDEV_A_NAPI_THREADED, settings.threaded.into())
        .put_u32(NETDEV_A_NAPI_DEFER_HARD_IRQS, settings.defer_hard_irqs)
        .put(
            NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT,
            &settings.gro_flush_timeout.to_ne_bytes(),
        )
        .put(
            NETDEV_A_NAPI_IRQ_SUSPEND_TIMEOUT,
            &settings.irq_suspend_timeout.to_ne_bytes(),
        );

    ask(NETDEV_CMD_NAPI_SET, 0, attrs).map(drop)
}

/// What the kernel's queue statistics say, of one queue or of a device. A counter that the driver
/// does not give is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Whether it receives, and the queue's number; `None` for the sum of a device.
    pub queue: Option<(bool, u64)>,
    pub rx_packets: Option<u64>,
    pub rx_bytes: Option<u64>,
    pub rx_alloc_fail: Option<u64>,
    pub tx_packets: Option<u64>,
    pub tx_bytes: Option<u64>,
}

impl QueueStats {
    fn parse(body: &[u8]) -> Result<Self> {
        let value = |kind| attr(body, kind).map(number).transpose();
        let queue = match (
            value(NETDEV_A_QSTATS_QUEUE_TYPE)?,
            value(NETDEV_A_QSTATS_QUEUE_ID)?,
        ) {
            (Some(kind), Some(id)) => Some((kind == NETDEV_QUEUE_TYPE_RX, id)),
            _ => None,
        };

        Ok(Self {
            queue,
            rx_packets: value(NETDEV_A_QSTATS_RX_PACKETS)?,
            rx_bytes: value(NETDEV_A_QSTATS_RX_BYTES)?,
            rx_alloc_fail: value(NETDEV_A_QSTATS_RX_ALLOC_FAIL)?,
            tx_packets: value(NETDEV_A_QSTATS_TX_PACKETS)?,
            tx_bytes: value(NETDEV_A_QSTATS_TX_BYTES)?,
        })
    }
}

/// The statistics of each queue of a device; none while it is down.
pub fn queue_stats(ifindex: u32) -> Result<Vec<QueueStats>> {
    let attrs = Attrs::default()
        .put_u32(NETDEV_A_QSTATS_IFINDEX, ifindex)
        .put_u32(NETDEV_A_QSTATS_SCOPE, SCOPE_QUEUE);

    ask(NETDEV_CMD_QSTATS_GET, NLM_F_DUMP, attrs)?
        .iter()
        .map(|body| QueueStats::parse(body))
        .collect()
}

/// The sum that the kernel makes of a device's queue statistics.
pub fn device_stats(ifindex: u32) -> Result<QueueStats> {
    let attrs = Attrs::default().put_u32(NETDEV_A_QSTATS_IFINDEX, ifindex);
    let answers = ask(NETDEV_CMD_QSTATS_GET, NLM_F_DUMP, attrs)?;

    QueueStats::parse(
        answers
            .first()
            .ok_or_else(|| anyhow!("no queue statistics of device {ifindex}"))?,
    )
}

fn ask(command: u8, flags: u16, attrs: Attrs) -> Result<Vec<Vec<u8>>> {
    generic::ask("netdev", command, flags, attrs)
}
