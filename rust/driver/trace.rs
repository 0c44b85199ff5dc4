// SPDX-License-Identifier: GPL-2.0

//! The trace in the kernel log, switched by `ethtool -s … msglvl`.
//!
//! One fact per line; the format is documented in Documentation/device.md and does not change.

use super::port::Port;
use crate::{
    net::{
        device::Device,
        ethtool::msg,
        xdp::{ProgRef, Verdict},
    },
    netdev_info,
};
use core::sync::atomic::Ordering;
use kernel::{error::Error, fmt};

/// How many bytes of a frame are printed, and how many in a line.
const DUMP_LEN: usize = 64;
const DUMP_LINE: usize = 16;

/// What is to be printed about a device, as it was when this value was made: a poll looks once.
#[derive(Clone, Copy)]
pub(super) struct Trace<'a> {
    dev: &'a Device,
    level: u32,
}

impl<'a> Trace<'a> {
    pub(super) fn new(dev: &'a Device, port: &Port) -> Self {
        Self {
            dev,
            level: port.msg_enable.load(Ordering::Relaxed),
        }
    }

    /// Whether the control path is printed.
    pub(super) fn drv(&self) -> bool {
        self.level & msg::DRV != 0
    }

    /// Whether each frame's verdict is printed.
    #[inline]
    pub(super) fn rx_status(&self) -> bool {
        self.level & msg::RX_STATUS != 0
    }

    /// Whether the start of each frame is printed.
    #[inline]
    pub(super) fn pktdata(&self) -> bool {
        self.level & msg::PKTDATA != 0
    }

    /// A program ran on a frame of `len` bytes.
    #[cold]
    pub(super) fn verdict(&self, ring: u16, prog: ProgRef<'_>, len: usize, verdict: Verdict) {
        netdev_info!(
            self.dev,
            "rx_ring[{}]: READ_ONCE: {}; bpf_prog_run_xdp({} bytes) = {}\n",
            ring,
            program(Some(prog.id())),
            len,
            verdict
        );
    }

    /// A frame of `len` bytes arrived and there is no program.
    #[cold]
    pub(super) fn no_program(&self, ring: u16, len: usize) {
        netdev_info!(
            self.dev,
            "rx_ring[{}]: READ_ONCE: {}; napi_gro_receive({} bytes)\n",
            ring,
            program(None),
            len
        );
    }

    /// `lost` frames could not be sent by XDP_TX.
    #[cold]
    pub(super) fn tx_failed(&self, ring: u16, lost: u64) {
        netdev_info!(
            self.dev,
            "rx_ring[{}]: XDP_TX: {} frames lost, the peer is down or has no buffer\n",
            ring,
            lost
        );
    }

    /// A frame could not be redirected.
    #[cold]
    pub(super) fn redirect_failed(&self, ring: u16, error: Error) {
        netdev_info!(
            self.dev,
            "rx_ring[{}]: xdp_do_redirect: error {}\n",
            ring,
            error.to_errno()
        );
    }

    /// The first bytes of a frame.
    #[cold]
    pub(super) fn frame(&self, ring: u16, frame: &[u8]) {
        let shown = frame.get(..DUMP_LEN).unwrap_or(frame);
        for (line, bytes) in shown.chunks(DUMP_LINE).enumerate() {
            netdev_info!(
                self.dev,
                "rx_ring[{}]: {:04x}:{}\n",
                ring,
                line * DUMP_LINE,
                Hex(bytes)
            );
        }
    }
}

/// How the program with this id is named in the trace: `id 17`, or `none`.
pub(super) fn program(id: Option<u32>) -> impl fmt::Display {
    struct Name(Option<u32>);

    impl fmt::Display for Name {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0 {
                Some(id) => write!(f, "id {id}"),
                None => f.write_str("none"),
            }
        }
    }

    Name(id)
}

/// Bytes in hexadecimal, a blank in front of each.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}
