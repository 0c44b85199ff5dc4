// SPDX-License-Identifier: GPL-2.0

//! The kernel's packet generator, as a source of sk_buffs.

use crate::{
    host::{self, Mac},
    socket::{ADDRESS, PORT},
};
use anyhow::{ensure, Result};

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
    let file = format!("/proc/net/pktgen/kpktgend_{cpu}");
    let none_left = || -> Result<bool> { Ok(devices(&host::read(&file)?).next().is_none()) };

    // The write does not wait for the thread, which would also take a device that is added before it gets
    // to its work. So it is only asked if it has something to do.
    if !none_left()? {
        host::write(&file, "rem_device_all\n")?;
    }
    host::until(|| {
        ensure!(none_left()?, "pktgen keeps devices of CPU {cpu}");
        Ok(())
    })
}

/// The devices in what the file of a thread says: "Running: a b \nStopped: c \nResult: NA".
fn devices(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| {
            line.strip_prefix("Running: ")
                .or(line.strip_prefix("Stopped: "))
        })
        .flat_map(str::split_whitespace)
}

/// Has all threads send. It returns when those have sent that began at once; the others are waited for
/// by [`sent`].
pub fn start() -> Result<()> {
    host::write("/proc/net/pktgen/pgctrl", "start\n")
}

/// How many nanoseconds the run took that was started last, which must send `count` frames out of the
/// device that pktgen knows by `name`. The device must have been added for this run.
///
/// On a busy machine the thread may not have begun yet, and it stops to run before it writes its result.
pub fn sent(name: &str, count: u32) -> Result<f64> {
    let file = format!("/proc/net/pktgen/{name}");
    let mut last = String::new();

    loop {
        // As long as something changes, it is at work.
        let found = host::until(|| {
            let text = host::read(&file)?;

            ensure!(
                text != last || finished(&text).is_some(),
                "pktgen did not finish on {name}: {text}"
            );
            Ok(text)
        })?;
        ensure!(
            !found.contains("Result: Error"),
            "pktgen did not start on {name}: {found}"
        );
        if let Some((micros, sent)) = finished(&found) {
            ensure!(
                sent == u64::from(count),
                "pktgen sent {sent} frames out of {name}, not {count}"
            );
            return Ok(micros as f64 * 1000.0);
        }
        last = found;
    }
}

/// The microseconds and frames of a run that is over, if what pktgen says of it is complete:
/// "Result: OK: 1234(c1200+d34) usec, 1000 (60byte,0frags)" and a line of rates, which ends with the
/// errors. The kernel writes it over "Starting" or the answer to a setting, so a reader may find the
/// beginning of it with a rest of those.
fn finished(text: &str) -> Option<(u64, u64)> {
    let (_, result) = text.split_once("Result: OK: ")?;
    let (times, rest) = result.split_once(" usec, ")?;

    rest.contains(" errors: ").then_some(())?;
    Some((
        times.split('(').next()?.parse().ok()?,
        rest.split_whitespace().next()?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::{devices, finished};

    const DONE: &str = "Current:\n     pkts-sofar: 64  errors: 0\n     flows: 0\n\
                        Result: OK: 321(c300+d21) usec, 64 (60byte,0frags)\n  \
                        199376pps 95Mb/sec (95700480bps) errors: 0\n";

    #[test]
    fn a_result_is_read_when_it_is_complete() {
        assert_eq!(finished(DONE), Some((321, 64)));

        // As it is being written over "Starting", character by character.
        let (head, result) = DONE.split_once("Result: ").unwrap_or_default();
        let done = result.find("errors: 0").unwrap_or_default();
        for written in 0..done {
            let old = "Starting".get(written..).unwrap_or_default();
            let text = format!("{head}Result: {}{old}\n", &result[..written]);

            assert_eq!(finished(&text), None, "{text}");
        }
        for other in ["Idle", "Starting", "Error starting", "OK: burst=0"] {
            assert_eq!(finished(&format!("{head}Result: {other}\n")), None);
        }
    }

    #[test]
    fn devices_of_a_thread() {
        let list = |text| devices(text).collect::<Vec<_>>();

        assert!(list("Running: \nStopped: \nResult: OK: rem_device_all\n").is_empty());
        assert_eq!(
            list("Running: ox0 \nStopped: ox1 ox2@1 \nResult: OK: add_device=ox2@1\n"),
            ["ox0", "ox1", "ox2@1"]
        );
    }
}
