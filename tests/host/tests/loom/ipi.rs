// SPDX-License-Identifier: GPL-2.0

//! The claim on a cross-CPU call.

use loom::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        Ordering, //
    },
    thread, //
};
use oxnic::ipi::Claim;
use std::sync::Arc;

/// A cross-CPU call as in `kernel/smp.c`: a single entry, queued for a CPU that may be offline.
struct Call {
    claim: Claim,
    /// The entry, which the kernel writes to without a lock.
    entry: UnsafeCell<()>,
    queued: AtomicBool,
    is_online: bool,
    /// For each sender, the last number that it has published, and the last that the handler has
    /// seen.
    published: [AtomicU32; 2],
    seen: [AtomicU32; 2],
}

impl Call {
    fn new(is_online: bool) -> Arc<Self> {
        let zeroes = || [0, 0].map(AtomicU32::new);
        Arc::new(Self {
            claim: Claim::new(),
            entry: UnsafeCell::new(()),
            queued: AtomicBool::new(false),
            is_online,
            published: zeroes(),
            seen: zeroes(),
        })
    }

    /// As in `Vector::interrupt_target`.
    fn send(&self, sender: usize, number: u32) {
        self.published[sender].store(number, Ordering::Relaxed);
        if !self.claim.try_claim() {
            return;
        }
        self.entry.with_mut(|_| ());
        if self.is_online {
            let queued = self.queued.swap(true, Ordering::AcqRel);
            assert!(!queued, "queued twice");
        } else {
            self.handle();
        }
    }

    /// Runs the interrupt on the target CPU, if it was sent.
    fn interrupt(&self) {
        if self.queued.swap(false, Ordering::AcqRel) {
            self.entry.with_mut(|_| ());
            self.handle();
        }
    }

    fn handle(&self) {
        self.claim.release();
        for (published, seen) in self.published.iter().zip(&self.seen) {
            seen.fetch_max(published.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// Two CPUs raise an interrupt that a third one handles. They send it one at a time, and the
/// handler sees what both have published.
fn interrupt_of_another_cpu(is_online: bool) {
    const NUMBERS: [u32; 2] = [2, 1];

    loom::model(move || {
        let call = Call::new(is_online);
        let senders = [0, 1].map(|sender| {
            let call = call.clone();
            thread::spawn(move || {
                (1..=NUMBERS[sender]).for_each(|number| call.send(sender, number))
            })
        });

        call.interrupt();
        for sender in senders {
            sender.join().unwrap();
        }
        call.interrupt();
        assert!(!call.claim.is_claimed(), "claimed for ever");
        for (seen, number) in call.seen.iter().zip(NUMBERS) {
            assert_eq!(
                seen.load(Ordering::Relaxed),
                number,
                "an interrupt was lost"
            );
        }
    });
}

#[test]
fn cross_cpu_call_is_sent_by_one() {
    interrupt_of_another_cpu(true);
}

#[test]
fn cross_cpu_call_that_cannot_be_sent_is_given_back() {
    interrupt_of_another_cpu(false);
}
