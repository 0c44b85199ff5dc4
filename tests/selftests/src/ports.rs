// SPDX-License-Identifier: GPL-2.0

//! The pair of ports: the near end is tested, the far end is in the namespace `peer`.

use crate::results::Device;
use anyhow::{bail, Context, Result};
use std::{
    env,
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

/// The path of the module's file.
fn module() -> Result<String> {
    env::var("OXNIC_KO").context("OXNIC_KO names no module")
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
                &format!("insmod {} pairs=1 queues={queues}", module()?),
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

/// Both ports in this namespace, without a word of the stack's own, and open for any address.
pub fn set_up_together(device: Device, queues: u32, log: &mut File) -> Result<()> {
    let (near, far) = (near(device), far(device));

    // What `tear_down` removes.
    run(&format!("ip netns add {PEER}"), log)?;
    match device {
        Device::Oxnic => run(
            &format!("insmod {} pairs=1 queues={queues}", module()?),
            log,
        )?,
        Device::Veth => {
            let size = format!("numrxqueues {queues} numtxqueues {queues}");

            run(
                &format!("ip link add {near} {size} type veth peer name {far} {size}"),
                log,
            )?;
        }
    }
    // In zero-copy mode a frame that finds no buffer of the receiver has to be lost: one case gives
    // the receiver too few on purpose, and wants the sender to get to the end. For the other cases
    // there are enough, if the rings take all that the receiver has.
    if device == Device::Oxnic {
        for port in [near, far] {
            run(&format!("ethtool -A {port} rx off tx off"), log)?;
            run(&format!("ethtool -G {port} rx 2048"), log)?;
        }
    }
    for port in [near, far] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{port}/disable_ipv6"), "1")?;
        run(&format!("ip link set {port} promisc on"), log)?;
        run(&format!("ip link set {port} up"), log)?;
    }
    Ok(())
}

/// Removes what xskxceiver leaves behind when a case fails: a program of either mode, which keeps
/// one of the other mode from being attached, and the MTU of 9000.
pub fn clean_up_together(device: Device, log: &mut File) -> Result<()> {
    for port in [near(device), far(device)] {
        for setting in ["xdpgeneric off", "xdpdrv off", "mtu 1500"] {
            run(&format!("ip link set {port} {setting}"), log)?;
        }
    }
    Ok(())
}

/// Leaves polling to who is busy with it, as long as anyone is: the settings of the kernel's
/// script.
pub fn defer_interrupts(device: Device) -> Result<()> {
    for port in [near(device), far(device)] {
        for (file, value) in [("napi_defer_hard_irqs", 2), ("gro_flush_timeout", 200_000)] {
            fs::write(format!("/sys/class/net/{port}/{file}"), value.to_string())
                .with_context(|| format!("{port}: {file}"))?;
        }
    }
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
