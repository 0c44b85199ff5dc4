// SPDX-License-Identifier: GPL-2.0

//! Flow control: senders that wait for buffers, and the refill that wakes them.

use super::{
    bounded,
    fill,
    publish,
    ring,
    schedule,
    take,
    Shared, //
};
use loom::{
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        Ordering, //
    },
    thread, //
};
use oxnic::nic::{
    irq::{
        Irq,
        Moderation,
        Raised, //
    },
    pause::{
        of_xsk,
        Waiters, //
    },
    ring::NicSide, //
};
use std::sync::Arc;

/// Two transmit queues find the ring full while the driver makes room. A queue that
/// stays stopped is woken.
#[test]
fn waiting_sender_is_always_woken() {
    two_senders_wait([0, 1]);
}

/// The same with a transmit queue and the AF_XDP sockets of a queue.
#[test]
fn waiting_socket_is_always_woken() {
    two_senders_wait([0, of_xsk(0)]);
}

fn two_senders_wait(numbers: [u32; 2]) {
    bounded(move || {
        let room = Arc::new(AtomicBool::new(false));
        let stopped = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let has_stopped = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let waiters = Arc::new(Waiters::new());

        let senders = [0, 1].map(|sender: usize| {
            let (room, stopped, waiters) = (room.clone(), stopped.clone(), waiters.clone());
            let has_stopped = has_stopped.clone();
            thread::spawn(move || {
                let stopped = &stopped[sender];
                stopped.store(true, Ordering::Relaxed);
                has_stopped[sender].store(true, Ordering::Relaxed);
                let stay = waiters.wait(numbers[sender], 1, || !room.load(Ordering::Relaxed));
                if !stay {
                    stopped.store(false, Ordering::Relaxed);
                }
            })
        });

        room.store(true, Ordering::Relaxed);
        // One queue per poll, and another poll as long as others wait.
        while let Some(turn) = waiters.take_next(|_| true) {
            let sender = usize::from(turn.queue == numbers[1]);
            // Otherwise the queue might be woken before it is stopped.
            assert!(has_stopped[sender].load(Ordering::Relaxed));
            stopped[sender].store(false, Ordering::Relaxed);
            if !turn.others_wait {
                break;
            }
        }

        for sender in senders {
            sender.join().unwrap();
        }
        for queue in stopped.iter() {
            assert!(!queue.load(Ordering::Relaxed), "stopped for ever");
        }
    });
}

/// A sender finds the ring full while flow control is switched off, and no room is made. It must
/// check again whether flow control is on: otherwise its queue may stop after all waiting queues
/// were woken.
fn flow_control_is_switched_off(checks_again: bool) {
    loom::model(move || {
        let pauses = Arc::new(AtomicBool::new(true));
        let stopped = Arc::new(AtomicBool::new(false));
        let waiters = Arc::new(Waiters::new());

        let sender = thread::spawn({
            let (pauses, stopped, waiters) = (pauses.clone(), stopped.clone(), waiters.clone());
            move || {
                if !pauses.load(Ordering::Relaxed) {
                    return;
                }
                stopped.store(true, Ordering::Relaxed);
                if !waiters.wait(0, 1, || !checks_again || pauses.load(Ordering::Relaxed)) {
                    stopped.store(false, Ordering::Relaxed);
                }
            }
        });

        pauses.store(false, Ordering::Relaxed);
        for _ in waiters.take_all() {
            stopped.store(false, Ordering::Relaxed);
        }
        sender.join().unwrap();
        assert!(!stopped.load(Ordering::Relaxed), "stopped for ever");
    });
}

#[test]
fn sender_goes_on_without_flow_control() {
    flow_control_is_switched_off(true);
}

/// The model finds the mistake that it is made for.
#[test]
#[should_panic(expected = "stopped for ever")]
fn sender_that_does_not_check_again_does_not_go_on() {
    flow_control_is_switched_off(false);
}

/// A sender finds the ring full while the driver takes a frame and posts a buffer: its queue does
/// not stay stopped while a buffer is posted.
#[test]
fn sender_goes_on_when_there_are_buffers() {
    loom::model(|| {
        let (mut nic, mut driver) = ring();
        for id in 0..2 {
            driver.post(Box::new(id)).unwrap();
        }
        driver.doorbell();
        assert!(fill(&mut nic));
        nic.publish();
        let waiters = Arc::new(Waiters::new());
        let stopped = Arc::new(AtomicBool::new(false));

        let sender = thread::spawn({
            let (waiters, stopped) = (waiters.clone(), stopped.clone());
            move || {
                let mut sent = 1;
                while sent < 3 && !stopped.load(Ordering::Acquire) {
                    if fill(&mut nic) {
                        nic.publish();
                        sent += 1;
                        continue;
                    }
                    stopped.store(true, Ordering::Relaxed);
                    if !waiters.wait(0, 1, || !nic.has(1)) {
                        stopped.store(false, Ordering::Relaxed);
                    }
                }
                (nic, sent)
            }
        });

        let mut next = 0;
        assert!(take(&mut driver, &mut next));
        driver.post(Box::new(2)).unwrap();
        driver.doorbell();
        if waiters.take_next(|room| driver.posted() >= room).is_some() {
            stopped.store(false, Ordering::Release);
        }

        let (mut nic, sent) = sender.join().unwrap();
        assert!(
            sent == 3 || !stopped.load(Ordering::Relaxed),
            "stopped for ever"
        );
        while fill(&mut nic) {}
        nic.publish();
        while take(&mut driver, &mut next) {}
        assert_eq!(next, 3, "a buffer was lost");
    });
}

