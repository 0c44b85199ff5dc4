// SPDX-License-Identifier: GPL-2.0

//! The kernel's simulated devices, of which two can be joined as a port is with its peer.

use super::{cmd, netns::Netns};
use crate::bed::Port;
use anyhow::{Context, Result};
use std::{fs, fs::File, os::fd::AsRawFd};

const NAME: &str = "netdevsim";
const BUS: &str = "/sys/bus/netdevsim";

/// Whether the kernel has them. Distributions' kernels do not.
pub fn is_there() -> bool {
    cmd::run(&format!("modprobe --dry-run {NAME}")).is_ok()
}

/// Two joined devices in namespaces of these names, removed when dropped, and their module as well.
pub struct Netdevsim {
    pub near: Port,
    pub far: Port,
    _module: Module,
}

struct Module;

impl Netdevsim {
    pub fn make(near: &str, far: &str) -> Result<Self> {
        cmd::run(&format!("modprobe {NAME}"))?;
        let module = Module;
        let near = (make(1, near)?, File::open(format!("/run/netns/{near}"))?);
        let far = (make(2, far)?, File::open(format!("/run/netns/{far}"))?);
        let ends = [&near, &far].map(|(port, ns)| format!("{}:{}", ns.as_raw_fd(), port.ifindex));

        write("link_device", &ends.join(" "))?;
        let (near, far) = (near.0, far.0);
        for port in [&near, &far] {
            // They have a carrier from the start, and no operational state but "unknown".
            port.up()?;
        }
        Ok(Self {
            near,
            far,
            _module: module,
        })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        for id in [1, 2] {
            // One that was not made is not there.
            let _ = write("del_device", &id.to_string());
        }
        cmd::try_run(&format!("modprobe -r {NAME}"));
    }
}

/// A device with one queue, in the namespace whose thread asks for it.
fn make(id: u32, ns: &str) -> Result<Port> {
    let ns = Netns::existing(ns);

    ns.enter(|| write("new_device", &format!("{id} 1 1")))?;
    let folder = format!("{BUS}/devices/{NAME}{id}/net");
    let name = ns.exec_with_sysfs(&format!("ls {folder}"))?;
    Port::find(&ns, name.trim())
}

fn write(file: &str, text: &str) -> Result<()> {
    fs::write(format!("{BUS}/{file}"), text).with_context(|| format!("{file}: {text}"))
}
