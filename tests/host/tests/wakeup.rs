// SPDX-License-Identifier: GPL-2.0

//! Interrupt, flow control and counters, as far as one thread can see.

#![cfg(not(loom))]

use oxnic::nic::{
    counter::Counter,
    irq::{Adaptive, Irq, Moderation, Raised},
    pause::{Waiters, MAX_QUEUES},
};

/// Publishes one frame at the given time.
fn raise(irq: &Irq, moderation: &mut Moderation, now: u64) -> Raised {
    irq.raise(moderation, 1, 4, || now)
}

fn lines(armed: bool) -> (Irq, Moderation) {
    (Irq::new(armed), Moderation::default())
}

#[test]
fn an_interrupt_fires_once() {
    let (irq, mut nic) = lines(true);
    assert_eq!(raise(&irq, &mut nic, 0), Raised::Fire);
    assert_eq!(raise(&irq, &mut nic, 0), Raised::Nothing);
}

#[test]
fn a_disarmed_interrupt_is_silent() {
    let (irq, mut nic) = lines(false);
    assert_eq!(raise(&irq, &mut nic, 0), Raised::Nothing);
    assert!(!irq.expire(|| true));
}

#[test]
fn rearming_finds_what_came_meanwhile() {
    let (irq, mut nic) = lines(false);
    assert!(irq.rearm(0, || true));
    assert_eq!(raise(&irq, &mut nic, 0), Raised::Nothing, "it has fired");

    assert!(!irq.rearm(0, || false));
    assert_eq!(raise(&irq, &mut nic, 0), Raised::Fire);
}

#[test]
fn rearming_leaves_it_to_an_interrupt_that_was_faster() {
    let (irq, mut nic) = lines(false);
    let poll_again = irq.rearm(0, || {
        assert_eq!(raise(&irq, &mut nic, 0), Raised::Fire);
        true
    });
    assert!(!poll_again);
}

#[test]
fn frames_wait_for_the_time_to_come() {
    let (irq, mut nic) = lines(false);
    for round in 0..3 {
        assert!(!irq.rearm(1000, || false), "round {round}");
        assert_eq!(raise(&irq, &mut nic, 400), Raised::Timer(600));
        assert_eq!(raise(&irq, &mut nic, 500), Raised::Nothing, "started");
        assert!(irq.expire(|| true));
        assert!(!irq.expire(|| true), "it has fired");
    }
    assert!(!irq.rearm(1000, || false));
    assert!(!irq.expire(|| false), "a poll for nothing");
    assert_eq!(raise(&irq, &mut nic, 1000), Raised::Fire, "after a pause");
}

#[test]
fn many_frames_do_not_wait() {
    let (irq, mut nic) = lines(false);
    for _round in 0..3 {
        assert!(!irq.rearm(1000, || false));
        assert_eq!(raise(&irq, &mut nic, 1), Raised::Timer(999));
        assert_eq!(raise(&irq, &mut nic, 2), Raised::Nothing);
        assert_eq!(raise(&irq, &mut nic, 3), Raised::Nothing);
        assert_eq!(raise(&irq, &mut nic, 4), Raised::Fire);
    }
    assert!(!irq.rearm(1000, || false));
    let batch = irq.raise(&mut nic, 4, 4, || unreachable!("nobody asks for the time"));
    assert_eq!(batch, Raised::Fire);
}

#[test]
fn streams_wait_longer_than_single_frames() {
    let mut adaptive = Adaptive::new();
    let shortest = adaptive.next(1);
    for _ in 0..20 {
        adaptive.next(10);
    }
    let longest = adaptive.next(10);
    assert!(longest > 4 * shortest);
    assert_eq!(adaptive.next(64), longest, "just right");
    assert_eq!(adaptive.next(2), longest);
    assert!(adaptive.next(1000) < longest, "more than needed");
    assert_eq!(adaptive.next(1), shortest, "a single one");
    assert_eq!(adaptive.next(1000), shortest);
}

/// How many single frames in a row come at once before one is kept waiting.
fn singles_before_a_trial(adaptive: &mut Adaptive) -> usize {
    let shortest = Adaptive::new().next(1);
    (0..).take_while(|_| adaptive.next(1) == shortest).count()
}

#[test]
fn slow_streams_are_found() {
    let mut adaptive = Adaptive::new();
    let shortest = adaptive.next(1);
    let first = singles_before_a_trial(&mut adaptive);
    assert!(adaptive.next(8) > shortest, "it was a stream");
    assert!(adaptive.next(8) > 8 * shortest);

    // Single frames after all: waits become rare.
    for _ in 0..20 {
        singles_before_a_trial(&mut adaptive);
    }
    let later = singles_before_a_trial(&mut adaptive);
    assert!(later > 50 * first && later < 10_000, "{first} {later}");
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
