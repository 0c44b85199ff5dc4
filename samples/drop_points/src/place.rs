// SPDX-License-Identifier: GPL-2.0

//! Where the kernel can drop frames that come in.

use crate::{
    host,
    programs::{Mode, Programs},
    socket::Listener,
};
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::path::Path;

/// The places, the earliest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// XDP in the driver, before there is an sk_buff
    NativeXdp,
    /// XDP in the stack, right after the driver
    GenericXdp,
    /// Traffic control's hook for what comes in
    Tcx,
    /// nftables, family netdev, hook ingress
    NftIngress,
    /// nftables, hook prerouting at priority raw: before connection tracking
    NftPrerouting,
    /// nftables, hook input: the frame was routed to this host
    NftInput,
    /// A program on the socket (SO_ATTACH_BPF)
    SocketFilter,
}

impl Place {
    pub const ALL: [Self; 7] = [
        Self::NativeXdp,
        Self::GenericXdp,
        Self::Tcx,
        Self::NftIngress,
        Self::NftPrerouting,
        Self::NftInput,
        Self::SocketFilter,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::NativeXdp => "native XDP",
            Self::GenericXdp => "generic XDP",
            Self::Tcx => "tcx",
            Self::NftIngress => "nftables, netdev ingress",
            Self::NftPrerouting => "nftables, raw prerouting",
            Self::NftInput => "nftables, input",
            Self::SocketFilter => "filter of a UDP socket",
        }
    }
}

/// The table of nftables that is there while frames are dropped in it.
const TABLE: &str = "hook_cost";

/// What drops: the programs of `samples/bpf/hook_cost.bpf.c`, and nftables.
pub struct Dropper {
    programs: Programs,
}

impl Dropper {
    pub fn load(path: &Path) -> Result<Self> {
        Ok(Self {
            programs: Programs::load(path)?,
        })
    }

    /// Drops all that a device receives, or the socket gets, until the result is dropped.
    pub fn drop_at(
        &self,
        place: Place,
        device: &str,
        socket: Option<&Listener>,
    ) -> Result<Dropping<'_>> {
        match place {
            Place::NativeXdp => self.xdp(device, Mode::Native),
            Place::GenericXdp => self.xdp(device, Mode::Generic),
            Place::Tcx => self.tcx(device),
            Place::NftIngress => nft("netdev", &format!("ingress device {device} priority 0")),
            Place::NftPrerouting => nft("ip", "prerouting priority raw"),
            Place::NftInput => nft("ip", "input priority 0"),
            Place::SocketFilter => {
                socket
                    .context("there is no socket for the filter")?
                    .filter(self.programs.fd("drop_socket")?)?;
                // It goes with the socket.
                Ok(Dropping::until(|| Ok(())))
            }
        }
    }

    fn xdp(&self, device: &str, mode: Mode) -> Result<Dropping<'_>> {
        let device = device.to_owned();

        self.programs.attach(&device, "drop_xdp", mode)?;
        Ok(Dropping::until(move || {
            self.programs.detach(&device, "drop_xdp", mode)
        }))
    }

    fn tcx(&self, device: &str) -> Result<Dropping<'_>> {
        let device = device.to_owned();

        self.programs.attach_tcx(&device, "drop_tc")?;
        Ok(Dropping::until(move || {
            self.programs.detach_tcx(&device, "drop_tc")
        }))
    }
}

/// Has nftables drop everything at a hook.
fn nft(family: &'static str, hook: &str) -> Result<Dropping<'static>> {
    host::run(&format!("nft add table {family} {TABLE}"))?;
    let dropping =
        Dropping::until(move || host::run(&format!("nft delete table {family} {TABLE}")).map(drop));

    host::run(&format!(
        "nft add chain {family} {TABLE} drops {{ type filter hook {hook} ; }}"
    ))?;
    host::run(&format!("nft add rule {family} {TABLE} drops drop"))?;
    Ok(dropping)
}

/// Frames are dropped as long as this is there.
#[must_use]
pub struct Dropping<'a> {
    end: Option<Box<dyn FnOnce() -> Result<()> + 'a>>,
}

impl<'a> Dropping<'a> {
    fn until(end: impl FnOnce() -> Result<()> + 'a) -> Self {
        Self {
            end: Some(Box::new(end)),
        }
    }

    /// Lets frames pass again.
    pub fn end(mut self) -> Result<()> {
        self.end.take().map_or(Ok(()), |end| end())
    }
}

impl Drop for Dropping<'_> {
    fn drop(&mut self) {
        // Something else has failed already, and is what will be told.
        if let Some(end) = self.end.take() {
            let _ = end();
        }
    }
}
