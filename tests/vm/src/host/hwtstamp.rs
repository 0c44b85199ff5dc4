// SPDX-License-Identifier: GPL-2.0

//! The ioctls that say which frames a device takes time stamps of for sockets.

#![allow(unsafe_code)]

use super::ethtool::request;
use crate::bed::Port;
use anyhow::{Context, Result};
use nix::{errno::Errno, libc};
use std::{net::UdpSocket, os::fd::AsRawFd};

const SIOCSHWTSTAMP: libc::Ioctl = 0x89b0;
const SIOCGHWTSTAMP: libc::Ioctl = 0x89b1;

/// `enum hwtstamp_tx_types`.
pub mod tx_type {
    pub const OFF: i32 = 0;
    pub const ON: i32 = 1;
    pub const ONESTEP_SYNC: i32 = 2;
    pub const ONESTEP_P2P: i32 = 3;
    /// There is none of this number yet.
    pub const UNKNOWN: i32 = 4;
}

/// `enum hwtstamp_rx_filters`.
pub mod rx_filter {
    pub const NONE: i32 = 0;
    pub const ALL: i32 = 1;
    /// The last one.
    pub const NTP_ALL: i32 = 15;
    /// There is none of this number yet.
    pub const UNKNOWN: i32 = 16;
}

/// `struct hwtstamp_config`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    pub flags: i32,
    pub tx_type: i32,
    pub rx_filter: i32,
}

impl Config {
    pub const OFF: Self = Self::new(tx_type::OFF, rx_filter::NONE);
    pub const BOTH: Self = Self::new(tx_type::ON, rx_filter::ALL);
    pub const TX: Self = Self::new(tx_type::ON, rx_filter::NONE);
    pub const RX: Self = Self::new(tx_type::OFF, rx_filter::ALL);

    pub const fn new(tx_type: i32, rx_filter: i32) -> Self {
        Self {
            flags: 0,
            tx_type,
            rx_filter,
        }
    }

    /// What a device does now.
    pub fn of(port: &Port) -> Result<Self> {
        Self::OFF
            .call(port, SIOCGHWTSTAMP)?
            .context("SIOCGHWTSTAMP")
    }

    /// What the kernel says to this: what the device does from now on, or why it does not.
    pub fn try_set(self, port: &Port) -> Result<Result<Self, Errno>> {
        self.call(port, SIOCSHWTSTAMP)
    }

    pub fn set(self, port: &Port) -> Result<Self> {
        self.try_set(port)?
            .with_context(|| format!("{}: SIOCSHWTSTAMP: {self:?}", port.name))
    }

    fn call(mut self, port: &Port, command: libc::Ioctl) -> Result<Result<Self, Errno>> {
        let socket = port.ns.enter(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
        let mut request = request(port)?;

        request.ifr_ifru.ifru_data = (&raw mut self).cast();
        // SAFETY: The request is one. The kernel reads and writes the structure that it points to.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), command, &raw const request) };
        Ok(Errno::result(result).map(|_| self))
    }
}
