// SPDX-License-Identifier: GPL-2.0

//! The interface: its driver, what the driver says in the kernel log, and its XDP program.

// Only for the ioctl of ethtool.
#![allow(unsafe_code)]

use anyhow::{bail, ensure, Context, Result};
use netlink_packet_core::{
    NetlinkDeserializable, NetlinkMessage, NetlinkPayload, NLM_F_ACK, NLM_F_REQUEST,
};
use netlink_packet_route::{
    link::{LinkAttribute, LinkMessage, LinkXdp},
    RouteNetlinkMessage,
};
use netlink_sys::{protocols::NETLINK_ROUTE, Socket, SocketAddr};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{socket, AddressFamily, SockFlag, SockType},
};
use oxnic_samples::interface::Interface;
use std::{
    mem,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

/// `linux/ethtool.h`: the commands used here.
const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GMSGLVL: u32 = 0x7;
const ETHTOOL_SMSGLVL: u32 = 0x8;

/// `linux/if_link.h`: native XDP only; no program may be there already; or this one must be.
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_FLAGS_REPLACE: u32 = 1 << 4;
const NO_PROGRAM: i32 = -1;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    cmd: u32,
    data: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

mod ioctl {
    use nix::libc;

    nix::ioctl_readwrite_bad!(ethtool, libc::SIOCETHTOOL, libc::ifreq);
}

/// What can be asked and told with ethtool.
pub struct Ethtool {
    socket: OwnedFd,
    name: String,
}

impl Ethtool {
    pub fn open(interface: &Interface) -> Result<Self> {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .context("opening a socket")?;

        Ok(Self {
            socket,
            name: interface.name.clone(),
        })
    }

    /// The name of the driver, if the interface has one that says it.
    pub fn driver(&self) -> Result<Option<String>> {
        let mut info = DriverInfo {
            cmd: ETHTOOL_GDRVINFO,
            driver: [0; 32],
            rest: [0; 160],
        };

        match self.ask(&mut info) {
            Err(Errno::EOPNOTSUPP) => return Ok(None),
            done => done.with_context(|| format!("asking for the driver of {}", self.name))?,
        }
        Ok(info
            .driver
            .split(|&byte| byte == 0)
            .next()
            .map(|name| String::from_utf8_lossy(name).into_owned()))
    }

    /// What kinds of messages the driver prints, as bits.
    pub fn message_level(&self) -> Result<u32> {
        let mut value = Value {
            cmd: ETHTOOL_GMSGLVL,
            data: 0,
        };

        self.ask(&mut value)
            .with_context(|| format!("asking what {} reports", self.name))?;
        Ok(value.data)
    }

    pub fn set_message_level(&self, level: u32) -> Result<()> {
        let mut value = Value {
            cmd: ETHTOOL_SMSGLVL,
            data: level,
        };

        self.ask(&mut value)
            .with_context(|| format!("setting what {} reports", self.name))
    }

    /// `T` has the layout of what the command in its first field reads and writes.
    fn ask<T>(&self, request: &mut T) -> Result<(), Errno> {
        // SAFETY: All zeroes are an interface request, without a name.
        let mut frame: libc::ifreq = unsafe { mem::zeroed() };
        let (to, from) = (&mut frame.ifr_name, self.name.as_bytes());

        // The last byte stays zero.
        for (to, from) in to[..libc::IFNAMSIZ - 1].iter_mut().zip(from) {
            *to = *from as libc::c_char;
        }
        frame.ifr_ifru.ifru_data = (&raw mut *request).cast();
        // SAFETY: The kernel reads and writes the request, which has the size that it expects.
        unsafe { ioctl::ethtool(self.socket.as_raw_fd(), &mut frame) }.map(drop)
    }
}

/// The driver reports more than before, until this is dropped.
pub struct Reporting<'a> {
    ethtool: &'a Ethtool,
    before: u32,
}

impl<'a> Reporting<'a> {
    pub fn start(ethtool: &'a Ethtool, more: u32) -> Result<Self> {
        let before = ethtool.message_level()?;

        ethtool.set_message_level(before | more)?;
        Ok(Self { ethtool, before })
    }
}

impl Drop for Reporting<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.ethtool.set_message_level(self.before) {
            eprintln!("hook_chain: {error:#}");
        }
    }
}

/// A program at an interface, attached by netlink and detached when this is dropped.
pub struct Attached<'a> {
    interface: &'a Interface,
    program: BorrowedFd<'a>,
}

impl<'a> Attached<'a> {
    pub fn attach(interface: &'a Interface, program: BorrowedFd<'a>) -> Result<Self> {
        match set_program(
            interface,
            vec![
                LinkXdp::Fd(program.as_raw_fd()),
                LinkXdp::Flags(XDP_FLAGS_DRV_MODE | XDP_FLAGS_UPDATE_IF_NOEXIST),
            ],
        ) {
            Err(error) if error.downcast_ref() == Some(&Errno::EBUSY) => {
                bail!("{interface} has an XDP program already (ip link set dev {interface} xdp off detaches it)")
            }
            done => done.with_context(|| format!("attaching a program to {interface}"))?,
        }
        Ok(Self { interface, program })
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        // Only if it is still ours.
        let done = set_program(
            self.interface,
            vec![
                LinkXdp::Fd(NO_PROGRAM),
                LinkXdp::Flags(XDP_FLAGS_DRV_MODE | XDP_FLAGS_REPLACE),
                LinkXdp::ExpectedFd(self.program.as_raw_fd() as u32),
            ],
        );

        if let Err(error) = done {
            eprintln!("hook_chain: detaching from {}: {error:#}", self.interface);
        }
    }
}

/// Sends RTM_SETLINK and waits for the answer. (The sample xdp_attach shows what the message looks
/// like inside.)
fn set_program(interface: &Interface, xdp: Vec<LinkXdp>) -> Result<()> {
    let mut link = LinkMessage::default();

    link.header.index = interface.index;
    link.attributes.push(LinkAttribute::Xdp(xdp));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));

    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];

    request.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE).context("opening a netlink socket")?;

    socket.bind_auto()?;
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;

    acknowledged(&answer)
}

fn acknowledged(answer: &[u8]) -> Result<()> {
    let answer = NetlinkMessage::<Ignored>::deserialize(answer).context("reading the answer")?;
    let NetlinkPayload::Error(error) = answer.payload else {
        bail!("the kernel answered with something else than yes or no");
    };
    let errno = error.code.map_or(0, |code| -code.get());

    ensure!(errno == 0, Errno::from_raw(errno));
    Ok(())
}

/// Messages that are not looked at.
#[derive(Debug)]
struct Ignored;

impl NetlinkDeserializable for Ignored {
    type Error = netlink_packet_core::DecodeError;

    fn deserialize(
        _: &netlink_packet_core::NetlinkHeader,
        _: &[u8],
    ) -> std::result::Result<Self, Self::Error> {
        Ok(Self)
    }
}
