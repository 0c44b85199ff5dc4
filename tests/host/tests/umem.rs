// SPDX-License-Identifier: GPL-2.0

//! Rings whose buffers are as large as their owner says, and that are emptied to be used again:
//! those of umem.

#![cfg(not(loom))]

use std::sync::Arc;

use oxnic::{
    dest::Dest,
    nic::{
        completion::{
            Completion,
            Status, //
        },
        ring::{
            DriverSide,
            EitherSide,
            NicSide,
            Ring,
            Slot, //
        },
        vlan::{
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
    },
};

/// Bytes of a frame that fit into a buffer, and those behind them, which stay as they are.
const ROOM: usize = 100;
const REST: usize = 20;
const STALE: u8 = 0xee;

struct Chunk {
    number: u32,
    bytes: [u8; ROOM + REST],
}

impl RxBuffer for Chunk {
    fn room(&mut self) -> Dest<'_> {
        Dest::from(&mut self.bytes[..])
    }
}

type Shared = Arc<Ring<Chunk, Vec<Slot<Chunk>>>>;
type Side = EitherSide<Shared, Shared>;

/// A ring of eight descriptors with `posted` buffers.
fn ring(posted: u32) -> (NicSide<Shared>, DriverSide<Shared>) {
    let slots = (0..8).map(|_| Slot::new()).collect();
    let (nic, mut driver) = Ring::split(Arc::new(Ring::new(slots).unwrap())).unwrap();
    post(&mut driver, 0..posted);
    (nic, driver)
}

fn post(driver: &mut DriverSide<Shared>, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let chunk = Chunk {
            number,
            bytes: [STALE; ROOM + REST],
        };
        assert!(driver.post(chunk).is_ok());
    }
    driver.doorbell();
}

fn writer(nic: NicSide<Shared>, max_len: usize, max_buffers: u32) -> RingWriter<Side> {
    let strip = Strip::default();
    let limits = RxLimits {
        room: ROOM,
        max_buffers,
    };
    RingWriter::new(Side::Umem(nic), RxConfig { max_len, strip }, limits)
}

/// A frame that can only be copied.
struct Frame(Vec<u8>);

fn frame(len: usize) -> Frame {
    Frame((0..len).map(|i| i as u8 | 1).collect())
}

impl TxFrame for Frame {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn head(&self) -> FrameHead<'_> {
        FrameHead::Linear(&self.0)
    }

    fn is_plain(&self) -> bool {
        false
    }

    fn start(&self) -> &[u8] {
        &self.0
    }

    fn tag(&self) -> Option<Tag> {
        None
    }

    fn copy_to(&self, to: Dest<'_>) -> Result<Checksum, Malformed> {
        self.copy_part(0, to)?;
        Ok(Checksum::Unknown)
    }

    fn checksum(&self) -> Result<(Checksum, Option<Patch>), Malformed> {
        Ok((Checksum::Unknown, None))
    }

    fn copy_part(&self, offset: usize, mut to: Dest<'_>) -> Result<(), Malformed> {
        let bytes = self.0.get(offset..).and_then(|from| from.get(..to.len()));
        to.write(0, bytes.ok_or(Malformed)?).ok_or(Malformed)
    }
}

fn send(writer: &mut RingWriter<Side>, len: usize) -> Result<u32, Refused> {
    writer.write(&frame(len), Completion::new(0))
}

#[test]
fn a_frame_fills_each_buffer_up_to_its_room() {
    let (nic, driver) = ring(8);
    let mut writer = writer(nic, 1000, 3);
    assert_eq!(writer.max_buffers(), 3);
    assert_eq!(send(&mut writer, 250), Ok(250));
    assert_eq!(writer.publish(), 3);

    let mut received = Vec::<u8>::new();
    for len in [ROOM, ROOM, 50] {
        let (completion, chunk) = driver.take().unwrap();
        assert_eq!(completion.len() as usize, len);
        assert_eq!(completion.is(Status::MORE_BUFFERS), len != 50);
        received.extend(&chunk.bytes[..len]);
        assert!(chunk.bytes[len..].iter().all(|&byte| byte == STALE));
    }
    assert_eq!(received, frame(250).0);
    assert!(driver.take().is_none());
}

#[test]
fn a_frame_that_needs_more_buffers_than_allowed_is_refused() {
    for (max_buffers, longest) in [(1, 100), (3, 300)] {
        let (nic, driver) = ring(8);
        let mut writer = writer(nic, 1000, max_buffers);
        assert_eq!(send(&mut writer, longest + 1), Err(Refused::Oversize));
        assert_eq!(send(&mut writer, longest), Ok(longest as u32));
        assert_eq!(writer.publish(), max_buffers);
        drop(driver);
    }
}

/// The limit of the device holds too, if it is the lower one.
#[test]
fn a_frame_that_is_longer_than_the_device_accepts_is_refused() {
    let (nic, _driver) = ring(8);
    let mut writer = writer(nic, 150, 3);
    assert_eq!(writer.max_buffers(), 2);
    assert_eq!(send(&mut writer, 151), Err(Refused::Oversize));
    assert_eq!(send(&mut writer, 150), Ok(150));
}

#[test]
fn a_ring_has_room_for_as_many_frames_as_its_buffers_take() {
    let (nic, _driver) = ring(3);
    let mut writer = writer(nic, 1000, 3);
    assert!(writer.has_room(300));
    assert!(!writer.has_room(301));
    assert!(!writer.is_full());
    assert_eq!(send(&mut writer, 60), Ok(60));
    assert!(writer.is_full());
    assert!(writer.has_room(200));
    assert_eq!(send(&mut writer, 201), Err(Refused::NoBuffer));
}

/// All buffers come out once, the newest first, whether they were posted, written, published, or
/// only given to the driver's side; and the ring works afterwards.
#[test]
fn a_ring_that_is_emptied_works_again() {
    let (nic, mut driver) = ring(6);
    let mut writer = writer(nic, 1000, 3);
    assert_eq!(send(&mut writer, 60), Ok(60));
    assert_eq!(send(&mut writer, 160), Ok(160));
    assert_eq!(writer.publish(), 3);
    let (_, first) = driver.take().unwrap();
    assert_eq!(first.number, 0);
    assert_eq!(send(&mut writer, 60), Ok(60));
    // Without the doorbell.
    assert!(driver.post(first).is_ok());

    let Side::Umem(mut nic) = writer.into_nic().0 else {
        unreachable!()
    };
    let mut numbers = Vec::new();
    driver.reclaim(&mut nic, |chunk| numbers.push(chunk.number));
    assert_eq!(numbers, [0, 5, 4, 3, 2, 1]);
    assert_eq!((driver.posted(), driver.unused()), (0, 8));

    post(&mut driver, 10..18);
    let mut writer = self::writer(nic, 1000, 3);
    assert_eq!(send(&mut writer, 260), Ok(260));
    assert_eq!(writer.publish(), 3);
    let taken = std::array::from_fn(|_| driver.take().unwrap().1.number);
    assert_eq!(taken, [10, 11, 12]);
}

#[test]
fn a_ring_is_emptied_with_its_own_nic_only() {
    let (mut nic, mut driver) = ring(4);
    let (mut other, _) = ring(4);
    driver.reclaim(&mut other, |_| panic!("the NIC may still write to it"));
    assert_eq!(driver.posted(), 4);
    assert!(nic.next_buffer().is_some());
}
