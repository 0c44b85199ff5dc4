// SPDX-License-Identifier: GPL-2.0

//! The wire between two ports.

#![cfg(not(loom))]

use std::{
    num::NonZeroU64,
    sync::Arc, //
};

use cases::cases;
use oxnic::dest::Dest;
use oxnic::nic::{
    completion::{
        Completion,
        Status, //
    },
    headers::HEADERS_LEN,
    ring::{
        DriverSide,
        EitherSide,
        Ring,
        Slot, //
    },
    rss::{
        Hash,
        HashType, //
    },
    vlan::{
        Protocol,
        Strip,
        Tag, //
    },
    wire::{
        Checksum,
        FrameHead,
        Malformed,
        Patch,
        Refused,
        RingWriter,
        RxBuffer,
        RxConfig,
        RxLimits,
        TxFrame, //
    },
};
use proptest::prelude::*;

#[path = "../cases/mod.rs"]
mod cases;
mod model;

/// A buffer with the room for the frame in the middle.
struct Page {
    bytes: [u8; 300],
    room: usize,
    /// Counts the buffers that are alive.
    _alive: Arc<()>,
}

const HEAD_ROOM: usize = 20;
const PAGE_ROOM: usize = 280;
const MAX_LEN: usize = 200;
const STALE: u8 = 0xee;

impl RxBuffer for Page {
    fn room(&mut self) -> Dest<'_> {
        Dest::from(&mut self.bytes[HEAD_ROOM..HEAD_ROOM + self.room])
    }
}

type Shared = Arc<Ring<Page, Vec<Slot<Page>>>>;
type Side = EitherSide<Shared, Shared>;

const LIMITS: RxLimits = RxLimits {
    room: PAGE_ROOM,
    max_buffers: u32::MAX,
};

fn port() -> (RingWriter<Side>, DriverSide<Shared>) {
    port_with(4, MAX_LEN, Strip::default())
}

fn config(max_len: usize) -> RxConfig {
    RxConfig {
        max_len,
        strip: Strip::default(),
    }
}

fn port_with(slots: u32, max_len: usize, strip: Strip) -> (RingWriter<Side>, DriverSide<Shared>) {
    let slots = (0..slots).map(|_| Slot::new()).collect();
    let (nic, driver) = Ring::split(Arc::new(Ring::new(slots).unwrap())).unwrap();
    (
        RingWriter::new(Side::Pages(nic), RxConfig { max_len, strip }, LIMITS),
        driver,
    )
}

/// Writes a frame without a timestamp, as most tests do.
fn send(writer: &mut RingWriter<Side>, frame: &Packet, hash: Hash) -> Result<u32, Refused> {
    writer.write(frame, Completion::new(0).with_hash(hash))
}

fn post(driver: &mut DriverSide<Shared>, room: usize) {
    assert!(driver.post(page(room, &Arc::default())).is_ok());
    driver.doorbell();
}

fn page(room: usize, alive: &Arc<()>) -> Page {
    Page {
        bytes: [STALE; 300],
        room,
        _alive: alive.clone(),
    }
}

struct Packet {
    bytes: Vec<u8>,
    checksum: Result<Checksum, Malformed>,
    tag: Option<Tag>,
    patch: Option<Patch>,
}

fn packet(len: usize) -> Packet {
    Packet {
        bytes: (0..len).map(|i| i as u8 | 1).collect(),
        checksum: Ok(Checksum::Good),
        tag: None,
        patch: None,
    }
}

impl Packet {
    /// The bytes with the checksum filled in.
    fn summed(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(Patch { offset, bytes: sum }) = self.patch {
            bytes[offset..][..2].copy_from_slice(&sum);
        }
        bytes
    }
}

impl TxFrame for Packet {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn head(&self) -> FrameHead<'_> {
        FrameHead::Linear(&self.bytes)
    }

    fn is_plain(&self) -> bool {
        self.tag.is_none() && self.patch.is_none() && self.checksum == Ok(Checksum::Unknown)
    }

    fn start(&self) -> &[u8] {
        &self.bytes
    }

    fn tag(&self) -> Option<Tag> {
        self.tag
    }

    fn copy_to(&self, mut to: Dest<'_>) -> Result<Checksum, Malformed> {
        assert_eq!(to.len(), self.bytes.len());
        to.write(0, &self.summed()).unwrap();
        self.checksum
    }

    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
        Ok((self.checksum?, self.patch))
    }

    fn copy_part(&self, offset: usize, mut to: Dest<'_>) -> Result<(), Malformed> {
        let bytes = self
            .bytes
            .get(offset..)
            .and_then(|from| from.get(..to.len()));
        to.write(0, bytes.ok_or(Malformed)?).ok_or(Malformed)
    }
}

