// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling as the user sets it (`ethtool -X`, `ethtool -N … rx-flow-hash`).
//!
//! Every change makes new registers and exchanges them: see [`Steering`].

use super::{port::Port, vsi::Vsi};
use crate::{
    net::{
        bh,
        device::{self, Device},
        ethtool::{rxh, FlowType, InputXfrm, RxfhChange, RxfhSizes},
        rtnl::{ExtAck, Rtnl},
    },
    nic::{
        rss::{Indirection, INDIRECTION_LEN, KEY_LEN},
        steering::{Fields, FlowKind, Input, Setup, Steering, Transform},
    },
};
use core::sync::atomic::Ordering;
use kernel::{alloc::KVBox, prelude::*};

/// Key and table.
pub(super) const SIZES: RxfhSizes = RxfhSizes {
    key: KEY_LEN as u32,
    table: INDIRECTION_LEN as u32,
};

/// The fields and their names in ethtool.
const FIELDS: [(Fields, u32); 4] = [
    (Fields::SRC, rxh::IP_SRC),
    (Fields::DST, rxh::IP_DST),
    (Fields::SRC_PORT, rxh::SRC_PORT),
    (Fields::DST_PORT, rxh::DST_PORT),
];

/// What a port with so many queues begins with: the system's key, and all queues alike.
pub(super) fn default(queues: u32) -> Setup {
    Setup {
        key: device::rss_key(),
        input: Input::DEFAULT,
        table: Indirection::new(queues),
        queues,
    }
}

/// Registers that are set like this, without rules. Fails with `ENOMEM`.
pub(super) fn make(setup: &Setup) -> Result<KVBox<Steering>> {
    let mut steering = KVBox::init(pin_init::init_zeroed::<Steering>(), GFP_KERNEL)?;
    steering.set(setup);
    Ok(steering)
}

impl Port {
    /// What the registers are set to.
    pub(super) fn setup(&self) -> Setup {
        self.steering.read(&bh::disable()).setup()
    }

    /// Registers that are set like this, with the rules that there are. Fails with `ENOMEM`.
    pub(super) fn remake_steering(&self, setup: &Setup) -> Result<KVBox<Steering>> {
        let mut steering = make(setup)?;
        steering.copy_rules(self.steering.read(&bh::disable()));
        Ok(steering)
    }

    /// Sets them anew, from some frame on. With the old ones a frame goes to a ring that is still there.
    pub(super) fn exchange_steering(&self, steering: KVBox<Steering>, rtnl: &Rtnl) {
        let single = steering.is_single();
        self.steering.replace(steering, rtnl);
        self.single.store(single, Ordering::Relaxed);
    }
}

impl Vsi {
    pub(super) fn get_rxfh(&self, key: &mut [u8], table: &mut [u32]) -> InputXfrm {
        let setup = self.port.setup();
        for (to, from) in key.iter_mut().zip(setup.key) {
            *to = from;
        }
        for (to, &queue) in table.iter_mut().zip(setup.table.entries()) {
            *to = queue.into();
        }
        match setup.input.transform {
            Transform::None => InputXfrm::None,
            Transform::SymmetricXor => InputXfrm::SymXor,
            Transform::SymmetricOrXor => InputXfrm::SymOrXor,
        }
    }

    pub(super) fn change_rxfh(&self, dev: &Device, change: &RxfhChange<'_>, rtnl: &Rtnl) -> Result {
        let mut setup = self.port.setup();
        if let Some(key) = change.key {
            setup.key = key.try_into().map_err(|_| EINVAL)?;
        }
        for (entry, &queue) in change.table.unwrap_or_default().iter().enumerate() {
            // The kernel has looked at them; a port has fewer than 256 queues.
            if queue >= setup.queues || !setup.table.set(entry, queue as u8) {
                return Err(EINVAL);
            }
        }
        setup.input.transform = match change.xfrm {
            None => setup.input.transform,
            Some(InputXfrm::None) => Transform::None,
            Some(InputXfrm::SymXor) => Transform::SymmetricXor,
            Some(InputXfrm::SymOrXor) => Transform::SymmetricOrXor,
        };
        self.set_steering(dev, self.port.remake_steering(&setup)?, rtnl);
        Ok(())
    }

    pub(super) fn get_rxfh_fields(&self, flow: FlowType) -> u32 {
        let fields = self.port.setup().input.fields(kind(flow).0);
        let bits = FIELDS.iter().filter(|(field, _)| fields.contains(*field));
        bits.fold(0, |all, (_, bit)| all | bit)
    }

    pub(super) fn change_rxfh_fields(
        &self,
        dev: &Device,
        flow: FlowType,
        bits: u32,
        extack: ExtAck<'_>,
        rtnl: &Rtnl,
    ) -> Result {
        let (kind, is_own) = kind(flow);
        if !is_own {
            extack.set(fmt!(
                "such flows are hashed as all IP packets without ports"
            ));
            return Err(EOPNOTSUPP);
        }
        let (mut fields, mut rest) = (Fields::NONE, bits);
        for (field, bit) in FIELDS.into_iter().filter(|(_, bit)| bits & bit != 0) {
            fields = fields.with(field);
            rest &= !bit;
        }
        let mut setup = self.port.setup();
        if rest != 0 || !setup.input.set_fields(kind, fields) {
            extack.set(fmt!(
                "addresses (s, d) are hashed, and ports (f, n) of TCP and UDP, nothing else"
            ));
            return Err(EOPNOTSUPP);
        }
        if setup.input.transform != Transform::None && !fields.are_symmetric() {
            extack.set(fmt!(
                "a symmetric hash needs both addresses, and both ports or none"
            ));
            return Err(EINVAL);
        }
        self.set_steering(dev, self.port.remake_steering(&setup)?, rtnl);
        Ok(())
    }
}

/// The kind that such flows are of, and whether that is for them alone.
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
