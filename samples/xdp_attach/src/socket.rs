// SPDX-License-Identifier: GPL-2.0

//! The way to rtnetlink and back: a socket, and the kernel's answers.

use crate::message::{attributes, Message};
use anyhow::{ensure, Context, Result};
use nix::{
    errno::Errno,
    libc, setsockopt_impl, sockopt_impl,
    sys::socket::{
        recv, send, setsockopt, socket, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType,
    },
};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The answer is followed by attributes that say more.
const NLM_F_ACK_TLVS: u16 = 0x200;
/// The answer has only the header of the request, not all of it.
const NLM_F_CAPPED: u16 = 0x100;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;

sockopt_impl!(
    /// The kernel gives its reason with an error ("extended acknowledgement").
    ExtAck,
    SetOnly,
    libc::SOL_NETLINK,
    libc::NETLINK_EXT_ACK,
    bool
);
sockopt_impl!(
    /// The kernel does not repeat the request in its answer.
    CapAck,
    SetOnly,
    libc::SOL_NETLINK,
    libc::NETLINK_CAP_ACK,
    bool
);

pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    pub fn open() -> Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            Some(SockProtocol::NetlinkRoute),
        )
        .context("opening a netlink socket")?;

        setsockopt(&fd, ExtAck, &true).context("asking for extended acknowledgements")?;
        setsockopt(&fd, CapAck, &true).context("asking for short acknowledgements")?;
        Ok(Self { fd })
    }

    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Sends a message, and returns the kernel's answer to it.
    pub fn ask(&self, message: &Message) -> Result<Vec<u8>> {
        let mut answer = vec![0; 65536];

        send(self.number(), &message.bytes(), MsgFlags::empty()).context("sending by netlink")?;
        let len =
            recv(self.number(), &mut answer, MsgFlags::empty()).context("receiving by netlink")?;
        answer.truncate(len);
        Ok(answer)
    }
}

/// What the kernel did about a request: `struct nlmsgerr`, which stands for success as well.
#[derive(Debug)]
pub struct Outcome {
    /// What is in the answer's bytes.
    pub picture: Message,
    pub errno: Option<Errno>,
    /// In the kernel's own words, if it gives one.
    pub reason: Option<String>,
}

impl Outcome {
    pub fn parse(answer: &[u8]) -> Result<Self> {
        let mut picture = Message::default();
        let mut rest = answer;
        let mut reason = None;

        let [kind, flags] = header(&mut picture, "struct nlmsghdr", &mut rest)?;
        ensure!(
            i32::from(kind) == libc::NLMSG_ERROR,
            "the kernel answered with a message of type {kind}, not with NLMSG_ERROR"
        );

        let error = take(&mut rest)?;
        let error_number = i32::from_ne_bytes(error);
        let errno = (error_number != 0).then(|| Errno::from_raw(-error_number));
        picture.structure("struct nlmsgerr", |picture| {
            let meaning = errno.map_or("success".to_owned(), |errno| {
                format!("{error_number}: {errno:?}, {}", errno.desc())
            });

            picture.put("error", &error, &meaning);
        });
        header(&mut picture, "the request's struct nlmsghdr", &mut rest)?;

        if flags & NLM_F_ACK_TLVS != 0 {
            for (kind, value) in attributes(rest) {
                let (name, meaning) = match kind {
                    NLMSGERR_ATTR_MSG => {
                        let text = String::from_utf8_lossy(value);
                        let text = text.trim_end_matches('\0').to_owned();

                        reason = Some(text.clone());
                        ("NLMSGERR_ATTR_MSG", format!("\"{text}\""))
                    }
                    NLMSGERR_ATTR_OFFS => ("NLMSGERR_ATTR_OFFS", "where in the request".to_owned()),
                    _ => ("another attribute", String::new()),
                };

                picture.attribute(kind, name, |picture| {
                    picture.put("value", value, &meaning);
                });
            }
        }
        Ok(Self {
            picture,
            errno,
            reason,
        })
    }
}

/// Takes a `struct nlmsghdr` apart, and returns the message's type and flags.
fn header(picture: &mut Message, title: &str, rest: &mut &[u8]) -> Result<[u16; 2]> {
    let len: [u8; 4] = take(rest)?;
    let kind: [u8; 2] = take(rest)?;
    let flags: [u8; 2] = take(rest)?;
    let sequence: [u8; 4] = take(rest)?;
    let port: [u8; 4] = take(rest)?;
    let numbers = [kind, flags].map(u16::from_ne_bytes);

    picture.structure(title, |picture| {
        let bytes = u32::from_ne_bytes(len);

        picture.put("nlmsg_len", &len, &format!("{bytes} bytes"));
        picture.put("nlmsg_type", &kind, type_name(numbers[0]));
        picture.put("nlmsg_flags", &flags, &flag_names(numbers[1]));
        picture.put("nlmsg_seq", &sequence, "");
        picture.put("nlmsg_pid", &port, "the socket's address");
    });
    Ok(numbers)
}

fn type_name(kind: u16) -> &'static str {
    match i32::from(kind) {
        libc::NLMSG_ERROR => "NLMSG_ERROR",
        _ if kind == libc::RTM_SETLINK => "RTM_SETLINK",
        _ => "",
    }
}

fn flag_names(flags: u16) -> String {
    let names = [
        (libc::NLM_F_REQUEST as u16, "NLM_F_REQUEST"),
        (libc::NLM_F_ACK as u16, "NLM_F_ACK"),
        (NLM_F_CAPPED, "NLM_F_CAPPED"),
        (NLM_F_ACK_TLVS, "NLM_F_ACK_TLVS"),
    ];

    names
        .into_iter()
        .filter(|(flag, _)| flags & flag != 0)
        .map(|(_, name)| name)
        .collect::<Vec<_>>()
        .join(" | ")
}

/// The body of an answer that is a message of this type, from behind the header on.
pub fn body(answer: &[u8], kind: u16) -> Result<&[u8]> {
    let mut rest = answer;
    let [found, _] = header(&mut Message::default(), "", &mut rest)?;

    ensure!(
        found == kind,
        "the kernel answered with a message of type {found}, not {kind}"
    );
    Ok(&answer[HEADER..])
}

/// The next bytes of an answer.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, left) = rest
        .split_first_chunk()
        .context("the kernel's answer ends too early")?;

    *rest = left;
    Ok(*taken)
}
