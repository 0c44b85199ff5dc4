// SPDX-License-Identifier: GPL-2.0

//! How many cases a property is tried with.

#![allow(missing_docs, unreachable_pub, reason = "a part of each test")]

use proptest::test_runner::Config;

/// `usual` cases, times the environment variable `FUZZ`. Fewer in Miri, which takes a thousand
/// times as long.
pub fn cases(usual: u32) -> Config {
    let times = std::env::var("FUZZ").map_or(1, |times| times.parse().expect("FUZZ is a number"));

    Config {
        cases: if cfg!(miri) {
            (usual / 64).max(1)
        } else {
            usual * times
        },
        failure_persistence: None,
        ..Config::default()
    }
}
