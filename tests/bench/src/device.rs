// SPDX-License-Identifier: GPL-2.0

//! The devices that are compared: pairs of joined ports of each kind.

use crate::host;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::env;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Oxnic,
    Veth,
}

pub const KINDS: [Kind; 2] = [Kind::Oxnic, Kind::Veth];

/// Frees what it gets, in ndo_start_xmit and in ndo_xdp_xmit.
pub const NULL: &str = "null0";
/// Where the frames of bulk sources come in.
pub const BULK_SOURCE: &str = "null1";
/// What the cost of sources of sk_buffs is measured against.
pub const DUMMY: &str = "dummy0";

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Oxnic => "oxnic",
            Self::Veth => "veth",
        }
    }

    /// A port's name; 0 is joined with 1, 2 with 3 and so on.
    pub fn port(self, number: u32) -> String {
        match self {
            Self::Oxnic => format!("ox{number}"),
            Self::Veth => format!("ve{number}"),
        }
    }

    /// The first two pairs of ports.
    pub fn ports(self) -> [String; 4] {
        [0, 1, 2, 3].map(|number| self.port(number))
    }

    /// Makes pairs of ports as they come out of the box; they are down.
    pub fn make(self, pairs: u32, queues: u32) -> Result<()> {
        match self {
            Self::Oxnic => {
                let module = env::var("OXNIC_KO").context("OXNIC_KO names no module")?;

                host::run(&format!("insmod {module} pairs={pairs} queues={queues}"))?;
            }
            Self::Veth => {
                for pair in 0..pairs {
                    let [a, b] = [2 * pair, 2 * pair + 1].map(|number| self.port(number));

                    host::run(&format!(
                        "ip link add {a} numrxqueues {queues} numtxqueues {queues} type veth \
                         peer name {b} numrxqueues {queues} numtxqueues {queues}"
                    ))?;
                }
            }
        }
        (0..2 * pairs).try_for_each(|number| quiet(&self.port(number)))
    }

    /// Makes pairs of ports ready for generators of frames: up, and without a queueing discipline,
    /// which is no part of a device; veth has none by itself. Most frames are addressed to none of
    /// the ports, which have to take them all the same.
    pub fn make_bare(self, pairs: u32, queues: u32) -> Result<()> {
        self.make(pairs, queues)?;
        for port in (0..2 * pairs).map(|number| self.port(number)) {
            host::run(&format!("tc qdisc replace dev {port} root noqueue"))?;
            host::run(&format!("ip link set dev {port} promisc on up"))?;
        }
        Ok(())
    }

    /// Ends what `make` began.
    pub fn remove(self, pairs: u32) -> Result<()> {
        match self {
            Self::Oxnic => host::run("rmmod oxnic").map(drop),
            Self::Veth => (0..pairs).try_for_each(|pair| {
                host::run(&format!("ip link del {}", self.port(2 * pair))).map(drop)
            }),
        }
    }
}

/// No frame shall move but those of the measurement.
fn quiet(device: &str) -> Result<()> {
    host::write(
        &format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"),
        "1",
    )
}

/// What is there besides the ports.
pub fn make_others() -> Result<()> {
    for module in ["pktgen", "dummy numdummies=1", "veth"] {
        host::run(&format!("modprobe {module}"))?;
    }
    host::run("insmod /build/null/null_netdev.ko")?;
    for device in [NULL, BULK_SOURCE, DUMMY] {
        quiet(device)?;
        host::run(&format!("ip link set dev {device} up"))?;
    }
    host::write("/proc/sys/net/core/bpf_jit_kallsyms", "1")
}
