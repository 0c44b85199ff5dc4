// SPDX-License-Identifier: GPL-2.0

//! The callbacks of ethtool (`struct ethtool_ops`).

mod coalesce;
mod link;
mod ntuple;
mod rss;

use super::{
    hwtstamp,
    params,
    vsi::Vsi, //
};
use crate::{
    compat::EOPNOTSUPP,
    net::{
        device::{
            Device,
            LockedDevice, //
        },
        ethtool::{
            msg,
            Coalesce,
            DrvInfo,
            FlowRule,
            FlowType,
            InputXfrm,
            LinkSettings,
            Ops,
            PauseParam,
            PauseStats,
            RingParam,
            RulePlace,
            RxfhChange,
            TsInfo,
            Visitor, //
        },
        rtnl::{
            ExtAck,
            Rtnl, //
        },
    },
    netdev_info,
    nic::switches::{
        self,
        Switches, //
    },
};
use core::sync::atomic::Ordering;
use kernel::prelude::*;

#[vtable]
impl Ops for Vsi {
    fn drvinfo(&self) -> DrvInfo {
        DrvInfo {
            driver: c"oxnic",
            version: c"0.1.0",
        }
    }

    fn msglevel(&self) -> u32 {
        self.settings.msg_enable.load(Ordering::Relaxed)
    }

    fn set_msglevel(&self, level: u32) {
        self.settings.msg_enable.store(level, Ordering::Relaxed);
        let print = level & msg::INTR != 0;
        self.port.for_each_running(|hw| hw.irq_trace.print = print);
    }

    /// Frames and bytes of all queues come first; the other counters are zero most of the time.
    fn stats(&self, visitor: &mut dyn Visitor) {
        for first in [true, false] {
            let is_wanted = |name| matches!(name, "packets" | "bytes") == first;
            for (n, ring) in self.rx_rings.iter().enumerate() {
                let mut visit = |name, value| {
                    if is_wanted(name) {
                        visitor.visit(fmt!("rx_queue_{n}_{name}"), value);
                    }
                };
                ring.stats.each(&mut visit);
                ring.hw_queue.stats.each(&mut visit);
            }
            let pauses = &self.port.tx_pauses;
            let rings = self.tx_rings.iter().zip(&self.rx_rings);
            for (n, ((ring, rx), pause)) in rings.zip(pauses).enumerate() {
                let mut visit = |name, value| {
                    if is_wanted(name) {
                        visitor.visit(fmt!("tx_queue_{n}_{name}"), value);
                    }
                };
                ring.stats.each(&mut visit);
                pause.each(&mut visit);
                ring.xmit.each(&mut visit);
                rx.xsk_tx.each(&mut visit);
            }
        }
        self.port
            .steering
            .arrivals
            .each(|name, value| visitor.visit(fmt!("rx_{name}"), value));
    }

    fn rx_copybreak(&self) -> u32 {
        self.settings.rx_copybreak.load(Ordering::Relaxed)
    }

    fn set_rx_copybreak(&self, bytes: u32) {
        self.settings.rx_copybreak.store(bytes, Ordering::Relaxed);
    }

