// SPDX-License-Identifier: GPL-2.0

//! Flow steering rules as the user sets them (`ethtool -N … flow-type`).

use crate::{
    compat::EOPNOTSUPP,
    driver::vsi::Vsi,
    net::{
        bh,
        device::{
            feature,
            Device, //
        },
        ethtool::{
            FlowRule,
            RuleAction,
            RuleFields,
            RuleFlow,
            RulePlace, //
        },
    },
    netdev_info,
    nic::{
        ntuple::{
            Action,
            Key,
            Protocols,
            Rule,
            MAX_RULES, //
        },
        steering::Steering, //
    },
};
use kernel::{
    alloc::KVBox,
    fmt,
    prelude::*, //
};

/// Most rules of a port.
pub(crate) const MAX: u32 = MAX_RULES as u32;

/// The protocols of a frame that each type of flow matches.
const FLOWS: [(RuleFlow, Protocols); 7] = [
    (RuleFlow::Ether, Protocols::ANY),
    (RuleFlow::Ipv4, Protocols::IPV4),
    (RuleFlow::TcpV4, Protocols::IPV4.with(Protocols::TCP)),
    (RuleFlow::UdpV4, Protocols::IPV4.with(Protocols::UDP)),
    (RuleFlow::Ipv6, Protocols::IPV6),
    (RuleFlow::TcpV6, Protocols::IPV6.with(Protocols::TCP)),
    (RuleFlow::UdpV6, Protocols::IPV6.with(Protocols::UDP)),
];

impl Vsi {
    pub(crate) fn for_each_rule_location(&self, visit: &mut dyn FnMut(u32)) {
        let bh = bh::disable();
        let steering = self.port.steering.read(&bh);
        steering
            .rules()
            .used_locations()
            .for_each(|location| visit(location as u32));
    }

    pub(crate) fn rule_at(&self, location: u32) -> Option<FlowRule> {
        let bh = bh::disable();
        let rule = self
            .port
            .steering
            .read(&bh)
            .rules()
            .get(location as usize)?;
        let flow = FLOWS
            .iter()
            .find(|(_, protocols)| *protocols == rule.protocols);
        Some(FlowRule {
            flow: flow?.0,
            fields: fields(&rule.key),
            mask: fields(&rule.mask),
            action: match rule.action {
                Action::Queue(queue) => RuleAction::Queue(queue),
                Action::Rss { context, offset } => RuleAction::Rss { context, offset },
                Action::Drop => RuleAction::Drop,
            },
        })
    }

    /// This callback has no extack, so the kernel log says why a rule is refused.
    pub(crate) fn set_rule(
        &self,
        dev: &Device,
        location: RulePlace,
        rule: Option<FlowRule>,
    ) -> Result<u32> {
        let refuse = |why: fmt::Arguments<'_>, error| {
            netdev_info!(dev, "ntuple: {}\n", why);
            Err(error)
        };
        if !dev.has_feature(feature::NTUPLE) {
            return refuse(fmt!("ntuple-filters are off"), EOPNOTSUPP);
        }
        let Some(rule) = rule else {
            return refuse(fmt!("unsupported flow type or action"), EOPNOTSUPP);
        };
        let protocols = FLOWS.iter().find(|(flow, _)| *flow == rule.flow);
        let rule = Rule {
            protocols: protocols.ok_or(EINVAL)?.1,
            key: key(&rule.fields),
            mask: key(&rule.mask),
            action: match rule.action {
                RuleAction::Queue(queue) => Action::Queue(queue),
                RuleAction::Rss { context, offset } => Action::Rss { context, offset },
                RuleAction::Drop => Action::Drop,
            },
        };
        let mut steering = self.port.steering.copy()?;
        let free = |last: bool| {
            let mut free = steering.rules().free_locations();
            if last {
                free.next_back()
            } else {
                free.next()
            }
        };
        let location = match location {
            RulePlace::At(location) => Some(location as usize),
            RulePlace::Any => steering
                .rules()
                .find_same_match(&rule)
                .or_else(|| free(false)),
            RulePlace::First => free(false),
            RulePlace::Last => free(true),
        };
        let Some(location) = location else {
            return refuse(fmt!("rule table full ({MAX} rules)"), ENOSPC);
        };
        if !steering.set_rule(location, Some(&rule)) {
            let last = MAX - 1;
            return refuse(fmt!("location {location} out of range (0-{last})"), EINVAL);
        }
        let (needed, queues) = (steering.min_queues(), steering.queues());
        if needed > queues {
            let queue = needed - 1;
            return refuse(fmt!("queue {queue} out of range ({queues} queues)"), EINVAL);
        }
        self.set_steering(dev, steering);
        Ok(location as u32)
    }

    pub(crate) fn del_rule(&self, dev: &Device, location: u32) -> Result {
        let mut steering = self.port.steering.copy()?;
        if !steering.set_rule(location as usize, None) {
            return Err(ENOENT);
        }
        self.set_steering(dev, steering);
        Ok(())
    }

    /// A copy of the steering registers without rules; [`None`] if there are none to remove.
    pub(crate) fn steering_without_rules(&self) -> Result<Option<KVBox<Steering>>> {
        if self.port.steering.read(&bh::disable()).rules().count() == 0 {
            return Ok(None);
        }
        let mut steering = self.port.steering.copy()?;
        steering.clear_rules();
        Ok(Some(steering))
    }
}

/// The fields of a rule, from the hardware's form to ethtool's.
fn fields(key: &Key) -> RuleFields {
    let Key {
        dst_mac,
        src_mac,
        ether_type,
        vlan_type,
        vlan_tci,
        src_ip,
        dst_ip,
        tos,
        protocol,
        src_port,
        dst_port,
    } = *key;
    RuleFields {
        dst_mac,
        src_mac,
        ether_type,
        vlan_type,
        vlan_tci,
        src_ip,
        dst_ip,
        tos,
        protocol,
        src_port,
        dst_port,
    }
}

/// The fields of a rule, from ethtool's form to the hardware's.
fn key(fields: &RuleFields) -> Key {
    let RuleFields {
        dst_mac,
        src_mac,
        ether_type,
        vlan_type,
        vlan_tci,
        src_ip,
        dst_ip,
        tos,
        protocol,
        src_port,
        dst_port,
    } = *fields;
    Key {
        dst_mac,
        src_mac,
        ether_type,
        vlan_type,
        vlan_tci,
        src_ip,
        dst_ip,
        tos,
        protocol,
        src_port,
        dst_port,
    }
}
