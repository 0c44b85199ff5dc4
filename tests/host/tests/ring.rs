// SPDX-License-Identifier: GPL-2.0

//! The descriptor ring.

#![cfg(not(loom))]

use std::{
    collections::VecDeque,
    sync::{
        atomic::{
            AtomicUsize,
            Ordering, //
        },
        Arc, //
    },
    thread, //
};

use cases::cases;
use oxnic::nic::{
    completion::{
        Completion,
        Status, //
    },
    ring::{
        BadSize,
        DriverSide,
        NicSide,
        Ring,
        Slot,
        MAX_SIZE, //
    },
    rss::{
        Hash,
        HashType, //
    },
};
use proptest::prelude::*;

mod cases;

type Shared<B> = Arc<Ring<B, Vec<Slot<B>>>>;

fn slots<B>(size: usize) -> Vec<Slot<B>> {
    (0..size).map(|_| Slot::new()).collect()
}

fn ring<B>(size: usize) -> (NicSide<Shared<B>>, DriverSide<Shared<B>>) {
    Ring::split(Arc::new(Ring::new(slots(size)).unwrap())).unwrap()
}

fn completion(len: u32) -> Completion {
    Completion::new(len)
        .with_hash(Hash {
            value: !len,
            kind: HashType::TcpIpv6,
        })
        .with_status(Status::MORE_BUFFERS)
}

/// A buffer that counts how many buffers are alive.
struct Counted {
    id: u32,
    alive: Arc<AtomicUsize>,
}

