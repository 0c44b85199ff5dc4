// SPDX-License-Identifier: GPL-2.0

//! Random numbers from a seed (SplitMix64).

use crate::host::{clock, setting};
use anyhow::Result;

/// The seed of a test's random choices: `OXNIC_SEED` in the environment, or a new one.
pub fn seed() -> Result<u64> {
    setting("OXNIC_SEED", clock::tai()? % 1_000_000)
}

/// A sequence of random numbers.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;

        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        (self.next() % u64::from(end.max(1))) as u32
    }

    /// A number from `least` up to `most`.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        least + (self.next() % ((most - least) as u64 + 1)) as i64
    }

    pub fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
