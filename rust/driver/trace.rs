// SPDX-License-Identifier: GPL-2.0

//! The trace in the kernel log, switched by `ethtool -s … msglvl`.
//!
//! One fact per line; the format is documented in Documentation/device.md and does not change.

use super::settings::Settings;
use crate::{
    card::rx::{
        IrqTrace,
        RxHwStatus, //
    },
    net::{
        device::Device,
        ethtool::msg,
        xdp::{
            Prog,
            ProgRef,
            RedirectTarget,
            XdpAction,
            XdpBuff, //
        },
    },
    netdev_info,
    nic::irq::Raised, //
};
use core::sync::atomic::Ordering;
use kernel::{
    error::Error,
    fmt,
    str::BStr, //
};

/// How many bytes of a frame are printed, and how many per line.
const DUMP_LEN: usize = 64;
const DUMP_LINE: usize = 16;

/// The message types of a device, read once: a poll uses the same ones throughout.
#[derive(Clone, Copy)]
pub(crate) struct Trace<'a> {
    dev: &'a Device,
    level: u32,
}

impl<'a> Trace<'a> {
    pub(crate) fn new(dev: &'a Device, settings: &Settings) -> Self {
        Self {
            dev,
            level: settings.msg_enable.load(Ordering::Relaxed),
        }
    }

    /// Whether the control path is printed.
    pub(crate) fn drv(&self) -> bool {
        self.level & msg::DRV != 0
    }

    /// Whether interrupts and polls are printed.
    #[inline]
    pub(crate) fn intr(&self) -> bool {
        self.level & msg::INTR != 0
    }

    /// What tells the trace of the interrupts of a receive ring.
    pub(crate) fn irq_trace(&self, ring: u16) -> IrqTrace {
        IrqTrace {
            on: self.intr(),
            dev: self.dev.into(),
            queue: ring,
            raised: interrupt,
        }
    }

    /// Whether each frame's verdict is printed.
    #[inline]
    pub(crate) fn rx_status(&self) -> bool {
        self.level & msg::RX_STATUS != 0
    }

    /// Whether anything about each frame is printed.
    #[inline]
    pub(crate) fn frames(&self) -> bool {
        self.level & (msg::RX_STATUS | msg::PKTDATA) != 0
    }

    /// Whether each batch of redirected frames is printed.
    #[inline]
    pub(crate) fn tx_queued(&self) -> bool {
        self.level & msg::TX_QUEUED != 0
    }

    /// The receive filter has too little room for these addresses, or enough again.
    #[cold]
    pub(crate) fn overflow(&self, kind: &str, room: usize, too_many: bool) {
        if !self.drv() {
            return;
        }
        if too_many {
            netdev_info!(
                self.dev,
                "receive filter: more than {room} {kind} addresses: \
                 all {kind} frames are accepted\n"
            );
        } else {
            netdev_info!(
                self.dev,
                "receive filter: at most {room} {kind} addresses: \
                 {kind} frames are filtered again\n"
            );
        }
    }

    /// `ndo_bpf` attaches `prog`, or detaches the program.
    pub(crate) fn setup_prog(&self, prog: Option<&Prog>) {
        if !self.drv() {
            return;
        }
        match prog {
            Some(prog) => netdev_info!(
                self.dev,
                "ndo_bpf: XDP_SETUP_PROG, program id {} \"{}\"\n",
                prog.id(),
                BStr::from_bytes(prog.name())
            ),
            None => netdev_info!(self.dev, "ndo_bpf: XDP_SETUP_PROG, no program\n"),
        }
    }

    /// The device's program was exchanged.
    pub(crate) fn xchg(&self, old: Option<&Prog>, new: Option<&Prog>) {
        if self.drv() {
            netdev_info!(
                self.dev,
                "vsi.xdp_prog: xchg: {} -> {}\n",
                program(old.map(Prog::id)),
                program(new.map(Prog::id))
            );
        }
    }

    /// A ring's program was written.
    pub(crate) fn write_once(&self, ring: u16, prog: Option<&Prog>) {
        if self.drv() {
            netdev_info!(
                self.dev,
                "rx_ring[{ring}].xdp_prog: WRITE_ONCE: {}\n",
                program(prog.map(Prog::id))
            );
        }
    }

    /// A receive queue was stopped, to be restarted.
    pub(crate) fn queue_stopped(&self, queue: usize) {
        if self.drv() {
            netdev_info!(self.dev, "rx_ring[{queue}]: ndo_queue_stop\n");
        }
    }

    /// A receive queue runs again, with a new ring.
    pub(crate) fn queue_started(&self, queue: usize) {
        if self.drv() {
            netdev_info!(self.dev, "rx_ring[{queue}]: ndo_queue_start\n");
        }
    }

    /// The kernel polls a receive ring, for `budget` frames at most.
    #[cold]
    pub(crate) fn poll_begins(&self, ring: u16, budget: u32) {
        netdev_info!(self.dev, "rx_ring[{ring}]: poll: budget {budget}\n");
    }

