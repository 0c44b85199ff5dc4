// SPDX-License-Identifier: GPL-2.0

//! Models of the threads that share a ring, its interrupt, its waiting senders or a cross-CPU call:
//! loom runs them in every interleaving that the memory model allows.
//!
//! A model that is expected to panic shows that the others would find that mistake.

#![cfg(loom)]

use loom::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use oxnic::nic::{
    completion::Completion,
    ring::{
        DriverSide,
        NicSide,
        Ring,
        Slot, //
    },
};
use std::sync::Arc;

mod ipi;
mod irq;
mod need_wakeup;
mod pause;
#[path = "../publish/mod.rs"]
mod publish;
mod ring;

pub(crate) use publish::publish;

pub(crate) type Shared = Arc<Ring<Box<u32>, Vec<Slot<Box<u32>>>>>;

pub(crate) fn shared() -> Shared {
    Arc::new(Ring::new(vec![Slot::new(), Slot::new()]).unwrap())
}

pub(crate) fn ring() -> (NicSide<Shared>, DriverSide<Shared>) {
    Ring::split(shared()).unwrap()
}

/// Fills a posted buffer with twice its number, if there is one.
pub(crate) fn fill(nic: &mut NicSide<Shared>) -> bool {
    let Some(mut fill) = nic.next_buffer() else {
        return false;
    };
    ***fill.buffer() *= 2;
    let len = ***fill.buffer();
    fill.complete(Completion::new(len));
    true
}

/// Takes a completed buffer, if there is one, and checks that it is the next in order.
pub(crate) fn take(driver: &mut DriverSide<Shared>, next: &mut u32) -> bool {
    let Some((completion, buffer)) = driver.take() else {
        return false;
    };
    assert_eq!(*buffer, 2 * *next);
    assert_eq!(completion.len(), *buffer);
    *next += 1;
    true
}

/// Schedules the poll, which must not be scheduled already.
pub(crate) fn schedule(scheduled: &AtomicU32) {
    let before = scheduled.fetch_add(1, Ordering::AcqRel);
    assert_eq!(before, 0, "scheduled twice");
}

/// Checks a model that has too many interleavings to try all: only those with up to three
/// preemptions, which find most mistakes, as loom's documentation says.
pub(crate) fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();

    builder.preemption_bound = Some(3);
    builder.check(model);
}
