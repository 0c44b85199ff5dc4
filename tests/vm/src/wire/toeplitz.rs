// SPDX-License-Identifier: GPL-2.0

//! The Toeplitz hash, bit by bit as the specification of receive side scaling has it; written for
//! the tests, so that it shares no error with what is tested.

use anyhow::{ensure, Context, Result};
use std::fs;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key of the length that cards have.
    pub fn new(bytes: [u8; 40]) -> Self {
        Self(bytes.to_vec())
    }

    /// The key that all cards of the system share.
    pub fn of_the_system() -> Result<Self> {
        let path = "/proc/sys/net/core/netdev_rss_key";
        let text = fs::read_to_string(path)?;
        let key = text
            .trim()
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16))
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("{path}: {text}"))?;

        // 36 bytes of addresses and ports, and 32 bits more.
        ensure!(key.len() >= 40, "{path}: only {} bytes", key.len());
        ensure!(key.iter().any(|byte| *byte != 0), "{path}: no key yet");
        Ok(Self(key))
    }

    /// The hash of addresses and ports in the order in which they are in a packet.
    pub fn hash(&self, input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], n: usize| (bytes[n / 8] >> (7 - n % 8)) & 1;

        (0..input.len() * 8)
            .filter(|n| bit(input, *n) == 1)
            .map(|n| (0..32).fold(0, |word, i| (word << 1) | u32::from(bit(&self.0, n + i))))
            .fold(0, |hash, word| hash ^ word)
    }

    /// The bytes that a card uses of it.
    pub fn bytes(&self) -> &[u8] {
        &self.0[..40]
    }

    /// As ethtool writes it.
    pub fn text(&self) -> String {
        let bytes: Vec<_> = self
            .bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();

        bytes.join(":")
    }
}
