// SPDX-License-Identifier: GPL-2.0

//! The descriptor ring.

use super::{
    fill,
    ring,
    take, //
};
use loom::thread;
use std::sync::{
    atomic::{
        AtomicUsize,
        Ordering::Relaxed, //
    },
    Arc, //
};

/// Buffers come back in order and with the data written into them, also when slots are reused while
/// the NIC fills others.
#[test]
fn ring_hands_over() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    loom::model(move || {
        let (mut nic, mut driver) = ring();
        let hardware = thread::spawn(move || {
            for _ in 0..3 {
                fill(&mut nic);
                nic.publish();
            }
            nic
        });

        let mut next = 0;
        for id in 0..4 {
            if driver.post(Box::new(id)).is_err() {
                break;
            }
            driver.doorbell();
            if id > 0 {
                take(&mut driver, &mut next);
            }
        }
        seen.fetch_max(next as usize, Relaxed);

        let _nic = hardware.join().unwrap();
        while take(&mut driver, &mut next) {}
    });
    assert_eq!(most.load(Relaxed), 3, "slots were never reused");
}
