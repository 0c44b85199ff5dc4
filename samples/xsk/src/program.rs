// SPDX-License-Identifier: GPL-2.0

//! The XDP program that hands the frames of a queue to a socket.

use anyhow::{anyhow, bail, Context, Result};
use aya::{
    maps::XskMap,
    programs::{ProgramError, Xdp, XdpFlags},
    Ebpf,
};
use nix::errno::Errno;
use oxnic_samples::{bpf, interface::Interface, say};
use std::{os::fd::BorrowedFd, path::Path};

/// A program at an interface. Its link goes with the process, however that ends.
pub struct Attached {
    object: Ebpf,
}

impl Attached {
    /// Loads the program, gives it the socket of a queue, and attaches it.
    pub fn new(
        file: &Path,
        interface: &Interface,
        queue: u32,
        socket: BorrowedFd<'_>,
    ) -> Result<Self> {
        let mut object = bpf::open(file)?;
        let mut sockets: XskMap<_> = object
            .map_mut("sockets")
            .ok_or_else(|| anyhow!("the file has no map sockets"))?
            .try_into()?;

        sockets
            .set(queue, socket, 0)
            .with_context(|| format!("putting the socket into the map, at {queue}"))?;
        attach(&mut object, interface)?;
        Ok(Self { object })
    }

    /// Detaches it. The sockets get no more frames.
    pub fn detach(mut self) -> Result<()> {
        program(&mut self.object)?
            .unload()
            .context("detaching the program")
    }
}

fn program(object: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(object
        .program_mut("xsk")
        .ok_or_else(|| anyhow!("the file has no program xsk"))?
        .try_into()?)
}

fn attach(object: &mut Ebpf, interface: &Interface) -> Result<()> {
    let program = program(object)?;

    bpf::loaded("xsk", program.load())?;
    match program.attach_to_if_index(interface.index, XdpFlags::default()) {
        Ok(_) => say!(
            "   BPF_PROG_LOAD xsk, BPF_LINK_CREATE on {interface}: program id {}",
            program.info()?.id()
        ),
        Err(ProgramError::SyscallError(error))
            if matches!(
                error.io_error.raw_os_error().map(Errno::from_raw),
                Some(Errno::EBUSY | Errno::EEXIST)
            ) =>
        {
            bail!("{interface} has an XDP program already")
        }
        Err(error) => Err(error).with_context(|| format!("attaching the program to {interface}")),
    }
}
