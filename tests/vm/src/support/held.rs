// SPDX-License-Identifier: GPL-2.0

//! A ring that is not polled until the test releases it: frames wait in it, whatever the speed of
//! the machine.

use super::polls::napi;
use crate::{
    bed::Port,
    host::{rcu, FOR_EVER},
    nl::netdev::{self, NapiSettings},
};
use anyhow::Result;

/// A receive ring of a port that is up, whose interrupt is off.
pub struct Held<'a> {
    port: &'a Port,
    napi: u64,
}

impl<'a> Held<'a> {
    /// Holds the ring of a queue. `first` sends a frame to it: the poll for that frame is the last,
    /// and leaves the interrupt off.
    pub fn new(port: &'a Port, queue: u64, first: impl FnOnce() -> Result<()>) -> Result<Self> {
        let held = Self {
            port,
            napi: napi(port, queue)?.id,
        };
        let before = port.link()?.stat("rx_packets")?;

        held.set(&NapiSettings {
            defer_hard_irqs: 100,
            gro_flush_timeout: FOR_EVER,
            ..NapiSettings::default()
        })?;
        first()?;
        port.wait_received(before + 1)?;
        // The poll counts the frame before it ends, and until then it would take further frames.
        rcu::grace_period()?;
        Ok(held)
    }

    /// Polls the ring again. The change of its size to `size` completes once the ring is empty.
    pub fn release(self, size: u32) -> Result<()> {
        self.set(&NapiSettings::default())?;
        self.port.ethtool("-G", &format!("rx {size}")).map(drop)
    }

    fn set(&self, settings: &NapiSettings) -> Result<()> {
        self.port.ns.enter(|| netdev::set_napi(self.napi, settings))
    }
}
