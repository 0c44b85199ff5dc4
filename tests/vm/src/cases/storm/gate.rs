// SPDX-License-Identifier: GPL-2.0

//! What all threads of the traffic share: the gate that lets them work, and where the ports are.

use crate::bed::Port;
use anyhow::{ensure, Result};
use std::{
    fs,
    sync::{
        atomic::{AtomicU64, Ordering},
        Condvar, Mutex, MutexGuard, PoisonError, RwLock,
    },
};

/// Number of ports: two pairs.
pub const PORTS: usize = 4;

/// Where a port is now.
#[derive(Clone)]
pub struct Place {
    pub port: Port,
    pub mtu: u32,
    /// It is in the namespace in which it has its address.
    pub home: bool,
    /// Another number each time that it is a new device or in another namespace.
    pub generation: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Go,
    Hold,
    End,
}

struct Inner {
    phase: Phase,
    working: usize,
    failures: Vec<String>,
}

/// The gate.
pub struct Gate {
    inner: Mutex<Inner>,
    changed: Condvar,
    places: RwLock<[Option<Place>; PORTS]>,
    /// Bytes that TCP and UDP have carried, and probes that were received: all were compared.
    pub compared: AtomicU64,
}

impl Gate {
    /// A gate that is closed.
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                phase: Phase::Hold,
                working: 0,
                failures: Vec::new(),
            }),
            changed: Condvar::new(),
            places: RwLock::default(),
            compared: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one piece of work after the other while the gate is open, until the end or a failure.
    pub fn work(&self, who: &str, mut piece: impl FnMut() -> Result<()>) {
        // So that it can be told who hangs.
        let _ = fs::write("/proc/thread-self/comm", who);
        while self.begin() {
            let done = piece();
            let mut inner = self.lock();

            inner.working -= 1;
            self.changed.notify_all();
            if let Err(error) = done {
                inner.failures.push(format!("{who}: {error:#}"));
                return;
            }
        }
    }

    fn begin(&self) -> bool {
        let mut inner = self.lock();

        while inner.phase == Phase::Hold {
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if inner.phase == Phase::End {
            return false;
        }
        inner.working += 1;
        true
    }

    /// Whether a long piece of work may go on.
    pub fn is_open(&self) -> bool {
        self.lock().phase == Phase::Go
    }

    /// Fails with what threads failed with.
    pub fn check(&self) -> Result<()> {
        let failures = self.lock().failures.join("\n");

        ensure!(failures.is_empty(), "traffic: {failures}");
        Ok(())
    }

    pub fn open(&self) {
        self.lock().phase = Phase::Go;
        self.changed.notify_all();
    }

    /// Closes the gate and waits until no thread is at work.
    pub fn close(&self) {
        self.stop(Phase::Hold);
    }

    /// Ends the work of all threads.
    pub fn end(&self) {
        self.stop(Phase::End);
    }

    fn stop(&self, phase: Phase) {
        let mut inner = self.lock();

        inner.phase = phase;
        self.changed.notify_all();
        while inner.working > 0 {
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn place(&self, n: usize) -> Option<Place> {
        self.places.read().unwrap_or_else(PoisonError::into_inner)[n].clone()
    }

    pub fn set_place(&self, n: usize, place: Option<Place>) {
        self.places.write().unwrap_or_else(PoisonError::into_inner)[n] = place;
    }

    pub fn count(&self, amount: u64) {
        self.compared.fetch_add(amount, Ordering::Relaxed);
    }
}