impl Counted {
    fn new(id: u32, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            alive: alive.clone(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let before = self.alive.fetch_sub(1, Ordering::Relaxed);
        assert_ne!(before, 0, "dropped twice");
    }
}

#[test]
fn size_is_a_power_of_two_within_limits() {
    for size in [0, 1, 3, 100, MAX_SIZE as usize + 1, 2 * MAX_SIZE as usize] {
        assert_eq!(Ring::<u8, _>::new(slots(size)).err(), Some(BadSize));
    }
    for size in [2, 64, 4096, MAX_SIZE] {
        let ring = Ring::<u8, _>::new(slots(size as usize)).unwrap();
        assert_eq!(ring.size(), size);
    }
}

#[test]
fn splits_only_once() {
    let ring = Ring::<u8, _>::new(slots(2)).unwrap();
    {
        let sides = Ring::split(&ring);
        assert!(sides.is_some());
        assert!(Ring::split(&ring).is_none());
    }
    assert!(Ring::split(&ring).is_none(), "nor after the sides are gone");
}

#[test]
fn full_gives_the_buffer_back() {
    let (_nic, driver) = ring(4);
    for id in 0..4 {
        assert_eq!(driver.unused(), 4 - id);
        assert_eq!(driver.post(id), Ok(()));
    }
    assert_eq!(driver.unused(), 0);
    assert_eq!(driver.post(99), Err(99));
}

#[test]
fn posts_as_many_as_fit() {
    let (mut nic, mut driver) = ring(4);
    driver.post(0).unwrap();
    let mut more = 1..6;
    driver.post_each(&mut more);
    assert_eq!(more, 4..6, "the rest stays there");
    assert_eq!(driver.unused(), 0);
    driver.post_each(&mut more);
    assert_eq!(more, 4..6);
    assert_eq!(nic.available(), 0, "before the doorbell");

    driver.doorbell();
    for id in 0..4 {
        nic.next_buffer().unwrap().complete(completion(id));
        nic.publish();
        assert_eq!(driver.take(), Some((&completion(id), id)));
    }
    driver.post_each(&mut more);
    assert!(more.is_empty());
    assert_eq!(driver.unused(), 2);
}

#[test]
fn nothing_is_seen_before_doorbell_and_publish() {
    let (mut nic, mut driver) = ring(4);
    driver.post(7).unwrap();
    assert_eq!(nic.available(), 0);
    assert!(nic.next_buffer().is_none());

    driver.doorbell();
    assert_eq!(nic.available(), 1);
    nic.next_buffer().unwrap().complete(completion(60));
    assert_eq!(nic.available(), 0);
    assert!(!driver.has_completed());
    assert_eq!(driver.take(), None);

    assert_eq!(nic.publish(), 1);
    assert_eq!(nic.publish(), 0);
    assert!(driver.has_completed());
    assert_eq!(driver.take(), Some((&completion(60), 7)));
    assert_eq!(driver.take(), None);
    assert_eq!(driver.unused(), 4);
}

#[test]
fn a_dropped_fill_leaves_the_buffer_posted() {
    let (mut nic, mut driver) = ring(2);
    driver.post(1).unwrap();
    driver.doorbell();
    **nic.next_buffer().unwrap().buffer() = 2;
    assert_eq!(nic.available(), 1);
    assert_eq!(nic.publish(), 0);

    let mut fill = nic.next_buffer().unwrap();
    assert_eq!(**fill.buffer(), 2);
    fill.complete(completion(60));
    assert_eq!(nic.publish(), 1);
    assert_eq!(driver.take(), Some((&completion(60), 2)));
}

/// The indices start shortly before their wrap-around, so that this test passes it.
#[test]
fn wraps_around_in_order() {
    for size in [2, 8, 64, 256] {
        let (mut nic, mut driver) = ring(size);
        let (mut posted, mut taken) = (0, 0);
        while taken < 1000 {
            while driver.post(posted).is_ok() {
                posted += 1;
            }
            assert_eq!(driver.unused(), 0);
            driver.doorbell();
            assert_eq!(nic.available() as usize, size);

            while let Some(mut fill) = nic.next_buffer() {
                let id = **fill.buffer();
                fill.complete(completion(id));
            }
            assert_eq!(nic.publish() as usize, size);

            for _ in 0..size {
                assert_eq!(driver.take(), Some((&completion(taken), taken)));
                taken += 1;
            }
            assert_eq!(driver.take(), None);
        }
    }
}

/// Fills a ring of 8 with buffers in every state: published, completed, posted, new.
fn fill_every_way(
    nic: &mut NicSide<Shared<Counted>>,
    driver: &mut DriverSide<Shared<Counted>>,
    alive: &Arc<AtomicUsize>,
) {
    for id in 0..8 {
        assert!(driver.post(Counted::new(id, alive)).is_ok());
        if id == 5 {
            // The last two are posted, but the doorbell was not rung.
            driver.doorbell();
        }
    }
    for id in 0..4 {
        nic.next_buffer().unwrap().complete(completion(id));
        if id == 2 {
            // The fourth is completed, but not published.
            nic.publish();
        }
    }
}

#[test]
fn every_buffer_is_dropped_once() {
    let alive = Arc::new(AtomicUsize::new(0));
    let (mut nic, mut driver) = ring(8);
    fill_every_way(&mut nic, &mut driver, &alive);
    let (_, taken) = driver.take().unwrap();
    assert_eq!(taken.id, 0);
    assert_eq!(alive.load(Ordering::Relaxed), 8);
    drop(taken);
    assert_eq!(alive.load(Ordering::Relaxed), 7);

    drop(driver);
    assert_eq!(alive.load(Ordering::Relaxed), 7, "the NIC may still write");
    nic.next_buffer().unwrap().complete(completion(4));
    drop(nic);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

/// Ending a ring drops its new, posted, filled and published buffers, although a handle to the ring
/// still exists.
#[test]
fn an_ended_ring_is_empty() {
    let alive = Arc::new(AtomicUsize::new(0));
    let shared = Arc::new(Ring::new(slots(8)).unwrap());
    let (mut nic, mut driver) = Ring::split(shared.clone()).unwrap();
    fill_every_way(&mut nic, &mut driver, &alive);
    drop(driver.take());
    assert_eq!(alive.load(Ordering::Relaxed), 7);
    driver.end(nic);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
    drop(shared);
}

/// A ring is not ended with the side of another ring, since its own NIC may still write.
#[test]
fn a_ring_is_ended_with_its_own_nic_only() {
    let alive = Arc::new(AtomicUsize::new(0));
    let (mut nic, mut driver) = ring(4);
    let (other, _) = ring(4);
    assert!(driver.post(Counted::new(1, &alive)).is_ok());
    driver.doorbell();
    driver.end(other);
    assert_eq!(alive.load(Ordering::Relaxed), 1);
    assert_eq!(nic.next_buffer().unwrap().buffer().id, 1);
    drop(nic);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn hands_over_between_threads() {
    const FRAMES: u64 = if cfg!(miri) { 200 } else { 200_000 };
    let (mut nic, mut driver) = ring::<Box<[u64; 4]>>(16);

    let hardware = thread::spawn(move || {
        let mut frame = 0;
        while frame < FRAMES {
            if let Some(mut fill) = nic.next_buffer() {
                ***fill.buffer() = [frame, !frame, frame << 7, 0].map(|word| word ^ frame);
                fill.complete(completion(frame as u32));
                frame += 1;
            } else {
                thread::yield_now();
            }
            if frame % 5 == 0 || frame == FRAMES || nic.available() == 0 {
                nic.publish();
            }
        }
    });

    let mut spare: Vec<Box<[u64; 4]>> = (0..16).map(|_| Box::default()).collect();
    for frame in 0..FRAMES {
        while let Some(buffer) = spare.pop() {
            driver.post(buffer).unwrap();
        }
        driver.doorbell();
        let (completed, buffer) = loop {
            match driver.take() {
                Some(taken) => break taken,
                None => thread::yield_now(),
            }
        };
        assert_eq!(*completed, completion(frame as u32));
        assert_eq!(*buffer, [0, u64::MAX, (frame << 7) ^ frame, frame]);
        spare.push(buffer);
    }
    hardware.join().unwrap();
}

#[test]
fn sides_can_move_to_other_threads() {
    fn sendable<T: Send>(_: &T) {}
    let (nic, driver) = ring::<Box<u8>>(2);
    sendable(&nic);
    sendable(&driver);
}

#[test]
fn two_descriptors_share_a_cache_line() {
    assert_eq!(size_of::<Slot<Box<u8>>>(), 32);
}

/// A step of the test.
#[derive(Clone, Debug)]
enum Step {
    Post,
    Doorbell,
    Take,
    Complete,
    Abandon,
    Publish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Post),
        2 => Just(Step::Doorbell),
        4 => Just(Step::Take),
        4 => Just(Step::Complete),
        1 => Just(Step::Abandon),
        2 => Just(Step::Publish),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #![proptest_config(cases(256))]

    /// After any steps a ring behaves like four queues in a row.
    #[test]
    fn behaves_like_four_queues(bits in 1usize..5, steps in steps()) {
        let size = 1 << bits;
        let alive = Arc::new(AtomicUsize::new(0));
        let (mut nic, mut driver) = ring(size);
        let [mut new, mut posted, mut filled, mut completed] = [const { VecDeque::new() }; 4];
        let mut id = 0;

        for step in steps {
            match step {
                Step::Post => {
                    let full = driver.unused() == 0;
                    prop_assert_eq!(driver.post(Counted::new(id, &alive)).is_err(), full);
                    if !full {
                        new.push_back(id);
                    }
                    id += 1;
                }
                Step::Doorbell => {
                    driver.doorbell();
                    posted.append(&mut new);
                }
                Step::Complete => match nic.next_buffer() {
                    Some(mut fill) => {
                        let id = fill.buffer().id;
                        prop_assert_eq!(posted.pop_front(), Some(id));
                        fill.complete(completion(id));
                        filled.push_back(id);
                    }
                    None => prop_assert!(posted.is_empty()),
                },
                Step::Abandon => {
                    let id = nic.next_buffer().map(|mut fill| fill.buffer().id);
                    prop_assert_eq!(id, posted.front().copied());
                }
                Step::Publish => {
                    prop_assert_eq!(nic.publish() as usize, filled.len());
                    completed.append(&mut filled);
                }
                Step::Take => {
                    prop_assert_eq!(driver.has_completed(), !completed.is_empty());
                    let taken = driver.take().map(|(info, buffer)| (buffer.id, *info));
                    let expected = completed.pop_front().map(|id| (id, completion(id)));
                    prop_assert_eq!(taken, expected);
                }
            }
            let inside = new.len() + posted.len() + filled.len() + completed.len();
            prop_assert_eq!(alive.load(Ordering::Relaxed), inside);
            prop_assert_eq!(driver.unused() as usize, size - inside);
            prop_assert_eq!(driver.posted() as usize, posted.len() + filled.len());
            prop_assert_eq!(nic.available() as usize, posted.len());
        }
        drop((nic, driver));
        prop_assert_eq!(alive.load(Ordering::Relaxed), 0);
    }
}

/// Buffers that were completed but not published can be taken back, and no others.
#[test]
fn rewound_buffers_are_filled_again() {
    let (mut nic, mut driver) = ring(4);
    for buffer in 0..4 {
        driver.post(buffer).unwrap();
    }
    driver.doorbell();

    let before = nic.mark();
    nic.next_buffer().unwrap().complete(completion(1));
    assert_eq!(nic.publish(), 1);
    let mark = nic.mark();
    for len in [2, 3] {
        nic.next_buffer().unwrap().complete(completion(len));
    }
    assert!(nic.has(1) && !nic.has(2));
    nic.rewind(before);
    assert!(!nic.has(2), "what is published stays published");
    nic.rewind(mark);
    assert!(nic.has(3) && !nic.has(4));
    assert_eq!(nic.publish(), 0);

    nic.next_buffer().unwrap().complete(completion(4));
    assert_eq!(nic.publish(), 1);
    assert_eq!(driver.take(), Some((&completion(1), 0)));
    assert_eq!(driver.take(), Some((&completion(4), 1)));
    assert_eq!(driver.take(), None);
}
