// SPDX-License-Identifier: GPL-2.0

//! As much of netlink as the tests need: requests, dumps and the kernel's reason for a refusal.

pub mod ethtool;
pub mod fdb;
mod generic;
pub mod link;
pub mod netdev;

use crate::sockopt::{CapAck, ExtAck};
use anyhow::{bail, Context, Result};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        bind, recv, send, setsockopt, socket, AddressFamily, MsgFlags, NetlinkAddr, SockFlag,
        SockProtocol, SockType,
    },
};
use std::{
    fmt,
    os::fd::{AsRawFd, OwnedFd},
};

const HEADER: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLM_F_ACK_TLVS: u16 = 0x200;
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

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A netlink socket in the namespace of the thread that opened it.
pub struct Socket {
    fd: OwnedFd,
    seq: u32,
}

impl Socket {
    pub fn route() -> Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    pub fn generic() -> Result<Self> {
        Self::open(SockProtocol::NetlinkGeneric)
    }

    fn open(protocol: SockProtocol) -> Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            Some(protocol),
        )?;

        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&fd, ExtAck, &true)?;
        setsockopt(&fd, CapAck, &true)?;
        Ok(Self { fd, seq: 0 })
    }

    /// Sends a request and returns the bodies of the answers, or the kernel's refusal as an error
    /// that can be downcast to [`Refused`].
    pub fn request(&mut self, kind: u16, flags: i32, body: &[u8]) -> Result<Vec<Vec<u8>>> {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut message = Vec::with_capacity(HEADER + body.len());

        self.seq += 1;
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.seq.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        send(self.fd.as_raw_fd(), &message, MsgFlags::empty()).context("netlink send")?;
        self.answers()
    }

    fn answers(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut buffer = vec![0; 65536];
        let mut answers = Vec::new();

        loop {
            let n = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())
                .context("netlink receive")?;
            let mut rest = &buffer[..n];

            while rest.len() >= HEADER {
                let len = (u32_at(rest, 0) as usize).clamp(HEADER, rest.len());
                let (kind, flags) = (i32::from(u16_at(rest, 4)), u16_at(rest, 6));
                let body = &rest[HEADER..len];

                match kind {
                    libc::NLMSG_ERROR => return outcome(body, flags).map(|()| answers),
                    libc::NLMSG_DONE => return Ok(answers),
                    _ => answers.push(body.to_vec()),
                }
                rest = &rest[len.next_multiple_of(4).min(rest.len())..];
            }
        }
    }
}

/// Reads an acknowledgement: an error number (0 is none), the request's header, the reason.
fn outcome(body: &[u8], flags: u16) -> Result<()> {
    let errno = -(u32_at(body, 0) as i32);
    let mut reason = String::new();

    if errno == 0 {
        return Ok(());
    }
    if flags & NLM_F_ACK_TLVS != 0 {
        if let Some(text) = attr(&body[4 + HEADER..], NLMSGERR_ATTR_MSG) {
            reason = String::from_utf8_lossy(text)
                .trim_end_matches('\0')
                .to_owned();
        }
    }
    Err(Refused {
        errno: Errno::from_raw(errno),
        reason,
    }
    .into())
}
