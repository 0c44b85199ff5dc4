// SPDX-License-Identifier: GPL-2.0

//! AF_XDP in zero-copy mode: buffers of user space take the place of the port's own.

mod bounce;
mod completions;
mod descriptors;
mod hostile;
mod lengths;
mod life;
mod notes;
mod pairings;
mod reconfig;
mod rings;
mod seen;
mod shared;
mod under;
mod wakeup;

use crate::{
    bed::Bed,
    harness::case,
    host::ensure_eq,
    nl::netdev::{self, NETDEV_XDP_ACT_XSK_ZEROCOPY},
    support::{probes::set_mtu, xsk::wait_free},
    wire::xsk::socket::{Mode, Setup, Socket},
};
use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

/// A socket in zero-copy mode.
fn zero_copy() -> Setup {
    Setup {
        mode: Mode::ZeroCopy,
        ..Setup::default()
    }
}

/// The kernel says that it did not get to the end: it will go on at the next call.
fn wake_tx(socket: &Socket) -> Result<()> {
    match socket.wake_tx() {
        Ok(()) | Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOBUFS) => Ok(()),
        Err(errno) => Err(errno).context("sending by AF_XDP"),
    }
}

case!(ports "xsk_zc::announced", "queues=2", announced);
/// What the port says of itself, and which mode a bind gets.
fn announced(bed: &Bed) -> Result<()> {
    bed.up()?;
    for port in [&bed.a, &bed.b] {
        let (features, segments) = port.ns.enter(|| {
            Ok((
                netdev::xdp_features(port.ifindex)?,
                netdev::zc_max_segments(port.ifindex)?,
            ))
        })?;

        ensure!(
            features & NETDEV_XDP_ACT_XSK_ZEROCOPY != 0,
            "{}: features {features:#x}",
            port.name
        );
        // xskxceiver sends one more in a batch of 64; a jumbo frame takes three.
        ensure!((3..64).contains(&segments), "{segments} buffers of a frame");

        for (mode, expected) in [
            (Mode::Any, true),
            (Mode::ZeroCopy, true),
            (Mode::Copy, false),
        ] {
            for queue in 0..2 {
                let setup = Setup {
                    mode,
                    ..zero_copy()
                };
                let socket = Socket::open(port, queue, setup)?;

                ensure_eq!(socket.is_zero_copy()?, expected, "{mode:?}: zero-copy");
                let queues = port.ns.enter(|| netdev::queues(port.ifindex))?;
                for found in queues {
                    ensure_eq!(
                        found.xsk,
                        found.id == u64::from(queue),
                        "{mode:?}: socket at queue {}",
                        found.id
                    );
                }
                // A second socket with buffers of its own is refused.
                let second = Socket::unbound(port, setup)?;
                ensure_eq!(
                    second.bind(port, queue),
                    Err(Errno::EBUSY),
                    "a second socket"
                );
                drop((socket, second));
                wait_free(port, u64::from(queue))?;
            }
        }
        let socket = Socket::unbound(port, zero_copy())?;
        ensure_eq!(socket.bind(port, 2), Err(Errno::EINVAL), "queue 2 of 2");
    }
    Ok(())
}

case!(ports "xsk_zc::mtu_that_does_not_fit", "queues=1", does_not_fit);
/// A socket whose buffer is too small for the MTU is refused zero-copy, unless it takes several of
/// them; without a wish it gets copy mode.
fn does_not_fit(bed: &Bed) -> Result<()> {
    set_mtu(bed, 9000)?;
    bed.up()?;
    for chunk in [2048, 4096] {
        let setup = Setup {
            chunk,
            ..zero_copy()
        };
        let socket = Socket::unbound(&bed.b, setup)?;
        ensure_eq!(
            socket.bind(&bed.b, 0),
            Err(Errno::EINVAL),
            "MTU 9000, buffers of {chunk}"
        );

        let any = Socket::open(
            &bed.b,
            0,
            Setup {
                mode: Mode::Any,
                ..setup
            },
        )?;
        ensure!(!any.is_zero_copy()?, "MTU 9000, buffers of {chunk}");
        drop(any);

        let several = Socket::open(&bed.b, 0, Setup { sg: true, ..setup })?;
        ensure!(several.is_zero_copy()?, "several buffers of {chunk}");
        drop(several);
        wait_free(&bed.b, 0)?;
    }
    Ok(())
}
