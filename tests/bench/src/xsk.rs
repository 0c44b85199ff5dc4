// SPDX-License-Identifier: GPL-2.0

//! AF_XDP: the scenarios, and the sockets that receive, send and forward in them.

use crate::{
    host,
    pktgen::{Pktgen, OTHER_MAC},
    programs::{frame, BATCH},
    scenario::{Scenario, Sink, Source},
};
use anyhow::{bail, ensure, Context, Result};
use oxnic_drop_points::place::Place;
use oxnic_xsk::{raw, Desc, Errno, Mode, Setup, Socket};
use std::{
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

/// The modes that are measured, with the end of a scenario's name and a title.
const MODES: [(&str, &str, Mode); 2] = [
    (ZERO_COPY, "zero-copy", Mode::ZeroCopy),
    (COPY, "copy mode", Mode::Copy),
];
pub const ZERO_COPY: &str = "zero-copy";
pub const COPY: &str = "copy";

/// What a socket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Receive,
    Send,
    Forward,
}

/// The part of a scenario's name for each, and a title.
pub const TASKS: [(&str, &str, Task); 3] = [
    ("rx", "XDP_REDIRECT to an AF_XDP socket", Task::Receive),
    (
        "tx",
        "sent by an AF_XDP socket, native XDP_DROP",
        Task::Send,
    ),
    (
        "forward",
        "forwarded by an AF_XDP socket, dropped by XDP at the sender",
        Task::Forward,
    ),
];

pub const SIZES: [u32; 2] = [60, 1500];

/// The name of a scenario, from its parts.
pub fn name(task: &str, size: u32, mode: &str) -> String {
    match size {
        60 => format!("xsk-{task}-{mode}"),
        _ => format!("xsk-{task}-{size}-{mode}"),
    }
}

/// All of them.
pub fn scenarios() -> Vec<Scenario> {
    let mut list = Vec::new();

    for (task_name, task_title, task) in TASKS {
        for size in SIZES {
            for (mode_name, mode_title, mode) in MODES {
                let (source, sink) = match task {
                    Task::Receive => (Source::Pktgen(Pktgen::new(size)), Sink::Xsk(mode)),
                    Task::Send => (Source::Xsk { size, mode }, Sink::At(Place::NativeXdp)),
                    Task::Forward => (Source::Pktgen(Pktgen::new(size)), Sink::XskForward(mode)),
                };

                list.push(Scenario {
                    name: name(task_name, size, mode_name),
                    title: format!("{task_title}, {mode_title}"),
                    source,
                    sink,
                    goal: None,
                    // A profile is of what the source sends; the socket forwards after that.
                    profile: size == 60 && task != Task::Forward,
                });
            }
        }
    }
    list
}

/// Bytes of a buffer: a frame of 1500 bytes fits.
const CHUNK: usize = 2048;
/// Entries of each ring of a socket that sends, as many as the kernel's samples have.
const TX_RING: u32 = 2048;
/// Buffers that a socket that receives has in addition to those for the frames: the device keeps
/// some in its ring.
const MORE_BUFFERS: u32 = 4096;
/// How often to look for completions in vain before giving up. On the emulated machine this takes
/// far longer than any device waits.
const TRIES: u32 = 10_000_000;

/// Opens a socket, gives it so many buffers to receive into, and binds it to the first queue of a
/// device.
fn open(device: &str, setup: Setup, filled: u32) -> Result<Socket> {
    let ifindex = host::ifindex(device)?;
    let socket = Socket::new(raw::socket()?, setup)?;

    // A device that receives into the buffers takes the first ones when the socket is bound.
    socket.fill_first(filled);
    // The kernel takes the queue from a closed socket a moment later.
    host::until(|| match socket.bind(ifindex, 0) {
        Err(Errno::EBUSY) => bail!("another AF_XDP socket has queue 0 of {device}"),
        result => Ok(result),
    })?
    .with_context(|| format!("binding an AF_XDP socket to queue 0 of {device}"))?;
    Ok(socket)
}

fn setup(mode: Mode, ring: u32, buffers: u32) -> Setup {
    Setup {
        mode,
        chunk: CHUNK,
        buffers,
        fill: ring,
        completion: ring,
        rx: ring,
        tx: ring,
        ..Setup::default()
    }
}

/// Tells the kernel of frames in the TX ring. It may say that it did not get to the end.
fn wake_tx(socket: &Socket) -> Result<()> {
    match socket.wake_tx() {
        Ok(()) | Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOBUFS) => Ok(()),
        Err(errno) => Err(errno).context("sending by AF_XDP"),
    }
}

/// Has the kernel send what is in the TX ring, and gives up when nothing moves any more.
struct Kick(u32);

impl Kick {
    fn kick(&mut self, socket: &Socket, completed: u32) -> Result<()> {
        self.0 = if completed > 0 { 0 } else { self.0 + 1 };
        ensure!(self.0 < TRIES, "an AF_XDP socket waits for completions");
        if socket.tx().len() > 0 && socket.tx().needs_wakeup() {
            wake_tx(socket)?;
        }
        Ok(())
    }
}

