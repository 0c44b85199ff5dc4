// SPDX-License-Identifier: GPL-2.0

//! The kernel's packet generator, as a source of sk_buffs.

use crate::{
    host,
    socket::{ADDRESS, PORT},
};
use anyhow::{Context, Result};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// No device here has this address, so a stack that gets the frame drops it in ip_rcv.
pub const OTHER_MAC: Mac = [0x02, 0, 0, 0, 0, 0x99];

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

    /// Sends `count` frames out of the device, on the first CPU; returns the nanoseconds it took.
    pub fn send(&self, device: &str, to: Mac, count: u32) -> Result<f64> {
        remove_devices(0)?;
        self.prepare(0, device, device, to, 1024, count)?;
        start()?;
        sent(device, count)
    }

    /// Prepares a CPU's thread to send out of a device, which pktgen knows by `name`; the UDP
    /// source ports begin with `port`.
    pub fn prepare(
        &self,
        cpu: u32,
        device: &str,
        name: &str,
        to: Mac,
        port: u32,
        count: u32,
    ) -> Result<()> {
        let device_file = format!("/proc/net/pktgen/{name}");
        let mac = to.map(|byte| format!("{byte:02x}")).join(":");

        debug_assert!(name.starts_with(device));
        host::write(
            &format!("/proc/net/pktgen/kpktgend_{cpu}"),
            &format!("add_device {name}\n"),
        )?;
        for line in [
            format!("count {count}"),
            "delay 0".into(),
            format!("pkt_size {}", self.size),
            format!("dst {ADDRESS}"),
            "src_min 10.9.0.1".into(),
            "src_max 10.9.0.1".into(),
            format!("dst_mac {mac}"),
            format!("udp_dst_min {PORT}"),
            format!("udp_dst_max {PORT}"),
            format!("udp_src_min {port}"),
            format!("udp_src_max {}", port + self.flows),
            format!("queue_map_min {cpu}"),
            format!("queue_map_max {cpu}"),
        ] {
            host::write(&device_file, &format!("{line}\n"))?;
        }
        if self.clone == 0 && self.burst == 1 {
            host::write(&device_file, "flag !SHARED\n")?;
        } else {
            host::write(&device_file, &format!("clone_skb {}\n", self.clone))?;
            host::write(&device_file, &format!("burst {}\n", self.burst))?;
        }
        Ok(())
    }
}

/// Takes all devices from a CPU's thread.
pub fn remove_devices(cpu: u32) -> Result<()> {
    host::write(
        &format!("/proc/net/pktgen/kpktgend_{cpu}"),
        "rem_device_all\n",
    )
}

/// Has all threads send; returns when all of them have.
pub fn start() -> Result<()> {
    host::write("/proc/net/pktgen/pgctrl", "start\n")
}

/// How many nanoseconds the last run took, which must have sent `count` frames out of the device
/// that pktgen knows by `name`.
pub fn sent(name: &str, count: u32) -> Result<f64> {
    let result = host::read(&format!("/proc/net/pktgen/{name}"))?;
    // "Result: OK: 1234(c1200+d34) usec, 1000 (60byte,0frags)"
    let micros: u64 = result
        .split("Result: OK: ")
        .nth(1)
        .and_then(|rest| rest.split('(').next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("pktgen did not finish on {name}: {result}"))?;
    let sent: u64 = result
        .split("pkts-sofar: ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("pktgen does not say what it sent: {result}"))?;

    anyhow::ensure!(
        sent == u64::from(count),
        "pktgen sent {sent} frames out of {name}, not {count}"
    );
    Ok(micros as f64 * 1000.0)
}
