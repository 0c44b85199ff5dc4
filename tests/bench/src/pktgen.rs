// SPDX-License-Identifier: GPL-2.0

//! The kernel's packet generator, as a source of sk_buffs.

use crate::host;
use anyhow::{Context, Result};

/// No device here has this address, so a stack that gets the frame drops it in ip_rcv.
pub const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x99];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pktgen {
    pub size: u32,
    /// How often each sk_buff is sent; 0 makes a new one each time and gives it away.
    pub clone: u32,
    /// How many are sent in one call, all but the last with xmit_more.
    pub burst: u32,
    /// Over how many flows (UDP source ports) the frames are spread.
    pub flows: u32,
}

impl Pktgen {
    pub const fn new(size: u32) -> Self {
        Self {
            size,
            clone: 0,
            burst: 1,
            flows: 1,
        }
    }

    /// Sends `count` frames out of the device; returns the nanoseconds of each.
    pub fn send(&self, device: &str, count: u64) -> Result<f64> {
        let device_file = format!("/proc/net/pktgen/{device}");
        let mac = OTHER_MAC.map(|byte| format!("{byte:02x}")).join(":");

        host::write("/proc/net/pktgen/kpktgend_0", "rem_device_all\n")?;
        host::write(
            "/proc/net/pktgen/kpktgend_0",
            &format!("add_device {device}\n"),
        )?;
        for line in [
            format!("count {count}"),
            "delay 0".into(),
            format!("pkt_size {}", self.size),
            "dst 10.9.0.2".into(),
            "src_min 10.9.0.1".into(),
            "src_max 10.9.0.1".into(),
            format!("dst_mac {mac}"),
            "udp_dst_min 9".into(),
            "udp_dst_max 9".into(),
            "udp_src_min 1024".into(),
            format!("udp_src_max {}", 1024 + self.flows),
        ] {
            host::write(&device_file, &format!("{line}\n"))?;
        }
        if self.clone == 0 && self.burst == 1 {
            host::write(&device_file, "flag !SHARED\n")?;
        } else {
            host::write(&device_file, &format!("clone_skb {}\n", self.clone))?;
            host::write(&device_file, &format!("burst {}\n", self.burst))?;
        }
        // Returns when all is sent.
        host::write("/proc/net/pktgen/pgctrl", "start\n")?;

        let result = host::read(&device_file)?;
        // "Result: OK: 1234(c1200+d34) usec, 1000 (60byte,0frags)"
        let micros: u64 = result
            .split("Result: OK: ")
            .nth(1)
            .and_then(|rest| rest.split('(').next())
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("pktgen did not finish on {device}: {result}"))?;
        let sent: u64 = result
            .split("pkts-sofar: ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("pktgen does not say what it sent: {result}"))?;

        anyhow::ensure!(
            sent == count,
            "pktgen sent {sent} frames out of {device}, not {count}"
        );
        Ok(micros as f64 * 1000.0 / count as f64)
    }
}
