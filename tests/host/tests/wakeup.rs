// SPDX-License-Identifier: GPL-2.0

//! Interrupt line, moderation, flow control and counters, each in a single thread.

#![cfg(not(loom))]

use cases::cases;
use oxnic::nic::{
    counter::Counter,
    dim::Dim,
    irq::{
        Irq,
        Moderation,
        Raised, //
    },
    pause::{
        Waiters,
        MAX_SENDERS, //
    },
};
use proptest::prelude::*;
use publish::publish;

mod cases;
mod publish;

/// Publishes one frame at the given time.
fn raise(irq: &Irq, moderation: &mut Moderation, now: u64) -> Raised {
    publish(irq, moderation, 1, 4, || now)
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
fn rearming_finds_frames_that_arrived_meanwhile() {
    let (irq, mut nic) = lines(false);
    assert!(irq.rearm(0, || true));
    assert_eq!(raise(&irq, &mut nic, 0), Raised::Nothing, "it has fired");

    assert!(!irq.rearm(0, || false));
    assert_eq!(raise(&irq, &mut nic, 0), Raised::Fire);
}

#[test]
fn rearming_does_not_poll_after_an_interrupt() {
    let (irq, mut nic) = lines(false);
    let poll_again = irq.rearm(0, || {
        assert_eq!(raise(&irq, &mut nic, 0), Raised::Fire);
        true
    });
    assert!(!poll_again);
}

#[test]
fn frames_wait_for_the_timer() {
    let (irq, mut nic) = lines(false);
    for round in 0..3 {
        assert!(!irq.rearm(1000, || false), "round {round}");
        assert_eq!(raise(&irq, &mut nic, 400), Raised::Timer(600));
        assert_eq!(raise(&irq, &mut nic, 500), Raised::Nothing, "started");
        assert!(irq.expire(|| true));
        assert!(!irq.expire(|| true), "it has fired");
    }
    assert!(!irq.rearm(1000, || false));
    assert!(!irq.expire(|| false), "nothing to poll for");
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
    let batch = publish(&irq, &mut nic, 4, 4, || {
        unreachable!("the time does not matter")
    });
    assert_eq!(batch, Raised::Fire);
}

/// A simulated ring under a traffic pattern.
struct Traffic {
    dim: Dim,
    now: u64,
    delay: u32,
}

impl Traffic {
    fn new() -> Self {
        Self {
            dim: Dim::new(),
            now: 1_000_000,
            delay: SHORTEST,
        }
    }

    fn poll(&mut self, frames: u32) -> u32 {
        self.delay = self.dim.next(frames, self.now);
        self.delay
    }

    /// A frame every `gap` nanoseconds, independent of the polls, until `polls` polls have run.
    /// Returns the delay that each poll has set.
    fn stream(&mut self, gap: u64, polls: usize) -> Vec<u32> {
        (0..polls)
            .map(|_| {
                let wait = gap.max(u64::from(self.delay) * 1000);
                self.now += wait;
                self.poll((wait / gap) as u32)
            })
            .collect()
    }

    /// Each frame is sent `gap` nanoseconds after the poll that has taken the previous one.
    fn request_response(&mut self, gap: u64, polls: usize) -> Vec<u32> {
        (0..polls)
            .map(|_| {
                self.now += gap.max(u64::from(self.delay) * 1000);
                self.poll(1)
            })
            .collect()
    }
}

const SHORTEST: u32 = 8;
const LONGEST: u32 = 128;

#[test]
fn streams_wait_until_polls_find_enough() {
    // So fast that polls find enough without a longer delay.
    let mut fast = Traffic::new();
    assert!(fast.stream(50, 200).iter().all(|&delay| delay == SHORTEST));
    // Polls find enough with half of the longest delay.
    let mut medium = Traffic::new();
    let delays = medium.stream(1_000, 1000).split_off(200);
    assert!(delays.iter().all(|&delay| delay == LONGEST / 2));
    // A faster stream shortens the delay.
    let last = *medium.stream(100, 400).last().unwrap();
    assert!(last < LONGEST / 4, "{last}");
}

/// Frames that arrive one by one but continuously, as on rings that share a sender.
#[test]
fn slow_streams_are_found() {
    for gap in [9_000, 20_000, 32_000, 50_000] {
        let mut traffic = Traffic::new();
        traffic.stream(gap, 40);
        let delays = traffic.stream(gap, 10_000);
        let short = delays.iter().filter(|&&delay| delay < LONGEST).count();
        assert!(short < 100, "{gap}: {short}");
    }
}

/// A sender that waits for an answer to each frame is hardly delayed.
#[test]
fn requests_do_not_wait() {
    for gap in [5_000, 15_000, 30_000, 100_000] {
        let mut traffic = Traffic::new();
        traffic.request_response(gap, 2000);
        let delays = traffic.request_response(gap, 10_000);
        let delayed = delays.iter().filter(|&&delay| delay > SHORTEST).count();
        assert!(delayed <= 60, "{gap}: {delayed}");
        assert!(delayed > 0, "{gap}: no delay is tried any more");
    }
}

/// Several senders that wait for answers at the same time: their frames arrive together, but fewer
/// of them per second with a longer delay.
#[test]
fn concurrent_requests_do_not_wait() {
    let mut traffic = Traffic::new();
    let delays: Vec<u32> = (0..10_000)
        .map(|_| {
            traffic.now += 10_000.max(u64::from(traffic.delay) * 1000);
            traffic.poll(4)
        })
        .collect();
    let delayed = delays.iter().filter(|&&delay| delay > SHORTEST).count();
    assert!(delayed < 200, "{delayed}");
}

#[test]
fn single_frames_do_not_wait_after_a_stream() {
    let mut traffic = Traffic::new();
    traffic.stream(2_000, 500);
    assert_eq!(traffic.delay, LONGEST);
    let delays = traffic.request_response(20_000, 100);
    assert!(
        delays[40..]
            .iter()
            .filter(|&&delay| delay > SHORTEST)
            .count()
            <= 8
    );
}

/// The queues that polls wake, one by one, until none waits.
fn take_turns(waiters: &Waiters) -> Vec<u32> {
    let mut woken = Vec::new();
    while let Some(turn) = waiters.take_next(|_| true) {
        woken.push(turn.queue);
        if !turn.others_wait {
            break;
        }
    }
    woken
}

#[test]
fn waiting_queues_are_woken_once_and_in_order() {
    let waiters = Waiters::new();
    assert_eq!(waiters.take_all().count(), 0);
    for queue in [63, 0, 17, 0] {
        assert!(waiters.wait(queue, 1, || true));
    }
    assert_eq!(waiters.take_all().collect::<Vec<_>>(), [0, 17, 63]);
    assert_eq!(waiters.take_all().count(), 0);
    assert_eq!(waiters.take_next(|_| true), None);
}

#[test]
fn queues_are_woken_one_at_a_time() {
    let waiters = Waiters::new();
    for queue in [63, 0, 17] {
        assert!(waiters.wait(queue, 1, || true));
    }
    assert_eq!(take_turns(&waiters), [0, 17, 63]);
    assert_eq!(waiters.take_next(|_| true), None);
}

#[test]
fn no_queue_is_woken_without_room() {
    let waiters = Waiters::new();
    assert!(waiters.wait(3, 8, || true));
    assert_eq!(waiters.take_next(|room| 7 >= room), None);
    assert!(waiters.has(3));
    let turn = waiters.take_next(|room| 8 >= room).unwrap();
    assert_eq!((turn.queue, turn.others_wait), (3, false));
}

#[test]
fn the_others_come_before_a_queue_that_waits_again() {
    let waiters = Waiters::new();
    for queue in [0, 5, 63] {
        assert!(waiters.wait(queue, 1, || true));
    }
    let mut woken = Vec::new();
    for _ in 0..7 {
        let turn = waiters.take_next(|_| true).unwrap();
        woken.push(turn.queue);
        assert!(turn.others_wait);
        assert!(waiters.wait(turn.queue, 1, || true));
    }
    assert_eq!(woken, [0, 5, 63, 0, 5, 63, 0]);
}

#[test]
fn a_queue_that_finds_room_does_not_wait() {
    let waiters = Waiters::new();
    assert!(waiters.wait(1, 1, || true));
    assert!(!waiters.wait(2, 1, || false));
    assert_eq!(waiters.take_all().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_queue_that_could_not_be_woken_does_not_wait() {
    let waiters = Waiters::new();
    assert!(!waiters.wait(MAX_SENDERS, 1, || true));
    assert!(!waiters.wait(u32::MAX, 1, || true));
    assert_eq!(waiters.take_all().count(), 0);
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

/// An event at a moderated interrupt.
#[derive(Clone, Debug)]
enum Step {
    /// This many frames are published.
    Publish(u32),
    /// This many nanoseconds pass, and an expired timer fires.
    Pass(u64),
    /// The poll runs, if it is scheduled, and allows the next interrupt after this many
    /// nanoseconds.
    Poll(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u32..6).prop_map(Step::Publish),
        3 => (0u64..200).prop_map(Step::Pass),
        3 => prop_oneof![Just(0), 0u64..500].prop_map(Step::Poll),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(cases(256))]

    /// While there are frames that no poll has seen, a poll is scheduled or a timer is running. The
    /// timer expires no later than the last poll has asked for, and fewer than `most` frames wait
    /// for it.
    #[test]
    fn no_frame_is_forgotten(most in 1u32..10, steps in steps()) {
        let (irq, mut moderation) = lines(false);
        let (mut now, mut not_before) = (1000, 0);
        let (mut scheduled, mut timer) = (true, None);
        let mut unseen = 0;
        for step in steps {
            match step {
                Step::Publish(frames) => {
                    unseen += frames;
                    match publish(&irq, &mut moderation, frames, most, || now) {
                        Raised::Nothing => {}
                        Raised::Fire => {
                            prop_assert!(!scheduled, "scheduled twice");
                            scheduled = true;
                        }
                        Raised::Timer(wait) => {
                            prop_assert!(!scheduled && now + wait == not_before);
                            timer = Some(now + wait);
                        }
                    }
                }
                Step::Pass(time) => {
                    now += time;
                    if timer.is_some_and(|end| end <= now) {
                        timer = None;
                        if irq.expire(|| unseen != 0) {
                            prop_assert!(!scheduled, "scheduled twice");
                            scheduled = true;
                        }
                    }
                }
                Step::Poll(wait) => {
                    if scheduled {
                        unseen = 0;
                        not_before = if wait == 0 { 0 } else { now + wait };
                        scheduled = irq.rearm(not_before, || false);
                        prop_assert!(!scheduled, "nothing was pending");
                    }
                }
            }
            if unseen != 0 && !scheduled {
                prop_assert!(timer.is_some_and(|end| end <= not_before), "no poll will come");
                prop_assert!(unseen < most, "{} frames wait", unseen);
            }
        }
    }

    /// With any traffic the delay stays within its bounds, and nothing overflows.
    #[test]
    fn dim_delays_are_bounded(
        polls in prop::collection::vec(
            (
                prop_oneof![4 => 0u32..200, 1 => any::<u32>()],
                prop_oneof![4 => 0u64..1_000_000, 1 => any::<u64>()],
            ),
            0..500,
        ),
    ) {
        let mut dim = Dim::new();
        let mut now = 0_u64;
        for (frames, gap) in polls {
            // Wraps: the clock may go backwards.
            now = now.wrapping_add(gap);
            let delay = dim.next(frames, now);
            prop_assert!((SHORTEST..=LONGEST).contains(&delay), "{}", delay);
        }
    }

    /// Each waiting queue is woken once, and no other.
    #[test]
    fn exactly_the_waiting_queues_are_woken(
        rounds in prop::collection::vec(
            prop::collection::vec((0u32..140, any::<bool>()), 0..20),
            0..10,
        ),
    ) {
        let waiters = Waiters::new();
        for round in rounds {
            let mut waiting = std::collections::BTreeSet::new();
            for (queue, full) in round {
                let stays = waiters.wait(queue, 1, || full);
                prop_assert_eq!(stays, full && queue < MAX_SENDERS);
                if stays {
                    waiting.insert(queue);
                } else {
                    waiting.remove(&queue);
                }
            }
            let woken: Vec<_> = waiters.take_all().collect();
            prop_assert_eq!(woken.len(), waiting.len());
            prop_assert_eq!(woken.into_iter().collect::<std::collections::BTreeSet<_>>(), waiting);
        }
    }
}
