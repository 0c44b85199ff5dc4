// SPDX-License-Identifier: GPL-2.0

//! Time stamps that sockets get of what they send and receive (`SO_TIMESTAMPING`).

use crate::host::{wait_until, PATIENCE};
use anyhow::{bail, ensure, Context, Result};
use nix::{
    cmsg_space,
    errno::Errno,
    libc,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::{
        socket::{
            recvmsg, setsockopt, sockopt::Timestamping, ControlMessageOwned, MsgFlags,
            SockaddrStorage, TimestampingFlag,
        },
        time::TimeSpec,
    },
};
use std::{
    io::IoSliceMut,
    os::fd::{AsFd, AsRawFd},
};

pub type Flags = TimestampingFlag;

/// Stamps of received frames by the card's clock.
pub const RX: Flags = Flags::SOF_TIMESTAMPING_RX_HARDWARE.union(RAW);
/// Stamps of sent frames by the card's clock.
pub const TX: Flags = Flags::SOF_TIMESTAMPING_TX_HARDWARE.union(RAW);
const RAW: Flags = Flags::SOF_TIMESTAMPING_RAW_HARDWARE;
/// Stamps of received frames by the kernel's clock.
pub const RX_SOFTWARE: Flags = Flags::SOF_TIMESTAMPING_RX_SOFTWARE.union(SOFTWARE);
/// Stamps of sent frames by the kernel's clock.
pub const TX_SOFTWARE: Flags = Flags::SOF_TIMESTAMPING_TX_SOFTWARE.union(SOFTWARE);
const SOFTWARE: Flags = Flags::SOF_TIMESTAMPING_SOFTWARE;
/// Stamps of sent frames come with the number of the datagram.
pub const OPT_ID: Flags = Flags::SOF_TIMESTAMPING_OPT_ID;
/// Stamps of sent frames come without the frame.
pub const OPT_TSONLY: Flags = Flags::SOF_TIMESTAMPING_OPT_TSONLY;
/// A sent frame may have stamps by both clocks.
pub const OPT_TX_SWHW: Flags = Flags::from_bits_retain(1 << 14);

/// What a socket has received, or sent.
#[derive(Clone, Debug)]
pub struct Message {
    pub data: Vec<u8>,
    /// By the kernel's clock, in nanoseconds; 0 if there is none.
    pub software: u64,
    /// By the card's clock.
    pub hardware: u64,
    /// Number of the datagram that was sent.
    pub id: Option<u32>,
}

impl Message {
    /// Fails unless there is a stamp by the card's clock, and no earlier or later one than these.
    pub fn expect_between(&self, what: &str, from: u64, to: u64) -> Result<()> {
        ensure!(
            from <= self.hardware && self.hardware <= to,
            "{what}: stamped {}, although not before {from} and not after {to}",
            self.hardware
        );
        Ok(())
    }
}

/// Which stamps a socket gets.
pub fn request(socket: &impl AsFd, flags: Flags) -> Result<()> {
    setsockopt(socket, Timestamping, &flags).with_context(|| format!("SO_TIMESTAMPING: {flags:?}"))
}

/// The next frame or datagram that a socket receives.
pub fn received(socket: &impl AsFd) -> Result<Message> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);

    loop {
        if let Some(message) = next(socket, MsgFlags::empty())? {
            return Ok(message);
        }
        match poll(&mut fds, timeout) {
            Ok(0) => bail!("nothing arrived"),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// The stamps of what was sent, as many as there are by now.
pub fn sent_by_now(socket: &impl AsFd) -> Result<Vec<Message>> {
    let mut all = Vec::new();

    while let Some(message) = next(socket, MsgFlags::MSG_ERRQUEUE)? {
        all.push(message);
    }
    Ok(all)
}

/// The next `count` stamps of what was sent.
pub fn sent(socket: &impl AsFd, count: usize) -> Result<Vec<Message>> {
    let mut all = Vec::new();

    wait_until("a frame that was sent gets its stamp", || {
        all.extend(sent_by_now(socket)?);
        Ok(all.len() >= count)
    })
    .with_context(|| format!("{} stamps instead of {count}", all.len()))?;
    ensure!(
        all.len() == count,
        "{} stamps instead of {count}: {all:?}",
        all.len()
    );
    Ok(all)
}

/// The only stamp of what was sent.
pub fn only_sent(socket: &impl AsFd) -> Result<Message> {
    Ok(sent(socket, 1)?.remove(0))
}

fn next(socket: &impl AsFd, queue: MsgFlags) -> Result<Option<Message>> {
    let mut data = vec![0; 65536];
    let mut control = cmsg_space!([u8; 512]);
    let mut message = Message {
        data: Vec::new(),
        software: 0,
        hardware: 0,
        id: None,
    };
    let len = {
        let mut parts = [IoSliceMut::new(&mut data)];
        let found = match recvmsg::<SockaddrStorage>(
            socket.as_fd().as_raw_fd(),
            &mut parts,
            Some(&mut control),
            queue | MsgFlags::MSG_DONTWAIT,
        ) {
            Err(Errno::EAGAIN) => return Ok(None),
            found => found.context("receiving with stamps")?,
        };

        for part in found.cmsgs()? {
            match part {
                ControlMessageOwned::ScmTimestampsns(stamps) => {
                    message.software = nanoseconds(stamps.system);
                    message.hardware = nanoseconds(stamps.hw_raw);
                }
                ControlMessageOwned::Ipv4RecvErr(error, _)
                | ControlMessageOwned::Ipv6RecvErr(error, ..)
                    if error.ee_origin == libc::SO_EE_ORIGIN_TIMESTAMPING =>
                {
                    message.id = Some(error.ee_data);
                }
                _ => {}
            }
        }
        found.bytes
    };

    data.truncate(len);
    message.data = data;
    Ok(Some(message))
}

fn nanoseconds(time: TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}
