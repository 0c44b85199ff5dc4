// SPDX-License-Identifier: GPL-2.0

//! Loading a program for one device. A program that calls functions of the kernel needs more linking
//! than aya does, so this is libbpf's part.

use anyhow::{anyhow, bail, Context, Result};
use libbpf_rs::{
    libbpf_sys::BPF_F_XDP_DEV_BOUND_ONLY, set_print, ErrorKind, Link, MapCore, MapHandle, Object,
    ObjectBuilder, PrintLevel, Program, ProgramMut, ProgramType, Xdp, XdpFlags,
};
use nix::errno::Errno;
use oxnic_samples::{bpf::Refused, interface::Interface};
use std::{
    os::fd::AsFd,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// What libbpf has to say. Of all of it only the verifier's log is shown, if there is one.
static SAID: Mutex<String> = Mutex::new(String::new());

/// The lines of libbpf's around that log.
const BEGIN: &str = "-- BEGIN PROG LOAD LOG --\n";
const END: &str = "-- END PROG LOAD LOG --";

/// The XDP program of a file, loaded for an interface.
pub struct Loaded {
    object: Object,
    name: String,
}

impl Loaded {
    pub fn for_interface(file: &Path, interface: &Interface) -> Result<Self> {
        set_print(Some((PrintLevel::Warn, |_, text| {
            SAID.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_str(&text);
        })));
        let mut object = ObjectBuilder::default()
            .open_file(file)
            .with_context(|| format!("opening {}", file.display()))?;
        let mut name = None;

        for mut program in object.progs_mut() {
            if program.prog_type() != ProgramType::Xdp {
                continue;
            }
            // The kernel takes the driver's functions from this device, and lets the program be
            // attached to no other. It runs on the CPU as any program: without this flag, the
            // number would mean that the card itself is to run it.
            program.set_ifindex(interface.index);
            program.set_flags(BPF_F_XDP_DEV_BOUND_ONLY);
            name = Some(program.name().to_string_lossy().into_owned());
        }
        let name = name.ok_or_else(|| anyhow!("{} has no XDP program", file.display()))?;
        let object = object
            .load()
            .map_err(reason)
            .with_context(|| format!("loading program {name} for {interface}"))?;

        Ok(Self { object, name })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> Result<u32> {
        Ok(Program::id_from_fd(self.program()?.as_fd())?)
    }

    fn program(&self) -> Result<ProgramMut<'_>> {
        self.object
            .progs_mut()
            .find(|program| program.name() == self.name.as_str())
            .ok_or_else(|| anyhow!("no program {}", self.name))
    }

    /// A map of the program.
    pub fn map(&self, name: &str) -> Result<MapHandle> {
        let map = self
            .object
            .maps()
            .find(|map| map.name() == name)
            .ok_or_else(|| anyhow!("program {} has no map {name}", self.name))?;

        Ok(MapHandle::try_from(&map)?)
    }

    /// Attaches the program by a BPF link.
    pub fn attach(&self, interface: &Interface) -> Result<Link> {
        let program = self.program()?;
        let error = match program.attach_xdp(interface.index as i32) {
            Ok(link) => return Ok(link),
            Err(error) => error,
        };

        match Xdp::new(program.as_fd()).query_id(interface.index as i32, XdpFlags::NONE) {
            Ok(id @ 1..) => bail!("{interface} has an XDP program already, id {id}"),
            _ => Err(error).with_context(|| {
                format!("attaching to {interface}, whose driver has to run the program itself")
            }),
        }
    }
}

/// Why the program could not be loaded.
fn reason(error: libbpf_rs::Error) -> anyhow::Error {
    let said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let log = said
        .split_once(BEGIN)
        .map(|(_, rest)| rest.split_once(END).map_or(rest, |(log, _)| log));

    match (log, error.kind()) {
        (Some(log), _) => anyhow!(Refused {
            // The line of the end has libbpf's name in front.
            log: log.trim_end_matches("libbpf: prog").to_owned(),
        }),
        (None, ErrorKind::PermissionDenied) => anyhow!(Errno::EPERM),
        // Its kind does not tell this error from others.
        (None, _) if said.contains("load failed: -EOPNOTSUPP") => {
            anyhow!(error).context("its driver says nothing about frames")
        }
        (None, _) => anyhow!(error),
    }
}
