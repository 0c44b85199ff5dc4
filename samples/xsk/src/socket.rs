// SPDX-License-Identifier: GPL-2.0

//! An AF_XDP socket: its four rings, and who owns a frame when.
//!
//! A frame is a piece of the umem. At any time it is in one of these places: free (in `Umem`); in
//! the fill ring, for the kernel to receive into; in the RX ring, received; in `waiting`, to be
//! sent; in the TX ring, for the kernel to send; in the completion ring, sent.

#![allow(unsafe_code)]

use crate::kernel::{is_zero_copy, WakeupFlag};
use anyhow::{anyhow, bail, ensure, Context, Error, Result};
use nix::{
    errno::Errno,
    sys::socket::{recv, send, MsgFlags},
};
use oxnic_samples::{interface::Interface, say};
use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};
use xdp::{
    error::PacketError,
    libc::xdp::XdpStatistics,
    nic::NicIndex,
    slab::{HeapSlab, Slab},
    socket::{BindFlags, SocketError, XdpSocket, XdpSocketBuilder},
    umem::UmemCfg,
    CompletionRing, FillRing, Packet, RingConfigBuilder, RxRing, TxRing, Umem, WakableFillRing,
    WakableTxRing,
};

/// Entries of each ring.
pub const RING: u32 = 2048;

/// The memory of the frames. Two sockets may use the same: each registers it with the kernel.
pub type Frames = Rc<RefCell<Umem>>;

pub fn map_frames(config: UmemCfg) -> Result<Frames> {
    let umem = Umem::map(config).context("mapping the memory of the frames")?;

    Ok(Rc::new(RefCell::new(umem)))
}

/// How a socket is to move the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Zero-copy if the driver can, else copy.
    Any,
    Copy,
    ZeroCopy,
}

/// What a socket is bound with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub queue: u32,
    pub mode: Mode,
    /// `XDP_USE_NEED_WAKEUP`.
    pub need_wakeup: bool,
    /// The most frames that are moved from ring to ring at once.
    pub batch: usize,
    /// How many frames the kernel shall have to receive into.
    pub posted: usize,
}

/// How often the kernel had to be called.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    pub sendto: u64,
    pub recvfrom: u64,
}

pub struct Socket {
    rings: FourRings,
    fill_flag: WakeupFlag,
    tx_flag: WakeupFlag,
    socket: XdpSocket,
    /// Received, and not dealt with yet.
    received: HeapSlab,
    /// To be sent as soon as the TX ring has room.
    waiting: HeapSlab,
    batch: usize,
    /// Frames that the kernel is to have to receive into, and those that it has.
    quota: usize,
    posted: usize,
    /// Frames in the TX ring and in the completion ring.
    sending: usize,
    calls: Calls,
    // The last field, so that it is dropped last: the crate wants the memory to outlive the socket.
    frames: Frames,
}

impl Socket {
    /// Opens a socket and binds it to a queue of an interface.
    pub fn open(frames: &Frames, interface: &Interface, options: Options) -> Result<Self> {
        let (rings, socket) = bind(frames, interface, options)?;
        let fd = borrow(&socket);
        let socket = Self {
            fill_flag: WakeupFlag::of_fill_ring(fd)?,
            tx_flag: WakeupFlag::of_tx_ring(fd)?,
            rings,
            socket,
            received: HeapSlab::with_capacity(options.batch),
            waiting: HeapSlab::with_capacity(options.batch),
            batch: options.batch,
            quota: options.posted,
            posted: 0,
            sending: 0,
            calls: Calls::default(),
            frames: Rc::clone(frames),
        };

        say!(
            "   {interface}, queue {}: {}{}",
            options.queue,
            if is_zero_copy(socket.as_fd())? {
                "zero-copy"
            } else {
                "copy mode"
            },
            if options.need_wakeup {
                ", XDP_USE_NEED_WAKEUP"
            } else {
                ""
            }
        )?;
        Ok(socket)
    }

