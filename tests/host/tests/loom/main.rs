// SPDX-License-Identifier: GPL-2.0

//! What happens between threads, in every interleaving that the memory model allows.

#![cfg(loom)]

use std::sync::{
    atomic::{
        AtomicUsize,
        Ordering::Relaxed, //
    },
    Arc, //
};

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
use oxnic::nic::{
    completion::Completion,
    irq::{
        Irq,
        Moderation,
        Raised, //
    },
    pause::Waiters,
    ring::{
        DriverSide,
        NicSide,
        Ring,
        Slot, //
    },
};

type Shared = Arc<Ring<Box<u32>, Vec<Slot<Box<u32>>>>>;

fn shared() -> Shared {
    Arc::new(Ring::new(vec![Slot::new(), Slot::new()]).unwrap())
}

fn ring() -> (NicSide<Shared>, DriverSide<Shared>) {
    Ring::split(shared()).unwrap()
}

/// Fills a posted buffer with twice its number, if there is one.
fn fill(nic: &mut NicSide<Shared>) -> bool {
    let Some(mut fill) = nic.next_buffer() else {
        return false;
    };
    **fill.buffer() *= 2;
    let len = **fill.buffer();
    fill.complete(Completion::new(len));
    true
}

/// Takes a buffer, if there is one, and checks that it is the next.
fn take(driver: &mut DriverSide<Shared>, next: &mut u32) -> bool {
    let Some((completion, buffer)) = driver.take() else {
        return false;
    };
    assert_eq!(*buffer, 2 * *next);
    assert_eq!(completion.len(), *buffer);
    *next += 1;
    true
}

/// Buffers come back in order and with what was written into them, also when slots are used again
/// while the NIC is at work.
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
    assert_eq!(most.load(Relaxed), 3, "slots were never used again");
}

/// The NIC publishes two frames. Unless it, its timer or the poll's rearming schedules the poll
/// again, all of them must have been taken.
fn no_irq_is_lost(not_before: u64) {
    loom::model(move || {
        let (mut nic, mut driver) = ring();
        for id in 0..2 {
            driver.post(Box::new(id)).unwrap();
        }
        driver.doorbell();

        let irq = Arc::new(Irq::new(true));
        // How many times the poll is yet to run.
        let scheduled = Arc::new(AtomicU32::new(0));
        let timer = Arc::new(AtomicBool::new(false));

        let hardware = thread::spawn({
            let (irq, scheduled) = (irq.clone(), scheduled.clone());
            let timer = timer.clone();
            move || {
                let mut moderation = Moderation::default();
                for _ in 0..2 {
                    assert!(fill(&mut nic));
                    nic.publish();
                    match irq.raise(&mut moderation, 1, 8, || 1) {
                        Raised::Fire => schedule(&scheduled),
                        Raised::Timer(_) => drop(timer.swap(true, Ordering::AcqRel)),
                        Raised::Nothing => {}
                    }
                }
            }
        });

        let mut next = 0;
        let mut poll = || {
            while scheduled.load(Ordering::Acquire) != 0 {
                while take(&mut driver, &mut next) {}
                scheduled.fetch_sub(1, Ordering::AcqRel);
                if irq.rearm(not_before, || driver.has_completed()) {
                    schedule(&scheduled);
                }
            }
            // Whenever it was started it may expire.
            if timer.swap(false, Ordering::Acquire) && irq.expire(|| driver.has_completed()) {
                schedule(&scheduled);
            }
        };
        poll();
        poll();
        hardware.join().unwrap();
        poll();
        poll();
        assert_eq!(next, 2, "a frame was published and nobody told");
    });
}

fn schedule(scheduled: &AtomicU32) {
    let before = scheduled.fetch_add(1, Ordering::AcqRel);
    assert_eq!(before, 0, "scheduled twice");
}

#[test]
fn irq_is_never_lost() {
    no_irq_is_lost(0);
}

#[test]
fn moderated_irq_is_never_lost() {
    no_irq_is_lost(2);
}

/// Checks a model that has too many interleavings to try all of them: those with up to three preemptions,
/// which are enough for what may go wrong.
fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();

    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Two senders find the ring full while the driver makes room. Who then stays stopped is woken.
