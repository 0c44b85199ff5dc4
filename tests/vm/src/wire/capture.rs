// SPDX-License-Identifier: GPL-2.0

//! Frames as a program on the receiving port sees them: straight off the wire, before GRO or
//! anything else of the stack.

use crate::{
    bed::Port,
    bpf::Program,
    host::{ensure_eq, PATIENCE},
};
use anyhow::{bail, Result};
use aya::maps::{MapData, RingBuf};
use std::time::{Duration, Instant};

/// Records what a port receives and passes it on.
pub struct Capture {
    program: Program,
    frames: RingBuf<MapData>,
}

impl Capture {
    /// Records frames that are in one buffer.
    pub fn start(port: &Port) -> Result<Self> {
        Self::start_as(port, "capture")
    }

    /// Records frames of any length, though not many of them at once.
    pub fn start_frags(port: &Port) -> Result<Self> {
        Self::start_as(port, "capture_frags")
    }

    fn start_as(port: &Port, name: &str) -> Result<Self> {
        let mut program = Program::load("capture", name)?;
        let frames = RingBuf::try_from(program.take_map("frames")?)?;

        port.attach(&program)?;
        Ok(Self { program, frames })
    }

    /// What was recorded and not asked for yet.
    pub fn frames(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();

        while let Some(record) = self.frames.next() {
            let len = u32::from_ne_bytes([record[0], record[1], record[2], record[3]]) as usize;
            frames.push(record[8..8 + len].to_vec());
        }
        ensure_eq!(
            self.program.read::<u64>("missed", 0)?,
            0,
            "frames too many to be recorded"
        );
        Ok(frames)
    }

    /// Waits until frames that `wanted` picks are `count`, and returns these.
    pub fn wait_for(
        &mut self,
        count: usize,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>> {
        let end = Instant::now() + PATIENCE;
        let mut picked = Vec::new();

        loop {
            picked.extend(self.frames()?.into_iter().filter(|frame| wanted(frame)));
            if picked.len() >= count {
                return Ok(picked);
            }
            if Instant::now() > end {
                bail!(
                    "expected {count} frames on the wire, found {}",
                    picked.len()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
