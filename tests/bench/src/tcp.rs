// SPDX-License-Identifier: GPL-2.0

//! What a byte costs in a TCP connection over the devices as they come out of the box, and how
//! long a single ping takes. One end of each pair is in a network namespace of its own.

use crate::{
    device::{Kind, KINDS},
    host,
    packets::RUNS,
    programs::Programs,
    progress::{newest, Progress},
    result::{Cell, PingRow, TcpRow},
};
use anyhow::{ensure, Context, Result};
use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

/// Bytes of a system call, as iperf3 has them, and how many times they are sent.
const BLOCK: usize = 128 << 10;
const BLOCKS: usize = 1024;
const PORT: u16 = 5201;
/// A file system for programs, by which `ip` finds them; that in /sys is not the same for a command in
/// a namespace.
const PINS: &str = "/run/bench";
const PINGS: u32 = 200;

/// What is done at the receiving port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    Native,
    Generic,
    /// Without a program, and the sender cuts segments in the stack.
    NoTso,
}

const MODES: [(Mode, &str, &str); 4] = [
    (Mode::Plain, "none", "no program"),
    (Mode::Native, "native", "native XDP_PASS"),
    (Mode::Generic, "generic", "generic XDP_PASS"),
    (Mode::NoTso, "no-tso", "no program, TSO off"),
];
/// The most instructions per byte on oxnic with native XDP_PASS, by MTU.
const GOALS: [(u32, f64); 2] = [(1500, 2.2), (9000, 1.0)];

pub struct Bench {
    streams: Vec<(u32, Mode, TcpRow)>,
    pings: Vec<(Mode, PingRow)>,
}

impl Bench {
    /// The measurements whose names contain `filter`.
    pub fn new(filter: &str) -> Self {
        let mut streams = Vec::new();
        let mut pings = Vec::new();

        for (mtu, goal) in GOALS {
            for (mode, name, title) in MODES {
                streams.push((
                    mtu,
                    mode,
                    TcpRow {
                        name: format!("tcp-{mtu}-{name}"),
                        title: format!("MTU {mtu}, {title}"),
                        goal: (mode == Mode::Native).then_some(goal),
                        cells: KINDS.map(|kind| (kind, Cell::default())).into(),
                    },
                ));
            }
        }
        for (mode, name, title) in &MODES[..2] {
            pings.push((
                *mode,
                PingRow {
                    name: format!("ping-{name}"),
                    title: (*title).into(),
                    cells: KINDS.map(|kind| (kind, Cell::default())).into(),
                },
            ));
        }
        streams.retain(|stream| stream.2.name.contains(filter));
        pings.retain(|ping| ping.1.name.contains(filter));
        Self { streams, pings }
    }

    pub fn steps(&self) -> usize {
        RUNS * KINDS.len() * (self.streams.len() + self.pings.len())
    }

    /// Measures everything; the devices are there, as they come out of the box.
    pub fn measure(
        mut self,
        programs: &Programs,
        progress: &mut Progress,
    ) -> Result<(Vec<TcpRow>, Vec<PingRow>)> {
        if self.steps() > 0 {
            fs::create_dir_all(PINS)?;
            host::run(&format!("mount -t bpf bpf {PINS}"))?;
            for program in ["bench_pass", "bench_pass_frags"] {
                programs.pin(program, &format!("{PINS}/{program}"))?;
            }
            for kind in KINDS {
                self.measure_on(kind, progress)
                    .with_context(|| format!("TCP or ping on {}", kind.name()))?;
            }
            host::run(&format!("umount {PINS}"))?;
        }
        Ok((
            self.streams.into_iter().map(|stream| stream.2).collect(),
            self.pings.into_iter().map(|ping| ping.1).collect(),
        ))
    }

    fn measure_on(&mut self, kind: Kind, progress: &mut Progress) -> Result<()> {
        let link = Link::new(kind)?;

        // The first connection fills the kernel's caches.
        link.stream()?;

        for _ in 0..RUNS {
            for (mtu, mode, row) in &mut self.streams {
                let cell = row.cells.entry(kind).or_default();

                link.set_up(*mtu, *mode)?;
                cell.runs.push(link.stream()?);
                progress.step(&row.name, kind.name(), &newest(&cell.runs, 2));
            }
            for (mode, row) in &mut self.pings {
                let cell = row.cells.entry(kind).or_default();

                link.set_up(1500, *mode)?;
                cell.runs.push(link.ping()?);
                progress.step(&row.name, kind.name(), &newest(&cell.runs, 0));
            }
        }
        link.tear_down()
    }
}

/// The two ends of a wire, the second in a namespace.
struct Link {
    near: String,
    far: String,
    namespace: String,
    address: String,
    server: Child,
}

