// SPDX-License-Identifier: GPL-2.0

//! Restarts one receive queue while the others go on: for the queue management of the kernel, and
//! for root by a file in debugfs.
//!
//! The queue gets a new ring, with buffers from a new page_pool, and a new NAPI that keeps the id,
//! the settings and the interrupt of the old one, as on a change of the ring size. The program
//! stays.

use super::{
    rx::life::{
        drain,
        quiesce,
        ParkedRing,
        ReadyRing, //
    },
    trace::Trace,
    vsi::Vsi, //
};
use crate::{
    compat::ENETDOWN,
    net::{
        debugfs,
        device::LockedDevice,
        napi::Removed,
        queue_mgmt::{
            self,
            NotRestarted, //
        },
        rtnl_link::Registration, //
    }, //
};
use core::slice;
use kernel::{
    prelude::*,
    str::BStr, //
};

impl queue_mgmt::Ops for Vsi {
    type Memory = ParkedRing;

    fn alloc_queue(&self, dev: &LockedDevice, queue: usize) -> Result<ParkedRing> {
        if !self.port.is_up() {
            return Err(ENETDOWN);
        }
        let ring = self.rx_rings.get(queue).ok_or(EINVAL)?;
        let size = self.port.ring_size();
        Ok(ReadyRing::new(dev, self.ring_config(size), ring)?.park())
    }

    fn free_queue(&self, dev: &LockedDevice, ring: ParkedRing) {
        if let Some(ring) = ring.resume(dev) {
            // A ring of umem has a spare.
            ring.end(&mut Removed::with_room(2));
        }
    }

    fn start_queue(&self, dev: &LockedDevice, queue: usize, ring: ParkedRing) {
        let Some(ring) = ring.resume(dev) else { return };
        let ring = ring.connect(None, self.rx_config(dev)).start();
        // It fits: the capacity is that of all rings.
        let _ = self.running.lock().insert_within_capacity(queue, ring);
        Trace::new(dev, &self.settings).queue_started(queue);
    }

    fn stop_queue(&self, dev: &LockedDevice, queue: usize) -> Result<ParkedRing> {
        let mut ring = self.running.lock().remove(queue).map_err(|_| ENETDOWN)?;
        ring.stop_for_restart();
        drain(slice::from_ref(&ring));
        quiesce(slice::from_ref(&ring));
        let ring = ring.halt(dev).ok_or(ENETDOWN)?;
        Trace::new(dev, &self.settings).queue_stopped(queue);
        Ok(ring.park())
    }
}

/// The file `restart_queue` in debugfs.
impl debugfs::Write for Registration<Vsi> {
    fn write(&self, text: &[u8]) -> Result {
        let Some((name, queue)) = parse(text) else {
            pr_info!("restart_queue: must be a port and one of its receive queues: \"ox0 3\"\n");
            return Err(EINVAL);
        };
        let Err(why) = self.restart_rx_queue(name, queue) else {
            return Ok(());
        };
        let name = BStr::from_bytes(name);
        Err(match why {
            NotRestarted::NoDevice => {
                pr_info!("restart_queue: no port {name} in this network namespace\n");
                ENODEV
            }
            NotRestarted::NoQueue(queues) => {
                pr_info!("restart_queue: {name}: no receive queue {queue}, there are {queues}\n");
                ERANGE
            }
            NotRestarted::Failed(ENETDOWN) => {
                pr_info!("restart_queue: {name}: the port is down\n");
                ENETDOWN
            }
            NotRestarted::Failed(error) => {
                pr_info!("restart_queue: {name}: receive queue {queue} not restarted: {error:?}\n");
                error
            }
        })
    }
}

/// Parses what is written to the file: the name of a port, a space, and the number of a receive
/// queue.
fn parse(text: &[u8]) -> Option<(&[u8], u32)> {
    let mut words = text.trim_ascii().splitn(2, |&byte| byte == b' ');
    let (name, queue) = (words.next()?, words.next()?);
    let queue = core::str::from_utf8(queue).ok()?.trim().parse().ok()?;
    Some((name, queue))
}