#[test]
fn a_frame_arrives_as_it_was() {
    let (mut writer, mut driver) = port();
    post(&mut driver, 280);
    let hash = Hash {
        value: 0x1234_5678,
        kind: HashType::UdpIpv6,
    };
    let frame = packet(MAX_LEN);
    assert_eq!(send(&mut writer, &frame, hash), Ok(MAX_LEN as u32));
    assert!(driver.take().is_none(), "not published");
    assert_eq!(writer.publish(), 1);
    assert_eq!(writer.publish(), 0);

    let (completion, page) = driver.take().unwrap();
    let expected = Completion::new(MAX_LEN as u32)
        .with_hash(hash)
        .with_status(Status::CHECKSUM_GOOD);
    assert_eq!(*completion, expected);
    let (head_room, rest) = page.bytes.split_at(HEAD_ROOM);
    let (bytes, rest) = rest.split_at(MAX_LEN);
    assert_eq!(bytes, frame.bytes);
    assert!(head_room.iter().chain(rest).all(|&byte| byte == STALE));
}

#[test]
fn short_frames_are_padded_with_zeroes() {
    for len in [14, 42, 59, 60, 61] {
        let (mut writer, mut driver) = port();
        post(&mut driver, 280);
        let wire_len = len.max(60);
        assert_eq!(
            send(&mut writer, &packet(len), Hash::NONE),
            Ok(wire_len as u32)
        );
        writer.publish();

        let (completion, page) = driver.take().unwrap();
        assert_eq!(completion.len(), wire_len as u32);
        assert_eq!(completion.hash(), Hash::NONE);
        let (bytes, rest) = page.bytes[HEAD_ROOM..].split_at(wire_len);
        assert_eq!(bytes[..len], packet(len).bytes);
        assert!(bytes[len..].iter().all(|&byte| byte == 0));
        assert!(rest.iter().all(|&byte| byte == STALE));
    }
}

#[test]
fn an_unknown_checksum_is_not_reported_as_good() {
    let (mut writer, mut driver) = port();
    post(&mut driver, 280);
    let mut frame = packet(60);
    frame.checksum = Ok(Checksum::Unknown);
    send(&mut writer, &frame, Hash::NONE).unwrap();
    writer.publish();
    let (completion, _) = driver.take().unwrap();
    assert!(!completion.is(Status::MORE_BUFFERS));
    assert!(!completion.is(Status::CHECKSUM_GOOD));
}

#[test]
fn without_a_buffer_it_is_refused() {
    let (mut writer, mut driver) = port();
    assert!(writer.is_full());
    assert_eq!(
        send(&mut writer, &packet(60), Hash::NONE),
        Err(Refused::NoBuffer)
    );
    post(&mut driver, 280);
    assert!(!writer.is_full());
    assert_eq!(send(&mut writer, &packet(60), Hash::NONE), Ok(60));
    assert_eq!(
        send(&mut writer, &packet(60), Hash::NONE),
        Err(Refused::NoBuffer)
    );
    assert_eq!(writer.publish(), 1);
}

/// A refused frame takes no buffer, and the next one gets through.
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
        let (mut writer, mut driver) = port();
        post(&mut driver, 280);
        assert_eq!(send(&mut writer, &frame, Hash::NONE), Err(why));
        assert!(!writer.is_full());
        assert_eq!(writer.publish(), 0);
        assert_eq!(send(&mut writer, &packet(61), Hash::NONE), Ok(61));
        assert_eq!(writer.publish(), 1);
        let (_, page) = driver.take().unwrap();
        assert_eq!(page.bytes[HEAD_ROOM..][..61], packet(61).bytes);
    }
}

#[test]
fn a_frame_is_never_longer_than_the_room() {
    let (mut writer, mut driver) = port();
    post(&mut driver, 50);
    assert_eq!(
        send(&mut writer, &packet(100), Hash::NONE),
        Err(Refused::Oversize)
    );
    let padded = send(&mut writer, &packet(50), Hash::NONE);
    assert_eq!(padded, Err(Refused::Oversize), "padding has no room");
    assert!(!writer.is_full());
}

#[test]
fn longest_frame_can_be_changed() {
    let (mut writer, mut driver) = port();
    post(&mut driver, 280);
    writer.configure(config(99));
    assert_eq!(
        send(&mut writer, &packet(100), Hash::NONE),
        Err(Refused::Oversize)
    );
    writer.configure(config(280));
    assert_eq!(send(&mut writer, &packet(280), Hash::NONE), Ok(280));
}

#[test]
fn head_has_only_the_used_bytes() {
    let mut copy = [0; HEADERS_LEN];
    copy[..3].copy_from_slice(&[1, 2, 3]);
    assert_eq!(*FrameHead::Copied(copy, 3), [1, 2, 3]);
    assert_eq!(*FrameHead::Copied(copy, HEADERS_LEN), copy);
    assert_eq!(*FrameHead::Copied(copy, usize::MAX), copy);
    let frame = packet(30);
    assert_eq!(*frame.head(), frame.bytes);
}