    /// Gives the kernel free frames to receive into, as many as it shall have.
    pub fn refill(&mut self) -> Result<()> {
        let wanted = self.quota - self.posted;
        let umem = &mut self.frames.borrow_mut();

        self.posted += match &mut self.rings.fill {
            // SAFETY: `frames` keeps the memory until the socket is closed.
            Fill::Plain(ring) => unsafe { ring.enqueue(umem, wanted) },
            // SAFETY: As above.
            Fill::Wakable(ring) => unsafe { ring.enqueue(umem, wanted, false)? },
        };
        if self.fill_flag.is_set() {
            self.calls.recvfrom += 1;
            tolerate(recv(self.fd(), &mut [], MsgFlags::MSG_DONTWAIT).map(drop))
                .context("waking the driver to receive")?;
        }
        Ok(())
    }

    /// Takes frames out of the RX ring; returns how many there are now.
    fn take(&mut self) -> usize {
        // SAFETY: These are packets of `frames`, which stays as long as they.
        self.posted -= unsafe {
            self.rings
                .rx
                .recv(&self.frames.borrow(), &mut self.received)
        };
        self.received.len()
    }

    /// Takes received frames, shows each, and makes them free.
    pub fn receive(&mut self, mut each: impl FnMut(&Packet)) -> usize {
        let count = self.take();

        while let Some(packet) = self.received.pop_back() {
            each(&packet);
            self.frames.borrow_mut().free_packet(packet);
        }
        count
    }

    /// Takes received frames and hands them to another socket to send, which must have the same
    /// memory. No byte of them moves.
    pub fn forward(&mut self, to: &mut Self, mut each: impl FnMut(&Packet)) -> Result<usize> {
        let mut count = 0;

        ensure!(
            Rc::ptr_eq(&self.frames, &to.frames),
            "two sockets with frames of their own"
        );
        self.take();
        while to.waiting.available() > 0 {
            let Some(packet) = self.received.pop_back() else {
                break;
            };
            each(&packet);
            to.waiting.push_front(packet);
            count += 1;
        }
        to.send()?;
        Ok(count)
    }

    /// Fills free frames, `count` at most, and sends them. Returns how many they were.
    pub fn generate(
        &mut self,
        count: usize,
        mut fill: impl FnMut(&mut Packet) -> Result<(), PacketError>,
    ) -> Result<usize> {
        let mut done = 0;

        while done < count && self.waiting.available() > 0 {
            // SAFETY: It is a packet of `frames`, which stays as long as it.
            let Some(mut packet) = (unsafe { self.frames.borrow_mut().alloc() }) else {
                break;
            };
            fill(&mut packet).context("writing a frame")?;
            self.waiting.push_front(packet);
            done += 1;
        }
        self.send()?;
        Ok(done)
    }

    /// Moves the frames that wait into the TX ring, if it has room for them all, and has the kernel
    /// send what is in it.
    pub fn send(&mut self) -> Result<()> {
        self.sending += match &mut self.rings.tx {
            // SAFETY: The packets are those of `frames`, which stays until the socket is closed.
            Tx::Plain(ring) => unsafe { ring.send(&mut self.waiting) },
            // SAFETY: As above.
            Tx::Wakable(ring) => unsafe { ring.send(&mut self.waiting, false)? },
        };
        self.wake()
    }

    /// Tells the kernel that there is something to send, if it wants to be told. In copy mode it
    /// always does: it sends in this call, a few dozen frames at most.
    fn wake(&mut self) -> Result<()> {
        if self.sending > 0 && self.tx_flag.is_set() {
            self.calls.sendto += 1;
            tolerate(send(self.fd(), &[], MsgFlags::MSG_DONTWAIT).map(drop))
                .context("waking the driver to send")?;
        }
        Ok(())
    }

    /// Takes the frames that are sent, and makes them free. Returns how many they were.
    pub fn reclaim(&mut self) -> usize {
        let count = self
            .rings
            .completion
            .dequeue(&mut self.frames.borrow_mut(), self.batch);

        self.sending -= count;
        count
    }

    /// As [`Socket::reclaim`], and says for each when it was sent.
    pub fn reclaim_with_timestamps(&mut self, timestamps: &mut [u64]) -> usize {
        let count = self
            .rings
            .completion
            .dequeue_with_timestamps(&mut self.frames.borrow_mut(), timestamps);

        self.sending -= count;
        count
    }

    /// Frames that the kernel has to send, or has sent without their having been taken back.
    pub fn sending(&self) -> usize {
        self.sending
    }

    /// Whether frames wait for room in the TX ring.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn calls(&self) -> Calls {
        self.calls
    }

    pub fn statistics(&self) -> Result<XdpStatistics> {
        self.socket.statistics().map_err(in_words)
    }

    fn fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrow(&self.socket)
    }
}

