// SPDX-License-Identifier: GPL-2.0

//! The programs of the storm, and which one is attached to a port.

use crate::{
    bed::Port,
    bpf::{Bound, Program},
};
use anyhow::Result;
use aya::{
    maps::{CpuMap, DevMap, XskMap},
    programs::{xdp::XdpLink, ProgramFd},
};
use std::os::fd::{AsRawFd, BorrowedFd};

/// How many frames may wait for a CPU.
const CPU_QUEUE: u32 = 512;

/// A program of `storm.bpf.c`, and its companion that runs on frames redirected to a device.
pub struct StormProgram(Program, ProgramFd);

impl StormProgram {
    pub fn load(name: &str) -> Result<Self> {
        let mut program = Program::load("storm", name)?;

        CpuMap::try_from(program.map_mut("cpus")?)?.set(0, CPU_QUEUE, None, 0)?;
        let on_device = program.load_more(&format!("{name}_on_device"))?;
        Ok(Self(program, on_device))
    }

    pub fn program(&self) -> &Program {
        &self.0
    }

    pub fn program_mut(&mut self) -> &mut Program {
        &mut self.0
    }

    pub fn fd(&self) -> Result<BorrowedFd<'_>> {
        self.0.fd()
    }

    /// Makes the program pass every frame, or act on them as before.
    pub fn pass_all(&mut self, pass_all: bool) -> Result<()> {
        self.0.write("pass_all", 0, u32::from(pass_all))
    }

    /// Sets the port that frames are redirected to.
    pub fn redirect_to(&mut self, port: &Port) -> Result<()> {
        let map = self.0.map_mut("devs")?;
        let program = &self.1;

        // A devmap takes devices of its writer's namespace.
        port.ns
            .enter(|| Ok(DevMap::try_from(map)?.set(0, port.ifindex, Some(program), 0)?))
    }

    /// Sets which of the redirected frames are dropped, and starts their count again.
    pub fn drop_redirected(&mut self, which: u32) -> Result<()> {
        self.0.write("redirected", 0, 0_u64)?;
        self.0.write("drops", 0, which)
    }

    /// Sets the AF_XDP socket of a queue.
    pub fn socket(&mut self, queue: u32, socket: &impl AsRawFd) -> Result<()> {
        let map = self.0.map_mut("sockets")?;

        Ok(XskMap::try_from(map)?.set(queue, socket.as_raw_fd(), 0)?)
    }
}

/// How the kernel runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Driver,
    Generic,
}

/// A program that a port can have. Driver and generic mode use different ones, so that the runs of
/// each are counted separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One of [`Programs::storm`], by its number.
    Storm(usize),
    /// One that is bound to the port (`BPF_F_XDP_DEV_BOUND_ONLY`).
    Bound,
}

/// How many [`Programs::storm`] there are; those from [`GENERIC`] on are for generic mode.
pub const STORM_PROGRAMS: usize = 6;
pub const GENERIC: usize = 4;

impl Choice {
    pub fn mode(self) -> Mode {
        match self {
            Self::Storm(GENERIC..) => Mode::Generic,
            _ => Mode::Driver,
        }
    }

    /// Whether it supports multi-buffer frames.
    pub fn has_frags(self) -> bool {
        !matches!(self, Self::Storm(n) if n % 2 == 0)
    }
}

/// The programs of a port.
pub struct Programs {
    pub storm: Vec<StormProgram>,
    bound: Option<Bound>,
    /// How often programs in driver mode had run when the port was created.
    before: u64,
}

impl Programs {
    /// Every other program supports multi-buffer frames.
    pub fn make() -> Result<Self> {
        let storm = (0..STORM_PROGRAMS)
            .map(|n| StormProgram::load(if n % 2 == 0 { "storm" } else { "storm_frags" }))
            .collect::<Result<_>>()?;

        Ok(Self {
            storm,
            bound: None,
            before: 0,
        })
    }

    /// Loads the program that is bound to the port, unless it is loaded.
    pub fn bind(&mut self, port: &Port) -> Result<()> {
        if self.bound.is_none() {
            self.bound = Some(Bound::load(port, "hints")?);
        }
        Ok(())
    }

    pub fn fd(&self, choice: Choice) -> Result<Option<BorrowedFd<'_>>> {
        match choice {
            Choice::Storm(n) => self.storm[n].fd().map(Some),
            Choice::Bound => Ok(self.bound.as_ref().map(Bound::fd)),
        }
    }

    pub fn id(&self, choice: Choice) -> Option<u32> {
        match choice {
            Choice::Storm(n) => Some(self.storm[n].program().id),
            Choice::Bound => self.bound.as_ref().map(|bound| bound.id),
        }
    }

    /// How often the driver has run programs since the port was created.
    pub fn runs(&self) -> Result<u64> {
        Ok(self.all_runs()? - self.before)
    }

    fn all_runs(&self) -> Result<u64> {
        let mut sum = 0;

        for program in &self.storm[..GENERIC] {
            sum += program.program().seen()?;
        }
        if let Some(bound) = &self.bound {
            let counts = bound.array::<u64>("hint_counts")?;
            sum += counts.get(&0, 0)? + counts.get(&1, 0)?;
        }
        Ok(sum)
    }

    /// The port was deleted, and with it the program that was bound to it.
    pub fn forget_port(&mut self) -> Result<()> {
        self.bound = None;
        self.before = self.all_runs()?;
        Ok(())
    }
}

/// A program that is attached to a port.
pub struct Attached {
    pub choice: Choice,
    /// The BPF link that attaches it, if not netlink.
    pub link: Option<XdpLink>,
}
