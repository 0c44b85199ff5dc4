// SPDX-License-Identifier: GPL-2.0

//! The destination of a copy gets all bytes, and nothing around them changes.

#![cfg(not(loom))]

use oxnic::dest::{
    copy_short,
    Dest, //
};

const STALE: u8 = 0xee;

/// Different bytes, none of which is [`STALE`].
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| n as u8 & 0x7f).collect()
}

#[test]
fn bytes_of_every_length_are_written_where_they_belong() {
    for len in 0..=130 {
        for offset in [0, 1, 7, 16] {
            let mut place = [STALE; 150];
            let from = bytes(len);
            assert!(Dest::from(&mut place[..]).write(offset, &from).is_some());

            let (before, rest) = place.split_at(offset);
            let (written, after) = rest.split_at(len);
            assert_eq!(written, from);
            assert!(before.iter().chain(after).all(|&byte| byte == STALE));
        }
    }
}

#[test]
fn bytes_that_do_not_fit_are_not_written() {
    for len in [1, 31, 32, 60, 64, 65] {
        for offset in [0, 1, 20] {
            let mut place = vec![STALE; len + offset - 1];
            let written = Dest::from(&mut place[..]).write(offset, &bytes(len));
            assert!(written.is_none());
            assert!(place.iter().all(|&byte| byte == STALE));
        }
    }
}

#[test]
fn only_as_few_bytes_as_a_short_frame_has_are_copied_by_moves() {
    for len in 0..=130 {
        let (from, mut to) = (bytes(len), vec![STALE; len]);
        // SAFETY: Both have that length.
        let copied = unsafe { copy_short(from.as_ptr(), to.as_mut_ptr(), len) };
        let is_short = (32..=64).contains(&len);
        assert_eq!(copied, is_short && cfg!(target_arch = "x86_64"));
        let expected = if copied { from } else { vec![STALE; len] };
        assert_eq!(to, expected);
    }
}