struct FourRings {
    fill: Fill,
    rx: RxRing,
    tx: Tx,
    completion: CompletionRing,
}

/// The crate has a type of its own for these rings of a socket with `XDP_USE_NEED_WAKEUP`.
enum Fill {
    Plain(FillRing),
    Wakable(WakableFillRing),
}

enum Tx {
    Plain(TxRing),
    Wakable(WakableTxRing),
}

impl FourRings {
    /// Registers the frames with a socket and makes its rings.
    fn new(
        builder: &mut XdpSocketBuilder,
        umem: &Umem,
        need_wakeup: bool,
    ) -> Result<(Self, BindFlags)> {
        let config = RingConfigBuilder {
            rx_count: RING,
            tx_count: RING,
            fill_count: RING,
            completion_count: RING,
        }
        .build()?;
        let (fill, rx, tx, completion, flags) = if need_wakeup {
            let (rings, flags) = builder
                .build_wakable_rings(umem, config)
                .map_err(in_words)?;

            (
                Fill::Wakable(rings.fill_ring),
                rings.rx_ring,
                rings.tx_ring.map(Tx::Wakable),
                rings.completion_ring,
                flags,
            )
        } else {
            let (rings, flags) = builder.build_rings(umem, config).map_err(in_words)?;

            (
                Fill::Plain(rings.fill_ring),
                rings.rx_ring,
                rings.tx_ring.map(Tx::Plain),
                rings.completion_ring,
                flags,
            )
        };
        let rings = Self {
            fill,
            rx: rx.context("no RX ring")?,
            tx: tx.context("no TX ring")?,
            completion,
        };

        Ok((rings, flags))
    }
}

fn borrow(socket: &XdpSocket) -> BorrowedFd<'_> {
    // SAFETY: The socket owns the descriptor, and is borrowed as long.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// Opens a socket and binds it. The kernel frees a queue some time after the socket on it was
/// closed, so a queue that is in use is tried again for a second.
fn bind(
    frames: &Frames,
    interface: &Interface,
    options: Options,
) -> Result<(FourRings, XdpSocket)> {
    let end = Instant::now() + Duration::from_secs(1);
    let queue = options.queue;
    let what = format!("binding to queue {queue} of {interface}");

    loop {
        let mut builder = XdpSocketBuilder::new().map_err(in_words)?;
        let (rings, mut flags) =
            FourRings::new(&mut builder, &frames.borrow(), options.need_wakeup)?;

        match options.mode {
            Mode::Any => {}
            Mode::Copy => flags.force_copy(),
            Mode::ZeroCopy => flags.force_zerocopy(),
        }
        let error = match builder.bind(NicIndex::new(interface.index), queue, flags) {
            Ok(socket) => return Ok((rings, socket)),
            Err(SocketError::Bind(error)) => error,
            Err(error) => return Err(in_words(error)),
        };
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EBUSY) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
            Some(Errno::EBUSY) => bail!("{what}: another AF_XDP socket has it"),
            Some(Errno::EOPNOTSUPP) if options.mode == Mode::ZeroCopy => {
                bail!("{what}: the driver has no zero-copy; --copy works with any")
            }
            Some(Errno::EINVAL) => bail!(
                "{what}: there is no such queue, or frames of the interface's MTU do not fit into \
                 those of the socket"
            ),
            _ => return Err(error).context(what),
        }
    }
}

/// The kernel says that it did not get to the end: it will go on at the next call.
fn tolerate(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOBUFS | Errno::ENETDOWN | Errno::EINTR) => {
            Ok(())
        }
        result => result,
    }
}

fn in_words(error: SocketError) -> Error {
    let told = |error: io::Error, what: String| anyhow!(error).context(what);

    match error {
        SocketError::SocketCreation(error) => told(error, "opening an AF_XDP socket".to_owned()),
        SocketError::SetSockOpt { inner, option } | SocketError::GetSockOpt { inner, option } => {
            told(inner, format!("the socket's option {option:?}"))
        }
        SocketError::RingMap { inner, ring } => told(inner, format!("mapping the {ring:?} ring")),
        SocketError::Bind(error) => told(error, "binding the socket".to_owned()),
    }
}
