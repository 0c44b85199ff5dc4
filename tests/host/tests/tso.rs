// SPDX-License-Identifier: GPL-2.0

//! TCP segmentation, compared with a segmentation done byte by byte.

#![cfg(not(loom))]

use cases::cases;
use oxnic::{
    dest::Dest,
    nic::tso::{
        finds_tcp,
        Progress,
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
const PSH: u8 = 8;
const ACK: u8 = 16;
const CWR: u8 = 128;

/// A large frame with all flags that matter. Its own lengths and checksums are meaningless. `tags`:
/// for each VLAN tag, whether it is 802.1ad.
fn large(
    tags: &[bool],
    v6: bool,
    ip_options: usize,
    tcp_options: usize,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    for service in tags {
        frame.extend(if *service { [0x88, 0xa8] } else { [0x81, 0x00] });
        frame.extend([0xe0, 5]);
    }
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0xff, 0xff, 6, 64]);
        frame.extend(0..32);
    } else {
        frame.extend([8, 0, 0x45 + ip_options as u8, 0, 0xff, 0xff, 0xff, 0xfe]);
        frame.extend([0x40, 0, 64, 6, 0xaa, 0xaa, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(vec![1; 4 * ip_options]);
    }
    frame.extend([0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0x00, 1, 2, 3, 4]);
    frame.extend([(5 + tcp_options as u8) << 4, FIN | PSH | ACK | CWR]);
    frame.extend([0x10, 0, 0xbb, 0xbb, 0, 0]);
    frame.extend(vec![1; 4 * tcp_options]);
    frame.extend(payload);
    frame
}

/// The Internet checksum of some bytes; zero if they contain a correct checksum.
fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = u64::from(start);
    for word in bytes.chunks(2) {
        sum += (u64::from(word[0]) << 8) | u64::from(*word.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn be16(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn template(frame: &[u8], segment_len: usize) -> Template {
    Template::new(
        &frame[..frame.len().min(HEADERS_LEN)],
        frame.len(),
        segment_len,
    )
    .expect("it is TCP")
}

#[test]
fn a_frame_that_had_to_wait_is_resumed_once() {
    let progress = Progress::default();
    assert_eq!(progress.take(|_| unreachable!("no frame waits")), 0);
    progress.keep(7, 3);
    assert_eq!(progress.take(|done| 4 + u64::from(done)), 3);
    assert_eq!(progress.take(|_| unreachable!("it went on")), 0);
}

#[test]
fn another_frame_is_not_resumed() {
    let progress = Progress::default();
    progress.keep(7, 3);
    assert_eq!(progress.take(|_| 8), 0);
    assert_eq!(progress.take(|_| 7), 0);
    progress.keep(7, 3);
    progress.forget();
    assert_eq!(progress.take(|_| 7), 0);
}

#[test]
fn the_fingerprint_depends_on_all_headers_and_lengths() {
    let frame = large(&[], false, 0, 3, &[1; 3000]);
    let known = template(&frame, 1000).fingerprint([1, 2]);
    assert_eq!(template(&frame, 1000).fingerprint([1, 2]), known);
    // Every byte of the headers except lengths and checksums, which follow from the rest.
    for at in (0..14 + 20 + 32).filter(|at| ![16, 17, 24, 25, 50, 51].contains(at)) {
        let mut other = frame.clone();
        other[at] ^= 1 << 3;
        let other = Template::new(&other[..HEADERS_LEN], other.len(), 1000);
        assert!(
            other.is_none_or(|other| other.fingerprint([1, 2]) != known),
            "byte {at}"
        );
    }
    assert_ne!(template(&frame, 1001).fingerprint([1, 2]), known);
    assert_ne!(template(&frame[..2999], 1000).fingerprint([1, 2]), known);
    assert_ne!(template(&frame, 1000).fingerprint([0, 2]), known);
    assert_ne!(template(&frame, 1000).fingerprint([1, 0]), known);
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn segments_are_correct(
        tags in prop::collection::vec(any::<bool>(), 0..=2),
        v6: bool,
        ip_options in 0usize..=10,
        tcp_options in 0usize..=10,
        payload in prop::collection::vec(any::<u8>(), 0..5000),
        segment_len in 1usize..2000,
    ) {
        let ip_options = if v6 { 0 } else { ip_options };
        let frame = large(&tags, v6, ip_options, tcp_options, &payload);
        let template = template(&frame, segment_len);
        let at = 14 + 4 * tags.len();
        let tcp = at + if v6 { 40 } else { 20 + 4 * ip_options };
        let headers_len = tcp + 20 + 4 * tcp_options;

        let mut received: Vec<u8> = Vec::new();
        let count = payload.len().div_ceil(segment_len).max(1);
        for (n, part) in template.parts().enumerate() {
            prop_assert_eq!(part.index, n);
            let data = &frame[part.offset..][..part.len];
            let sum = !checksum(data, 0);
            let headers = template.headers(part);
            let mut segment = headers.bytes().to_vec();
            template.checksum(part, sum.into()).apply(0, segment.as_mut_slice().into());
            prop_assert_eq!(segment.len(), headers_len);
            let mut in_place = vec![0xee; headers_len + 1];
            let mut room: Dest<'_> = in_place.as_mut_slice().into();
            prop_assert!(template.write_headers(part, sum.into(), &mut room).is_some());
            prop_assert_eq!(&in_place[..headers_len], &segment);
            prop_assert_eq!(in_place[headers_len], 0xee);
            let mut short: Dest<'_> = in_place[..headers_len - 1].as_mut().into();
            prop_assert!(template.write_headers(part, sum.into(), &mut short).is_none());
            segment.extend(data);

            prop_assert_eq!(&segment[..at], &frame[..at]);
            let ip = &segment[at..];
            let (ip_len, pseudo) = if v6 {
                (be16(&ip[4..]) + 40, &ip[8..40])
            } else {
                prop_assert_eq!(checksum(&ip[..tcp - at], 0), 0);
                prop_assert_eq!(be16(&ip[4..]), (0xfffe + n) & 0xffff);
                (be16(&ip[2..]), &ip[12..20])
            };
            prop_assert_eq!(ip_len, ip.len());
            let tcp_bytes = &segment[tcp..];
            let pseudo = u32::from(!checksum(pseudo, 6 + tcp_bytes.len() as u32));
            prop_assert_eq!(checksum(tcp_bytes, pseudo), 0);
            let sequence = u32::from_be_bytes(tcp_bytes[4..8].try_into().unwrap());
            prop_assert_eq!(sequence, 0xffff_ff00u32.wrapping_add(received.len() as u32));

            let last = n + 1 == count;
            let mut flags = ACK;
            flags |= if last { FIN | PSH } else { 0 };
            flags |= if n == 0 { CWR } else { 0 };
            prop_assert_eq!(tcp_bytes[13], flags);
            prop_assert!(last || part.len == segment_len);
            received.extend(data);
        }
        prop_assert_eq!(received, payload);
        prop_assert_eq!(template.parts().count(), count);
        prop_assert_eq!(template.count(), count);
        prop_assert!(template.part(count).is_none());
        prop_assert!(template.part(usize::MAX).is_none());
    }

    /// A malformed frame is refused, or cut so that no byte of it is lost, sent twice or read from
    /// after its end. The headers change only in the fields that differ between segments.
    #[test]
    fn anything_is_refused_or_cut(
        (v6, random) in any::<(bool, bool)>(),
        tags in prop::collection::vec(any::<bool>(), 0..=3),
        (ip_options, tcp_options) in (0usize..=10, 0usize..=10),
        lies in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        random_head in prop::collection::vec(any::<u8>(), 0..200),
        payload_len in 0usize..3000,
        cut in prop::option::of(any::<Index>()),
        segment_len in 0usize..2000,
    ) {
        let ip_options = if v6 { 0 } else { ip_options };
        let payload: Vec<u8> = (0..payload_len).map(|n| n as u8).collect();
        let mut frame = large(&tags, v6, ip_options, tcp_options, &payload);
        if random {
            frame = random_head;
        }
        let headers = frame.len().min(HEADERS_LEN);
        for (at, byte) in lies.into_iter().filter(|_| headers != 0) {
            frame[at.index(headers)] = byte;
        }
        let head = &frame[..cut.map_or(headers, |at| at.index(headers + 1))];
        let Some(template) = Template::new(head, frame.len(), segment_len) else {
            return Ok(());
        };
        prop_assert!(finds_tcp(head, 0));

        let mut next = None;
        let mut lens = Vec::new();
        for part in template.parts() {
            let headers = template.headers(part);
            let bytes = headers.bytes();
            prop_assert_eq!(part.offset, *next.get_or_insert(bytes.len()));
            next = Some(part.offset + part.len);
            lens.push(bytes.len() + part.len);
            prop_assert!(part.len <= segment_len);
            prop_assert!(bytes.len() <= head.len());
            prop_assert!(bytes.len() + part.len <= template.segment_len());
            let is_tag = |at: usize| matches!(bytes[at..at + 2], [0x81, 0] | [0x88, 0xa8]);
            let ip = [12, 16].into_iter().find(|at| !is_tag(*at)).unwrap_or(20) + 2;
            let is_v4 = bytes[ip - 2..ip] == [8, 0];
            let tcp = ip + if is_v4 { 4 * usize::from(head[ip] & 0xf).max(5) } else { 40 };
            let ip_fields = if is_v4 { vec![2, 3, 4, 5, 10, 11] } else { vec![4, 5] };
            let ip_fields: Vec<_> = ip_fields.into_iter().map(|field| ip + field).collect();
            let tcp_fields = [4, 5, 6, 7, 13, 16, 17].map(|field| tcp + field);
            for (at, byte) in bytes.iter().enumerate() {
                let may_differ = ip_fields.contains(&at) || tcp_fields.contains(&at);
                prop_assert!(may_differ || *byte == head[at], "byte {}", at);
            }
            let patch = template.checksum(part, 0);
            prop_assert_eq!(patch.offset, tcp + 16);
        }
        prop_assert_eq!(next, Some(frame.len()));
        prop_assert_eq!(lens.len(), template.count());
        prop_assert_eq!(*lens.last().unwrap(), template.last_len());
        prop_assert_eq!(*lens.iter().max().unwrap(), template.segment_len());
    }
}

#[test]
fn frames_that_are_not_tcp_are_refused() {
    let frame = large(&[], false, 0, 0, &[0; 100]);
    let refused = |frame: &[u8]| Template::new(frame, frame.len(), 10).is_none();
    assert!(!refused(&frame));
    assert!(refused(&frame[..53]), "cut off");
    // EtherType, IP version, IPv4 header length, protocol, source address, TCP header length.
    for (at, value) in [
        (12, 0x81),
        (14, 0x55),
        (14, 0x44),
        (23, 17),
        (26, 0),
        (46, 0x40),
    ] {
        let mut other = frame.clone();
        other[at] = value;
        assert_eq!(refused(&other), at != 26, "byte {at}: {value:#x}");
    }
    assert!(!refused(&large(&[true, false], false, 0, 0, &[0; 100])));
    assert!(
        refused(&large(&[true, false, false], false, 0, 0, &[0; 100])),
        "three tags"
    );
    assert!(Template::new(&frame, frame.len(), 0).is_none());
    assert!(Template::new(&frame, 20, 10).is_none());
}

#[test]
fn tcp_is_found_after_two_tags() {
    for v6 in [false, true] {
        for tags in 0..=3 {
            let frame = large(&[false; 3][..tags], v6, 0, 0, &[]);
            for more in 0..=3 {
                assert_eq!(finds_tcp(&frame, more), tags + more <= 2, "{tags} {more}");
            }
        }
        // PPPoE, and the EtherType cut off.
        let mut frame = large(&[], v6, 0, 0, &[]);
        assert!(!finds_tcp(&frame[..13], 0));
        frame[12..14].copy_from_slice(&[0x88, 0x64]);
        assert!(!finds_tcp(&frame, 0));
    }
    // A hop-by-hop header, and an IPv6 header that is cut off.
    let mut frame = large(&[], true, 0, 0, &[]);
    assert!(!finds_tcp(&frame[..53], 0));
    frame[20] = 0;
    assert!(!finds_tcp(&frame, 0));
}