/// Two queues wait for the same ring. A poll wakes one of them, and the ring must be polled again
/// as long as the other one waits. The woken queue may have nothing to send, so that nothing else
/// would cause a poll.
fn a_woken_queue_sends_nothing(polls_again: bool) {
    loom::model(move || {
        let waiters = Arc::new(Waiters::new());
        let room = Arc::new(AtomicBool::new(false));
        let stopped = Arc::new([AtomicBool::new(true), AtomicBool::new(true)]);
        // Queue 0 is waiting already.
        assert!(waiters.wait(0, 1, || true));

        let sender = thread::spawn({
            let (room, stopped, waiters) = (room.clone(), stopped.clone(), waiters.clone());
            move || {
                if !waiters.wait(1, 1, || !room.load(Ordering::Relaxed)) {
                    stopped[1].store(false, Ordering::Relaxed);
                }
            }
        });

        room.store(true, Ordering::Relaxed);
        while let Some(turn) = waiters.take_next(|_| true) {
            stopped[turn.queue as usize].store(false, Ordering::Relaxed);
            if !(polls_again && turn.others_wait) {
                break;
            }
        }
        sender.join().unwrap();
        for queue in stopped.iter() {
            assert!(!queue.load(Ordering::Relaxed), "stopped for ever");
        }
    });
}

#[test]
fn the_other_queue_is_woken_too() {
    a_woken_queue_sends_nothing(true);
}

/// The model finds the mistake that it is made for.
#[test]
#[should_panic(expected = "stopped for ever")]
fn the_other_queue_is_not_woken_without_another_poll() {
    a_woken_queue_sends_nothing(false);
}

/// Redirected frames and frames of the stack fill a ring. There is no room for the last one, so the
/// stack's queue stops. The poll that takes the frames posts buffers and wakes the queue. Such a
/// poll comes only if the redirected frames are published before the queue stops.
fn queue_stops_after_a_batch(publishes: bool) {
    loom::model(move || {
        let (mut nic, mut driver) = ring();
        for id in 0..2 {
            driver.post(Box::new(id)).unwrap();
        }
        driver.doorbell();
        let irq = Arc::new(Irq::new(true));
        let waiters = Arc::new(Waiters::new());
        let scheduled = Arc::new(AtomicU32::new(0));
        let stopped = Arc::new(AtomicBool::new(false));

        // Senders hold the lock of the wire, so a single thread can play all of them.
        let senders = thread::spawn({
            let (irq, waiters) = (irq.clone(), waiters.clone());
            let (scheduled, stopped) = (scheduled.clone(), stopped.clone());
            move || {
                let mut moderation = Moderation::default();
                let mut publish = |nic: &mut NicSide<Shared>| {
                    let new = nic.publish();
                    if new == 0 {
                        return;
                    }
                    match publish(&irq, &mut moderation, new, 8, || 1) {
                        Raised::Fire => schedule(&scheduled),
                        Raised::Timer(_) => unreachable!("there is no moderation"),
                        Raised::Nothing => {}
                    }
                };
                let mut sent = 0;
                // The redirected frames, a batch.
                while sent < 2 && fill(&mut nic) {
                    sent += 1;
                }
                // The frame of the stack.
                while sent < 3 {
                    if fill(&mut nic) {
                        publish(&mut nic);
                        sent += 1;
                        continue;
                    }
                    if publishes {
                        publish(&mut nic);
                    }
                    stopped.store(true, Ordering::Relaxed);
                    if waiters.wait(0, 1, || !nic.has(1)) {
                        break;
                    }
                    stopped.store(false, Ordering::Relaxed);
                }
                sent
            }
        });

        let (mut next, mut posted) = (0, 2);
        let mut poll = || {
            while scheduled.load(Ordering::Acquire) != 0 {
                while take(&mut driver, &mut next) {}
                while driver.post(Box::new(posted)).is_ok() {
                    posted += 1;
                }
                driver.doorbell();
                if waiters.take_next(|room| driver.posted() >= room).is_some() {
                    stopped.store(false, Ordering::Release);
                }
                scheduled.fetch_sub(1, Ordering::AcqRel);
                if irq.rearm(0, || driver.has_completed()) {
                    schedule(&scheduled);
                }
            }
        };
        poll();
        let sent = senders.join().unwrap();
        poll();
        assert!(
            sent == 3 || !stopped.load(Ordering::Acquire),
            "stopped for ever"
        );
    });
}

#[test]
fn queue_that_stops_after_a_batch_is_woken() {
    queue_stops_after_a_batch(true);
}

/// The model finds the mistake that it is made for.
#[test]
#[should_panic(expected = "stopped for ever")]
fn queue_that_stops_without_publishing_is_not_woken() {
    queue_stops_after_a_batch(false);
}
