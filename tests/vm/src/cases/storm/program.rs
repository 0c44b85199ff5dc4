// SPDX-License-Identifier: GPL-2.0

//! The programs of the storm, and what of them is attached to a port.

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

/// Frames that wait for a processor at most.
const CPU_QUEUE: u32 = 512;

/// A program of `storm.bpf.c`, and the one that runs on frames that it has redirected to a device.
pub struct Swirl(Program, ProgramFd);

impl Swirl {
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

    /// Makes every frame pass, or not any more.
    pub fn calm(&mut self, calm: bool) -> Result<()> {
        self.0.write("calm", 0, u32::from(calm))
    }

    /// Sets the port that frames are redirected to.
    pub fn redirect_to(&mut self, port: &Port) -> Result<()> {
        let map = self.0.map_mut("devs")?;
        let program = &self.1;

        // A devmap takes devices of the namespace that its writer is in.
        port.ns
            .enter(|| Ok(DevMap::try_from(map)?.set(0, port.ifindex, Some(program), 0)?))
    }

    /// Says which of the redirected frames are dropped, counted from now on.
    pub fn drop_redirected(&mut self, which: u32) -> Result<()> {
        self.0.write("redirected", 0, 0_u64)?;
        self.0.write("drops", 0, which)
    }

    /// Sets the socket of a queue.
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

/// A program that a port can have. The driver's and those of generic mode are different ones, so that
/// it is known how often the driver ran any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// By its number: see [`Programs::make`].
    Swirl(usize),
    /// One that is bound to the port.
    Bound,
}

/// Number of [`Choice::Swirl`]; those from [`GENERIC`] on are for generic mode.
pub const SWIRLS: usize = 6;
pub const GENERIC: usize = 4;

impl Choice {
    pub fn mode(self) -> Mode {
        match self {
            Self::Swirl(GENERIC..) => Mode::Generic,
            _ => Mode::Driver,
        }
    }

    /// Whether it takes frames in several buffers.
    pub fn has_frags(self) -> bool {
        !matches!(self, Self::Swirl(n) if n % 2 == 0)
    }
}

/// The programs of a port.
pub struct Programs {
    pub swirls: Vec<Swirl>,
    bound: Option<Bound>,
    /// How often programs of the driver had run when the port was made.
    before: u64,
}

impl Programs {
    /// Every other one takes frames in several buffers.
    pub fn make() -> Result<Self> {
        let swirls = (0..SWIRLS)
            .map(|n| Swirl::load(if n % 2 == 0 { "storm" } else { "storm_frags" }))
            .collect::<Result<_>>()?;

        Ok(Self {
            swirls,
            bound: None,
            before: 0,
        })
    }

    /// Loads the program that is bound to the port, unless it is there.
    pub fn bind(&mut self, port: &Port) -> Result<()> {
        if self.bound.is_none() {
            self.bound = Some(Bound::load(port, "hints")?);
        }
        Ok(())
    }

    pub fn fd(&self, choice: Choice) -> Result<Option<BorrowedFd<'_>>> {
        match choice {
            Choice::Swirl(n) => self.swirls[n].fd().map(Some),
            Choice::Bound => Ok(self.bound.as_ref().map(Bound::fd)),
        }
    }

    pub fn id(&self, choice: Choice) -> Option<u32> {
        match choice {
            Choice::Swirl(n) => Some(self.swirls[n].program().id),
            Choice::Bound => self.bound.as_ref().map(|bound| bound.id),
        }
    }

    /// How often the driver has run any since the port was made.
    pub fn runs(&self) -> Result<u64> {
        Ok(self.all_runs()? - self.before)
    }

    fn all_runs(&self) -> Result<u64> {
        let mut sum = 0;

        for swirl in &self.swirls[..GENERIC] {
            sum += swirl.program().seen()?;
        }
        if let Some(bound) = &self.bound {
            let counts = bound.array::<u64>("hint_counts")?;
            sum += counts.get(&0, 0)? + counts.get(&1, 0)?;
        }
        Ok(sum)
    }

    /// The port is gone, and with it the program that was bound to it.
    pub fn forget_port(&mut self) -> Result<()> {
        self.bound = None;
        self.before = self.all_runs()?;
        Ok(())
    }
}

/// What is attached to a port.
pub struct Attached {
    pub choice: Choice,
    /// It is by way of a BPF link.
    pub link: Option<XdpLink>,
}
