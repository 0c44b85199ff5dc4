// SPDX-License-Identifier: GPL-2.0

//! What all threads of the traffic share: the gate that lets them work, and where the ports are.

use super::standstill::PAUSE;
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
pub struct Place {
    pub port: Port,
    pub mtu: u32,
    /// It is in the namespace in which it has its address.
    pub home: bool,
    /// Another number each time that it is a new device or in another namespace.
    pub generation: u64,
}

/// Kinds of traffic, in the order in which they are left over when the gate is closed bit by bit: what others
/// have done is then not put right by those who come later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Large TCP frames.
    Bulk,
    /// What the stack sends.
    Stack,
    /// What programs redirect.
    Redirect,
}

const KINDS: usize = 3;
/// How often it is looked, with a pause each time, whether all have come to rest. Nobody does more than a moment's
/// work, or waits longer, without asking whether the gate is open.
const PATIENCE: u32 = 4000;

struct Inner {
    /// The kinds from this one on have to wait.
    closed_from: usize,
    ended: bool,
    /// Who works on each kind.
    working: [Vec<String>; KINDS],
    failures: Vec<String>,
}

/// The gate.
pub struct Gate {
    inner: Mutex<Inner>,
    changed: Condvar,
    places: RwLock<[Option<Place>; PORTS]>,
    /// Which frames the programs of devmaps drop: see `storm.bpf.c`.
    pub drops: AtomicU32,
    /// Bytes that TCP and UDP have carried, and probes that were received: all were compared.
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
            places: RwLock::default(),
            drops: AtomicU32::new(0),
            compared: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one piece of work after the other while the gate is open, until the end or a failure.
    pub fn work(&self, kind: Kind, who: &str, mut piece: impl FnMut() -> Result<()>) {
        // So that it can be told who hangs.
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

    /// Whether a long piece of work may go on.
    pub fn is_open(&self, kind: Kind) -> bool {
        let inner = self.lock();

        !inner.ended && inner.closed_from > kind as usize
    }

    /// Fails with what threads failed with.
    pub fn check(&self) -> Result<()> {
        let failures = self.lock().failures.join("\n");

        ensure!(failures.is_empty(), "traffic: {failures}");
        Ok(())
    }

    pub fn open(&self) {
        self.lock().closed_from = KINDS;
        self.changed.notify_all();
    }

    /// Closes the gate for traffic of this kind and of those after it, and waits until no thread is at work
    /// on it. Fails if somebody does not come to an end, though nobody waits for long by itself.
    pub fn close_from(&self, kind: Kind) -> Result<()> {
        self.stop(kind as usize, false)
    }

    /// Ends the work of all threads.
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
