// SPDX-License-Identifier: GPL-2.0

//! What all threads of the traffic share: the gate that starts and stops them, and in which
//! namespaces the ports are.

use super::stuck::PAUSE;
use crate::bed::Port;
use anyhow::{bail, ensure, Result};
use std::{
    fs,
    sync::{
        atomic::{AtomicU32, AtomicU64, Ordering},
        Condvar, Mutex, MutexGuard, PoisonError, RwLock,
    },
};

/// Number of ports: two pairs.
pub const PORTS: usize = 4;

/// Where a port is now.
#[derive(Clone)]
pub struct Location {
    pub port: Port,
    pub mtu: u32,
    /// It is in the namespace in which it has an IP address.
    pub home: bool,
    /// Changes whenever the port is a new device, or in another namespace.
    pub generation: u64,
}

/// Kinds of traffic. When the gate is closed step by step, the last kind stops first. So a queue
/// that one kind has left stuck is not freed by another kind that goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Large TCP frames.
    Bulk,
    /// Small frames of the stack.
    Stack,
    /// Frames that programs redirect.
    Redirect,
}

const KINDS: usize = 3;
/// How often the gate checks, with a pause after each check, whether all threads have stopped. Each
/// thread asks at short intervals whether the gate is still open.
const PATIENCE: u32 = 4000;

struct Inner {
    /// This kind and those after it are stopped.
    closed_from: usize,
    ended: bool,
    /// The threads at work, by kind.
    working: [Vec<String>; KINDS],
    failures: Vec<String>,
}

/// The gate.
pub struct Gate {
    inner: Mutex<Inner>,
    changed: Condvar,
    locations: RwLock<[Option<Location>; PORTS]>,
    /// Which frames the programs of devmaps drop: see `storm.bpf.c`.
    pub drops: AtomicU32,
    /// Bytes received over TCP and UDP, and of probes, all of which were compared.
    pub compared: AtomicU64,
}

impl Gate {
    /// A gate that is closed.
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                closed_from: 0,
                ended: false,
                working: Default::default(),
                failures: Vec::new(),
            }),
            changed: Condvar::new(),
            locations: RwLock::default(),
            drops: AtomicU32::new(0),
            compared: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `piece` again and again while the gate is open, until the end or a failure.
    pub fn work(&self, kind: Kind, who: &str, mut piece: impl FnMut() -> Result<()>) {
        // A thread that hangs can be told by its name.
        let _ = fs::write("/proc/thread-self/comm", who);
        while self.begin(kind, who) {
            let done = piece();
            let mut inner = self.lock();
            let working = &mut inner.working[kind as usize];

            if let Some(at) = working.iter().position(|name| name == who) {
                working.swap_remove(at);
            }
            self.changed.notify_all();
            if let Err(error) = done {
                inner.failures.push(format!("{who}: {error:#}"));
                return;
            }
        }
    }

    fn begin(&self, kind: Kind, who: &str) -> bool {
        let mut inner = self.lock();

        while !inner.ended && inner.closed_from <= kind as usize {
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if inner.ended {
            return false;
        }
        inner.working[kind as usize].push(who.to_owned());
        true
    }

    /// Whether traffic of this kind may go on.
    pub fn is_open(&self, kind: Kind) -> bool {
        let inner = self.lock();

        !inner.ended && inner.closed_from > kind as usize
    }

    /// Fails with the errors of the threads that have failed.
    pub fn check(&self) -> Result<()> {
        let failures = self.lock().failures.join("\n");

        ensure!(failures.is_empty(), "traffic: {failures}");
        Ok(())
    }

    pub fn open(&self) {
        self.lock().closed_from = KINDS;
        self.changed.notify_all();
    }

    /// Stops traffic of this kind and of those after it, and waits until their threads have
    /// stopped. Fails if one does not, since no thread waits for long by itself.
    pub fn close_from(&self, kind: Kind) -> Result<()> {
        self.stop(kind as usize, false)
    }

    /// Ends all threads.
    pub fn end(&self) -> Result<()> {
        self.stop(0, true)
    }

    fn stop(&self, from: usize, end: bool) -> Result<()> {
        let mut inner = self.lock();

        inner.closed_from = from;
        inner.ended |= end;
        self.changed.notify_all();
        for _ in 0..PATIENCE {
            if inner.working[from..].iter().all(Vec::is_empty) {
                return Ok(());
            }
            inner = self
                .changed
                .wait_timeout(inner, PAUSE)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        bail!(
            "still at work: {}",
            inner.working[from..].concat().join(", ")
        )
    }

    pub fn location(&self, n: usize) -> Option<Location> {
        self.locations
            .read()
            .unwrap_or_else(PoisonError::into_inner)[n]
            .clone()
    }

    pub fn set_location(&self, n: usize, location: Option<Location>) {
        self.locations
            .write()
            .unwrap_or_else(PoisonError::into_inner)[n] = location;
    }

    pub fn count(&self, amount: u64) {
        self.compared.fetch_add(amount, Ordering::Relaxed);
    }
}
