// SPDX-License-Identifier: GPL-2.0

//! The pair of ports: the near end is tested, the far end is in the namespace `peer`.

use crate::results::Device;
use anyhow::{bail, Context, Result};
use std::{
    fs::{self, File},
    io::Write,
    process::Command,
    thread,
    time::Duration,
};

pub const LOCAL_V4: &str = "192.0.2.1";
pub const REMOTE_V4: &str = "192.0.2.2";
pub const LOCAL_V6: &str = "2001:db8::1";
pub const REMOTE_V6: &str = "2001:db8::2";
pub const PEER: &str = "peer";

pub fn near(device: Device) -> &'static str {
    match device {
        Device::Oxnic => "ox0",
        Device::Veth => "ve0",
    }
}

pub fn far(device: Device) -> &'static str {
    match device {
        Device::Oxnic => "ox1",
        Device::Veth => "ve1",
    }
}

/// Runs a command, given as one line, with its output in the log. An error has the last line of
/// that.
pub fn run(command: &str, log: &mut File) -> Result<()> {
    let mut words = command.split_whitespace();
    let program = words.next().context("an empty command")?;
    let output = Command::new(program)
        .args(words)
        .output()
        .context(program.to_owned())?;

    log.write_all(&output.stdout)?;
    log.write_all(&output.stderr)?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);

        bail!("{}", said.lines().last().unwrap_or(command));
    }
    Ok(())
}

pub fn set_up(device: Device, queues: u32, log: &mut File) -> Result<()> {
    let (near, far) = (near(device), far(device));

    run(&format!("ip netns add {PEER}"), log)?;
    match device {
        Device::Oxnic => {
            run(
                &format!("insmod /oxnic/oxnic.ko pairs=1 queues={queues}"),
                log,
            )?;
            run(&format!("ip link set {far} netns {PEER}"), log)?;
        }
        // A plain pair, as it is without further settings.
        Device::Veth => {
            let size = format!("numrxqueues {queues} numtxqueues {queues}");

            run(
                &format!("ip link add {near} {size} type veth peer name {far} netns {PEER} {size}"),
                log,
            )?;
        }
    }
    // Some cases take the port down, and want to reach its peer afterwards.
    fs::write(
        format!("/proc/sys/net/ipv6/conf/{near}/keep_addr_on_down"),
        "1",
    )?;
    for command in [
        format!("ip link set {near} up"),
        format!("ip addr add {LOCAL_V4}/24 dev {near}"),
        format!("ip addr add {LOCAL_V6}/64 dev {near} nodad"),
        format!("ip -n {PEER} link set lo up"),
        format!("ip -n {PEER} link set {far} up"),
        format!("ip -n {PEER} addr add {REMOTE_V4}/24 dev {far}"),
        format!("ip -n {PEER} addr add {REMOTE_V6}/64 dev {far} nodad"),
    ] {
        run(&command, log)?;
    }
    spread_interrupts(near)?;
    thread::sleep(Duration::from_secs(1));
    Ok(())
}

pub fn tear_down(device: Device, log: &mut File) -> Result<()> {
    match device {
        Device::Oxnic => run("rmmod oxnic", log)?,
        Device::Veth => run(&format!("ip link del {}", near(device)), log)?,
    }
    run(&format!("ip netns del {PEER}"), log)
}

/// Queue N's interrupt goes to CPU N, and on from the first when there are no more: what the
/// drivers of many cards do by themselves, and some tests take for granted. veth has no interrupts.
fn spread_interrupts(near: &str) -> Result<()> {
    let cpus = thread::available_parallelism()?.get();
    let queue = format!("{near}-rx-");
    let table = fs::read_to_string("/proc/interrupts")?;
    let interrupts = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let number = words.next()?.strip_suffix(':')?;

        words.last()?.starts_with(&queue).then_some(number)
    });

    for (index, number) in interrupts.enumerate() {
        fs::write(
            format!("/proc/irq/{number}/smp_affinity_list"),
            (index % cpus).to_string(),
        )?;
    }
    Ok(())
}