#[test]
fn a_timestamp_goes_along() {
    let (mut writer, mut driver) = port();
    post(&mut driver, 280);
    let time = NonZeroU64::new(42);
    let meta = Completion::new(0).with_timestamp(time);
    writer.write(&packet(60), meta).unwrap();
    writer.publish();
    let (completion, _) = driver.take().unwrap();
    assert_eq!(completion.timestamp(), time);
    assert_eq!(completion.with_vlan(CUSTOMER).timestamp(), time);
    // The driver looks at it only if there is something to see.
    let bare = Completion::new(60);
    assert!(bare.is_bare());
    assert!(!bare.with_timestamp(time).is_bare());
    assert!(bare.with_timestamp(time).with_timestamp(None).is_bare());
}

const CUSTOMER: Tag = Tag {
    protocol: Protocol::Customer,
    tci: 0x2fed,
};
const SERVICE: Tag = Tag {
    protocol: Protocol::Service,
    tci: 0x0001,
};

#[test]
fn tags_are_found_in_frames() {
    let mut head = [0; 18];
    assert_eq!(Tag::outermost(&head), None);
    for tag in [CUSTOMER, SERVICE] {
        head[12..16].copy_from_slice(&tag.bytes());
        assert_eq!(Tag::outermost(&head), Some(tag));
        assert_eq!(Tag::outermost(&head[..16]), Some(tag));
        assert_eq!(Tag::outermost(&head[..15]), None);
    }
}

/// A ring is full if the longest accepted frame might not fit.
#[test]
fn full_means_full_for_the_longest_frame() {
    let (mut writer, mut driver) = port_with(8, 2 * 280 + 1, Strip::default());
    for posted in 0..=3 {
        assert_eq!(writer.is_full(), posted < 3, "{posted} buffers");
        post(&mut driver, 280);
    }
}

/// Takes a frame out of a ring: its bytes and its completion.
fn take_frame(driver: &mut DriverSide<Shared>) -> Option<(Vec<u8>, Completion)> {
    let (first, page) = driver.take()?;
    let mut bytes = page.bytes[HEAD_ROOM..][..first.len() as usize].to_vec();
    let mut last = first;
    while last.is(Status::MORE_BUFFERS) {
        assert_eq!(last.len() as usize, PAGE_ROOM, "only the last is not full");
        let (next, page) = driver.take().expect("published as a whole");
        bytes.extend(&page.bytes[HEAD_ROOM..][..next.len() as usize]);
        assert_eq!((next.vlan(), next.hash()), (first.vlan(), first.hash()));
        last = next;
    }
    Some((bytes, *last))
}

fn any_tag() -> impl Strategy<Value = Option<Tag>> {
    prop::option::of(prop::sample::select(vec![CUSTOMER, SERVICE]))
}

proptest! {
    #![proptest_config(cases(256))]

    /// Frames of any length, with tags inside and outside of them and a checksum anywhere, arrive
    /// as specified. A frame for which there are too few buffers leaves the ring as it was.
    #[test]
    fn frames_in_parts(
        len in 18usize..1400,
        outside in any_tag(),
        inside in any_tag(),
        strip: (bool, bool),
        sum_at in prop::option::of(16usize..1398),
        buffers in 1u32..8,
        plain: bool,
    ) {
        let strip = Strip { customer: strip.0, service: strip.1 };
        let (mut writer, mut driver) = port_with(8, 1360, strip);
        for _ in 0..buffers {
            post(&mut driver, 280);
        }
        let mut frame = packet(len);
        frame.tag = outside;
        frame.bytes[12..16].copy_from_slice(&inside.map_or([8, 0, 0x45, 0], Tag::bytes));
        frame.patch = sum_at
            .filter(|offset| offset + 2 <= len)
            .map(|offset| Patch { offset, bytes: [0xab, 0xcd] });
        if plain {
            frame.patch = None;
            frame.checksum = Ok(Checksum::Unknown);
        }

        // The frame on the wire, then without its stripped tag.
        let mut expected = frame.summed();
        if let Some(tag) = outside {
            expected.splice(12..12, tag.bytes());
        }
        expected.resize(expected.len().max(60), 0);
        let wire_len = expected.len();
        let stripped = outside.or(inside).filter(|tag| strip.takes(tag.protocol));
        if stripped.is_some() {
            expected.drain(12..16);
        }

        let hash = Hash { value: 7, kind: HashType::Ipv4 };
        let result = send(&mut writer, &frame, hash);
        if wire_len > 1360 {
            prop_assert_eq!(result, Err(Refused::Oversize));
        } else if expected.len().div_ceil(280) > buffers as usize {
            prop_assert_eq!(result, Err(Refused::NoBuffer));
        } else {
            prop_assert_eq!(result, Ok(wire_len as u32));
            writer.publish();
            let (bytes, completion) = take_frame(&mut driver).unwrap();
            prop_assert_eq!(bytes, expected);
            prop_assert_eq!(completion.vlan(), stripped);
            prop_assert_eq!(completion.hash(), hash);
            prop_assert_eq!(completion.is(Status::CHECKSUM_GOOD), !plain);
        }
        writer.publish();
        prop_assert!(driver.take().is_none());
    }
}
