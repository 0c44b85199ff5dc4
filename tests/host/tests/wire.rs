// SPDX-License-Identifier: GPL-2.0

//! The wire between two ports.

#![cfg(not(loom))]

use std::sync::Arc;

use oxnic::nic::{
    ring::{Completion, DriverSide, Ring, Slot, Status},
    rss::{Hash, HashType, HEADERS_LEN},
    wire::{Buffer, Checksum, Frame, Head, Inlet, Malformed, Refused},
};

/// A buffer with some room in the middle.
struct Page {
    bytes: [u8; 300],
    room: usize,
}

const HEAD_ROOM: usize = 20;
const MAX_LEN: usize = 200;
const STALE: u8 = 0xee;

impl Buffer for Page {
    fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[HEAD_ROOM..HEAD_ROOM + self.room]
    }
}

type Shared = Arc<Ring<Page, Vec<Slot<Page>>>>;

fn port() -> (Inlet<Shared>, DriverSide<Shared>) {
    let slots = (0..4).map(|_| Slot::new()).collect();
    let (nic, driver) = Ring::split(Arc::new(Ring::new(slots).unwrap())).unwrap();
    (Inlet::new(nic, MAX_LEN), driver)
}

fn post(driver: &mut DriverSide<Shared>, room: usize) {
    let bytes = [STALE; 300];
    assert!(driver.post(Page { bytes, room }).is_ok());
    driver.doorbell();
}

struct Packet {
    bytes: Vec<u8>,
    checksum: Result<Checksum, Malformed>,
}

fn packet(len: usize) -> Packet {
    Packet {
        bytes: (0..len).map(|i| i as u8 | 1).collect(),
        checksum: Ok(Checksum::Good),
    }
}

impl Frame for Packet {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn head(&self) -> Head<'_> {
        Head::Linear(&self.bytes)
    }

    fn copy_to(&self, to: &mut [u8]) -> Result<Checksum, Malformed> {
        to.copy_from_slice(&self.bytes);
        self.checksum
    }
}

#[test]
fn a_frame_arrives_as_it_was() {
    let (mut inlet, mut driver) = port();
    post(&mut driver, 280);
    let hash = Hash {
        value: 0x1234_5678,
        kind: HashType::UdpIpv6,
    };
    let frame = packet(MAX_LEN);
    assert_eq!(inlet.put(&frame, hash), Ok(MAX_LEN as u32));
    assert!(driver.take().is_none(), "not flushed");
    assert_eq!(inlet.flush(), 1);
    assert_eq!(inlet.flush(), 0);

    let (page, completion) = driver.take().unwrap();
    let expected = Completion {
        len: MAX_LEN as u32,
        rss_hash: 0x1234_5678,
        hash_type: HashType::UdpIpv6,
        status: Status::END_OF_PACKET.with(Status::CHECKSUM_GOOD),
    };
    assert_eq!(completion, expected);
    let (head_room, rest) = page.bytes.split_at(HEAD_ROOM);
    let (bytes, rest) = rest.split_at(MAX_LEN);
    assert_eq!(bytes, frame.bytes);
    assert!(head_room.iter().chain(rest).all(|&byte| byte == STALE));
}

#[test]
fn short_frames_are_padded_with_zeroes() {
    for len in [14, 42, 59, 60, 61] {
        let (mut inlet, mut driver) = port();
        post(&mut driver, 280);
        let wire_len = len.max(60);
        assert_eq!(inlet.put(&packet(len), Hash::NONE), Ok(wire_len as u32));
        inlet.flush();

        let (page, completion) = driver.take().unwrap();
        assert_eq!(completion.len, wire_len as u32);
        assert_eq!(completion.hash_type, HashType::None);
        let (bytes, rest) = page.bytes[HEAD_ROOM..].split_at(wire_len);
        assert_eq!(bytes[..len], packet(len).bytes);
        assert!(bytes[len..].iter().all(|&byte| byte == 0));
        assert!(rest.iter().all(|&byte| byte == STALE));
    }
}

#[test]
fn an_unknown_checksum_is_not_called_good() {
    let (mut inlet, mut driver) = port();
    post(&mut driver, 280);
    let mut frame = packet(60);
    frame.checksum = Ok(Checksum::Unknown);
    inlet.put(&frame, Hash::NONE).unwrap();
    inlet.flush();
    let (_, completion) = driver.take().unwrap();
    assert_eq!(completion.status, Status::END_OF_PACKET);
    assert!(!completion.status.contains(Status::CHECKSUM_GOOD));
}

#[test]
fn without_a_buffer_it_is_refused() {
    let (mut inlet, mut driver) = port();
    assert_eq!(inlet.available(), 0);
    assert_eq!(inlet.put(&packet(60), Hash::NONE), Err(Refused::NoBuffer));
    post(&mut driver, 280);
    assert_eq!(inlet.available(), 1);
    assert_eq!(inlet.put(&packet(60), Hash::NONE), Ok(60));
    assert_eq!(inlet.put(&packet(60), Hash::NONE), Err(Refused::NoBuffer));
    assert_eq!(inlet.flush(), 1);
}

/// A refused frame costs no buffer, and the next one gets through.
#[test]
fn refused_frames_leave_the_buffer_posted() {
    let malformed = Packet {
        checksum: Err(Malformed),
        ..packet(100)
    };
    for (frame, why) in [
        (packet(MAX_LEN + 1), Refused::Oversize),
        (packet(13), Refused::Malformed),
        (packet(0), Refused::Malformed),
        (malformed, Refused::Malformed),
    ] {
        let (mut inlet, mut driver) = port();
        post(&mut driver, 280);
        assert_eq!(inlet.put(&frame, Hash::NONE), Err(why));
        assert_eq!(inlet.available(), 1);
        assert_eq!(inlet.flush(), 0);
        assert_eq!(inlet.put(&packet(61), Hash::NONE), Ok(61));
        assert_eq!(inlet.flush(), 1);
        let (page, _) = driver.take().unwrap();
        assert_eq!(page.bytes[HEAD_ROOM..][..61], packet(61).bytes);
    }
}

#[test]
fn a_frame_is_never_longer_than_the_room() {
    let (mut inlet, mut driver) = port();
    post(&mut driver, 50);
    assert_eq!(inlet.put(&packet(100), Hash::NONE), Err(Refused::Oversize));
    let padded = inlet.put(&packet(50), Hash::NONE);
    assert_eq!(padded, Err(Refused::Oversize), "padding has no room");
    assert_eq!(inlet.available(), 1);
}

#[test]
fn longest_frame_can_be_changed() {
    let (mut inlet, mut driver) = port();
    post(&mut driver, 280);
    inlet.set_max_len(99);
    assert_eq!(inlet.put(&packet(100), Hash::NONE), Err(Refused::Oversize));
    inlet.set_max_len(280);
    assert_eq!(inlet.put(&packet(280), Hash::NONE), Ok(280));
}

#[test]
fn head_is_what_counts_of_it() {
    let mut copy = [0; HEADERS_LEN];
    copy[..3].copy_from_slice(&[1, 2, 3]);
    assert_eq!(*Head::Copied(copy, 3), [1, 2, 3]);
    assert_eq!(*Head::Copied(copy, HEADERS_LEN), copy);
    assert_eq!(*Head::Copied(copy, usize::MAX), copy);
    let frame = packet(30);
    assert_eq!(*frame.head(), frame.bytes);
}