    const PRIV_FLAG_NAMES: &'static [&'static str] = switches::NAMES;

    fn priv_flags(&self) -> u32 {
        self.settings.switches().bits()
    }

    fn set_priv_flags(&self, dev: &LockedDevice, flags: u32, rtnl: &Rtnl) -> Result {
        self.change_switches(dev, Switches::from_bits(flags), rtnl)
    }

    fn ts_info(&self) -> TsInfo {
        hwtstamp::INFO
    }

    fn link_settings(&self) -> LinkSettings {
        self.get_link_settings()
    }

    fn set_link_settings(
        &self,
        dev: &LockedDevice,
        settings: LinkSettings,
        _rtnl: &Rtnl,
    ) -> Result {
        self.change_link_settings(dev, settings)
    }

    const MAX_RINGPARAM: RingParam = RingParam {
        rx: *params::RING_SIZES.end(),
        tx: *params::RING_SIZES.end(),
    };

    fn ringparam(&self) -> RingParam {
        RingParam {
            rx: self.port.ring_size(),
            tx: self.settings.tx_ring_size.load(Ordering::Relaxed),
        }
    }

    fn set_ringparam(
        &self,
        dev: &LockedDevice,
        rings: RingParam,
        extack: ExtAck<'_>,
        rtnl: &Rtnl,
    ) -> Result {
        self.change_ring_sizes(dev, rings, extack, rtnl)
    }

    fn combined_channels(&self) -> (u32, u32) {
        (self.rx_rings.len() as u32, self.port.queues() as u32)
    }

    fn set_combined_channels(&self, dev: &LockedDevice, count: u32, rtnl: &Rtnl) -> Result {
        self.change_queues(dev, count, rtnl)
    }

    fn coalesce(&self) -> Coalesce {
        self.get_coalesce()
    }

    fn set_coalesce(&self, coalesce: Coalesce, extack: ExtAck<'_>) -> Result {
        self.change_coalesce(coalesce, extack)
    }

    fn pauseparam(&self) -> PauseParam {
        PauseParam {
            autoneg: false,
            rx: self.port.rx_pause.load(Ordering::Relaxed),
            tx: self.port.tx_pause.load(Ordering::Relaxed),
        }
    }

    /// There are no pause frames on the wire. Their effect is counted: a queue that stops.
    fn pause_stats(&self, _rtnl: &Rtnl) -> PauseStats {
        PauseStats {
            tx_frames: self.port.times_paused(&self.peer.get()),
            rx_frames: self.port.times_stopped(),
        }
    }

    fn set_pauseparam(&self, dev: &LockedDevice, param: PauseParam, _rtnl: &Rtnl) -> Result {
        if param.autoneg {
            // This callback has no extack.
            netdev_info!(dev, "pause: autonegotiation not supported\n");
            return Err(EOPNOTSUPP);
        }
        self.port.rx_pause.store(param.rx, Ordering::Relaxed);
        self.port.tx_pause.store(param.tx, Ordering::Relaxed);
        // Queues that wait for buffers may go on if flow control is off now.
        let peer = self.peer.get();
        self.port.wake_all(&peer);
        peer.wake_all(&self.port);
        Ok(())
    }

    const RXFH_KEY_LEN: usize = rss::RSS_KEY_LEN;

    const RXFH_TABLE_LEN: usize = rss::TABLE_LEN;

    const RXFH_CONTEXTS: u32 = rss::CONTEXTS;

    fn rxfh(&self, context: u32, key: &mut [u8], table: &mut [u32]) -> Result<InputXfrm> {
        self.get_rxfh(context, key, table)
    }

    fn set_rxfh(
        &self,
        dev: &LockedDevice,
        context: u32,
        change: &RxfhChange<'_>,
        extack: ExtAck<'_>,
    ) -> Result {
        self.change_rxfh(dev, context, change, extack)
    }

    fn add_rxfh_context(
        &self,
        dev: &LockedDevice,
        context: u32,
        change: &RxfhChange<'_>,
        extack: ExtAck<'_>,
    ) -> Result {
        self.add_context(dev, context, change, extack)
    }

    fn remove_rxfh_context(&self, dev: &Device, context: u32) -> Result {
        self.del_context(dev, context)
    }

    fn rxfh_fields(&self, context: u32, flow: FlowType) -> Result<u32> {
        self.get_rxfh_fields(context, flow)
    }

    fn set_rxfh_fields(
        &self,
        dev: &LockedDevice,
        context: u32,
        flow: FlowType,
        fields: u32,
        extack: ExtAck<'_>,
    ) -> Result {
        self.change_rxfh_fields(dev, context, flow, fields, extack)
    }

    fn max_rules(&self) -> u32 {
        ntuple::MAX
    }

    fn each_rule(&self, visit: &mut dyn FnMut(u32)) {
        self.for_each_rule_location(visit);
    }

    fn rule(&self, location: u32) -> Option<FlowRule> {
        self.rule_at(location)
    }

    fn add_rule(
        &self,
        dev: &LockedDevice,
        location: RulePlace,
        rule: Option<FlowRule>,
    ) -> Result<u32> {
        self.set_rule(dev, location, rule)
    }

    fn delete_rule(&self, dev: &LockedDevice, location: u32) -> Result {
        self.del_rule(dev, location)
    }
}
