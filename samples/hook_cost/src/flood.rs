// SPDX-License-Identifier: GPL-2.0

//! The flood: two interfaces made ready for it, and frames from one to the other.

use anyhow::{ensure, Context, Result};
use oxnic_drop_points::{
    host::{self, Mac},
    pktgen::{self, Pktgen, OTHER_MAC},
};
use oxnic_samples::stop::Stop;
use std::{
    io::{stderr, Write},
    path::Path,
    time::Duration,
};

/// Bytes of a frame: the shortest that Ethernet allows, without its checksum.
pub const SIZE: u32 = 60;
/// Frames that show whether the socket gets what is sent; its buffer must hold them.
pub const PROBES: u32 = 16;
/// Frees what it gets: what pktgen costs with it is pktgen's own.
const NOWHERE: &str = "hook_cost0";

pub struct Flood<'a> {
    from: String,
    to: String,
    mac: Mac,
    stop: &'a Stop,
    _undo: Undo,
}

impl<'a> Flood<'a> {
    /// Makes the interfaces ready; dropping the result puts all back.
    pub fn prepare(from: &str, to: &str, stop: &'a Stop) -> Result<Self> {
        let mut undo = Undo(Vec::new());

        if !Path::new("/proc/net/pktgen").exists() {
            undo.run("modprobe pktgen", "modprobe -r pktgen")?;
        }
        if !Path::new("/sys/module/dummy").exists() {
            // By itself it would make a device that nobody asked for.
            undo.run("modprobe dummy numdummies=0", "modprobe -r dummy")?;
        }
        undo.run(
            &format!("ip link add {NOWHERE} type dummy"),
            &format!("ip link del {NOWHERE}"),
        )?;
        // No frames but pktgen's: IPv6 would look for neighbours.
        host::run(&format!("ip link set dev {NOWHERE} addrgenmode none"))?;
        host::run(&format!("ip link set dev {NOWHERE} up"))?;
        for interface in [from, to] {
            if !is_up(interface)? {
                undo.run(
                    &format!("ip link set dev {interface} up"),
                    &format!("ip link set dev {interface} down"),
                )?;
            }
        }
        for interface in [from, to] {
            host::eventually(|| {
                let carrier = host::read(&format!("/sys/class/net/{interface}/carrier"))?;

                ensure!(carrier.trim() == "1", "{interface} has no carrier");
                Ok(())
            })?;
        }
        Ok(Self {
            from: from.to_owned(),
            to: to.to_owned(),
            mac: host::mac(to)?,
            stop,
            _undo: undo,
        })
    }

    pub fn from(&self) -> &str {
        &self.from
    }

    pub fn to(&self) -> &str {
        &self.to
    }

    /// Sends frames from one interface to the other and waits until all have come in: one that was
    /// lost on its way would have been cheap. Returns the nanoseconds that pktgen took.
    pub fn send(&self, frames: u32) -> Result<f64> {
        self.go_on()?;
        let came = || host::counter(&self.to, "rx_packets");
        let before = came()?;
        let elapsed = Pktgen::new(SIZE).send(&self.from, self.mac, frames)?;

        host::eventually(|| {
            let came = came()? - before;

            // Others may send too.
            ensure!(
                came >= u64::from(frames),
                "{came} of {frames} frames that left by {} have come in by {}",
                self.from,
                self.to
            );
            Ok(())
        })?;
        Ok(elapsed)
    }

    /// Sends frames to where they cost nothing more.
    pub fn send_alone(&self, frames: u32) -> Result<f64> {
        self.go_on()?;
        Pktgen::new(SIZE).send(NOWHERE, OTHER_MAC, frames)
    }

    fn go_on(&self) -> Result<()> {
        ensure!(
            !self.stop.wait(Duration::ZERO)?,
            "stopped before everything was measured"
        );
        Ok(())
    }
}

/// Whether an interface is up, as far as its user is concerned.
fn is_up(interface: &str) -> Result<bool> {
    const IFF_UP: u32 = 1;
    let flags = host::read(&format!("/sys/class/net/{interface}/flags"))?;
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16)
        .with_context(|| format!("{interface} has the flags {flags}"))?;

    Ok(flags & IFF_UP != 0)
}

/// Commands that put back what others have changed, run from last to first.
struct Undo(Vec<String>);

impl Undo {
    fn run(&mut self, command: &str, undo: &str) -> Result<()> {
        host::run(command)?;
        self.0.push(undo.to_owned());
        Ok(())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // The interfaces are pktgen's until then. Without the module there is nothing to remove.
        let _ = pktgen::remove_devices(0);
        for command in self.0.iter().rev() {
            if let Err(error) = host::run(command) {
                // Where standard error is closed there is nobody to complain to.
                let _ = writeln!(stderr(), "hook_cost: cleaning up: {error:#}");
            }
        }
    }
}