/// A socket that sends the same frame again and again, in batches. The frame is written before
/// that, into all buffers, so this is what sending costs, and not what writing does.
pub struct Sender {
    socket: Socket,
    size: u32,
}

impl Sender {
    pub fn open(device: &str, size: u32, mode: Mode) -> Result<Self> {
        let socket = open(device, setup(mode, TX_RING, TX_RING).sender(), 0)?;
        let frame = frame(size, OTHER_MAC);

        for number in 0..TX_RING {
            let start = socket.buffer(number) as usize;

            socket.frames.write(start, &frame);
        }
        Ok(Self { socket, size })
    }

    /// Sends frames; returns the nanoseconds until the last one is completed.
    pub fn send(&self, frames: u32) -> Result<f64> {
        let socket = &self.socket;
        let (mut given, mut done) = (0, 0);
        let mut kick = Kick(0);
        let start = Instant::now();

        while done < frames {
            let count = BATCH.min(frames - given).min(socket.tx().room());

            // As all buffers have the same content, it does not matter which ones are sent.
            socket.tx().push_all((0..count).map(|n| {
                Desc {
                    addr: socket.buffer((given + n) % TX_RING),
                    len: self.size,
                    options: 0,
                }
                .into()
            }));
            given += count;
            let completed = socket.completions.take(TX_RING, |_| ());
            done += completed;
            kick.kick(socket, completed)?;
        }
        Ok(start.elapsed().as_nanos() as f64)
    }
}

/// A socket that has buffers, and places in its rings, for all frames of a run. So it is not
/// involved until the last one has arrived.
pub struct Receiver {
    socket: Socket,
}

impl Receiver {
    /// For so many frames in a run, which it may have to forward.
    pub fn open(device: &str, mode: Mode, frames: u32, forwards: bool) -> Result<Self> {
        let buffers = frames + MORE_BUFFERS;
        let mut setup = setup(mode, buffers.next_power_of_two(), buffers);

        if !forwards {
            setup = setup.receiver();
        }
        Ok(Self {
            socket: open(device, setup, buffers)?,
        })
    }

    /// Waits until so many frames are there.
    fn wait(&self, frames: u32) -> Result<()> {
        host::eventually(|| {
            let came = self.socket.rx().len();

            ensure!(
                came == frames,
                "{came} of {frames} frames arrived at the AF_XDP socket"
            );
            Ok(())
        })
    }

    /// Waits until so many frames are there, and gives their buffers back.
    pub fn drop_all(&self, frames: u32) -> Result<()> {
        let socket = &self.socket;

        self.wait(frames)?;
        socket.rx().take(frames, |entry| {
            socket.give_back(&Desc::from(entry));
        });
        Ok(())
    }

    /// Waits until so many frames are there, and sends them in batches out of the device from which
    /// they came. Returns the nanoseconds from then until the last one is completed.
    pub fn forward(&self, frames: u32) -> Result<f64> {
        let socket = &self.socket;
        let mut done = 0;
        let mut kick = Kick(0);

        self.wait(frames)?;
        let start = Instant::now();
        while done < frames {
            let (mut batch, mut count) = ([[0; 2]; BATCH as usize], 0);
            let room = BATCH.min(socket.tx().room());

            socket.rx().take(room, |entry| {
                batch[count] = entry;
                count += 1;
            });
            socket.tx().push_all(batch[..count].iter().copied());

            let (mut batch, mut count) = ([[0]; BATCH as usize], 0);
            let completed = socket.completions.take(BATCH, |[addr]| {
                batch[count] = [addr - addr % CHUNK as u64];
                count += 1;
            });
            socket.fill.push_all(batch[..count].iter().copied());
            done += completed;
            kick.kick(socket, completed)?;
        }
        Ok(start.elapsed().as_nanos() as f64)
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket on a null device, which receives when it is asked to, as much as it gets buffers for.
pub struct NullReceiver {
    socket: Socket,
}

impl NullReceiver {
    /// For so many frames in a run.
    pub fn open(device: &str, frames: u32) -> Result<Self> {
        let setup = setup(Mode::ZeroCopy, frames.next_power_of_two(), frames).receiver();

        Ok(Self {
            socket: open(device, setup, 0)?,
        })
    }

    /// Receives frames; returns the nanoseconds that this takes in the kernel.
    pub fn receive(&self, frames: u32) -> Result<f64> {
        let socket = &self.socket;

        // Not `fill_first`, which would call the kernel before the clock runs.
        let fill = (0..frames).map(|number| [socket.buffer(number)]);
        socket.fill.push_all(fill);
        let start = Instant::now();
        socket.wake_rx().context("receiving by AF_XDP")?;
        let elapsed = start.elapsed();

        let came = socket.rx().take(u32::MAX, |_| ());
        ensure!(came == frames, "{came} of {frames} frames were received");
        Ok(elapsed.as_nanos() as f64)
    }
}

impl AsFd for NullReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
