// SPDX-License-Identifier: GPL-2.0

//! The interrupt line: the NIC, the timer of the moderation, and polls.

use super::{
    bounded,
    fill,
    publish,
    ring,
    schedule,
    shared,
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
    ring::{
        DriverSide,
        Ring, //
    },
};
use std::sync::Arc;

/// The NIC publishes two frames. When neither the NIC, the timer nor the rearming of the line has
/// scheduled another poll, all published frames must have been taken.
fn no_irq_is_lost(not_before: u64) {
    loom::model(move || {
        let (mut nic, mut driver) = ring();
        for id in 0..2 {
            driver.post(Box::new(id)).unwrap();
        }
        driver.doorbell();

        let irq = Arc::new(Irq::new(true));
        // Number of polls that are scheduled and have not run.
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
                    match publish(&irq, &mut moderation, 1, 8, || 1) {
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
            // A timer that was started may expire at any time.
            if timer.swap(false, Ordering::Acquire) && irq.expire(|| driver.has_completed()) {
                schedule(&scheduled);
            }
        };
        poll();
        poll();
        hardware.join().unwrap();
        poll();
        poll();
        assert_eq!(next, 2, "a published frame was not taken");
    });
}

#[test]
fn irq_is_never_lost() {
    no_irq_is_lost(0);
}

#[test]
fn moderated_irq_is_never_lost() {
    no_irq_is_lost(2);
}

/// The timer of a moderated interrupt runs at the same time as the NIC and the poll. Whichever of
/// the three schedules the poll, it is scheduled once, and in the end all frames have been taken.
#[test]
fn timer_is_one_of_three() {
    loom::model(|| {
        let shared = shared();
        let (mut nic, mut driver) = Ring::split(shared.clone()).unwrap();
        for id in 0..2 {
            driver.post(Box::new(id)).unwrap();
        }
        driver.doorbell();
        // A poll has armed the line, with moderation, and has not seen a frame.
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
                    match publish(&irq, &mut moderation, 1, 2, || 1) {
                        Raised::Fire => schedule(&scheduled),
                        Raised::Timer(_) => timers += 1,
                        Raised::Nothing => {}
                    }
                }
                timers
            }
        });
        // A timer that was started before.
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
        assert_eq!(next, 2, "a published frame was not taken");
    });
}

/// The line of a ring and what arms and raises it, as in `rust/card/rx.rs`.
struct PolledLine {
    irq: Irq,
    ring: Shared,
    /// Up to which index the last poll has taken frames.
    position: AtomicU32,
    scheduled: AtomicBool,
    timer: AtomicBool,
}

impl PolledLine {
    /// Raises the interrupt for one frame, at time 1. The line is armed with 2 as the earliest
    /// time.
    fn raise(&self, moderation: &mut Moderation) {
        match publish(&self.irq, moderation, 1, 8, || 1) {
            Raised::Fire => self.schedule(),
            Raised::Timer(_) => drop(self.timer.swap(true, Ordering::AcqRel)),
            Raised::Nothing => {}
        }
    }

    /// A NAPI that is scheduled during a poll is polled once more.
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

    /// Lets the timer expire, if it was started.
    fn expire(&self) {
        if self.timer.swap(false, Ordering::Acquire) && self.irq.expire(|| self.is_pending()) {
            self.schedule();
        }
    }

    /// Polls, if a poll is scheduled, and arms the line.
    fn poll(&self, driver: &mut DriverSide<Shared>, next: &mut u32) {
        if self.scheduled.swap(false, Ordering::AcqRel) {
            while take(driver, next) {}
            self.position
                .store(driver.next_to_clean(), Ordering::Relaxed);
            self.rearm();
        }
    }
}

/// A poll has completed. Before it arms the line, a busy poll does, which ran without an interrupt.
/// The NIC must not take the line that the second of them arms for the one whose timer it has
/// started.
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
        assert_eq!(next, 2, "a published frame was not taken");
    });
}
