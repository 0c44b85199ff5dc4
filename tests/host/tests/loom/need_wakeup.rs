// SPDX-License-Identifier: GPL-2.0

//! A poll that finds the fill ring empty is woken by user space.

use loom::{
    sync::atomic::{
        fence,
        AtomicBool,
        Ordering, //
    },
    thread, //
};
use oxnic::nic::need_wakeup;
use std::sync::Arc;

/// A poll refills, and ends if the fill ring is empty, while user space fills it and then reads the
/// flag.
fn fill_ring_is_filled(full_barrier: bool) {
    loom::model(move || {
        let filled = Arc::new(AtomicBool::new(false));
        let flag = Arc::new(AtomicBool::new(false));

        let user = thread::spawn({
            let (filled, flag) = (filled.clone(), flag.clone());
            move || {
                filled.store(true, Ordering::Release);
                if full_barrier {
                    fence(Ordering::SeqCst);
                }
                flag.load(Ordering::Relaxed)
            }
        });

        let has_buffers = need_wakeup::refill(
            || filled.load(Ordering::Acquire),
            |needed| flag.store(needed, Ordering::Relaxed),
        );
        let woken = user.join().unwrap();
        assert!(has_buffers || woken, "asleep for ever");
    });
}

#[test]
fn poll_that_waits_for_the_fill_ring_is_woken() {
    fill_ring_is_filled(true);
}

/// The model finds a lost wake-up.
#[test]
#[should_panic(expected = "asleep for ever")]
fn poll_is_not_woken_without_a_barrier() {
    fill_ring_is_filled(false);
}
