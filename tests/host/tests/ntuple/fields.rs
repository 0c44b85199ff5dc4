// SPDX-License-Identifier: GPL-2.0

//! Which frames a rule matches by the fields in its key and mask.

use super::*;

/// Each bit of each field is compared if it is set in the mask, and only then.
#[test]
fn fields() {
    let mut with_tos = v4(UDP);
    with_tos[15] = 0xb8;
    let mut with_class = v6(UDP);
    (with_class[14], with_class[15]) = (0x6b, 0x80);
    let tagged = frame(&[SERVICE_VLAN, VLAN], &ipv4(SRC, DST, UDP, &[], &PORTS));
    let key = Key::default;
    let cases = [
        (
            v4(UDP),
            Key {
                dst_mac: [2, 0, 0, 0, 0, 1],
                ..key()
            },
            Key {
                dst_mac: [0xff; 6],
                ..key()
            },
        ),
        (
            v4(UDP),
            Key {
                src_mac: [2, 0, 0, 0, 0, 2],
                ..key()
            },
            Key {
                src_mac: [0xff; 6],
                ..key()
            },
        ),
        (
            v4(UDP),
            Key {
                ether_type: [8, 0],
                ..key()
            },
            Key {
                ether_type: ALL,
                ..key()
            },
        ),
        (
            tagged.clone(),
            Key {
                ether_type: [8, 0],
                ..key()
            },
            Key {
                ether_type: ALL,
                ..key()
            },
        ),
        (
            tagged.clone(),
            Key {
                vlan_type: [0x88, 0xa8],
                ..key()
            },
            Key {
                vlan_type: ALL,
                ..key()
            },
        ),
        (
            tagged,
            Key {
                vlan_tci: [0x20, 0x07],
                ..key()
            },
            Key {
                vlan_tci: ALL,
                ..key()
            },
        ),
        (
            v4(UDP),
            Key {
                src_ip: wide(SRC),
                ..key()
            },
            Key {
                src_ip: wide([0xff; 4]),
                ..key()
            },
        ),
        (
            v4(TCP),
            Key {
                dst_ip: wide(DST),
                ..key()
            },
            Key {
                dst_ip: wide([0xff; 4]),
                ..key()
            },
        ),
        (
            v6(TCP),
            Key {
                src_ip: SRC6,
                ..key()
            },
            Key {
                src_ip: [0xff; 16],
                ..key()
            },
        ),
        (
            v6(ICMP),
            Key {
                dst_ip: DST6,
                ..key()
            },
            Key {
                dst_ip: [0xff; 16],
                ..key()
            },
        ),
        (
            with_tos,
            Key { tos: 0xb8, ..key() },
            Key { tos: 0xff, ..key() },
        ),
        (
            with_class,
            Key { tos: 0xb8, ..key() },
            Key { tos: 0xff, ..key() },
        ),
        (
            v4(ICMP),
            Key {
                protocol: ICMP,
                ..key()
            },
            Key {
                protocol: 0xff,
                ..key()
            },
        ),
        (
            v6(58),
            Key {
                protocol: 58,
                ..key()
            },
            Key {
                protocol: 0xff,
                ..key()
            },
        ),
        (
            v4(TCP),
            Key {
                src_port: [0x12, 0x34],
                ..key()
            },
            Key {
                src_port: ALL,
                ..key()
            },
        ),
        (
            v6(UDP),
            Key {
                dst_port: [0, 80],
                ..key()
            },
            Key {
                dst_port: ALL,
                ..key()
            },
        ),
    ];
    for (n, (frame, key, mask)) in cases.into_iter().enumerate() {
        assert!(
            matches(&rule(Protocols::ANY, key, mask), &frame, None),
            "case {n}"
        );
        for (byte, bit) in
            (0..bytes(&mask).len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit)))
        {
            let mut turned = bytes(&key);
            turned[byte] ^= 1 << bit;
            let turned = from_bytes(&turned);
            let is_masked = bytes(&mask)[byte] & (1 << bit) == 0;
            assert_eq!(
                matches(&rule(Protocols::ANY, turned, mask), &frame, None),
                is_masked,
                "case {n}: byte {byte} bit {bit}"
            );
        }
    }
}
