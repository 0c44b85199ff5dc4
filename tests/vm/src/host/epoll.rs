// SPDX-License-Identifier: GPL-2.0

//! An epoll instance that polls the queue of its sockets by itself (`EPIOCSPARAMS`), for which no
//! one has a safe function.

#![allow(unsafe_code)]

use super::PATIENCE;
use anyhow::{ensure, Context, Result};
use nix::{errno::Errno, libc};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `struct epoll_params`.
#[repr(C)]
struct Params {
    busy_poll_usecs: u32,
    busy_poll_budget: u16,
    prefer_busy_poll: u8,
    pad: u8,
}

/// `_IOW(EPOLL_IOC_TYPE, 0x01, struct epoll_params)`
const EPIOCSPARAMS: libc::Ioctl = 0x4008_8a01;

/// An epoll instance that waits for one socket.
pub struct BusyEpoll(OwnedFd);

impl BusyEpoll {
    /// Polls for `usecs` before it sleeps, and rather than an interrupt.
    pub fn new(socket: &impl AsRawFd, usecs: u32) -> Result<Self> {
        let params = Params {
            busy_poll_usecs: usecs,
            busy_poll_budget: 8,
            prefer_busy_poll: 1,
            pad: 0,
        };
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: 0,
        };

        // SAFETY: The descriptor is new and no one else's.
        let fd = unsafe {
            OwnedFd::from_raw_fd(Errno::result(libc::epoll_create1(libc::EPOLL_CLOEXEC))?)
        };
        // SAFETY: The kernel reads the parameters, which have the length that the number says.
        Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), EPIOCSPARAMS, &raw const params) })
            .context("setting the parameters of an epoll instance")?;
        // SAFETY: The kernel reads the event.
        Errno::result(unsafe {
            libc::epoll_ctl(
                fd.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &raw mut event,
            )
        })?;
        Ok(Self(fd))
    }

    /// Waits until the socket has something.
    pub fn wait(&self) -> Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let timeout = PATIENCE.as_millis() as libc::c_int;
        // SAFETY: There is room for one event.
        let found = Errno::result(unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, timeout)
        })?;

        ensure!(found == 1, "nothing came to a socket");
        Ok(())
    }
}
