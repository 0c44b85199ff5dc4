// SPDX-License-Identifier: GPL-2.0

//! A ring that is not polled until the test wants it: frames wait in it, however slow or fast the
//! machine is.

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
    /// Holds the ring of a queue. `first` sends a frame to it: the poll which that leads to leaves
    /// the interrupt off, and is the last.
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
        // A poll counts before it ends, and would take what comes until then.
        rcu::grace_period()?;
        Ok(held)
    }

    /// Lets the ring be polled. The change to another size, `size`, completes once the ring is
    /// empty.
    pub fn release(self, size: u32) -> Result<()> {
        self.set(&NapiSettings::default())?;
        self.port.ethtool("-G", &format!("rx {size}")).map(drop)
    }

    fn set(&self, settings: &NapiSettings) -> Result<()> {
        self.port.ns.enter(|| netdev::set_napi(self.napi, settings))
    }
}
