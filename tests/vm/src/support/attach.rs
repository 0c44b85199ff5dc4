// SPDX-License-Identifier: GPL-2.0

//! Programs attached by a BPF link.

use crate::{bed::Port, bpf::Program};
use anyhow::Result;
use aya::programs::{
    xdp::{XdpLink, XdpLinkId},
    ProgramError, XdpFlags,
};

/// `BPF_LINK_CREATE`. The program owns the link until the caller takes it.
pub fn link_create(port: &Port, program: &mut Program) -> Result<XdpLinkId, ProgramError> {
    let mut outcome = None;
    let attached = port.ns.enter(|| {
        outcome = Some(
            program
                .xdp()?
                .attach_to_if_index(port.ifindex, XdpFlags::DRV_MODE),
        );
        Ok(())
    });

    match (attached, outcome) {
        (Ok(()), Some(result)) => result,
        (error, _) => panic!("creating a link: {error:?}"),
    }
}

/// Attaches a program by a BPF link, until the link is dropped.
pub fn linked(port: &Port, program: &mut Program) -> Result<XdpLink> {
    let id = link_create(port, program)?;

    Ok(program.xdp()?.take_link(id)?)
}
