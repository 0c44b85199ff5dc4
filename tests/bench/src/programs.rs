// SPDX-License-Identifier: GPL-2.0

//! The BPF programs of `tests/bpf/bench.bpf.c`: their maps, and running them as a source.

use crate::{
    host::{self, Mac},
    pktgen::OTHER_MAC,
};
use anyhow::{Context, Result};
use libbpf_rs::{libbpf_sys, MapCore, MapFlags, Xdp, XdpFlags};
pub use oxnic_drop_points::{cost::BATCH, programs::Mode};
use oxnic_drop_points::{place::Dropper, programs::check, programs::Programs as Loaded};
use std::{
    ops::Deref,
    os::fd::{AsRawFd, BorrowedFd},
    path::Path,
    time::Instant,
};

/// Elements of the map of where `bench_tc_spread` sends.
const TARGETS: u32 = 16;

pub struct Programs {
    loaded: Loaded,
    /// The programs that only drop, at all places.
    pub dropper: Dropper,
}

impl Deref for Programs {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

impl Programs {
    pub fn load(directory: &Path) -> Result<Self> {
        Ok(Self {
            loaded: Loaded::load(&directory.join("bench.bpf.o"))?,
            dropper: Dropper::load(&directory.join("hook_cost.bpf.o"))?,
        })
    }

    fn write(&self, map: &str, key: u32, value: &[u8]) -> Result<()> {
        self.object()
            .maps()
            .find(|found| found.name() == map)
            .with_context(|| format!("no map {map}"))?
            .update(&key.to_ne_bytes(), value, MapFlags::ANY)
            .with_context(|| format!("writing element {key} of map {map}"))
    }

    /// Where `bench_redirect` sends frames from now on.
    pub fn redirect_to(&self, device: &str) -> Result<()> {
        self.write("devices", 0, &host::ifindex(device)?.to_ne_bytes())
    }

    /// Where `bench_xsk` sends the frames of queue 0 from now on, until the socket is closed.
    pub fn redirect_to_socket(&self, socket: BorrowedFd<'_>) -> Result<()> {
        self.write("sockets", 0, &socket.as_raw_fd().to_ne_bytes())
    }

    /// Lets `bench_cpu` send to a CPU, with a queue of this many frames.
    pub fn queue_to_cpu(&self, cpu: u32, frames: u32) -> Result<()> {
        let mut value = [0; 8];

        value[..4].copy_from_slice(&frames.to_ne_bytes());
        self.write("cpus", cpu, &value)
    }

    /// Removes what is attached to a device, if anything is.
    pub fn detach_all(&self, device: &str) -> Result<()> {
        let xdp = Xdp::new(self.fd("bench_drop")?);
        let ifindex = host::ifindex(device)? as i32;

        for mode in [Mode::Native, Mode::Generic] {
            if xdp.query_id(ifindex, mode.flags())? != 0 {
                self.detach(device, "bench_drop", mode)?;
            }
        }
        Ok(())
    }

    /// Whether frames can be redirected to a device.
    pub fn takes_frames(&self, device: &str) -> Result<bool> {
        const NDO_XMIT: u64 = 4;
        let info = Xdp::new(self.fd("bench_drop")?)
            .query(host::ifindex(device)? as i32, XdpFlags::NONE)?;

        Ok(info.feature_flags & NDO_XMIT != 0)
    }

    /// Gives a program a name in a file system, by which tools find it.
    pub fn pin(&self, program: &str, path: &str) -> Result<()> {
        self.object()
            .progs_mut()
            .find(|found| found.name() == program)
            .with_context(|| format!("no program {program}"))?
            .pin(path)
            .with_context(|| format!("pinning {program} to {path}"))
    }

    /// Runs a program on one frame again and again; returns the nanoseconds this takes.
    pub fn run(&self, name: &str, count: u32) -> Result<f64> {
        self.test_run(name, &frame(60, OTHER_MAC), count, 0, None)
    }

    /// Puts frames through a program and does with each what it says.
    pub fn run_live(&self, name: &str, size: u32, to: Mac, count: u32) -> Result<f64> {
        self.test_run(name, &frame(size, to), count, BATCH, None)
    }

    /// Gives frames to ndo_xdp_xmit of a device.
    pub fn send_frames(&self, device: &str, size: u32, to: Mac, count: u32) -> Result<f64> {
        self.write("devices", 1, &host::ifindex(device)?.to_ne_bytes())?;
        self.run_live("bench_send", size, to, count)
    }

    /// Gives sk_buffs to ndo_start_xmit of a device, a batch of them in one softirq: frames pass
    /// to the stack as if `source` had received them, where the program `bench_tc_send` must be
    /// attached to tcx, and leave by the device. The page behind
    /// each has the headroom of a received frame.
    pub fn send_skbs(
        &self,
        source: &str,
        device: &str,
        size: u32,
        to: Mac,
        count: u32,
    ) -> Result<f64> {
        self.send_skbs_to(source, &[device], size, to, count)
    }

    /// The same, a batch to each of the devices in turn if the program at `source` is
    /// `bench_tc_spread`.
    pub fn send_skbs_to(
        &self,
        source: &str,
        devices: &[&str],
        size: u32,
        to: Mac,
        count: u32,
    ) -> Result<f64> {
        let source = host::ifindex(source)?;

        for (key, device) in (0..TARGETS).zip(devices.iter().cycle()) {
            self.write("targets", key, &host::ifindex(device)?.to_ne_bytes())?;
        }
        self.test_run("bench_pass", &frame(size, to), count, BATCH, Some(source))
    }

    /// `BPF_PROG_TEST_RUN`; with a batch the frames are live ones. libbpf-rs has no argument for
    /// the size of a batch.
    fn test_run(
        &self,
        name: &str,
        frame: &[u8],
        count: u32,
        batch: u32,
        ingress: Option<u32>,
    ) -> Result<f64> {
        let context = libbpf_sys::xdp_md {
            data_end: frame.len() as u32,
            ingress_ifindex: ingress.unwrap_or(0),
            ..Default::default()
        };
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
            data_in: frame.as_ptr().cast(),
            data_size_in: frame.len() as u32,
            repeat: count as i32,
            ..Default::default()
        };

        if batch > 0 {
            options.flags = libbpf_sys::BPF_F_TEST_XDP_LIVE_FRAMES;
            options.batch_size = batch;
            options.ctx_in = (&raw const context).cast();
            options.ctx_size_in = size_of_val(&context) as u32;
        }
        let fd = self.fd(name)?.as_raw_fd();
        let start = Instant::now();
        // SAFETY: The options and what they point to live until the call returns.
        let status = unsafe { libbpf_sys::bpf_prog_test_run_opts(fd, &mut options) };
        let elapsed = start.elapsed();

        check(status).with_context(|| format!("running {name}"))?;
        Ok(elapsed.as_nanos() as f64)
    }
}

/// A UDP datagram in IPv4.
pub fn frame(size: u32, to: Mac) -> Vec<u8> {
    let mut frame = vec![0; size as usize];
    let ip_length = (size - 14) as u16;

    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 0x98]);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&ip_length.to_be_bytes());
    frame[22] = 64;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&[10, 9, 0, 1]);
    frame[30..34].copy_from_slice(&[10, 9, 0, 2]);
    let sum = frame[14..34]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame[34..36].copy_from_slice(&1024u16.to_be_bytes());
    frame[36..38].copy_from_slice(&9u16.to_be_bytes());
    frame[38..40].copy_from_slice(&(ip_length - 20).to_be_bytes());
    frame
}
