// SPDX-License-Identifier: GPL-2.0

//! Interrupt, flow control and counters, as far as one thread can see.

#![cfg(not(loom))]

use oxnic::nic::{
    counter::Counter,
    irq::Irq,
    pause::{Waiters, MAX_QUEUES},
};

#[test]
fn an_interrupt_fires_once() {
    let irq = Irq::new(true);
    assert!(irq.raise());
    assert!(!irq.raise());
}

#[test]
fn a_disarmed_interrupt_is_silent() {
    let irq = Irq::new(false);
    assert!(!irq.raise());
    assert!(!irq.rearm(|| false));
    irq.disarm();
    assert!(!irq.raise());
}

#[test]
fn rearming_finds_what_came_meanwhile() {
    let irq = Irq::new(false);
    assert!(irq.rearm(|| true));
    assert!(!irq.raise(), "it has fired");

    assert!(!irq.rearm(|| false));
    assert!(irq.raise());
}

#[test]
fn rearming_leaves_it_to_an_interrupt_that_was_faster() {
    let irq = Irq::new(false);
    let poll_again = irq.rearm(|| {
        assert!(irq.raise());
        true
    });
    assert!(!poll_again);
}

#[test]
fn waiting_queues_are_woken_once_and_in_order() {
    let waiters = Waiters::new();
    assert_eq!(waiters.take().count(), 0);
    for queue in [63, 0, 17, 0] {
        assert!(waiters.wait(queue, || true));
    }
    assert_eq!(waiters.take().collect::<Vec<_>>(), [0, 17, 63]);
    assert_eq!(waiters.take().count(), 0);
}

#[test]
fn a_queue_that_finds_room_does_not_wait() {
    let waiters = Waiters::new();
    assert!(waiters.wait(1, || true));
    assert!(!waiters.wait(2, || false));
    assert_eq!(waiters.take().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_queue_that_could_not_be_woken_does_not_wait() {
    let waiters = Waiters::new();
    assert!(!waiters.wait(MAX_QUEUES, || true));
    assert!(!waiters.wait(u32::MAX, || true));
    assert_eq!(waiters.take().count(), 0);
}

#[test]
fn a_counter_adds_and_wraps() {
    let counter = Counter::new();
    counter.add(60);
    counter.add(1514);
    assert_eq!(counter.get(), 1574);
    counter.add(u64::MAX);
    assert_eq!(counter.get(), 1573);
}