#[test]
fn waiting_sender_is_always_woken() {
    bounded(|| {
        let room = Arc::new(AtomicBool::new(false));
        let stopped = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let has_stopped = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let waiters = Arc::new(Waiters::new());

        let senders = [0, 1].map(|queue: u32| {
            let (room, stopped, waiters) = (room.clone(), stopped.clone(), waiters.clone());
            let has_stopped = has_stopped.clone();
            thread::spawn(move || {
                let stopped = &stopped[queue as usize];
                stopped.store(true, Ordering::Relaxed);
                has_stopped[queue as usize].store(true, Ordering::Relaxed);
                let stay = waiters.wait(queue, 1, || !room.load(Ordering::Relaxed));
                if !stay {
                    stopped.store(false, Ordering::Relaxed);
                }
            })
        });

        room.store(true, Ordering::Relaxed);
        // One in each poll, and a further poll as long as others wait.
        while let Some(turn) = waiters.take_next(|_| true) {
            let queue = turn.queue as usize;
            // Else the queue might be woken first and then stopped.
            assert!(has_stopped[queue].load(Ordering::Relaxed));
            stopped[queue].store(false, Ordering::Relaxed);
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

/// A sender finds the ring full while flow control is switched off; nobody makes room. Unless it
/// looks once more whether it has to wait at all, it may stop after everybody who waits was woken.
fn flow_control_is_switched_off(looks_again: bool) {
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
                if !waiters.wait(0, 1, || !looks_again || pauses.load(Ordering::Relaxed)) {
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

/// The model finds what it is made for.
#[test]
#[should_panic(expected = "stopped for ever")]
fn sender_that_does_not_look_again_does_not_go_on() {
    flow_control_is_switched_off(false);
}

/// The timer of a moderated interrupt runs beside the NIC and the poll. Whoever of the three
/// schedules the poll, it is scheduled once, and all frames are taken in the end.
#[test]
fn timer_is_one_of_three() {
    loom::model(|| {
        let shared = shared();
        let (mut nic, mut driver) = Ring::split(shared.clone()).unwrap();
        for id in 0..2 {
            driver.post(Box::new(id)).unwrap();
        }
        driver.doorbell();
        // The poll that armed the line has seen nothing yet, and wants to be left alone.
        let irq = Arc::new(Irq::new(false));
        let seen = Arc::new(AtomicU32::new(driver.next_to_clean()));
        let scheduled = Arc::new(AtomicU32::new(0));
        assert!(!irq.rearm(5, || false));

        let timer = {
            let (irq, scheduled, seen) = (irq.clone(), scheduled.clone(), seen.clone());
            move || {
                let position = seen.load(Ordering::Relaxed);
                if irq.expire(|| shared.has_completed_since(position)) {
                    schedule(&scheduled);
                }
            }
        };
        let hardware = thread::spawn({
            let (irq, scheduled) = (irq.clone(), scheduled.clone());
            move || {
                let mut moderation = Moderation::default();
                let mut timers = 0;
                for _ in 0..2 {
                    assert!(fill(&mut nic));
                    nic.publish();
                    match irq.raise(&mut moderation, 1, 2, || 1) {
                        Raised::Fire => schedule(&scheduled),
                        Raised::Timer(_) => timers += 1,
                        Raised::Nothing => {}
                    }
                }
                timers
            }
        });
        // One that was started long ago.
        let early = thread::spawn(timer.clone());

        let mut next = 0;
        let mut poll = || {
            while scheduled.load(Ordering::Acquire) != 0 {
                while take(&mut driver, &mut next) {}
                seen.store(driver.next_to_clean(), Ordering::Relaxed);
                scheduled.fetch_sub(1, Ordering::AcqRel);
                if irq.rearm(5, || driver.has_completed()) {
                    schedule(&scheduled);
                }
            }
        };
        poll();
        let timers = hardware.join().unwrap();
        early.join().unwrap();
        poll();
        (0..timers).for_each(|_| timer());
        poll();
        assert_eq!(next, 2, "a frame was published and nobody told");
    });
}

/// A sender that finds the ring full, as the driver takes frames out of it and posts buffers again:
/// it does not stay stopped beside a posted buffer.
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

/// The line of a ring whose driver's side is polled by whoever has the NAPI, as in
/// `rust/driver/rx.rs`.
struct PolledLine {
    irq: Irq,
    ring: Shared,
    /// How far the poll that ended last had come.
    position: AtomicU32,
    scheduled: AtomicBool,
    timer: AtomicBool,
}

impl PolledLine {
    /// The interrupt is raised for one frame; before this time, 2, the poll is left alone.
    fn raise(&self, moderation: &mut Moderation) {
        match self.irq.raise(moderation, 1, 8, || 1) {
            Raised::Fire => self.schedule(),
            Raised::Timer(_) => drop(self.timer.swap(true, Ordering::AcqRel)),
            Raised::Nothing => {}
        }
    }

    /// A NAPI that is scheduled again is polled once more.
    fn schedule(&self) {
        self.scheduled.swap(true, Ordering::AcqRel);
    }

    fn is_pending(&self) -> bool {
        self.ring
            .has_completed_since(self.position.load(Ordering::Relaxed))
    }

    fn rearm(&self) {
        if self.irq.rearm(2, || self.is_pending()) {
            self.schedule();
        }
    }

    /// The timer expires, if it was started.
    fn expire(&self) {
        if self.timer.swap(false, Ordering::Acquire) && self.irq.expire(|| self.is_pending()) {
            self.schedule();
        }
    }

    /// Polls, if that is scheduled, and arms the line.
    fn poll(&self, driver: &mut DriverSide<Shared>, next: &mut u32) {
        if self.scheduled.swap(false, Ordering::AcqRel) {
            while take(driver, next) {}
            self.position
                .store(driver.next_to_clean(), Ordering::Relaxed);
            self.rearm();
        }
    }
}

/// A poll has completed, but before it arms the line another one does, which came without an
/// interrupt: that of somebody who busy polls. The NIC must not take the number of one of them for
/// a line whose timer still runs.
#[test]
fn two_polls_arm_the_line() {
    bounded(|| {
        let shared = shared();
        let (mut nic, mut driver) = Ring::split(shared.clone()).unwrap();
        for id in 0..2 {
            driver.post(Box::new(id)).unwrap();
        }
        driver.doorbell();
        let line = Arc::new(PolledLine {
            irq: Irq::new(false),
            ring: shared,
            position: AtomicU32::new(driver.next_to_clean()),
            scheduled: AtomicBool::new(false),
            timer: AtomicBool::new(false),
        });

        let late = thread::spawn({
            let line = line.clone();
            move || line.rearm()
        });
        let hardware = thread::spawn({
            let line = line.clone();
            move || {
                let mut moderation = Moderation::default();
                for _ in 0..2 {
                    assert!(fill(&mut nic));
                    nic.publish();
                    line.raise(&mut moderation);
                }
            }
        });

        let mut next = 0;
        line.rearm();
        line.expire();
        line.poll(&mut driver, &mut next);
        late.join().unwrap();
        hardware.join().unwrap();
        for _ in 0..2 {
            line.expire();
            line.poll(&mut driver, &mut next);
        }
        assert_eq!(next, 2, "a frame was published and nobody told");
    });
}

/// A cross-CPU call as in `kernel/smp.c`: one entry, which is queued for a CPU that may be offline.
struct Call {
    claim: Claim,
    /// What the kernel writes to without a lock.
    entry: UnsafeCell<()>,
    queued: AtomicBool,
    is_online: bool,
    /// For each sender, what it has published and what was seen of it.
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

    /// As `Vector::interrupt_target`.
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

    /// The interrupt on the target CPU, if it was sent.
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

/// Two CPUs raise an interrupt of a third. It is sent by one of them at a time, and what both have
/// published is seen.
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

/// Two queues wait for the same ring. A poll wakes one of them, and the ring is polled again as long as
/// the other one waits: the woken queue may have nothing to send, and then nothing else would poll it.
fn a_woken_queue_sends_nothing(polls_again: bool) {
    loom::model(move || {
        let waiters = Arc::new(Waiters::new());
        let room = Arc::new(AtomicBool::new(false));
        let stopped = Arc::new([AtomicBool::new(true), AtomicBool::new(true)]);
        // It waits already.
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

/// The model finds what it is made for.
#[test]
#[should_panic(expected = "stopped for ever")]
fn the_other_queue_is_not_woken_without_a_further_poll() {
    a_woken_queue_sends_nothing(false);
}

/// Frames of a redirect and of the stack fill a ring; there is no room for the last one, and the
/// stack's queue stops. The poll that takes the frames out posts buffers and wakes it. Unless the
/// frames are published before the queue stops, it never runs.
fn queue_stops_behind_a_batch(publishes: bool) {
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

        // Who sends holds the lock of the wire, so it is as if one thread did all of it.
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
                    match irq.raise(&mut moderation, new, 8, || 1) {
                        Raised::Fire => schedule(&scheduled),
                        Raised::Timer(_) => unreachable!("there is no moderation"),
                        Raised::Nothing => {}
                    }
                };
                let mut sent = 0;
                // The batch.
                while sent < 2 && fill(&mut nic) {
                    sent += 1;
                }
                // The stack.
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
fn queue_that_stops_behind_a_batch_is_woken() {
    queue_stops_behind_a_batch(true);
}

/// The model finds what it is made for.
#[test]
#[should_panic(expected = "stopped for ever")]
fn queue_that_publishes_nothing_is_not_woken() {
    queue_stops_behind_a_batch(false);
}
