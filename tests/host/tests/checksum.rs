// SPDX-License-Identifier: GPL-2.0

//! Checksums as the card verifies them.

#![cfg(not(loom))]

use cases::cases;
use oxnic::nic::checksum;
use proptest::prelude::*;

mod cases;

fn is_good(frame: &[u8]) -> bool {
    checksum::is_good(frame.len(), |offset, to| {
        to.copy_from_slice(frame.get(offset..offset + to.len())?);
        Some(())
    })
}

/// The sum of words, as in RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let mut total: u32 = bytes
        .chunks(2)
        .map(|word| (u32::from(word[0]) << 8) | u32::from(*word.get(1).unwrap_or(&0)))
        .sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A segment with its checksum over these addresses.
fn segment(protocol: u8, addresses: &[u8], payload: &[u8]) -> Vec<u8> {
    let (header, at) = if protocol == TCP { (20, 16) } else { (8, 6) };
    let mut segment = vec![0; header];
    segment[..4].copy_from_slice(&[0x12, 0x34, 0, 80]);
    if protocol == UDP {
        segment[4..6].copy_from_slice(&((header + payload.len()) as u16).to_be_bytes());
    }
    segment.extend(payload);
    let mut covered = addresses.to_vec();
    covered.extend([0, protocol]);
    covered.extend((segment.len() as u16).to_be_bytes());
    covered.extend(&segment);
    let mut checksum = !sum(&covered);
    if checksum == 0 {
        checksum = 0xffff;
    }
    segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    segment
}

/// A frame with a good checksum, with this many VLAN tags and bytes of IPv4 options.
fn frame(v6: bool, protocol: u8, tags: usize, options: usize, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for _ in 0..tags {
        frame.extend([0x81, 0, 0, 5]);
    }
    if v6 {
        let addresses: Vec<u8> = (0..32).collect();
        let segment = segment(protocol, &addresses, payload);
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((segment.len() as u16).to_be_bytes());
        frame.extend([protocol, 64]);
        frame.extend(addresses);
        frame.extend(segment);
        return frame;
    }
    let addresses = [10, 0, 0, 1, 10, 0, 0, 2];
    let segment = segment(protocol, &addresses, payload);
    let header = 20 + options;
    let mut ip = vec![0x40 | (header / 4) as u8, 0];
    ip.extend(((header + segment.len()) as u16).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    ip.extend(addresses);
    ip.extend(vec![1; options]);
    let checksum = !sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(segment);
    frame
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn good_ones_are_good_and_a_flipped_bit_is_not(
        v6: bool,
        tcp: bool,
        tags in 0_usize..=2,
        options in 0_usize..=10,
        payload in prop::collection::vec(any::<u8>(), 0..400),
        padding in 0_usize..20,
        flip in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let protocol = if tcp { TCP } else { UDP };
        let mut frame = frame(v6, protocol, tags, 4 * options, &payload);
        let ip = 14 + 4 * tags;
        // What the checksums cover: of IPv4 all; of IPv6 not the first four bytes and the hop limit.
        let end = frame.len();
        let from = if v6 { ip + 8 } else { ip };
        frame.extend(vec![0xaa; padding]);
        prop_assert!(is_good(&frame));
        let at = from + flip.index(end - from);
        frame[at] ^= 1_u8 << bit;
        prop_assert!(!is_good(&frame), "byte {at}");
    }

    #[test]
    fn nothing_panics(frame in prop::collection::vec(any::<u8>(), 0..100)) {
        is_good(&frame);
    }
}

#[test]
fn others_are_not_good() {
    let good = frame(false, UDP, 0, 0, b"payload");
    assert!(is_good(&good));
    let mut without = good.clone();
    without[14 + 20 + 6..14 + 20 + 8].fill(0);
    assert!(!is_good(&without), "UDP without a checksum");
    assert!(!is_good(&good[..good.len() - 1]), "truncated");
    assert!(!is_good(&frame(false, UDP, 3, 0, b"payload")), "three tags");
    let mut arp = good.clone();
    arp[12..14].copy_from_slice(&[8, 6]);
    assert!(!is_good(&arp), "ARP");
    assert!(
        !is_good(&frame(false, 1, 0, 0, b"payload")),
        "another protocol"
    );
}
