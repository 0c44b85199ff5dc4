// SPDX-License-Identifier: GPL-2.0

//! BPF programs of a file: loading them, and attaching them to a device.

use crate::host;
use anyhow::{anyhow, ensure, Context, Result};
use libbpf_rs::{libbpf_sys, set_print, Object, ObjectBuilder, Xdp, XdpFlags};
use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
};

/// Has libbpf print nothing: what fails is told as an error.
pub fn silence() {
    set_print(None);
}

/// Where a device's XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack, right after the driver.
    Generic,
}

impl Mode {
    pub fn flags(self) -> XdpFlags {
        match self {
            Self::Native => XdpFlags::DRV_MODE,
            Self::Generic => XdpFlags::SKB_MODE,
        }
    }
}

pub struct Programs {
    object: Object,
}

impl Programs {
    /// Loads all programs of a file.
    pub fn load(path: &Path) -> Result<Self> {
        let object = ObjectBuilder::default()
            .open_file(path)
            .and_then(|object| object.load())
            .with_context(|| format!("loading {}", path.display()))?;

        Ok(Self { object })
    }

    /// The programs and maps as libbpf has them.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// A program's descriptor.
    pub fn fd(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let program = self
            .object
            .progs_mut()
            .find(|program| program.name() == name)
            .with_context(|| format!("no program {name}"))?;

        // SAFETY: The object keeps the program's descriptor open as long as `self` lives.
        Ok(unsafe { BorrowedFd::borrow_raw(program.as_fd().as_raw_fd()) })
    }

    /// Attaches a program to a device's XDP hook, if there is none.
    pub fn attach(&self, device: &str, program: &str, mode: Mode) -> Result<()> {
        let xdp = Xdp::new(self.fd(program)?);
        let ifindex = host::ifindex(device)? as i32;

        // The kernel refuses it too, but says only that something is busy.
        ensure!(
            xdp.query_id(ifindex, mode.flags())? == 0,
            "{device} has an XDP program already"
        );
        xdp.attach(ifindex, mode.flags() | XdpFlags::UPDATE_IF_NOEXIST)
            .with_context(|| format!("attaching {program} to {device}"))
    }

    /// Removes the program that is attached to a device in a mode.
    pub fn detach(&self, device: &str, program: &str, mode: Mode) -> Result<()> {
        Xdp::new(self.fd(program)?)
            .detach(host::ifindex(device)? as i32, mode.flags())
            .with_context(|| format!("detaching from {device}"))
    }

    /// Attaches a program to the tcx hook where frames come in.
    pub fn attach_tcx(&self, device: &str, program: &str) -> Result<()> {
        let options = libbpf_sys::bpf_prog_attach_opts {
            sz: size_of::<libbpf_sys::bpf_prog_attach_opts>() as _,
            ..Default::default()
        };
        // SAFETY: The options live until the call returns.
        let status = unsafe {
            libbpf_sys::bpf_prog_attach_opts(
                self.fd(program)?.as_raw_fd(),
                host::ifindex(device)? as i32,
                libbpf_sys::BPF_TCX_INGRESS,
                &options,
            )
        };
        check(status).with_context(|| format!("attaching {program} to tcx of {device}"))
    }

    pub fn detach_tcx(&self, device: &str, program: &str) -> Result<()> {
        let options = libbpf_sys::bpf_prog_detach_opts {
            sz: size_of::<libbpf_sys::bpf_prog_detach_opts>() as _,
            ..Default::default()
        };
        // SAFETY: The options live until the call returns.
        let status = unsafe {
            libbpf_sys::bpf_prog_detach_opts(
                self.fd(program)?.as_raw_fd(),
                host::ifindex(device)? as i32,
                libbpf_sys::BPF_TCX_INGRESS,
                &options,
            )
        };
        check(status).with_context(|| format!("detaching {program} from tcx of {device}"))
    }
}

/// What a function of libbpf returns, as a result.
pub fn check(status: i32) -> Result<()> {
    match status {
        0 => Ok(()),
        error => Err(anyhow!(std::io::Error::from_raw_os_error(-error))),
    }
}
