// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling as the user sets it (`ethtool -X`, `ethtool -N … rx-flow-hash`).
//!
//! A change replaces all steering registers by a changed copy.

use crate::{
    compat::EOPNOTSUPP,
    driver::vsi::Vsi,
    net::{
        device::Device,
        ethtool::{
            rxh,
            FlowType,
            InputXfrm,
            RxfhChange, //
        },
        rtnl::ExtAck, //
    },
    nic::{
        rss::{
            Indirection,
            INDIRECTION_LEN,
            KEY_LEN, //
        },
        steering::{
            Fields,
            FlowKind,
            RssContext,
            Transform,
            MAIN,
            MAX_CONTEXTS, //
        },
    },
};
use kernel::prelude::*;

/// Length of the key.
pub(crate) const RSS_KEY_LEN: usize = KEY_LEN;

/// Length of the indirection table.
pub(crate) const TABLE_LEN: usize = INDIRECTION_LEN;

/// Number of RSS contexts, including the main one.
pub(crate) const CONTEXTS: u32 = MAX_CONTEXTS as u32;

/// The fields and their names in ethtool.
const FIELDS: [(Fields, u32); 4] = [
    (Fields::SRC, rxh::IP_SRC),
    (Fields::DST, rxh::IP_DST),
    (Fields::SRC_PORT, rxh::SRC_PORT),
    (Fields::DST_PORT, rxh::DST_PORT),
];

impl Vsi {
    pub(crate) fn get_rxfh(
        &self,
        context: u32,
        key: &mut [u8],
        table: &mut [u32],
    ) -> Result<InputXfrm> {
        let context = self.port.steering.rss_context(context)?;
        for (to, from) in key.iter_mut().zip(context.key) {
            *to = from;
        }
        for (to, &queue) in table.iter_mut().zip(context.table.entries()) {
            *to = queue.into();
        }
        Ok(match context.input.transform {
            Transform::None => InputXfrm::None,
            Transform::SymmetricXor => InputXfrm::SymXor,
            Transform::SymmetricOrXor => InputXfrm::SymOrXor,
        })
    }

    pub(crate) fn change_rxfh(
        &self,
        dev: &Device,
        number: u32,
        change: &RxfhChange<'_>,
        extack: ExtAck<'_>,
    ) -> Result {
        let mut context = self.port.steering.rss_context(number)?;
        apply(&mut context, change)?;
        self.set_context(dev, number, &context, extack)
    }

    /// A new context starts with the key and the input of the main one, and uses all queues
    /// equally.
    pub(crate) fn add_context(
        &self,
        dev: &Device,
        number: u32,
        change: &RxfhChange<'_>,
        extack: ExtAck<'_>,
    ) -> Result {
        let mut context = self.port.steering.rss_context(MAIN)?;
        context.table = Indirection::new(self.port.queues() as u32);
        apply(&mut context, change)?;
        self.set_context(dev, number, &context, extack)
    }

    pub(crate) fn del_context(&self, dev: &Device, number: u32) -> Result {
        let mut steering = self.port.steering.copy()?;
        if !steering.set_context(number, None) {
            return Err(ENOENT);
        }
        self.set_steering(dev, steering);
        Ok(())
    }

    pub(crate) fn get_rxfh_fields(&self, context: u32, flow: FlowType) -> Result<u32> {
        let context = self.port.steering.rss_context(context)?;
        let fields = context.input.fields(kind(flow).0);
        let bits = FIELDS.iter().filter(|(field, _)| fields.contains(*field));
        Ok(bits.fold(0, |all, (_, bit)| all | bit))
    }

    pub(crate) fn change_rxfh_fields(
        &self,
        dev: &Device,
        number: u32,
        flow: FlowType,
        bits: u32,
        extack: ExtAck<'_>,
    ) -> Result {
        let (kind, is_own) = kind(flow);
        if !is_own {
            extack.set(fmt!(
                "flow type has no fields of its own: hashed as ip4 or ip6"
            ));
            return Err(EOPNOTSUPP);
        }
        let (mut fields, mut rest) = (Fields::NONE, bits);
        for (field, bit) in FIELDS.into_iter().filter(|(_, bit)| bits & bit != 0) {
            fields = fields.with(field);
            rest &= !bit;
        }
        let mut context = self.port.steering.rss_context(number)?;
        if rest != 0 || !context.input.set_fields(kind, fields) {
            extack.set(fmt!(
                "only addresses (s, d), and ports (f, n) of TCP and UDP, can be hashed"
            ));
            return Err(EOPNOTSUPP);
        }
        self.set_context(dev, number, &context, extack)
    }

    fn set_context(
        &self,
        dev: &Device,
        number: u32,
        context: &RssContext,
        extack: ExtAck<'_>,
    ) -> Result {
        if !context.input.is_consistent() {
            extack.set(fmt!(
                "symmetric hash: both addresses or none, and both ports or none"
            ));
            return Err(EINVAL);
        }
        let mut steering = self.port.steering.copy()?;
        if !steering.set_context(number, Some(context)) {
            return Err(EINVAL);
        }
        let (needed, queues) = (steering.min_queues(), steering.queues());
        if needed > queues {
            let queue = needed - 1;
            extack.set(fmt!(
                "with an ntuple rule's offset: queue {queue} out of range ({queues} queues)"
            ));
            return Err(EINVAL);
        }
        self.set_steering(dev, steering);
        Ok(())
    }
}

/// Applies a change to the settings of a context.
fn apply(context: &mut RssContext, change: &RxfhChange<'_>) -> Result {
    if let Some(key) = change.key {
        context.key = key.try_into().map_err(|_| EINVAL)?;
    }
    for (entry, &queue) in change.table.unwrap_or_default().iter().enumerate() {
        // The kernel has checked that the queues exist, and a port has fewer than 256.
        if !context.table.set(entry, queue as u8) {
            return Err(EINVAL);
        }
    }
    context.input.transform = match change.xfrm {
        None => context.input.transform,
        Some(InputXfrm::None) => Transform::None,
        Some(InputXfrm::SymXor) => Transform::SymmetricXor,
        Some(InputXfrm::SymOrXor) => Transform::SymmetricOrXor,
    };
    Ok(())
}

/// The hardware's kind for a type of flow, and whether no other type shares that kind.
fn kind(flow: FlowType) -> (FlowKind, bool) {
    match flow {
        FlowType::TcpV4 => (FlowKind::TcpIpv4, true),
        FlowType::UdpV4 => (FlowKind::UdpIpv4, true),
        FlowType::TcpV6 => (FlowKind::TcpIpv6, true),
        FlowType::UdpV6 => (FlowKind::UdpIpv6, true),
        FlowType::Ipv4 => (FlowKind::Ipv4, true),
        FlowType::Ipv6 => (FlowKind::Ipv6, true),
        FlowType::OtherV4 => (FlowKind::Ipv4, false),
        FlowType::OtherV6 => (FlowKind::Ipv6, false),
    }
}