    /// The poll has taken this many frames; it is complete, or will be called again.
    #[cold]
    pub(crate) fn poll_ends(&self, ring: u16, frames: u32, again: bool) {
        let result = if again { "again" } else { "complete" };
        netdev_info!(
            self.dev,
            "rx_ring[{ring}]: poll: {frames} frames, {result}\n"
        );
    }

    /// A program ran on a frame of this size.
    #[cold]
    pub(crate) fn verdict(&self, ring: u16, prog: ProgRef<'_>, size: Size, action: XdpAction) {
        if !self.rx_status() {
            return;
        }
        netdev_info!(
            self.dev,
            "rx_ring[{}]: READ_ONCE: {}; bpf_prog_run_xdp({}) = {}\n",
            ring,
            program(Some(prog.id())),
            size,
            action
        );
    }

    /// A multi-buffer frame was dropped, because the program has no frags support.
    #[cold]
    pub(crate) fn no_frags(&self, ring: u16, prog: ProgRef<'_>, size: Size) {
        if !self.rx_status() {
            return;
        }
        netdev_info!(
            self.dev,
            "rx_ring[{}]: READ_ONCE: {}; dropped {}: the program has no frags support\n",
            ring,
            program(Some(prog.id())),
            size
        );
    }

    /// A frame of this size arrived and there is no program.
    #[cold]
    pub(crate) fn no_program(&self, ring: u16, size: Size) {
        if !self.rx_status() {
            return;
        }
        netdev_info!(
            self.dev,
            "rx_ring[{}]: READ_ONCE: {}; napi_gro_receive({})\n",
            ring,
            program(None),
            size
        );
    }

    /// A transmit queue has been stopped for too long, waiting for a ring of the peer.
    #[cold]
    pub(crate) fn tx_timeout(&self, queue: u16, status: &RxHwStatus) {
        let RxHwStatus {
            queue: ring,
            level,
            pending,
            ..
        } = *status;
        let Some(level) = level else {
            netdev_info!(
                self.dev,
                "tx_queue[{queue}]: ndo_tx_timeout: rx_ring[{ring}] of the peer is off the wire\n"
            );
            return;
        };
        let poll = if pending { "due" } else { "not due" };
        netdev_info!(
            self.dev,
            "tx_queue[{queue}]: ndo_tx_timeout: rx_ring[{ring}] of the peer has {} of {} buffers \
             free, its poll is {poll}; interrupted\n",
            level.free,
            level.size
        );
    }

    /// A transmit queue was stopped for too long, and no ring makes it wait.
    #[cold]
    pub(crate) fn tx_timeout_woken(&self, queue: u16) {
        netdev_info!(
            self.dev,
            "tx_queue[{queue}]: ndo_tx_timeout: no ring makes it wait; woken\n"
        );
    }

    /// `lost` frames could not be sent by XDP_TX.
    #[cold]
    pub(crate) fn tx_failed(&self, ring: u16, lost: u64) {
        netdev_info!(
            self.dev,
            "rx_ring[{}]: XDP_TX: {} frames lost, the peer is down\n",
            ring,
            lost
        );
    }

    /// A frame was redirected to `target`, or could not be.
    #[cold]
    pub(crate) fn redirect(&self, ring: u16, target: &RedirectTarget, failed: Option<Error>) {
        if !self.rx_status() {
            return;
        }
        match failed {
            None => netdev_info!(self.dev, "rx_ring[{ring}]: xdp_do_redirect: {target}\n"),
            Some(error) => netdev_info!(
                self.dev,
                "rx_ring[{ring}]: xdp_do_redirect: {target}: error {}\n",
                error.to_errno()
            ),
        }
    }

    /// Of `count` frames that were redirected to this port, `taken` were sent.
    #[cold]
    pub(crate) fn xmit(&self, queue: usize, count: usize, taken: usize) {
        netdev_info!(
            self.dev,
            "tx_queue[{queue}]: ndo_xdp_xmit: {count} frames, {taken} taken\n"
        );
    }

    /// The first bytes of a frame. Returns its size, for the line with its verdict.
    #[cold]
    pub(crate) fn frame(&self, ring: u16, frame: &XdpBuff) -> Size {
        let size = Size {
            bytes: frame.len(),
            buffers: frame.buffers(),
        };
        if self.level & msg::PKTDATA == 0 {
            return size;
        }
        let frame = frame.data();
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
        size
    }
}

/// The interrupt of a receive ring fires, or will when its timer expires.
#[cold]
fn interrupt(dev: &Device, ring: u16, raised: Raised) {
    match raised {
        Raised::Nothing => {}
        Raised::Fire => netdev_info!(dev, "rx_ring[{ring}]: interrupt: napi_schedule\n"),
        Raised::Timer(ns) => {
            netdev_info!(dev, "rx_ring[{ring}]: interrupt in {} us\n", ns / 1000);
        }
    }
}

/// A program as the trace shows it: `id 17`, or `none`.
fn program(id: Option<u32>) -> impl fmt::Display {
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

/// The size of a frame as the trace shows it: `98 bytes`, or `9014 bytes in 3 buffers`.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    bytes: usize,
    buffers: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)?;
        match self.buffers {
            1 => Ok(()),
            buffers => write!(f, " in {buffers} buffers"),
        }
    }
}

/// Bytes in hexadecimal, each after a space.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}
