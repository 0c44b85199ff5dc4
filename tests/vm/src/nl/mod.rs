// SPDX-License-Identifier: GPL-2.0

//! As much of netlink as the tests need: requests, dumps and the kernel's reason for a refusal.

pub mod address;
pub mod ethtool;
mod generic;
pub mod link;
pub mod neighbour;
pub mod netdev;

use anyhow::{bail, Context, Result};
use netlink_packet_core::{
    DoneMessage, ErrorMessage, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_REQUEST,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{protocols::NETLINK_ROUTE, Socket, SocketAddr};
use nix::{errno::Errno, libc};
use std::{fmt, num::NonZero};

/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// A request that the kernel refused.
#[derive(Debug)]
pub struct Refused {
    pub errno: Errno,
    /// The extended acknowledgement, empty if there is none.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {:?}, \"{}\"", self.errno, self.reason)
    }
}

impl std::error::Error for Refused {}

/// Attributes of a message under construction.
#[derive(Default)]
pub struct Attrs(Vec<u8>);

impl Attrs {
    pub fn put(mut self, kind: u16, value: &[u8]) -> Self {
        let len = 4 + value.len();

        self.0.extend((len as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn put_u32(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_ne_bytes())
    }

    pub fn nest(self, kind: u16, inner: Attrs) -> Self {
        self.put(kind | libc::NLA_F_NESTED as u16, &inner.0)
    }
}

/// The attributes in `bytes`, in order.
pub fn attrs(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut list = Vec::new();

    while bytes.len() >= 4 {
        let len = usize::from(u16_at(bytes, 0));
        if len < 4 || len > bytes.len() {
            break;
        }
        list.push((u16_at(bytes, 2) & NLA_TYPE_MASK, &bytes[4..len]));
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
    }
    list
}

/// The value of the first attribute of that kind.
pub fn attr(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes)
        .into_iter()
        .find(|(k, _)| *k == kind)
        .map(|(_, value)| value)
}

/// An unsigned number of any width; netlink's `uint` comes in 4 or 8 bytes.
pub fn number(value: &[u8]) -> Result<u64> {
    Ok(match *value {
        [a] => a.into(),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        _ => bail!("a netlink number of {} bytes", value.len()),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

/// Asks rtnetlink in the calling thread's namespace, and returns the answers. A refusal can be
/// downcast to [`Refused`].
fn route(message: RouteNetlinkMessage, flags: u16) -> Result<Vec<RouteNetlinkMessage>> {
    ask(&open(NETLINK_ROUTE)?, message, flags)
}

/// A netlink socket in the namespace of the calling thread.
fn open(protocol: isize) -> Result<Socket> {
    let mut socket = Socket::new(protocol).context("opening a netlink socket")?;

    socket.bind_auto()?;
    // The kernel says why it refuses a request, and does not repeat the request.
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    Ok(socket)
}

/// Sends a request and returns the answers, or the kernel's refusal as an error that can be
/// downcast to [`Refused`].
fn ask<M>(socket: &Socket, message: M, flags: u16) -> Result<Vec<M>>
where
    M: NetlinkSerializable + NetlinkDeserializable,
{
    let mut request =
        NetlinkMessage::new(Default::default(), NetlinkPayload::InnerMessage(message));
    let mut answers = Vec::new();

    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket
        .send_to(&bytes, &SocketAddr::new(0, 0), 0)
        .context("netlink send")?;
    loop {
        let (bytes, _) = socket.recv_from_full().context("netlink receive")?;
        let mut rest = &bytes[..];

        while rest.len() >= HEADER {
            let answer = NetlinkMessage::deserialize(rest).context("netlink answer")?;
            let len = answer.header.length as usize;

            match answer.payload {
                NetlinkPayload::InnerMessage(message) => answers.push(message),
                NetlinkPayload::Error(ErrorMessage { code, header, .. }) => {
                    let more = match answer.header.flags & NLM_F_ACK_TLVS {
                        0 => &[],
                        // The request's header comes first.
                        _ => header.get(HEADER..).unwrap_or_default(),
                    };
                    return outcome(code.map_or(0, NonZero::get), more).map(|()| answers);
                }
                NetlinkPayload::Done(DoneMessage { code, .. }) => {
                    return outcome(code, &[]).map(|()| answers)
                }
                _ => bail!("netlink: a message of type {}", answer.header.message_type),
            }
            rest = &rest[len.next_multiple_of(4).min(rest.len())..];
        }
    }
}

/// What the kernel says at the end: an error number (0 is none), and attributes that say more.
fn outcome(code: i32, more: &[u8]) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    let reason = attr(more, NLMSGERR_ATTR_MSG).unwrap_or_default();

    Err(Refused {
        errno: Errno::from_raw(-code),
        reason: String::from_utf8_lossy(reason)
            .trim_end_matches('\0')
            .to_owned(),
    }
    .into())
}
