// SPDX-License-Identifier: GPL-2.0

//! Shared by the tests of redirects: the program that redirects frames, and several pairs of ports
//! in a row.

use super::traffic::settle;
use crate::{
    bed::{Bed, Port},
    bpf::Program,
    host::{cpus, ensure_eq, netns::Netns},
    nl::link::New,
    stats::Snapshot,
    wire::probe::Probe,
};
use anyhow::Result;
use aya::{
    maps::{CpuMap, DevMap, XskMap},
    programs::ProgramFd,
};
use std::os::fd::AsRawFd;

/// Bits of a probe's mark that programs on map entries flip.
pub const BY_DEVICE: u8 = 0x11;
pub const BY_CPU: u8 = 0x22;
pub const BY_CPU_BEYOND: u8 = 0x44;

pub const BROADCAST: u64 = 1 << 3;
pub const EXCLUDE_INGRESS: u64 = 1 << 4;

/// How many frames may wait for a CPU.
const CPU_QUEUE: u32 = 4096;

/// Entries of the cpumap.
const CPUS: usize = 4;

/// Values of `enum how` in `redirect.bpf.c`.
#[derive(Clone, Copy)]
enum How {
    Ifindex = 1,
    Device,
    All,
    Cpu,
    Socket,
    Back,
    AsProbeSays,
}

/// The program of `redirect.bpf.c`.
pub struct Steer {
    pub program: Program,
    frags: bool,
}

impl Steer {
    /// Loads the one for single-buffer frames.
    pub fn load() -> Result<Self> {
        Ok(Self {
            program: Program::load("redirect", "steer")?,
            frags: false,
        })
    }

    /// Loads the one for frames of any length.
    pub fn load_frags() -> Result<Self> {
        Ok(Self {
            program: Program::load("redirect", "steer_frags")?,
            frags: true,
        })
    }

    fn set(&mut self, how: How, key: u32, flags: u64) -> Result<()> {
        let [flags_low, flags_high] = [flags as u32, (flags >> 32) as u32];

        self.program
            .write("steering", 0, [how as u32, key, flags_low, flags_high])
    }

    pub fn by_ifindex(&mut self, ifindex: u32) -> Result<()> {
        self.set(How::Ifindex, ifindex, 0)
    }

    pub fn by_device(&mut self, key: u32) -> Result<()> {
        self.set(How::Device, key, 0)
    }

    pub fn by_all(&mut self, flags: u64) -> Result<()> {
        self.set(How::All, 0, flags)
    }

    pub fn by_cpu(&mut self, key: u32) -> Result<()> {
        self.set(How::Cpu, key, 0)
    }

    pub fn by_socket(&mut self) -> Result<()> {
        self.set(How::Socket, 0, 0)
    }

    pub fn back(&mut self) -> Result<()> {
        self.set(How::Back, 0, 0)
    }

    pub fn as_probe_says(&mut self) -> Result<()> {
        self.set(How::AsProbeSays, 0, 0)
    }

    /// Loads a program for the entries of a map.
    pub fn entry_program(&mut self, name: &str) -> Result<ProgramFd> {
        let suffix = if self.frags { "_frags" } else { "" };

        self.program.load_more(&format!("{name}{suffix}"))
    }

    /// Sets an entry of the devmap to a port.
    pub fn device(&mut self, key: u32, port: &Port, program: Option<&ProgramFd>) -> Result<()> {
        self.set_device("devices", key, port, program)
    }

    /// Sets the port that the cpumap's programs redirect to.
    pub fn beyond(&mut self, port: &Port) -> Result<()> {
        self.set_device("beyond", 0, port, None)
    }

    fn set_device(
        &mut self,
        map: &str,
        key: u32,
        port: &Port,
        program: Option<&ProgramFd>,
    ) -> Result<()> {
        let map = self.program.map_mut(map)?;

        // A devmap takes devices of its writer's namespace.
        port.ns
            .enter(|| Ok(DevMap::try_from(map)?.set(key, port.ifindex, program, 0)?))
    }

    /// Adds a CPU to the cpumap.
    pub fn cpu(&mut self, cpu: u32, program: Option<&ProgramFd>) -> Result<()> {
        let map = self.program.map_mut("cpus")?;

        Ok(CpuMap::try_from(map)?.set(cpu, CPU_QUEUE, program, 0)?)
    }

    /// Sets the AF_XDP socket of a queue.
    pub fn socket(&mut self, queue: u32, socket: &impl AsRawFd) -> Result<()> {
        let map = self.program.map_mut("sockets")?;

        Ok(XskMap::try_from(map)?.set(queue, socket.as_raw_fd(), 0)?)
    }

    /// The number of probes that the programs on map entries have seen.
    pub fn seen(&self) -> Result<u64> {
        self.program.read("seen", 0)
    }
}

/// The last CPU for which the cpumap has an entry: not the first one if there are several.
pub fn last_cpu() -> Result<u32> {
    Ok(cpus::all()?
        .into_iter()
        .filter(|cpu| *cpu < CPUS)
        .max()
        .unwrap_or(0) as u32)
}

