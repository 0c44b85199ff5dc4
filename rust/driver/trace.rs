// SPDX-License-Identifier: GPL-2.0

//! The trace: lines in the kernel log, switched by `ethtool -s … msglvl`, and events with the same
//! facts ([`events`]), which are switched in tracefs.
//!
//! One fact per line; the formats are documented in Documentation/device.md and do not change.

use super::settings::Settings;
use crate::{
    card::rx::{
        IrqTrace,
        RxHwStatus, //
    },
    dest::Dest,
    net::{
        device::Device,
        ethtool::msg,
        events,
        xdp::{
            FrameBytes,
            Prog,
            ProgRef,
            RedirectTarget,
            XdpAction, //
        },
        xsk::Pool,
    },
    netdev_info,
    nic::{
        irq::Raised,
        switches::Switches, //
    },
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
    fn drv(&self) -> bool {
        self.level & msg::DRV != 0
    }

    /// Whether interrupts and polls are printed.
    #[inline]
    fn intr(&self) -> bool {
        self.level & msg::INTR != 0
    }

    /// How a poll that begins now is traced; [`None`] if it is not.
    #[inline]
    pub(crate) fn poll(&self) -> Option<PollTrace> {
        let print = self.intr();
        (print || events::poll_begin_is_on() || events::poll_end_is_on())
            .then_some(PollTrace { print })
    }

    /// What tells the trace of the interrupts of a receive ring.
    pub(crate) fn irq_trace(&self, ring: u16) -> IrqTrace {
        IrqTrace {
            print: self.intr(),
            dev: self.dev.into(),
            queue: ring,
            raised: interrupt,
        }
    }

    /// Whether each frame's verdict is printed.
    fn rx_status(&self) -> bool {
        self.level & msg::RX_STATUS != 0
    }

    /// Whether anything about each frame is traced: printed, or recorded as an event.
    #[inline]
    pub(crate) fn frames(&self) -> bool {
        self.level & (msg::RX_STATUS | msg::PKTDATA) != 0
            || events::rx_is_on()
            || events::xdp_no_frags_is_on()
            || events::verdict_is_on()
            || events::xdp_do_redirect_is_on()
    }

    /// Whether each batch of redirected frames is printed.
    #[inline]
    fn tx_queued(&self) -> bool {
        self.level & msg::TX_QUEUED != 0
    }

    /// Whether each batch of redirected frames is traced: printed, or recorded as an event.
    #[inline]
    pub(crate) fn batches(&self) -> bool {
        self.tx_queued() || events::ndo_xdp_xmit_is_on()
    }

    /// The receive filter has too little room for these addresses, or enough again.
    #[cold]
    pub(crate) fn overflow(&self, multicast: bool, room: usize, too_many: bool) {
        events::rx_filter(self.dev, multicast, room as u32, too_many);
        if !self.drv() {
            return;
        }
        let kind = if multicast { "multicast" } else { "unicast" };
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

    /// The user has changed the switches.
    pub(crate) fn switches(&self, old: Switches, new: Switches) {
        if !self.drv() {
            return;
        }
        for (name, on) in old.changes_to(new) {
            let state = if on { "on" } else { "off" };
            netdev_info!(self.dev, "{name}: {state}\n");
        }
    }

    /// A program was attached or detached, and that has reset the rings, with `lost` frames in
    /// them.
    pub(crate) fn rings_reset(&self, lost: u64) {
        if self.drv() {
            netdev_info!(self.dev, "rings reset, {lost} frames in them lost\n");
        }
    }

    /// A program is detached, which is to reset the rings, but there is no memory for new ones.
    pub(crate) fn rings_kept(&self, size: u32) {
        if self.drv() {
            netdev_info!(
                self.dev,
                "rings not reset: no memory for rings of {size} descriptors\n"
            );
        }
    }

    /// A program was attached or detached, and that has taken the link down for `ns` nanoseconds.
    pub(crate) fn link_lost(&self, ns: u64) {
        if self.drv() {
            netdev_info!(self.dev, "link lost for {} ms\n", ns / 1_000_000);
        }
    }

    /// Frames cannot be redirected to this port while it has no program; or now they can.
    pub(crate) fn redirect_target(&self, is_one: bool) {
        if !self.drv() {
            return;
        }
        if is_one {
            netdev_info!(self.dev, "ndo_xdp_xmit: frames are accepted again\n");
        } else {
            netdev_info!(
                self.dev,
                "ndo_xdp_xmit: no frames are accepted without a program\n"
            );
        }
    }

    /// `ndo_bpf` attaches `prog`, or detaches the program.
    pub(crate) fn setup_prog(&self, prog: Option<&Prog>) {
        events::xdp_setup_prog(self.dev, prog);
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
        events::xdp_prog_xchg(self.dev, old, new);
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
        events::xdp_prog_write_once(self.dev, ring, prog);
        if self.drv() {
            netdev_info!(
                self.dev,
                "rx_ring[{ring}].xdp_prog: WRITE_ONCE: {}\n",
                program(prog.map(Prog::id))
            );
        }
    }

    /// `ndo_bpf` is to give a queue the umem of AF_XDP sockets, or pages again.
    pub(crate) fn setup_xsk_pool(&self, queue: u16, pool: Option<&Pool>) {
        let chunks = pool.map(Pool::chunks);
        let (size, count) = chunks.unwrap_or_default();
        events::xsk_setup_pool(self.dev, queue, count, size);
        if !self.drv() {
            return;
        }
        match chunks {
            Some(_) => netdev_info!(
                self.dev,
                "ndo_bpf: XDP_SETUP_XSK_POOL, queue {queue}, {count} chunks of {size} bytes\n"
            ),
            None => netdev_info!(
                self.dev,
                "ndo_bpf: XDP_SETUP_XSK_POOL, queue {queue}, no pool\n"
            ),
        }
    }

    /// A queue got the umem of AF_XDP sockets, or pages again.
    pub(crate) fn xsk_pool(&self, queue: u16, attached: bool) {
        if attached {
            events::xsk_attached(self.dev, queue);
        } else {
            events::xsk_detached(self.dev, queue);
        }
        if !self.drv() {
            return;
        }
        let state = if attached {
            "zero-copy, buffers from the fill ring"
        } else {
            "buffers from the page_pool"
        };
        netdev_info!(self.dev, "rx_ring[{queue}]: {state}\n");
    }

    /// A receive queue was stopped, to be restarted.
    pub(crate) fn queue_stopped(&self, queue: usize) {
        events::ndo_queue_stop(self.dev, queue as u16);
        if self.drv() {
            netdev_info!(self.dev, "rx_ring[{queue}]: ndo_queue_stop\n");
        }
    }

    /// A receive queue runs again, with a new ring.
    pub(crate) fn queue_started(&self, queue: usize) {
        events::ndo_queue_start(self.dev, queue as u16);
        if self.drv() {
            netdev_info!(self.dev, "rx_ring[{queue}]: ndo_queue_start\n");
        }
    }

    /// The kernel polls a receive ring, for `budget` frames at most.
    #[cold]
    pub(crate) fn poll_begins(&self, poll: PollTrace, ring: u16, budget: u32) {
        events::poll_begin(self.dev, ring, budget);
        if poll.print {
            netdev_info!(self.dev, "rx_ring[{ring}]: poll: budget {budget}\n");
        }
    }

    /// The poll has taken this many frames; it is complete, or will be called again.
    #[cold]
    pub(crate) fn poll_ends(&self, poll: PollTrace, ring: u16, frames: u32, again: bool) {
        events::poll_end(self.dev, ring, frames, again);
        if !poll.print {
            return;
        }
        let result = if again { "again" } else { "complete" };
        netdev_info!(
            self.dev,
            "rx_ring[{ring}]: poll: {frames} frames, {result}\n"
        );
    }

    /// A program ran on a frame of this size.
    #[cold]
    pub(crate) fn verdict(&self, ring: u16, prog: ProgRef<'_>, size: Size, action: XdpAction) {
        let id = prog.id();
        events::verdict(self.dev, ring, id, size.bytes, size.buffers, action);
        if !self.rx_status() {
            return;
        }
        netdev_info!(
            self.dev,
            "rx_ring[{}]: READ_ONCE: {}; bpf_prog_run_xdp({}) = {}\n",
            ring,
            program(Some(id)),
            size,
            action
        );
    }

    /// A multi-buffer frame was dropped, because the program has no frags support.
    #[cold]
    pub(crate) fn no_frags(&self, ring: u16, prog: ProgRef<'_>, size: Size) {
        let id = prog.id();
        events::xdp_no_frags(self.dev, ring, id, size.bytes, size.buffers);
        if !self.rx_status() {
            return;
        }
        netdev_info!(
            self.dev,
            "rx_ring[{}]: READ_ONCE: {}; dropped {}: the program has no frags support\n",
            ring,
            program(Some(id)),
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

    /// The stack gets `segments` TCP segments as one frame of this many bytes. Those with a program
    /// have been told by their verdicts.
    #[cold]
    pub(crate) fn merged(&self, ring: u16, has_prog: bool, bytes: usize, segments: u16) {
        if !self.rx_status() {
            return;
        }
        let no_program = if has_prog { "" } else { "READ_ONCE: none; " };
        netdev_info!(
            self.dev,
            "rx_ring[{ring}]: {no_program}napi_gro_receive({bytes} bytes in {segments} segments)\n"
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
        let (size, free) = level.map_or((0, 0), |level| (level.size, level.free));
        events::ndo_tx_timeout(self.dev, queue, ring.into(), size, free, pending);
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
        events::ndo_tx_timeout(self.dev, queue, -1, 0, 0, false);
        netdev_info!(
            self.dev,
            "tx_queue[{queue}]: ndo_tx_timeout: no ring makes it wait; woken\n"
        );
    }

    /// `lost` frames could not be sent by XDP_TX.
    #[cold]
    pub(crate) fn tx_failed(&self, ring: u16, lost: u64) {
        events::xdp_tx_lost(self.dev, ring, lost);
        if !self.rx_status() {
            return;
        }
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
        let err = failed.map_or(0, Error::to_errno);
        events::xdp_do_redirect(self.dev, ring, target, err);
        if !self.rx_status() {
            return;
        }
        match err {
            0 => netdev_info!(self.dev, "rx_ring[{ring}]: xdp_do_redirect: {target}\n"),
            err => netdev_info!(
                self.dev,
                "rx_ring[{ring}]: xdp_do_redirect: {target}: error {err}\n"
            ),
        }
    }

    /// Of `count` frames that were redirected to this port, `taken` were sent.
    #[cold]
    pub(crate) fn xmit(&self, queue: usize, count: usize, taken: usize) {
        events::ndo_xdp_xmit(self.dev, queue as u16, count as u32, taken as u32);
        if self.tx_queued() {
            netdev_info!(
                self.dev,
                "tx_queue[{queue}]: ndo_xdp_xmit: {count} frames, {taken} taken\n"
            );
        }
    }

    /// A frame was received, which the program is to run on: its first bytes. Returns its size, for
    /// what is told of it next.
    #[cold]
    pub(crate) fn frame(
        &self,
        ring: u16,
        prog: Option<ProgRef<'_>>,
        frame: &impl FrameBytes,
    ) -> Size {
        let (bytes, buffers) = frame.size();
        let size = Size {
            bytes: bytes as u32,
            buffers: buffers as u32,
        };
        let id = prog.map_or(0, ProgRef::id);
        events::rx(self.dev, ring, id, size.bytes, size.buffers);
        if self.level & msg::PKTDATA == 0 {
            return size;
        }
        let mut start = [0; DUMP_LEN];
        let shown = start.get_mut(..bytes.min(DUMP_LEN)).unwrap_or_default();
        if frame.copy_to(0, Dest::from(&mut *shown)).is_err() {
            return size;
        }
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

/// How the beginning and the end of a poll are traced: the same way, even if that is changed in
/// between.
#[derive(Clone, Copy)]
pub(crate) struct PollTrace {
    print: bool,
}

/// The interrupt of a receive ring fires, or will when its timer expires.
#[cold]
fn interrupt(dev: &Device, ring: u16, raised: Raised, print: bool) {
    let delay = match raised {
        Raised::Nothing => return,
        Raised::Fire => 0,
        Raised::Timer(ns) => ns,
    };
    events::interrupt(dev, ring, delay);
    if !print {
        return;
    }
    match raised {
        Raised::Timer(ns) => netdev_info!(dev, "rx_ring[{ring}]: interrupt in {} us\n", ns / 1000),
        _ => netdev_info!(dev, "rx_ring[{ring}]: interrupt: napi_schedule\n"),
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
    bytes: u32,
    buffers: u32,
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
