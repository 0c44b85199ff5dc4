// SPDX-License-Identifier: GPL-2.0

//! Merging of TCP segments, compared with a model that builds the headers it expects.

#![cfg(not(loom))]

use cases::cases;
use oxnic::nic::{
    merge::{
        Gso,
        Merged, //
    },
    tso::{
        Template,
        HEADERS_LEN, //
    },
};
use proptest::{
    prelude::*,
    sample::Index, //
};

mod cases;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const URG: u8 = 32;
const ECE: u8 = 64;
const CWR: u8 = 128;

/// Packets that are merged have fewer bytes.
const LIMIT: usize = 65_536;

/// A kind of frames.
#[derive(Clone, Debug)]
struct Shape {
    /// For each VLAN tag, whether it is 802.1ad.
    tags: Vec<bool>,
    v6: bool,
    /// Words of options of TCP.
    options: usize,
    flags: u8,
    id: u16,
    sequence: u32,
}

impl Shape {
    const PLAIN: Self = Self {
        tags: Vec::new(),
        v6: false,
        options: 3,
        flags: ACK,
        id: 0xfffe,
        sequence: 0xffff_ff00,
    };

    fn ip(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    fn tcp(&self) -> usize {
        self.ip() + if self.v6 { 40 } else { 20 }
    }

    fn payload(&self) -> usize {
        self.tcp() + 20 + 4 * self.options
    }

    /// A large frame, before it is cut. Its lengths and checksums are meaningless.
    fn large(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for service in &self.tags {
            frame.extend(if *service { [0x88, 0xa8] } else { [0x81, 0] });
            frame.extend([0xe0, 5]);
        }
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0xff, 0xff, 6, 64]);
            frame.extend(0..32);
        } else {
            frame.extend([8, 0, 0x45, 0, 0xff, 0xff]);
            frame.extend(self.id.to_be_bytes());
            frame.extend([0x40, 0, 64, 6, 0xaa, 0xaa, 10, 0, 0, 1, 10, 0, 0, 2]);
        }
        frame.extend([0x12, 0x34, 0, 80]);
        frame.extend(self.sequence.to_be_bytes());
        frame.extend([1, 2, 3, 4, (5 + self.options as u8) << 4, self.flags]);
        frame.extend([0x10, 0, 0xbb, 0xbb, 0, 0]);
        frame.extend(vec![1; 4 * self.options]);
        frame.extend(payload);
        frame
    }

    /// The segments that the card cuts.
    fn segments(&self, payload: &[u8], segment_len: usize) -> Vec<Vec<u8>> {
        let large = self.large(payload);
        let head = &large[..large.len().min(HEADERS_LEN)];
        let template = Template::new(head, large.len(), segment_len).expect("it is TCP");
        template
            .parts()
            .map(|part| {
                let payload = &large[part.offset..part.offset + part.len];
                let mut frame = [template.headers(part).bytes(), payload].concat();
                let patch = template.checksum(part, u32::from(!checksum(payload)));
                frame[patch.offset..patch.offset + 2].copy_from_slice(&patch.bytes);
                frame
            })
            .collect()
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    (
        prop::collection::vec(any::<bool>(), 0..=2),
        any::<bool>(),
        0usize..=10,
        prop::sample::select(vec![ACK, ACK | ECE, ACK | PSH, ACK | PSH | FIN]),
        any::<u16>(),
        any::<u32>(),
    )
        .prop_map(|(tags, v6, options, flags, id, sequence)| Shape {
            tags,
            v6,
            options,
            flags,
            id,
            sequence,
        })
}