impl Link {
    fn new(kind: Kind) -> Result<Self> {
        let [near, far] = [kind.port(0), kind.port(1)];
        let namespace = format!("bench-{}", kind.name());
        let net = match kind {
            Kind::Oxnic => "10.9.1",
            Kind::Veth => "10.9.2",
        };
        let address = format!("{net}.2");

        for line in [
            format!("ip netns add {namespace}"),
            format!("ip link set dev {far} netns {namespace}"),
            format!("ip address add {net}.1/24 dev {near}"),
            format!("ip -n {namespace} address add {address}/24 dev {far}"),
            format!("ip link set dev {near} up"),
            format!("ip -n {namespace} link set dev {far} up"),
        ] {
            host::run(&line)?;
        }
        host::eventually(|| host::run(&format!("ping -c 1 -W 1 {address}")).map(drop))?;
        let server = Command::new("ip")
            .args(["netns", "exec", &namespace])
            .arg(std::env::current_exe()?)
            .args(["receive", &address])
            .spawn()
            .context("starting the receiver")?;

        Ok(Self {
            near,
            far,
            namespace,
            address,
            server,
        })
    }

    fn set_up(&self, mtu: u32, mode: Mode) -> Result<()> {
        let Self {
            near,
            far,
            namespace,
            ..
        } = self;
        // A program that takes one buffer only is fine at 1500, and what most programs are.
        let program = if mtu > 1500 {
            "bench_pass_frags"
        } else {
            "bench_pass"
        };
        let tso = if mode == Mode::NoTso { "off" } else { "on" };

        for flag in ["xdpdrv", "xdpgeneric"] {
            host::run(&format!("ip -n {namespace} link set dev {far} {flag} off"))?;
        }
        host::run(&format!("ip link set dev {near} mtu {mtu}"))?;
        host::run(&format!("ip -n {namespace} link set dev {far} mtu {mtu}"))?;
        // Where there is none to switch on, it is off in all modes.
        let switched = host::run(&format!("ethtool -K {near} tso {tso}"));
        if mode == Mode::NoTso {
            switched?;
        }
        match mode {
            Mode::Plain | Mode::NoTso => (),
            Mode::Native => self.attach("xdpdrv", program)?,
            Mode::Generic => self.attach("xdpgeneric", program)?,
        }
        // A change of the MTU may have taken the link down for a moment.
        host::eventually(|| host::run(&format!("ping -c 1 -W 1 {}", self.address)).map(drop))
    }

    fn attach(&self, flag: &str, program: &str) -> Result<()> {
        host::run(&format!(
            "ip -n {} link set dev {} {flag} pinned {PINS}/{program}",
            self.namespace, self.far
        ))
        .map(drop)
    }

    /// Sends bytes through a connection; returns the nanoseconds of each, until the receiver says
    /// that it has them all.
    fn stream(&self) -> Result<f64> {
        let mut connection = None;

        // At first the server may not listen yet.
        for _ in 0..20 {
            match TcpStream::connect((self.address.as_str(), PORT)) {
                Ok(stream) => {
                    connection = Some(stream);
                    break;
                }
                Err(_) => sleep(Duration::from_millis(100)),
            }
        }
        let mut connection = connection.context("the receiver does not listen")?;
        let block = vec![0; BLOCK];
        let mut answer = [0; 8];
        let start = Instant::now();

        for _ in 0..BLOCKS {
            connection.write_all(&block)?;
        }
        connection.shutdown(Shutdown::Write)?;
        connection.read_exact(&mut answer)?;
        let elapsed = start.elapsed();
        let received = u64::from_ne_bytes(answer);

        ensure!(
            received == (BLOCK * BLOCKS) as u64,
            "{received} bytes arrived"
        );
        Ok(elapsed.as_nanos() as f64 / received as f64)
    }

    /// The nanoseconds from a ping of 60 bytes, sent when nothing else happens, to its answer, on
    /// average.
    fn ping(&self) -> Result<f64> {
        let output = host::run(&format!(
            "ping -q -c {PINGS} -i 0.01 -W 1 -s 18 {}",
            self.address
        ))?;
        ensure!(
            output.contains(&format!(" {PINGS} received")),
            "pings were lost: {output}"
        );
        // "rtt min/avg/max/mdev = 0.134/0.473/5.151/1.073 ms"
        let millis: f64 = output
            .split("mdev = ")
            .nth(1)
            .and_then(|rest| rest.split('/').nth(1))
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("ping does not say how long it took: {output}"))?;

        Ok(millis * 1e6)
    }

    fn tear_down(mut self) -> Result<()> {
        self.server.kill()?;
        self.server.wait()?;
        // A port of hardware would come back by itself, a virtual one end with the namespace.
        host::run(&format!(
            "ip -n {} link set dev {} netns 1",
            self.namespace, self.far
        ))?;
        host::run(&format!("ip netns del {}", self.namespace))?;
        Ok(())
    }
}

/// Takes connections, one after the other, and tells each at its end how many bytes came.
pub fn receive(address: &str) -> Result<()> {
    let listener = TcpListener::bind((address, PORT))?;
    let mut buffer = vec![0; BLOCK];

    for connection in listener.incoming() {
        let mut connection = connection?;
        let mut received = 0u64;

        loop {
            match connection.read(&mut buffer)? {
                0 => break,
                count => received += count as u64,
            }
        }
        connection.write_all(&received.to_ne_bytes())?;
    }
    Ok(())
}