/// Two pairs in a row: frames from `ox0` arrive at `ox1`, and frames redirected from there to `ox2`
/// arrive at `ox3`. The ports in the middle share namespace B, the outer ones A.
#[derive(Clone)]
pub struct Chain {
    /// `ox0` and `ox1`.
    pub first: Bed,
    /// `ox2` and `ox3`.
    pub second: Bed,
}

impl Chain {
    /// Makes one of a module that was loaded with at least two pairs.
    pub fn make(bed: &Bed) -> Result<Self> {
        Ok(Self {
            first: bed.clone(),
            second: pair(bed, 1)?,
        })
    }

    pub fn up(&self) -> Result<()> {
        self.first.up()?;
        self.second.up()
    }

    pub fn ports(&self) -> [&Port; 4] {
        [&self.first.a, &self.first.b, &self.second.a, &self.second.b]
    }

    /// Sets the MTU of all ports.
    pub fn mtu(&self, mtu: usize) -> Result<()> {
        self.ports()
            .into_iter()
            .try_for_each(|port| port.set_mtu(mtu))
    }

    /// The counters of all ports once every frame is accounted for on both wires, and the verdicts
    /// of the first pair's far port, which has a program, add up.
    pub fn settle(&self) -> Result<[Snapshot; 4]> {
        let (ox0, ox1) = settle(&self.first)?;
        let (ox2, ox3) = settle(&self.second)?;

        ox1.check_verdicts()?;
        Ok([ox0, ox1, ox2, ox3])
    }
}

/// The pair with that number (the first is 0), to continue a bed: its near port is in the namespace
/// of port B, its far one in that of port A.
pub fn pair(bed: &Bed, number: usize) -> Result<Bed> {
    Ok(Bed {
        a: Port::moved(&format!("ox{}", 2 * number), &bed.b.ns)?,
        b: Port::moved(&format!("ox{}", 2 * number + 1), &bed.a.ns)?,
    })
}

/// Makes a veth pair, `ve0` and `ve1`, in a namespace. Both ends have a NAPI, so that frames can be
/// redirected into either.
pub fn veth(ns: &Netns, mtu: usize) -> Result<(Port, Port)> {
    let near = Port::add(ns, "ve0", New::veth("ve1", u32::try_from(mtu)?))?;
    let ports = (near, Port::find(ns, "ve1")?);
    for port in [&ports.0, &ports.1] {
        port.ethtool("-K", "gro on")?;
        port.up()?;
    }
    for port in [&ports.0, &ports.1] {
        port.wait_running(true)?;
    }
    Ok(ports)
}

/// Checks the redirects of `from` against what `to` has put on its wire for them.
pub fn check_redirected(from: &Snapshot, to: &Snapshot, count: u64) -> Result<()> {
    from.counters.expect_rx(
        &from.name,
        &[("xdp_redirect", count), ("xdp_redirect_errors", 0)],
    )?;
    let taken = to.counters.tx("xdp_xmit")?;
    let refused = to.counters.tx("xdp_xmit_errors")?;

    ensure_eq!(
        taken + refused,
        count,
        "{}: xdp_xmit {taken} + xdp_xmit_errors {refused}, against redirects of {}",
        to.name,
        from.name
    );
    Ok(())
}

/// The same probes with bits of their marks flipped.
pub fn marked(probes: &[Probe], bits: u8) -> Vec<Probe> {
    probes.iter().map(|probe| probe.marked(bits)).collect()
}

/// Sets up a path from port B into a veth pair, whose far end sends frames back, and out of B
/// again.
pub fn detour(bed: &Bed, frags: bool, mtu: usize) -> Result<([Steer; 3], Port)> {
    let load = if frags {
        Steer::load_frags
    } else {
        Steer::load
    };
    let (near, far) = veth(&bed.b.ns, mtu)?;
    let mut steers = [load()?, load()?, load()?];

    steers[0].device(0, &near, None)?;
    steers[0].by_device(0)?;
    steers[1].back()?;
    steers[2].device(0, &bed.b, None)?;
    steers[2].by_device(0)?;
    for (steer, port) in steers.iter().zip([&bed.b, &far, &near]) {
        port.attach(&steer.program)?;
    }
    Ok((steers, near))
}

pub const NS_C: &str = "oxc";

/// The second pair of a module: `ox2` in the namespace of `ox1`, and `ox3` in a third one.
pub struct SecondPair {
    pub near: Port,
    pub far: Port,
}

impl SecondPair {
    pub fn make(bed: &Bed) -> Result<Self> {
        let near = Port::moved("ox2", &bed.b.ns)?;
        let ns = Netns::create(NS_C)?;
        let far = Port::moved("ox3", &ns);

        if far.is_err() {
            ns.delete()?;
        }
        Ok(Self { near, far: far? })
    }

    pub fn up(&self) -> Result<()> {
        for port in [&self.near, &self.far] {
            port.up()?;
        }
        for port in [&self.near, &self.far] {
            port.wait_running(true)?;
        }
        Ok(())
    }
}

impl Drop for SecondPair {
    fn drop(&mut self) {
        // The harness deletes the other two only. A name that is left would make the next test
        // fail.
        let _ = self.far.ns.delete();
    }
}