/// The Internet checksum of some bytes; zero if they contain a correct checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0;
    for word in bytes.chunks(2) {
        sum += (u64::from(word[0]) << 8) | u64::from(*word.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Whether `next` continues `count` segments with `len` bytes of payload, of which `first` is the
/// first: it has exactly the headers that such a segment has.
fn model(shape: &Shape, first: &[u8], count: u16, len: usize, next: &[u8]) -> bool {
    let (ip, tcp, payload) = (shape.ip(), shape.tcp(), shape.payload());
    if next.len() <= payload || next.len() > first.len() {
        return false;
    }
    let ip_len = next.len() - ip;
    let mut expected = first[..payload].to_vec();
    if shape.v6 {
        put(&mut expected, ip + 4, &(ip_len as u16 - 40).to_be_bytes());
    } else {
        let id = shape.id.wrapping_add(count);
        put(&mut expected, ip + 2, &(ip_len as u16).to_be_bytes());
        put(&mut expected, ip + 4, &id.to_be_bytes());
        put(&mut expected, ip + 10, &next[ip + 10..ip + 12]);
        if checksum(&next[ip..ip + 20]) != 0 {
            return false;
        }
    }
    let sequence = shape.sequence.wrapping_add(len as u32);
    put(&mut expected, tcp + 4, &sequence.to_be_bytes());
    expected[tcp + 13] |= next[tcp + 13] & (PSH | FIN);
    put(&mut expected, tcp + 16, &next[tcp + 16..tcp + 18]);
    expected == next[..payload] && ip_len + len < LIMIT
}

/// What can follow this frame of `len` bytes.
fn begin(head: &[u8], len: usize) -> Option<Merged> {
    let mut merged = Merged::NOTHING;
    merged.begin(head, len).map(|()| merged)
}

/// The first segment and all that follow it.
fn merge(segments: &[Vec<u8>]) -> Option<Merged> {
    let mut merged = begin(&segments[0], segments[0].len())?;
    for segment in &segments[1..] {
        let next = merged.next(segment, segment.len(), LIMIT)?;
        merged.add(next);
    }
    Some(merged)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn merging_undoes_segmentation(
        shape in shapes(),
        payload in prop::collection::vec(any::<u8>(), 2..5000),
        segment_len in 1usize..2000,
    ) {
        let segment_len = segment_len.min(payload.len() - 1);
        let segments = shape.segments(&payload, segment_len);
        let merged = merge(&segments).expect("they follow each other");

        prop_assert_eq!(merged.count() as usize, segments.len());
        prop_assert_eq!(merged.payload(), shape.payload());
        prop_assert_eq!(merged.frame_len(), shape.payload() + payload.len());
        prop_assert_eq!(merged.gso(), Some(Gso {
            size: segment_len as u16,
            segments: segments.len() as u16,
            tcp: shape.tcp() as u16,
            is_ipv6: shape.v6,
        }));
        let mut found = segments[0].clone();
        merged.write_headers(&mut found).expect("it has headers");

        let (ip, tcp) = (shape.ip(), shape.tcp());
        let mut expected = shape.large(&payload)[..segments[0].len()].to_vec();
        let tcp_len = (shape.payload() - tcp + payload.len()) as u16;
        let addresses = if shape.v6 {
            put(&mut expected, ip + 4, &tcp_len.to_be_bytes());
            ip + 8..ip + 40
        } else {
            put(&mut expected, ip + 2, &(tcp_len + 20).to_be_bytes());
            put(&mut expected, ip + 10, &[0, 0]);
            let sum = checksum(&expected[ip..ip + 20]);
            put(&mut expected, ip + 10, &sum.to_be_bytes());
            ip + 12..ip + 20
        };
        let pseudo = [&expected[addresses], &[0, 6][..], &tcp_len.to_be_bytes()].concat();
        put(&mut expected, tcp + 16, &(!checksum(&pseudo)).to_be_bytes());
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn only_what_follows_is_added(
        shape in shapes(),
        payload in prop::collection::vec(any::<u8>(), 100..3000),
        segment_len in 1usize..50,
        added in 0usize..5,
        which in 0usize..8,
        damage in prop::collection::vec((any::<Index>(), 0u8..8), 0..2),
        resize in -2isize..=2,
        mends: bool,
    ) {
        let segments = shape.segments(&payload, segment_len);
        let added = added.min(segments.len() - 2);
        let which = which.min(segments.len() - 1);
        let merged = merge(&segments[..=added]).expect("they follow each other");
        let mut next = segments[which].clone();
        for (at, bit) in damage {
            next[at.index(shape.payload())] ^= 1 << bit;
        }
        if resize != 0 {
            next.resize(next.len().saturating_add_signed(resize), 0);
        }
        if mends && !shape.v6 {
            // A program that changes a header also mends its checksum.
            let ip = shape.ip();
            put(&mut next, ip + 10, &[0, 0]);
            let sum = checksum(&next[ip..ip + 20]);
            put(&mut next, ip + 10, &sum.to_be_bytes());
        }
        let len = merged.frame_len() - shape.payload();
        prop_assert_eq!(
            merged.next(&next, next.len(), LIMIT).is_some(),
            model(&shape, &segments[0], merged.count(), len, &next)
        );
    }

    #[test]
    fn any_bytes_do_no_harm(
        first in prop::collection::vec(any::<u8>(), 0..200),
        next in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<Index>(),
        len in 0usize..70_000,
        shape in shapes(),
    ) {
        if let Some(mut merged) = begin(&first, len) {
            let _ = merged.write_headers(&mut first.clone());
            if let Some(next) = merged.next(&next, len, LIMIT) {
                merged.add(next);
            }
        }
        // Cut off anywhere.
        let frame = &shape.segments(&[7; 300], 100)[0];
        let cut = &frame[..at.index(frame.len())];
        prop_assert!(begin(cut, cut.len()).is_none());
        if let Some(merged) = begin(frame, frame.len()) {
            prop_assert!(merged.next(cut, cut.len(), LIMIT).is_none());
        }
    }
}

/// The first of three segments.
fn first(shape: &Shape) -> Vec<u8> {
    shape.segments(&[7; 250], 100).remove(0)
}

#[test]
fn what_can_be_the_first_segment() {
    let plain = Shape::PLAIN;
    let v6 = Shape {
        v6: true,
        ..Shape::PLAIN
    };
    for shape in [&plain, &v6] {
        let frame = first(shape);
        assert!(begin(&frame, frame.len()).is_some());
        // More of the payload may be in other buffers, but some of it is in the first.
        assert!(begin(&frame[..shape.payload()], frame.len()).is_none());
        assert!(begin(&frame[..=shape.payload()], frame.len()).is_some());
        // Padded, or cut off.
        assert!(begin(&[&frame[..], &[0]].concat(), frame.len() + 1).is_none());
        assert!(begin(&frame, frame.len() - 1).is_none());
        for flags in [
            0,
            ACK | SYN,
            ACK | RST,
            ACK | URG,
            ACK | PSH,
            ACK | FIN,
            ACK | CWR,
        ] {
            let mut other = frame.clone();
            other[shape.tcp() + 13] = flags;
            assert!(begin(&other, other.len()).is_none(), "{flags:#x}");
        }
        let mut ece = frame.clone();
        ece[shape.tcp() + 13] |= ECE;
        assert!(begin(&ece, ece.len()).is_some());
        let mut short = frame.clone();
        short[shape.tcp() + 12] = 0x40;
        assert!(begin(&short, short.len()).is_none(), "16 bytes of TCP");
    }
    // Of IPv4, with a correct checksum: more fragments, a fragment's offset, UDP.
    for (at, value) in [(6, 0x20), (7, 1), (9, 17)] {
        let mut frame = first(&plain);
        frame[14 + at] = value;
        put(&mut frame, 24, &[0, 0]);
        let sum = checksum(&frame[14..34]);
        put(&mut frame, 24, &sum.to_be_bytes());
        assert!(begin(&frame, frame.len()).is_none(), "byte {at} of IPv4");
    }
    let mut frame = first(&plain);
    frame[24] ^= 1;
    assert!(begin(&frame, frame.len()).is_none(), "a bad checksum");
    // Of IPv6: UDP, an extension header.
    for value in [17, 60] {
        let mut frame = first(&v6);
        frame[14 + 6] = value;
        assert!(begin(&frame, frame.len()).is_none());
    }
}

#[test]
fn the_last_segment_ends_it() {
    for (flags, len, ends) in [
        (ACK, 200, false),
        (ACK, 199, true),
        (ACK | PSH, 200, true),
        (ACK | FIN, 200, true),
    ] {
        let shape = Shape {
            flags,
            ..Shape::PLAIN
        };
        let segments = shape.segments(&vec![7; len], 100);
        let mut merged = begin(&segments[0], segments[0].len()).expect("the first");
        let next = merged
            .next(&segments[1], segments[1].len(), LIMIT)
            .expect("it follows");
        assert_eq!(merged.add(next), !ends, "{flags:#x}, {len} bytes");
    }
}

#[test]
fn a_packet_is_shorter_than_the_limit() {
    let segments = Shape::PLAIN.segments(&[7; 200], 100);
    let merged = begin(&segments[0], segments[0].len()).expect("the first");
    let len = 20 + 20 + 12 + 200;
    let next = |limit| merged.next(&segments[1], segments[1].len(), limit);
    assert!(next(len).is_none());
    assert!(next(len + 1).is_some());
    assert!(next(0).is_none());
}

#[test]
fn nothing_follows_nothing() {
    for frame in [&first(&Shape::PLAIN)[..], &[]] {
        assert!(Merged::NOTHING.next(frame, frame.len(), LIMIT).is_none());
    }
    assert!(Merged::NOTHING.gso().is_none());
}
