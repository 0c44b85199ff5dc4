// SPDX-License-Identifier: GPL-2.0

//! Packet sockets: raw frames into and out of a port.

use super::{probe::Probe, rest::Rest};
use crate::{
    bed::Port,
    host::{cpus, PATIENCE},
    sockopt::{IgnoreOutgoing, PacketStatistics},
};
use anyhow::{anyhow, bail, Context, Result};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::{
        socket::{
            bind, getsockopt, recv, send, setsockopt, socket, sockopt, AddressFamily, LinkAddr,
            MsgFlags, SockFlag, SockProtocol, SockType,
        },
        time::{TimeVal, TimeValLike},
    },
};
use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

/// Bytes of the longest frame: an IP packet with an Ethernet header and two VLAN tags.
const FRAME_MAX: usize = 65535 + 22;
/// Room for what arrives while the receiver does not look.
const RECEIVE_BUFFER: usize = 128 << 20;

/// Opens a packet socket on a port. Binding to an address without protocol keeps the protocol
/// that the socket was made with.
fn open(port: &Port, protocol: Option<SockProtocol>) -> Result<OwnedFd> {
    port.ns.enter(|| {
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;

        bind(fd.as_raw_fd(), &link_addr(&port.name)?).context("binding a packet socket")?;
        Ok(fd)
    })
}

fn link_addr(name: &str) -> Result<LinkAddr> {
    getifaddrs()?
        .filter(|interface| interface.interface_name == name)
        .find_map(|interface| interface.address?.as_link_addr().copied())
        .ok_or_else(|| anyhow!("no interface {name}"))
}

/// Sends frames through a port's queueing discipline, as any program does: while the port's
/// transmit queue is stopped, it waits.
pub struct Sender {
    fd: OwnedFd,
}

impl Sender {
    pub fn open(port: &Port) -> Result<Self> {
        let fd = open(port, None)?;

        // A transmit queue that is never woken must fail the test, not hang it.
        setsockopt(
            &fd,
            sockopt::SendTimeout,
            &TimeVal::seconds(PATIENCE.as_secs() as i64),
        )?;
        Ok(Self { fd })
    }

    /// Sends one frame; the error is the kernel's.
    pub fn try_send(&self, frame: &[u8]) -> Result<(), Errno> {
        send(self.fd.as_raw_fd(), frame, MsgFlags::empty()).map(drop)
    }

    pub fn send(&self, frame: &[u8]) -> Result<()> {
        match self.try_send(frame) {
            Err(Errno::EAGAIN) => {
                bail!(
                    "the transmit queue took no frame for {} s",
                    PATIENCE.as_secs()
                )
            }
            result => result.context("sending a frame"),
        }
    }

    /// Sends `count` probes of a flow with sequence numbers from 0.
    pub fn send_flow(&self, probe: &Probe, count: u32) -> Result<()> {
        self.send_in_order((0..count).map(|seq| Probe {
            seq,
            ..probe.clone()
        }))
    }

    /// Sends one frame after the other, all from one CPU.
    ///
    /// A packet socket's frame takes the transmit queue of the CPU that sends it. Were the thread
    /// moved while that queue is stopped, later frames would overtake what waits there.
    pub fn send_in_order(&self, probes: impl IntoIterator<Item = Probe>) -> Result<()> {
        cpus::stay(|| {
            probes
                .into_iter()
                .try_for_each(|probe| self.send(&probe.frame()))
        })
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Receives what a port hands to its stack, whoever it is for.
pub struct Tap {
    fd: OwnedFd,
    rest: Rest,
}

impl AsFd for Tap {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Tap {
    pub fn open(port: &Port) -> Result<Self> {
        let fd = open(port, Some(SockProtocol::EthAll))?;

        setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        setsockopt(&fd, IgnoreOutgoing, &true)?;
        Ok(Self {
            fd,
            rest: Rest::now()?,
        })
    }

    /// Receives what the port sends as well, each skb shared with the port.
    pub fn both_ways(port: &Port) -> Result<Self> {
        let tap = Self::open(port)?;

        setsockopt(&tap.fd, IgnoreOutgoing, &false)?;
        Ok(tap)
    }

    /// The next frame, or `None` if none comes for `patience`.
    pub fn next(&self, patience: Duration) -> Result<Option<Vec<u8>>> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut frame = vec![0; FRAME_MAX];

        loop {
            match poll(&mut fds, timeout) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
            match recv(self.fd.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                Ok(n) => {
                    frame.truncate(n);
                    return Ok(Some(frame));
                }
                // The port goes down: packet sockets say so once and stay usable.
                Err(Errno::EAGAIN | Errno::ENETDOWN) => {}
                Err(e) => return Err(e).context("receiving a frame"),
            }
        }
    }

    /// Exactly `count` probes, every byte of them checked; other frames are not expected.
    pub fn probes(&self, count: usize) -> Result<Vec<Probe>> {
        let mut probes = Vec::with_capacity(count);

        while probes.len() < count {
            let Some(frame) = self.next(PATIENCE)? else {
                bail!(
                    "expected {count} frames, found {}; the socket itself lost {}",
                    probes.len(),
                    self.drops()?
                );
            };
            match Probe::parse(&frame)? {
                Some(probe) => probes.push(probe),
                None => bail!(
                    "a frame that no test sent: {:02x?}",
                    &frame[..frame.len().min(64)]
                ),
            }
        }
        self.silence()?;
        Ok(probes)
    }

    /// As [`Tap::probes`], sorted by flow and number: frames on different rings overtake each
    /// other.
    pub fn probes_sorted(&self, count: usize) -> Result<Vec<Probe>> {
        let mut probes = self.probes(count)?;

        probes.sort_by_key(|probe| (probe.flow, probe.seq));
        Ok(probes)
    }

    /// A frame, whatever comes after it.
    pub fn any(&self) -> Result<Vec<u8>> {
        self.next(PATIENCE)?
            .ok_or_else(|| anyhow!("expected a frame, found none"))
    }

    /// Exactly one frame.
    pub fn only(&self) -> Result<Vec<u8>> {
        let frame = self.any()?;

        self.silence()?;
        Ok(frame)
    }

    /// All frames that have arrived or are in flight.
    pub fn rest(&self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();

        self.rest.wait()?;
        while let Some(frame) = self.next(Duration::ZERO)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Fails if a frame has arrived or is in flight.
    pub fn silence(&self) -> Result<()> {
        self.rest.wait()?;
        match self.next(Duration::ZERO)? {
            None => Ok(()),
            Some(frame) => bail!(
                "a frame of {} bytes too many: {:02x?}",
                frame.len(),
                &frame[..frame.len().min(64)]
            ),
        }
    }

    /// Frames that the socket had no room for since the last call.
    pub fn drops(&self) -> Result<u32> {
        Ok(getsockopt(&self.fd, PacketStatistics)?.tp_drops)
    }
}
