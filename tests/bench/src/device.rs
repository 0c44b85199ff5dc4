// SPDX-License-Identifier: GPL-2.0

//! The devices that are compared: two pairs of ports of each kind.

use crate::host;
use anyhow::Result;
use serde::{Deserialize, Serialize};

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

    /// The two joined ports under test, and two more for redirects.
    pub fn ports(self) -> [&'static str; 4] {
        match self {
            Self::Oxnic => ["ox0", "ox1", "ox2", "ox3"],
            Self::Veth => ["ve0", "ve1", "ve2", "ve3"],
        }
    }

    pub fn make(self, queues: u32) -> Result<()> {
        match self {
            Self::Oxnic => {
                host::run(&format!("insmod /oxnic/oxnic.ko pairs=2 queues={queues}"))?;
            }
            Self::Veth => {
                for (a, b) in [("ve0", "ve1"), ("ve2", "ve3")] {
                    host::run(&format!(
                        "ip link add {a} numrxqueues {queues} numtxqueues {queues} type veth \
                         peer name {b} numrxqueues {queues} numtxqueues {queues}"
                    ))?;
                }
            }
        }
        for port in self.ports() {
            quiet(port)?;
            // A queueing discipline is no part of the device; veth has none by itself.
            host::run(&format!("tc qdisc replace dev {port} root noqueue"))?;
            host::run(&format!("ip link set dev {port} up"))?;
        }
        Ok(())
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
    for module in ["pktgen", "dummy", "veth"] {
        host::run(&format!(
            "modprobe {module} {}",
            if module == "dummy" {
                "numdummies=1"
            } else {
                ""
            }
        ))?;
    }
    host::run("insmod /build/null/null_netdev.ko")?;
    for device in [NULL, BULK_SOURCE, DUMMY] {
        quiet(device)?;
        host::run(&format!("ip link set dev {device} up"))?;
    }
    host::write("/proc/sys/net/core/bpf_jit_kallsyms", "1")
}
