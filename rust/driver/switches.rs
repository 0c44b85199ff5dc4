// SPDX-License-Identifier: GPL-2.0

//! The switches of a port: what it does as other cards do (`ethtool --set-priv-flags`).
//!
//! Nothing here is looked at for each frame while all switches are off. Most switches are limits
//! that the control path checks, or that it tells the kernel. Those that are about
//! [single frames](Switches::PER_FRAME) make the polls take the loop that traced frames take.

use super::{
    trace::Trace,
    vsi::{
        Vsi,
        MAX_MTU,
        SINGLE_BUFFER_MTU,
        XDP_FEATURES, //
    },
};
use crate::{
    compat::EOPNOTSUPP,
    net::{
        device::{
            feature,
            LockedDevice, //
        },
        page_pool::MAX_BUFFERS,
        rtnl::{
            ExtAck,
            Rtnl, //
        },
        xdp::{
            self,
            HintKinds,
            Prog, //
        },
    },
    netdev_info,
    nic::switches::{
        Conflict,
        Switches, //
    },
};
use kernel::prelude::*;

/// The cards whose drivers refuse a program for the MTU with `EINVAL`. The others, and oxnic, say
/// `EOPNOTSUPP`.
const INVALID_MTU: [&str; 6] = ["i40e", "ixgbe", "igb", "mlx5", "virtio_net", "ena"];

/// How long the link is lost, in nanoseconds. That of a card which is reset is lost for as long as
/// the link partners take to agree again, mostly for seconds.
pub(super) const LINK_LOSS_NS: u64 = 500_000_000;

impl Vsi {
    /// Switches as the user wants them, at any time: programs and sockets that are there stay,
    /// also those that would be refused now.
    pub(crate) fn change_switches(
        &self,
        dev: &LockedDevice,
        wanted: Switches,
        rtnl: &Rtnl,
    ) -> Result {
        let old = self.settings.switches();
        // This callback has no extack.
        let new = old.changed(wanted).map_err(|conflict| {
            let why = match conflict {
                Conflict::Personalities => "only one personality at a time",
                Conflict::Exclusive => "only one headroom and one MTU at a time",
            };
            netdev_info!(dev, "private flags: {}\n", why);
            EINVAL
        })?;
        self.settings.set_switches(new);
        Trace::new(dev, &self.settings).switches(old, new);
        let fixed = new.has(Switches::VLAN_STRIP_FIXED);
        if fixed != old.has(Switches::VLAN_STRIP_FIXED) {
            dev.set_fixed(feature::VLAN_CTAG_RX, fixed, rtnl);
        }
        self.announce(dev, rtnl);
        Ok(())
    }

    /// Tells the kernel what follows from the switches and the program.
    pub(super) fn announce(&self, dev: &LockedDevice, rtnl: &Rtnl) {
        let switches = self.settings.switches();
        let prog = self.xdp_prog.get();
        let prog = prog.as_deref();
        let without = |switch, features| if switches.has(switch) { features } else { 0 };
        let mut features = XDP_FEATURES
            & !without(Switches::NO_FRAGS, xdp::feature::RX_SG)
            & !without(Switches::XMIT_NO_FRAGS, xdp::feature::NDO_XMIT_SG)
            & !without(Switches::XSK_NO_ZEROCOPY, xdp::feature::XSK_ZEROCOPY);
        if switches.has(Switches::XMIT_NEEDS_PROG) && prog.is_none() {
            features &= !(xdp::feature::NDO_XMIT | xdp::feature::NDO_XMIT_SG);
        }
        dev.set_xdp_features(features, rtnl);
        dev.set_max_mtu(self.max_mtu(prog), rtnl);
        dev.set_hints(
            HintKinds {
                timestamp: !switches.has(Switches::NO_HINT_TIMESTAMP),
                hash: !switches.has(Switches::NO_HINT_HASH),
                vlan: !switches.has(Switches::NO_HINT_VLAN),
            },
            rtnl,
        );
        let xsk_buffers = if switches.has(Switches::XSK_NO_FRAGS) {
            1
        } else {
            MAX_BUFFERS as u32
        };
        dev.set_xsk_max_buffers(xsk_buffers, rtnl);
        dev.set_xsk_tx_metadata(!switches.has(Switches::XSK_NO_TX_METADATA), rtnl);
        self.set_xmit_gate(dev);
    }

    /// The largest MTU with this program.
    fn max_mtu(&self, prog: Option<&Prog>) -> u32 {
        let switches = self.settings.switches();
        match prog {
            Some(prog) if !prog.has_frags() || switches.has(Switches::NO_FRAGS) => switches
                .single_buffer_mtu()
                .map_or(SINGLE_BUFFER_MTU, |mtu| mtu.min(SINGLE_BUFFER_MTU)),
            _ => MAX_MTU,
        }
    }

    /// Fails if a program cannot be attached, for the MTU or for lack of queues.
    pub(super) fn check_prog(
        &self,
        dev: &LockedDevice,
        prog: Option<&Prog>,
        extack: ExtAck<'_>,
    ) -> Result {
        let Some(prog) = prog else { return Ok(()) };
        let switches = self.settings.switches();
        let max_mtu = self.max_mtu(Some(prog));
        if dev.mtu() > max_mtu {
            let why = if prog.has_frags() {
                "there is no multi-buffer XDP"
            } else {
                "the program has no frags support"
            };
            extack.set(fmt!("{why}, so the MTU may be at most {max_mtu}"));
            let is_invalid = switches
                .personality()
                .is_some_and(|card| INVALID_MTU.contains(&card));
            return Err(if is_invalid { EINVAL } else { EOPNOTSUPP });
        }
        let queues = self.port.queues();
        if !self.has_spare_queues(queues) {
            extack.set(fmt!(
                "XDP needs {queues} more queues, but there are only {}",
                self.rx_rings.len()
            ));
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Whether as many queues as these are left for XDP, if it needs any.
    pub(super) fn has_spare_queues(&self, queues: usize) -> bool {
        !self.settings.switches().has(Switches::ATTACH_NEEDS_QUEUES)
            || 2 * queues <= self.rx_rings.len()
    }

    /// Which switches the change from one program to another makes bite.
    pub(super) fn disruption(&self, old: Option<&Prog>, new: Option<&Prog>) -> Switches {
        let switches = self.settings.switches();
        let replaces = old.is_some() && new.is_some();
        if old.is_some() == new.is_some()
            && !(replaces && switches.has(Switches::REPLACE_AS_ATTACH))
        {
            return Switches::NONE;
        }
        switches
    }
}
