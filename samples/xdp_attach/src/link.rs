// SPDX-License-Identifier: GPL-2.0

//! The messages about a link and its XDP program.

use crate::{
    message::{find, Message},
    socket::{body, Socket},
};
use anyhow::{Context, Result};
use nix::libc;
use oxnic_samples::interface::Interface;
use std::{fmt, os::fd::RawFd};

/// Size of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;

// From <linux/if_link.h>. What is in IFLA_XDP is numbered on its own.
const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_EXPECTED_FD: u16 = 8;

pub const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
pub const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
pub const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
pub const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// Stands for "no program" wherever the message has the descriptor of one.
pub const NO_PROGRAM: RawFd = -1;

/// The message that attaches a program to an interface, or with [`NO_PROGRAM`] detaches the one
/// there is. `expected` is the program that has to be attached at that moment, and counts only with
/// `XDP_FLAGS_REPLACE`.
pub fn set_xdp(
    interface: &Interface,
    program: RawFd,
    flags: u32,
    expected: Option<RawFd>,
    sequence: u32,
) -> Message {
    Message::request(
        (libc::RTM_SETLINK, "RTM_SETLINK"),
        (
            libc::NLM_F_REQUEST | libc::NLM_F_ACK,
            "NLM_F_REQUEST | NLM_F_ACK",
        ),
        sequence,
        |message| {
            ifinfomsg(message, interface);
            message.attribute(IFLA_XDP | libc::NLA_F_NESTED as u16, "IFLA_XDP", |xdp| {
                xdp.attribute(IFLA_XDP_FD, "IFLA_XDP_FD", |fd| {
                    fd.put("value", &program.to_ne_bytes(), &descriptor(program));
                });
                xdp.attribute(IFLA_XDP_FLAGS, "IFLA_XDP_FLAGS", |value| {
                    value.put("value", &flags.to_ne_bytes(), &flag_names(flags));
                });
                if let Some(expected) = expected {
                    xdp.attribute(IFLA_XDP_EXPECTED_FD, "IFLA_XDP_EXPECTED_FD", |fd| {
                        fd.put("value", &expected.to_ne_bytes(), &descriptor(expected));
                    });
                }
            });
        },
    )
}

fn ifinfomsg(message: &mut Message, interface: &Interface) {
    message.structure("struct ifinfomsg", |info| {
        info.put("ifi_family", &[libc::AF_UNSPEC as u8], "AF_UNSPEC");
        info.put("padding", &[0], "");
        info.put("ifi_type", &[0; 2], "");
        info.put("ifi_index", &interface.index.to_ne_bytes(), &interface.name);
        info.put("ifi_flags", &[0; 4], "");
        info.put("ifi_change", &[0; 4], "no flag changes");
    });
}

fn descriptor(fd: RawFd) -> String {
    if fd == NO_PROGRAM {
        format!("{fd}: no program")
    } else {
        format!("{fd}: the program's descriptor")
    }
}

fn flag_names(flags: u32) -> String {
    let names = [
        (XDP_FLAGS_UPDATE_IF_NOEXIST, "XDP_FLAGS_UPDATE_IF_NOEXIST"),
        (XDP_FLAGS_SKB_MODE, "XDP_FLAGS_SKB_MODE"),
        (XDP_FLAGS_DRV_MODE, "XDP_FLAGS_DRV_MODE"),
        (XDP_FLAGS_REPLACE, "XDP_FLAGS_REPLACE"),
    ];
    let set: Vec<_> = names
        .into_iter()
        .filter(|(flag, _)| flags & flag != 0)
        .map(|(_, name)| name)
        .collect();

    if set.is_empty() {
        "none".to_owned()
    } else {
        set.join(" | ")
    }
}

/// What the kernel says about an interface's program.
#[derive(Debug, PartialEq, Eq)]
pub enum Attached {
    Nothing,
    Driver(u32),
    Generic(u32),
    /// In several modes at once, or offloaded to the device.
    Other,
}

impl Attached {
    pub fn query(socket: &Socket, interface: &Interface, sequence: u32) -> Result<Self> {
        let question = Message::request(
            (libc::RTM_GETLINK, "RTM_GETLINK"),
            (libc::NLM_F_REQUEST, "NLM_F_REQUEST"),
            sequence,
            |message| ifinfomsg(message, interface),
        );
        let answer = socket.ask(&question)?;
        let attributes = body(&answer, libc::RTM_NEWLINK)?
            .get(IFINFOMSG..)
            .context("the kernel's answer about the interface is too short")?;
        let xdp = find(attributes, IFLA_XDP).unwrap_or_default();
        let id = match find(xdp, IFLA_XDP_PROG_ID) {
            Some(&[a, b, c, d]) => u32::from_ne_bytes([a, b, c, d]),
            _ => 0,
        };

        Ok(match find(xdp, IFLA_XDP_ATTACHED) {
            None | Some([0]) => Self::Nothing,
            Some([1]) => Self::Driver(id),
            Some([2]) => Self::Generic(id),
            Some(_) => Self::Other,
        })
    }
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "no program"),
            Self::Driver(id) => write!(f, "program id {id}, in driver mode"),
            Self::Generic(id) => write!(f, "program id {id}, in skb mode"),
            Self::Other => write!(f, "programs in several modes"),
        }
    }
}
