// SPDX-License-Identifier: GPL-2.0

//! The UDP socket at the end of the stack, for frames that are for this host.

use crate::host;
use anyhow::{ensure, Context, Result};
use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::{AsRawFd, BorrowedFd},
};

/// As the sources write it into their frames.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(crate) const PORT: u16 = 9;

pub struct Listener {
    socket: UdpSocket,
    _address: Address,
}

impl Listener {
    /// Gives a device the address that frames go to, and listens; dropping it takes both back.
    pub fn new(device: &str) -> Result<Self> {
        let address = Address::add(device)?;
        let socket = UdpSocket::bind((ADDRESS, PORT)).context("listening for UDP")?;

        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            _address: address,
        })
    }

    /// Has a program decide on each datagram (`SO_ATTACH_BPF`).
    pub fn filter(&self, program: BorrowedFd<'_>) -> Result<()> {
        let fd = program.as_raw_fd();
        // SAFETY: The value is an int, and lives until the call returns.
        let status = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_BPF,
                (&raw const fd).cast(),
                size_of_val(&fd) as libc::socklen_t,
            )
        };

        ensure!(
            status == 0,
            "attaching a socket filter: {}",
            std::io::Error::last_os_error()
        );
        Ok(())
    }

    /// Takes all datagrams that have come; says how many there were.
    pub fn received(&self) -> usize {
        let mut buffer = [0; 2048];
        let mut count = 0;

        while self.socket.recv(&mut buffer).is_ok() {
            count += 1;
        }
        count
    }
}

/// The address on a device.
struct Address {
    device: String,
}

impl Address {
    fn add(device: &str) -> Result<Self> {
        host::run(&format!("ip address add {ADDRESS}/24 dev {device}"))?;
        Ok(Self {
            device: device.to_owned(),
        })
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        // The device may be gone, and the address with it.
        let _ = host::run(&format!("ip address del {ADDRESS}/24 dev {}", self.device));
    }
}
