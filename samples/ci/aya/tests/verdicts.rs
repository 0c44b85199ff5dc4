// SPDX-License-Identifier: GPL-2.0

//! Tests the XDP program with frames at ports of oxnic: it is attached to ox0, frames come from ox1
//! in the network namespace peer, and are redirected to ox2, whose other end is ox3 in the
//! namespace far.

use anyhow::{ensure, Context, Result};
use etherparse::PacketBuilder;
use nix::{
    ifaddrs::getifaddrs,
    net::if_::if_nametoindex,
    sched::{setns, CloneFlags},
    sys::socket::{
        bind, recv, send, socket, AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol,
        SockType,
    },
};
use std::{
    fs::File,
    net::UdpSocket,
    os::fd::{AsRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};
use verdicts::Verdicts;

const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const FORWARD: u16 = 4000;
const PASS: u16 = 5000;
const EVERYBODY: [u8; 6] = [0xff; 6];
const PATIENCE: Duration = Duration::from_secs(60);

/// A packet socket at a port.
struct Port {
    fd: OwnedFd,
    mac: [u8; 6],
}

impl Port {
    /// Opened in a thread of its own, as that moves to the port's namespace.
    fn open(namespace: Option<&'static str>, name: &'static str) -> Result<Self> {
        thread::spawn(move || {
            if let Some(namespace) = namespace {
                setns(
                    File::open(format!("/run/netns/{namespace}"))?,
                    CloneFlags::CLONE_NEWNET,
                )?;
            }

            let address: LinkAddr = getifaddrs()?
                .filter(|interface| interface.interface_name == name)
                .find_map(|interface| interface.address?.as_link_addr().copied())
                .context(name)?;
            let fd = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )?;

            bind(fd.as_raw_fd(), &address)?;
            Ok(Self {
                fd,
                mac: address.addr().context("no MAC address")?,
            })
        })
        .join()
        .expect("the thread does not panic")
    }

    fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.fd.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// A frame that has arrived, if there is one. The socket also sees what the port sends.
    fn poll(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 2048];

        loop {
            let len = recv(self.fd.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT).ok()?;

            if frame[6..12] != self.mac {
                frame.truncate(len);
                return Some(frame);
            }
        }
    }

    /// Waits for a frame.
    fn receive(&self) -> Result<Vec<u8>> {
        let begin = Instant::now();

        loop {
            if let Some(frame) = self.poll() {
                return Ok(frame);
            }
            ensure!(begin.elapsed() < PATIENCE, "no frame has arrived");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn datagram(to: [u8; 6], from: [u8; 6], port: u16) -> Result<Vec<u8>> {
    let text = format!("to port {port:10}");
    let mut frame = Vec::new();

    PacketBuilder::ethernet2(from, to)
        .ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
        .udp(1234, port)
        .write(&mut frame, text.as_bytes())?;
    Ok(frame)
}

/// One test, for there is one ox0. With one queue, frames are handled in order: when one that
/// passes has arrived, those before it have had their verdicts.
#[test]
fn verdicts() -> Result<()> {
    let here = Port::open(None, "ox0")?;
    let peer = Port::open(Some("peer"), "ox1")?;
    let far = Port::open(Some("far"), "ox3")?;
    let verdicts = Verdicts::attach("ox0", if_nametoindex("ox2")?)?;
    // Takes the datagrams that pass. Without it, the stack would answer that the port is closed.
    let _listener = UdpSocket::bind(("10.0.0.1", PASS))?;
    let pass = datagram(here.mac, peer.mac, PASS)?;

    // XDP_DROP: only the frame after it comes to the stack.
    peer.send(&datagram(here.mac, peer.mac, DISCARD)?)?;
    peer.send(&pass)?;
    assert_eq!(here.receive()?, pass);

    // XDP_TX: it comes back, addresses swapped.
    let frame = datagram(here.mac, peer.mac, ECHO)?;

    peer.send(&frame)?;
    assert_eq!(
        peer.receive()?,
        [&peer.mac[..], &here.mac[..], &frame[12..]].concat()
    );

    // XDP_REDIRECT: it leaves by ox2. ox3 takes only frames to its own address, and to everybody.
    let frame = datagram(EVERYBODY, peer.mac, FORWARD)?;

    peer.send(&frame)?;
    assert_eq!(far.receive()?, frame);

    // And nothing else has arrived anywhere.
    peer.send(&pass)?;
    assert_eq!(here.receive()?, pass);
    for port in [&here, &peer, &far] {
        assert_eq!(port.poll(), None);
    }
    // XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT
    for (verdict, count) in [(1, 1), (2, 2), (3, 1), (4, 1)] {
        assert_eq!(verdicts.count(verdict)?, count, "verdict {verdict}");
    }
    Ok(())
}
